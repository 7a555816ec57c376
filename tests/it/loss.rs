//! Clients that die.

use std::time::Duration;

use dp_tests::{Client, Server};

use crate::{CLIENT, SERVER};

#[test]
fn a_client_killed_during_a_broadcast_is_named_and_the_run_goes_on() {
    let mut server = Server::start(SERVER, 3, "nap", &[]);
    let mut clients: Vec<Client> =
        (1..=3).map(|n| Client::start(CLIENT, &server.address, &format!("c{n}"), 1)).collect();
    server.ready(3);
    server.type_line("/run");
    std::thread::sleep(Duration::from_millis(300));
    clients[1].0.kill();
    assert_eq!(server.line(), "worker departed");
    // One outcome for each worker: the lost one is named, the others have slept to their end.
    let lost = "error: 1 of 3 workers failed: c2 lost: connection ";
    let failure = server.line();
    assert!(failure.starts_with(lost), "{failure}");
    let rest = server.lines_until("failed");
    let of = |id: &str| rest.iter().filter(|line| line.starts_with(id)).count();
    assert_eq!((of("c1\t"), of("c3\t")), (1, 1), "{rest:?}");
    // With another in its place, everything works again.
    let again = Client::start(CLIENT, &server.address, "c2", 1);
    server.ready(1);
    let (lines, ok) = server.run();
    assert!(ok, "{lines:?}");
    assert_eq!(lines.len(), 3);
    server.quit();
    again.ends_well();
}

#[test]
fn a_worker_lost_before_it_comes_to_a_barrier_fails_the_others_and_is_named() {
    let mut server = Server::start(SERVER, 8, "meet", &[]);
    let mut clients: Vec<Client> =
        (1..=4).map(|n| Client::start(CLIENT, &server.address, &format!("c{n}"), 2)).collect();
    server.ready(8);
    server.type_line("/run");
    // At a random moment of some hundred barriers; where the run is over before, this shows only
    // that the death of an idle client is survived.
    std::thread::sleep(Duration::from_millis(u64::from(std::process::id() % 60)));
    clients[2].0.kill();
    let lines: Vec<String> = std::iter::from_fn(|| Some(server.line()))
        .take_while(|line| line != "ok" && line != "failed")
        .collect();
    if let Some(failure) = lines.iter().find(|line| line.contains("workers failed")) {
        assert!(failure.contains("c3/[1-2] lost: "), "{failure}");
    }
    server.type_line("/workers");
    let mut left = Vec::new();
    while left.len() < 6 {
        let line = server.line();
        if line != "worker departed" {
            left.push(line);
        }
    }
    assert!(left.iter().all(|line| line.contains("idle") && !line.starts_with("c3")), "{left:?}");
    server.quit();
}

#[test]
fn a_stopped_client_costs_the_server_no_memory_and_the_others_no_time() {
    const WORKERS: usize = 8;
    let args = ["--heartbeat-timeout", "60", "--gather-timeout", "1"];
    let mut server = Server::start(SERVER, WORKERS, "flood", &args);
    let clients: Vec<Client> = (1..=WORKERS)
        .map(|n| Client::start(CLIENT, &server.address, &format!("c{n}"), 1))
        .collect();
    server.ready(WORKERS);
    let mut rounds = || {
        let (lines, _) = server.run();
        let line =
            lines.iter().find_map(|line| line.strip_prefix("error: ")?.strip_suffix(" rounds"));
        let rounds: u64 = line.and_then(|rounds| rounds.parse().ok()).expect("a number of rounds");
        (rounds, server.resident_kib() >> 10)
    };
    let (all, _) = rounds();
    clients[0].0.signal("STOP");
    let (without_one, mib) = rounds();
    clients[0].0.signal("CONT");
    assert!(without_one >= all / 4, "{without_one} rounds instead of {all}");
    // Of 1 MiB each, and none is kept for the one that does not read.
    assert!(mib < 128 && without_one > 0, "{mib} MiB after {without_one} rounds");
    server.quit();
    clients.into_iter().for_each(Client::ends_well);
}
