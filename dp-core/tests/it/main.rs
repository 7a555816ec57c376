//! The tests of dp-core from outside: one program, since each links everything.
#![allow(missing_docs, missing_debug_implementations, unreachable_pub)]
#![allow(clippy::duplicate_mod, reason = "the suite is compiled for each transport")]

mod api;
mod kept;
mod memory;
mod outlived;
mod tcp;
mod values;
