//! Bytes ↔ messages. Pure: no socket, no clock. PROTOCOL.md describes what is on the wire.

mod frame;
#[cfg(test)]
mod garbage;
mod logs;
mod message;
mod reply;
mod trace;

#[cfg(feature = "net")]
pub(crate) use frame::TokenPreamble;
pub(crate) use frame::{Preamble, PreambleError, is_tls};
pub(crate) use logs::{ForwardLogs, LoggedLine, Logs};
pub(crate) use message::{
    Arrive, CallHead, Cancel, ClientMessage, Failure, Hello, MeasuredNews, MethodPrint,
    MissingWorker, Part, Record, Refused, Release, ServerCallHead, ServerMessage, ServerReplyHead,
    Targets, Verdict, Welcome, WireError, Withdraw,
};
pub(crate) use reply::Reply;
pub(crate) use trace::Trace;

/// The version of the protocol that this crate speaks.
pub(crate) const PROTOCOL_VERSION: u16 = 1;

/// The bytes that stand before a frame's body: its length (4) and its kind (1).
pub(crate) const FRAME_HEAD: usize = 5;
