//! The console of a real server process: signals, and clients that are stopped.

use std::time::{Duration, Instant};

use dp_tests::{Client, Program, Server};

use crate::{CLIENT, SERVER};

/// Servers that quit must not leave it to time that somebody is gone.
const PATIENT: &[&str] = &["--heartbeat-timeout", "60", "--gather-timeout", "1"];

/// A server, and clients `c1`, `c2` and so on of a worker each.
fn start(run: &str, clients: usize, args: &[&str]) -> (Server, Vec<Client>) {
    let mut server = Server::start(SERVER, clients, run, args);
    let start = |n| Client::start(CLIENT, &server.address, &format!("c{n}"), 1);
    let started = (1..=clients).map(start).collect();
    server.ready(clients);
    (server, started)
}

/// Until every worker is in the run, which takes no time to begin.
fn a_moment() {
    std::thread::sleep(Duration::from_millis(500));
}

/// Stops a client, which stays connected.
fn stop(client: &Client) {
    client.0.signal("STOP");
    let tasks = format!("/proc/{}/task", client.0.id());
    let stopped = |task: std::io::Result<std::fs::DirEntry>| {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        status.lines().any(|line| line.starts_with("State:\tT"))
    };
    while !std::fs::read_dir(&tasks).unwrap().all(stopped) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn message(line: &str) -> &str {
    line.rsplit('\t').next().unwrap()
}

#[test]
fn an_interrupt_cancels_the_run_and_two_of_an_idle_server_quit() {
    let (mut server, clients) = start("endless", 2, &[]);
    for _ in 0..2 {
        server.type_line("/run");
        a_moment();
        server.signal("INT");
        let lines = server.lines_until("failed");
        assert_eq!((message(&lines[0]), message(&lines[1])), ("began", "began"));
        assert_eq!(lines[2..], ["error: cancelled", "failed"]);
    }
    // The workers are free for something else.
    server.type_line("/call set_name \"free\"");
    assert_eq!(server.line(), "c[1-2] → null");
    server.signal("INT");
    server.error_line("SIGINT while nothing is under way: the server goes on, with 2 workers");
    server.type_line("/freq");
    assert_eq!(server.line(), "1");
    // A command has been carried out since: it asks again.
    server.signal("INT");
    a_moment();
    server.signal("INT");
    assert!(server.wait().success());
    assert!(server.rest().is_empty());
    clients.into_iter().for_each(Client::ends_well);
}

#[test]
fn a_second_interrupt_does_not_wait_for_what_the_first_cancelled() {
    let (mut server, mut clients) = start("endless", 2, &["--gather-timeout", "60"]);
    server.type_line("/run");
    a_moment();
    // So the results cannot be had.
    stop(&clients[1]);
    let begun = Instant::now();
    server.signal("INT");
    a_moment();
    server.signal("INT");
    assert_eq!(server.lines_until("failed"), ["error: cancelled", "failed"]);
    clients[1].0.signal("CONT");
    assert!(server.wait().success());
    // Not 60 s.
    assert!(begun.elapsed() < Duration::from_secs(30));
    clients.drain(..).for_each(Client::ends_well);
}

#[test]
fn termination_is_orderly_also_during_a_run() {
    for run in [false, true] {
        let (mut server, clients) = start("endless", 2, &[]);
        if run {
            server.type_line("/run");
            a_moment();
        }
        server.signal("TERM");
        assert!(server.wait().success());
        let expected: &[&str] = if run { &["error: cancelled", "failed"] } else { &[] };
        assert_eq!(server.rest(), expected);
        clients.into_iter().for_each(Client::ends_well);
    }
}

#[test]
fn an_interrupt_while_clients_are_waited_for_ends_it_at_once() {
    let (mut server, clients) = start("greet", 1, &["--quit-timeout", "60"]);
    stop(&clients[0]);
    server.type_line("/quit");
    a_moment();
    server.signal("INT");
    assert_eq!(server.wait().code(), Some(130));
}

#[test]
fn a_client_that_does_not_quit_is_named() {
    let (mut server, clients) = start("greet", 2, &["--quit-timeout", "0.5"]);
    stop(&clients[1]);
    server.type_line("/quit");
    assert_eq!(server.wait().code(), Some(1));
    let line = server.error_line("error: ");
    assert_eq!(line, "error: told to quit, c2 had not done so within 500ms: cut off");
}

#[test]
fn a_client_that_is_stopped_does_not_hold_up_the_gathering_and_is_named() {
    let (mut server, mut clients) = start("endless", 3, PATIENT);
    server.type_line("/run");
    a_moment();
    stop(&clients[1]);
    server.type_line("/cancel");
    let lines = server.lines_until("failed");
    assert_eq!(lines[0], "error: no results from c2: no answer within 1s (gather_timeout)");
    assert_eq!((message(&lines[1]), message(&lines[2])), ("began", "began"));
    assert_eq!(lines[3], "error: cancelled");
    assert!(lines[4].starts_with("still in endless of a cancelled call: c2, for "), "{lines:?}");
    assert_eq!(lines[5..], ["failed"]);

    server.type_line("/reset");
    let line = server.line();
    assert!(line.starts_with("still in endless of a cancelled call: c2, for "), "{line}");
    let line = server.line();
    assert!(line.starts_with("error: not everybody answered within 1s; busy are c2"), "{line}");
    clients[1].0.signal("CONT");
    server.quit();
    clients.drain(..).for_each(Client::ends_well);
}

#[test]
fn a_worker_whose_method_blocks_its_thread_does_not_hold_up_the_cancelling() {
    let (mut server, clients) = start("greet", 2, &[]);
    server.type_line("/call block 2000");
    a_moment();
    server.type_line("/cancel");
    assert_eq!(server.line(), "error: cancelled");
    let line = server.line();
    assert!(line.starts_with("still in block of a cancelled call: c[1-2], for "), "{line}");
    server.type_line("/results");
    server.type_line("/freq");
    assert_eq!(server.line(), "1");
    server.quit();
    clients.into_iter().for_each(Client::ends_well);
}

#[test]
fn methods_are_called_by_hand_and_clients_disconnected() {
    let (mut server, mut clients) = start("greet", 3, &[]);
    server.type_line("/call @c2 greet \"Ada Lovelace\"");
    assert_eq!(server.line(), "c2 → \"c2: hello Ada Lovelace\"");
    server.type_line("/call fail_on_odd");
    assert_eq!(server.line(), "c[1,3] → null");
    assert_eq!(server.line(), "error: c2 failed: odd");
    server.type_line("/call greet");
    let line = server.line();
    assert!(line.ends_with("the method is greet(name: &str) -> String"), "{line}");
    server.type_line("/kick c1");
    assert_eq!(server.line(), "worker departed");
    let status = clients.remove(0).0.wait();
    assert_eq!(status.code(), Some(1));
    server.quit();
    clients.into_iter().for_each(Client::ends_well);
}

#[test]
fn what_a_killed_worker_had_delivered_is_printed() {
    let (mut server, mut clients) = start("endless", 2, &[]);
    server.type_line("/run");
    // It tells every half second.
    std::thread::sleep(Duration::from_millis(1500));
    clients[1].0.kill();
    assert_eq!(server.line(), "worker departed");
    server.signal("INT");
    let lines = server.lines_until("failed");
    assert!(lines[0].starts_with("error: c2 lost during the run: "), "{lines:?}");
    assert!(lines[1].starts_with("c1\t") && lines[1].ends_with("\tbegan"), "{lines:?}");
    assert!(lines[2].starts_with("c2\t") && lines[2].ends_with("\tbegan"), "{lines:?}");
    assert_eq!(lines[3..], ["error: cancelled", "failed"]);
    server.quit();
}

/// A server whose output nobody reads, stuck in it.
fn stuck() -> std::process::Child {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut server = Command::new(SERVER)
        .args(["--bind", "127.0.0.1:0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Far more than a pipe holds, with all buffers before it; written as far as it is read.
    let mut input = server.stdin.take().unwrap();
    std::thread::spawn(move || {
        let _ = input.write_all("/help\n".repeat(100_000).as_bytes());
        std::thread::park();
    });
    a_moment();
    server
}

#[test]
fn a_signal_is_heard_while_nobody_reads_the_output() {
    for signal in ["TERM", "INT", "HUP"] {
        let mut server = stuck();
        let begun = Instant::now();
        let id = server.id().to_string();
        let status = loop {
            if let Some(status) = server.try_wait().unwrap() {
                break status;
            }
            // One Ctrl-C ends a command alone.
            let _ = std::process::Command::new("kill").args(["-s", signal, &id]).status();
            assert!(begun.elapsed() < Duration::from_secs(20), "{signal}: it does not end");
            std::thread::sleep(Duration::from_millis(600));
        };
        assert_eq!(status.code(), Some(0), "{signal}");
    }
}

#[test]
fn a_hangup_is_as_good_as_termination_unless_it_was_to_be_ignored() {
    let (mut server, clients) = start("endless", 1, &[]);
    server.type_line("/run");
    a_moment();
    server.signal("HUP");
    assert!(server.wait().success());
    assert_eq!(server.rest(), ["error: cancelled", "failed"]);
    clients.into_iter().for_each(Client::ends_well);

    let args = ["nohup", SERVER, "--bind", "127.0.0.1:0"];
    let mut server = Program::start("/usr/bin/env".as_ref(), &args, &[]);
    server.error_line("listening on ");
    server.signal("HUP");
    a_moment();
    server.type_line("/freq");
    assert_eq!(server.line(), "1");
    server.type_line("/quit");
    assert!(server.wait().success());
}
