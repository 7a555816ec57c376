//! Calls from a worker to the server.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio::time::Sleep;

use crate::__private::{Argument, Failure};
use crate::Call;
use crate::codec::Decoder;
use crate::codec::Encoded;
use crate::error::{CLIENT_MAX_MESSAGE_FOR_ANSWERS, CallError, SERVER_MAX_MESSAGE_FOR_CALLS};
use crate::host::uplink::{Answer, Asked};
use crate::id::WorkerInfo;
use crate::outcome::decode_answer;
use crate::scope::{Closed, Way};
use crate::trace;
use crate::wire::{FRAME_HEAD, ServerCallHead, Trace};
use crate::worker::DistributedWorker;

/// The worker's end: what the stub behind `ctx.server()` holds.
pub struct ServerHandle<W> {
    info: WorkerInfo,
    way: Option<Way>,
    worker: PhantomData<fn() -> W>,
}

impl<W> ServerHandle<W> {
    pub(crate) fn new(info: WorkerInfo, way: Option<Way>) -> Self {
        Self { info, way, worker: PhantomData }
    }

    pub(crate) fn call<T: DeserializeOwned + 'static>(
        &self,
        method: u16,
        arguments: Result<Encoded, CallError>,
    ) -> Call<T> {
        let (info, way) = (self.info.clone(), self.way.clone());
        let pending = PendingServerCall {
            info,
            timeout: None,
            state: State::Unsent { way, method, arguments },
        };
        Call::to_server(pending, decode_answer::<T>)
    }
}

impl<W> Clone for ServerHandle<W> {
    fn clone(&self) -> Self {
        Self::new(self.info.clone(), self.way.clone())
    }
}

impl<W> fmt::Debug for ServerHandle<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle").field("worker", &self.info).finish_non_exhaustive()
    }
}

/// A call to the server as its caller holds it.
#[derive(Debug)]
pub(crate) struct PendingServerCall {
    info: WorkerInfo,
    pub(crate) timeout: Option<Duration>,
    state: State,
}

#[derive(Debug)]
enum State {
    Unsent { way: Option<Way>, method: u16, arguments: Result<Encoded, CallError> },
    Sent { asked: Asked, sleep: Option<Pin<Box<Sleep>>> },
    Over,
}

impl PendingServerCall {
    /// The worker that calls.
    pub(crate) fn caller(&self) -> &WorkerInfo {
        &self.info
    }

    pub(crate) fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<Bytes, CallError>> {
        if let State::Unsent { .. } = self.state
            && let Err(error) = self.send()
        {
            return Poll::Ready(Err(error));
        }
        let State::Sent { asked, sleep } = &mut self.state else {
            return Poll::Ready(Err(CallError::Cancelled));
        };
        if let Poll::Ready(answer) = asked.poll(cx.waker()) {
            self.state = State::Over;
            return Poll::Ready(self.result(answer));
        }
        if let (Some(sleep), Some(after)) = (sleep, self.timeout)
            && sleep.as_mut().poll(cx).is_ready()
        {
            // Dropping what was asked withdraws it.
            self.state = State::Over;
            return Poll::Ready(Err(CallError::TimedOut { after }));
        }
        Poll::Pending
    }

    fn send(&mut self) -> Result<(), CallError> {
        let State::Unsent { way, method, arguments } =
            std::mem::replace(&mut self.state, State::Over)
        else {
            return Ok(());
        };
        let not_sent = |reason: &str| CallError::NotSent { reason: reason.to_owned() };
        let Some(way) = way else {
            return Err(not_sent("a local context has no server"));
        };
        let worker = way.link.worker;
        let arguments = arguments?;
        // Head, and the integers before the arguments at their longest.
        let size = FRAME_HEAD + 9 + 5 + 3 + arguments.len();
        let limit = way.link.uplink.peer_max_message();
        if size > limit {
            return Err(CallError::TooLarge { size, limit, setting: SERVER_MAX_MESSAGE_FOR_CALLS });
        }
        let frame = |wait| {
            let [head, arguments] = ServerCallHead { wait, worker, method }.to_frame(arguments);
            match trace::current() {
                None => [head, arguments],
                Some(from) => {
                    [Trace::ahead(&Trace::new(wait, &from).to_server(), &head), arguments]
                }
            }
        };
        let asked = way.ask(frame).map_err(|closed| match closed {
            Closed::Over => CallError::Cancelled,
            Closed::NoServer => not_sent("the server is gone"),
        })?;
        // Timers of the I/O runtime: this may be polled where there is no other.
        let sleep = self.timeout.map(|timeout| {
            let runtime = crate::engine::io_runtime();
            let _context = runtime.enter();
            Box::pin(tokio::time::sleep(timeout))
        });
        self.state = State::Sent { asked, sleep };
        Ok(())
    }

    fn result(&self, answer: Answer) -> Result<Bytes, CallError> {
        match answer {
            Answer::Reply(Ok(value)) => Ok(value),
            Answer::Reply(Err(failure)) => {
                let after = self.timeout.unwrap_or_default();
                Err(failure.into_error(after, CLIENT_MAX_MESSAGE_FOR_ANSWERS))
            }
            Answer::Released(_) => {
                Err(CallError::Lost { reason: "the server answered something else".to_owned() })
            }
            Answer::Lost => Err(CallError::Lost { reason: "the server is gone".to_owned() }),
        }
    }
}

/// A call about to be made on the server: the arguments still encoded.
pub struct ServerInvocation<W: DistributedWorker> {
    method: u16,
    arguments: Decoder,
    state: Arc<W::Server>,
    caller: WorkerInfo,
}

impl<W: DistributedWorker> ServerInvocation<W> {
    pub(crate) fn new(
        method: u16,
        arguments: Bytes,
        state: Arc<W::Server>,
        caller: WorkerInfo,
    ) -> Self {
        Self { method, arguments: Decoder::new(arguments), state, caller }
    }

    /// The number of the function.
    pub fn method(&self) -> u16 {
        self.method
    }

    /// Takes the next argument.
    ///
    /// # Errors
    /// When it does not decode: then the function must not be called.
    pub fn argument<T: Argument>(&mut self) -> Result<T, Failure> {
        self.arguments.value().map_err(Failure::arguments)
    }

    /// Takes the next argument, which is lent to the method as a slice.
    ///
    /// # Errors
    /// When it does not decode: then the method must not be called.
    pub fn slice<T: Argument>(&mut self) -> Result<Vec<T>, Failure> {
        self.argument()
    }

    /// Takes the next argument, a block of bytes, which is lent to the function where it lies.
    ///
    /// # Errors
    /// When it does not decode: then the function must not be called.
    pub fn bytes(&mut self) -> Result<Bytes, Failure> {
        self.arguments.bytes().map_err(Failure::arguments)
    }

    /// Checks that there are no more arguments.
    ///
    /// # Errors
    /// When there are: then the function must not be called.
    pub fn arguments_end(&self) -> Result<(), Failure> {
        self.arguments.end().map_err(Failure::arguments)
    }

    /// The server's state.
    pub fn state(&self) -> &W::Server {
        &self.state
    }

    /// The worker that calls.
    pub fn caller(&self) -> &WorkerInfo {
        &self.caller
    }
}

impl<W: DistributedWorker> fmt::Debug for ServerInvocation<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerInvocation").field("method", &self.method).finish_non_exhaustive()
    }
}
