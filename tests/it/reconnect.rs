//! Servers that are killed, and clients that are stopped: everybody finds back.

use std::time::Duration;

use dp_tests::{Client, Server};

use crate::{CLIENT, SERVER};

#[test]
fn a_server_started_again_finds_its_workers_and_what_they_had_recorded() {
    let mut server = Server::start(SERVER, 3, "endless", &[]);
    let clients: Vec<Client> =
        ["c1", "c2", "c3"].iter().map(|id| Client::start(CLIENT, &server.address, id, 1)).collect();
    server.ready(3);
    // Killed in the middle of a run: each worker has recorded that it began.
    server.type_line("/run");
    std::thread::sleep(Duration::from_millis(500));
    server.kill();

    let mut again = Server::start(SERVER, 3, "greet", &["--bind", &server.address]);
    again.ready(3);
    again.type_line("/results");
    let mut lines: Vec<String> = (0..3).map(|_| again.line()).collect();
    lines.sort();
    for (line, id) in lines.iter().zip(["c1", "c2", "c3"]) {
        assert!(line.starts_with(id) && line.ends_with("began"), "{line}");
    }
    // The run that was under way has ended on the workers: they are free for the next.
    let (lines, ok) = again.run();
    assert!(ok, "{lines:?}");
    assert_eq!(lines.len(), 6);
    again.quit();
    clients.into_iter().for_each(Client::ends_well);
}

#[test]
fn a_stopped_client_is_noticed_and_comes_back_when_it_goes_on() {
    let args = ["--heartbeat-interval", "0.2", "--heartbeat-timeout", "1"];
    let mut server = Server::start(SERVER, 2, "nap", &args);
    let stopped = Client::start(CLIENT, &server.address, "stopped", 1);
    let other = Client::start(CLIENT, &server.address, "other", 1);
    server.ready(2);
    server.type_line("/run");
    std::thread::sleep(Duration::from_millis(200));
    stopped.0.signal("STOP");
    assert_eq!(server.line(), "worker departed");
    let failure = server.line();
    let expected = "error: 1 of 2 workers failed: stopped lost: no sign of life for 1s";
    assert!(failure.starts_with(expected), "{failure}");
    server.lines_until("failed");
    stopped.0.signal("CONT");
    server.ready(1);
    let (lines, ok) = server.run();
    assert!(ok, "{lines:?}");
    server.quit();
    stopped.ends_well();
    other.ends_well();
}
