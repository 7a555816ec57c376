//! The master's engine: owns the roster and the calls in flight, and drives them over the
//! connections of the clients.

pub(crate) mod calls;
mod conn;
mod frequency;
mod join;
mod meeting;
pub(crate) mod pending;
pub(crate) mod roster;
mod serve;
mod server_task;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::Instant;

use crate::__private::{Invoked, ServerInvocation};
use crate::engine::Limits;
use crate::executor::Executor;
use crate::id::{WorkerId, WorkerInfo};
use crate::sync::lock;
use crate::system;
use crate::wire::{CallHead, ServerMessage, Targets};
use crate::worker::{Contract, DistributedWorker, Method};
use crate::{CallError, Group};
use calls::{CallTable, InFlight, MethodCall, Payload, Request, Todo, call_frame};
use conn::Conn;
use frequency::Frequency;
use roster::{Audience, Member, Roster};
pub use frequency::FrequencyError;
pub use serve::{Departure, ServeError};

/// How many arrivals and departures are kept for a subscriber that does not keep up.
const EVENTS: usize = 1 << 16;

/// How many unwritten bytes a connection may have before [`detach`](crate::Broadcast::detach)
/// waits.
const ROOM: usize = 8 << 20;

/// The master's engine, for a program that accepts connections. Cheap to clone; when the last
/// clone is gone, so are the connections.
pub struct Fleet<W: DistributedWorker> {
    core: Arc<Core>,
    state: Arc<W::Server>,
    owner: Arc<Owner>,
}

/// Who joined or left.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum FleetEvent {
    /// A client has joined.
    Arrived {
        /// Its id.
        client: String,
        /// The workers that it hosts.
        workers: Vec<WorkerInfo>,
    },
    /// A client is gone.
    Departed {
        /// Its id.
        client: String,
        /// The workers that it hosted.
        workers: Vec<WorkerInfo>,
        /// How its connection ended.
        reason: String,
    },
}

/// What is known of a worker that is there.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WorkerStatus {
    /// Who it is.
    pub info: WorkerInfo,
    /// The version of its program.
    pub version: String,
    /// The oldest call that it has not answered yet.
    pub running: Option<Running>,
    /// How many calls it has not answered beside that one.
    pub waiting: usize,
}

/// A call that a worker has not answered yet.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Running {
    /// The method.
    pub method: String,
    /// How long ago it was called.
    pub since: Duration,
}

impl<W: DistributedWorker> Fleet<W> {
    /// An engine without workers, with the server's state. `runtime` is where the
    /// `#[on_server]` functions find their timers, sockets and spawned tasks.
    pub fn new(limits: Limits, state: W::Server, runtime: Handle) -> Self {
        let state = Arc::new(state);
        let on_server = state.clone();
        let dispatch_server = Box::new(move |method, arguments, caller| {
            let state = on_server.clone();
            W::dispatch_server(ServerInvocation::new(method, arguments, state, caller))
        });
        let core = Core::start(limits, W::contract(), dispatch_server, runtime);
        let owner = Arc::new(Owner(core.clone()));
        Self { core, state, owner }
    }

    /// Serves one connection, from the handshake to its end. Belongs on [`engine::io`].
    ///
    /// `Ok` says how a client that had joined left.
    ///
    /// # Errors
    /// [`ServeError`] says why the peer never joined.
    ///
    /// [`engine::io`]: crate::engine::io
    pub async fn serve<S>(&self, stream: S, address: String) -> Result<Departure, ServeError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        serve::serve(self.core.clone(), stream, address).await
    }

    /// The same as [`serve`](Self::serve), as a future that holds no handle of the fleet.
    pub(crate) fn serve_detached<S>(
        &self,
        stream: S,
        address: String,
    ) -> impl Future<Output = Result<Departure, ServeError>> + Send + use<W, S>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        serve::serve(self.core.clone(), stream, address)
    }

    /// The broadcaster over whoever is there now. It does not keep the fleet's connections open.
    pub fn master(&self) -> W::Master {
        self.group(None)
    }

    /// The same, for a fleet that lives as long as something can be called through it.
    pub(crate) fn owned_group(&self) -> Group<W> {
        let fleet = FleetRef { core: self.core.clone(), _owner: Some(self.owner.clone()) };
        Group::new(fleet, self.core.snapshot(), self.state.clone())
    }

    fn group(&self, owner: Option<Arc<Owner>>) -> W::Master {
        let fleet = FleetRef { core: self.core.clone(), _owner: owner };
        Group::new(fleet, self.core.snapshot(), self.state.clone()).into()
    }

    /// How many workers are there.
    pub fn len(&self) -> usize {
        *self.core.count.borrow()
    }

    /// Whether nobody is there.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Completes once `workers` workers are there.
    pub async fn joined(&self, workers: usize) {
        let mut count = self.core.count.subscribe();
        // The sender lives as long as `self`.
        let _ = count.wait_for(|count| *count >= workers).await;
    }

    /// Who joins and leaves from now on.
    pub fn events(&self) -> broadcast::Receiver<FleetEvent> {
        self.core.events.subscribe()
    }

    /// Every worker that is there, in roster order, and what it is doing.
    pub fn status(&self) -> Vec<WorkerStatus> {
        self.core.status()
    }

    /// Calls per second for staggered starts. 1 unless it was set.
    pub fn frequency(&self) -> f64 {
        self.core.frequency.hz()
    }

    /// Sets the calls per second for staggered starts.
    ///
    /// # Errors
    /// [`FrequencyError`] when `hz` is not a finite number above 0.
    pub fn set_frequency(&self, hz: f64) -> Result<(), FrequencyError> {
        self.core.frequency.set(hz)
    }

    /// Tells every client to quit, and waits until they are gone; after `within`, closes the
    /// connections of those that are not. Nobody can join any more.
    pub async fn quit(&self, within: Duration) {
        self.core.refusing.store(true, Ordering::Release);
        for conn in self.core.conns() {
            conn.quitting.store(true, Ordering::Release);
            conn.outbox.push([ServerMessage::quit()]);
        }
        let mut count = self.core.count.subscribe();
        let _ = tokio::time::timeout(within, count.wait_for(|count| *count == 0)).await;
        self.close();
    }

    /// Closes every connection now. Nobody can join any more.
    pub fn close(&self) {
        self.core.close();
    }
}

impl<W: DistributedWorker> Clone for Fleet<W> {
    fn clone(&self) -> Self {
        Self { core: self.core.clone(), state: self.state.clone(), owner: self.owner.clone() }
    }
}

impl<W: DistributedWorker> fmt::Debug for Fleet<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").field("workers", &self.len()).finish_non_exhaustive()
    }
}

/// Closes the fleet when the last handle is dropped. Connections hold the core, not this.
#[derive(Debug)]
struct Owner(Arc<Core>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What stubs, groups and calls hold.
#[derive(Debug, Clone)]
pub(crate) struct FleetRef {
    core: Arc<Core>,
    _owner: Option<Arc<Owner>>,
}

impl std::ops::Deref for FleetRef {
    type Target = Arc<Core>;

    fn deref(&self) -> &Arc<Core> {
        &self.core
    }
}

/// The names of the methods by their number.
#[derive(Debug)]
pub(crate) struct MethodNames(Vec<&'static str>);

impl MethodNames {
    fn new(methods: &[Method]) -> Self {
        Self(methods.iter().map(|method| method.name).collect())
    }

    pub(crate) fn name(&self, method: u16) -> &'static str {
        self.0.get(usize::from(method)).copied().unwrap_or_else(|| system::name(method))
    }
}

type DispatchServer = dyn Fn(u16, Bytes, WorkerInfo) -> Invoked + Send + Sync;

/// The engine, without the worker's type.
pub(crate) struct Core {
    limits: Limits,
    contract: Contract,
    names: Arc<MethodNames>,
    roster: Mutex<Members>,
    calls: Mutex<CallTable>,
    events: broadcast::Sender<FleetEvent>,
    count: watch::Sender<usize>,
    pub(crate) frequency: Arc<Frequency>,
    dispatch_server: Box<DispatchServer>,
    /// Runs the `#[on_server]` functions.
    executor: Executor,
    /// A deadline has come that is earlier than all before.
    earlier: Arc<Notify>,
    /// A worker has answered, or bytes were written: `detach` looks again.
    room: Notify,
    refusing: AtomicBool,
}

/// Who is there.
#[derive(Debug, Default)]
struct Members {
    conns: BTreeMap<u64, Arc<Conn>>,
    clients: HashSet<Arc<str>>,
    workers: BTreeMap<WorkerId, (Arc<Conn>, u32)>,
    next_conn: u64,
    /// Counts the changes of the roster.
    epoch: u64,
    snapshot: Option<Arc<Roster>>,
}

impl Core {
    fn start(
        limits: Limits,
        contract: Contract,
        dispatch_server: Box<DispatchServer>,
        runtime: Handle,
    ) -> Arc<Self> {
        let frequency = Arc::new(Frequency::default());
        let names = Arc::new(MethodNames::new(&contract.methods));
        let earlier = Arc::new(Notify::new());
        let core = Arc::new(Self {
            executor: Executor::new(runtime, limits.max_threads),
            dispatch_server,
            limits,
            contract,
            calls: Mutex::new(CallTable::new(names.clone(), frequency.clone())),
            frequency,
            names,
            roster: Mutex::default(),
            events: broadcast::Sender::new(EVENTS),
            count: watch::Sender::new(0),
            earlier: earlier.clone(),
            room: Notify::new(),
            refusing: AtomicBool::new(false),
        });
        crate::engine::io().spawn(watch_deadlines(Arc::downgrade(&core), earlier));
        core
    }

    /// The roster as it is now.
    pub(crate) fn snapshot(&self) -> Arc<Roster> {
        let mut members = lock(&self.roster);
        if let Some(snapshot) = &members.snapshot {
            return snapshot.clone();
        }
        let of = |(index, (id, (conn, slot))): (usize, (&WorkerId, &(Arc<Conn>, u32)))| Member {
            info: WorkerInfo::new(id.clone(), index, conn.client.clone(), conn.address.clone()),
            conn: conn.clone(),
            slot: *slot,
        };
        let whole = members.workers.iter().enumerate().map(of).collect();
        let snapshot = Arc::new(Roster::whole(whole, members.epoch));
        members.snapshot = Some(snapshot.clone());
        snapshot
    }

    fn conns(&self) -> Vec<Arc<Conn>> {
        lock(&self.roster).conns.values().cloned().collect()
    }

    fn close(&self) {
        self.refusing.store(true, Ordering::Release);
        for conn in self.conns() {
            conn.outbox.close();
        }
    }

    /// Sends a call to everybody it addresses, or settles what can't be sent.
    pub(crate) fn send(&self, request: &Request) -> Arc<InFlight> {
        if request.begins_run {
            // Before the call on each connection: the client drops the records when it reads this.
            self.send(&request.as_reset());
        }
        let call = self.with_calls(|calls, todo| calls.insert(request, Instant::now(), todo));
        match &call.audience {
            Audience::One(roster, position) => {
                let member = &roster.members[*position];
                let indexes = roster.part(member.conn.key).map(|part| &*part.indexes);
                let to = (roster.epoch, indexes.unwrap_or_default(), &*member.conn);
                self.send_to(to, &call, request, &[(0, member.slot)]);
            }
            Audience::All(roster) => {
                for part in &roster.parts {
                    let to = (roster.epoch, &*part.indexes, &*part.conn);
                    let members = |position: usize| (position, roster.members[position].slot);
                    let members: Vec<_> = part.positions().map(members).collect();
                    self.send_to(to, &call, request, &members);
                }
            }
        }
        call
    }

    /// Sends what a call has for the workers behind one connection.
    fn send_to(
        &self,
        (epoch, indexes, conn): (u64, &[u32], &Conn),
        call: &InFlight,
        request: &Request,
        members: &[(usize, u32)],
    ) {
        for (_, slot) in members {
            conn.handle_sent(*slot);
        }
        let positions = || members.iter().map(|(position, _)| *position);
        let head = |method: &MethodCall, targets| CallHead {
            call: call.id,
            method: method.method,
            timed: request.timed,
            timeout: shorter(request.timeout, method.timeout).map(micros),
            targets,
        };
        let frame = |method: &MethodCall, targets| {
            let arguments = method.arguments.as_ref().map_err(Clone::clone)?;
            call_frame(&conn.outbox, &head(method, targets), arguments)
        };
        let mut not_sent: Vec<(Vec<usize>, CallError)> = Vec::new();
        let mut frames = Vec::new();
        match &request.payload {
            Payload::Same(method) => {
                let targets = match members.len() == conn.workers.len() {
                    true => Targets::All,
                    false => Targets::Some(members.iter().map(|(_, slot)| *slot).collect()),
                };
                match frame(method, targets) {
                    Ok(frame) => frames.extend(frame),
                    Err(error) => not_sent.push((positions().collect(), error)),
                }
            }
            Payload::Each(methods) => {
                for (position, slot) in members {
                    match frame(&methods[*position], Targets::Some(vec![*slot])) {
                        Ok(frame) => frames.extend(frame),
                        Err(error) => not_sent.push((vec![*position], error)),
                    }
                }
            }
        }
        if !frames.is_empty() && !conn.send_calls(epoch, indexes, frames) {
            let reason = format!("client {} is gone", conn.client);
            not_sent.push((positions().collect(), CallError::NotSent { reason }));
        }
        if !not_sent.is_empty() {
            self.with_calls(|calls, todo| {
                for (positions, error) in not_sent {
                    calls.handle_not_sent(call, positions, &error, todo);
                }
            });
        }
    }

    /// The caller waits no longer for `call`.
    pub(crate) fn give_up(&self, call: &InFlight) {
        self.with_calls(|calls, todo| calls.handle_given_up(call, todo));
    }

    /// One step of the call table, and what it leaves to do once that is unlocked.
    pub(crate) fn with_calls<T>(&self, step: impl FnOnce(&mut CallTable, &mut Todo) -> T) -> T {
        let mut todo = Todo::default();
        let value = step(&mut lock(&self.calls), &mut todo);
        if todo.earlier {
            self.earlier.notify_one();
        }
        todo.run();
        value
    }

    /// Completes when everybody addressed has room for one more call.
    pub(crate) async fn room_for(&self, audience: &Audience) {
        let has_room = |member: &Member| {
            member.conn.in_flight(member.slot) < self.limits.in_flight
                && member.conn.outbox.unwritten() < ROOM
        };
        loop {
            let changed = self.room.notified();
            tokio::pin!(changed);
            // Registered before looking: what changes in between is not missed.
            changed.as_mut().enable();
            if audience.members().iter().all(has_room) {
                return;
            }
            changed.await;
        }
    }

    fn status(&self) -> Vec<WorkerStatus> {
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
                if worker.running.is_some() {
                    worker.waiting += 1;
                } else {
                    let method = self.names.name(call.method(position)).to_owned();
                    worker.running = Some(Running { method, since: call.started.elapsed() });
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

fn shorter(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Ends calls whose deadline has passed, for as long as the fleet lives.
async fn watch_deadlines(core: std::sync::Weak<Core>, earlier: Arc<Notify>) {
    loop {
        let Some(next) = core.upgrade().map(|core| {
            core.with_calls(|calls, todo| calls.handle_time(Instant::now(), todo))
        }) else {
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
