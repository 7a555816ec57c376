//! A run in a batch job: `--once`.

use std::path::Path;

use dp_tests::{Client, Program, Server};

use crate::{CLIENT, SERVER};

#[test]
fn it_waits_no_longer_than_it_was_told_to_and_says_how_many_have_joined() {
    let mut server = Server::start(SERVER, 3, "greet", &["--once", "--wait-for", "1.5"]);
    let mut client = Client::start(CLIENT, &server.address, "c1", 1);
    assert_eq!(server.wait().code(), Some(1));
    let line = server.error_line("error: ");
    assert_eq!(
        line,
        "error: it ended before it could run (--once): 1 of 3 workers have joined within 1.5 s \
         (--wait-for)"
    );
    assert_eq!(client.0.wait().code(), Some(0));
}

#[test]
fn it_ends_once_all_that_was_launched_has_ended() {
    for (command, clients, end) in [
        (
            "no-such-client",
            "2",
            "subject-[0-1] with exit status 127, as where the command is not found",
        ),
        ("exit 3", "1", "exit with exit status 3"),
        ("true", "1", "true with exit status 0"),
        ("kill -9 $$", "1", "kill with signal 9"),
    ] {
        let args = ["--once", "--launch", command, "--launch-clients", clients];
        let mut server = Server::start(SERVER, 2, "greet", &args);
        assert_eq!(server.wait().code(), Some(1), "{command}");
        let line = server.error_line("error: ");
        let expected = format!(
            "error: it ended before it could run (--once): 0 of 2 workers have joined, and all that was \
             launched has ended: {end}"
        );
        assert_eq!(line, expected);
    }
}

#[test]
fn a_launcher_that_ends_well_is_given_the_time_that_was_asked_for() {
    // Its client is somewhere else, as those of a batch system are.
    let command = format!("DP_CONNECT_FOR=30 setsid '{CLIENT}' --id late & exit 0");
    let args = ["--once", "--wait-for", "60", "--launch", &command];
    let mut server = Server::start(SERVER, 1, "greet", &args);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn it_prints_the_metrics_and_says_on_standard_error_how_far_it_is() {
    let mut server = Server::start(SERVER, 1, "work", &["--once"]);
    server.error_line("0 of 1 worker has joined");
    let client = Client::start(CLIENT, &server.address, "c1", 1);
    assert_eq!(server.wait().code(), Some(0));
    let lines = server.rest();
    let table = lines.iter().position(|line| line.starts_with("metric ")).unwrap();
    assert!(lines[table + 1].starts_with("fetch "), "{lines:?}");
    assert_eq!(lines.last().map(String::as_str), Some("ok"));
    server.error_line("the run begins, with 1 worker");
    server.error_line("0 of 1 workers done | 1 in work");
    server.error_line("the run is over after ");
    client.ends_well();
}

#[test]
fn a_report_that_could_not_be_written_fails_it() {
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("gone/run.json");
    std::fs::create_dir(report.parent().unwrap()).unwrap();
    let report = report.to_str().unwrap();
    let mut server = Server::start(SERVER, 1, "greet", &["--once", "--report", report]);
    std::fs::remove_dir(dir.path().join("gone")).unwrap();
    let client = Client::start(CLIENT, &server.address, "c1", 1);
    assert_eq!(server.wait().code(), Some(1));
    let lines = server.rest();
    assert_eq!(lines.last().map(String::as_str), Some("ok"), "the run is: {lines:?}");
    let line = server.error_line("error: ");
    assert!(
        line.starts_with("error: the run is ok (--once), but ") && line.contains(report),
        "{line}"
    );
    client.ends_well();
}

#[test]
fn the_first_interrupt_ends_it() {
    let mut server = Server::start(SERVER, 1, "greet", &["--once"]);
    server.signal("INT");
    assert_eq!(server.wait().code(), Some(1));
    server.error_line("it ended before it could run (--once): it was told to end");
}

#[test]
fn a_setting_that_cannot_be_used_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (args, code, words) in [
        (
            &["--token-file", "/nonexist"][..],
            1,
            "cannot read /nonexist (--token-file or DP_TOKEN_FILE): ",
        ),
        (
            &["--tls-cert", "/nonexist", "--tls-key", "/dev/null"],
            1,
            "cannot read /nonexist (--tls-cert or DP_TLS_CERT): ",
        ),
        (&["--page", &address], 1, "choose another one with `--page` (port 0"),
        (&["--metrics", &address], 1, "choose another one with `--metrics` (port 0"),
        (&["--page", "certs", "keys"], 2, ""),
        (&["--page", "certs"], 2, "`certs` is a subcommand, and not an address; write it first"),
        (&["--metrics", "certs"], 2, "`certs` is a subcommand, and not an address; write it first"),
        (&["--wait-for=-1"], 2, "--wait-for"),
    ] {
        let args = [&["--bind", "127.0.0.1:0"], args].concat();
        // It would show where it comes from, which helps nobody.
        let env = [("RUST_BACKTRACE", "1")];
        let mut server = Program::start(Path::new(SERVER), &args, &env);
        assert_eq!(server.wait().code(), Some(code), "{args:?}");
        server.error_line(words);
        assert!(!server.all_errors().contains("backtrace"), "{}", server.all_errors());
    }
}
