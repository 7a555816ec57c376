//! What the clients log, for a server that asks for it.

use std::fmt;
use std::sync::OnceLock;
use std::time::Instant;

use tracing::Level;

use super::conn::Conn;
use crate::WorkerId;
use crate::logs;
use crate::proto::budget::Budget;
use crate::text::PeerText;
use crate::wire::{ForwardLogs, Logs};

/// Lines that a client's program has logged.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ForwardedLogs {
    /// The client's id.
    pub client: String,
    /// How many lines it has dropped, or this side has, since there were too many of them.
    pub dropped: u64,
    /// The others.
    pub lines: Vec<ForwardedLine>,
}

/// A line that a client's program has logged.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForwardedLine {
    /// In whose method; the client's id where it was outside of calls.
    pub worker: WorkerId,
    /// How important it is.
    pub level: Level,
    /// What it says, on one line of 4 KiB at the most, without control or format characters.
    pub text: String,
}

impl ForwardedLogs {
    /// What a client has told.
    pub fn new(client: String, dropped: u64, lines: Vec<ForwardedLine>) -> Self {
        Self { client, dropped, lines }
    }
}

impl ForwardedLine {
    /// A line of `worker`.
    pub fn new(worker: WorkerId, level: Level, text: String) -> Self {
        Self { worker, level, text }
    }
}

/// Who gets the lines.
type Receive = dyn Fn(ForwardedLogs) + Send + Sync;

/// What is asked of the clients; nothing unless it was set.
#[derive(Default)]
pub(super) struct Asked(OnceLock<(ForwardLogs, Box<Receive>)>);

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Asked").field(&self.0.get().map(|(what, _)| what)).finish()
    }
}

impl Asked {
    pub(super) fn set(&self, level: Level, per_second: u32, receive: Box<Receive>) {
        let what = ForwardLogs { level: logs::number(level), per_second };
        let _ = self.0.set((what, receive));
    }

    /// Asks a client that has joined.
    pub(super) fn ask(&self, conn: &Conn) {
        if let Some((what, _)) = self.0.get() {
            conn.outbox.push([what.to_frame()]);
        }
    }

    /// How much the server takes of one client.
    pub(super) fn budget(&self) -> Budget {
        let per_second = self.0.get().map_or(0, |(what, _)| what.per_second);
        // A second of the client's may be parts of two of this side's.
        Budget::new(per_second.saturating_mul(2))
    }

    /// A client tells; `false` if nobody has asked it.
    pub(super) fn handle_logs(&self, conn: &Conn, told: Logs, budget: &mut Budget) -> bool {
        let Some((what, receive)) = self.0.get() else { return false };
        let mut dropped = told.dropped;
        let mut lines = Vec::new();
        for line in told.lines {
            if line.level > what.level || !budget.take(Instant::now()) {
                dropped = dropped.saturating_add(1);
                continue;
            }
            let id = line.worker.and_then(|slot| conn.workers.get(slot as usize).cloned());
            let Some(worker) = id.or_else(|| WorkerId::new(&*conn.client).ok()) else { continue };
            let text = PeerText::within(&line.text, logs::MAX_LINE).into();
            lines.push(ForwardedLine { worker, level: logs::level(line.level), text });
        }
        receive(ForwardedLogs { client: conn.client.to_string(), dropped, lines });
        true
    }
}
