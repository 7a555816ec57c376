//! A call to one worker, or from a worker to the server: [`Call`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::error::CallError;
use crate::fleet::pending::Pending;
use crate::fleet::request::{MethodCall, Payload};
use crate::id::WorkerInfo;
use crate::outcome::DecodeAnswer;
use crate::server_call::PendingServerCall;

/// A call to one worker, or from a worker to the server, under way once it is first polled. Awaited, it gives the method's value.
///
/// The arguments were encoded when it was made: it borrows nothing. Dropped while under way, it
/// cancels the call on the other side.
#[must_use = "a call is not sent before it is awaited"]
pub struct Call<T> {
    source: Source,
    decode: DecodeAnswer<T>,
}

/// Who is called.
#[derive(Debug)]
enum Source {
    Worker(Pending),
    Server(PendingServerCall),
}

/// What the closures of [`Group::each`](crate::Group::each), [`any`](crate::Group::any) and
/// [`map`](crate::Group::map) return: a [`Call`], and nothing else.
#[diagnostic::on_unimplemented(
    message = "expected a call to a worker, got `{Self}`",
    label = "not a call to a worker",
    note = "return the call itself, without `async`, `.await` and `;`: `|worker| worker.method()`. \
            It is sent, and awaited, for you"
)]
pub trait WorkerCall: sealed::Sealed {
    /// The value of the method that is called.
    type Value;

    #[doc(hidden)]
    fn into_call(self) -> Call<Self::Value>;
}

mod sealed {
    pub trait Sealed {}
}

impl<T> sealed::Sealed for Call<T> {}

impl<T> WorkerCall for Call<T> {
    type Value = T;

    fn into_call(self) -> Call<T> {
        self
    }
}

impl<T> Call<T> {
    pub(crate) fn new(pending: Pending, decode: DecodeAnswer<T>) -> Self {
        Self { source: Source::Worker(pending), decode }
    }

    pub(crate) fn to_server(pending: PendingServerCall, decode: DecodeAnswer<T>) -> Self {
        Self { source: Source::Server(pending), decode }
    }

    /// Gives up after `timeout`, counted from when the call is sent: it then ends in
    /// [`CallError::TimedOut`], and the other side is cancelled.
    ///
    /// The time that is left travels with the call, so that no common clock is needed.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        match &mut self.source {
            Source::Worker(pending) => pending.request_mut().timeout = Some(timeout),
            Source::Server(pending) => pending.timeout = Some(timeout),
        }
        self
    }

    /// The worker that is called; or, for a call to the server, that calls.
    pub fn worker(&self) -> &WorkerInfo {
        match &self.source {
            // A call to a worker always addresses one.
            Source::Worker(pending) => &pending.audience().members()[0].info,
            Source::Server(pending) => pending.caller(),
        }
    }

    /// What will be called, and how the answer is decoded.
    pub(crate) fn into_parts(self) -> (MethodCall, DecodeAnswer<T>) {
        let call = match &self.source {
            Source::Worker(pending) => {
                let request = pending.request();
                let mut call = match &request.payload {
                    Payload::Same(call) => call.clone(),
                    Payload::Each(calls) => calls[0].clone(),
                };
                call.timeout = request.timeout;
                call
            }
            Source::Server(_) => {
                let reason = "a call to the server is none to a worker".to_owned();
                let arguments = Err(CallError::NotSent { reason });
                MethodCall { method: u16::MAX, arguments, timeout: None }
            }
        };
        (call, self.decode)
    }
}

impl<T> Future for Call<T> {
    type Output = Result<T, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = match &mut self.source {
            Source::Worker(pending) => pending.poll_complete(cx.waker()).map(|outcomes| {
                // One worker was addressed, so there is one outcome.
                let outcome = outcomes.into_iter().next();
                outcome.map_or(Err(CallError::Cancelled), |outcome| outcome.result)
            }),
            Source::Server(pending) => pending.poll(cx),
        };
        answer.map(|answer| (self.decode)(self.worker(), answer?))
    }
}

impl<T> fmt::Debug for Call<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("worker", self.worker().id()).finish_non_exhaustive()
    }
}
