//! What can become of a call: [`CallError`], [`Executed`], and the errors of whole groups.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::text::{PeerText, display_within};

/// Why a call gave no value.
///
/// [`executed`](Self::executed) says whether the method may have run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CallError {
    /// The method returned `Err`, or a value that serde could not serialize. The worker is as the method
    /// left it.
    Failed {
        /// The error's own text.
        message: String,
        /// The texts of its sources, outermost first.
        chain: Vec<String>,
    },
    /// The method panicked. If it takes `&mut self`, the worker was built anew by its constructor;
    /// what it had recorded was kept.
    Panicked {
        /// What it panicked with.
        message: String,
    },
    /// No answer came in the time that the caller gave; the worker was told to stop.
    TimedOut {
        /// That time.
        after: Duration,
    },
    /// The caller gave the call up before it was answered.
    Cancelled,
    /// The connection to the worker's client ended before the answer.
    Lost {
        /// How it ended.
        reason: String,
    },
    /// The call never reached the worker.
    NotSent {
        /// What stood in the way.
        reason: String,
    },
    /// The arguments or the answer are larger than the receiving side takes.
    TooLarge {
        /// How many bytes they are.
        size: usize,
        /// How many bytes are taken.
        limit: usize,
        /// The setting that raises it: `max_message` of the side that would have received it.
        setting: &'static str,
    },
    /// The worker could not decode the arguments, or the caller could not decode the answer: the two
    /// programs have types of one name and of different shape, or the type's own `Deserialize` refused
    /// the value. Also where an answer cannot be shown as JSON.
    Decode {
        /// Which of the two.
        what: Decoded,
        /// What the decoder says.
        message: String,
    },
}

/// What could not be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Decoded {
    /// The arguments, by the worker: the method was not called.
    Arguments,
    /// The answer, by the caller: the method has run.
    Answer,
}

/// Whether the method of a failed call has run: whether a retry is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Executed {
    /// It has not run, and never will.
    No,
    /// It may have run, in part or in whole, and may still be running.
    Maybe,
    /// It has run.
    Yes,
}

/// [`CallError::TooLarge`]'s setting for arguments: the client did not take them.
pub(crate) const CLIENT_MAX_MESSAGE: &str = "max_message of the client";
/// [`CallError::TooLarge`]'s setting for answers: the server did not take it.
pub(crate) const SERVER_MAX_MESSAGE: &str = "max_message of the server";
/// [`CallError::TooLarge`]'s setting for arguments of a call to the server, which did not take them.
pub(crate) const SERVER_MAX_MESSAGE_FOR_CALLS: &str = "max_message of the server, for calls";
/// [`CallError::TooLarge`]'s setting for answers of the server, which the client did not take.
pub(crate) const CLIENT_MAX_MESSAGE_FOR_ANSWERS: &str = "max_message of the client, for answers";

impl CallError {
    /// Whether the method may have run.
    pub fn executed(&self) -> Executed {
        match self {
            Self::Failed { .. } | Self::Panicked { .. } => Executed::Yes,
            Self::TimedOut { .. } | Self::Cancelled | Self::Lost { .. } => Executed::Maybe,
            Self::NotSent { .. } => Executed::No,
            Self::TooLarge { setting, .. } => match *setting {
                SERVER_MAX_MESSAGE | CLIENT_MAX_MESSAGE_FOR_ANSWERS => Executed::Yes,
                _ => Executed::No,
            },
            Self::Decode { what: Decoded::Arguments, .. } => Executed::No,
            Self::Decode { what: Decoded::Answer, .. } => Executed::Yes,
        }
    }
}

/// The longest text of an error, in bytes; the error itself has all of it.
const LONGEST: usize = 16 << 10;

/// One line, bounded and escaped: what failed is a peer's, and so are its words.
impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&display_within(Raw(self), LONGEST))
    }
}

/// The words of an error as they are.
struct Raw<'a>(&'a CallError);

impl fmt::Display for Raw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use CallError as Error;
        match self.0 {
            Error::Failed { message, chain } => {
                write!(f, "failed: {message}")?;
                chain.iter().try_for_each(|source| write!(f, ": {source}"))
            }
            Error::Panicked { message } => write!(f, "panicked: {message}"),
            Error::TimedOut { after } => write!(f, "timed out after {after:?} (maybe executed)"),
            Error::Cancelled => f.write_str("cancelled (maybe executed)"),
            Error::Lost { reason } => write!(f, "lost: {reason} (maybe executed)"),
            Error::NotSent { reason } => write!(f, "not sent: {reason} (not executed)"),
            Error::TooLarge { size, limit, setting } => {
                let what = match self.0.executed() {
                    Executed::Yes => "answer",
                    _ => "call",
                };
                write!(f, "{what} of {size} bytes exceeds the {limit} bytes of {setting}")
            }
            Error::Decode { what: Decoded::Arguments, message } => {
                write!(f, "arguments could not be decoded: {message} (not executed)")
            }
            Error::Decode { what: Decoded::Answer, message } => {
                write!(f, "answer could not be decoded: {message}")
            }
        }
    }
}

impl std::error::Error for CallError {}

/// An error and its sources as texts, outermost first.
pub(crate) fn texts(error: &(dyn std::error::Error + 'static)) -> (String, Vec<String>) {
    let chain = std::iter::successors(error.source(), |source| source.source());
    (error.to_string(), chain.map(ToString::to_string).collect())
}

/// What a caught panic said.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "a value that is no text".to_owned()
    }
}

/// Runs what may be the user's code; `Err` says what it panicked with.
pub(crate) fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(panic_text)
}

/// What a caught panic said. Nothing of the user's runs when it is dropped.
pub(crate) fn panic_text(panic: Box<dyn std::any::Any + Send>) -> String {
    let text = panic_message(&*panic);
    if !(panic.is::<&str>() || panic.is::<String>()) {
        std::mem::forget(panic);
    }
    text
}

/// How an I/O error reads in a log line: without the operating system's number.
pub(crate) fn io_reason(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::ConnectionReset => "connection reset".to_owned(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => "connection closed".to_owned(),
        ErrorKind::UnexpectedEof => "connection closed in mid-message".to_owned(),
        ErrorKind::TimedOut => "connection timed out".to_owned(),
        // From TLS, or from what carries the connection: it may quote the other side.
        _ => PeerText::new(error.to_string()).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_its_whole_chain() {
        #[derive(Debug, thiserror::Error)]
        #[error("can't read the configuration")]
        struct Outer(#[source] std::io::Error);
        let (message, chain) = texts(&Outer(std::io::Error::other("disk full")));
        let error = CallError::Failed { message, chain };
        assert_eq!(error.to_string(), "failed: can't read the configuration: disk full");
    }

    #[test]
    fn what_a_peer_says_went_wrong_is_shown_bounded_on_one_line() {
        let message = "disk\r\nfull\u{1b}[2J\u{202e}".to_owned();
        let error = CallError::Failed { message, chain: vec!["why\n".to_owned()] };
        assert_eq!(error.to_string(), "failed: disk\\r\\nfull\\u{1b}[2J\\u{202e}: why\\n");
        let long = CallError::Panicked { message: "x".repeat(40 << 20) };
        assert!(long.to_string().len() <= LONGEST);
    }

    #[test]
    fn a_size_error_says_which_side_must_raise_its_limit_and_whether_the_method_ran() {
        let call = CallError::TooLarge { size: 9, limit: 8, setting: CLIENT_MAX_MESSAGE };
        assert_eq!(call.executed(), Executed::No);
        assert_eq!(
            call.to_string(),
            "call of 9 bytes exceeds the 8 bytes of max_message of the client"
        );
        let answer = CallError::TooLarge { size: 9, limit: 8, setting: SERVER_MAX_MESSAGE };
        assert_eq!(answer.executed(), Executed::Yes);
    }
}
