//! What the server keeps for its workers.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dp_core::WorkerId;

use crate::Chain;

/// The server's state: which numbers are still to be searched, what was found, and a journal.
#[derive(Debug)]
pub struct Board {
    below: u64,
    ranges: u64,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    since: Instant,
    taken: u64,
    longest: Chain,
    journal: Vec<Entry>,
}

/// A line of the journal.
#[derive(Clone, Debug)]
pub struct Entry {
    /// How long after the begin of the run, by the server's clock.
    pub at: Duration,
    /// Who.
    pub worker: WorkerId,
    /// What.
    pub what: String,
}

impl Board {
    /// A board for the numbers from 1 to `below`, cut into so many ranges.
    pub fn new(below: u64, ranges: u64) -> Self {
        Self { below, ranges: ranges.max(1), inner: Mutex::new(Inner::new()) }
    }

    /// Wipes off what an earlier run has left.
    pub fn wipe(&self) {
        *self.inner() = Inner::new();
    }

    /// A range that nobody has been given; `None` when there are no more.
    pub fn next_range(&self) -> Option<Range<u64>> {
        let mut inner = self.inner();
        let number = inner.taken;
        if number == self.ranges {
            return None;
        }
        inner.taken += 1;
        let edge = |number: u64| 1 + (self.below - 1) * number / self.ranges;
        Some(edge(number)..edge(number + 1))
    }

    /// Takes note of a chain.
    pub fn found(&self, chain: Chain) {
        let mut inner = self.inner();
        inner.longest = inner.longest.or_longer(chain);
    }

    /// The longest chain that anybody has found.
    pub fn longest(&self) -> Chain {
        self.inner().longest
    }

    /// Writes into the journal.
    pub fn note(&self, worker: &WorkerId, what: &str) {
        let mut inner = self.inner();
        let at = inner.since.elapsed();
        inner.journal.push(Entry { at, worker: worker.clone(), what: what.to_owned() });
    }

    /// The journal of the run, in the order in which it was written.
    pub fn journal(&self) -> Vec<Entry> {
        self.inner().journal.clone()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn new() -> Self {
        let longest = Chain::default();
        Self { since: Instant::now(), taken: 0, longest, journal: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_handed_out_once() {
        for (below, ranges) in [(1, 1), (2, 5), (100, 7), (1_000, 1)] {
            let board = Board::new(below, ranges);
            for _run in 0..2 {
                board.wipe();
                let numbers: Vec<u64> =
                    std::iter::from_fn(|| board.next_range()).flatten().collect();
                assert_eq!(numbers, (1..below).collect::<Vec<_>>());
            }
        }
    }
}
