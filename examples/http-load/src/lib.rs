//! A load test of an HTTP server, from many machines at once.
//!
//! [`Loader`] is the worker: it sends its [`Share`] of a [`Plan`] over keep-alive connections, to URLs
//! that the server hands out from its [`Feed`], and records the latency of every request. [`Report`] is
//! what all of them measured, merged exactly: percentiles over the union of all requests, not averages
//! of percentiles.

mod feed;
mod loader;
pub mod measure;
mod plan;
mod report;
pub mod site;
mod target;

pub use feed::Feed;
pub use loader::{Loader, LoaderMasterWorker, LoaderRemoteWorker, LoaderServer};
pub use measure::Measured;
pub use plan::{Pace, Plan, Share};
pub use report::Report;
pub use target::Target;
