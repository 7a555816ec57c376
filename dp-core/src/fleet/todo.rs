//! What a step of the call table leaves to do.

use std::sync::Arc;
use std::task::Waker;

use super::conn::Conn;
use super::in_flight::InFlight;
use crate::wire::{Cancel, Release, Targets};

/// What a step of the table leaves to do once it is unlocked.
#[derive(Debug, Default)]
pub(crate) struct Todo {
    pub(super) wakers: Vec<Waker>,
    /// Calls that nobody waits for any more, and the workers' slots.
    pub(super) cancels: Vec<(Arc<Conn>, u64, Vec<u32>)>,
    releases: Vec<(Arc<Conn>, Release)>,
    /// A deadline was entered that is earlier than all before.
    pub(crate) earlier: bool,
    /// A worker is done with a call.
    pub(crate) settled: bool,
    /// Calls whose spans end.
    pub(super) over: Vec<Arc<InFlight>>,
}

/// A call that was cancelled before it was sent to these workers behind a connection.
#[derive(Debug)]
pub(crate) struct Withdrawn {
    pub(super) conn: u64,
    pub(super) call: u64,
    pub(super) slots: Vec<u32>,
}

impl Todo {
    pub(crate) fn release(&mut self, conn: Arc<Conn>, release: Release) {
        self.releases.push((conn, release));
    }

    /// Does it. What was cancelled before it left this side is given back.
    pub(crate) fn run(self) -> Vec<Withdrawn> {
        for (conn, release) in self.releases {
            conn.outbox.push_answer([release.to_frame()]);
        }
        let mut withdrawn = Vec::new();
        for (conn, call, mut slots) in self.cancels {
            slots.sort_unstable();
            let mut unsent = conn.outbox.withdraw(call, &slots);
            unsent.sort_unstable();
            slots.retain(|slot| unsent.binary_search(slot).is_err());
            if !slots.is_empty() {
                conn.outbox.push([Cancel { call, targets: Targets::Some(slots) }.to_frame()]);
            }
            if !unsent.is_empty() {
                withdrawn.push(Withdrawn { conn: conn.key, call, slots: unsent });
            }
        }
        self.wakers.into_iter().for_each(Waker::wake);
        withdrawn
    }
}
