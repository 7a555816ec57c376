//! Barriers as a worker meets them: [`Synchro`], [`Met`], [`BarrierError`].

use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use thiserror::Error;

use crate::fold::fold_ids;
use crate::host::uplink::{Answer, WorkerLink};
use crate::id::WorkerId;
use crate::scope::{Closed, Way};
use crate::text::{PeerText, escaped};
use crate::wire::{Arrive, MissingWorker, Verdict};

/// A barrier that a worker is about to come to; awaited, it waits there.
///
/// Who meets is whoever the call of this method addressed: all workers of one broadcast. A token
/// may be used again, in the same run and in the next; who comes again before all others have come
/// meets them at the next time. Two broadcasts never mix.
#[must_use = "a worker comes to a barrier when it awaits it"]
#[derive(Debug)]
pub struct Synchro {
    way: Option<Way>,
    token: String,
    staggered: bool,
    survivors: bool,
    timeout: Option<Duration>,
}

/// Everybody has met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Met {
    missing: Vec<Missing>,
}

/// A worker that has not come to a barrier.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missing {
    /// The worker.
    pub worker: WorkerId,
    /// The barrier that it has not come to.
    pub token: String,
    /// The method that it is in, or was in when it was lost.
    pub method: String,
    /// What is known of it: how its connection ended, how its method ended, or for how long it has
    /// been in it.
    pub state: String,
}

/// Why a worker did not meet the others.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BarrierError {
    /// Some will never come: they were lost, or their method has ended.
    #[error("{}", describe(.missing))]
    Lost {
        /// Those workers.
        missing: Vec<Missing>,
    },
    /// Some have not come in time. They are still waited for by the others.
    #[error("timed out after {after:?} at {}", describe(.missing))]
    TimedOut {
        /// The time that was given.
        after: Duration,
        /// Those workers.
        missing: Vec<Missing>,
    },
    /// The server is gone.
    #[error("the server of this barrier is gone")]
    NoServer,
    /// The token is longer than a token may be.
    #[error("a barrier's token of {size} bytes: it has at most {limit}")]
    TokenTooLong {
        /// How many bytes it has.
        size: usize,
        /// How many it may have.
        limit: usize,
    },
}

/// The longest token of a barrier, in bytes.
pub(crate) const MAX_TOKEN: usize = 1_024;

/// `barrier `ready`: missing w[3,7] in run: lost: connection reset; w9 in run: …`
fn describe(missing: &[Missing]) -> String {
    let Some(first) = missing.first() else { return "a barrier of a call that is over".into() };
    let entries = missing
        .iter()
        .map(|m| (&m.worker, escaped(&format!("in {}: {}", m.method, m.state)).into_owned()));
    let folded = crate::outcome::fold(entries);
    let texts: Vec<String> =
        folded.into_iter().map(|(ids, text)| format!("{ids} {text}")).collect();
    format!("barrier `{}`: missing {}", escaped(&first.token), texts.join("; "))
}

impl Synchro {
    pub(crate) fn new(way: Option<Way>, token: String, staggered: bool) -> Self {
        Self { way, token, staggered, survivors: false, timeout: None }
    }

    /// Goes on without those who are lost; [`Met::missing`] names them.
    pub fn survivors(mut self) -> Self {
        self.survivors = true;
        self
    }

    /// Waits for so long at the most; [`BarrierError::TimedOut`] then names who is missing.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    async fn meet(self) -> Result<Met, BarrierError> {
        let Self { way, token, staggered, survivors, timeout } = self;
        // A context without a server is that of a lone worker, which waits for nobody.
        let Some(way) = way else {
            return Ok(Met { missing: Vec::new() });
        };
        let WorkerLink { worker, call, .. } = way.link;
        if token.len() > MAX_TOKEN {
            return Err(BarrierError::TokenTooLong { size: token.len(), limit: MAX_TOKEN });
        }
        let micros = |timeout: Duration| u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX);
        let arrive = |wait| Arrive {
            wait,
            worker,
            call,
            token: token.clone(),
            staggered,
            survivors,
            timeout: timeout.map(micros),
        };
        let mut asked = match way.ask(|wait| [arrive(wait).to_frame()]) {
            Ok(asked) => asked,
            Err(Closed::Over) => return Err(BarrierError::Lost { missing: Vec::new() }),
            Err(Closed::NoServer) => return Err(BarrierError::NoServer),
        };
        match poll_fn(|cx| asked.poll(cx.waker())).await {
            Answer::Released(Verdict::Met { missing }) => {
                Ok(Met { missing: named(&token, missing) })
            }
            Answer::Released(Verdict::Lost { missing }) => {
                Err(BarrierError::Lost { missing: named(&token, missing) })
            }
            Answer::Released(Verdict::TimedOut { missing }) => Err(BarrierError::TimedOut {
                after: timeout.unwrap_or_default(),
                missing: named(&token, missing),
            }),
            Answer::Reply(_) | Answer::Lost => Err(BarrierError::NoServer),
        }
    }
}

fn named(token: &str, missing: Vec<MissingWorker>) -> Vec<Missing> {
    let named = |MissingWorker { worker, method, state }: MissingWorker| {
        let (worker, token) = (WorkerId::new(worker).ok()?, token.to_owned());
        let [method, state] = [method, state].map(|text| PeerText::new(text).into());
        Some(Missing { worker, token, method, state })
    };
    missing.into_iter().filter_map(named).collect()
}

impl IntoFuture for Synchro {
    type Output = Result<Met, BarrierError>;
    type IntoFuture = Meeting;

    fn into_future(self) -> Meeting {
        Meeting(Box::pin(self.meet()))
    }
}

/// A worker waiting at a barrier. Dropped, it has not come.
pub struct Meeting(Pin<Box<dyn Future<Output = Result<Met, BarrierError>> + Send>>);

impl Future for Meeting {
    type Output = Result<Met, BarrierError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Meeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meeting")
    }
}

impl Met {
    /// The workers that were lost, and gone on without. Of very many, the first 256.
    pub fn missing(&self) -> &[Missing] {
        &self.missing
    }
}

impl fmt::Display for Met {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.missing.as_slice() {
            [] => f.write_str("all met"),
            missing => write!(f, "met without {}", fold_ids(missing.iter().map(|m| &m.worker))),
        }
    }
}
