//! What is to be called, where and how, before it is sent.

use std::time::Duration;

use super::roster::Audience;
use crate::codec::Encoded;
use crate::error::CallError;
use crate::system;

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
