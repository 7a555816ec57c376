//! The context of calls, across programs: which trace a span and a line of the log belong to.
//!
//! `engine::trace` is the public part of it.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};

use tracing::level_filters::LevelFilter;
use tracing::{Level, Span};

/// Who a call comes from, as the W3C's Trace Context has it: the trace, and the span in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    sampled: bool,
}

impl TraceContext {
    /// `None` where one of the numbers is 0, which says that there is none.
    pub fn new(trace_id: u128, span_id: u64, sampled: bool) -> Option<Self> {
        (trace_id != 0 && span_id != 0).then_some(Self { trace_id, span_id, sampled })
    }

    /// The trace.
    pub fn trace_id(&self) -> u128 {
        self.trace_id
    }

    /// The span in it.
    pub fn span_id(&self) -> u64 {
        self.span_id
    }

    /// Whether the trace is recorded.
    pub fn is_sampled(&self) -> bool {
        self.sampled
    }
}

/// As a `traceparent` header says it: `00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01`.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace_id, span_id, sampled } = self;
        write!(f, "00-{trace_id:032x}-{span_id:016x}-{:02x}", u8::from(*sampled))
    }
}

/// Gives spans their places in traces. Without one, [`install`]ed once for the process, spans have a
/// trace's number all the same, for the logs, and nobody collects them.
pub trait Tracer: Send + Sync {
    /// A span has begun, whose parent is `parent` where that is in another program, and else the span
    /// that is entered. `name` says what it is about. Where it stands, if it is to be told to those who
    /// are called within it.
    fn begin(&self, span: &Span, name: &str, parent: Option<&TraceContext>)
    -> Option<TraceContext>;

    /// Where the span stands that is entered.
    fn current(&self) -> Option<TraceContext>;
}

static TRACER: OnceLock<Box<dyn Tracer>> = OnceLock::new();

/// From now on `tracer` gives spans their places; `false` if another one does already.
pub fn install(tracer: impl Tracer + 'static) -> bool {
    TRACER.set(Box::new(tracer)).is_ok()
}

thread_local! {
    /// Where what runs on this thread stands, if there is no tracer.
    static CURRENT: Cell<Option<TraceContext>> = const { Cell::new(None) };
}

/// Where that stands which runs now.
pub(crate) fn current() -> Option<TraceContext> {
    match TRACER.get() {
        None => CURRENT.get(),
        Some(tracer) => tracer.current(),
    }
}

/// What a span is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// From this program: within what runs here, or the begin of a trace.
    Here,
    /// From another program, as far as that has said.
    Remote(Option<TraceContext>),
}

/// A span that somebody looks at.
#[derive(Debug, Clone)]
pub struct Traced {
    span: Span,
    context: Option<TraceContext>,
}

impl Traced {
    /// Whether somebody may look at spans of calls: it costs less to ask than to make one in vain.
    pub(crate) fn is_wanted() -> bool {
        Level::DEBUG <= LevelFilter::current()
    }

    /// A span that has just been made, with an empty field `trace_id`; `None` where nobody looks at it.
    /// `name` says what it is about.
    pub fn begin(span: Span, name: impl FnOnce() -> String, parent: Parent) -> Option<Self> {
        if span.is_disabled() {
            return None;
        }
        let context = match TRACER.get() {
            Some(tracer) => {
                let remote = match &parent {
                    Parent::Here => None,
                    Parent::Remote(parent) => parent.as_ref(),
                };
                tracer.begin(&span, &name(), remote)
            }
            None => match parent {
                Parent::Here => child(current()),
                // What nobody follows at the other end is no trace.
                Parent::Remote(parent) => parent.and_then(|parent| child(Some(parent))),
            },
        };
        if let Some(context) = &context {
            span.record("trace_id", format_args!("{:032x}", context.trace_id));
        }
        Some(Self { span, context })
    }

    /// What is done here until the guard is dropped is done within this span.
    pub(crate) fn enter(&self) -> tracing::span::Entered<'_> {
        self.span.enter()
    }

    /// Says more of the span.
    pub(crate) fn record(&self, field: &'static str, value: u64) {
        self.span.record(field, value);
    }

    /// What those are told who are called within it.
    pub(crate) fn context(&self) -> Option<TraceContext> {
        self.context
    }

    /// `future`, polled and dropped within this span.
    pub fn within<T>(self, future: Boxed<T>) -> Boxed<T>
    where
        T: 'static,
    {
        Box::pin(Within { traced: self, future: Some(future) })
    }
}

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

struct Within<T> {
    traced: Traced,
    future: Option<Boxed<T>>,
}

impl<T> Future for Within<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Self { traced, future } = self.get_mut();
        let _entered = traced.span.enter();
        let _scope = Scope::enter(traced.context);
        match future {
            Some(future) => future.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

impl<T> Drop for Within<T> {
    fn drop(&mut self) {
        let _entered = self.traced.span.enter();
        let _scope = Scope::enter(self.traced.context);
        self.future = None;
    }
}

/// What runs on this thread stands there, until this is dropped.
struct Scope(Option<TraceContext>);

impl Scope {
    fn enter(context: Option<TraceContext>) -> Self {
        Self(CURRENT.replace(context))
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

/// Within `parent`, or the first of a trace.
fn child(parent: Option<TraceContext>) -> Option<TraceContext> {
    let new = || (u128::from(random()) << 64) | u128::from(random());
    let trace_id = parent.map_or_else(new, |parent| parent.trace_id);
    TraceContext::new(trace_id, random(), parent.is_none_or(|parent| parent.sampled))
}

/// A hasher's keys are the standard library's random numbers.
fn random() -> u64 {
    RandomState::new().hash_one(0).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_like_a_traceparent() {
        let context = TraceContext::new(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, 0xb7ad, true);
        let text = "00-0af7651916cd43dd8448eb211c80319c-000000000000b7ad-01";
        assert_eq!(context.map(|context| context.to_string()).as_deref(), Some(text));
        assert!(TraceContext::new(0, 1, true).is_none() && TraceContext::new(1, 0, true).is_none());
    }

    #[test]
    fn a_scope_ends_where_it_began() {
        let context = TraceContext::new(1, 2, true);
        let outer = Scope::enter(context);
        {
            let _inner = Scope::enter(None);
            assert_eq!(CURRENT.get(), None);
        }
        assert_eq!(CURRENT.get(), context);
        drop(outer);
        assert_eq!(CURRENT.get(), None);
    }
}
