//! The main job: a server and clients as processes, driven through the console.

use dp_tests::{Client, Server};

use crate::{CLIENT, SERVER};

/// The fields of a result line: id, time, message.
fn fields(line: &str) -> (&str, &str, &str) {
    let fields: Vec<&str> = line.splitn(3, '\t').collect();
    let [id, time, message] = fields[..] else { panic!("no result line: {line:?}") };
    let digits = |range: std::ops::Range<usize>| time[range].bytes().all(|b| b.is_ascii_digit());
    assert!(time.len() == 15 && digits(0..8) && &time[8..9] == "-" && digits(9..15), "{time}");
    (id, time, message)
}

#[test]
fn everything_happens_on_all_machines_together() {
    let mut server = Server::start(SERVER, 3, "greet", &[]);
    let clients: Vec<Client> = ["c1", "c2", "c10"]
        .iter()
        .map(|id| Client::start(CLIENT, &server.address, id, 1))
        .collect();
    server.ready(3);
    for _ in 0..2 {
        // A run starts with an empty record: each gives its own results.
        let (lines, ok) = server.run();
        assert!(ok);
        let results: Vec<_> = lines.iter().map(|line| fields(line)).collect();
        let expected: Vec<(String, String)> = ["c1", "c2", "c10"]
            .iter()
            .enumerate()
            .flat_map(|(index, id)| {
                let line = |text: String| ((*id).to_owned(), text);
                [line("greeted Ada".to_owned()), line(format!("greeted number {index}"))]
            })
            .collect();
        let seen: Vec<_> = results.iter().map(|r| (r.0.to_owned(), r.2.to_owned())).collect();
        assert_eq!(seen, expected);
    }
    server.type_line("/results");
    for _ in 0..6 {
        fields(&server.line());
    }
    server.type_line("/reset");
    server.type_line("/results");
    server.type_line("/freq 2.5");
    server.type_line("/freq");
    assert_eq!(server.line(), "2.5");
    server.quit();
    clients.into_iter().for_each(Client::ends_well);
}

#[test]
fn several_workers_behind_one_client_are_numbered() {
    let mut server = Server::start(SERVER, 5, "greet", &[]);
    let four = Client::start(CLIENT, &server.address, "four", 4);
    let one = Client::start(CLIENT, &server.address, "one", 1);
    server.ready(5);
    let (lines, ok) = server.run();
    assert!(ok);
    let mut ids: Vec<&str> = lines.iter().map(|line| fields(line).0).collect();
    ids.dedup();
    assert_eq!(ids, ["four/1", "four/2", "four/3", "four/4", "one"]);
    server.type_line("/workers");
    for id in ["four/1", "four/2", "four/3", "four/4", "one"] {
        let line = server.line();
        assert!(line.starts_with(&format!("{id}\t127.0.0.1:")), "{line}");
        assert!(line.contains(env!("CARGO_PKG_VERSION")) && line.contains("idle"), "{line}");
    }
    server.quit();
    four.ends_well();
    one.ends_well();
}

#[test]
fn clients_may_be_started_before_the_server_and_say_that_they_keep_trying() {
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let address = format!("127.0.0.1:{port}");
    let mut client = Client::start(CLIENT, &address, "early", 1);
    let line = client.0.error_line(&address);
    assert!(line.to_lowercase().contains("try"), "{line}");
    let mut server = Server::start(SERVER, 1, "greet", &["--bind", &address]);
    server.ready(1);
    assert!(server.run().1);
    server.quit();
    client.ends_well();
}

#[test]
fn a_pipe_may_write_everything_at_once_and_end() {
    let mut server = Server::start(SERVER, 1, "greet", &[]);
    let client = Client::start(CLIENT, &server.address, "c1", 1);
    server.ready(1);
    server.type_text("/run\r\n/reset\r\n/results\r\n/freq");
    server.end_input();
    assert_eq!(server.lines_until("ok").len(), 3);
    assert!(server.wait().success());
    assert_eq!(server.rest(), ["1"]);
    client.ends_well();
}

#[test]
fn a_run_before_everybody_is_there_says_how_many_are_missing() {
    let mut server = Server::start(SERVER, 3, "greet", &[]);
    let client = Client::start(CLIENT, &server.address, "c1", 1);
    assert_eq!(server.line(), "new worker arrived");
    server.type_line("/run");
    let line = server.line();
    assert!(line.starts_with("error: ") && line.contains('2'), "{line}");
    server.quit();
    client.ends_well();
}

#[test]
fn a_failing_run_prints_the_failures_folded_then_the_results_then_failed() {
    let mut server = Server::start(SERVER, 4, "fail", &[]);
    let client = Client::start(CLIENT, &server.address, "w", 4);
    server.ready(4);
    let (lines, ok) = server.run();
    assert!(!ok);
    assert_eq!(lines[0], "error: 2 of 4 workers failed: w/[2,4] failed: odd");
    let results: Vec<_> = lines[1..].iter().map(|line| fields(line).0).collect();
    assert_eq!(results, ["w/1", "w/2", "w/3", "w/4"]);
    server.quit();
    client.ends_well();
}

#[test]
fn a_schedule_that_panics_fails_its_run_and_nothing_else() {
    let mut server = Server::start(SERVER, 1, "panic", &[]);
    let client = Client::start(CLIENT, &server.address, "c1", 1);
    server.ready(1);
    for _ in 0..2 {
        let (lines, ok) = server.run();
        assert!(!ok);
        assert!(lines[0].contains("an expected panic"), "{lines:?}");
    }
    server.quit();
    client.ends_well();
}

#[test]
fn output_for_programs_is_one_json_object_a_line() {
    let mut server = Server::start(SERVER, 1, "greet", &["--output", "json"]);
    let client = Client::start(CLIENT, &server.address, "c1", 1);
    let arrived = server.line();
    assert_eq!(arrived, r#"{"event":"new worker arrived","worker":"c1"}"#);
    server.line();
    server.type_line("/run");
    let first = server.line();
    for part in [r#"{"result":{"#, r#""worker":"c1""#, r#""message":"greeted Ada""#, r#""time":""#]
    {
        assert!(first.contains(part), "{first}");
    }
    server.lines_until(r#"{"ok":true}"#);
    server.type_line("nonsense");
    let error = server.line();
    assert!(error.starts_with(r#"{"error":"#), "{error}");
    server.quit();
    client.ends_well();
}
