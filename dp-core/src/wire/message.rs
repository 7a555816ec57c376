//! The messages of both directions, and their bodies' encoding.

use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::frame::{frame, frame_with, split_kind};
use super::logs::{ForwardLogs, Logs};
use super::reply::{Reply, decode_replies};
use super::trace::Trace;
use crate::bound;
use crate::codec::{self, Decoder, Encoded};
use crate::error::{CallError, Decoded};
use crate::record::Recorded;

/// Kinds of frames, client to server.
pub(super) mod from_client {
    pub(super) const HELLO: u8 = 0x01;
    pub(in super::super) const REPLIES: u8 = 0x02;
    pub(super) const SERVER_CALL: u8 = 0x03;
    pub(super) const ARRIVE: u8 = 0x04;
    pub(super) const WITHDRAW: u8 = 0x05;
    pub(super) const RECORD: u8 = 0x06;
    pub(super) const HEARTBEAT: u8 = 0x07;
    pub(in super::super) const LOGS: u8 = 0x08;
    pub(in super::super) const TRACE: u8 = 0x09;
    pub(super) const MEASURED: u8 = 0x0a;
    pub(super) const PART: u8 = 0x0b;
}

/// Kinds of frames, server to client.
pub(super) mod from_server {
    pub(super) const WELCOME: u8 = 0x81;
    pub(super) const REFUSED: u8 = 0x82;
    pub(super) const POSITIONS: u8 = 0x83;
    pub(super) const CALL: u8 = 0x84;
    pub(super) const CANCEL: u8 = 0x85;
    pub(super) const QUIT: u8 = 0x86;
    pub(super) const SERVER_REPLY: u8 = 0x87;
    pub(super) const RELEASE: u8 = 0x88;
    pub(super) const HEARTBEAT: u8 = 0x89;
    pub(in super::super) const FORWARD_LOGS: u8 = 0x8a;
    pub(in super::super) const TRACE: u8 = 0x8b;
}

/// Why a frame is no message. The peer is at fault; the connection ends.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum WireError {
    #[error("empty frame")]
    Empty,
    #[error("unknown kind of frame {kind:#04x}")]
    UnknownKind { kind: u8 },
    #[error("malformed {what}: {message}")]
    Malformed { what: &'static str, message: String },
}

/// The client's first frame: who it is and what its workers can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// The worker's type.
    #[serde(deserialize_with = "bound::name")]
    pub(crate) worker: String,
    /// The version of the crate that the worker is in, for people.
    #[serde(deserialize_with = "bound::name")]
    pub(crate) version: String,
    #[serde(deserialize_with = "bound::methods")]
    pub(crate) methods: Vec<MethodPrint>,
    #[serde(deserialize_with = "bound::methods")]
    pub(crate) server_methods: Vec<MethodPrint>,
    /// The client's id.
    #[serde(deserialize_with = "bound::reason")]
    pub(crate) client: String,
    /// A number that this process has drawn: the same client again, or another of its id.
    pub(crate) incarnation: u64,
    /// What the ids of its workers start with; each is followed by its number, from 1. Empty where
    /// the one worker has the client's own id.
    #[serde(deserialize_with = "bound::reason")]
    pub(crate) prefix: String,
    /// How many workers it hosts.
    pub(crate) workers: u32,
    /// The longest frame that it takes, in bytes.
    pub(crate) max_message: u64,
}

/// A method as the two programs compare it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MethodPrint {
    #[serde(deserialize_with = "bound::name")]
    pub(crate) name: String,
    /// The signature as written, for the error.
    #[serde(deserialize_with = "bound::signature")]
    pub(crate) signature: String,
    pub(crate) fingerprint: u64,
}

/// The server's answer to a client that it takes in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Welcome {
    /// The longest frame that the server takes, in bytes.
    pub(crate) max_message: u64,
    /// The address from which the client is connected, as the server sees it.
    #[serde(deserialize_with = "bound::reason")]
    pub(crate) address: String,
    /// The roster positions of the client's workers.
    pub(crate) positions: Vec<u32>,
    /// After how long without anything else to send a heartbeat is sent, in microseconds.
    pub(crate) heartbeat_interval: u64,
    /// After how long a silence the other side counts as gone, in microseconds.
    pub(crate) heartbeat_timeout: u64,
}

/// The server's answer to a client that it turns away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refused {
    #[serde(deserialize_with = "bound::reason")]
    pub(crate) reason: String,
    /// Where another client stands in the way: how long ago, in microseconds, it was last heard of.
    /// It may have vanished, and be gone soon.
    pub(crate) silent: Option<u64>,
}

/// What stands before a call's encoded arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CallHead {
    pub(crate) call: u64,
    pub(crate) method: u16,
    /// Whether the worker records how long the method ran.
    pub(crate) timed: bool,
    /// The time that is left, in microseconds.
    pub(crate) timeout: Option<u64>,
    pub(crate) targets: Targets,
}

/// Which workers of the client are addressed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Targets {
    All,
    Some(Vec<u32>),
}

/// The caller no longer waits for these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cancel {
    pub(crate) call: u64,
    pub(crate) targets: Targets,
}

/// Why a worker has no value for a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Failure {
    Failed {
        #[serde(deserialize_with = "bound::message")]
        message: String,
        #[serde(deserialize_with = "bound::causes")]
        chain: Vec<String>,
    },
    Panicked {
        #[serde(deserialize_with = "bound::message")]
        message: String,
    },
    TimedOut,
    Cancelled,
    /// Not started, for want of room in the worker's queue, or because it has no such method.
    NotStarted {
        #[serde(deserialize_with = "bound::message")]
        reason: String,
    },
    /// The encoded value is longer than the caller's side takes.
    TooLarge {
        size: u64,
        limit: u64,
    },
    /// The arguments could not be decoded.
    Arguments {
        #[serde(deserialize_with = "bound::message")]
        message: String,
    },
}

impl Failure {
    /// The failure as it is sent: what is long in it is cut.
    pub(crate) fn bounded(mut self) -> Self {
        match &mut self {
            Self::Failed { message, chain } => {
                bound::cut(message, bound::MAX_MESSAGE);
                bound::cut_causes(chain);
            }
            Self::Panicked { message: text }
            | Self::NotStarted { reason: text }
            | Self::Arguments { message: text } => bound::cut(text, bound::MAX_MESSAGE),
            Self::TimedOut | Self::Cancelled | Self::TooLarge { .. } => {}
        }
        self
    }

    /// What the caller is told; `after` is the time that it gave, `too_large` the setting of its
    /// own side that bounds answers.
    pub(crate) fn into_error(self, after: Duration, too_large: &'static str) -> CallError {
        match self {
            Self::Failed { message, chain } => CallError::Failed { message, chain },
            Self::Panicked { message } => CallError::Panicked { message },
            Self::TimedOut => CallError::TimedOut { after },
            Self::Cancelled => CallError::Cancelled,
            Self::NotStarted { reason } => CallError::NotSent { reason },
            Self::TooLarge { size, limit } => CallError::TooLarge {
                size: usize::try_from(size).unwrap_or(usize::MAX),
                limit: usize::try_from(limit).unwrap_or(usize::MAX),
                setting: too_large,
            },
            Self::Arguments { message } => CallError::Decode { what: Decoded::Arguments, message },
        }
    }
}

/// What stands before the encoded arguments of a worker's call to the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServerCallHead {
    /// Chosen by the client; no other wait of this connection has it, for an arrival neither.
    pub(crate) wait: u64,
    pub(crate) worker: u32,
    pub(crate) method: u16,
}

/// A worker has come to a barrier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Arrive {
    /// Chosen by the client; no other wait of this connection has it.
    pub(crate) wait: u64,
    pub(crate) worker: u32,
    /// The call that the worker is in: its audience is who meets.
    pub(crate) call: u64,
    pub(crate) token: String,
    /// Whether those who meet go on one after another.
    pub(crate) staggered: bool,
    /// Whether it goes on without those who are lost.
    pub(crate) survivors: bool,
    /// How long it waits at the most, in microseconds.
    pub(crate) timeout: Option<u64>,
}

/// The worker no longer waits for this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Withdraw {
    pub(crate) wait: u64,
}

/// Lines that a worker has recorded since it last said so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) worker: u32,
    /// How often its record was dropped since the connection began: tells lines of a record that
    /// the server has dropped meanwhile.
    pub(crate) resets: u32,
    /// Tells the record from every other one.
    pub(crate) record: u64,
    pub(crate) lines: Vec<Recorded>,
}

/// What stands before a part of a worker's answer, of which the rest follows in others and the reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) call: u64,
    pub(crate) worker: u32,
}

/// What stands before all that a worker has measured, encoded as the answer to a gathering is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MeasuredNews {
    pub(crate) worker: u32,
    /// As in [`Record`].
    pub(crate) resets: u32,
    /// The record that it is a part of.
    pub(crate) record: u64,
}

/// What stands before the encoded value of a server call, or its failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServerReplyHead {
    pub(crate) wait: u64,
    pub(crate) failure: Option<Failure>,
}

/// The barrier is over for these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Release {
    pub(crate) waits: Vec<u64>,
    pub(crate) verdict: Verdict,
}

/// How a barrier ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Verdict {
    /// Everybody met; or everybody but those missing, for one who goes on without them.
    Met { missing: Vec<MissingWorker> },
    /// These will never arrive.
    Lost { missing: Vec<MissingWorker> },
    /// These have not arrived in time.
    TimedOut { missing: Vec<MissingWorker> },
}

/// A worker that has not come to a barrier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MissingWorker {
    #[serde(deserialize_with = "bound::reason")]
    pub(crate) worker: String,
    /// The method that it is in, or was in.
    #[serde(deserialize_with = "bound::reason")]
    pub(crate) method: String,
    /// What is known of it.
    #[serde(deserialize_with = "bound::reason")]
    pub(crate) state: String,
}

/// What a client sends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ClientMessage {
    Hello(Hello),
    Replies(Vec<Reply>),
    /// The arguments are behind the head.
    ServerCall(ServerCallHead, Bytes),
    Arrive(Arrive),
    Withdraw(Withdraw),
    Record(Record),
    /// The metrics are behind the head.
    Measured(MeasuredNews, Bytes),
    /// The part is behind the head.
    Part(Part, Bytes),
    Heartbeat,
    Logs(Logs),
    Trace(Trace),
}

/// What a server sends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ServerMessage {
    Welcome(Welcome),
    Refused(Refused),
    /// The roster positions of the client's workers have changed to these.
    Positions(Vec<u32>),
    /// The arguments are behind the head.
    Call(CallHead, Bytes),
    Cancel(Cancel),
    Quit,
    /// The value is behind the head, unless there is a failure.
    ServerReply(ServerReplyHead, Bytes),
    Release(Release),
    Heartbeat,
    ForwardLogs(ForwardLogs),
    Trace(Trace),
}

impl Hello {
    pub(crate) fn to_frame(&self) -> Bytes {
        plain(from_client::HELLO, self)
    }
}

impl Welcome {
    pub(crate) fn to_frame(&self) -> Bytes {
        plain(from_server::WELCOME, self)
    }
}

impl Refused {
    pub(crate) fn to_frame(&self) -> Bytes {
        plain(from_server::REFUSED, self)
    }
}

impl CallHead {
    pub(crate) fn to_frame(&self, arguments: impl Into<Encoded>) -> [Bytes; 2] {
        frame(from_server::CALL, |head| encode(self, head), arguments.into())
    }
}

impl Cancel {
    pub(crate) fn to_frame(&self) -> Bytes {
        plain(from_server::CANCEL, self)
    }
}

impl ServerCallHead {
    pub(crate) fn to_frame(&self, arguments: impl Into<Encoded>) -> [Bytes; 2] {
        frame(from_client::SERVER_CALL, |head| encode(self, head), arguments.into())
    }
}

impl Arrive {
    pub(crate) fn to_frame(&self) -> Bytes {
        plain(from_client::ARRIVE, self)
    }
}

impl Withdraw {
    pub(crate) fn to_frame(&self) -> Bytes {
        plain(from_client::WITHDRAW, self)
    }
}

impl Record {
    pub(crate) fn to_frame(&self) -> Bytes {
        plain(from_client::RECORD, self)
    }
}

impl Part {
    pub(crate) fn to_frame(&self, part: impl Into<Encoded>) -> [Bytes; 2] {
        frame(from_client::PART, |head| encode(self, head), part.into())
    }
}

impl MeasuredNews {
    pub(crate) fn to_frame(&self, metrics: impl Into<Encoded>) -> [Bytes; 2] {
        frame(from_client::MEASURED, |head| encode(self, head), metrics.into())
    }
}

impl ServerReplyHead {
    pub(crate) fn to_frame(&self, value: impl Into<Encoded>) -> [Bytes; 2] {
        frame(from_server::SERVER_REPLY, |head| encode(self, head), value.into())
    }
}

impl Release {
    pub(crate) fn to_frame(&self) -> Bytes {
        plain(from_server::RELEASE, self)
    }
}

/// So many replies, or lines, are in one frame at most: what a frame is taken apart to takes its time,
/// and memory, and all connections wait meanwhile.
pub(crate) const MAX_ITEMS: usize = 1 << 16;

impl ClientMessage {
    pub(crate) fn heartbeat() -> Bytes {
        frame_with(from_client::HEARTBEAT, |_| ())
    }

    pub(crate) fn parse(frame: Bytes) -> Result<Self, WireError> {
        let (kind, body) = split_kind(frame).ok_or(WireError::Empty)?;
        match kind {
            from_client::HELLO => decode("hello", body).map(Self::Hello),
            from_client::REPLIES => decode_replies(body).map(Self::Replies),
            from_client::SERVER_CALL => {
                let (head, arguments) = decode_head("server call", body)?;
                Ok(Self::ServerCall(head, arguments))
            }
            from_client::ARRIVE => decode("arrival", body).map(Self::Arrive),
            from_client::WITHDRAW => decode("withdrawal", body).map(Self::Withdraw),
            from_client::RECORD => {
                few("record", count::<(u32, u32, u64)>("record", &body)?)?;
                decode("record", body).map(Self::Record)
            }
            from_client::MEASURED => {
                let (head, metrics) = decode_head("metrics", body)?;
                Ok(Self::Measured(head, metrics))
            }
            from_client::PART => {
                let (head, part) = decode_head("part", body)?;
                Ok(Self::Part(head, part))
            }
            from_client::HEARTBEAT => Ok(Self::Heartbeat),
            from_client::TRACE => decode("trace", body).map(Self::Trace),
            from_client::LOGS => {
                few("log", count::<u64>("log", &body)?)?;
                decode("log", body).map(Self::Logs)
            }
            kind => Err(WireError::UnknownKind { kind }),
        }
    }
}

impl ServerMessage {
    pub(crate) fn quit() -> Bytes {
        frame_with(from_server::QUIT, |_| ())
    }

    pub(crate) fn heartbeat() -> Bytes {
        frame_with(from_server::HEARTBEAT, |_| ())
    }

    pub(crate) fn positions(positions: &[u32]) -> Bytes {
        plain(from_server::POSITIONS, positions)
    }

    pub(crate) fn parse(frame: Bytes) -> Result<Self, WireError> {
        let (kind, body) = split_kind(frame).ok_or(WireError::Empty)?;
        match kind {
            from_server::WELCOME => decode("welcome", body).map(Self::Welcome),
            from_server::REFUSED => decode("refusal", body).map(Self::Refused),
            from_server::POSITIONS => decode("positions", body).map(Self::Positions),
            from_server::CALL => {
                let (head, arguments) = decode_head("call", body)?;
                Ok(Self::Call(head, arguments))
            }
            from_server::CANCEL => decode("cancel", body).map(Self::Cancel),
            from_server::QUIT => Ok(Self::Quit),
            from_server::SERVER_REPLY => {
                let (head, value) = decode_head("server reply", body)?;
                Ok(Self::ServerReply(head, value))
            }
            from_server::RELEASE => decode("release", body).map(Self::Release),
            from_server::HEARTBEAT => Ok(Self::Heartbeat),
            from_server::TRACE => decode("trace", body).map(Self::Trace),
            from_server::FORWARD_LOGS => decode("request for the log", body).map(Self::ForwardLogs),
            kind => Err(WireError::UnknownKind { kind }),
        }
    }
}

pub(super) fn malformed(what: &'static str) -> impl Fn(String) -> WireError {
    move |message| WireError::Malformed { what, message }
}

pub(super) fn plain<T: Serialize + ?Sized>(kind: u8, message: &T) -> Bytes {
    frame_with(kind, |body| encode(message, body))
}

/// The messages consist of integers, texts and vectors, which bincode always encodes.
pub(super) fn encode<T: Serialize + ?Sized>(message: &T, buffer: &mut Vec<u8>) {
    if let Err(error) = codec::encode(message, buffer) {
        debug_assert!(false, "a message could not be encoded: {error}");
    }
}

fn decode<T: DeserializeOwned + 'static>(what: &'static str, body: Bytes) -> Result<T, WireError> {
    codec::decode(body).map_err(malformed(what))
}

/// How many items the list has that stands behind a head.
fn count<H: DeserializeOwned>(what: &'static str, body: &Bytes) -> Result<u64, WireError> {
    let mut decoder = Decoder::new(body.clone());
    decoder.take::<H>().map_err(malformed(what))?;
    decoder.take().map_err(malformed(what))
}

/// Checks that a frame is of so many items as it may be.
pub(super) fn few(what: &'static str, items: u64) -> Result<(), WireError> {
    match items <= MAX_ITEMS as u64 {
        true => Ok(()),
        false => {
            let message = format!("more than {MAX_ITEMS} of them in one frame");
            Err(WireError::Malformed { what, message })
        }
    }
}

/// A head, and the bytes behind it.
fn decode_head<T: DeserializeOwned>(
    what: &'static str,
    body: Bytes,
) -> Result<(T, Bytes), WireError> {
    let mut decoder = Decoder::new(body);
    let head = decoder.take().map_err(malformed(what))?;
    Ok((head, decoder.rest()))
}

#[cfg(test)]
mod tests {
    use super::super::reply::{ReplyHead, Status};
    use super::*;

    fn unframe(frame: &[Bytes]) -> Bytes {
        let whole: Vec<u8> = frame.iter().flat_map(|part| part.iter().copied()).collect();
        let length = u32::from_le_bytes(whole[..4].try_into().unwrap()) as usize;
        assert_eq!(length, whole.len() - 4);
        Bytes::from(whole).slice(4..)
    }

    #[test]
    fn a_frame_of_too_many_items_is_refused_before_they_are_taken_apart() {
        let many = vec![0; 2 * MAX_ITEMS];
        let head = |kind: u8, head: &[u8]| {
            let count = [252, 1, 0, 1, 0];
            Bytes::from([&[kind][..], head, &count, &many].concat())
        };
        let reply = ReplyHead {
            call: 1,
            worker: 0,
            elapsed: 0,
            status: Status::Failure(Failure::Cancelled),
        };
        let mut replies = vec![from_client::REPLIES];
        (0..=MAX_ITEMS).for_each(|_| encode(&reply, &mut replies));
        for frame in [
            head(from_client::LOGS, &[0]),
            head(from_client::RECORD, &[0, 0, 0]),
            Bytes::from(replies),
        ] {
            let error = ClientMessage::parse(frame).unwrap_err().to_string();
            assert!(error.contains("more than 65536 of them in one frame"), "{error}");
        }
    }

    #[test]
    fn a_call_comes_back_with_its_arguments() {
        let head = CallHead {
            call: u64::MAX,
            method: 3,
            timed: true,
            timeout: Some(5),
            targets: Targets::Some(vec![0, 7]),
        };
        let arguments = Bytes::from_static(b"arguments");
        let frame = unframe(&head.to_frame(arguments.clone()));
        assert_eq!(ServerMessage::parse(frame), Ok(ServerMessage::Call(head, arguments)));
    }

    #[test]
    fn what_is_no_message_is_an_error_that_says_what_is_wrong() {
        let parse = |bytes: &'static [u8]| ClientMessage::parse(Bytes::from_static(bytes));
        assert_eq!(parse(b""), Err(WireError::Empty));
        assert_eq!(parse(b"\x77"), Err(WireError::UnknownKind { kind: 0x77 }));
        assert!(matches!(parse(b"\x01\xff"), Err(WireError::Malformed { what: "hello", .. })));
        assert!(matches!(parse(b"\x02\x01"), Err(WireError::Malformed { what: "reply", .. })));
        let server = ServerMessage::parse(Bytes::from_static(b"\x84\x01"));
        assert!(matches!(server, Err(WireError::Malformed { what: "call", .. })));
    }
}
