//! The server of dp: clients join it with their workers, and a person or a program at its console
//! runs them all together.
//!
//! A worker crate needs one line for its server program, see [`main`] (and [`main_with`] where the
//! workers call functions of the server):
//!
//! ```no_run
//! # use dp_core::distributed_worker;
//! # #[derive(Default)]
//! # struct Greeter;
//! # #[distributed_worker]
//! # impl Greeter {
//! #     #[remote]
//! #     fn greet(&self, name: &str) -> String { format!("hello {name}") }
//! # }
//! fn main() -> anyhow::Result<()> {
//!     dp_server::main::<Greeter>()
//! }
//! ```
//!
//! A program that does more than that holds a [`Server`]:
//!
//! ```no_run
//! use dp_server::Server;
//!
//! # use dp_core::distributed_worker;
//! # #[derive(Default)]
//! # struct Greeter;
//! # #[distributed_worker]
//! # impl Greeter {
//! #     #[remote]
//! #     fn greet(&self, name: &str) -> String { format!("hello {name}") }
//! # }
//! # async fn example() -> anyhow::Result<()> {
//! let server = Server::<Greeter>::builder().bind("127.0.0.1:8147").workers(2).start().await?;
//! let master = server.ready().await?; // waits for two workers
//! println!("{}", master.greet("Ada").await?);
//! let report = server.run().await?; // what `/run` does
//! server.shutdown().await?; // the clients are told to quit, and do
//! # println!("{report:?}");
//! # Ok(())
//! # }
//! ```
//!
//! The console's commands and its output, as text and as JSON, are described at [`console`].
//!
//! Clients on the server's own machine may come over a Unix socket, see [`ServerBuilder::bind`].
//!
//! With the feature `nats`, a NATS server can carry the connections: see `ServerBuilder::engine`.
//!
//! A server that other machines reach asks them for a proof: a shared secret, see
//! [`ServerBuilder::token`], or certificates, see [`ServerBuilder::tls`] and `SERVER certs --help`.

mod args;
mod builder;
mod certs;
mod cli;
pub mod console;
mod export;
mod fold;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod gather;
mod json_text;
mod launch;
mod listen;
mod logs;
#[cfg(test)]
mod options;
#[cfg(feature = "page")]
mod page;
mod private;
mod report;
mod run;
mod runs;
mod server;
mod settings;
mod signals;
mod start;
mod store;
mod terminal;
mod time;
mod traffic;
#[cfg(unix)]
mod unix;

#[cfg(feature = "page")]
use dp_core::net::address;
use dp_core::net::chain;

pub use args::ServerArgs;
pub use builder::{Given, NoState, ServerBuilder, StateGiven, Stateless};
pub use cli::{main, main_with};
pub use console::{ConsoleError, OutputFormat};
#[cfg(feature = "otel")]
pub use dp_core::engine::otel::{Telemetry, TelemetryError};
pub use dp_core::net::address::{Address, AddressError};
pub use dp_core::net::{SecretError, Token};
#[cfg(feature = "nats")]
pub use dp_nats as nats;
pub use export::{ReportFile, SaveError};
pub use report::{FailedRun, Report, WorkerEnd, WorkerOutcome};
pub use run::RunError;
pub use server::{ReadyError, Server, ShutdownError};
pub use start::StartError;
