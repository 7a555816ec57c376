//! What clients log, shown by a server that asks for it; and the trace that it is a part of.

use dp_tests::{Client, Server};

use crate::{CLIENT, SERVER};

fn with_client(workers: usize, args: &[&str]) -> (Server, Client) {
    let mut server = Server::start(SERVER, workers, "greet", args);
    let client = Client::start(CLIENT, &server.address, "c", workers);
    server.ready(workers);
    (server, client)
}

/// Calls `say` on all of `c`'s workers, and waits for the end of it.
fn say(server: &mut Server, text: &str, times: u32) {
    server.type_line(&format!("/call say {} {times}", serde_json::json!(text)));
    assert_eq!(server.line().rsplit(" → ").next(), Some("null"));
}

#[test]
fn equal_lines_of_workers_are_one_that_names_them_all() {
    let (mut server, client) = with_client(4, &["--forward-logs", "warn"]);
    // On a machine that is busy with other things they may come too far apart.
    let folded = (0..20).any(|attempt| {
        let text = format!("the disk is full, {attempt}");
        say(&mut server, &text, 1);
        let line = server.error_line(&text);
        assert!(line.contains("WARN c/") && line.ends_with(" times=1"), "{line}");
        line.contains(&format!("WARN c/[1-4]: {text}"))
    });
    assert!(folded, "{}", server.all_errors());
    server.type_line("/quit");
    assert!(server.wait().success());
    assert!(!server.all_errors().contains("details"), "{}", server.all_errors());
    client.ends_well();
}

#[test]
fn spawned_tasks_of_a_method_and_the_last_lines_are_its_own_too() {
    let (mut server, client) = with_client(1, &["--forward-logs", "debug"]);
    say(&mut server, "almost over\n\u{1b}[2J", 1);
    server.type_line("/quit");
    server.error_line("DEBUG c: details");
    // A worker cannot make a line of its own, or clear a screen.
    server.error_line("WARN c: almost over\\n\\u{1b}[2J times=1");
    assert!(server.wait().success());
    client.ends_well();
}

#[test]
fn a_client_sends_nothing_that_nobody_has_asked_for() {
    let (mut server, mut client) = with_client(1, &[]);
    say(&mut server, "between ourselves", 1);
    client.0.error_line("between ourselves");
    server.type_line("/quit");
    assert!(server.wait().success());
    assert!(!server.all_errors().contains("between ourselves"));
    client.ends_well();
}

#[test]
fn what_is_more_than_the_server_takes_is_counted() {
    let (mut server, client) = with_client(1, &["--forward-logs", "info", "--max-log-lines", "10"]);
    say(&mut server, "again and again", 5_000);
    let line = server.error_line("were dropped");
    assert!(line.contains("WARN c: 49") && line.contains("--max-log-lines"), "{line}");
    server.quit();
    client.ends_well();
}

#[test]
fn forwarding_is_not_forwarded() {
    let (mut server, client) = with_client(1, &["--forward-logs", "trace", "-vv"]);
    say(&mut server, "one", 1);
    server.error_line("DEBUG c: details");
    say(&mut server, "two", 1);
    server.error_line("WARN c: two");
    server.type_line("/quit");
    assert!(server.wait().success());
    let forwarded = server.all_errors().lines().filter(|line| line.contains(" c: ")).count();
    assert!((4..100).contains(&forwarded), "{}", server.all_errors());
    client.ends_well();
}

/// The trace that a line of a client's log says that it is a part of.
fn trace_of(client: &mut Client, text: &str) -> Option<String> {
    let line = client.0.error_line(text);
    let trace = line.split_once("trace_id=")?.1;
    Some(trace.chars().take_while(char::is_ascii_hexdigit).collect())
}

#[test]
fn lines_of_one_run_are_of_one_trace_on_all_workers_if_anybody_looks() {
    for (looks, option) in [(true, "-v"), (false, "--insecure")] {
        let mut server = Server::start(SERVER, 2, "say", &[option]);
        let mut clients =
            ["a", "b"].map(|id| Client::start_with(CLIENT, &server.address, id, 1, &["-v"]));
        server.ready(2);
        assert!(server.run().1 && server.run().1);
        let mut traces = Vec::new();
        for client in &mut clients {
            let line = client.0.error_line("hello");
            assert!(line.contains("method=say") && line.contains("call="), "{line}");
            let (first, second) = (trace_of(client, "hello"), trace_of(client, "goodbye"));
            assert_eq!(first.is_some() && first == second, looks, "{line}");
            traces.push(first);
        }
        assert_eq!(traces[0].is_some() && traces[0] == traces[1], looks, "{traces:?}");
        server.quit();
        clients.into_iter().for_each(Client::ends_well);
    }
}
