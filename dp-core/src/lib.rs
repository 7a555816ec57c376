//! Run one program on many machines at once, under central control.
//!
//! Annotate one impl block; out come the local implementation, a stub that calls one worker, and a
//! broadcaster that calls all of them and gathers every reply:
//!
//! ```
//! use dp_core::{Context, MasterWorker, distributed_worker};
//!
//! #[derive(Default)]
//! pub struct Greeter { greeted: u64 }
//!
//! #[distributed_worker]
//! impl Greeter {
//!     /// Greets `name` on the machine that this worker lives on.
//!     #[remote]
//!     pub async fn greet(&mut self, ctx: &Context<Self>, name: &str) -> String {
//!         self.greeted += 1;
//!         ctx.result(format!("greeted {name}"));
//!         format!("{}: hello {name}", ctx.worker().id())
//!     }
//!
//!     /// What `/run` runs, on the master.
//!     #[schedule]
//!     pub async fn run(&self) -> Result<(), dp_core::BroadcastError> {
//!         self.greet("Ada").await?;
//!         self.each(|worker| worker.greet(&format!("number {}", worker.info().index()))).await?;
//!         Ok(())
//!     }
//! }
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! // Without a network, for a test; dp-server and dp-client are the network.
//! let master = MasterWorker::<Greeter>::in_process(3, |_info| Greeter::default());
//! let replies = master.greet("Ada").await.unwrap();
//! assert_eq!(replies.to_string(), "w1 → \"w1: hello Ada\"\n\
//!                                  w2 → \"w2: hello Ada\"\n\
//!                                  w3 → \"w3: hello Ada\"");
//! assert_eq!(master.results().await.unwrap().len(), 3);
//! # });
//! ```
//!
//! - [`distributed_worker`] describes what can stand in the block.
//! - [`Call`] and [`Broadcast`] are what the generated methods return: how to await them, with
//!   which deadline, and what comes back.
//! - [`CallError`] says what can become of a call; [`CallError::executed`] whether the method may
//!   have run.
//! - [`Group`] is what every broadcaster can do beside the worker's own methods.
//! - [`Context`] is the worker's side.
//!
//! # Order and concurrency
//! Calls from the master to one worker start in the order in which they were sent. A `&mut self`
//! call runs alone on its worker; `&self` calls of one worker may overlap. A method may block its
//! thread for as long as it likes: the connection, cancellation and the other workers of its client
//! go on. A panic costs the one call.

// Workers of this crate's own tests name it as everybody's do.
#[cfg(any(test, fuzzing))]
extern crate self as dp_core;

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
mod alike;
#[cfg(feature = "args")]
#[doc(hidden)]
pub mod args;
mod barrier;
mod bound;
mod broadcast;
mod buckets;
mod call;
#[cfg(test)]
mod chaos;
mod codec;
mod context;
pub mod engine;
mod error;
mod executor;
mod fleet;
mod fold;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod gathered;
mod group;
mod host;
mod id;
mod in_process;
mod json;
mod limits;
mod link;
mod logs;
mod map;
mod memory;
mod metrics;
#[cfg(feature = "net")]
pub mod net;
#[cfg(feature = "otel")]
mod otel;
mod outcome;
mod proto;
mod record;
mod scope;
mod server_call;
mod stored;
mod supervise;
mod sync;
mod system;
mod text;
mod trace;
mod turns;
mod wire;
mod worker;

pub use dp_macros::distributed_worker;

// Under their own names, since the compiler names them when a type lacks what they ask for.
pub use __private::{
    Argument, CanBeArgument, CanBeError, CanBeResult, CanBeWorker, Failure, MethodError,
    OfKnownSize, Reply, RunError, Value,
};

pub use barrier::{BarrierError, Meeting, Met, Missing, Synchro};
pub use broadcast::{Broadcast, OutcomeStream};
pub use call::{Call, WorkerCall};
pub use context::Context;
pub use error::{CallError, Decoded, Executed};
pub use fleet::FrequencyError;
pub use fleet::calls::DetachedFailure;
pub use fold::fold_ids;
pub use group::{Group, Stub, SynchroError};
pub use id::{InvalidId, WorkerId, WorkerInfo};
pub use json::JsonCallError;
pub use map::{ItemOutcome, Map, MapError, MapFuture, MapStream};
pub use metrics::Metric;
pub use outcome::{BroadcastError, Outcome, Outcomes, Replies, RepliesIter};
pub use record::ResultLine;
pub use worker::{
    Contract, DistributedWorker, MasterWorker, Method, NoRun, RemoteWorker, Run, RunFuture,
    RunResult, ServerFunctions,
};
