//! The worker of the whole-system tests, and what they need to start programs and talk to them.

mod browser;
mod left_out;
mod network;
mod process;
mod soak;
mod worker;

pub use browser::Browser;
pub use left_out::{LeftOut, have, leave_out, search_path};
pub use network::{Machine, Network};
pub use process::{Client, Program, Server};
pub use soak::Tally;
pub use worker::{State, Subject};
