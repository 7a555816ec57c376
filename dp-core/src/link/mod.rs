//! One connection: a stream of bytes in both directions, cut into frames. TCP, an in-memory pipe,
//! or any other `AsyncRead + AsyncWrite`.

mod alive;
mod fan_out;
mod outbox;
mod stream;
mod transport;

pub(crate) use alive::{Activity, Heartbeat, Watched, keep_alive};
pub use fan_out::{FanLink, FanOut};
pub(crate) use outbox::{CallFrame, CallTargets, Outbox};
#[cfg(feature = "net")]
pub(crate) use stream::read_first;
pub(crate) use stream::{Frames, LinkError, read_preamble, write_frames};
pub use transport::Transport;

/// The size of the in-memory pipe that stands for a network, in bytes.
pub(crate) const PIPE: usize = 256 << 10;
