//! What a call does belongs to: the call itself, and the record in which it came.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::host::uplink::{Asked, WorkerLink};
use crate::record::Recorder;

/// One call, as what its method does is bound to it.
///
/// A method may outlive its call, by blocking its thread, or in a task that it has spawned. What it
/// does then must not be taken for a later call's.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    recorder: Arc<Recorder>,
    /// The record in which the call came.
    record: u64,
    cancel: Arc<CancelSignal>,
}

impl Scope {
    pub(crate) fn new(recorder: Arc<Recorder>, record: u64, cancel: Arc<CancelSignal>) -> Self {
        Self { recorder, record, cancel }
    }

    pub(crate) fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    pub(crate) fn result(&self, message: String) {
        self.recorder.add(self.record, message);
    }

    pub(crate) fn time(&self, label: &str, elapsed: Duration) {
        self.recorder.add_time(self.record, label, elapsed);
    }

    pub(crate) fn measure(&self, metric: &str, duration: Duration) {
        self.recorder.measure(self.record, metric, duration);
    }

    pub(crate) async fn cancelled(&self) {
        self.cancel.wait().await;
    }

    /// Whether the record in which the call came has been reset.
    pub(crate) fn is_reset(&self) -> bool {
        self.recorder.current() != self.record
    }

    /// Whether nothing that the method does counts any more.
    pub(crate) fn is_over(&self) -> bool {
        self.cancel.is_given_up() || self.is_reset()
    }
}

/// The way to the server, within one call.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    pub(crate) link: WorkerLink,
    pub(crate) scope: Scope,
}

/// Why nothing can be asked of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// The call is over.
    Over,
    /// The connection has ended.
    NoServer,
}

impl Way {
    /// Asks something of the server, unless the call is over: see [`Uplink::ask`].
    ///
    /// [`Uplink::ask`]: crate::host::uplink::Uplink::ask
    pub(crate) fn ask<F: IntoIterator<Item = Bytes>>(
        &self,
        frame: impl FnOnce(u64) -> F,
    ) -> Result<Asked, Closed> {
        if self.scope.is_over() {
            return Err(Closed::Over);
        }
        self.link.uplink.ask(frame).ok_or(Closed::NoServer)
    }
}

/// Tells a method that its call was cancelled, and the host whether the method listens.
#[derive(Debug, Default)]
pub(crate) struct CancelSignal {
    cancelled: AtomicBool,
    /// The method listened for it: it sees to its own end.
    left_alone: AtomicBool,
    listeners: AtomicUsize,
    notify: Notify,
}

impl CancelSignal {
    pub(crate) fn cancel(&self) {
        self.left_alone.store(self.has_listeners(), Ordering::SeqCst);
        self.cancelled.store(true, Ordering::SeqCst);
        self.notify.notify_waiters();
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    /// Whether the call has been cancelled and its method does not see to its own end.
    pub(crate) fn is_given_up(&self) -> bool {
        if !self.is_cancelled() {
            return false;
        }
        if self.has_listeners() {
            self.left_alone.store(true, Ordering::SeqCst);
        }
        !self.left_alone.load(Ordering::SeqCst)
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
    use crate::engine::Limits;

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

    #[tokio::test]
    async fn a_method_that_listens_is_left_alone_and_another_is_given_up() {
        let (deaf, listening) = (CancelSignal::default(), CancelSignal::default());
        let mut wait = Box::pin(listening.wait());
        assert!(futures_util::poll!(wait.as_mut()).is_pending());
        for signal in [&deaf, &listening] {
            assert!(!signal.is_given_up());
            signal.cancel();
        }
        drop(wait);
        assert_eq!((deaf.is_given_up(), listening.is_given_up()), (true, false));
    }

    #[test]
    fn a_call_records_into_nothing_once_its_record_was_reset() {
        let recorder = Arc::new(Recorder::new(&Limits::default()));
        let scope = || Scope::new(recorder.clone(), recorder.current(), Arc::default());
        let record = |scope: &Scope| {
            scope.result("line".to_owned());
            scope.time("label", Duration::from_secs(1));
            scope.measure("metric", Duration::from_secs(1));
        };
        let before = scope();
        record(&before);
        assert_eq!((recorder.lines().2.len(), recorder.measured().0.len()), (2, 1));
        recorder.reset();
        record(&before);
        assert_eq!((recorder.lines().2.len(), recorder.measured().0.len()), (0, 0));
        assert!(before.is_over() && !scope().is_over());
        record(&scope());
        assert_eq!((recorder.lines().2.len(), recorder.measured().0.len()), (2, 1));
    }
}
