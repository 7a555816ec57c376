//! Many workers: behind few clients, and with a client each.

use dp_tests::{Client, Server};

use crate::{CLIENT, SERVER};

fn come_up_run_and_quit(clients: usize, workers_each: usize) {
    let all = clients * workers_each;
    let mut server = Server::start(SERVER, all, "greet", &[]);
    let clients: Vec<Client> = (1..=clients)
        .map(|n| Client::start(CLIENT, &server.address, &format!("c{n}"), workers_each))
        .collect();
    server.ready(all);
    let (lines, ok) = server.run();
    assert!(ok);
    assert_eq!(lines.len(), 2 * all);
    server.quit();
    clients.into_iter().for_each(Client::ends_well);
}

#[test]
fn workers_512_behind_8_clients() {
    come_up_run_and_quit(8, 64);
}

#[test]
fn workers_512_with_a_client_each() {
    come_up_run_and_quit(512, 1);
}

#[test]
fn workers_512_and_a_client_killed_at_a_random_moment_of_100_barriers() {
    let mut server = Server::start(SERVER, 512, "meet", &[]);
    let mut clients: Vec<Client> =
        (1..=8).map(|n| Client::start(CLIENT, &server.address, &format!("c{n}"), 64)).collect();
    server.ready(512);
    server.type_line("/run");
    // Where the run is over before, this shows only that the end of idle workers is survived.
    let moment = u64::from(std::process::id() % 300);
    std::thread::sleep(std::time::Duration::from_millis(moment));
    clients[4].0.kill();
    let mut lines = Vec::new();
    let ok = loop {
        match server.line() {
            line if line == "ok" => break true,
            line if line == "failed" => break false,
            line => lines.push(line),
        }
    };
    if !ok {
        let failure = lines.iter().find(|line| line.starts_with("error: ")).expect("an error");
        // Of one that is gone before the call goes out it is known that nothing was executed.
        let gone = ["c5/[1-64] lost: ", "c5/[1-64] not sent: client c5 is gone (not executed)"];
        assert!(gone.iter().any(|gone| failure.contains(gone)), "{failure}");
        // The others were told whom they missed, and did not hang.
        let told = "barrier `round`: missing c5/";
        let unaffected =
            !failure.contains("of 512 workers failed") || failure.contains("64 of 512");
        assert!(failure.contains(told) || unaffected, "{failure}");
    }
    server.quit();
    clients.remove(4);
    clients.into_iter().for_each(Client::ends_well);
}

#[test]
fn workers_512_meet_100_times() {
    let mut server = Server::start(SERVER, 512, "meet", &[]);
    let clients: Vec<Client> =
        (1..=8).map(|n| Client::start(CLIENT, &server.address, &format!("c{n}"), 64)).collect();
    server.ready(512);
    let (lines, ok) = server.run();
    assert!(ok);
    assert_eq!(lines.len(), 51_200);
    server.quit();
    clients.into_iter().for_each(Client::ends_well);
}
