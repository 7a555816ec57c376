//! One call in flight: whom it addresses, and what has come back.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::meeting::Meetings;
use super::request::{Payload, Request};
use super::roster::Audience;
use crate::error::CallError;
use crate::gathered::{Gathered, RecordBounds};
use crate::proto::barrier::at_turn;
use crate::proto::gather::{Gather, RawOutcome};
use crate::sync::lock;
use crate::trace::Traced;

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
    pub(super) detached: bool,
    /// The time between two turns, where workers are sent it one after another.
    pub(super) period: Option<Duration>,
    /// The positions from here on have not been sent anything yet.
    unsent: AtomicUsize,
    pub(super) answers: Mutex<Answers>,
    /// Made when the first worker comes to a barrier.
    pub(super) meetings: Mutex<Option<Meetings>>,
}

/// What has to be remembered of a payload: the methods, and the deadlines by position.
#[derive(Debug)]
enum PayloadNames {
    Same(u16),
    Each(Vec<(u16, Option<Duration>)>),
}

#[derive(Debug)]
pub(super) struct Answers {
    pub(super) gather: Gather,
    pub(super) waker: Option<Waker>,
    /// Whether who waits wants each outcome as it comes, and not only all of them.
    pub(super) each: bool,
    /// Why the call is over for a worker, by position, where it gave no value.
    pub(super) failed: HashMap<usize, String>,
    /// What has come of records, by position, where more follows.
    pub(super) parts: HashMap<usize, Gathered>,
    /// How many bytes of records have come.
    gathered: usize,
}

impl InFlight {
    pub(super) fn new(
        id: u64,
        request: &Request,
        traced: Option<Box<Traced>>,
        started: Instant,
        period: Duration,
    ) -> Self {
        let payload = match &request.payload {
            Payload::Same(call) => PayloadNames::Same(call.method),
            Payload::Each(calls) => {
                PayloadNames::Each(calls.iter().map(|call| (call.method, call.timeout)).collect())
            }
        };
        let answers = Answers {
            gather: Gather::new(request.audience.len()),
            waker: None,
            each: false,
            failed: HashMap::new(),
            parts: HashMap::new(),
            gathered: 0,
        };
        Self {
            id,
            audience: request.audience.clone(),
            payload,
            timeout: request.timeout,
            started,
            traced,
            detached: request.detached,
            period: request.postponed.then_some(period),
            unsent: AtomicUsize::new(if request.postponed { 0 } else { usize::MAX }),
            answers: Mutex::new(answers),
            meetings: Mutex::new(None),
        }
    }

    /// The key of the connection that leads to the worker, if it is to one.
    pub(super) fn only_conn(&self) -> Option<u64> {
        match self.audience.members() {
            [only] => Some(only.conn.key),
            _ => None,
        }
    }

    /// Its deadlines: that of the whole, and those of positions.
    pub(super) fn deadlines(&self) -> Vec<(Option<usize>, Instant)> {
        // A deadline too far away for the clock is none.
        let at = |timeout: Option<Duration>| self.started.checked_add(timeout?);
        let mut deadlines: Vec<_> = at(self.timeout).map(|at| (None, at)).into_iter().collect();
        if let PayloadNames::Each(each) = &self.payload {
            let own = each.iter().enumerate();
            deadlines.extend(
                own.filter_map(|(position, (_, timeout))| Some((Some(position), at(*timeout)?))),
            );
        }
        deadlines
    }

    /// Whether `position` has been sent the call, or is about to be.
    pub(super) fn is_sent(&self, position: usize) -> bool {
        position < self.unsent.load(Ordering::SeqCst)
    }

    pub(crate) fn method(&self, position: usize) -> u16 {
        match &self.payload {
            PayloadNames::Same(method) => *method,
            PayloadNames::Each(each) => each.get(position).map_or(u16::MAX, |(method, _)| *method),
        }
    }

    pub(super) fn timeout(&self, position: usize) -> Duration {
        let own = match &self.payload {
            PayloadNames::Same(_) => None,
            PayloadNames::Each(each) => each.get(position).and_then(|(_, timeout)| *timeout),
        };
        match (own, self.timeout) {
            (Some(own), Some(all)) => own.min(all),
            (own, all) => own.or(all).unwrap_or(Duration::ZERO),
        }
    }

    /// The turn of `position` to be sent the call has come. Whether the caller still waits for it:
    /// otherwise it was given up as one that was never sent, and must not be.
    pub(crate) fn handle_turn(&self, position: usize) -> bool {
        // Under the lock under which it is given up.
        let answers = lock(&self.answers);
        self.unsent.store(position + 1, Ordering::SeqCst);
        answers.gather.is_open(position)
    }

    /// When `position` is sent the call, or was.
    pub(super) fn turn(&self, position: usize) -> Instant {
        self.period.map_or(self.started, |period| at_turn(self.started, period, position))
    }

    /// For how long `position` has had the call.
    pub(super) fn since(&self, position: usize) -> Duration {
        self.turn(position).elapsed()
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

    /// The positions whose workers still have the call although the caller waits no longer, and the
    /// methods.
    pub(super) fn given_up(&self) -> Vec<(usize, u16)> {
        let answers = lock(&self.answers);
        let given_up = answers.gather.given_up().filter(|position| self.is_sent(*position));
        given_up.map(|position| (position, self.method(position))).collect()
    }

    /// Whether the worker at `position` still has the call.
    pub(crate) fn is_unsettled(&self, position: usize) -> bool {
        lock(&self.answers).gather.is_unsettled(position)
    }

    /// Whether no worker has the call any more, or ever will.
    pub(super) fn is_settled(&self) -> bool {
        lock(&self.answers).gather.is_settled()
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

    /// A part of a record has come.
    pub(super) fn handle_part(&self, position: usize, part: &[u8], bounds: RecordBounds) {
        let mut answers = lock(&self.answers);
        if answers.gather.is_open(position) {
            let all = answers.gathered;
            let record = answers.parts.entry(position).or_insert_with(|| Gathered::new(bounds));
            let added = record.push(part, all);
            answers.gathered += added;
        }
    }

    /// The last part of a record, put behind those that came before.
    pub(super) fn gathered(&self, position: usize, last: Bytes, bounds: RecordBounds) -> Bytes {
        self.handle_part(position, &last, bounds);
        let record = lock(&self.answers).parts.remove(&position);
        record.map_or(last, Gathered::into_answer)
    }

    /// The barriers of this call, when the first worker comes to one: those for whom the call is
    /// over already will never come.
    pub(super) fn first_meeting(&self, now: Instant, period: Duration) -> Meetings {
        let mut meetings = Meetings::new(self.audience.len());
        let answers = lock(&self.answers);
        for position in (0..self.audience.len()).filter(|at| !answers.gather.is_unsettled(*at)) {
            let why = answers.failed.get(&position).cloned().unwrap_or_else(ended);
            meetings.handle_gone(position, why, now, period);
        }
        meetings
    }

    pub(super) fn outcome(&self, result: Result<Bytes, CallError>) -> RawOutcome {
        RawOutcome { elapsed: self.started.elapsed(), result }
    }
}

/// Why a worker whose method has ended will not come to a barrier.
pub(super) fn ended() -> String {
    "it has ended".to_owned()
}
