//! The console of a real server process while something is under way, or still goes on.

use std::time::Duration;

use dp_tests::{Client, Program, Server};

use crate::{CLIENT, SERVER};

/// A server, and clients `c1`, `c2` and so on of a worker each.
fn start(run: &str, clients: usize, args: &[&str]) -> (Server, Vec<Client>) {
    let mut server = Server::start(SERVER, clients, run, args);
    let start = |n| Client::start(CLIENT, &server.address, &format!("c{n}"), 1);
    let started = (1..=clients).map(start).collect();
    server.ready(clients);
    (server, started)
}

/// Until every worker is in `method`: then the run is under way.
fn are_in(server: &mut Program, method: &str, workers: usize) {
    loop {
        server.type_line("/workers");
        let lines: Vec<String> = (0..workers).map(|_| server.line()).collect();
        if lines.iter().all(|line| line.contains(&format!("\trunning {method} for "))) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_only_asks_is_answered_while_a_run_goes_on_and_overtakes_no_line_that_waits() {
    let (mut server, clients) = start("endless", 2, &[]);
    server.type_line("/run");
    are_in(&mut server, "endless", 2);
    server.type_line("/freq 2.5");
    server.type_line("/freq");
    assert_eq!(server.line(), "2.5");
    server.type_line("/methods");
    let methods =
        server.lines_until("swallow(data: &[u8]) -> usize\tTakes data, and gives its length.");
    assert!(methods[0].starts_with("greet(name: &str) -> String\t"), "{methods:?}");
    server.type_line("/rnu");
    server.type_line("/freq");
    while server.line() != "error: there is no command `/rnu`: did you mean `/run`?" {}
    assert_eq!(server.line(), "2.5");
    server.type_line("/help");
    server.lines_until(&help_line("/help"));
    server.type_line("/call greet \"Ada\"");
    server.type_line("/freq");
    server.type_line("/cancel");
    let lines = server.lines_until("failed");
    assert!(lines.contains(&"error: cancelled".to_owned()), "{lines:?}");
    // Now it is the others' turn.
    assert_eq!(server.line(), "c1 → \"c1: hello Ada\"");
    assert_eq!(server.line(), "c2 → \"c2: hello Ada\"");
    assert_eq!(server.line(), "2.5");
    server.quit();
    clients.into_iter().for_each(Client::ends_well);
}

/// As `/help` has it.
fn help_line(command: &str) -> String {
    format!("{command:<28} prints this list; at once, also during a run")
}

#[test]
fn as_json_an_answer_during_a_run_says_what_it_answers() {
    let (mut server, clients) = {
        let mut server = Server::start(SERVER, 1, "endless", &["--output", "json"]);
        let client = Client::start(CLIENT, &server.address, "c1", 1);
        while !server.line().contains("ready to run") {}
        (server, vec![client])
    };
    server.type_line("/run");
    server.type_line("/freq");
    server.type_line("/kick c9");
    let (freq, kick) = (server.line(), server.line());
    assert_eq!(freq, r#"{"answers":"/freq","frequency":1.0}"#);
    assert!(kick.starts_with(r#"{"answers":"/kick","error":"there is no worker `c9`"#), "{kick}");
    server.type_line("/cancel");
    server.lines_until(r#"{"ok":false}"#);
    server.type_line("/freq");
    assert_eq!(server.line(), r#"{"frequency":1.0}"#);
    server.quit();
    clients.into_iter().for_each(Client::ends_well);
}

#[test]
fn behind_a_command_without_an_end_of_its_own_everything_waits_for_its_turn() {
    let (mut server, clients) = start("greet", 1, &[]);
    server.type_line("/call nap 500\n/freq");
    assert_eq!(server.line(), "c1 → null");
    assert_eq!(server.line(), "1");
    server.quit();
    clients.into_iter().for_each(Client::ends_well);
}

#[test]
fn a_worker_is_kicked_out_of_a_run_that_waits_for_it() {
    let (mut server, mut clients) = start("endless", 2, &[]);
    server.type_line("/run");
    are_in(&mut server, "endless", 2);
    server.type_line("/kick c2");
    assert_eq!(server.line(), "worker departed");
    assert!(!clients.remove(1).0.wait().success());
    server.type_line("/cancel");
    let lines = server.lines_until("failed");
    assert!(
        lines.iter().any(|line| line.starts_with("error: c2 lost during the run")),
        "{lines:?}"
    );
    server.quit();
    clients.into_iter().for_each(Client::ends_well);
}

#[test]
fn who_is_still_in_a_method_of_a_cancelled_run_is_said_then_and_by_the_next_run() {
    let (mut server, clients) = start("hold", 2, &["--quit-timeout", "1"]);
    server.type_line("/run");
    are_in(&mut server, "hold", 2);
    server.type_line("/cancel");
    let lines = server.lines_until("failed");
    assert_eq!(lines[0], "error: cancelled");
    let still_in = "still in hold of a cancelled call: c[1-2], for ";
    assert!(lines[1].starts_with(still_in), "{lines:?}");
    assert_eq!(lines.len(), 3, "{lines:?}");

    server.type_line("/run");
    let line = server.line();
    assert!(line.starts_with(still_in), "{line}");
    // The wait is given up.
    server.type_line("/cancel");
    let lines = server.lines_until("failed");
    assert_eq!(lines[0], "error: cancelled");
    assert!(lines[1].starts_with(still_in), "{lines:?}");
    // Where nothing is under way, it is said as well.
    server.type_line("/cancel");
    assert_eq!(server.line(), "error: nothing is under way that could be cancelled");
    let line = server.line();
    assert!(line.starts_with(still_in), "{line}");
    clients.into_iter().for_each(|mut client| client.0.kill());
}

#[test]
fn a_second_cancel_gives_up_the_gathering() {
    let (mut server, mut clients) =
        start("endless", 2, &["--gather-timeout", "600", "--heartbeat-timeout", "600"]);
    server.type_line("/run");
    are_in(&mut server, "endless", 2);
    clients[1].0.signal("STOP");
    server.type_line("/cancel");
    assert_eq!(server.line_within(Duration::from_millis(500)), None);
    server.type_line("/cancel");
    let lines = server.lines_until("failed");
    assert_eq!(lines[0], "error: no results from c2: not waited for");
    clients[1].0.signal("CONT");
    server.quit();
    clients.drain(..).for_each(Client::ends_well);
}

#[test]
fn an_interrupt_ends_the_printing_and_says_how_many_lines_are_left_out() {
    let args = ["--workers", "1", "--bind", "127.0.0.1:0"];
    let env = [("DP_TESTS_RUN", "many")];
    let mut server = std::process::Command::new(SERVER)
        .args(args)
        .envs(env)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    use std::io::{BufRead, BufReader, Write};
    let mut errors = BufReader::new(server.stderr.take().unwrap()).lines();
    let listening =
        errors.find_map(|line| Some(line.unwrap().split_once("listening on ")?.1.to_owned()));
    std::thread::spawn(move || errors.for_each(drop));
    let client = Client::start(CLIENT, &listening.unwrap(), "c1", 1);
    let mut output = BufReader::new(server.stdout.take().unwrap()).lines();
    let mut input = server.stdin.take().unwrap();
    assert!(output.by_ref().any(|line| line.unwrap() == "ready to run"));
    input.write_all(b"/run\n").unwrap();
    // The first line is there, and nobody reads the others.
    let mut read = usize::from(output.next().is_some());
    let interrupt = ["-s", "INT", &server.id().to_string()].map(str::to_owned);
    assert!(std::process::Command::new("kill").args(interrupt).status().unwrap().success());
    std::thread::sleep(Duration::from_millis(500));
    let left_out = loop {
        let line = output.next().unwrap().unwrap();
        if let Some(text) = line.strip_prefix("error: cancelled while it was printed: ") {
            break text.split(' ').next().unwrap().parse::<usize>().unwrap();
        }
        assert!(line.ends_with(" of many"), "{line}");
        read += 1;
    };
    assert_eq!(read + left_out, 200_000);
    assert_eq!(output.next().unwrap().unwrap(), "failed");
    input.write_all(b"/freq\n/quit\n").unwrap();
    assert_eq!(output.next().unwrap().unwrap(), "1");
    assert!(server.wait().unwrap().success());
    client.ends_well();
}
