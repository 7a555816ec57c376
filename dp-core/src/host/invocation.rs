//! One call as generated code sees it on the worker's side.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::__private::{Argument, Failure, Reply};
use crate::codec::Decoder;
use crate::context::Context;
use crate::worker::DistributedWorker;

/// What a method's call becomes: its encoded value, or why there is none.
pub type Invoked = Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send + 'static>>;

/// A call about to be made on a worker: the arguments still encoded, the worker locked.
pub struct Invocation<W: DistributedWorker> {
    method: u16,
    arguments: Decoder,
    context: Context<W>,
    worker: Access<W>,
}

/// The worker, as the method takes it.
pub(super) enum Access<W> {
    Shared(OwnedRwLockReadGuard<Option<W>>),
    Exclusive(OwnedRwLockWriteGuard<Option<W>>),
}

impl<W> Access<W> {
    /// Locks the worker; `None` if it is locked already, which the queue rules out.
    pub(super) fn take(worker: &Arc<RwLock<Option<W>>>, exclusive: bool) -> Option<Self> {
        if exclusive {
            worker.clone().try_write_owned().ok().map(Self::Exclusive)
        } else {
            worker.clone().try_read_owned().ok().map(Self::Shared)
        }
    }

    pub(super) fn is_built(&self) -> bool {
        match self {
            Self::Shared(worker) => worker.is_some(),
            Self::Exclusive(worker) => worker.is_some(),
        }
    }
}

const BUILT: &str = "a worker is built before it is called";

impl<W: DistributedWorker> Invocation<W> {
    pub(super) fn new(
        method: u16,
        arguments: Bytes,
        context: Context<W>,
        worker: Access<W>,
    ) -> Self {
        Self { method, arguments: Decoder::new(arguments), context, worker }
    }

    /// The number of the method.
    pub fn method(&self) -> u16 {
        self.method
    }

    /// Takes the next argument.
    ///
    /// # Errors
    /// When it does not decode: then the method must not be called.
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

    /// Takes the next argument, a block of bytes, which is lent to the method where it lies.
    ///
    /// # Errors
    /// When it does not decode: then the method must not be called.
    pub fn bytes(&mut self) -> Result<Bytes, Failure> {
        self.arguments.bytes().map_err(Failure::arguments)
    }

    /// Checks that there are no more arguments.
    ///
    /// # Errors
    /// When there are: then the method must not be called.
    pub fn arguments_end(&self) -> Result<(), Failure> {
        self.arguments.end().map_err(Failure::arguments)
    }

    /// The worker and the context, for a method that takes `&mut self`.
    ///
    /// # Panics
    /// When the method table said that the method takes `&self`.
    pub fn exclusive(&mut self) -> (&mut W, &Context<W>) {
        match &mut self.worker {
            Access::Exclusive(worker) => (worker.as_mut().expect(BUILT), &self.context),
            Access::Shared(_) => panic!("method {} is not exclusive in its table", self.method),
        }
    }

    /// The worker and the context, for a method that takes `&self`.
    pub fn shared(&self) -> (&W, &Context<W>) {
        let worker = match &self.worker {
            Access::Shared(worker) => worker.as_ref(),
            Access::Exclusive(worker) => worker.as_ref(),
        };
        (worker.expect(BUILT), &self.context)
    }
}

impl<W: DistributedWorker> fmt::Debug for Invocation<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invocation").field("method", &self.method).finish_non_exhaustive()
    }
}
