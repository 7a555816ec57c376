//! One frame to many connections at once.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// A transport's way to send the same bytes to many connections at once, where it has one: through a server
/// that hands them out, say.
pub trait FanOut: fmt::Debug + Send + Sync {
    /// Sends a frame, given in parts, once to as many of `links` as can take it now: to which, in the order
    /// given. The others get it each over its own stream.
    ///
    /// A link can take it that is known to have come by everything that was written to its stream; what is
    /// written there afterwards comes behind.
    fn send(&self, frame: &[Bytes], links: &[u64]) -> Vec<u64>;
}

/// A connection among those that can be sent to at once.
#[derive(Debug, Clone)]
pub struct FanLink {
    /// How.
    pub fan_out: Arc<dyn FanOut>,
    /// Which one it is there.
    pub link: u64,
}

impl PartialEq for FanLink {
    fn eq(&self, other: &Self) -> bool {
        self.link == other.link && self.is_beside(other)
    }
}

impl Eq for FanLink {}

impl FanLink {
    /// Whether both can be sent to at once.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.fan_out, &other.fan_out)
    }
}
