//! What the engines need of whatever lies between them.

use tokio::io::{AsyncRead, AsyncWrite};

/// What carries one connection between a server and a client: bytes in both directions, in order, each
/// once. TCP, TLS, a Unix socket, a pipe in memory, dp-nats: whatever is such a stream is one.
///
/// The engines count on this, and on nothing else:
/// - **Nothing is lost in the middle.** What did not arrive is followed by nothing: the stream ends,
///   with an error on either side. The engines then report every call under way as lost. A transport
///   of messages that may be dropped has to number them, and to end the stream at a gap.
/// - **It holds back.** A side that does not read makes the other's writes wait, after a bounded number
///   of bytes, and nobody else's. The engines count what waits, and have limits for it.
/// - **Each end is told.** Where one side shuts its direction down, or is dropped, the other reads the
///   end. Where that cannot be known, as of a process that was killed on the far side of a broker, the
///   engines' heartbeats find out.
/// - **The client speaks first.** A server writes nothing before it has read something.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Transport for S {}
