//! One call on one worker, from its start to its reply.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use tokio::time::Instant;

use bytes::Bytes;
use tracing::Span;
use tracing::field::Empty;

use super::Shared;
use super::call::{BUILD, Call, Waiting};
use super::invocation::{Access, Invocation, Invoked};
use super::slot::Slot;
use super::uplink::{Uplink, WorkerLink};
use crate::codec::Encoded;
use crate::context::Context;
use crate::error::panic_text;
use crate::executor::{Job, Turn};
use crate::id::WorkerInfo;
use crate::logs;
use crate::scope::{CancelSignal, Scope};
use crate::sync::lock;
use crate::system;
use crate::trace::{Parent, Traced};
use crate::wire::{FRAME_HEAD, Failure, Reply};
use crate::worker::DistributedWorker;

/// Why a call ended before its method did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Ended {
    Cancelled = 1,
    TimedOut = 2,
}

impl Ended {
    pub(super) fn failure(self) -> Failure {
        match self {
            Self::Cancelled => Failure::Cancelled,
            Self::TimedOut => Failure::TimedOut,
        }
    }

    fn load(from: &AtomicU8) -> Option<Self> {
        match from.load(Ordering::SeqCst) {
            1 => Some(Self::Cancelled),
            2 => Some(Self::TimedOut),
            _ => None,
        }
    }
}

pub(super) struct Task<W: DistributedWorker> {
    host: Arc<Shared<W>>,
    slot: Arc<Slot<W>>,
    call: Arc<Call>,
    info: WorkerInfo,
    /// The worker's record in which the call came.
    record: u64,
    started: Instant,
    turn: Turn,
    ended: AtomicU8,
    stage: Mutex<Stage>,
    cancel: Arc<CancelSignal>,
}

enum Stage {
    /// The encoded arguments.
    Waiting(Bytes),
    Under(Invoked),
    /// Being polled, or over.
    Taken,
}

impl<W: DistributedWorker> Task<W> {
    /// Whoever makes it starts it. It takes the memory of `spare`, one that has ended, unless somebody
    /// still has hold of that: of a batch of calls that end at once, each but the first costs none.
    pub(super) fn new(
        host: &Arc<Shared<W>>,
        slot: &Arc<Slot<W>>,
        Waiting { call, arguments, info, record }: Waiting,
        now: Instant,
        spare: Option<Arc<Self>>,
    ) -> Arc<Self> {
        if let Some(mut spare) = spare
            && let Some(place) = Arc::get_mut(&mut spare)
        {
            // It is of the same host: the threads of a batch would contend for the count of its handles.
            place.slot = slot.clone();
            (place.call, place.info, place.record, place.started) = (call, info, record, now);
            (place.turn, place.stage) = (Turn::queued(), Mutex::new(Stage::Waiting(arguments)));
            *place.ended.get_mut() = 0;
            let used = |cancel: &mut CancelSignal| cancel.is_cancelled() || cancel.has_listeners();
            if Arc::get_mut(&mut place.cancel).is_none_or(used) {
                place.cancel = Arc::default();
            }
            return spare;
        }
        Arc::new(Self {
            host: host.clone(),
            slot: slot.clone(),
            call,
            info,
            record,
            started: now,
            turn: Turn::queued(),
            ended: AtomicU8::new(0),
            stage: Mutex::new(Stage::Waiting(arguments)),
            cancel: Arc::default(),
        })
    }

    pub(super) fn call(&self) -> &Call {
        &self.call
    }

    /// Starts the call: polls it once, in place. Unless `flush`, its answer waits for whoever started
    /// it to flush the connection. When it ended, if it has: whoever started it tells the worker's
    /// queue.
    pub(super) fn start(self: &Arc<Self>, flush: bool) -> Option<Instant> {
        self.poll(flush)
    }

    /// Ends the call before its method has. The method is dropped where it awaits, unless it awaits
    /// `cancelled`; a thread that it blocks is left alone.
    pub(super) fn end(self: &Arc<Self>, why: Ended) {
        let first = self.ended.compare_exchange(0, why as u8, Ordering::SeqCst, Ordering::SeqCst);
        if first.is_ok() {
            self.cancel.cancel();
            self.wake_up();
        }
    }

    fn wake_up(self: &Arc<Self>) {
        if self.turn.wake() {
            self.host.executor.push(self.clone());
        }
    }

    fn poll(self: &Arc<Self>, flush: bool) -> Option<Instant> {
        self.turn.begin();
        let stage = std::mem::replace(&mut *lock(&self.stage), Stage::Taken);
        if let Some(result) = self.poll_stage(stage) {
            self.turn.end();
            return Some(self.finish(result, flush));
        }
        if self.turn.pause() {
            // In its turn again, so that nobody starves the others.
            self.host.executor.push(self.clone());
        }
        None
    }

    /// Polls the method; `None` if it is not over, when the stage has been put back.
    fn poll_stage(self: &Arc<Self>, stage: Stage) -> Option<Result<Encoded, Failure>> {
        let mut future = match stage {
            Stage::Waiting(arguments) => match self.open(arguments) {
                Ok(future) => future,
                Err(result) => return Some(result),
            },
            Stage::Under(future) => future,
            Stage::Taken => return Some(Err(Failure::Cancelled)),
        };
        if let Some(why) = self.given_up() {
            self.drop_future(future);
            return Some(Err(why.failure()));
        }
        let waker = Waker::from(self.clone());
        let mut cx = TaskContext::from_waker(&waker);
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut cx))) {
            Ok(Poll::Pending) => {
                // Ended while it was polled: it may have been dropped before that could be seen.
                if let Some(why) = self.given_up() {
                    self.drop_future(future);
                    return Some(Err(why.failure()));
                }
                *lock(&self.stage) = Stage::Under(future);
                None
            }
            Ok(Poll::Ready(result)) => {
                self.drop_future(future);
                Some(result.map(|reply| reply.0).map_err(|failure| failure.0))
            }
            Err(panic) => {
                self.drop_future(future);
                if self.call.exclusive {
                    self.rebuild();
                }
                Some(Err(Failure::Panicked { message: panic_text(panic) }))
            }
        }
    }

    /// Makes the call's future; `Err` is its result where there is nothing to await.
    fn open(self: &Arc<Self>, arguments: Bytes) -> Result<Invoked, Result<Encoded, Failure>> {
        match self.call.method {
            system::SYNCHRO => return Err(Ok(Encoded::default())),
            // Another connection, or a call, may have had it built meanwhile.
            BUILD if self.slot.built.load(Ordering::Acquire) => return Err(Ok(Encoded::default())),
            BUILD => return Err(self.build_worker().map(|()| Encoded::default())),
            _ => {}
        }
        let busy = || Err(Failure::NotStarted { reason: "the worker is being built".to_owned() });
        let mut access = Access::take(&self.slot.worker, self.call.exclusive).ok_or_else(busy)?;
        if !access.is_built() {
            drop(access);
            self.build_worker().map_err(Err)?;
            if !self.call.exclusive && self.slot.handle_built() {
                self.host.start(&self.call.link, vec![self.slot.clone()]);
            }
            access = Access::take(&self.slot.worker, self.call.exclusive).ok_or_else(busy)?;
        }
        let link = WorkerLink {
            uplink: self.call.link.clone(),
            worker: self.slot.index as u32,
            call: self.call.id,
        };
        let context = Context::new(self.info.clone(), self.scope(), Some(link));
        let invocation = Invocation::new(self.call.method, arguments, context, access);
        // Generated code only makes a future here; what the user wrote runs when it is polled.
        let method = W::dispatch(invocation);
        match self.traced() {
            None => Ok(method),
            Some(traced) => Ok(traced.within(method)),
        }
    }

    /// What is logged while the method runs is logged in this. It is there only if somebody looks: at
    /// the debug level, or for a server that wants to see the log.
    fn span(&self) -> Span {
        let method = self.host.contract.methods.get(usize::from(self.call.method));
        tracing::debug_span!(
            target: logs::CALL, "call",
            worker = %self.info.id(),
            method = %method.map_or("(constructor)", |method| method.name),
            call = self.call.id,
            trace_id = Empty,
            otel.name = Empty,
        )
    }

    fn scope(&self) -> Scope {
        Scope::new(self.slot.recorder.clone(), self.record, self.cancel.clone())
    }

    fn traced(&self) -> Option<Traced> {
        if !Traced::is_wanted() {
            return None;
        }
        let name = || {
            let method = self.host.contract.methods.get(usize::from(self.call.method));
            format!("{} on {}", method.map_or("call", |method| method.name), self.info.id())
        };
        let from = Parent::Remote(self.call.from.as_deref().copied());
        logs::within(self.scope(), || Traced::begin(self.span(), name, from))
    }

    /// Builds the worker by its constructor. Only where nothing else of this worker runs.
    fn build_worker(&self) -> Result<(), Failure> {
        self.slot.built.store(false, Ordering::Release);
        let info = self.slot.info();
        let from = Parent::Remote(self.call.from.as_deref().copied());
        let traced = Traced::begin(self.span(), || format!("build {}", info.id()), from);
        let _within = traced.as_ref().map(Traced::enter);
        let built = catch_unwind(AssertUnwindSafe(|| (self.host.constructor)(&info)));
        let (worker, result) = match built {
            Ok(worker) => (Some(worker), Ok(())),
            Err(panic) => {
                let reason = format!("the constructor panicked: {}", panic_text(panic));
                (None, Err(Failure::NotStarted { reason }))
            }
        };
        match self.slot.worker.try_write() {
            Ok(mut slot) => {
                let old = std::mem::replace(&mut *slot, worker);
                self.slot.built.store(slot.is_some(), Ordering::Release);
                drop(slot);
                let _ = catch_unwind(AssertUnwindSafe(|| drop(old)));
                result
            }
            Err(_) => Err(Failure::NotStarted { reason: "the worker is in use".to_owned() }),
        }
    }

    /// After a panic in a method that takes `&mut self`.
    fn rebuild(&self) {
        if let Err(failure) = self.build_worker() {
            // The next call tries again, and tells its caller if that fails too.
            tracing::error!(worker = %self.slot.info().id(), "not built anew: {failure:?}");
        }
    }

    /// Whether the call has ended, and the method does not see to its own end.
    fn given_up(&self) -> Option<Ended> {
        let why = Ended::load(&self.ended)?;
        self.cancel.is_given_up().then_some(why)
    }

    /// Drops the method, and with it its hold on the worker. What the user's values do when they
    /// are dropped may panic.
    fn drop_future(&self, future: Invoked) {
        if catch_unwind(AssertUnwindSafe(|| drop(future))).is_err() {
            tracing::warn!(worker = %self.slot.info().id(), "a value of a method panicked in drop");
        }
    }

    /// Answers the call, now. When that is.
    fn finish(&self, result: Result<Encoded, Failure>, flush: bool) -> Instant {
        let now = Instant::now();
        let Call { link, id, method, timed, .. } = &*self.call;
        self.call.forget_deadline(&self.host, self.slot.index);
        if *method == BUILD {
            if let Err(failure) = result {
                tracing::error!(worker = %self.slot.info().id(), "not built: {failure:?}");
            }
            return now;
        }
        let elapsed = now - self.started;
        if *timed {
            let name = self.host.contract.methods.get(usize::from(*method));
            let name = name.map_or_else(|| system::name(*method), |method| method.name);
            self.slot.recorder.add_time(self.record, name, elapsed);
        }
        // Ahead of the answer: who has the answer has what was recorded until then.
        self.slot.tell_news(link);
        let elapsed = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        send_reply(link, *id, self.slot.index, elapsed, result, flush);
        now
    }
}

/// Queues the answer to a call; an answer that the server would not take is replaced by an error.
pub(super) fn send_reply(
    link: &Uplink,
    call: u64,
    worker: usize,
    elapsed: u64,
    result: Result<Encoded, Failure>,
    flush: bool,
) {
    let result = result.map_err(Failure::bounded);
    let mut reply = Reply { call, worker: worker as u32, elapsed, result };
    let (size, limit) = (reply.encoded_len() + FRAME_HEAD, link.peer_max_message());
    if size > limit {
        reply.result = Err(Failure::TooLarge { size: size as u64, limit: limit as u64 });
    }
    link.push_reply(reply, flush);
}

impl<W: DistributedWorker> Job for Task<W> {
    fn run(self: Arc<Self>) {
        if self.poll(true).is_some() && self.slot.handle_end(&self) {
            // In a job of its own: this one may have been noticed as blocked already.
            self.host.start(&self.call.link, vec![self.slot.clone()]);
        }
    }
}

impl<W: DistributedWorker> Wake for Task<W> {
    fn wake(self: Arc<Self>) {
        self.wake_up();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_up();
    }
}
