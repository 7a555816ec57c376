//! What a peer may use up at the most.

use std::time::Duration;

/// Bounds on everything that the other side can drive, with their defaults.
///
/// ```
/// use dp_core::engine::Limits;
///
/// let mut limits = Limits::default();
/// limits.max_message = 1 << 20;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The longest message that this side takes, in bytes: on a server an answer, on a client the
    /// arguments of a call. At least 64 KiB, at most 4 GiB − 1. Default: 256 MiB.
    pub max_message: usize,
    /// The longest first message of a client, in bytes, before anything is known of it.
    /// Default: 1 MiB.
    pub max_handshake: usize,
    /// How long a peer may take for the handshake. Default: 10 s.
    pub handshake_timeout: Duration,
    /// How many connections of a server may be in the handshake at a time, with nothing proven yet;
    /// the others wait to be accepted. Default: 1,024.
    pub max_handshakes: usize,
    /// After how long without anything else to send each side of a connection sends a heartbeat. A
    /// server's setting: its clients do as it does. Default: 2 s.
    pub heartbeat_interval: Duration,
    /// After how long a silence each side takes the other for gone. A server's setting: its clients
    /// do as it does. Default: 10 s.
    pub heartbeat_timeout: Duration,
    /// How many clients a server takes. Default: 65,536.
    pub max_clients: usize,
    /// How many workers a server takes, those of all clients together. Default: 1,048,576.
    pub max_workers: usize,
    /// How many workers one client may host. Default: 65,536.
    pub max_workers_per_client: usize,
    /// How many calls a worker may have unanswered before [`detach`](crate::Broadcast::detach)
    /// waits. Default: 1,024.
    pub in_flight: usize,
    /// How many calls may wait in one worker's queue; a client refuses those above.
    /// Default: 65,536.
    pub max_queue: usize,
    /// How many bytes may wait for one slow client. A server makes no further calls to a client
    /// that has more than this unwritten; a client refuses calls while its unanswered ones hold more
    /// than this in arguments, and in answers that wait to be written. Default: 512 MiB.
    pub max_queued_bytes: usize,
    /// How many calls to the server, and arrivals at barriers, the workers of one client may have
    /// unanswered; the server refuses those above, and calls whose arguments together exceed
    /// `max_message`. Default: 65,536.
    pub max_server_calls: usize,
    /// How many result lines one worker keeps; it drops those above, and says so in the last.
    /// Default: 1,000,000.
    pub max_results: usize,
    /// How many metrics one worker keeps; it drops those above, and says so in a result line.
    /// Default: 1,024.
    pub max_metrics: usize,
    /// How many lines a second a client forwards of its log, where its server asks for them; those above
    /// are dropped, and counted. A server's setting: its clients do as it says. Default: 1,000.
    pub max_log_lines: usize,
    /// How many threads the methods of one client, or the `#[on_server]` functions of one server,
    /// may hold at a time by blocking.
    /// Default: 1,024.
    pub max_threads: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message: 256 << 20,
            max_handshake: 1 << 20,
            handshake_timeout: Duration::from_secs(10),
            max_handshakes: 1 << 10,
            heartbeat_interval: Duration::from_secs(2),
            heartbeat_timeout: Duration::from_secs(10),
            max_clients: 1 << 16,
            max_workers: 1 << 20,
            max_workers_per_client: 1 << 16,
            in_flight: 1 << 10,
            max_queue: 1 << 16,
            max_queued_bytes: 512 << 20,
            max_server_calls: 1 << 16,
            max_results: 1_000_000,
            max_metrics: 1 << 10,
            max_log_lines: 1_000,
            max_threads: 1 << 10,
        }
    }
}

impl Limits {
    /// `max_message` as the length field of a frame can say it, and as the framework's own messages
    /// need it.
    pub(crate) fn frame_limit(&self) -> usize {
        self.max_message.clamp(64 << 10, u32::MAX as usize)
    }
}
