//! The pure state machines of the protocol: no socket, no clock, no task; time is an argument.

pub(crate) mod barrier;
#[cfg(test)]
mod barrier_simulation;
pub(crate) mod budget;
pub(crate) mod deadlines;
pub(crate) mod gather;
pub(crate) mod handshake;
mod runs;
