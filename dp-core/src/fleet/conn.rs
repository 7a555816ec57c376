//! The server's side of one client's connection.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::server_task::ServerTask;
use crate::id::WorkerId;
use crate::link::{Activity, CallFrame, FanLink, Outbox};
use crate::record::Recorded;
use crate::sync::lock;
use crate::wire::{Hello, Record, ServerMessage};

/// A client that has joined.
#[derive(Debug)]
pub(crate) struct Conn {
    /// Never used again for another connection.
    pub(crate) key: u64,
    pub(crate) client: Arc<str>,
    /// Tells the client's process from others of its id.
    pub(crate) incarnation: u64,
    pub(crate) version: String,
    pub(crate) address: Arc<str>,
    /// The ids of its workers, by slot.
    pub(crate) workers: Vec<WorkerId>,
    pub(crate) outbox: Outbox,
    /// How it can be sent to along with others, if it can.
    pub(crate) fan_out: Option<FanLink>,
    pub(crate) activity: Activity,
    /// Calls that each worker has not answered yet, by slot.
    in_flight: Vec<AtomicU32>,
    /// The sum of that.
    unanswered: AtomicUsize,
    /// The epoch of the roster positions that the client was last told.
    told: Mutex<u64>,
    /// What its workers wait for, by the number that the client gave it.
    pub(crate) waits: Mutex<BTreeMap<u64, Waiting>>,
    /// Bytes of arguments of the calls to the server that are under way.
    pub(crate) server_call_bytes: AtomicUsize,
    /// What its workers have recorded, as far as they have told, by slot.
    pub(crate) told_records: Mutex<Vec<ToldRecord>>,
    /// Whether everybody has been told that it is there.
    pub(crate) announced: AtomicBool,
    /// Whether it was disconnected on purpose.
    pub(crate) kicked: AtomicBool,
    /// Whether it was told to quit: then it leaves on purpose.
    pub(crate) quitting: AtomicBool,
}

/// What a worker has told of its record.
#[derive(Debug, Clone, Default)]
pub(crate) struct ToldRecord {
    /// How often it was told to drop its record.
    resets: u32,
    /// Which record it is.
    pub(crate) id: u64,
    lines: Vec<Recorded>,
    bytes: usize,
    /// What the same process had told over an earlier connection, until it has told as much again.
    pub(crate) before: Vec<Recorded>,
}

/// So many bytes of a worker's lines are kept for the case that it is lost.
const MAX_TOLD: usize = 16 << 20;

/// What a worker waits for.
#[derive(Debug, Clone)]
pub(crate) enum Waiting {
    /// A call to the server.
    ServerCall(Arc<ServerTask>),
    /// A barrier of the call of this number, which the worker at this position came to.
    Barrier { call: u64, position: usize },
}

impl ToldRecord {
    /// All that is known.
    pub(crate) fn into_lines(self) -> Vec<Recorded> {
        // A process tells its record from the start over each connection: the longer has it all.
        if self.lines.len() < self.before.len() { self.before } else { self.lines }
    }
}

impl Conn {
    pub(crate) fn new(
        key: u64,
        hello: &Hello,
        version: String,
        address: Arc<str>,
        workers: Vec<WorkerId>,
        outbox: Outbox,
        activity: Activity,
    ) -> Self {
        let in_flight = workers.iter().map(|_| AtomicU32::new(0)).collect();
        let (told, waits) = (Mutex::new(0), Mutex::default());
        let told_records = Mutex::new(vec![ToldRecord::default(); workers.len()]);
        let kicked = AtomicBool::new(false);
        let (announced, quitting) = (AtomicBool::new(false), AtomicBool::new(false));
        Self {
            key,
            client: hello.client.as_str().into(),
            incarnation: hello.incarnation,
            version,
            address,
            workers,
            outbox,
            fan_out: None,
            activity,
            in_flight,
            unanswered: AtomicUsize::new(0),
            told,
            waits,
            server_call_bytes: AtomicUsize::new(0),
            told_records,
            announced,
            kicked,
            quitting,
        }
    }

    /// Sends a call to `answers` workers, made from a roster of `epoch`, after the positions that the
    /// workers have in it if they were last told others. `false` if the connection is closed.
    pub(crate) fn send_call(
        &self,
        epoch: u64,
        indexes: &[u32],
        call: u64,
        answers: usize,
        frames: impl IntoIterator<Item = CallFrame>,
    ) -> bool {
        let mut told = lock(&self.told);
        let positions = (*told != epoch && !indexes.is_empty()).then(|| {
            *told = epoch;
            ServerMessage::positions(indexes)
        });
        // Where nothing else is about to come, the way over the writer's thread is saved; where much
        // is, that takes it together.
        let alone = self.unanswered.load(Ordering::Relaxed) <= answers;
        // Pushed under the lock: no other call may come between the positions and these.
        let pushed = self.outbox.push_call(positions, call, frames);
        drop(told);
        match alone {
            true => self.outbox.write_now(),
            false => self.outbox.flush(),
        }
        pushed
    }

    /// Whether a call made from a roster of `epoch` may go past the outbox, since nothing waits there and
    /// the workers know their positions. As long as what this gives is held, nothing is pushed.
    pub(crate) fn idle(&self, epoch: u64, indexes: &[u32]) -> Option<MutexGuard<'_, u64>> {
        let told = lock(&self.told);
        let known = *told == epoch || indexes.is_empty();
        (known && self.outbox.is_idle()).then_some(told)
    }

    pub(crate) fn handle_sent(&self, slot: u32) {
        if let Some(count) = self.in_flight.get(slot as usize) {
            count.fetch_add(1, Ordering::Relaxed);
            self.unanswered.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn handle_settled(&self, slot: u32) {
        if let Some(count) = self.in_flight.get(slot as usize) {
            count.fetch_sub(1, Ordering::Relaxed);
            self.unanswered.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The worker at `slot` is told to drop its record.
    pub(crate) fn handle_reset(&self, slot: u32) {
        if let Some(record) = lock(&self.told_records).get_mut(slot as usize) {
            record.resets = record.resets.wrapping_add(1);
            (record.lines, record.before, record.bytes) = (Vec::new(), Vec::new(), 0);
        }
    }

    /// A worker tells what it has recorded; `max` lines are kept.
    pub(crate) fn handle_record(&self, told: Record, max: usize) {
        if let Some(record) = lock(&self.told_records).get_mut(told.worker as usize)
            && record.resets == told.resets
        {
            record.id = told.record;
            for line in told.lines {
                record.bytes += line.size();
                if record.lines.len() >= max || record.bytes > MAX_TOLD {
                    break;
                }
                record.lines.push(line);
            }
            if record.lines.len() >= record.before.len() {
                record.before = Vec::new();
            }
        }
    }

    /// Notes what a worker waits for; `false` if it is one thing too many, or has a number that is
    /// taken.
    pub(crate) fn wait(&self, number: u64, what: Waiting, max: usize) -> bool {
        let mut waits = lock(&self.waits);
        if waits.len() >= max || waits.contains_key(&number) {
            return false;
        }
        waits.insert(number, what);
        true
    }

    /// How many calls the worker at `slot` has not answered yet.
    pub(crate) fn in_flight(&self, slot: u32) -> usize {
        self.in_flight.get(slot as usize).map_or(0, |count| count.load(Ordering::Relaxed) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Limits;
    use crate::record::Recorder;

    fn lines(count: usize) -> Vec<Recorded> {
        let recorder = Recorder::new(&Limits::default());
        (0..count).for_each(|line| recorder.add(recorder.current(), line.to_string()));
        recorder.take_news(1 << 20).map(|(_, _, lines)| lines).unwrap_or_default()
    }

    #[test]
    fn what_was_told_before_counts_until_as_much_has_been_told_again() {
        let told = |before: usize, again: usize| {
            let (before, lines) = (lines(before), lines(again));
            ToldRecord { before, lines, ..ToldRecord::default() }.into_lines().len()
        };
        // Lost again before it had told anything, or all of it.
        assert_eq!(told(3, 0), 3);
        assert_eq!(told(3, 2), 3);
        assert_eq!(told(3, 4), 4);
    }
}
