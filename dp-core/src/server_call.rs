//! Calls from a worker to the server.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::__private::{Argument, Failure};
use crate::codec::Decoder;
use crate::id::WorkerInfo;
use crate::worker::DistributedWorker;

/// The worker's end: what the stub behind `ctx.server()` holds.
pub struct ServerHandle<W>(PhantomData<fn() -> W>);

/// The stub of a worker that has no `#[on_server]` functions.
pub struct NoServer<W>(PhantomData<fn() -> W>);

impl<W> From<ServerHandle<W>> for NoServer<W> {
    fn from(_: ServerHandle<W>) -> Self {
        Self(PhantomData)
    }
}

impl<W> fmt::Debug for ServerHandle<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerHandle")
    }
}

impl<W> fmt::Debug for NoServer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NoServer")
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
