//! The calls in flight, from the first frame sent to the last worker's answer.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::MethodNames;
use super::conn::Conn;
use super::frequency::Frequency;
use super::meeting::{Meetings, WaitKey, note_wait};
use super::roster::{Audience, Member};
use super::tally::{CallStatistics, Tally};
use crate::codec::Encoded;
use crate::error::{CLIENT_MAX_MESSAGE, CallError, SERVER_MAX_MESSAGE};
use crate::id::WorkerInfo;
use crate::link::Outbox;
use crate::proto::deadlines::Deadlines;
use crate::proto::gather::{Gather, RawOutcome};
use crate::sync::lock;
use crate::system;
use crate::trace::Traced;
use crate::wire::{Arrive, Cancel, FRAME_HEAD, Release, Reply, Targets, Verdict};

/// A call that has not been sent yet.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) audience: Audience,
    pub(crate) payload: Payload,
    pub(crate) timeout: Option<Duration>,
    pub(crate) timed: bool,
    /// Sent to one worker after another, at the frequency.
    pub(crate) postponed: bool,
    /// The records of those addressed are dropped first.
    pub(crate) begins_run: bool,
    /// Nobody waits: failures are kept for the next `synchro`.
    pub(crate) detached: bool,
}

impl Request {
    /// Drops the records of the same workers.
    pub(crate) fn as_reset(&self) -> Self {
        let (method, arguments) = (system::RESET_RESULTS, Ok(Encoded::default()));
        Self {
            audience: self.audience.clone(),
            payload: Payload::Same(MethodCall { method, arguments, timeout: None }),
            timeout: None,
            timed: false,
            postponed: false,
            begins_run: false,
            detached: false,
        }
    }
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
    pub(crate) arguments: Result<Encoded, CallError>,
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
    /// The span of the call, from here to its end, if anybody looks at it.
    pub(crate) traced: Option<Box<Traced>>,
    detached: bool,
    /// The positions from here on have not been sent anything yet.
    unsent: AtomicUsize,
    answers: Mutex<Answers>,
    /// Made when the first worker comes to a barrier.
    meetings: Mutex<Option<Meetings>>,
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
    /// Whether who waits wants each outcome as it comes, and not only all of them.
    each: bool,
    /// Why the call is over for a worker, by position, where it gave no value.
    failed: HashMap<usize, String>,
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

    /// The turn of `position` to be sent the call has come.
    pub(crate) fn handle_turn(&self, position: usize) {
        self.unsent.store(position + 1, Ordering::SeqCst);
    }

    /// The barriers at which somebody waits: token, positions of those there, and of those awaited.
    pub(crate) fn barriers(&self) -> Vec<(String, Vec<usize>, Vec<usize>)> {
        let members = self.audience.len();
        lock(&self.meetings).as_ref().map_or_else(Vec::new, |meetings| meetings.snapshot(members))
    }

    /// Whether the caller still waits for the worker at `position`.
    pub(crate) fn is_open(&self, position: usize) -> bool {
        lock(&self.answers).gather.is_open(position)
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
            answers.each = false;
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
                answers.each = true;
                None
            }
        }
    }

    /// The barriers of this call, when the first worker comes to one: those for whom the call is
    /// over already will never come.
    fn first_meeting(&self, now: Instant, period: Duration) -> Meetings {
        let mut meetings = Meetings::new(self.audience.len());
        let answers = lock(&self.answers);
        for position in (0..self.audience.len()).filter(|at| !answers.gather.is_unsettled(*at)) {
            let why = answers.failed.get(&position).cloned().unwrap_or_else(ended);
            meetings.handle_gone(position, why, now, period);
        }
        meetings
    }

    fn outcome(&self, result: Result<Bytes, CallError>) -> RawOutcome {
        RawOutcome { elapsed: self.started.elapsed(), result }
    }
}

/// Every call in flight. Locked for short, never across user code or I/O.
#[derive(Debug)]
pub(crate) struct CallTable {
    names: Arc<MethodNames>,
    frequency: Arc<Frequency>,
    calls: HashMap<u64, Arc<InFlight>>,
    next: u64,
    deadlines: Deadlines<Due>,
    failures: VecDeque<DetachedFailure>,
    tally: Tally,
}

/// What is due, by the number of its call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// The whole call has had its time.
    Call(u64),
    /// So has this position of an `each`.
    Position(u64, usize),
    /// Somebody has waited long enough at a barrier.
    Barrier(u64),
    /// Somebody's turn comes behind a barrier.
    Turn(u64, WaitKey),
}

/// What a step of the table leaves to do once it is unlocked.
#[derive(Debug, Default)]
pub(crate) struct Todo {
    wakers: Vec<Waker>,
    /// Calls that nobody waits for any more, and the workers' slots.
    cancels: Vec<(Arc<Conn>, u64, Vec<u32>)>,
    releases: Vec<(Arc<Conn>, Release)>,
    /// A deadline was entered that is earlier than all before.
    pub(crate) earlier: bool,
    /// A worker is done with a call.
    pub(crate) settled: bool,
    /// Calls whose spans end.
    over: Vec<Arc<InFlight>>,
}

/// A call that was cancelled before it was sent to these workers behind a connection.
#[derive(Debug)]
pub(crate) struct Withdrawn {
    conn: u64,
    call: u64,
    slots: Vec<u32>,
}

impl Todo {
    pub(crate) fn release(&mut self, conn: Arc<Conn>, release: Release) {
        self.releases.push((conn, release));
    }

    /// Does it. What was cancelled before it left this side is given back.
    pub(crate) fn run(self) -> Vec<Withdrawn> {
        for (conn, release) in self.releases {
            conn.outbox.push_answer([release.to_frame()]);
        }
        let mut withdrawn = Vec::new();
        for (conn, call, mut slots) in self.cancels {
            slots.sort_unstable();
            let mut unsent = conn.outbox.withdraw(call, &slots);
            unsent.sort_unstable();
            slots.retain(|slot| unsent.binary_search(slot).is_err());
            if !slots.is_empty() {
                conn.outbox.push([Cancel { call, targets: Targets::Some(slots) }.to_frame()]);
            }
            if !unsent.is_empty() {
                withdrawn.push(Withdrawn { conn: conn.key, call, slots: unsent });
            }
        }
        self.wakers.into_iter().for_each(Waker::wake);
        withdrawn
    }
}

impl CallTable {
    pub(crate) fn new(names: Arc<MethodNames>, frequency: Arc<Frequency>) -> Self {
        Self {
            names,
            frequency,
            calls: HashMap::new(),
            next: 1,
            deadlines: Deadlines::new(),
            failures: VecDeque::new(),
            tally: Tally::default(),
        }
    }

    /// Enters a call.
    pub(crate) fn insert(
        &mut self,
        request: &Request,
        traced: Option<Box<Traced>>,
        now: Instant,
        todo: &mut Todo,
    ) -> Arc<InFlight> {
        let id = self.next;
        self.next += 1;
        let payload = match &request.payload {
            Payload::Same(call) => PayloadNames::Same(call.method),
            Payload::Each(calls) => {
                PayloadNames::Each(calls.iter().map(|call| (call.method, call.timeout)).collect())
            }
        };
        for (due, at) in deadlines(id, request.timeout, &payload, now) {
            todo.earlier |= self.deadlines.insert(at, due);
        }
        let call = Arc::new(InFlight {
            id,
            payload,
            timeout: request.timeout,
            started: now,
            traced,
            detached: request.detached,
            unsent: AtomicUsize::new(if request.postponed { 0 } else { usize::MAX }),
            meetings: Mutex::new(None),
            answers: Mutex::new(Answers {
                gather: Gather::new(request.audience.len()),
                waker: None,
                each: false,
                failed: HashMap::new(),
            }),
            audience: request.audience.clone(),
        });
        if request.audience.len() > 0 {
            self.calls.insert(id, call.clone());
        }
        call
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

    /// These workers will never hear of the call: as good as answered.
    pub(crate) fn handle_withdrawn(&mut self, withdrawn: &Withdrawn, todo: &mut Todo) {
        let Some(call) = self.calls.get(&withdrawn.call).cloned() else { return };
        for slot in &withdrawn.slots {
            if let Some(position) = call.audience.position(withdrawn.conn, *slot) {
                let reason = "given up before it was sent".to_owned();
                let outcome = call.outcome(Err(CallError::NotSent { reason }));
                self.settle(&call, position, outcome, todo);
            }
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
            let result = reply
                .result
                .map(Encoded::into_bytes)
                .map_err(|failure| failure.into_error(call.timeout(position), SERVER_MAX_MESSAGE));
            self.settle(call, position, RawOutcome { elapsed, result }, todo);
        }
    }

    /// A connection is gone: whatever its workers had is lost.
    pub(crate) fn handle_lost(&mut self, conn: &Conn, reason: &str, todo: &mut Todo) {
        for call in self.in_order() {
            for position in call.audience.positions_behind(conn.key) {
                let reason = reason.to_owned();
                let error = match position < call.unsent.load(Ordering::SeqCst) {
                    true => CallError::Lost { reason },
                    false => CallError::NotSent { reason },
                };
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
        while let Some(due) = self.deadlines.poll_expired(now) {
            let (Due::Call(id) | Due::Position(id, _) | Due::Barrier(id) | Due::Turn(id, _)) = due;
            let Some(call) = self.calls.get(&id).cloned() else { continue };
            let timed_out = |position| CallError::TimedOut { after: call.timeout(position) };
            match due {
                Due::Call(_) => self.give_up(&call, None, &timed_out, todo),
                Due::Position(_, position) => {
                    self.give_up(&call, Some(position), &timed_out, todo);
                }
                Due::Barrier(_) => {
                    self.meet(&call, now, todo, |meetings, _| meetings.handle_time(now));
                }
                Due::Turn(_, key) => {
                    let names = self.names.clone();
                    self.meet(&call, now, todo, |meetings, todo| {
                        meetings.handle_turn(key, &call, &names, todo);
                    });
                }
            }
        }
        self.deadlines.next()
    }

    /// A worker has come to a barrier. Of each client, `max` may wait at a time.
    pub(crate) fn handle_arrive(
        &mut self,
        conn: &Arc<Conn>,
        arrive: &Arrive,
        max: usize,
        todo: &mut Todo,
    ) {
        let (now, period) = (Instant::now(), self.frequency.period());
        let call = self.calls.get(&arrive.call).cloned();
        let found = call.and_then(|call| {
            let position = call.audience.position(conn.key, arrive.worker)?;
            (call.is_unsettled(position) && note_wait(conn, arrive, position, max))
                .then_some((call, position))
        });
        let Some((call, position)) = found else {
            // The call is over for this worker, or it waits for too much at once.
            let verdict = Verdict::Lost { missing: Vec::new() };
            todo.release(conn.clone(), Release { waits: vec![arrive.wait], verdict });
            return;
        };
        self.meet(&call, now, todo, |meetings, _| {
            meetings.handle_arrive(position, arrive, now, period);
        });
    }

    /// A worker waits no longer at a barrier.
    pub(crate) fn handle_withdraw(&mut self, call: u64, key: WaitKey, todo: &mut Todo) {
        if let Some(call) = self.calls.get(&call).cloned() {
            self.meet(&call, Instant::now(), todo, |meetings, _| meetings.handle_withdraw(key));
        }
    }

    /// One step of a call's barriers, and what follows from it.
    fn meet(
        &mut self,
        call: &InFlight,
        now: Instant,
        todo: &mut Todo,
        step: impl FnOnce(&mut Meetings, &mut Todo),
    ) {
        let later = {
            let mut meetings = lock(&call.meetings);
            let period = self.frequency.period();
            let meetings = meetings.get_or_insert_with(|| call.first_meeting(now, period));
            step(meetings, todo);
            meetings.flush(call, &self.names, now, todo)
        };
        if let Some((from, to)) = later.rearm {
            if let Some(at) = from {
                self.deadlines.remove(at, Due::Barrier(call.id));
            }
            if let Some(at) = to.filter(|_| self.calls.contains_key(&call.id)) {
                todo.earlier |= self.deadlines.insert(at, Due::Barrier(call.id));
            }
        }
        if !self.calls.contains_key(&call.id) {
            return;
        }
        for (at, key) in later.turns {
            todo.earlier |= self.deadlines.insert(at, Due::Turn(call.id, key));
        }
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

    pub(crate) fn statistics(&self) -> Vec<CallStatistics> {
        self.tally.statistics(&self.names)
    }

    /// The calls in flight, oldest first.
    pub(crate) fn in_order(&self) -> Vec<Arc<InFlight>> {
        let mut calls: Vec<_> = self.calls.values().cloned().collect();
        calls.sort_unstable_by_key(|call| call.id);
        calls
    }

    #[cfg(test)]
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let calls = self.in_order().into_iter().map(|call| format!("call {}", call.id));
        let deadline = self.deadlines.next().map(|at| format!("a deadline, {at:?}"));
        calls.chain(deadline).collect()
    }

    fn failure(&self, call: &InFlight, position: usize, outcome: &RawOutcome) -> DetachedFailure {
        let worker = call.audience.members()[position].info.clone();
        let method = self.names.name(call.method(position)).to_owned();
        let error = outcome.result.clone().err().unwrap_or(CallError::Cancelled);
        DetachedFailure { worker, method, error }
    }

    fn keep_failure(&mut self, failure: DetachedFailure) {
        self.failures.push_back(failure);
        if self.failures.len() > MAX_DETACHED_FAILURES {
            self.failures.pop_front();
        }
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
                let failure = self.failure(call, position, &outcome);
                self.keep_failure(failure);
            }
            self.tally.add(call.method(position), &outcome);
            answers.gather.handle_given_up(position, outcome);
        }
        todo.wakers.extend(answers.waker.take());
        drop(answers);
        todo.cancels.extend(cancels(call, &open));
    }

    fn settle(&mut self, call: &InFlight, position: usize, outcome: RawOutcome, todo: &mut Todo) {
        let why = why_gone(&outcome);
        let met = lock(&call.meetings).is_some();
        let mut answers = lock(&call.answers);
        if answers.gather.is_open(position) {
            self.tally.add(call.method(position), &outcome);
        }
        let failed = call.detached && outcome.result.is_err();
        let failure = failed.then(|| self.failure(call, position, &outcome));
        let Some(filled) = answers.gather.handle_settled(position, outcome) else { return };
        if filled {
            if answers.each || answers.gather.is_complete() {
                todo.wakers.extend(answers.waker.take());
            }
            if let Some(failure) = failure {
                self.keep_failure(failure);
            }
        }
        let settled = answers.gather.is_settled();
        if let Some(why) = why.clone().filter(|_| !settled) {
            answers.failed.insert(position, why);
        }
        drop(answers);
        todo.settled = true;
        if let Some(Member { conn, slot, .. }) = call.audience.members().get(position) {
            conn.handle_settled(*slot);
        }
        if settled {
            // What looks at spans is not called under the lock.
            let over = self.calls.remove(&call.id);
            todo.over.extend(over.filter(|call| call.traced.is_some()));
            for (due, at) in deadlines(call.id, call.timeout, &call.payload, call.started) {
                self.deadlines.remove(at, due);
            }
        }
        if met {
            let why = why.unwrap_or_else(ended);
            let (now, period) = (Instant::now(), self.frequency.period());
            let names = self.names.clone();
            self.meet(call, now, todo, |meetings, todo| {
                meetings.handle_gone(position, why, now, period);
                if settled {
                    // Nobody will look after those whose turn was still to come.
                    meetings.release_turns(call, &names, todo);
                }
            });
        }
    }
}

/// The deadlines of a call that started at `start`.
fn deadlines(
    id: u64,
    timeout: Option<Duration>,
    payload: &PayloadNames,
    start: Instant,
) -> Vec<(Due, Instant)> {
    // A deadline too far away for the clock is none.
    let at = |timeout: Option<Duration>| timeout.and_then(|timeout| start.checked_add(timeout));
    let whole = at(timeout).map(|at| (Due::Call(id), at));
    let mut deadlines: Vec<_> = whole.into_iter().collect();
    if let PayloadNames::Each(each) = payload {
        let own = each.iter().enumerate();
        deadlines.extend(own.filter_map(|(position, (_, timeout))| {
            Some((Due::Position(id, position), at(*timeout)?))
        }));
    }
    deadlines
}

/// Why a worker whose call is over will never come to a barrier of it; `None` where it gave a value.
fn why_gone(outcome: &RawOutcome) -> Option<String> {
    match &outcome.result {
        Ok(_) => None,
        Err(CallError::Lost { reason }) => Some(format!("lost: {reason}")),
        Err(error) => Some(error.to_string()),
    }
}

fn ended() -> String {
    "it has ended".to_owned()
}

/// The slots behind each connection that leads to one of `positions`.
fn cancels(call: &InFlight, positions: &[usize]) -> Vec<(Arc<Conn>, u64, Vec<u32>)> {
    let mut by_conn: BTreeMap<u64, (Arc<Conn>, Vec<u32>)> = BTreeMap::new();
    for &position in positions {
        if let Some(Member { conn, slot, .. }) = call.audience.members().get(position) {
            by_conn.entry(conn.key).or_insert_with(|| (conn.clone(), Vec::new())).1.push(*slot);
        }
    }
    by_conn.into_values().map(|(conn, slots)| (conn, call.id, slots)).collect()
}

/// Checks that the client takes a frame of this length.
pub(crate) fn check_length(outbox: &Outbox, frame: &[Bytes; 2]) -> Result<(), CallError> {
    let size = frame.iter().map(Bytes::len).sum::<usize>() - (FRAME_HEAD - 1);
    let limit = outbox.peer_max_message();
    match size > limit {
        true => Err(CallError::TooLarge { size, limit, setting: CLIENT_MAX_MESSAGE }),
        false => Ok(()),
    }
}
