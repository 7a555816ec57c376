//! One connection, from the handshake to its end.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, timeout, timeout_at};

use super::Core;
use super::conn::Conn;
use super::join::Refusal;
use super::send::micros;
use crate::barrier::MAX_TOKEN;
use crate::bound;
use crate::link::{
    Activity, FanLink, Frames, Heartbeat, LinkError, Transport, Watched, keep_alive, read_preamble,
    write_frames,
};
use crate::sync::first;
use crate::text::PeerText;
use crate::wire::{
    ClientMessage, Hello, Preamble, PreambleError, Refused, ServerMessage, Trace, Welcome,
    WireError,
};

/// How a client that had joined left.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Departure {
    /// Its id.
    pub client: String,
    /// How its connection ended.
    pub reason: PeerText,
    /// Whether it had been told to quit.
    pub asked: bool,
}

/// Why a peer never joined. The text is one line, fit for a log.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// What it sent is not the protocol: a stranger, another version, or garbage.
    #[error("{reason}")]
    Protocol {
        /// What was wrong.
        reason: PeerText,
    },
    /// The connection ended before the handshake was over.
    #[error("connection ended during the handshake: {reason}")]
    Ended {
        /// How.
        reason: PeerText,
    },
    /// The handshake took too long.
    #[error("no handshake within {after:?} (handshake_timeout)")]
    TimedOut {
        /// The time that it had.
        after: Duration,
    },
    /// It was turned away, and told why.
    #[error("client {client} was refused: {reason}")]
    Refused {
        /// Its id.
        client: PeerText,
        /// Why.
        reason: PeerText,
    },
}

/// So many bytes may wait to be written up to the last answer to something that a client asked.
const ANSWERS: u64 = 8 << 20;

/// How long a client that is turned away may take to close its side, and how much it may send until
/// then.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: u64 = 16 << 20;

/// The longest reason that a client is turned away with, in bytes: with what is around it, less than
/// 2 KiB are ever sent to somebody who has proven nothing.
const MAX_REFUSAL: usize = 1_900;

const MAX_MESSAGE: &str = "max_message of the server";
const MAX_HANDSHAKE: &str = "max_handshake of the server";

/// Who is at the other end of a connection, as far as that is known before it says so itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// Where it is connected from.
    pub address: String,
    /// The names that it has proven by a certificate: its id must be one of them. `None` where nobody
    /// has asked for one.
    pub names: Option<Vec<String>>,
    /// How it can be sent to along with others, if it can.
    pub fan_out: Option<FanLink>,
}

impl Peer {
    /// One that has proven nothing.
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into(), names: None, fan_out: None }
    }

    /// One that can be sent to along with others. What it reads must be what is written to its stream: so
    /// there is none within TLS.
    pub fn with_fan_out(mut self, link: Option<FanLink>) -> Self {
        self.fan_out = link;
        self
    }

    /// One whose certificate has these names.
    pub fn with_names(mut self, names: Option<Vec<String>>) -> Self {
        self.names = names;
        self
    }
}

/// A client that has joined, and can be called while [`serve`](Self::serve) is polled. Dropped, it
/// leaves.
pub struct Admitted<S> {
    joined: Joined,
    frames: Frames<Watched<ReadHalf<S>>>,
    write: WriteHalf<S>,
    activity: Activity,
}

impl<S> fmt::Debug for Admitted<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let client = &self.joined.conn.client;
        f.debug_struct("Admitted").field("client", client).finish_non_exhaustive()
    }
}

pub(super) async fn admit<S>(
    core: Arc<Core>,
    stream: S,
    peer: &Peer,
) -> Result<Admitted<S>, ServeError>
where
    S: Transport,
{
    let (read, mut write) = tokio::io::split(stream);
    let read = Watched::new(read);
    let activity = read.activity();
    let after = core.limits.handshake_timeout;
    // One clock for all of it. A time too far away is none.
    let deadline = Instant::now().checked_add(after);
    let by = deadline.unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400 * 365));
    let shaken = timeout_at(by, handshake(&core, read, &mut write, peer)).await;
    let (conn, welcome, mut frames) = shaken.map_err(|_| ServeError::TimedOut { after })??;
    let joined = Joined { core, conn, reason: "dropped by the server".to_owned() };
    let welcoming = async {
        write.write_all(&welcome.to_frame()).await?;
        write.flush().await
    };
    match timeout_at(by, welcoming).await {
        Err(_) => return Err(ServeError::TimedOut { after }),
        Ok(Err(error)) => return Err(LinkError::Io(error).into()),
        Ok(Ok(())) => joined.core.arrived(&joined.conn),
    }
    frames.set_limit(joined.core.limits.frame_limit(), MAX_MESSAGE);
    Ok(Admitted { joined, frames, write, activity })
}

impl<S: Transport> Admitted<S> {
    /// Serves the connection to its end: how the client left.
    pub async fn serve(self) -> Departure {
        let Self { mut joined, mut frames, write, activity } = self;
        let (core, conn) = (joined.core.clone(), joined.conn.clone());
        core.logs.ask(&conn);
        let beat = ServerMessage::heartbeat();
        let heartbeat = Heartbeat {
            interval: core.limits.heartbeat_interval.max(Duration::from_millis(1)),
            timeout: core.limits.heartbeat_timeout.max(Duration::from_millis(2)),
        };
        let (told, noted, of) = (core.clone(), activity.clone(), conn.clone());
        // Gone, with what it holds, when the writing ends.
        let room = move || {
            if of.outbox.unwritten_answers() > ANSWERS {
                // It is not read from at the moment, and takes what is written.
                noted.note();
            }
            told.room.notify_waiters();
        };
        let reading = read_messages(&core, &conn, &mut frames);
        // However much there is to read, these have their turn, too.
        let beating = unconstrained(keep_alive(&conn.outbox, &activity, heartbeat, &beat));
        let writing = unconstrained(async {
            match write_frames(write, &conn.outbox, room).await {
                Ok(()) => "closed by the server".to_owned(),
                Err(error) => crate::error::io_reason(&error),
            }
        });
        joined.reason = first([pin!(reading), pin!(beating), pin!(writing)]).await;
        if conn.kicked.load(Ordering::Acquire) {
            joined.reason = super::KICKED.to_owned();
        }
        let reason = joined.reason.clone();
        drop(joined);
        if conn.kicked.load(Ordering::Acquire) {
            linger(&mut frames).await;
        }
        let asked = conn.quitting.load(Ordering::Acquire);
        Departure { client: conn.client.to_string(), reason: reason.into(), asked }
    }
}

/// A client in the roster. However its connection ends, also by being dropped, it leaves.
struct Joined {
    core: Arc<Core>,
    conn: Arc<Conn>,
    reason: String,
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.core.leave(&self.conn, &self.reason);
    }
}

async fn handshake<S>(
    core: &Core,
    mut read: Watched<ReadHalf<S>>,
    write: &mut (impl AsyncWrite + Unpin),
    peer: &Peer,
) -> Result<(Arc<Conn>, Welcome, Frames<Watched<ReadHalf<S>>>), ServeError>
where
    S: AsyncRead + AsyncWrite,
{
    let activity = read.activity();
    let preamble = read_preamble(&mut read).await;
    // A dp of another version learns from ours which one it should be; a stranger gets nothing.
    let stranger = matches!(
        preamble,
        Err(LinkError::Preamble(PreambleError::NotDp { .. }) | LinkError::Io(_))
    );
    if !stranger {
        let _ = write.write_all(&Preamble::ours().to_bytes()).await;
        let _ = write.flush().await;
    }
    preamble?;
    let mut frames = Frames::new(read, core.limits.max_handshake, MAX_HANDSHAKE);
    let hello = read_hello(&mut frames).await?;
    match core.join(&hello, peer, &activity) {
        Ok((conn, welcome)) => Ok((conn, welcome, frames)),
        Err(Refusal { mut reason, silent }) => {
            let client: String = hello.client.chars().take(255).collect();
            // It is not kept for as long as the client takes to go.
            drop(hello);
            bound::cut(&mut reason, MAX_REFUSAL);
            let refused = Refused { reason: reason.clone(), silent: silent.map(micros) };
            let _ = write.write_all(&refused.to_frame()).await;
            let _ = write.shutdown().await;
            linger(&mut frames).await;
            let client = PeerText::within(client, 255);
            Err(ServeError::Refused { client, reason: reason.into() })
        }
    }
}

/// Reads on, for a moment, until the client has closed its side: were the connection closed with
/// something unread, the system would reset it, and the client might never see the last message.
async fn linger<R: AsyncRead + Unpin>(frames: &mut Frames<R>) {
    let _ = timeout(LINGER, frames.drain(LINGER_BYTES)).await;
}

async fn read_hello<R: AsyncRead + Unpin>(frames: &mut Frames<R>) -> Result<Hello, ServeError> {
    let frame = frames
        .next()
        .await?
        .ok_or_else(|| ServeError::Ended { reason: "connection closed".into() })?;
    match ClientMessage::parse(frame).map_err(LinkError::from)? {
        ClientMessage::Hello(hello) => Ok(hello),
        _ => Err(ServeError::Protocol {
            reason: "peer broke the protocol: another message before the handshake".into(),
        }),
    }
}

/// Reads what the client says until the connection ends; how it ended.
async fn read_messages<R: AsyncRead + Unpin>(
    core: &Arc<Core>,
    conn: &Arc<Conn>,
    frames: &mut Frames<R>,
) -> String {
    let mut log_lines = core.logs.budget();
    let mut traced: Option<Trace> = None;
    loop {
        // A client that asks and does not read the answers is not listened to: else what it asks
        // for would fill this side's memory.
        while conn.outbox.unwritten_answers() > ANSWERS {
            let written = core.room.notified();
            tokio::pin!(written);
            written.as_mut().enable();
            if conn.outbox.unwritten_answers() > ANSWERS {
                written.await;
            }
        }
        let frame = match frames.next().await {
            Ok(Some(frame)) => frame,
            Ok(None) => return "connection closed".to_owned(),
            Err(error) => return error.to_string(),
        };
        match ClientMessage::parse(frame) {
            Ok(ClientMessage::Replies(replies)) => {
                core.with_calls(|calls, todo| calls.handle_replies(conn, replies, todo));
            }
            Ok(ClientMessage::ServerCall(head, arguments)) => {
                let from = traced.take().and_then(|trace| trace.of(head.wait));
                core.handle_server_call(conn, &head, arguments, from);
            }
            Ok(ClientMessage::Arrive(arrive)) if arrive.token.len() > MAX_TOKEN => {
                return "peer broke the protocol: a token longer than it may be".to_owned();
            }
            Ok(ClientMessage::Arrive(arrive)) => {
                let max = core.limits.max_server_calls;
                core.with_calls(|calls, todo| calls.handle_arrive(conn, &arrive, max, todo));
            }
            // It has been noted that something came.
            Ok(ClientMessage::Heartbeat) => {}
            Ok(ClientMessage::Record(record)) => {
                core.handle_record(conn, record);
            }
            Ok(ClientMessage::Part(part, bytes)) => {
                core.with_calls(|calls, _| calls.handle_part(conn, &part, &bytes));
            }
            Ok(ClientMessage::Measured(told, metrics)) => {
                core.handle_measured(conn, &told, &metrics);
            }
            Ok(ClientMessage::Withdraw(withdraw)) => core.handle_withdraw(conn, withdraw.wait),
            Ok(ClientMessage::Trace(trace)) => traced = Some(trace),
            Ok(ClientMessage::Logs(logs)) => {
                if !core.logs.handle_logs(conn, logs, &mut log_lines) {
                    return "peer broke the protocol: a log that nobody has asked for".to_owned();
                }
            }
            Ok(ClientMessage::Hello(_)) => return "peer broke the protocol: a second hello".into(),
            Err(error) => return LinkError::from(error).to_string(),
        }
    }
}

impl From<LinkError> for ServeError {
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

impl From<WireError> for ServeError {
    fn from(error: WireError) -> Self {
        LinkError::from(error).into()
    }
}
