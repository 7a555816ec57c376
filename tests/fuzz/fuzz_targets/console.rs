#![no_main]

libfuzzer_sys::fuzz_target!(|line: &str| dp_server::fuzzing::console(line));
