#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dp_core::fuzzing::server_message(bytes));
