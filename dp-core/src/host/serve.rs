//! One connection to a server, from the handshake to its end.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf};
use tokio::sync::watch;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, MissedTickBehavior, sleep, timeout, timeout_at};

use super::Shared;
use super::call::Call;
use super::uplink::Uplink;
use crate::id::WorkerInfo;
use crate::link::{
    Frames, Heartbeat, LinkError, Transport, Watched, keep_alive, read_preamble, write_frames,
};
use crate::logs::{LogQueue, WANTED};
use crate::proto::handshake::prints;
use crate::sync::first;
use crate::text::PeerText;
use crate::wire::{
    ClientMessage, ForwardLogs, Hello, Logs, Preamble, Refused, ServerMessage, Trace, Welcome,
};
use crate::worker::DistributedWorker;

/// Why a client's connection to its server ended, other than by the server's wish.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HostError {
    /// The server turned this client away.
    #[error("the server refused this client: {reason}")]
    Refused {
        /// Why.
        reason: PeerText,
        /// Where another client of the same id stands in the way: for how long the server had not
        /// heard of it. It may have vanished, and be gone soon. Otherwise the server would refuse
        /// this client again.
        silent: Option<Duration>,
    },
    /// What is there is no server of this protocol, or one of another version.
    #[error("{reason}")]
    Protocol {
        /// What was wrong.
        reason: PeerText,
    },
    /// The server did not answer in time.
    #[error("no answer to the handshake within {after:?} (handshake_timeout)")]
    TimedOut {
        /// The time that it had.
        after: Duration,
    },
    /// The connection ended before this client had joined.
    #[error("connection ended during the handshake: {reason}")]
    Ended {
        /// How.
        reason: PeerText,
    },
    /// The connection was lost after this client had joined.
    #[error("lost the server: {reason}")]
    Lost {
        /// How.
        reason: PeerText,
    },
}

impl HostError {
    /// Whether the client had joined before.
    pub fn joined(&self) -> bool {
        matches!(self, Self::Lost { .. })
    }
}

/// How long what a method has recorded stays on its worker alone, at the most.
const NEWS: Duration = Duration::from_millis(500);

/// Metrics are told each so many times that lines are: they are told whole.
const MEASURED_NEWS: u32 = 4;

/// How long a line of the log waits for others.
const LOGS_TOGETHER: Duration = Duration::from_millis(50);

/// While more bytes than this wait to be written, the log waits.
const CROWDED: usize = 1 << 20;

/// How long the last lines of the log may take to be written when the server has said quit.
const LAST_LOGS: Duration = Duration::from_secs(1);

/// A server that asks for more heartbeats than this does not get them.
const SHORTEST_HEARTBEAT: Duration = Duration::from_millis(1);

/// The longest address that a server tells a client, in bytes; what is longer is cut.
const MAX_ADDRESS: usize = 255;

const MAX_MESSAGE: &str = "max_message of the client";

pub(super) async fn serve<W, S>(
    host: &Arc<Shared<W>>,
    stream: S,
    address: String,
    begun: Instant,
) -> Result<(), HostError>
where
    W: DistributedWorker,
    S: Transport,
{
    let (read, mut write) = tokio::io::split(stream);
    let read = Watched::new(read);
    let activity = read.activity();
    let after = host.limits.handshake_timeout;
    let spent = begun.elapsed();
    let shaken = timeout(after.saturating_sub(spent), handshake(host, read, &mut write)).await;
    let (welcome, mut frames) = shaken.map_err(|_| HostError::TimedOut { after })??;
    tracing::debug!(server = %address, "joined");

    // The length field of a frame can't say more than `u32::MAX`.
    let peer_max = usize::try_from(welcome.max_message).unwrap_or(usize::MAX);
    let link = Arc::new(Uplink::new(host.next_link(), peer_max.min(u32::MAX as usize)));
    let heartbeat = Heartbeat {
        interval: Duration::from_micros(welcome.heartbeat_interval).max(SHORTEST_HEARTBEAT),
        timeout: Duration::from_micros(welcome.heartbeat_timeout).max(SHORTEST_HEARTBEAT * 2),
    };
    let beat = ClientMessage::heartbeat();
    let address: Arc<str> = PeerText::within(welcome.address, MAX_ADDRESS).as_str().into();
    for (slot, position) in host.slots.iter().zip(&welcome.positions) {
        let (client, index) = (host.client.clone(), *position as usize);
        slot.set_info(|info| {
            WorkerInfo::new(info.id().clone(), index, client.clone(), address.clone())
        });
    }
    host.slots.iter().for_each(|slot| slot.recorder.handle_link());
    build_workers(host, &link);

    // However this ends, also by being dropped, what came over the connection is void after it.
    struct End<'a, W: DistributedWorker>(&'a Shared<W>, &'a Arc<Uplink>);
    impl<W: DistributedWorker> Drop for End<'_, W> {
        fn drop(&mut self) {
            self.0.handle_link_end(self.1);
        }
    }
    let _end = End(host, &link);
    let logs = Forwarding::default();
    let reading = read_calls(host, &link, &mut frames, &logs);
    // However much there is to read, these have their turn, too.
    let writing = unconstrained(async {
        let lost = |error| HostError::Lost { reason: crate::error::io_reason(&error).into() };
        write_frames(write, &link, || ()).await.map_err(lost)
    });
    let beating = unconstrained(async {
        Err(HostError::Lost { reason: keep_alive(&link, &activity, heartbeat, &beat).await.into() })
    });
    let watching = unconstrained(async {
        watch_deadlines(host, &link).await;
        Ok(())
    });
    let telling = unconstrained(async {
        tell_news(host, &link).await;
        Ok(())
    });
    let forwarding = unconstrained(async {
        forward_logs(&logs, &link).await;
        Ok(())
    });
    first([
        pin!(reading),
        pin!(writing),
        pin!(beating),
        pin!(watching),
        pin!(telling),
        pin!(forwarding),
    ])
    .await
}

/// Has the constructor called for every worker that is not there yet, each in its own queue.
fn build_workers<W: DistributedWorker>(host: &Arc<Shared<W>>, link: &Arc<Uplink>) {
    let (call, mut to_build) = (Arc::new(Call::build(link)), Vec::new());
    for slot in &host.slots {
        let built = slot.built.load(std::sync::atomic::Ordering::Acquire);
        if !built && slot.enqueue(&call, Bytes::new(), usize::MAX) {
            to_build.push(slot.clone());
        }
    }
    host.start(link, to_build);
}

async fn handshake<W, S>(
    host: &Shared<W>,
    mut read: Watched<ReadHalf<S>>,
    write: &mut (impl AsyncWrite + Unpin),
) -> Result<(Welcome, Frames<Watched<ReadHalf<S>>>), HostError>
where
    W: DistributedWorker,
    S: AsyncRead + AsyncWrite,
{
    let ended =
        |error: std::io::Error| HostError::Ended { reason: crate::error::io_reason(&error).into() };
    let hello = Hello {
        worker: host.contract.worker.clone(),
        version: host.contract.version.to_owned(),
        methods: prints(&host.contract.methods),
        server_methods: prints(&host.contract.server_methods),
        client: host.client.to_string(),
        incarnation: host.incarnation,
        prefix: host.prefix.clone(),
        workers: u32::try_from(host.slots.len()).unwrap_or(u32::MAX),
        max_message: host.limits.frame_limit() as u64,
    };
    write.write_all(&Preamble::ours().to_bytes()).await.map_err(ended)?;
    write.write_all(&hello.to_frame()).await.map_err(ended)?;
    write.flush().await.map_err(ended)?;

    read_preamble(&mut read).await?;
    // The welcome tells a position for every worker, so the common limit is right from the start.
    let mut frames = Frames::new(read, host.limits.frame_limit(), MAX_MESSAGE);
    let frame = frames
        .next()
        .await?
        .ok_or_else(|| HostError::Ended { reason: "connection closed".into() })?;
    match ServerMessage::parse(frame).map_err(LinkError::from)? {
        ServerMessage::Welcome(welcome) if welcome.positions.len() == host.slots.len() => {
            Ok((welcome, frames))
        }
        ServerMessage::Refused(refused) => Err(refused.into()),
        _ => Err(HostError::Protocol {
            reason: "peer broke the protocol: no answer to the handshake".into(),
        }),
    }
}

/// Reads calls until the server says quit.
async fn read_calls<W: DistributedWorker, R: AsyncRead + Unpin>(
    host: &Arc<Shared<W>>,
    link: &Arc<Uplink>,
    frames: &mut Frames<R>,
    logs: &Forwarding,
) -> Result<(), HostError> {
    // Calls that came in one burst are started together, and their answers leave together.
    let mut ready = Vec::new();
    let mut traced: Option<Trace> = None;
    loop {
        if !frames.has_next() && !ready.is_empty() {
            host.start(link, std::mem::take(&mut ready));
        }
        let lost = |error: LinkError| HostError::Lost { reason: error.to_string().into() };
        let frame = frames.next().await.map_err(lost)?;
        let Some(frame) = frame else {
            return Err(HostError::Lost { reason: "connection closed".into() });
        };
        match ServerMessage::parse(frame).map_err(|error| lost(error.into()))? {
            ServerMessage::Call(head, arguments) => {
                let from = traced.take().and_then(|trace| trace.of(head.call));
                host.handle_call(link, (&head, from), arguments, &mut ready);
            }
            ServerMessage::Cancel(cancel) => host.handle_cancel(link, &cancel),
            ServerMessage::Positions(positions) => host.handle_positions(&positions),
            ServerMessage::ServerReply(head, value) => link.handle_reply(head, value),
            ServerMessage::Release(release) => link.handle_release(&release),
            ServerMessage::Trace(trace) => traced = Some(trace),
            ServerMessage::ForwardLogs(ForwardLogs { level, per_second }) => {
                let ids = host.slots.iter().map(|slot| slot.info().id().clone());
                logs.send_replace(
                    (level > 0).then(|| LogQueue::open(&WANTED, ids, level, per_second)),
                );
            }
            ServerMessage::Quit => {
                if send_logs(logs, link) {
                    // Then the writer ends, and with it all of this.
                    link.finish();
                    let _ = timeout(LAST_LOGS, std::future::pending::<()>()).await;
                }
                return Ok(());
            }
            // It has been noted that something came.
            ServerMessage::Heartbeat => {}
            ServerMessage::Refused(refused) => return Err(refused.into()),
            ServerMessage::Welcome(_) => {
                let reason = "peer broke the protocol: a second answer to the handshake";
                return Err(HostError::Lost { reason: reason.into() });
            }
        }
    }
}

/// Tells the server what methods that take long have recorded, for as long as it is polled.
async fn tell_news<W: DistributedWorker>(host: &Shared<W>, link: &Uplink) {
    let mut ticks = tokio::time::interval(NEWS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for tick in (0..MEASURED_NEWS).cycle() {
        ticks.tick().await;
        for slot in &host.slots {
            slot.tell_news(link);
            if tick + 1 == MEASURED_NEWS {
                slot.tell_measured(link);
            }
        }
    }
}

/// The lines that wait to be forwarded, once the server has asked for them.
type Forwarding = watch::Sender<Option<Arc<LogQueue>>>;

/// Forwards what is logged, for as long as it is polled: lines that come together leave together.
async fn forward_logs(logs: &Forwarding, link: &Uplink) {
    let mut asked = logs.subscribe();
    loop {
        let queue = asked.borrow_and_update().clone();
        let Some(queue) = queue else {
            // It lives as long as `logs`, which is not dropped while this is polled.
            let _ = asked.changed().await;
            continue;
        };
        tokio::select! {
            biased;
            _ = asked.changed() => continue,
            () = queue.come.notified() => sleep(LOGS_TOGETHER).await,
        }
        // Calls go before: what finds no room is dropped, and counted.
        while link.unwritten() > CROWDED {
            sleep(LOGS_TOGETHER).await;
        }
        send_logs(logs, link);
    }
}

/// Whether there were any.
fn send_logs(logs: &Forwarding, link: &Uplink) -> bool {
    let queue = logs.borrow().clone();
    let waiting = queue.map(|queue| queue.take()).unwrap_or_default();
    link.push(waiting.iter().map(Logs::to_frame)) && !waiting.is_empty()
}

/// Ends calls whose deadline has passed, for as long as it is polled.
async fn watch_deadlines<W: DistributedWorker>(host: &Arc<Shared<W>>, link: &Arc<Uplink>) {
    loop {
        match host.handle_time(link, Instant::now()) {
            Some(at) => {
                let _ = timeout_at(at, host.earlier.notified()).await;
            }
            None => host.earlier.notified().await,
        }
    }
}

impl From<Refused> for HostError {
    fn from(refused: Refused) -> Self {
        let silent = refused.silent.map(Duration::from_micros);
        Self::Refused { reason: refused.reason.into(), silent }
    }
}

impl From<LinkError> for HostError {
    fn from(error: LinkError) -> Self {
        let reason = error.to_string();
        match error {
            // From TLS: the other side does not take this one's certificate, say.
            LinkError::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                Self::Protocol { reason: format!("TLS: {reason}").into() }
            }
            LinkError::Io(_) => Self::Ended { reason: reason.into() },
            _ => Self::Protocol { reason: reason.into() },
        }
    }
}
