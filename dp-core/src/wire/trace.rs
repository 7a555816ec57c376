//! The message that says where a call comes from, ahead of it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::message::{from_client, from_server, plain};
use crate::trace::TraceContext;

/// Where the message comes from that follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trace {
    /// The number of the call, or of the wait for a call to the server.
    pub(crate) number: u64,
    trace_id: u128,
    span_id: u64,
    sampled: bool,
}

impl Trace {
    pub(crate) fn new(number: u64, context: &TraceContext) -> Self {
        let (trace_id, span_id) = (context.trace_id(), context.span_id());
        Self { number, trace_id, span_id, sampled: context.is_sampled() }
    }

    /// Where the call of this `number` comes from, if this is about it.
    pub(crate) fn of(self, number: u64) -> Option<TraceContext> {
        let context = TraceContext::new(self.trace_id, self.span_id, self.sampled);
        context.filter(|_| self.number == number)
    }

    pub(crate) fn to_client(&self) -> Bytes {
        plain(from_server::TRACE, self)
    }

    pub(crate) fn to_server(&self) -> Bytes {
        plain(from_client::TRACE, self)
    }

    /// The head of the message that follows, behind this.
    pub(crate) fn ahead(this: &Bytes, head: &Bytes) -> Bytes {
        [&this[..], &head[..]].concat().into()
    }
}
