//! The calls in flight, from the first frame sent to the last worker's answer.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::MethodNames;
use super::conn::Conn;
use super::frequency::Frequency;
use super::in_flight::{InFlight, ended};
use super::meeting::{Meetings, WaitKey, note_wait};
use super::request::Request;
use super::roster::Member;
use super::tally::{CallStatistics, Tally};
use super::todo::{Todo, Withdrawn};
use crate::codec::Encoded;
use crate::error::{CLIENT_MAX_MESSAGE, CallError, SERVER_MAX_MESSAGE};
use crate::gathered::RecordBounds;
use crate::id::WorkerInfo;
use crate::link::Outbox;
use crate::proto::deadlines::Deadlines;
use crate::proto::gather::RawOutcome;
use crate::sync::lock;
use crate::system;
use crate::trace::Traced;
use crate::wire::{Arrive, FRAME_HEAD, Part, Release, Reply, Verdict};

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

/// Every call in flight. Locked for short, never across user code or I/O.
#[derive(Debug)]
pub(crate) struct CallTable {
    names: Arc<MethodNames>,
    frequency: Arc<Frequency>,
    records: RecordBounds,
    calls: HashMap<u64, Arc<InFlight>>,
    /// Those to one worker, by the key of its connection; and those to several. Whoever is lost has none
    /// of the others' calls to one.
    to_one: HashMap<u64, BTreeSet<u64>>,
    to_several: BTreeSet<u64>,
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

impl CallTable {
    pub(crate) fn new(
        names: Arc<MethodNames>,
        frequency: Arc<Frequency>,
        records: RecordBounds,
    ) -> Self {
        Self {
            records,
            names,
            frequency,
            calls: HashMap::new(),
            to_one: HashMap::new(),
            to_several: BTreeSet::new(),
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
        let period = self.frequency.period();
        let call = Arc::new(InFlight::new(id, request, traced, now, period));
        for (due, at) in dues(&call) {
            todo.earlier |= self.deadlines.insert(at, due);
        }
        if request.audience.len() > 0 {
            self.calls.insert(id, call.clone());
            match call.only_conn() {
                Some(conn) => self.to_one.entry(conn).or_default().insert(id),
                None => self.to_several.insert(id),
            };
        }
        call
    }

    fn remove(&mut self, call: &InFlight) -> Option<Arc<InFlight>> {
        match call.only_conn() {
            Some(conn) => {
                if let Some(calls) = self.to_one.get_mut(&conn) {
                    calls.remove(&call.id);
                    if calls.is_empty() {
                        self.to_one.remove(&conn);
                    }
                }
            }
            None => {
                self.to_several.remove(&call.id);
            }
        }
        self.calls.remove(&call.id)
    }

    /// The calls that may have the workers of a connection among those addressed, oldest first.
    fn behind(&self, conn: u64) -> Vec<Arc<InFlight>> {
        let to_one = self.to_one.get(&conn).into_iter().flatten();
        let mut calls: Vec<u64> = to_one.chain(&self.to_several).copied().collect();
        calls.sort_unstable();
        calls.iter().filter_map(|id| self.calls.get(id).cloned()).collect()
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
            let value = |value: Encoded| match call.method(position) {
                system::RESULTS => call.gathered(position, value.into_bytes(), self.records),
                _ => value.into_bytes(),
            };
            let result = reply
                .result
                .map(value)
                .map_err(|failure| failure.into_error(call.timeout(position), SERVER_MAX_MESSAGE));
            self.settle(call, position, RawOutcome { elapsed, result }, todo);
        }
    }

    /// A part of an answer has come.
    pub(crate) fn handle_part(&mut self, conn: &Conn, part: &Part, bytes: &[u8]) {
        let Some(call) = self.calls.get(&part.call) else { return };
        let Some(position) = call.audience.position(conn.key, part.worker) else { return };
        if call.method(position) == system::RESULTS {
            call.handle_part(position, bytes, self.records);
        }
    }

    /// A connection is gone: whatever its workers had is lost.
    pub(crate) fn handle_lost(&mut self, conn: &Conn, reason: &str, todo: &mut Todo) {
        for call in self.behind(conn.key) {
            for position in call.audience.positions_behind(conn.key) {
                let reason = reason.to_owned();
                let error = match call.is_sent(position) {
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
        for (at, key) in later.dropped {
            self.deadlines.remove(at, Due::Turn(call.id, key));
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
        debug_assert_eq!(
            self.calls.is_empty(),
            self.to_one.is_empty() && self.to_several.is_empty()
        );
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
        let (sent, unsent): (Vec<usize>, Vec<usize>) =
            open.into_iter().partition(|position| call.is_sent(*position));
        for (&position, is_sent) in
            sent.iter().map(|at| (at, true)).chain(unsent.iter().map(|at| (at, false)))
        {
            let error = error(position);
            let outcome = call.outcome(Err(if is_sent { error } else { never_sent(&error) }));
            if call.detached {
                let failure = self.failure(call, position, &outcome);
                self.keep_failure(failure);
            }
            self.tally.add(call.method(position), &outcome);
            answers.gather.handle_given_up(position, outcome);
            answers.parts.remove(&position);
        }
        todo.wakers.extend(answers.waker.take());
        drop(answers);
        todo.cancels.extend(cancels(call, &sent));
        // A worker that will never hear of the call is not busy with it.
        let error = never_sent(&CallError::Cancelled);
        self.handle_not_sent(call, unsent, &error, todo);
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
            let over = self.remove(call);
            todo.over.extend(over.filter(|call| call.traced.is_some()));
            for (due, at) in dues(call) {
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

/// Why a worker whose turn had not come has no outcome: it never will.
pub(crate) fn never_sent(given_up: &CallError) -> CallError {
    let why = match given_up {
        CallError::TimedOut { after } => format!("the call timed out after {after:?}"),
        _ => "the call was given up".to_owned(),
    };
    CallError::NotSent { reason: format!("{why} before this worker's turn came") }
}

/// When what is due of a call.
fn dues(call: &InFlight) -> impl Iterator<Item = (Due, Instant)> {
    call.deadlines().into_iter().map(|(position, at)| match position {
        None => (Due::Call(call.id), at),
        Some(position) => (Due::Position(call.id, position), at),
    })
}

/// Why a worker whose call is over will never come to a barrier of it; `None` where it gave a value.
fn why_gone(outcome: &RawOutcome) -> Option<String> {
    match &outcome.result {
        Ok(_) => None,
        Err(CallError::Lost { reason }) => Some(format!("lost: {reason}")),
        Err(error) => Some(error.to_string()),
    }
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
