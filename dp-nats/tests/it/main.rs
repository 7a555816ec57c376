//! The tests of dp-nats, over a real nats-server.
#![allow(missing_docs, missing_debug_implementations)]

mod common;
mod nats;
mod system;
