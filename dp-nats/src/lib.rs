//! Carries dp's connections over [NATS](https://nats.io), a messaging server: one master, tens of
//! thousands of workers, several sites. Nothing in a worker changes, and nothing at the console.
//!
//! Programs do not use this crate themselves: they have the feature `nats` of dp-server and dp-client, and
//! `--engine nats://HOST:4222`. What goes over NATS is dp's own protocol, in messages that are numbered
//! and permitted one window at a time, since NATS may drop some: what was dropped is reported as the loss
//! of the connection, never passed over. PROTOCOL.md has the subjects and the bytes.

#[cfg(feature = "args")]
mod args;
mod client;
mod link;
mod listener;
mod settings;
mod stream;
mod wire;

#[cfg(feature = "args")]
pub use args::{Engine, EngineArgs};
pub use client::{Connection, connect};
pub use listener::Listener;
pub use settings::{Job, NatsError, Settings, SettingsError};
pub use stream::NatsStream;
