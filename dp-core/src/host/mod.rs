//! The worker's engine: hosts the workers of one client behind one connection.

mod call;
#[cfg(test)]
mod hot;
mod invocation;
mod recorded;
mod serve;
mod slot;
mod task;
pub(crate) mod uplink;

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::engine::Limits;
use crate::executor::{Executor, Job, STALL};
use crate::id::{WorkerId, WorkerInfo};
use crate::link::Transport;
use crate::proto::deadlines::Deadlines;
use crate::sync::lock;
use crate::system;
use crate::trace::TraceContext;
use crate::wire::{CallHead, Cancel, Failure, Targets};
use crate::worker::{Contract, DistributedWorker};
use bytes::Bytes;
use call::{Call, Held};
pub use invocation::{Invocation, Invoked};
use recorded::{Place, Recorded, Wanted};
pub use serve::HostError;
use slot::{Pace, Slot};
use task::Ended;
use uplink::Uplink;

/// The worker's engine, for a program that connects to a server.
///
/// The workers outlive a connection: another [`serve`](Self::serve) finds them as the last one left
/// them.
pub struct Host<W: DistributedWorker>(Arc<Shared<W>>);

type Constructor<W> = dyn Fn(&WorkerInfo) -> W + Send + Sync;

struct Shared<W: DistributedWorker> {
    client: Arc<str>,
    incarnation: u64,
    prefix: String,
    contract: Contract,
    limits: Limits,
    slots: Vec<Arc<Slot<W>>>,
    constructor: Box<Constructor<W>>,
    executor: Arc<Executor>,
    /// By connection, call and worker.
    deadlines: Mutex<Deadlines<(u64, u64, usize)>>,
    links: AtomicU64,
    /// Bytes of arguments of the calls that have not been answered.
    held: Arc<AtomicUsize>,
    /// A deadline has come that is earlier than all before.
    earlier: Notify,
}

impl<W: DistributedWorker> Host<W> {
    /// An engine for `workers` workers of the client `client`: `client/1`, `client/2`, …; a single
    /// one is just `client`. Each is built by `constructor`, when the client has joined, and anew
    /// after a panic in one of its `&mut self` methods.
    ///
    /// The workers' methods find their timers, sockets and spawned tasks in `runtime`; it should be
    /// one of several threads.
    ///
    /// # Panics
    /// When `client` is no valid [`WorkerId`]; check it first. When `workers` is 0.
    pub fn new(
        client: String,
        workers: usize,
        limits: Limits,
        runtime: Handle,
        constructor: impl Fn(&WorkerInfo) -> W + Send + Sync + 'static,
    ) -> Self {
        let prefix = if workers == 1 { String::new() } else { format!("{client}/") };
        Self::with_prefix(client, prefix, workers, limits, runtime, constructor)
    }

    /// An engine for another client in the same process, which shares the limits and the threads of
    /// this one: many clients in one process need no more threads than one.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    pub fn beside(
        &self,
        client: String,
        workers: usize,
        constructor: impl Fn(&WorkerInfo) -> W + Send + Sync + 'static,
    ) -> Self {
        let prefix = if workers == 1 { String::new() } else { format!("{client}/") };
        let (limits, executor) = (self.0.limits.clone(), self.0.executor.clone());
        Self::with_executor(client, prefix, workers, limits, executor, constructor)
    }

    /// The same for workers whose ids are `prefix` and a number.
    pub(crate) fn with_prefix(
        client: String,
        prefix: String,
        workers: usize,
        limits: Limits,
        runtime: Handle,
        constructor: impl Fn(&WorkerInfo) -> W + Send + Sync + 'static,
    ) -> Self {
        let executor = Arc::new(Executor::new(runtime, limits.max_threads));
        Self::with_executor(client, prefix, workers, limits, executor, constructor)
    }

    fn with_executor(
        client: String,
        prefix: String,
        workers: usize,
        limits: Limits,
        executor: Arc<Executor>,
        constructor: impl Fn(&WorkerInfo) -> W + Send + Sync + 'static,
    ) -> Self {
        assert!(workers > 0, "a client hosts at least one worker");
        let client: Arc<str> = client.into();
        let id = |number: usize| match prefix.as_str() {
            "" => client.to_string(),
            prefix => format!("{prefix}{number}"),
        };
        let slot = |number: usize| {
            let id = WorkerId::new(id(number)).unwrap_or_else(|error| panic!("{error}"));
            let info = WorkerInfo::new(id, number - 1, client.clone(), "".into());
            Arc::new(Slot::new(number - 1, info, &limits))
        };
        Self(Arc::new(Shared {
            slots: (1..=workers).map(slot).collect(),
            client,
            // A hasher's keys are the standard library's random numbers.
            incarnation: RandomState::new().build_hasher().finish(),
            prefix,
            contract: W::contract(),
            executor,
            limits,
            constructor: Box::new(constructor),
            deadlines: Mutex::new(Deadlines::new()),
            links: AtomicU64::new(0),
            held: Arc::default(),
            earlier: Notify::new(),
        }))
    }

    /// Serves one connection until the server says quit. Belongs on [`engine::io`]; `address`
    /// is for logs and for the workers' own information.
    ///
    /// # Errors
    /// [`HostError`]: the server refused this client, is none, or was lost.
    ///
    /// [`engine::io`]: crate::engine::io
    pub async fn serve<S>(&self, stream: S, address: String) -> Result<(), HostError>
    where
        S: Transport,
    {
        self.serve_begun(stream, address, Instant::now()).await
    }

    /// The same over a connection that was `begun` before, of whose time for the handshake a part has
    /// passed.
    ///
    /// # Errors
    /// As [`serve`](Self::serve).
    pub async fn serve_begun<S>(
        &self,
        stream: S,
        address: String,
        begun: Instant,
    ) -> Result<(), HostError>
    where
        S: Transport,
    {
        serve::serve(&self.0, stream, address, begun).await
    }
}

#[cfg(test)]
impl<W: DistributedWorker> Host<W> {
    /// What is left of calls, where none is under way.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let mut left: Vec<String> = self.0.slots.iter().flat_map(|slot| slot.leftovers()).collect();
        let deadline = lock(&self.0.deadlines).next();
        left.extend(deadline.map(|at| format!("a deadline, {at:?}")));
        let held = self.0.held.load(Ordering::Relaxed);
        left.extend((held > 0).then(|| format!("{held} bytes of arguments")));
        left
    }
}

impl<W: DistributedWorker> Drop for Shared<W> {
    fn drop(&mut self) {
        let take = |slot: &Arc<Slot<W>>| slot.worker.try_write().ok()?.take();
        let workers: Vec<W> = self.slots.iter().filter_map(take).collect();
        if workers.is_empty() {
            return;
        }
        // The last handle may go on the I/O thread, where no user code belongs; and one worker
        // that panics in its `drop` must not take the others' along.
        let drop_all = move || {
            for worker in workers {
                let _ = catch_unwind(AssertUnwindSafe(|| drop(worker)));
            }
        };
        let _ = std::thread::Builder::new().name("dp-drop".to_owned()).spawn(drop_all);
    }
}

impl<W: DistributedWorker> fmt::Debug for Host<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("client", &self.0.client)
            .field("workers", &self.0.slots.len())
            .finish_non_exhaustive()
    }
}

impl<W: DistributedWorker> Shared<W> {
    /// The number of a new connection.
    fn next_link(&self) -> u64 {
        self.links.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes a call from the connection behind `link`. The workers that have something to do now are
    /// `ready`, for [`start`](Self::start).
    fn handle_call(
        self: &Arc<Self>,
        link: &Arc<Uplink>,
        (head, from): (&CallHead, Option<TraceContext>),
        mut arguments: Bytes,
        ready: &mut Vec<Arc<Slot<W>>>,
    ) {
        let refuse = |slot: &Slot<W>, reason: String| {
            let result = Err(Failure::NotStarted { reason });
            // Not left to those who are ready, who may be held up.
            task::send_reply(link, head.call, slot.index, 0, result, true);
        };
        let exclusive = match head.method {
            system::RESET_RESULTS | system::ACKNOWLEDGE | system::RESULTS | system::METRICS => {
                return self.handle_record_call(link, head, &arguments);
            }
            system::SYNCHRO => true,
            method => match self.contract.methods.get(usize::from(method)) {
                Some(method) => method.exclusive,
                None => {
                    let reason = format!("there is no method of number {method}");
                    let targets = self.targets(&head.targets);
                    return targets.for_each(|slot| refuse(slot, reason.clone()));
                }
            },
        };
        let queued = self.held.load(Ordering::Relaxed) + link.unwritten();
        if queued > self.limits.max_queued_bytes {
            let max = self.limits.max_queued_bytes;
            let reason = format!(
                "client {} holds {queued} bytes of calls and answers already, which is more than \
                 {max} (max_queued_bytes of the client)",
                self.client
            );
            return self.targets(&head.targets).for_each(|slot| refuse(slot, reason.clone()));
        }
        // A deadline too far away for the clock is none.
        let deadline = head.timeout.map(std::time::Duration::from_micros);
        let deadline = deadline.and_then(|timeout| Instant::now().checked_add(timeout));
        let call = Arc::new(Call {
            link: link.clone(),
            id: head.call,
            method: head.method,
            exclusive,
            timed: head.timed,
            deadline,
            from: from.map(Box::new),
            _held: Held::new(&self.held, arguments.len()),
        });
        let mut targets = self.targets(&head.targets).peekable();
        while let Some(slot) = targets.next() {
            // Before it is in the queue, where a thread may start it, and end it, at once.
            if let Some(deadline) = deadline {
                let key = (link.number(), head.call, slot.index);
                if lock(&self.deadlines).insert(deadline, key) {
                    self.earlier.notify_one();
                }
            }
            let arguments = match targets.peek() {
                Some(_) => arguments.clone(),
                // The only handle goes to the only worker: then a block can become its value as it is.
                None => std::mem::take(&mut arguments),
            };
            if !slot.enqueue(&call, arguments, self.limits.max_queue) {
                call.forget_deadline(self, slot.index);
                let (id, max) = (slot.info(), self.limits.max_queue);
                refuse(slot, format!("{max} calls wait in {} already (max_queue)", id.id()));
                continue;
            }
            // One that has several calls goes through them by itself.
            if !ready.last().is_some_and(|last| Arc::ptr_eq(last, slot)) {
                ready.push(slot.clone());
            }
        }
    }

    /// A call that is about what the workers have recorded, and waits for no other.
    fn handle_record_call(
        self: &Arc<Self>,
        link: &Arc<Uplink>,
        head: &CallHead,
        arguments: &Bytes,
    ) {
        for slot in self.targets(&head.targets) {
            match head.method {
                // Here and now: what calls behind this one record must not be dropped.
                system::RESET_RESULTS => slot.recorder.reset(),
                system::ACKNOWLEDGE => {
                    let stored = crate::codec::decode::<(u64, u64)>(arguments.clone());
                    let (record, count) = stored.unwrap_or_default();
                    slot.recorder.handle_stored(record, count);
                }
                _ => {
                    let what = match head.method {
                        system::METRICS if arguments[..] == [system::WITH_AGES] => {
                            Wanted::MetricsWithAges
                        }
                        system::METRICS => Wanted::Metrics,
                        _ if arguments.is_empty() => Wanted::Record,
                        _ => Wanted::Parts(Place::default()),
                    };
                    let (host, slot, link) = (self.clone(), slot.clone(), link.clone());
                    self.executor.push(Arc::new(Recorded::new(host, slot, link, head.call, what)));
                    continue;
                }
            }
            let result = crate::__private::reply(());
            let result = result.map(|reply| reply.0).map_err(|failure| failure.0);
            task::send_reply(link, head.call, slot.index, 0, result, true);
        }
    }

    /// Lets workers go on with their queues.
    fn start(self: &Arc<Self>, link: &Arc<Uplink>, slots: Vec<Arc<Slot<W>>>) {
        if slots.is_empty() {
            link.flush();
            return;
        }
        let threads = slots.len().min(self.executor.parallelism());
        let batch = Arc::new(Batch {
            host: self.clone(),
            link: link.clone(),
            slots,
            cursor: Default::default(),
        });
        for _ in 0..threads {
            self.executor.push(batch.clone());
        }
    }

    fn handle_cancel(self: &Arc<Self>, link: &Arc<Uplink>, cancel: &Cancel) {
        let targets = self.targets(&cancel.targets);
        let number = link.number();
        let ready = targets.filter(|slot| slot.cancel(self, number, cancel.call, Ended::Cancelled));
        let ready = ready.cloned().collect();
        self.start(link, ready);
    }

    /// Tells the workers where they stand in the roster now.
    fn handle_positions(&self, positions: &[u32]) {
        for (slot, position) in self.slots.iter().zip(positions) {
            slot.set_info(|info| info.at_index(*position as usize));
        }
    }

    /// The connection has ended: whatever came over it is void.
    fn handle_link_end(&self, link: &Arc<Uplink>) {
        link.end();
        for slot in &self.slots {
            slot.cancel_all(self, link);
        }
    }

    /// Ends the calls whose deadline has passed. When the next one is due.
    fn handle_time(self: &Arc<Self>, link: &Arc<Uplink>, now: Instant) -> Option<Instant> {
        let mut expired = Vec::new();
        let next = {
            let mut deadlines = lock(&self.deadlines);
            while let Some(key) = deadlines.poll_expired(now) {
                expired.push(key);
            }
            deadlines.next()
        };
        let mut ready = Vec::new();
        for (number, call, slot) in expired {
            if let Some(slot) = self.slots.get(slot)
                && slot.cancel(self, number, call, Ended::TimedOut)
            {
                ready.push(slot.clone());
            }
        }
        self.start(link, ready);
        next
    }

    /// The addressed workers; a number beyond them addresses nobody.
    fn targets<'a>(&'a self, targets: &'a Targets) -> impl Iterator<Item = &'a Arc<Slot<W>>> {
        let (all, some): (&[_], &[_]) = match targets {
            Targets::All => (&self.slots, &[]),
            Targets::Some(slots) => (&[], slots),
        };
        let some = some.iter().filter_map(|slot| self.slots.get(*slot as usize));
        all.iter().chain(some)
    }
}

/// Workers that have something to do: the threads that run this claim them one after another, so
/// that a thread that a method blocks holds just that one worker.
struct Batch<W: DistributedWorker> {
    host: Arc<Shared<W>>,
    link: Arc<Uplink>,
    slots: Vec<Arc<Slot<W>>>,
    cursor: AtomicUsize,
}

impl<W: DistributedWorker> Job for Batch<W> {
    fn run(self: Arc<Self>) {
        let mut pace = Pace::new();
        let until = pace.now + STALL;
        loop {
            let next = self.cursor.fetch_add(1, Ordering::Relaxed);
            let Some(slot) = self.slots.get(next) else { break };
            if slot.pump(&self.host, &self.link, &mut pace) {
                self.host.start(&self.link, vec![slot.clone()]);
            }
            if pace.now >= until {
                // A job is noticed as blocked once: what comes next is a new one.
                if next + 1 < self.slots.len() {
                    self.host.executor.push(self.clone());
                }
                break;
            }
        }
        // With what it has of calls: whoever has the answers does not find them under way.
        drop(pace);
        // The replies of this batch leave together.
        self.link.write_now();
    }

    fn stalled(self: Arc<Self>) {
        self.link.flush();
        let claimed = self.cursor.load(Ordering::Relaxed);
        for slot in self.slots.iter().take(claimed) {
            if slot.hand_over() {
                self.host.start(&self.link, vec![slot.clone()]);
            }
        }
        if claimed < self.slots.len() {
            self.host.executor.push(self.clone());
        }
    }
}
