//! A call to one worker: [`Call`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::error::CallError;
use crate::fleet::calls::{MethodCall, Payload};
use crate::fleet::pending::Pending;
use crate::id::WorkerInfo;
use crate::outcome::DecodeAnswer;

/// A call to one worker, under way once it is first polled. Awaited, it gives the method's value.
///
/// The arguments were encoded when it was made: it borrows nothing. Dropped while under way, it
/// cancels the call on the worker.
#[must_use = "a call is not sent before it is awaited"]
pub struct Call<T> {
    pending: Pending,
    decode: DecodeAnswer<T>,
}

impl<T> Call<T> {
    pub(crate) fn new(pending: Pending, decode: DecodeAnswer<T>) -> Self {
        Self { pending, decode }
    }

    /// Gives up after `timeout`, counted from when the call is sent: it then ends in
    /// [`CallError::TimedOut`], and the worker's side is cancelled.
    ///
    /// The time that is left travels with the call, so that no common clock is needed.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.pending.request_mut().timeout = Some(timeout);
        self
    }

    /// The worker that is called.
    pub fn worker(&self) -> &WorkerInfo {
        // A call always addresses one worker.
        &self.pending.audience().members()[0].info
    }

    /// What will be called, and how the answer is decoded.
    pub(crate) fn into_parts(self) -> (MethodCall, DecodeAnswer<T>) {
        let request = self.pending.request();
        let mut call = match &request.payload {
            Payload::Same(call) => call.clone(),
            Payload::Each(calls) => calls[0].clone(),
        };
        call.timeout = request.timeout;
        (call, self.decode)
    }
}

impl<T> Future for Call<T> {
    type Output = Result<T, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let decode = self.decode;
        self.pending.poll_complete(cx.waker()).map(|outcomes| {
            // One worker was addressed, so there is one outcome.
            let outcome = outcomes.into_iter().next();
            let answer = outcome.map_or(Err(CallError::Cancelled), |outcome| outcome.result);
            answer.and_then(|answer| decode(self.worker(), answer))
        })
    }
}

impl<T> fmt::Debug for Call<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("worker", self.worker().id()).finish_non_exhaustive()
    }
}
