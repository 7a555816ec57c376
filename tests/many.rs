//! Many workers: behind few clients, and with a client each.

use dp_tests::{Client, Server};

const SERVER: &str = env!("CARGO_BIN_EXE_dp-tests-server");
const CLIENT: &str = env!("CARGO_BIN_EXE_dp-tests-client");

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
