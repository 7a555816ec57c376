//! The two programs as a person meets them: help, versions, wrong options, exit codes.

use std::net::TcpStream;

use dp_tests::{Client, Program, Server};

use crate::{CLIENT, SERVER};

fn output(program: &str, args: &[&str], env: &[(&str, &str)]) -> (i32, Vec<String>, String) {
    let mut program = Program::start(program.as_ref(), args, env);
    program.end_input();
    let lines = program.rest();
    let status = program.wait();
    std::thread::sleep(std::time::Duration::from_millis(50));
    (status.code().unwrap(), lines, program.all_errors())
}

#[test]
fn help_names_every_option_with_its_environment_variable() {
    for (program, options) in [
        (SERVER, &["--bind", "DP_BIND", "--workers", "DP_WORKERS", "--frequency", "--output"][..]),
        (CLIENT, &["--server", "DP_SERVER", "--id", "DP_ID", "--workers"][..]),
    ] {
        let (code, lines, _) = output(program, &["--help"], &[]);
        assert_eq!(code, 0);
        let text = lines.join("\n");
        for option in options {
            assert!(text.contains(option), "{option} is not in {text}");
        }
    }
}

#[test]
fn version_is_that_of_the_workers_crate() {
    for program in [SERVER, CLIENT] {
        let (code, lines, _) = output(program, &["--version"], &[]);
        assert_eq!(code, 0);
        assert!(lines[0].ends_with(env!("CARGO_PKG_VERSION")), "{lines:?}");
    }
}

#[test]
fn a_wrong_option_or_value_is_an_error_that_names_it() {
    for (program, args, env, culprit) in [
        (SERVER, &["--frequency", "0"][..], ("X", "x"), "--frequency"),
        (SERVER, &["--output", "xml"], ("X", "x"), "xml"),
        (SERVER, &["--bind", "nowhere.invalid:1"], ("X", "x"), "nowhere.invalid"),
        (SERVER, &[], ("DP_WORKERS", "many"), "the environment variable DP_WORKERS"),
        (CLIENT, &[], ("DP_WORKERS", "many"), "the environment variable DP_WORKERS"),
        (CLIENT, &["--workers", "100000000"], ("X", "x"), "1048576"),
        (CLIENT, &["--server", "http://lab"], ("X", "x"), "write `lab`"),
        (CLIENT, &["--id", "a b"], ("X", "x"), "a b"),
        (CLIENT, &["--workers", "0"], ("X", "x"), "--workers"),
        (CLIENT, &["--sever", "x"], ("X", "x"), "--server"),
    ] {
        let (code, lines, errors) = output(program, args, &[env]);
        assert_ne!(code, 0, "{args:?}");
        assert!(lines.is_empty(), "{lines:?}");
        assert!(errors.contains(culprit), "{culprit} is not in {errors}");
    }
}

#[test]
fn a_port_that_is_taken_is_one_clear_line() {
    let server = Server::start(SERVER, 1, "", &[]);
    let (code, _, errors) = output(SERVER, &["--bind", &server.address], &[]);
    assert_eq!(code, 1);
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(errors.contains(&server.address), "{errors}");
}

#[test]
fn a_client_that_shall_not_come_back_ends_with_one_clear_line() {
    let mut server = Server::start(SERVER, 1, "", &[]);
    let args = ["--exit-on-disconnect"];
    let mut client = Client::start_with(CLIENT, &server.address, "c1", 1, &args);
    server.ready(1);
    server.kill();
    let status = client.0.wait();
    assert_eq!(status.code(), Some(1));
    let line = client.0.error_line(" is lost: ");
    assert!(line.starts_with("error: "), "{line}");
}

#[test]
fn a_switch_may_be_set_in_the_environment_in_the_usual_ways() {
    let mut server = Server::start(SERVER, 1, "", &[]);
    let args = ["--server", &server.address, "--id", "c1"];
    let env = [("DP_EXIT_ON_DISCONNECT", "1"), ("DP_EXIT_ON_STDIN_EOF", ""), ("RUST_LOG", "")];
    let mut client = Program::start(CLIENT.as_ref(), &args, &env);
    server.ready(1);
    server.kill();
    assert_eq!(client.wait().code(), Some(1));
    client.error_line(" is lost: ");
}

#[test]
fn a_client_ends_with_its_standard_input_if_asked_to() {
    let mut server = Server::start(SERVER, 1, "", &[]);
    let args = ["--exit-on-stdin-eof"];
    let mut client = Client::start_with(CLIENT, &server.address, "c1", 1, &args);
    server.ready(1);
    client.0.end_input();
    assert_eq!(client.0.wait().code(), Some(1));
    client.0.error_line("standard input has ended");
    assert_eq!(server.line(), "worker departed");
}

#[test]
fn two_clients_of_one_id_cannot_both_join() {
    let mut server = Server::start(SERVER, 1, "", &[]);
    let first = Client::start(CLIENT, &server.address, "same", 1);
    server.ready(1);
    let mut second = Client::start(CLIENT, &server.address, "same", 1);
    assert_eq!(second.0.wait().code(), Some(1));
    let line = second.0.error_line("same");
    assert!(line.contains("--id"), "{line}");
    server.error_line("same");
    server.quit();
    first.ends_well();
}

#[test]
fn a_changed_worker_is_refused_with_the_methods_names_on_both_sides() {
    let mut server = Server::start(SERVER, 1, "", &[]);
    let changed = env!("CARGO_BIN_EXE_dp-tests-changed-client");
    let mut client = Client::start(changed, &server.address, "changed", 1);
    assert_eq!(client.0.wait().code(), Some(1));
    for program in [&mut client.0, &mut server.program] {
        let line = program.error_line("`greet` differs");
        assert!(line.contains("&str") && line.contains("u32"), "{line}");
        assert!(line.contains("`session` is missing in the client"), "{line}");
    }
    let mut good = Client::start(CLIENT, &server.address, "good", 1);
    server.ready(1);
    server.type_line("/quit");
    assert!(good.0.wait().success());
}

/// Starts a program where 64 files may be open, or 128 if it asks for that.
fn start_with_few_files(program: &str, args: &[&str]) -> Program {
    let few = "ulimit -Sn 64 && ulimit -Hn 128 && exec \"$0\" \"$@\"";
    Program::start("sh".as_ref(), &[&["-c", few, program], args].concat(), &[])
}

fn open_files(program: &Program) -> u64 {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", program.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().parse().unwrap()
}

#[test]
fn programs_have_as_many_files_open_as_they_may_and_a_server_says_where_that_is_too_few() {
    let mut server = start_with_few_files(SERVER, &["--bind", "127.0.0.1:0", "--workers", "1000"]);
    let warning = server.error_line("--workers 1000");
    assert!(warning.contains("may have 128"), "{warning}");
    assert!(warning.contains("`ulimit -n 1064`"), "{warning}");
    let listening = server.error_line("listening on ");
    let address = listening.rsplit(' ').next().unwrap();
    assert_eq!(open_files(&server), 128);

    let mut client = start_with_few_files(CLIENT, &["--server", address, "--id", "c1"]);
    assert_eq!(server.line(), "new worker arrived");
    assert_eq!(open_files(&client), 128);

    let strangers: Vec<_> = (0..128).map(|_| TcpStream::connect(address).unwrap()).collect();
    let warning = server.error_line("cannot accept a connection");
    assert!(warning.contains("may have 128; `ulimit -n`"), "{warning}");
    drop(strangers);
    server.end_input();
    server.rest();
    assert!(server.wait().success());
    assert!(client.wait().success());
}
