//! The messages by which a client's log comes to its server.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::message::{from_client, from_server, plain};

/// The server wants to see what the client's program logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ForwardLogs {
    /// From error (1) to trace (5): lines of this level and those before it. 0: no more.
    pub(crate) level: u8,
    /// How many lines a second it takes of this client.
    pub(crate) per_second: u32,
}

/// What a client's program has logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Logs {
    /// How many lines were dropped since the last of these messages, for want of room.
    pub(crate) dropped: u64,
    pub(crate) lines: Vec<LoggedLine>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LoggedLine {
    /// In whose method; `None` outside of calls.
    pub(crate) worker: Option<u32>,
    /// From error (1) to trace (5).
    pub(crate) level: u8,
    pub(crate) text: String,
}

impl ForwardLogs {
    pub(crate) fn to_frame(&self) -> Bytes {
        plain(from_server::FORWARD_LOGS, self)
    }
}

impl Logs {
    pub(crate) fn to_frame(&self) -> Bytes {
        plain(from_client::LOGS, self)
    }
}
