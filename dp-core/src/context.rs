//! What a method knows of its worker and of the call that it serves: [`Context`].

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::barrier::Synchro;
use crate::host::uplink::WorkerLink;
use crate::id::{WorkerId, WorkerInfo};
use crate::record::{Recorder, ResultLine};
use crate::server_call::ServerHandle;
use crate::worker::DistributedWorker;

/// A worker's side of one call. A `#[remote]` method may take it as `ctx: &Context<Self>`, right
/// after its receiver.
///
/// Cheap to clone; a clone may go into a task that the method spawns.
pub struct Context<W> {
    info: WorkerInfo,
    recorder: Arc<Recorder>,
    cancel: Arc<CancelSignal>,
    link: Option<WorkerLink>,
    worker: PhantomData<fn() -> W>,
}

impl<W> Context<W> {
    pub(crate) fn new(
        info: WorkerInfo,
        recorder: Arc<Recorder>,
        cancel: Arc<CancelSignal>,
        link: Option<WorkerLink>,
    ) -> Self {
        Self { info, recorder, cancel, link, worker: PhantomData }
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
        Self::new(info, Arc::new(recorder), Arc::default(), None)
    }

    /// Who this worker is.
    pub fn worker(&self) -> &WorkerInfo {
        &self.info
    }

    /// Records a line, stamped with the time. The worker keeps it until the results are reset.
    pub fn result(&self, message: impl Into<String>) {
        self.recorder.add(message.into());
    }

    /// Runs `future`, records `Time for running LABEL: S.SSSSS seconds`, and returns its value.
    pub async fn time<F: Future>(&self, label: impl fmt::Display, future: F) -> F::Output {
        let start = Instant::now();
        let value = future.await;
        self.recorder.add_time(&label.to_string(), start.elapsed());
        value
    }

    /// Adds a duration, which ends now, to the metric `metric`. The histograms of all workers are
    /// merged exactly: [`Group::metrics`](crate::Group::metrics), or the table after `/run`.
    ///
    /// A name has at most 256 bytes. Durations of longer names, and of more than `max_metrics` names, are
    /// dropped, which a result line says once.
    pub fn record(&self, metric: impl AsRef<str>, duration: Duration) {
        self.recorder.measure(metric.as_ref(), duration);
    }

    /// The lines that this worker has recorded so far.
    pub fn recorded(&self) -> Vec<ResultLine> {
        let id = self.info.id();
        self.recorder.lines().2.into_iter().map(|line| line.into_line(id.clone())).collect()
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
        Synchro::new(self.link.clone(), token.into(), false)
    }

    /// The same as [`synchro`](Self::synchro); then the workers go on one after another, in worker
    /// order, at the server's frequency: the second one period after the first, and so on, by the
    /// server's clock.
    pub fn delay(&self, token: impl Into<String>) -> Synchro {
        Synchro::new(self.link.clone(), token.into(), true)
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
        self.cancel.wait().await;
    }
}

impl<W: DistributedWorker> Context<W> {
    /// The `#[on_server]` functions of this worker, to be called on the server.
    pub fn server(&self) -> W::ServerStub {
        ServerHandle::new(self.info.clone(), self.link.clone()).into()
    }
}

impl<W> Clone for Context<W> {
    fn clone(&self) -> Self {
        let (info, recorder) = (self.info.clone(), self.recorder.clone());
        Self::new(info, recorder, self.cancel.clone(), self.link.clone())
    }
}

impl<W> fmt::Debug for Context<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("worker", &self.info).finish_non_exhaustive()
    }
}

/// Tells a method that its call was cancelled, and the host whether the method listens.
#[derive(Debug, Default)]
pub(crate) struct CancelSignal {
    cancelled: AtomicBool,
    listeners: AtomicUsize,
    notify: Notify,
}

impl CancelSignal {
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        self.notify.notify_waiters();
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    /// Whether somebody is waiting for it right now.
    pub(crate) fn has_listeners(&self) -> bool {
        self.listeners.load(Ordering::SeqCst) > 0
    }

    async fn wait(&self) {
        struct Listening<'a>(&'a AtomicUsize);
        impl Drop for Listening<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        self.listeners.fetch_add(1, Ordering::SeqCst);
        let _listening = Listening(&self.listeners);
        let mut notified = pin!(self.notify.notified());
        // Registered before looking: a cancel in between is not missed.
        notified.as_mut().enable();
        if !self.is_cancelled() {
            notified.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_waits_is_counted_until_it_is_dropped() {
        let signal = CancelSignal::default();
        {
            let mut wait = pin!(signal.wait());
            assert!(!signal.has_listeners());
            assert!(futures_util::poll!(wait.as_mut()).is_pending());
            assert!(signal.has_listeners());
            signal.cancel();
            wait.await;
        }
        assert!(!signal.has_listeners());
        signal.wait().await;
    }
}
