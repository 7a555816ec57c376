//! What generated code calls, and nothing else. Outside of any promise of stability: dp-macros is
//! of exactly this version.

use std::convert::Infallible;
use std::error::Error;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::mem;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use crate::group::{Group, Stub};
pub use crate::host::{Invocation, Invoked};
pub use crate::json::{JsonArguments, JsonForm};
pub use crate::server_call::{ServerHandle, ServerInvocation};
pub use crate::worker::{Contract, Method, Run, RunResult};

use crate::codec::{self, Encoded};
use crate::error::{CallError, texts};
use crate::id::WorkerInfo;
use crate::wire;
use crate::worker::DistributedWorker;
use crate::{Broadcast, Call};

/// What can be an argument.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be an argument of a remote method",
    label = "can't be sent",
    note = "an argument is `Serialize + DeserializeOwned + Send + 'static`: derive \
            `serde::Serialize` and `serde::Deserialize` for a type of your own; a type parameter \
            needs these bounds"
)]
pub trait Argument: Serialize + DeserializeOwned + Send + 'static {}

impl<T: Serialize + DeserializeOwned + Send + 'static> Argument for T {}

/// What can be a result.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be the result of a remote method",
    label = "can't be sent",
    note = "a result is `Serialize + DeserializeOwned + Send + 'static`: derive \
            `serde::Serialize` and `serde::Deserialize` for a type of your own; a type parameter \
            needs these bounds"
)]
pub trait Value: Serialize + DeserializeOwned + Send + 'static {}

impl<T: Serialize + DeserializeOwned + Send + 'static> Value for T {}

/// What can be the error of a method whose errors travel as text.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be the error of a remote method",
    label = "can't be turned into a message",
    note = "an error is `Into<Box<dyn Error + Send + Sync>>`, as every `std::error::Error`, \
            `anyhow::Error` and `String` are; `#[remote(typed_error)]` sends a serializable one \
            as it is"
)]
pub trait MethodError: Into<Box<dyn Error + Send + Sync>> {}

impl<E: Into<Box<dyn Error + Send + Sync>>> MethodError for E {}

/// What can be the error of the schedule named `run`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be the error of the schedule `run`",
    label = "its error can't be turned into a message",
    note = "an error is `Into<Box<dyn Error + Send + Sync>>`, as every `std::error::Error`, \
            `anyhow::Error` and `String` are"
)]
pub trait RunError: Into<Box<dyn Error + Send + Sync>> {}

impl<E: Into<Box<dyn Error + Send + Sync>>> RunError for E {}

// Generated code mentions every type of a signature several times, and a failed bound is reported
// once for each place and for each of its parts. It therefore names the type by way of one of these
// traits: a failed projection reads the same everywhere, so that the compiler reports it once.

/// Names an argument's type, once it is known to be one.
pub trait CanBeArgument {
    /// The type.
    type Itself: Argument;
}

#[diagnostic::do_not_recommend]
impl<T: Argument> CanBeArgument for T {
    type Itself = T;
}

/// Names what an argument behind `&` is decoded to. The borrowed types of the standard library have
/// one, too, so that the one message about them is that of [`OfKnownSize`].
pub trait CanBeLent {
    /// The type.
    type Itself: Argument;
    /// The type that stands for what it is.
    type Size: ?Sized;

    /// Adds it to the message.
    fn write(&self, arguments: &mut Arguments);
}

/// What has a size.
#[diagnostic::on_unimplemented(
    message = "a type without a size of its own can't be an argument of a remote method",
    label = "can't be sent",
    note = "take `&PathBuf` in place of `&Path`, `&OsString` in place of `&OsStr`, `&CString` in \
            place of `&CStr`: they are lent in the same way"
)]
pub trait OfKnownSize {
    /// Itself.
    type Known;
}

#[diagnostic::do_not_recommend]
impl OfKnownSize for () {
    type Known = ();
}

#[diagnostic::do_not_recommend]
impl<T: Argument> CanBeLent for T {
    type Itself = T;
    type Size = ();

    fn write(&self, arguments: &mut Arguments) {
        arguments.value(self);
    }
}

macro_rules! of_no_size {
    ($($borrowed:ty => $owned:ty),*) => {$(
        #[diagnostic::do_not_recommend]
        impl CanBeLent for $borrowed {
            type Itself = $owned;
            type Size = $borrowed;

            fn write(&self, arguments: &mut Arguments) {
                arguments.value(&<$owned>::from(self));
            }
        }
    )*};
}

of_no_size!(Path => PathBuf, OsStr => OsString, CStr => CString);

/// Names a result's type, once it is known to be one.
pub trait CanBeResult {
    /// The type.
    type Itself: Value;
}

#[diagnostic::do_not_recommend]
impl<T: Value> CanBeResult for T {
    type Itself = T;
}

/// Names an error's type, once it is known to be one.
pub trait CanBeError {
    /// The type.
    type Itself: MethodError;
}

#[diagnostic::do_not_recommend]
impl<E: MethodError> CanBeError for E {
    type Itself = E;
}

/// What can be a worker.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be a distributed worker",
    label = "a worker is `Send + Sync + 'static`",
    note = "share in an `Arc` instead of an `Rc`, and change by `&mut self` or in a `Mutex` instead \
            of a cell"
)]
pub trait Worker: Send + Sync + 'static {}

impl<W: Send + Sync + 'static> Worker for W {}

/// Names a worker's type, once it is known to be one.
pub trait CanBeWorker {
    /// The type.
    type Itself: Worker;
}

#[diagnostic::do_not_recommend]
impl<W: Worker> CanBeWorker for W {
    type Itself = W;
}

/// The parts of a `Result`, however it is spelled.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is named like `Result` and is none",
    label = "not a `std::result::Result`",
    note = "give the type another name, or return it from `#[remote(typed_error)]`"
)]
pub trait ResultType {
    /// The value.
    type Ok;
    /// The error.
    type Err;
}

impl<T, E> ResultType for Result<T, E> {
    type Ok = T;
    type Err = E;
}

/// The encoded value of a method.
#[derive(Debug)]
pub struct Reply(pub(crate) Encoded);

/// Why a method has no value.
#[derive(Debug)]
pub struct Failure(pub(crate) wire::Failure);

impl Failure {
    pub(crate) fn arguments(message: String) -> Self {
        Self(wire::Failure::Arguments { message })
    }
}

/// Up to this length, what stands before a block is copied into each frame.
const SHORT: usize = 1 << 10;

/// [`Arguments`] under a name that no type of the standard library has: the compiler would suggest
/// that one where `crate = ..` leads nowhere.
pub type ArgumentList = Arguments;

/// Arguments being encoded.
#[derive(Debug, Default)]
pub struct Arguments {
    buffer: Vec<u8>,
    /// The last one so far, if that is a long block of bytes, whose length is in the buffer.
    block: Bytes,
    error: Option<String>,
}

impl Arguments {
    /// Adds a `T`.
    pub fn owned<T: Argument>(&mut self, value: T) {
        match codec::as_block(value) {
            Ok(block) => {
                self.add(|buffer| codec::encode_length(block.len(), buffer));
                self.block = block;
            }
            Err(value) => self.value(&value),
        }
    }

    /// Adds a `&T`.
    pub fn value<T: Argument>(&mut self, value: &T) {
        self.add(|buffer| codec::encode_value(value, buffer));
    }

    /// Adds a `&str`.
    pub fn text(&mut self, text: &str) {
        self.add(|buffer| codec::encode(text, buffer));
    }

    /// Adds a `&[u8]`.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.add(|buffer| codec::encode_bytes(bytes, buffer));
    }

    /// Adds a `&[T]`.
    pub fn slice<T: Argument>(&mut self, values: &[T]) {
        self.add(|buffer| codec::encode_slice(values, buffer));
    }

    fn add(&mut self, encode: impl FnOnce(&mut Vec<u8>) -> Result<(), String>) {
        // Only the last one stays where it is.
        self.buffer.extend_from_slice(&mem::take(&mut self.block));
        if let (None, Err(error)) = (&self.error, encode(&mut self.buffer)) {
            self.error = Some(error);
        }
    }

    /// Encodes what `add` adds.
    pub(crate) fn encode(add: impl FnOnce(&mut Self)) -> Result<Encoded, CallError> {
        let mut arguments = Self::default();
        add(&mut arguments);
        if arguments.buffer.len() > SHORT {
            // It would be copied into every frame; in one with the block it is shared.
            arguments.add(|_| Ok(()));
        }
        match arguments.error {
            None => Ok(Encoded { start: arguments.buffer.into(), block: arguments.block }),
            Some(error) => {
                let reason = format!("the arguments could not be encoded: {error}");
                Err(CallError::NotSent { reason })
            }
        }
    }
}

/// Calls a method of one worker.
pub fn call<W: DistributedWorker, T: Value>(
    stub: &Stub<W>,
    method: u16,
    arguments: impl FnOnce(&mut Arguments),
) -> Call<T> {
    stub.call(method, Arguments::encode(arguments))
}

/// Calls a method of every worker of a group.
pub fn broadcast<W: DistributedWorker, T: Value>(
    group: &Group<W>,
    method: u16,
    arguments: impl FnOnce(&mut Arguments),
) -> Broadcast<T> {
    group.call_all(method, Arguments::encode(arguments))
}

/// Calls the method of every worker of a group that is named `run`: a run begins.
pub fn broadcast_run<W: DistributedWorker, T: Value>(
    group: &Group<W>,
    method: u16,
    arguments: impl FnOnce(&mut Arguments),
) -> Broadcast<T> {
    broadcast(group, method, arguments).begins_run()
}

/// The schedule named `run` begins: so does the record of every worker.
pub fn begin_run<W: DistributedWorker>(group: &Group<W>) {
    group.begin_run();
}

/// Calls a function of the server.
pub fn call_server<W: DistributedWorker, T: Value>(
    server: &ServerHandle<W>,
    method: u16,
    arguments: impl FnOnce(&mut Arguments),
) -> Call<T> {
    server.call(method, Arguments::encode(arguments))
}

/// The value of a method.
///
/// # Errors
/// When it can't be encoded.
pub fn reply<T: Value>(value: T) -> Result<Reply, Failure> {
    match codec::encoded(value) {
        Ok(encoded) => Ok(Reply(encoded)),
        Err(error) => {
            let message = format!("the value could not be encoded: {error}");
            Err(Failure(wire::Failure::Failed { message, chain: Vec::new() }))
        }
    }
}

/// The value of a method that returns a `Result`.
///
/// # Errors
/// When it is an `Err`, or can't be encoded.
pub fn reply_result<T: Value, E: MethodError>(result: Result<T, E>) -> Result<Reply, Failure> {
    let value = result.map_err(|error| {
        let (message, chain) = texts(&*error.into());
        Failure(wire::Failure::Failed { message, chain })
    })?;
    reply(value)
}

/// A call of a method that the worker does not have: the handshake rules it out.
pub fn unknown_method(method: u16) -> Invoked {
    let reason = format!("there is no method of number {method}");
    Box::pin(async { Err(Failure(wire::Failure::NotStarted { reason })) })
}

/// What a schedule returned whose type is not spelled `Result`: it may be one all the same, under
/// another name. Where it is, the method below comes before that of [`RanValue`].
#[derive(Debug)]
pub struct Ran<T>(pub T);

impl<T, E> Ran<Result<T, E>> {
    /// What the schedule ended in.
    ///
    /// # Errors
    /// When it is an `Err`.
    pub fn run_result(self) -> Result<T, E> {
        self.0
    }
}

/// What a schedule that returns no `Result` ended in.
pub trait RanValue {
    /// What the schedule ended in.
    ///
    /// # Errors
    /// Never.
    fn run_result(self) -> Result<(), Infallible>;
}

impl<T> RanValue for Ran<T> {
    fn run_result(self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Workers in this process.
pub fn in_process<W: DistributedWorker>(
    state: W::Server,
    workers: usize,
    constructor: impl Fn(&WorkerInfo) -> W + Send + Sync + 'static,
) -> Group<W> {
    crate::in_process::in_process(state, workers, constructor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_argument_is_left_where_it_is() {
        let block = || vec![7_u8; 10_000];
        let all = |long: bool| {
            let last = block();
            let memory = last.as_ptr();
            let encoded = Arguments::encode(|arguments| {
                arguments.owned(if long { block() } else { Vec::new() });
                arguments.owned("text".to_owned());
                arguments.owned(last);
            });
            (encoded.unwrap(), memory)
        };
        let (Encoded { start, block: left }, memory) = all(false);
        assert_eq!(left.as_ptr(), memory);
        let long = all(true).0;
        assert!(left.len() == 10_000 && long.block.is_empty());
        for (encoded, first) in [(Encoded { start, block: left }, Vec::new()), (long, block())] {
            let mut decoder = codec::Decoder::new(encoded.into_bytes());
            assert_eq!(decoder.value::<Vec<u8>>().unwrap(), first);
            assert_eq!(decoder.value::<String>().unwrap(), "text");
            assert_eq!(decoder.value::<Bytes>().unwrap(), block());
            decoder.end().unwrap();
        }
    }
}
