//! The console of a server, over real connections, driven through pipes.

use crate::common::{
    Failing, Greeter, Idle, Panicking, SelfDriven, Sleeper, Typist, client, columns, server, soon,
};
use dp_server::{ConsoleError, OutputFormat, Server};
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn a_session_from_arrival_to_quit() {
    let server = server::<Greeter>(2).await;
    let clients = [client(&server, "c1", 1), client(&server, "c2", 1)];
    let mut typist = Typist::at(server);
    typist.expects(&["new worker arrived", "new worker arrived", "ready to run"]).await;
    typist.types("/run\n").await;
    let results = typist.until("ok").await;
    let results: Vec<_> = results.iter().map(|line| columns(line)).collect();
    assert_eq!(results, [("c1", "greeted Ada"), ("c2", "greeted Ada")]);
    typist.types("/quit\n").await;
    let (rest, outcome) = typist.leaves().await;
    assert!(rest.is_empty(), "{rest:?}");
    outcome.unwrap();
    for client in clients {
        soon("the end of a client", client).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn every_worker_of_a_client_is_announced() {
    let server = server::<Greeter>(4).await;
    let client = client(&server, "c1", 4);
    let mut typist = Typist::at(server);
    typist.expects(&["new worker arrived"; 4]).await;
    typist.expects(&["ready to run"]).await;
    client.abort();
    typist.expects(&["worker departed"; 4]).await;
    typist.leaves().await.1.unwrap();
}

#[tokio::test]
async fn who_joined_before_the_console_began_is_announced() {
    let server = server::<Greeter>(2).await;
    let _client = client(&server, "c1", 2);
    soon("ready", server.ready()).await.unwrap();
    let mut typist = Typist::at(server);
    typist.expects(&["new worker arrived", "new worker arrived", "ready to run"]).await;
}

#[tokio::test]
async fn ready_is_said_again_when_a_worker_was_lost_and_another_came() {
    let server = server::<Greeter>(2).await;
    let _first = client(&server, "c1", 1);
    let second = client(&server, "c2", 1);
    let address = server.local_addr().to_string();
    let mut typist = Typist::at(server);
    typist.expects(&["new worker arrived", "new worker arrived", "ready to run"]).await;
    second.abort();
    typist.expects(&["worker departed"]).await;
    typist.types("/run\n").await;
    let error = typist.reads().await.unwrap();
    assert!(error.starts_with("error: ") && error.contains("1 more worker is needed"), "{error}");
    let third = dp_client::Client::<Greeter>::builder().server(address).id("c3").run();
    let _third = tokio::spawn(third);
    typist.expects(&["new worker arrived", "ready to run"]).await;
}

#[tokio::test]
async fn a_pipe_may_write_everything_at_once() {
    let server = server::<Greeter>(1).await;
    let _client = client(&server, "c1", 1);
    soon("ready", server.ready()).await.unwrap();
    let mut typist = Typist::at(server);
    typist.types("/freq 2.5\r\n/run\r\n\r\n/freq\r\n/reset\r\n/results\r\n/run\r\n/quit").await;
    let (lines, outcome) = typist.leaves().await;
    outcome.unwrap();
    let mut short: Vec<_> = lines.iter().map(|line| line.rsplit('\t').next().unwrap()).collect();
    // It only asks, and is answered when it is read.
    let asked = short.iter().position(|line| *line == "2.5").unwrap();
    assert!(asked >= 2, "{short:?}");
    short.remove(asked);
    let expected = ["new worker arrived", "ready to run", "greeted Ada", "ok", "greeted Ada", "ok"];
    assert_eq!(short, expected);
}

#[tokio::test]
async fn results_stay_until_they_are_reset_or_the_next_run_begins() {
    let server = server::<Greeter>(1).await;
    let _client = client(&server, "c1", 1);
    let mut typist = Typist::at(server);
    typist.until("ready to run").await;
    for _ in 0..2 {
        typist.types("/run\n").await;
        assert_eq!(typist.until("ok").await.len(), 1);
        typist.types("/results\n/freq\n").await;
        assert_eq!(typist.until("1").await.len(), 1);
    }
    typist.types("/reset\n/results\n/freq\n").await;
    typist.expects(&["1"]).await;
}

#[tokio::test]
async fn what_is_no_command_is_answered_with_one_error_line() {
    let server = server::<Greeter>(1).await;
    let mut typist = Typist::at(server);
    for (input, part) in [
        ("hello\n", "`hello` is not a command"),
        ("/rnu\n", "did you mean `/run`?"),
        ("/freq fast\n", "a number above 0"),
        ("/freq 0\n", "a number above 0"),
        ("/quit now\n", "takes no argument"),
        ("/run\n", "1 more worker is needed (0 of 1 have joined)"),
    ] {
        typist.types(input).await;
        let line = typist.reads().await.unwrap();
        assert!(line.starts_with("error: ") && line.contains(part), "{input:?}: {line}");
    }
    typist.types(b"\xff\xfe\n").await;
    assert!(typist.reads().await.unwrap().contains("UTF-8"));
    typist.types("x".repeat(100_000)).await;
    typist.types("\n").await;
    assert!(typist.reads().await.unwrap().contains("at most 65536 bytes"));
    let (rest, outcome) = typist.leaves().await;
    assert!(rest.is_empty(), "{rest:?}");
    outcome.unwrap();
}

#[tokio::test]
async fn a_failing_run_says_why_and_keeps_the_results() {
    let server = server::<Failing>(2).await;
    let _client = client(&server, "c1", 2);
    let mut typist = Typist::at(server);
    typist.until("ready to run").await;
    typist.types("/run\n").await;
    let lines = typist.until("failed").await;
    assert_eq!(lines[0], "error: cannot set up: disk full");
    let results: Vec<_> = lines[1..].iter().map(|line| columns(line)).collect();
    assert_eq!(results, [("c1/1", "got this far"), ("c1/2", "got this far")]);
}

#[tokio::test]
async fn a_run_of_the_workers_own_names_those_that_failed() {
    let server = server::<SelfDriven>(3).await;
    let _client = client(&server, "c1", 3);
    let mut typist = Typist::at(server);
    typist.until("ready to run").await;
    typist.types("/run\n").await;
    let lines = typist.until("failed").await;
    assert_eq!(lines[0], "error: 1 of 3 workers failed: c1/2 failed: disk full");
    assert_eq!(lines.len(), 4, "{lines:?}");
}

#[tokio::test]
async fn a_panicking_schedule_is_a_failure_like_any_other() {
    let server = server::<Panicking>(1).await;
    let _client = client(&server, "c1", 1);
    let mut typist = Typist::at(server);
    typist.until("ready to run").await;
    for _ in 0..2 {
        typist.types("/run\n").await;
        let lines = typist.until("failed").await;
        assert_eq!(lines[0], "error: schedule panicked: out of luck");
        assert_eq!(lines.len(), 2, "{lines:?}");
    }
    typist.leaves().await.1.unwrap();
}

#[tokio::test]
async fn a_worker_without_run_says_so() {
    let server = server::<Idle>(1).await;
    let _client = client(&server, "c1", 1);
    let mut typist = Typist::at(server);
    typist.until("ready to run").await;
    typist.types("/run\n").await;
    let line = typist.reads().await.unwrap();
    assert!(line.starts_with("error: this worker has no `run`"), "{line}");
}

#[tokio::test]
async fn arrivals_and_losses_are_said_during_a_run_which_names_who_was_lost() {
    let server = server::<Sleeper>(2).await;
    let address = server.local_addr().to_string();
    let (_first, second) = (client(&server, "c1", 1), client(&server, "c2", 1));
    let mut typist = Typist::at(server);
    typist.until("ready to run").await;
    typist.types("/run\n").await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let third = dp_client::Client::<Sleeper>::builder().server(address).id("c3").run();
    let _third = tokio::spawn(third);
    typist.expects(&["new worker arrived"]).await;
    second.abort();
    typist.expects(&["worker departed"]).await;
    let lines = typist.until("failed").await;
    assert!(lines[0].starts_with("error: 1 of 2 workers failed: c2 lost: "), "{lines:?}");
    assert!(lines[1].starts_with("error: c2 lost during the run: "), "{lines:?}");
    assert_eq!(columns(&lines[2]), ("c1", "asleep"));
    // The lost one may have told before that it was.
    assert!(lines[3..].iter().all(|line| columns(line) == ("c2", "asleep")), "{lines:?}");
    assert!(lines.len() <= 4, "{lines:?}");
}

#[tokio::test]
async fn workers_are_listed_with_address_version_and_what_they_do() {
    let server = server::<Greeter>(2).await;
    let _client = client(&server, "c1", 2);
    let master = soon("ready", server.ready()).await.unwrap();
    let mut typist = Typist::at(server);
    typist.until("ready to run").await;
    let busy = master.workers()[1].linger(60_000);
    let busy = tokio::spawn(busy.into_future());
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    typist.types("/workers\n").await;
    let lines = [typist.reads().await.unwrap(), typist.reads().await.unwrap()];
    let fields: Vec<Vec<_>> = lines.iter().map(|line| line.split('\t').collect()).collect();
    assert_eq!((fields[0][0], fields[1][0]), ("c1/1", "c1/2"));
    assert!(fields[0][1].starts_with("127.0.0.1:"), "{lines:?}");
    assert_eq!(fields[0][2], env!("CARGO_PKG_VERSION"));
    assert_eq!(fields[0][3], "idle");
    let running = fields[1][3];
    assert!(running.starts_with("running linger for 0.") && running.ends_with(" s"), "{running}");
    busy.abort();
}

#[tokio::test]
async fn help_lists_every_command() {
    let mut typist = Typist::at(server::<Greeter>(1).await);
    typist.types("/help\n").await;
    let (lines, _) = typist.leaves().await;
    let names: Vec<_> = lines.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(
        names,
        [
            "/run", "/results", "/reset", "/freq", "/workers", "/methods", "/call", "/save",
            "/cancel", "/kick", "/help", "/quit"
        ]
    );
}

#[tokio::test]
async fn json_output_is_one_object_a_line() {
    let server = Server::<Greeter>::builder()
        .bind("127.0.0.1:0")
        .output(OutputFormat::Json)
        .start()
        .await
        .unwrap();
    let _client = client(&server, "c1", 1);
    soon("ready", server.ready()).await.unwrap();
    let mut typist = Typist::at(server);
    typist.types("/run\n").await;
    let mut lines = typist.until("{\"ok\":true}").await;
    lines.push("{\"ok\":true}".to_owned());
    typist.types("/freq\n/workers\n/rnu\n/quit\n").await;
    let (rest, outcome) = typist.leaves().await;
    outcome.unwrap();
    lines.extend(rest);
    let lines: Vec<serde_json::Value> =
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0], serde_json::json!({"event": "new worker arrived", "worker": "c1"}));
    assert_eq!(lines[1], serde_json::json!({"event": "ready to run", "workers": 1}));
    assert_eq!(lines[2]["result"]["worker"], "c1");
    assert_eq!(lines[2]["result"]["message"], "greeted Ada");
    let time = lines[2]["result"]["time"].as_str().unwrap();
    assert!(time.contains('T') && time.ends_with('Z'), "{time}");
    assert_eq!(lines[3], serde_json::json!({"ok": true}));
    assert_eq!(lines[4], serde_json::json!({"frequency": 1.0}));
    assert_eq!(lines[5]["worker"]["id"], "c1");
    assert_eq!(lines[5]["worker"]["running"], serde_json::Value::Null);
    assert!(lines[6]["error"].as_str().unwrap().contains("/run"));
    assert_eq!(lines.len(), 7);
}

#[tokio::test]
async fn input_and_output_may_be_borrowed() {
    let server = server::<Greeter>(1).await;
    let _client = client(&server, "c1", 1);
    soon("ready", server.ready()).await.unwrap();
    let (input, mut output) = ("/run".to_owned(), Vec::new());
    server.console(input.as_bytes(), &mut output).await.unwrap();
    let output = String::from_utf8(output).unwrap();
    assert_eq!(output.lines().last(), Some("ok"));
    assert_eq!(output.lines().count(), 4);
    // The console ended with its input, and the server did not.
    assert!(server.run().await.unwrap().is_ok());
}

#[tokio::test]
async fn an_output_that_nobody_reads_any_more_ends_the_console() {
    let typist = Typist::at(server::<Greeter>(1).await);
    let (mut input, console) = typist.turns_away();
    input.write_all(b"/help\n").await.unwrap();
    let outcome = soon("the end of the console", console).await.unwrap();
    assert!(matches!(outcome, Err(ConsoleError::Output(_))), "{outcome:?}");
}
