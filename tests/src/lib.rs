//! The worker of the whole-system tests, and what they need to start programs and talk to them.

mod network;
mod process;
mod worker;

pub use network::{Machine, Network};
pub use process::{Client, Program, Server};
pub use worker::{State, Subject};
