//! The worker of the whole-system tests, and what they need to start programs and talk to them.

mod browser;
mod network;
mod process;
mod soak;
mod worker;

pub use browser::Browser;
pub use network::{Machine, Network};
pub use process::{Client, Program, Server};
pub use soak::Tally;
pub use worker::{State, Subject};
