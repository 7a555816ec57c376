//! A call to many workers: [`Broadcast`].

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;

use crate::error::{CallError, caught};
use crate::fleet::pending::Pending;
use crate::outcome::{
    BroadcastError, DecodeAnswer, Outcome, Outcomes, OwnDecoding, Replies, replies,
};
use crate::proto::gather::RawOutcome;

/// A call to every worker of a group, under way once it is first polled. Awaited, it gives all
/// values, or an error that holds all outcomes.
///
/// The arguments were encoded once, when it was made: it borrows nothing. Dropped while under way,
/// it cancels the call on the workers that have not answered.
#[must_use = "a broadcast is not sent before it is awaited, streamed or detached"]
pub struct Broadcast<T> {
    pending: Pending,
    /// `None` only where nobody is addressed: then there is nothing to decode.
    decode: Option<DecodeAnswer<T>>,
    /// The same, where a `T` is not what travels.
    own: Option<OwnDecoding>,
}

impl<T: 'static> Broadcast<T> {
    /// One whose values are not what travels: an error must know how they come of it.
    pub(crate) fn decoded_by(pending: Pending, decode: DecodeAnswer<T>) -> Self {
        Self { pending, decode: Some(decode), own: Some(std::sync::Arc::new(decode)) }
    }
}

impl<T> Broadcast<T> {
    pub(crate) fn new(pending: Pending, decode: Option<DecodeAnswer<T>>) -> Self {
        Self { pending, decode, own: None }
    }

    /// Gives up after `timeout`, counted from when the broadcast is sent: the workers that have not
    /// answered by then end in [`CallError::TimedOut`](crate::CallError::TimedOut), and their side
    /// is cancelled.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.pending.request_mut().timeout = Some(timeout);
        self
    }

    /// Lets every worker record `Time for running NAME: S.SSSSS seconds` as a result.
    pub fn timed(mut self) -> Self {
        self.pending.request_mut().timed = true;
        self
    }

    /// Starts worker after worker, in worker order, at the group's frequency: the second one period
    /// after the first, and so on, by the master's clock. The frequency is that of the start. If it is
    /// given up, or timed out, before a worker's turn, that worker's outcome is
    /// [`CallError::NotSent`](crate::CallError::NotSent): the method has not run.
    /// [`detach`](Self::detach)ed, a call whose turn has not come has not been sent:
    /// [`synchro`](crate::Group::synchro) does not wait for it.
    pub fn postpone(mut self) -> Self {
        self.pending.request_mut().postponed = true;
        self
    }

    /// The workers' records begin with it.
    pub(crate) fn begins_run(mut self) -> Self {
        self.pending.request_mut().begins_run = true;
        self
    }

    /// All outcomes, one for each worker: never fails.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it cancels the call on the workers that have not answered.
    pub async fn outcomes(mut self) -> Outcomes<T> {
        let outcomes = poll_fn(|cx| self.pending.poll_complete(cx.waker())).await;
        let named = self.named(outcomes).into_iter();
        match self.decode {
            Some(decode) => Outcomes::new(named.map(|outcome| outcome.decode(decode)).collect()),
            None => Outcomes::new(Vec::new()),
        }
    }

    /// The outcomes one after another, as they come, one for each worker.
    pub fn stream(self) -> OutcomeStream<T> {
        OutcomeStream(self)
    }

    /// Waits only until there is room to send it, and not for replies: each worker takes it up in
    /// its turn. [`Group::synchro`](crate::Group::synchro) waits for what was sent, and tells what
    /// failed.
    ///
    /// There is room when every addressed worker has fewer than `in_flight` unanswered calls.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has not sent anything.
    pub async fn detach(self) {
        self.pending.detach().await;
    }

    /// Done when `n` workers have succeeded: the calls to the others are then cancelled, and their
    /// outcomes are [`CallError::Cancelled`](crate::CallError::Cancelled).
    ///
    /// # Errors
    /// As soon as so many have failed that `n` can't succeed any more; the rest is cancelled.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it cancels the call on the workers that have not answered.
    pub async fn quorum(mut self, n: usize) -> Result<Outcomes<T>, BroadcastError> {
        let outcomes = self.until(n).await?;
        let decode = |outcome: Outcome<Bytes>| Some(outcome.decode(self.decode?));
        Ok(Outcomes::new(outcomes.into_iter().filter_map(decode).collect()))
    }

    /// The value of the first worker that succeeds; the calls to the others are cancelled.
    pub(crate) async fn first(mut self) -> Result<T, BroadcastError> {
        let outcomes = self.until(1).await?;
        let value = |outcome: &Outcome<Bytes>| {
            let answer = outcome.result.clone().ok()?;
            (self.decode?)(&outcome.worker, answer).ok()
        };
        outcomes
            .iter()
            .find_map(value)
            .ok_or_else(|| BroadcastError::new(outcomes.clone(), self.own))
    }

    /// Waits until `n` workers have succeeded, or can't any more; the rest counts as cancelled.
    async fn until(&mut self, n: usize) -> Result<Vec<Outcome<Bytes>>, BroadcastError> {
        let all = self.pending.audience().len();
        let missed = match n <= all {
            true => CallError::Cancelled,
            false => CallError::NotSent { reason: format!("{n} of {all} workers can't succeed") },
        };
        let missed = RawOutcome { elapsed: Duration::ZERO, result: Err(missed) };
        let mut outcomes = vec![missed; all];
        let (mut succeeded, mut failed) = (0, 0);
        while succeeded < n && failed + n <= all {
            let arrived = poll_fn(|cx| self.pending.poll_arrived(cx.waker())).await;
            let Some((position, mut raw)) = arrived else { break };
            if let (Ok(answer), Some(decode)) = (&raw.result, self.decode) {
                // An answer that does not decode is no success.
                let worker = &self.pending.audience().members()[position].info;
                // The value is dropped: the user's code.
                if let Ok(Some(error)) = caught(|| decode(worker, answer.clone()).err()) {
                    raw.result = Err(error);
                }
            }
            match raw.result {
                Ok(_) => succeeded += 1,
                Err(_) => failed += 1,
            }
            outcomes[position] = raw;
        }
        let outcomes = self.named(outcomes);
        if succeeded >= n {
            Ok(outcomes)
        } else {
            Err(BroadcastError::new(outcomes, self.own.clone()))
        }
    }

    fn named(&self, outcomes: Vec<RawOutcome>) -> Vec<Outcome<Bytes>> {
        let members = self.pending.audience().members().iter();
        members.zip(outcomes).map(|(member, raw)| named(&member.info, raw)).collect()
    }
}

fn named(worker: &crate::WorkerInfo, raw: RawOutcome) -> Outcome<Bytes> {
    Outcome { worker: worker.clone(), elapsed: raw.elapsed, result: raw.result }
}

impl<T> Future for Broadcast<T> {
    type Output = Result<Replies<T>, BroadcastError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.pending.poll_complete(cx.waker()).map(|outcomes| {
            let outcomes = self.named(outcomes);
            match self.decode {
                Some(decode) => replies(outcomes, decode, self.own.clone()),
                None => Ok(Replies::empty()),
            }
        })
    }
}

impl<T> fmt::Debug for Broadcast<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let workers = self.pending.audience().len();
        f.debug_struct("Broadcast").field("workers", &workers).finish_non_exhaustive()
    }
}

/// The outcomes of a broadcast, as they come.
///
/// Dropped before its end, it cancels the call on the workers that have not answered.
#[must_use = "a broadcast is not sent before its stream is polled"]
pub struct OutcomeStream<T>(Broadcast<T>);

impl<T> OutcomeStream<T> {
    /// The next outcome; `None` when every worker has had one.
    ///
    /// # Cancel safety
    /// No outcome is lost when it is dropped.
    pub async fn next(&mut self) -> Option<Outcome<T>> {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Outcome<T>>> {
        let Broadcast { pending, decode, .. } = &mut self.0;
        let Some(decode) = *decode else { return Poll::Ready(None) };
        pending.poll_arrived(cx.waker()).map(|arrived| {
            let (position, raw) = arrived?;
            Some(named(&pending.audience().members()[position].info, raw).decode(decode))
        })
    }
}

impl<T> Stream for OutcomeStream<T> {
    type Item = Outcome<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Outcome<T>>> {
        self.poll(cx)
    }
}

impl<T> fmt::Debug for OutcomeStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OutcomeStream").field(&self.0).finish()
    }
}
