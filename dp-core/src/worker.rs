//! What `#[distributed_worker]` implements: [`DistributedWorker`], with the worker's [`Contract`].

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;

use crate::__private::{Invocation, Invoked, RunError, ServerHandle, ServerInvocation, Value};
use crate::json::JsonForm;
use crate::{Broadcast, Group, Stub};

/// The stub for one worker of type `W`: its `#[remote]` methods, each returning a
/// [`Call`](crate::Call).
pub type RemoteWorker<W> = <W as DistributedWorker>::Remote;

/// The broadcaster over a group of workers of type `W`: its `#[remote]` methods, each returning a
/// [`Broadcast`], its `#[schedule]` methods, and, by dereference, all of [`Group`].
pub type MasterWorker<W> = <W as DistributedWorker>::Master;

/// A type whose methods can be called on other machines. Implemented by
/// [`#[distributed_worker]`](crate::distributed_worker), not by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a distributed worker",
    label = "not a distributed worker",
    note = "put `#[distributed_worker]` on the impl block of `{Self}`"
)]
pub trait DistributedWorker: Sized + Send + Sync + 'static {
    /// The stub for one worker.
    type Remote: From<Stub<Self>>
        + Deref<Target = Stub<Self>>
        + Clone
        + fmt::Debug
        + Send
        + Sync
        + 'static;
    /// The broadcaster over a group of workers.
    type Master: From<Group<Self>>
        + Deref<Target = Group<Self>>
        + Clone
        + fmt::Debug
        + Send
        + Sync
        + 'static;
    /// The state on the server that `#[on_server]` functions work on; `()` without any.
    type Server: Send + Sync + 'static;

    /// What this worker can do.
    fn contract() -> Contract;

    #[doc(hidden)]
    fn dispatch(call: Invocation<Self>) -> Invoked;

    #[doc(hidden)]
    fn dispatch_server(call: ServerInvocation<Self>) -> Invoked;

    /// What `/run` runs.
    fn run(master: &Self::Master) -> Run;
}

/// A worker with `#[on_server]` functions. Implemented by
/// [`#[distributed_worker]`](crate::distributed_worker), not by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no `#[on_server]` functions, so there is nothing to call on the server",
    label = "this worker has no `#[on_server]` functions",
    note = "name the type of the server's state on the block, \
            `#[distributed_worker(server = State)]`, and write the function that is called in \
            that block: `#[on_server] fn name(state: &State) {{ .. }}`"
)]
pub trait ServerFunctions: DistributedWorker {
    /// The stub for the functions: what `ctx.server()` returns.
    type Stub: From<ServerHandle<Self>> + fmt::Debug + Send + Sync + 'static;
}

/// What two programs must agree on to be of the same worker.
#[derive(Debug, Clone)]
pub struct Contract {
    /// The name of the worker's type, with the names of its type parameters.
    pub worker: String,
    /// The version of the crate that the worker is in; empty if it was built without cargo.
    pub version: &'static str,
    /// The `#[remote]` methods, by their number on the wire.
    pub methods: Vec<Method>,
    /// The `#[on_server]` functions, by their number on the wire.
    pub server_methods: Vec<Method>,
}

/// A `#[remote]` method or `#[on_server]` function.
#[derive(Debug, Clone)]
pub struct Method {
    /// Its name.
    pub name: &'static str,
    /// Its signature for people, without receiver and context: `greet(name: &str) -> String`.
    pub signature: &'static str,
    /// The types that a change of which breaks the contract, in a spelling that does not depend on
    /// the compiler.
    pub types: &'static str,
    /// Its documentation.
    pub docs: &'static str,
    /// Whether it takes `&mut self`: such a call runs alone on its worker.
    pub exclusive: bool,
    #[doc(hidden)]
    pub json: JsonForm,
}

impl Method {
    /// A number that two programs have in common if name and types are written alike.
    ///
    /// It covers the signature, not the fields of the types in it: a `struct` that has another
    /// field in one of the programs is noticed only when a value does not decode.
    pub fn fingerprint(&self) -> u64 {
        // FNV-1a, 64 bits: stable over compilers and platforms, and no one attacks it.
        const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0100_0000_01b3;
        let bytes = self.name.bytes().chain([0]).chain(self.types.bytes());
        bytes.fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
    }
}

/// What a run ended in. The error is that of the schedule, or a
/// [`BroadcastError`](crate::BroadcastError).
pub type RunResult = Result<(), Box<dyn Error + Send + Sync>>;

/// What `/run` runs, if this worker has such a thing.
pub struct Run(Result<RunFuture, NoRun>);

/// Why a worker has no run that could be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoRun {
    /// It has neither a `#[schedule]` nor a `#[remote]` method named `run`.
    #[error(
        "this worker has no `run`: write a `#[schedule]` of that name for the master to follow, or \
         a `#[remote]` method for every worker to run"
    )]
    Missing,
    /// Its `run` takes arguments, and `/run` has none to give.
    #[error(
        "`{0}` takes arguments, and `/run` has none to give: write a `run` without arguments, which \
         calls this one under another name"
    )]
    TakesArguments(&'static str),
}

/// A run under way.
pub struct RunFuture(Pin<Box<dyn Future<Output = RunResult> + Send>>);

impl Run {
    /// The run as a future; it starts when it is polled.
    ///
    /// # Errors
    /// [`NoRun`] when there is nothing to start.
    pub fn start(self) -> Result<RunFuture, NoRun> {
        self.0
    }

    #[doc(hidden)]
    pub fn schedule(future: impl Future<Output = RunResult> + Send + 'static) -> Self {
        Self(Ok(RunFuture(Box::pin(future))))
    }

    /// What a schedule that returned `result` ended in. Here, and not among what generated code
    /// calls, since the compiler names it where the error can't be turned into text.
    #[doc(hidden)]
    pub fn result<T, E: RunError>(result: Result<T, E>) -> RunResult {
        result.map(drop).map_err(Into::into)
    }

    #[doc(hidden)]
    pub fn broadcast<T: Value>(broadcast: Broadcast<T>) -> Self {
        Self::schedule(async { broadcast.await.map(drop).map_err(Into::into) })
    }

    #[doc(hidden)]
    pub fn missing() -> Self {
        Self(Err(NoRun::Missing))
    }

    #[doc(hidden)]
    pub fn takes_arguments(signature: &'static str) -> Self {
        Self(Err(NoRun::TakesArguments(signature)))
    }
}

impl Future for RunFuture {
    type Output = RunResult;

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<RunResult> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Run").field(&self.0).finish()
    }
}

impl fmt::Debug for RunFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunFuture")
    }
}
