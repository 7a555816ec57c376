//! The calls in flight, from the first frame sent to the last worker's answer.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::conn::Conn;
use super::MethodNames;
use super::roster::{Audience, Member};
use crate::error::{CLIENT_MAX_MESSAGE, CallError, SERVER_MAX_MESSAGE, Decoded};
use crate::id::WorkerInfo;
use crate::link::Outbox;
use crate::proto::deadlines::Deadlines;
use crate::proto::gather::{Gather, RawOutcome};
use crate::sync::lock;
use crate::wire::{CallHead, Cancel, FRAME_HEAD, Failure, Reply, Targets};

/// A call that has not been sent yet.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) audience: Audience,
    pub(crate) payload: Payload,
    pub(crate) timeout: Option<Duration>,
    pub(crate) timed: bool,
    /// Nobody waits: failures are kept for the next `synchro`.
    pub(crate) detached: bool,
}

/// What is called, with which arguments.
#[derive(Debug, Clone)]
pub(crate) enum Payload {
    /// The same on every worker: encoded once.
    Same(MethodCall),
    /// One for each worker, by position.
    Each(Vec<MethodCall>),
}

/// A method and its arguments; or why the call can't be made.
#[derive(Debug, Clone)]
pub(crate) struct MethodCall {
    pub(crate) method: u16,
    pub(crate) arguments: Result<Bytes, CallError>,
    /// A deadline for this worker alone, within an `each`.
    pub(crate) timeout: Option<Duration>,
}

/// A call in flight.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) id: u64,
    pub(crate) audience: Audience,
    payload: PayloadNames,
    timeout: Option<Duration>,
    pub(crate) started: Instant,
    detached: bool,
    answers: Mutex<Answers>,
}

/// What has to be remembered of a payload: the methods, and the deadlines by position.
#[derive(Debug)]
enum PayloadNames {
    Same(u16),
    Each(Vec<(u16, Option<Duration>)>),
}

#[derive(Debug)]
struct Answers {
    gather: Gather,
    waker: Option<Waker>,
}

/// A detached call that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DetachedFailure {
    /// The worker that it failed on.
    pub worker: WorkerInfo,
    /// The method that was called.
    pub method: String,
    /// Why it failed.
    pub error: CallError,
}

/// So many failures of detached calls are kept for `synchro`; older ones make room.
const MAX_DETACHED_FAILURES: usize = 1 << 16;

impl InFlight {
    pub(crate) fn method(&self, position: usize) -> u16 {
        match &self.payload {
            PayloadNames::Same(method) => *method,
            PayloadNames::Each(each) => each.get(position).map_or(u16::MAX, |(method, _)| *method),
        }
    }

    fn timeout(&self, position: usize) -> Duration {
        let own = match &self.payload {
            PayloadNames::Same(_) => None,
            PayloadNames::Each(each) => each.get(position).and_then(|(_, timeout)| *timeout),
        };
        match (own, self.timeout) {
            (Some(own), Some(all)) => own.min(all),
            (own, all) => own.or(all).unwrap_or(Duration::ZERO),
        }
    }

    /// Whether the worker at `position` still has the call.
    pub(crate) fn is_unsettled(&self, position: usize) -> bool {
        lock(&self.answers).gather.is_unsettled(position)
    }

    /// Every outcome once the last is in; until then `waker` is kept to be woken.
    pub(crate) fn poll_complete(&self, waker: &Waker) -> Option<Vec<RawOutcome>> {
        let mut answers = lock(&self.answers);
        let complete = answers.gather.poll_complete();
        if complete.is_none() {
            answers.waker = Some(waker.clone());
        }
        complete
    }

    /// The next outcome that has come; `Ok(None)` when all were polled.
    pub(crate) fn poll_arrived(&self, waker: &Waker) -> Option<Option<(usize, RawOutcome)>> {
        let mut answers = lock(&self.answers);
        match answers.gather.poll_arrived() {
            Some(arrived) => Some(Some(arrived)),
            None if answers.gather.is_complete() => Some(None),
            None => {
                answers.waker = Some(waker.clone());
                None
            }
        }
    }

    fn outcome(&self, result: Result<Bytes, CallError>) -> RawOutcome {
        RawOutcome { elapsed: self.started.elapsed(), result }
    }
}

/// Every call in flight. Locked for short, never across user code or I/O.
#[derive(Debug)]
pub(crate) struct CallTable {
    names: Arc<MethodNames>,
    calls: HashMap<u64, Arc<InFlight>>,
    next: u64,
    deadlines: Deadlines<DeadlineKey>,
    failures: VecDeque<DetachedFailure>,
}

/// A call, and, within an `each`, the one position that the deadline is for.
pub(crate) type DeadlineKey = (u64, Option<usize>);

/// What a step of the table leaves to do once it is unlocked.
#[derive(Debug, Default)]
pub(crate) struct Todo {
    wakers: Vec<Waker>,
    cancels: Vec<(Arc<Conn>, Cancel)>,
}

impl Todo {
    pub(crate) fn run(self) {
        for (conn, cancel) in self.cancels {
            conn.outbox.push([cancel.to_frame()]);
        }
        self.wakers.into_iter().for_each(Waker::wake);
    }
}

impl CallTable {
    pub(crate) fn new(names: Arc<MethodNames>) -> Self {
        Self {
            names,
            calls: HashMap::new(),
            next: 1,
            deadlines: Deadlines::new(),
            failures: VecDeque::new(),
        }
    }

    /// Enters a call. Whether its deadline is now the earliest of all.
    pub(crate) fn insert(&mut self, request: &Request, now: Instant) -> (Arc<InFlight>, bool) {
        let id = self.next;
        self.next += 1;
        let payload = match &request.payload {
            Payload::Same(call) => PayloadNames::Same(call.method),
            Payload::Each(calls) => {
                PayloadNames::Each(calls.iter().map(|call| (call.method, call.timeout)).collect())
            }
        };
        let mut earliest = false;
        for (key, at) in deadlines(id, request.timeout, &payload, now) {
            earliest |= self.deadlines.insert(at, key);
        }
        let call = Arc::new(InFlight {
            id,
            payload,
            timeout: request.timeout,
            started: now,
            detached: request.detached,
            answers: Mutex::new(Answers {
                gather: Gather::new(request.audience.len()),
                waker: None,
            }),
            audience: request.audience.clone(),
        });
        if request.audience.len() > 0 {
            self.calls.insert(id, call.clone());
        }
        (call, earliest)
    }

    /// The call was never sent to these positions.
    pub(crate) fn handle_not_sent(
        &mut self,
        call: &InFlight,
        positions: impl IntoIterator<Item = usize>,
        error: &CallError,
        todo: &mut Todo,
    ) {
        for position in positions {
            self.settle(call, position, call.outcome(Err(error.clone())), todo);
        }
    }

    pub(crate) fn handle_replies(&mut self, conn: &Conn, replies: Vec<Reply>, todo: &mut Todo) {
        let mut last: Option<Arc<InFlight>> = None;
        for reply in replies {
            if last.as_ref().is_none_or(|call| call.id != reply.call) {
                last = self.calls.get(&reply.call).cloned();
            }
            let Some(call) = &last else { continue };
            let Some(position) = call.audience.position(conn.key, reply.worker) else { continue };
            let elapsed = Duration::from_micros(reply.elapsed);
            let result = reply.result.map_err(|failure| call_error(failure, call, position));
            self.settle(call, position, RawOutcome { elapsed, result }, todo);
        }
    }

    /// A connection is gone: whatever its workers had is lost.
    pub(crate) fn handle_lost(&mut self, conn: &Conn, reason: &str, todo: &mut Todo) {
        let calls: Vec<_> = self.calls.values().cloned().collect();
        for call in calls {
            for position in call.audience.positions_behind(conn.key) {
                let error = CallError::Lost { reason: reason.to_owned() };
                self.settle(&call, position, call.outcome(Err(error)), todo);
            }
        }
    }

    /// The caller waits no longer.
    pub(crate) fn handle_given_up(&mut self, call: &InFlight, todo: &mut Todo) {
        self.give_up(call, None, &|_| CallError::Cancelled, todo);
    }

    /// Ends every call whose deadline has passed. When the next one is due.
    pub(crate) fn handle_time(&mut self, now: Instant, todo: &mut Todo) -> Option<Instant> {
        while let Some((id, position)) = self.deadlines.poll_expired(now) {
            if let Some(call) = self.calls.get(&id).cloned() {
                let error = |position| CallError::TimedOut { after: call.timeout(position) };
                self.give_up(&call, position, &error, todo);
            }
        }
        self.deadlines.next()
    }

    /// Takes the failures of detached calls on these workers.
    pub(crate) fn take_failures(
        &mut self,
        of: impl Fn(&WorkerInfo) -> bool,
    ) -> Vec<DetachedFailure> {
        let (taken, kept) = self.failures.drain(..).partition(|failure| of(&failure.worker));
        self.failures = kept;
        taken.into()
    }

    /// The calls in flight, oldest first.
    pub(crate) fn in_order(&self) -> Vec<Arc<InFlight>> {
        let mut calls: Vec<_> = self.calls.values().cloned().collect();
        calls.sort_unstable_by_key(|call| call.id);
        calls
    }

    fn failure(&self, call: &InFlight, position: usize, outcome: &RawOutcome) -> DetachedFailure {
        let worker = call.audience.members()[position].info.clone();
        let method = self.names.name(call.method(position)).to_owned();
        let error = outcome.result.clone().err().unwrap_or(CallError::Cancelled);
        DetachedFailure { worker, method, error }
    }

    fn give_up(
        &mut self,
        call: &InFlight,
        only: Option<usize>,
        error: &dyn Fn(usize) -> CallError,
        todo: &mut Todo,
    ) {
        let mut answers = lock(&call.answers);
        let open: Vec<usize> = match only {
            Some(position) if answers.gather.is_open(position) => vec![position],
            Some(_) => Vec::new(),
            None => answers.gather.open_positions().collect(),
        };
        for &position in &open {
            let outcome = call.outcome(Err(error(position)));
            if call.detached {
                self.failures.push_back(self.failure(call, position, &outcome));
            }
            answers.gather.handle_given_up(position, outcome);
        }
        todo.wakers.extend(answers.waker.take());
        drop(answers);
        todo.cancels.extend(cancels(call, &open));
    }

    fn settle(&mut self, call: &InFlight, position: usize, outcome: RawOutcome, todo: &mut Todo) {
        let mut answers = lock(&call.answers);
        let failed = call.detached && outcome.result.is_err();
        let failure = failed.then(|| self.failure(call, position, &outcome));
        let Some(filled) = answers.gather.handle_settled(position, outcome) else { return };
        if filled {
            todo.wakers.extend(answers.waker.take());
            self.failures.extend(failure);
            if self.failures.len() > MAX_DETACHED_FAILURES {
                self.failures.pop_front();
            }
        }
        let settled = answers.gather.is_settled();
        drop(answers);
        if let Some(Member { conn, slot, .. }) = call.audience.members().get(position) {
            conn.handle_settled(*slot);
        }
        if settled {
            self.calls.remove(&call.id);
            for (key, at) in deadlines(call.id, call.timeout, &call.payload, call.started) {
                self.deadlines.remove(at, key);
            }
        }
    }
}

/// The deadlines of a call that started at `start`.
fn deadlines(
    id: u64,
    timeout: Option<Duration>,
    payload: &PayloadNames,
    start: Instant,
) -> Vec<(DeadlineKey, Instant)> {
    // A deadline too far away for the clock is none.
    let at = |timeout: Option<Duration>| timeout.and_then(|timeout| start.checked_add(timeout));
    let whole = at(timeout).map(|at| ((id, None), at));
    let mut deadlines: Vec<_> = whole.into_iter().collect();
    if let PayloadNames::Each(each) = payload {
        let own = each.iter().enumerate();
        deadlines.extend(own.filter_map(|(position, (_, timeout))| {
            Some(((id, Some(position)), at(*timeout)?))
        }));
    }
    deadlines
}

/// One cancel for each connection that leads to one of `positions`.
fn cancels(call: &InFlight, positions: &[usize]) -> Vec<(Arc<Conn>, Cancel)> {
    let mut by_conn: HashMap<u64, (Arc<Conn>, Vec<u32>)> = HashMap::new();
    for &position in positions {
        if let Some(Member { conn, slot, .. }) = call.audience.members().get(position) {
            by_conn.entry(conn.key).or_insert_with(|| (conn.clone(), Vec::new())).1.push(*slot);
        }
    }
    let cancel = |slots: Vec<u32>| Cancel { call: call.id, targets: Targets::Some(slots) };
    by_conn.into_values().map(|(conn, slots)| (conn, cancel(slots))).collect()
}

fn call_error(failure: Failure, call: &InFlight, position: usize) -> CallError {
    match failure {
        Failure::Failed { message, chain } => CallError::Failed { message, chain },
        Failure::Panicked { message } => CallError::Panicked { message },
        Failure::TimedOut => CallError::TimedOut { after: call.timeout(position) },
        Failure::Cancelled => CallError::Cancelled,
        Failure::NotStarted { reason } => CallError::NotSent { reason },
        Failure::TooLarge { size, limit } => CallError::TooLarge {
            size: usize::try_from(size).unwrap_or(usize::MAX),
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            setting: SERVER_MAX_MESSAGE,
        },
        Failure::Arguments { message } => {
            CallError::Decode { what: Decoded::Arguments, message }
        }
    }
}

/// The frame of a call for a connection; or why the client would not take it.
pub(crate) fn call_frame(
    outbox: &Outbox,
    head: &CallHead,
    arguments: &Bytes,
) -> Result<[Bytes; 2], CallError> {
    let frame = head.to_frame(arguments.clone());
    let size = frame.iter().map(Bytes::len).sum::<usize>() - (FRAME_HEAD - 1);
    let limit = outbox.peer_max_message();
    if size > limit {
        return Err(CallError::TooLarge { size, limit, setting: CLIENT_MAX_MESSAGE });
    }
    Ok(frame)
}
