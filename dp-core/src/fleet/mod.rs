//! The master's engine: owns the roster and the calls in flight, and drives them over the
//! connections of the clients.

mod around;
#[cfg(test)]
mod attacks;
mod barriers;
pub(crate) mod calls;
mod conn;
mod core;
mod frequency;
mod given_up;
#[cfg(test)]
mod hot;
mod in_flight;
mod join;
mod kept;
mod kept_out;
pub(crate) mod left;
mod logs;
pub(crate) mod maps;
mod meeting;
pub(crate) mod pending;
pub(crate) mod request;
pub(crate) mod roster;
mod send;
mod serve;
mod server_task;
mod tally;
mod todo;
mod workers;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::__private::ServerInvocation;
use crate::Group;
use crate::engine::Limits;
use crate::id::{WorkerId, WorkerInfo};
use crate::link::Transport;
use crate::wire::{Refused, ServerMessage};
use crate::worker::DistributedWorker;
pub use barriers::{Awaited, BarrierStatus};
pub(crate) use core::{Core, MethodNames};
pub use frequency::FrequencyError;
#[cfg(feature = "args")]
pub(crate) use frequency::{FREQUENCIES, check as check_frequency};
pub use given_up::GivenUp;
#[cfg(test)]
pub(crate) use kept_out::KEPT_OUT;
pub use logs::{ForwardedLine, ForwardedLogs};
pub use maps::MapStatus;
pub use serve::{Admitted, Departure, Peer, ServeError};
pub use tally::{CallStatistics, DURATION_BOUNDS};

/// The master's engine, for a program that accepts connections. Cheap to clone; when the last
/// clone is gone, so are the connections.
pub struct Fleet<W: DistributedWorker> {
    core: Arc<Core>,
    state: Arc<W::Server>,
    owner: Arc<Owner>,
}

/// Why a client is gone that was disconnected on purpose.
const KICKED: &str = "disconnected from the server's console";

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
    /// The method of the oldest [postponed](crate::Broadcast::postpone) call in which its turn has not
    /// come yet. It knows nothing of that call.
    pub postponed: Option<String>,
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
        S: Transport,
    {
        Ok(self.admit(stream, &Peer::new(address)).await?.serve().await)
    }

    /// The first half of [`serve`](Self::serve): the handshake.
    ///
    /// # Errors
    /// [`ServeError`] says why the peer did not join.
    pub async fn admit<S>(&self, stream: S, peer: &Peer) -> Result<Admitted<S>, ServeError>
    where
        S: Transport,
    {
        serve::admit(self.core.clone(), stream, peer).await
    }

    /// The same as [`serve`](Self::serve), as a future that holds no handle of the fleet.
    pub(crate) fn serve_detached<S>(
        &self,
        stream: S,
        peer: Peer,
    ) -> impl Future<Output = Result<Departure, ServeError>> + Send + use<W, S>
    where
        S: Transport,
    {
        let core = self.core.clone();
        async move { Ok(serve::admit(core, stream, &peer).await?.serve().await) }
    }

    #[cfg(test)]
    pub(crate) fn kept_bytes(&self) -> usize {
        self.core.kept_bytes()
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

    /// The workers that are still in a method whose call was cancelled or timed out, as those are that
    /// block their thread, in roster order.
    pub fn given_up(&self) -> Vec<GivenUp> {
        self.core.given_up()
    }

    /// What became of the calls of each method that was called since the fleet began.
    pub fn statistics(&self) -> Vec<CallStatistics> {
        self.core.with_calls(|calls, _| calls.statistics())
    }

    /// Every barrier at which somebody waits.
    pub fn barriers(&self) -> Vec<BarrierStatus> {
        self.core.barriers()
    }

    /// How far the maps are that are under way, in the order in which they began.
    pub fn maps(&self) -> Vec<MapStatus> {
        self.core.maps.status()
    }

    /// Asks every client that joins from now on for what its program logs, of `level` and those before
    /// it; at most [`max_log_lines`](Limits::max_log_lines) a second. `receive` is called on the I/O
    /// thread, and must not block. Only the first call of this counts.
    pub fn forward_logs(
        &self,
        level: tracing::Level,
        receive: impl Fn(ForwardedLogs) + Send + Sync + 'static,
    ) {
        let per_second = u32::try_from(self.core.limits.max_log_lines).unwrap_or(u32::MAX);
        self.core.logs.set(level, per_second, Box::new(receive));
    }

    /// Calls per second for staggered starts. 1 unless it was set.
    pub fn frequency(&self) -> f64 {
        self.core.frequency.hz()
    }

    /// Sets the calls per second for staggered starts.
    ///
    /// # Errors
    /// [`FrequencyError`] when `hz` is not a number from 0.000001 to 1000000000.
    pub fn set_frequency(&self, hz: f64) -> Result<(), FrequencyError> {
        self.core.frequency.set(hz)
    }

    /// Disconnects the client that hosts the worker `id`, with all its workers. It is told so, and
    /// does not come back by itself. For 30 s no client with its id is let in. Gives the client's id; `None` if there is no such worker.
    pub fn kick(&self, id: &WorkerId) -> Option<String> {
        let conn = self.core.conn_of(id)?;
        self.core.kept_out.insert(&conn.client, Instant::now());
        let reason = KICKED.to_owned();
        conn.kicked.store(true, Ordering::Release);
        conn.outbox.push([Refused { reason, silent: None }.to_frame()]);
        conn.outbox.finish();
        Some(conn.client.to_string())
    }

    /// Tells every client to quit, and waits until they are gone; after `within`, closes the
    /// connections of those that are not, and gives their ids. Nobody can join any more.
    pub async fn quit(&self, within: Duration) -> Vec<String> {
        self.core.refusing.store(true, Ordering::Release);
        for conn in self.core.conns() {
            conn.quitting.store(true, Ordering::Release);
            conn.outbox.push([ServerMessage::quit()]);
        }
        let mut count = self.core.count.subscribe();
        let _ = tokio::time::timeout(within, count.wait_for(|count| *count == 0)).await;
        let left = self.core.conns().iter().map(|conn| conn.client.to_string()).collect();
        self.close();
        left
    }

    /// What is left of calls, where none is under way.
    #[cfg(test)]
    pub(crate) fn leftovers(&self) -> Vec<String> {
        self.core.leftovers()
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
