//! The engine, without the worker's type.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::Instant;

use super::calls::CallTable;
use super::conn::Conn;
use super::frequency::Frequency;
use super::in_flight::InFlight;
use super::kept::KeptBytes;
use super::kept_out::KeptOut;
use super::left::Left;
use super::logs::Asked;
use super::maps::Maps;
use super::roster::{Member, Roster};
use super::todo::{Todo, Withdrawn};
use super::workers::{Worker, Workers};
use super::{FleetEvent, Running, WorkerStatus};
use crate::__private::Invoked;
use crate::engine::Limits;
use crate::executor::Executor;
use crate::gathered::RecordBounds;
use crate::id::{WorkerId, WorkerInfo};
use crate::supervise::keep_up;
use crate::sync::lock;
use crate::system;
use crate::worker::{Contract, Method};

/// How many arrivals and departures are kept for a subscriber that does not keep up.
const EVENTS: usize = 1 << 12;

/// The names of the methods by their number.
#[derive(Debug)]
pub(crate) struct MethodNames(Vec<&'static str>);

impl MethodNames {
    pub(super) fn new(methods: &[Method]) -> Self {
        Self(methods.iter().map(|method| method.name).collect())
    }

    pub(crate) fn name(&self, method: u16) -> &'static str {
        self.0.get(usize::from(method)).copied().unwrap_or_else(|| system::name(method))
    }
}

/// Calls an `#[on_server]` function.
pub(super) type DispatchServer = dyn Fn(u16, Bytes, WorkerInfo) -> Invoked + Send + Sync;

/// The engine, without the worker's type.
pub(crate) struct Core {
    pub(crate) limits: Limits,
    pub(super) contract: Contract,
    pub(super) names: Arc<MethodNames>,
    pub(super) roster: Mutex<Members>,
    pub(super) calls: Mutex<CallTable>,
    /// What workers that are gone had told of their records.
    pub(super) left: Mutex<Left>,
    /// What is kept of that, and of what others have told.
    pub(super) kept: KeptBytes,
    pub(super) events: broadcast::Sender<FleetEvent>,
    pub(super) count: watch::Sender<usize>,
    pub(crate) frequency: Arc<Frequency>,
    pub(crate) maps: Maps,
    pub(super) dispatch_server: Box<DispatchServer>,
    /// Runs the `#[on_server]` functions.
    pub(super) executor: Executor,
    /// A deadline has come that is earlier than all before.
    pub(super) earlier: Arc<Notify>,
    /// A worker has answered, or bytes were written: `detach` looks again.
    pub(super) room: Notify,
    pub(super) refusing: AtomicBool,
    pub(super) logs: Asked,
    pub(super) kept_out: KeptOut,
}

/// Who is there.
#[derive(Debug, Default)]
pub(super) struct Members {
    pub(super) conns: BTreeMap<u64, Arc<Conn>>,
    /// The keys of the clients' connections, by their ids.
    pub(super) clients: HashMap<Arc<str>, u64>,
    /// How many workers there are of which everybody has been told.
    pub(super) announced: usize,
    pub(super) workers: Workers,
    pub(super) next_conn: u64,
    /// Counts the changes of the roster.
    pub(super) epoch: u64,
    pub(super) snapshot: Option<Arc<Roster>>,
}

impl Core {
    pub(super) fn start(
        limits: Limits,
        contract: Contract,
        dispatch_server: Box<DispatchServer>,
        runtime: Handle,
    ) -> Arc<Self> {
        let frequency = Arc::new(Frequency::default());
        let names = Arc::new(MethodNames::new(&contract.methods));
        let earlier = Arc::new(Notify::new());
        let records = RecordBounds::new(&limits);
        let core = Arc::new(Self {
            executor: Executor::new(runtime, limits.max_threads),
            dispatch_server,
            limits,
            contract,
            calls: Mutex::new(CallTable::new(names.clone(), frequency.clone(), records)),
            frequency,
            maps: Maps::default(),
            names,
            roster: Mutex::default(),
            left: Mutex::default(),
            kept: KeptBytes::default(),
            events: broadcast::Sender::new(EVENTS),
            count: watch::Sender::new(0),
            earlier: earlier.clone(),
            room: Notify::new(),
            refusing: AtomicBool::new(false),
            logs: Asked::default(),
            kept_out: KeptOut::default(),
        });
        let watched = Arc::downgrade(&core);
        let watch = move || watch_deadlines(watched.clone(), earlier.clone());
        crate::engine::io_runtime().spawn(keep_up("the task that ends calls in time", watch));
        core
    }

    /// The roster as it is now.
    pub(crate) fn snapshot(&self) -> Arc<Roster> {
        let mut members = lock(&self.roster);
        if let Some(snapshot) = &members.snapshot {
            return snapshot.clone();
        }
        let of = |(index, Worker { id, conn, slot }): (usize, &Worker)| Member {
            info: WorkerInfo::new(id.clone(), index, conn.client.clone(), conn.address.clone()),
            conn: conn.clone(),
            slot: *slot,
        };
        let whole = members.workers.iter().enumerate().map(of).collect();
        let snapshot = Arc::new(Roster::whole(whole, members.epoch));
        members.snapshot = Some(snapshot.clone());
        snapshot
    }

    pub(super) fn conns(&self) -> Vec<Arc<Conn>> {
        lock(&self.roster).conns.values().cloned().collect()
    }

    /// The connection that leads to the worker `id`.
    pub(super) fn conn_of(&self, id: &WorkerId) -> Option<Arc<Conn>> {
        lock(&self.roster).workers.get(id).cloned()
    }

    pub(super) fn close(&self) {
        self.refusing.store(true, Ordering::Release);
        for conn in self.conns() {
            conn.outbox.close();
        }
    }

    #[cfg(test)]
    pub(super) fn kept_bytes(&self) -> usize {
        self.kept.bytes()
    }

    #[cfg(test)]
    pub(super) fn leftovers(&self) -> Vec<String> {
        let mut left = lock(&self.calls).leftovers();
        for conn in self.conns() {
            let busy = (0..conn.workers.len()).filter(|slot| conn.in_flight(*slot as u32) > 0);
            left.extend(busy.map(|slot| format!("calls in flight of {}", conn.workers[slot])));
            let waits = lock(&conn.waits);
            left.extend(waits.iter().map(|(wait, what)| format!("{wait}: {what:?}")));
            let bytes = conn.server_call_bytes.load(Ordering::Relaxed);
            left.extend((bytes > 0).then(|| format!("{bytes} bytes of calls to the server")));
        }
        left
    }

    /// The caller waits no longer for `call`.
    pub(crate) fn give_up(&self, call: &InFlight) {
        self.with_calls(|calls, todo| calls.handle_given_up(call, todo));
    }

    /// One step of the call table, and what it leaves to do once that is unlocked.
    pub(crate) fn with_calls<T>(&self, step: impl FnOnce(&mut CallTable, &mut Todo) -> T) -> T {
        let mut todo = Todo::default();
        let value = step(&mut lock(&self.calls), &mut todo);
        for withdrawn in self.finish(todo) {
            let mut todo = Todo::default();
            lock(&self.calls).handle_withdrawn(&withdrawn, &mut todo);
            // Settling cancels nothing.
            self.finish(todo);
        }
        value
    }

    fn finish(&self, todo: Todo) -> Vec<Withdrawn> {
        if todo.earlier {
            self.earlier.notify_one();
        }
        if todo.settled {
            self.room.notify_waiters();
        }
        todo.run()
    }

    pub(super) fn status(&self) -> Vec<WorkerStatus> {
        let roster = self.snapshot();
        let calls = lock(&self.calls).in_order();
        let mut status: Vec<_> = roster
            .members
            .iter()
            .map(|member| WorkerStatus {
                info: member.info.clone(),
                version: member.conn.version.clone(),
                running: None,
                waiting: 0,
                postponed: None,
            })
            .collect();
        for call in &calls {
            for (position, member) in call.audience.members().iter().enumerate() {
                let here = roster.part(member.conn.key);
                let here = here.and_then(|part| part.position(member.slot));
                let Some(worker) = here.and_then(|at| status.get_mut(at)) else { continue };
                if !call.is_unsettled(position) {
                    continue;
                }
                let method = call.method(position);
                if !call.is_sent(position) {
                    let name = || self.names.name(method).to_owned();
                    worker.postponed.get_or_insert_with(name);
                } else if worker.running.is_some() {
                    // What is answered at once waits behind nothing.
                    worker.waiting += usize::from(!system::is_at_once(method));
                } else {
                    let method = self.names.name(method).to_owned();
                    worker.running = Some(Running { method, since: call.since(position) });
                }
            }
        }
        status
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("worker", &self.contract.worker).finish_non_exhaustive()
    }
}

/// Ends calls whose deadline has passed, for as long as the fleet lives.
async fn watch_deadlines(core: std::sync::Weak<Core>, earlier: Arc<Notify>) {
    loop {
        let Some(next) = core
            .upgrade()
            .map(|core| core.with_calls(|calls, todo| calls.handle_time(Instant::now(), todo)))
        else {
            return;
        };
        match next {
            Some(at) => {
                let _ = tokio::time::timeout_at(at, earlier.notified()).await;
            }
            None => earlier.notified().await,
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        // Its watcher finds nobody there and ends.
        self.earlier.notify_one();
    }
}
