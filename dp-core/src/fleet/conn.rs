//! The server's side of one client's connection.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::kept::Told;
use super::server_task::ServerTask;
use crate::id::WorkerId;
use crate::link::{Activity, CallFrame, FanLink, Outbox};
use crate::sync::lock;
use crate::wire::{Hello, ServerMessage};

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
    /// What its workers have recorded, as far as they have told.
    pub(super) told_records: Mutex<Told>,
    /// Whether everybody has been told that it is there.
    pub(crate) announced: AtomicBool,
    /// Whether it was disconnected on purpose.
    pub(crate) kicked: AtomicBool,
    /// Whether it was told to quit: then it leaves on purpose.
    pub(crate) quitting: AtomicBool,
}

/// What a worker waits for.
#[derive(Debug, Clone)]
pub(crate) enum Waiting {
    /// A call to the server.
    ServerCall(Arc<ServerTask>),
    /// A barrier of the call of this number, which the worker at this position came to.
    Barrier { call: u64, position: usize },
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
        let told_records = Mutex::new(Told::new(workers.len()));
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
