//! Programs that a launcher has started: what it says of them stands in the environment.

use std::path::Path;

use dp_tests::Program;

use crate::{CLIENT, SERVER};

#[test]
fn clients_are_told_apart_by_their_ranks_and_the_server_knows_how_many_come() {
    let size = [("DP_SIZE", "3")];
    let args = ["--bind", "127.0.0.1:0", "--workers", "auto"];
    let mut server = Program::start(Path::new(SERVER), &args, &size);
    let line = server.error_line("listening on ");
    let address = line.split("listening on ").nth(1).unwrap_or_default().trim().to_owned();
    let launched = |id: &[&str], env: &[(&str, &str)]| {
        let args = [&["--server", &address], id].concat();
        Program::start(Path::new(CLIENT), &args, env)
    };
    let mut clients = [
        launched(&["--id", "lab"], &[("OMPI_COMM_WORLD_RANK", "0"), ("SLURM_PROCID", "7")]),
        launched(&[], &[("SLURM_PROCID", "1"), ("SLURM_STEP_ID", "0")]),
        launched(&["--id", "lab"], &[("DP_RANK", "2"), ("OMPI_COMM_WORLD_RANK", "0")]),
    ];
    assert_eq!(server.lines_until("ready to run").len(), 4);
    server.type_line("/workers");
    let ids: Vec<String> = (0..3).map(|_| server.line()).collect();
    let id = |at: usize| ids[at].split('\t').next();
    assert_eq!([id(0), id(1), id(2)], [Some("lab-0"), Some("lab-2"), Some("subject-1")]);
    server.type_line("/quit");
    for client in &mut clients {
        assert!(client.wait().success());
    }
}

#[test]
fn what_a_launcher_does_not_say_is_an_error_with_the_remedy() {
    for (program, args, env, error) in [
        (SERVER, ["--workers", "auto"], ("DP_RANK", "1"), "DP_SIZE"),
        (CLIENT, ["--server", "auto"], ("DP_SIZE", "1"), "DP_SERVER"),
        (CLIENT, ["--id", "lab"], ("DP_RANK", "third"), "`third`: a whole number"),
    ] {
        let mut program = Program::start(Path::new(program), &args, &[env]);
        assert!(!program.wait().success(), "{args:?}");
        program.error_line(error);
    }
}
