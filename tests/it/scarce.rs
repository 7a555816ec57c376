//! Programs that the system gives too little to.

use std::path::Path;

use dp_tests::Program;

use crate::{CLIENT, SERVER};

/// The status and what was said, of `program` with `limits` of the shell.
fn limited(limits: &str, program: &str, args: &str) -> (i32, String) {
    let command = format!("{limits} && exec {program} {args}");
    let mut program = Program::start(Path::new("sh"), &["-c", &command], &[]);
    program.end_input();
    program.rest();
    let status = program.wait();
    (status.code().unwrap_or(-1), program.all_errors())
}

#[test]
fn too_few_open_files_are_an_error_with_the_remedy_and_no_panic() {
    // With fewer the system's loader opens nothing.
    for files in [6, 8, 9, 12, 14, 16, 20, 30, 40] {
        for (program, args) in [
            (SERVER, "--bind :0"),
            (SERVER, "--bind :0 --page :0 --metrics :0"),
            (CLIENT, "--server 127.0.0.1:1 --connect-for 0.1"),
        ] {
            let (status, said) = limited(&format!("ulimit -n {files}"), program, args);
            assert!(!said.contains("panicked"), "{files}: {said}");
            assert!(status == 0 || status == 1, "{files}: {status}, {said}");
            let culprit = said.contains("ulimit -n") || said.contains("cannot reach the server");
            assert!(status == 0 || culprit, "{files}: {said}");
        }
    }
}
