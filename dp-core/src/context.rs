//! What a method knows of its worker and of the call that it serves: [`Context`].

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::barrier::Synchro;
use crate::host::uplink::WorkerLink;
use crate::id::{WorkerId, WorkerInfo};
use crate::record::{Recorder, ResultLine};
use crate::scope::{Scope, Way};
use crate::server_call::ServerHandle;
use crate::worker::{DistributedWorker, ServerFunctions};

/// A worker's side of one call. A `#[remote]` method may take it as `ctx: &Context<Self>`, right
/// after its receiver.
///
/// Cheap to clone; a clone may go into a task that the method spawns.
pub struct Context<W> {
    info: WorkerInfo,
    scope: Scope,
    link: Option<WorkerLink>,
    worker: PhantomData<fn() -> W>,
}

impl<W> Context<W> {
    pub(crate) fn new(info: WorkerInfo, scope: Scope, link: Option<WorkerLink>) -> Self {
        Self { info, scope, link, worker: PhantomData }
    }

    /// The way to the server, if there is one.
    fn way(&self) -> Option<Way> {
        Some(Way { link: self.link.clone()?, scope: self.scope.clone() })
    }

    /// A context for calling a method as plain Rust, in a test of its own: the worker is `w1`, at
    /// index 0, nothing cancels it, it meets nobody at a barrier, there is no server, and
    /// [`recorded`](Self::recorded) gives what it records.
    ///
    /// ```
    /// use dp_core::{Context, distributed_worker};
    ///
    /// struct Greeter;
    ///
    /// #[distributed_worker]
    /// impl Greeter {
    ///     #[remote]
    ///     fn greet(&self, ctx: &Context<Self>, name: &str) -> String {
    ///         ctx.result(format!("greeted {name}"));
    ///         format!("hello {name}")
    ///     }
    /// }
    ///
    /// let ctx = Context::local();
    /// assert_eq!(Greeter.greet(&ctx, "Ada"), "hello Ada");
    /// assert_eq!(ctx.recorded()[0].message, "greeted Ada");
    /// ```
    pub fn local() -> Self {
        let info = WorkerInfo::new(WorkerId::first(), 0, "w".into(), "in-process".into());
        let recorder = Recorder::new(&crate::engine::Limits::default());
        let record = recorder.current();
        Self::new(info, Scope::new(Arc::new(recorder), record, Arc::default()), None)
    }

    /// Who this worker is.
    pub fn worker(&self) -> &WorkerInfo {
        &self.info
    }

    /// Records a line, stamped with the time. The worker keeps it until the results are reset.
    ///
    /// It belongs to the record in which this call came: once that was reset, as it is when a run
    /// begins, a method that goes on all the same records into nothing.
    pub fn result(&self, message: impl Into<String>) {
        self.scope.result(message.into());
    }

    /// Runs `future`, records `Time for running LABEL: S.SSSSS seconds`, and returns its value.
    pub async fn time<F: Future>(&self, label: impl fmt::Display, future: F) -> F::Output {
        let start = Instant::now();
        let value = future.await;
        self.scope.time(&label.to_string(), start.elapsed());
        value
    }

    /// Adds a duration, which ends now, to the metric `metric`. The histograms of all workers are
    /// merged exactly: [`Group::metrics`](crate::Group::metrics), or the table after `/run`.
    ///
    /// A name has at most 256 bytes. Durations of longer names, and of more than `max_metrics` names, are
    /// dropped, which a result line says once.
    pub fn record(&self, metric: impl AsRef<str>, duration: Duration) {
        self.scope.measure(metric.as_ref(), duration);
    }

    /// The lines that this worker has recorded so far.
    pub fn recorded(&self) -> Vec<ResultLine> {
        let id = self.info.id();
        self.scope.recorder().lines().2.into_iter().map(|line| line.into_line(id.clone())).collect()
    }

    /// Waits until every worker of the run has come to the same token: whoever was addressed by
    /// the broadcast that this call is part of. Awaited, it gives [`Met`](crate::Met) or a
    /// [`BarrierError`](crate::BarrierError).
    ///
    /// When a worker is lost, or its method ends, before it has come, the others get
    /// [`BarrierError::Lost`](crate::BarrierError::Lost) at once, unless they asked for
    /// [`survivors`](Synchro::survivors).
    ///
    /// # Cancel safety
    /// Dropped while it waits, the worker has not come.
    pub fn synchro(&self, token: impl Into<String>) -> Synchro {
        Synchro::new(self.way(), token.into(), false)
    }

    /// The same as [`synchro`](Self::synchro); then the workers go on one after another, in worker
    /// order, at the server's frequency: the second one period after the first, and so on, by the
    /// server's clock.
    pub fn delay(&self, token: impl Into<String>) -> Synchro {
        Synchro::new(self.way(), token.into(), true)
    }

    /// Completes when this call has been cancelled: its caller gave it up, its time is up, or the
    /// server is gone.
    ///
    /// A cancelled method is dropped where it awaits something. One that awaits `cancelled` at that
    /// time, or has a task of its own do so, is not: it ends by itself, after whatever it has to
    /// clean up.
    ///
    /// # Cancel safety
    /// It may be dropped and called again.
    pub async fn cancelled(&self) {
        self.scope.cancelled().await;
    }
}

impl<W: DistributedWorker> Context<W> {
    /// The `#[on_server]` functions of this worker, to be called on the server.
    ///
    /// A call that is over calls nobody: one that was cancelled, unless its method sees to its own end
    /// (see [`cancelled`](Self::cancelled)), or whose record was reset. It gets
    /// [`CallError::Cancelled`](crate::CallError::Cancelled), and at a barrier
    /// [`BarrierError::Lost`](crate::BarrierError::Lost) without anybody missing.
    ///
    /// The type that it returns is `WServer`, for a worker `W`.
    pub fn server<S>(&self) -> S
    where
        // Not `W::Stub` as the type: a worker without functions would then lack the method, and
        // the message would not say what to write.
        W: ServerFunctions<Stub = S>,
        S: From<ServerHandle<W>>,
    {
        ServerHandle::new(self.info.clone(), self.way()).into()
    }
}

impl<W> Clone for Context<W> {
    fn clone(&self) -> Self {
        Self::new(self.info.clone(), self.scope.clone(), self.link.clone())
    }
}

impl<W> fmt::Debug for Context<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("worker", &self.info).finish_non_exhaustive()
    }
}
