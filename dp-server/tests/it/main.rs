//! The tests of dp-server from outside: one program, since each links everything.

mod calls;
mod common;
mod console;
#[cfg(feature = "page")]
mod page;
mod reports;
mod runs;
mod server;
