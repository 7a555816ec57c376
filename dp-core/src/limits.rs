//! What a peer may use up at the most.

use std::time::Duration;

use thiserror::Error;

/// Bytes in the unit in which people give the size of a message.
#[cfg_attr(not(feature = "args"), expect(dead_code))]
pub(crate) const MIB: usize = 1 << 20;
/// What the length field of a frame can say.
pub(crate) const MAX_MESSAGE: usize = u32::MAX as usize;
/// No setting is a greater number of things.
pub(crate) const MAX_COUNT: usize = u32::MAX as usize;
/// No setting is a shorter time, but for those that may be none.
pub(crate) const SHORTEST_TIME: Duration = Duration::from_millis(1);
/// No setting is a longer time: 31 years. All systems can add it to the present.
pub(crate) const LONGEST_TIME: Duration = Duration::from_secs(1_000_000_000);

/// Why a setting makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the setting `{setting}` cannot be {given}: {range}")]
pub struct OutOfRange {
    /// The setting: a method of the builder.
    pub setting: &'static str,
    /// What was given.
    pub given: String,
    /// What it can be.
    pub range: String,
}

impl OutOfRange {
    /// Checks that the time `setting` is none, or one that can be added to the present.
    ///
    /// # Errors
    /// [`OutOfRange`] when it is longer than 31 years.
    pub fn check_time(setting: &'static str, time: Duration) -> Result<(), Self> {
        check_time(setting, time, Duration::ZERO)
    }
}

fn check_time(setting: &'static str, time: Duration, least: Duration) -> Result<(), OutOfRange> {
    if (least..=LONGEST_TIME).contains(&time) {
        return Ok(());
    }
    let range =
        format!("a time from {} to {} seconds", least.as_secs_f64(), LONGEST_TIME.as_secs());
    Err(OutOfRange { setting, given: format!("{time:?}"), range })
}

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
    /// How many result lines one worker keeps; it drops those above, and says so in the last. Also how
    /// many a server takes of one worker, with one more that says so. Default: 1,000,000.
    pub max_results: usize,
    /// How many bytes of result lines one worker keeps, each line counted with 64 bytes more; it drops
    /// those above, and says so in the last. Also how many a server takes of one worker when it gathers.
    /// Default: 512 MiB.
    pub max_result_bytes: usize,
    /// How many bytes of what the workers of one client have recorded a server keeps for the case that
    /// they are lost, each line counted with 64 bytes more. Of what is above, a line tells if they are.
    /// Default: 1 GiB.
    pub max_kept_bytes_per_client: usize,
    /// The same for the workers of all clients together, those included that are lost. Also how many bytes
    /// of results a server takes of all workers at a time. Default: 2 GiB.
    pub max_kept_bytes: usize,
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
            max_result_bytes: 512 << 20,
            max_kept_bytes_per_client: 1 << 30,
            max_kept_bytes: 2 << 30,
            max_metrics: 1 << 10,
            max_log_lines: 1_000,
            max_threads: 1 << 10,
        }
    }
}

impl Limits {
    /// Checks that each makes sense: nothing that is needed is 0, and no time is beyond what clocks can
    /// count to.
    ///
    /// # Errors
    /// [`OutOfRange`], which names the first that does not.
    pub fn check(&self) -> Result<(), OutOfRange> {
        for (setting, given, most) in [
            ("max_message", self.max_message, MAX_MESSAGE),
            ("max_handshake", self.max_handshake, MAX_MESSAGE),
            ("max_handshakes", self.max_handshakes, MAX_COUNT),
            ("max_clients", self.max_clients, MAX_COUNT),
            ("max_workers", self.max_workers, MAX_COUNT),
            ("in_flight", self.in_flight, MAX_COUNT),
            ("max_queue", self.max_queue, MAX_COUNT),
            // Bytes, which some may not want to bound.
            ("max_queued_bytes", self.max_queued_bytes, usize::MAX),
            ("max_server_calls", self.max_server_calls, MAX_COUNT),
            ("max_threads", self.max_threads, MAX_COUNT),
        ] {
            if !(1..=most).contains(&given) {
                let range = format!("a number from 1 to {most}");
                return Err(OutOfRange { setting, given: given.to_string(), range });
            }
        }
        for (setting, time) in [
            ("handshake_timeout", self.handshake_timeout),
            ("heartbeat_interval", self.heartbeat_interval),
            ("heartbeat_timeout", self.heartbeat_timeout),
        ] {
            check_time(setting, time, SHORTEST_TIME)?;
        }
        if self.heartbeat_timeout <= self.heartbeat_interval {
            let range = format!(
                "longer than `heartbeat_interval`, which is {:?}, or everybody is taken for gone",
                self.heartbeat_interval
            );
            let given = format!("{:?}", self.heartbeat_timeout);
            return Err(OutOfRange { setting: "heartbeat_timeout", given, range });
        }
        Ok(())
    }

    /// `max_message` as the length field of a frame can say it, and as the framework's own messages
    /// need it.
    pub(crate) fn frame_limit(&self) -> usize {
        self.max_message.clamp(64 << 10, u32::MAX as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_make_no_sense_are_named_with_their_range() {
        type Change = fn(&mut Limits);
        let cases: [(&str, &str, Change); 6] = [
            ("max_clients", "from 1 to 4294967295", |limits| limits.max_clients = 0),
            ("max_threads", "from 1 to 4294967295", |limits| limits.max_threads = usize::MAX),
            ("max_message", "from 1 to 4294967295", |limits| limits.max_message = 0),
            ("handshake_timeout", "from 0.001 to 1000000000", |limits| {
                limits.handshake_timeout = Duration::MAX;
            }),
            ("heartbeat_interval", "from 0.001 to", |limits| {
                limits.heartbeat_interval = Duration::ZERO;
            }),
            ("heartbeat_timeout", "longer than `heartbeat_interval`", |limits| {
                limits.heartbeat_timeout = limits.heartbeat_interval;
            }),
        ];
        assert_eq!(Limits::default().check(), Ok(()));
        for (setting, range, change) in cases {
            let mut limits = Limits::default();
            change(&mut limits);
            let error = limits.check().unwrap_err();
            assert_eq!(error.setting, setting);
            assert!(error.to_string().contains(range), "{error}");
        }
    }
}
