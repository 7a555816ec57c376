//! The client of dp: hosts workers on its machine, and does what the server says.
//!
//! A worker crate needs one line for its client program, see [`main`]:
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
//!     dp_client::main(|_info| Greeter::default())
//! }
//! ```
//!
//! A program that does more than that runs a [`Client`]:
//!
//! ```no_run
//! use dp_client::Client;
//!
//! # use dp_core::distributed_worker;
//! # #[derive(Default)]
//! # struct Greeter;
//! # #[distributed_worker]
//! # impl Greeter {
//! #     #[remote]
//! #     fn greet(&self, name: &str) -> String { format!("hello {name}") }
//! # }
//! # async fn example() -> Result<(), dp_client::ClientError> {
//! Client::<Greeter>::builder().server("192.0.2.1:8147").id("c1").workers(4).run().await?;
//! # Ok(())
//! # }
//! ```
//!
//! A client may be started before its server: it keeps trying. All its workers share one connection.
//!
//! With the feature `nats`, a NATS server can carry that connection: see `ClientBuilder::engine`.

mod builder;
mod cli;
mod client;
mod connect;
mod logs;
#[cfg(test)]
mod options;

use dp_core::net::chain;

pub use builder::{ClientBuilder, Constructor, DefaultConstructor, Given};
pub use cli::{ClientArgs, main};
pub use client::{Client, ClientError};
#[cfg(feature = "otel")]
pub use dp_core::engine::otel::{Telemetry, TelemetryError};
pub use dp_core::engine::text::PeerText;
pub use dp_core::net::address::AddressError;
pub use dp_core::net::{SecretError, Token};
#[cfg(feature = "nats")]
pub use dp_nats as nats;
pub use logs::log_layer;
