//! The tests of the whole system, with real processes: one program, since each links everything.

mod busy;
mod console;
mod hostile;
mod launch;
#[cfg(unix)]
mod launched;
#[cfg(unix)]
mod launchers;
mod logs;
mod loss;
mod main_job;
mod many;
mod network;
#[cfg(unix)]
mod once;
#[cfg(feature = "otel")]
mod otel;
mod page;
mod programs;
mod reconnect;
#[cfg(unix)]
mod scarce;
mod security;
mod sessions;
mod soak;
mod stored;
mod strangers;
mod terminal;
#[cfg(unix)]
mod unix_socket;

const SERVER: &str = env!("CARGO_BIN_EXE_dp-tests-server");
const CLIENT: &str = env!("CARGO_BIN_EXE_dp-tests-client");
