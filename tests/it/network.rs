//! Machines that vanish, crash, or are cut off for a while: nobody is told, and everybody notices.

use std::time::{Duration, Instant};

use dp_tests::{Client, Network, Server};

use crate::{CLIENT, SERVER};

/// Silence is noticed after a second.
const SOON: [&str; 4] = ["--heartbeat-interval", "0.2", "--heartbeat-timeout", "1"];
/// Within a second it is noticed, and told on a busy machine. Without heartbeats TCP would take a
/// quarter of an hour.
const NOTICED: Duration = Duration::from_secs(15);

fn lost(server: &mut Server, since: Instant) {
    assert_eq!(server.line(), "worker departed");
    let after = since.elapsed();
    assert!(after < NOTICED, "noticed after {after:?}");
}

#[test]
fn a_machine_that_vanishes_is_noticed_and_another_takes_its_place() {
    let Some(network) = Network::new(3) else { return };
    let mut server = Server::start_on(network.server(), SERVER, "endless", &SOON);
    let mut vanishing = Client::start_on(network.client(0), CLIENT, &server, "c1", &[]);
    server.ready(1);
    server.type_line("/call endless");
    std::thread::sleep(Duration::from_millis(200));
    let cut = Instant::now();
    network.cut(0);
    // What is killed behind a cut cable says goodbye to nobody.
    vanishing.0.kill();
    // It has the id of one that the server believes to be there still.
    let successor = Client::start_on(network.client(1), CLIENT, &server, "c1", &[]);
    let mut lines = Vec::new();
    while lines.len() < 4 {
        lines.push(server.line());
    }
    assert!(cut.elapsed() < NOTICED, "noticed after {:?}", cut.elapsed());
    lines.sort();
    let lost = "error: c1 lost: no sign of life for 1s (heartbeat_timeout) (maybe executed)";
    assert_eq!(lines[0], lost);
    assert_eq!(lines[1..], ["new worker arrived", "ready to run", "worker departed"]);
    server.quit();
    successor.ends_well();
}

#[test]
fn a_machine_that_crashes_and_comes_back_leaves_no_half_open_connection() {
    let Some(network) = Network::new(1) else { return };
    let mut server = Server::start_on(network.server(), SERVER, "greet", &SOON);
    let mut crashing = Client::start_on(network.client(0), CLIENT, &server, "c1", &[]);
    server.ready(1);
    let crash = Instant::now();
    network.cut(0);
    crashing.0.kill();
    network.reboot(0);
    lost(&mut server, crash);
    let client = Client::start_on(network.client(0), CLIENT, &server, "c1", &[]);
    server.ready(1);
    let (lines, ok) = server.run();
    assert!(ok, "{lines:?}");
    server.quit();
    client.ends_well();
}

#[test]
fn a_worker_is_the_same_when_the_cable_is_mended() {
    let Some(network) = Network::new(2) else { return };
    let mut server = Server::start_on(network.server(), SERVER, "session", &SOON);
    let there = Client::start_on(network.client(0), CLIENT, &server, "c1", &[]);
    server.ready(1);
    let away = Client::start_on(network.client(1), CLIENT, &server, "c2", &[]);
    assert_eq!(server.line(), "new worker arrived");
    let (lines, ok) = server.run();
    assert!(ok, "{lines:?}");

    let cut = Instant::now();
    network.cut(1);
    lost(&mut server, cut);
    let lost = away.0.id();
    network.mend(1);
    assert_eq!(server.line(), "new worker arrived");
    assert_eq!(away.0.id(), lost);
    // Its state and its record are those from before; the record does not count twice.
    server.type_line("/call session");
    assert_eq!(server.line(), "c[1-2] → null");
    server.type_line("/results");
    let lines: Vec<String> = (0..4).map(|_| server.line()).collect();
    for (line, end) in lines.iter().zip(["c1", "c1", "c2", "c2"]) {
        assert!(line.starts_with(end) && line.ends_with(&format!("ok name of {end}")), "{lines:?}");
    }
    server.quit();
    there.ends_well();
    away.ends_well();
}

#[test]
fn a_cut_that_is_shorter_than_the_timeout_costs_nothing_but_time() {
    let Some(network) = Network::new(1) else { return };
    let patient = ["--heartbeat-interval", "0.2", "--heartbeat-timeout", "20"];
    let mut server = Server::start_on(network.server(), SERVER, "nap", &patient);
    let client = Client::start_on(network.client(0), CLIENT, &server, "c1", &[]);
    server.ready(1);
    server.type_line("/run");
    // The answer falls into the time of the cut.
    std::thread::sleep(Duration::from_millis(300));
    network.cut(0);
    std::thread::sleep(Duration::from_millis(1_200));
    network.mend(0);
    let lines = server.lines_until("ok");
    assert_eq!(lines.len(), 2, "{lines:?}");
    server.quit();
    client.ends_well();
}

#[test]
fn a_client_notices_that_its_server_vanished_and_finds_the_next_one() {
    let Some(network) = Network::new(1) else { return };
    let mut server = Server::start_on(network.server(), SERVER, "session", &SOON);
    let mut client = Client::start_on(network.client(0), CLIENT, &server, "c1", &[]);
    server.ready(1);
    let (lines, ok) = server.run();
    assert!(ok, "{lines:?}");
    network.cut(0);
    client.0.error_line("no sign of life for 1s");
    server.kill();
    let bind = format!("0.0.0.0:{}", server.port());
    let args = [&["--bind", &bind], &SOON[..]].concat();
    let mut next = Server::start_on(network.server(), SERVER, "session", &args);
    network.mend(0);
    next.ready(1);
    next.type_line("/results");
    let line = next.line();
    assert!(line.ends_with("ok name of c1"), "{line}");
    next.quit();
    client.ends_well();
}
