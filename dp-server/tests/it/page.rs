//! The live page as a program sees it: HTTP on a real socket.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use crate::common::{Endless, Measuring, Toolbox, Typist, client, soon};
use dp_core::DistributedWorker;
use dp_server::{Server, StartError, Token};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn server<W: DistributedWorker<Server = ()>>(workers: usize) -> Server<W> {
    let builder = Server::<W>::builder().bind("127.0.0.1:0").workers(workers);
    builder.page("127.0.0.1:0").start().await.unwrap()
}

/// Sends a request, and gives the status and the body of the answer.
async fn ask(page: SocketAddr, line: &str, more: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(page).await.unwrap();
    let request = format!(
        "{line} HTTP/1.1\r\nHost: {page}\r\nConnection: close\r\nContent-Length: {}\r\n{more}\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    soon("an answer", stream.read_to_end(&mut answer)).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

async fn get(page: SocketAddr, path: &str) -> (u16, String) {
    ask(page, &format!("GET {path}"), "", "").await
}

async fn post(page: SocketAddr, path: &str, body: &Value) -> (u16, Value) {
    let kind = "Content-Type: application/json\r\n";
    let (status, answer) = ask(page, &format!("POST {path}"), kind, &body.to_string()).await;
    (status, serde_json::from_str(&answer).unwrap())
}

/// The events of the page, from the first on.
struct Events(TcpStream, String);

impl Events {
    async fn of(page: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(page).await.unwrap();
        let request = format!("GET /api/events HTTP/1.1\r\nHost: {page}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        Self(stream, String::new())
    }

    async fn next(&mut self) -> Value {
        loop {
            let begin = self.1.find("data: ");
            let end = begin.and_then(|begin| self.1[begin..].find("\n\n").map(|end| begin + end));
            if let (Some(begin), Some(end)) = (begin, end) {
                // Chunks of the transfer encoding begin and end where events do.
                let event = serde_json::from_str(&self.1[begin + 6..end]).unwrap();
                self.1.drain(..end);
                return event;
            }
            let mut bytes = [0; 4096];
            let read = soon("an event", self.0.read(&mut bytes)).await.unwrap();
            assert!(read > 0, "the events end: {}", self.1);
            self.1.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        }
    }

    async fn until(&mut self, holds: impl Fn(&Value) -> bool) -> Value {
        loop {
            let event = self.next().await;
            if holds(&event) {
                return event;
            }
        }
    }
}

#[tokio::test]
async fn a_run_is_started_and_followed_and_its_results_are_there() {
    let server = server::<Measuring>(2).await;
    let page = server.page_addr().unwrap();
    let (status, answer) = post(page, "/api/run", &json!({})).await;
    assert_eq!(status, 409);
    assert!(answer["error"].as_str().unwrap().starts_with("not ready to run: 2 more"), "{answer}");

    let _client = client(&server, "c", 2);
    soon("ready", server.ready()).await.unwrap();
    let mut typist = Typist::at(server);
    typist.until("ready to run").await;
    let mut events = Events::of(page).await;
    let first = events.next().await;
    assert_eq!((&first["worker"], &first["run"]), (&json!("Measuring"), &Value::Null));
    assert_eq!(first["cells"][1][0], "c/2");

    assert_eq!(post(page, "/api/run", &json!({})).await, (200, json!({})));
    typist.expects(&["run started from the page", "run from the page: ok"]).await;
    let over =
        events.until(|event| event["past"].as_array().is_some_and(|past| past.len() == 1)).await;
    assert_eq!((&over["past"][0]["ok"], &over["past"][0]["page"]), (&json!(true), &json!(true)));
    assert_eq!(over["past"][0]["metrics"][1]["count"], 1000);
    let results: Value = serde_json::from_str(&get(page, "/api/results").await.1).unwrap();
    assert_eq!(
        (&results["total"], &results["folded"]),
        (&json!(2), &json!([["c/[1-2]", 2, "measured"]]))
    );
    let (status, report) = get(page, "/api/report?csv").await;
    assert!(status == 200 && report.contains("metric,fetch,count,1000,"), "{report}");

    let (status, metrics) = get(page, "/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "dp_workers 2 ",
        "dp_calls_total{method=\"measure\",outcome=\"ok\"} 2 ",
        "dp_call_duration_seconds_count{method=\"measure\"} 2 ",
        "dp_recorded_duration_seconds_bucket{metric=\"fetch\",le=\"0.1\"} 100 ",
        "dp_recorded_duration_seconds_count{metric=\"fetch\"} 1000 ",
        "dp_recorded_duration_seconds_count{metric=\"a\\nb\"} 2 ",
        "dp_runs_total{end=\"ok\"} 1 ",
        "dp_client_arrivals_total 1 ",
    ] {
        assert!(metrics.contains(&format!("\n{line}")), "{line} is missing in\n{metrics}");
    }
    promtool(&metrics);
}

/// What Prometheus's own tool has to say of it, where that is installed.
fn promtool(metrics: &str) {
    let mut command = Command::new("promtool");
    let command = command.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else { return };
    child.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let said = child.wait_with_output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

#[tokio::test]
async fn the_page_and_the_console_cannot_run_at_once_and_either_can_cancel() {
    let server = server::<Endless>(1).await;
    let page = server.page_addr().unwrap();
    let _client = client(&server, "c", 1);
    let mut typist = Typist::at(server);
    typist.until("ready to run").await;
    assert_eq!(post(page, "/api/run", &json!({})).await.0, 200);
    typist.expects(&["run started from the page"]).await;
    typist.types("/run\n/reset\n").await;
    typist
        .expects(&["error: a run is under way already: wait until it has ended, or `/cancel` it"])
        .await;
    typist.expects(&["error: a run is under way: what it records is not to be flushed"]).await;
    for action in ["/api/run", "/api/reset"] {
        assert_eq!(post(page, action, &json!({})).await.0, 409, "{action}");
    }
    typist.types("/cancel\n").await;
    typist.expects(&["run from the page: failed"]).await;
    assert_eq!(post(page, "/api/cancel", &json!({})).await.0, 409);

    typist.types("/run\n").await;
    let mut events = Events::of(page).await;
    let running = events.until(|event| event["run"].is_object()).await;
    assert_eq!(running["run"]["page"], false);
    assert_eq!(post(page, "/api/cancel", &json!({})).await.0, 200);
    typist.until("failed").await;
}

#[tokio::test]
async fn methods_are_called_with_json_and_mistakes_are_named() {
    let server = server::<Toolbox>(2).await;
    let page = server.page_addr().unwrap();
    let _client = client(&server, "c", 2);
    soon("ready", server.ready()).await.unwrap();
    let call = async |body: Value| post(page, "/api/call", &body).await;
    let (_, answer) = call(json!({"method": "delicate"})).await;
    let failed = json!({"workers": "c/2", "ok": false, "value": "failed: disk full"});
    assert_eq!(answer["outcomes"], json!([{"workers": "c/1", "ok": true, "value": "7"}, failed]));
    let (_, answer) =
        call(json!({"method": "hello", "arguments": ["A", 1], "worker": "c/1"})).await;
    assert_eq!(answer["outcomes"][0]["value"], "[\"hello A\"]");
    let uneven = json!({"method": "uneven", "timeout": 0.1});
    assert!(call(uneven).await.1["outcomes"][1]["value"].as_str().unwrap().contains("100"));
    for (wrong, named) in [
        (json!({"method": "hello", "arguments": [1]}), "hello(name: &str, times: u8)"),
        (json!({"method": "nothing"}), "there is no method `nothing`"),
        (json!({"method": "delicate", "worker": "x"}), "there is no worker x"),
        (json!({}), "missing field `method`"),
    ] {
        let (status, answer) = call(wrong).await;
        assert_eq!(status, 409);
        assert!(answer["error"].as_str().unwrap().contains(named), "{answer}");
    }
    assert_eq!(post(page, "/api/frequency", &json!({"hz": 2.5})).await.0, 200);
    assert_eq!(post(page, "/api/frequency", &json!({"hz": 0})).await.0, 409);
    assert!((server.master().frequency() - 2.5).abs() < 1e-9);
    let long = json!({"method": "x".repeat(2 << 20)});
    let mut stream = TcpStream::connect(page).await.unwrap();
    let head =
        format!("POST /api/call HTTP/1.1\r\nHost: {page}\r\nContent-Type: application/json\r\n");
    let request = format!("{head}Content-Length: {}\r\n\r\n{long}", long.to_string().len());
    // It may hang up before it has all of it.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(&status[9..], b"413");
}

#[tokio::test]
async fn browsers_that_do_not_read_keep_nobody_waiting_and_too_many_are_refused() {
    let server = server::<Measuring>(1).await;
    let page = server.page_addr().unwrap();
    let _client = client(&server, "c", 1);
    soon("ready", server.ready()).await.unwrap();
    let mut idle = Vec::new();
    for _ in 0..64 {
        let mut events = Events::of(page).await;
        let mut status = [0; 12];
        soon("a status", events.0.read_exact(&mut status)).await.unwrap();
        assert_eq!(&status[9..], b"200");
        idle.push(events);
    }
    assert_eq!(get(page, "/api/events").await.0, 503);
    for _ in 0..5 {
        assert!(soon("a run", server.run()).await.unwrap().is_ok());
    }
    idle.pop();
    // Once it is noticed that it is gone there is room for another.
    loop {
        let mut events = Events::of(page).await;
        let mut status = [0; 12];
        soon("a status", events.0.read_exact(&mut status)).await.unwrap();
        if &status[9..] == b"200" {
            break;
        }
    }
}

#[tokio::test]
async fn other_machines_can_open_it_only_with_a_token() {
    let builder = || Server::<Measuring>::builder().bind("127.0.0.1:0");
    let open = builder().page("0.0.0.0:0").start().await;
    assert!(matches!(open, Err(StartError::PageExposed { .. })), "{open:?}");
    let open = builder().metrics("0.0.0.0:0").start().await;
    assert!(matches!(open, Err(StartError::PageExposed { .. })), "{open:?}");
    let token = Token::new("a secret that nobody guesses").unwrap();
    let server = builder().token(token).page("0.0.0.0:0").start().await.unwrap();
    let page = SocketAddr::from(([127, 0, 0, 1], server.page_addr().unwrap().port()));
    for path in ["/api/events", "/api/results", "/metrics", "/nothing"] {
        assert_eq!(get(page, path).await.0, 401, "{path}");
    }
    assert_eq!(post(page, "/api/run", &json!({})).await.0, 401);
    let given = "Authorization: Bearer a secret that nobody guesses\r\n";
    assert_eq!(ask(page, "GET /metrics", given, "").await.0, 200);
    let (status, html) = get(page, "/").await;
    assert!(status == 200 && html.starts_with("<!doctype html>"));
}

#[tokio::test]
async fn metrics_alone_are_served_without_the_page() {
    let builder = Server::<Measuring>::builder().bind("127.0.0.1:0").metrics("127.0.0.1:0");
    let server = builder.start().await.unwrap();
    let metrics = server.metrics_addr().unwrap();
    assert_eq!(server.page_addr(), None);
    assert_eq!(get(metrics, "/metrics").await.0, 200);
    assert_eq!(get(metrics, "/").await.0, 404);
    assert_eq!(post(metrics, "/api/run", &json!({})).await.0, 404);
    drop(server);
    // The port is free again, very soon.
    while TcpStream::connect(metrics).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn strangers_who_neither_ask_nor_read_keep_nobody_out() {
    let token = Token::new("a secret that nobody guesses").unwrap();
    let server = Server::<Measuring>::builder().bind("127.0.0.1:0").token(token);
    let server = server.page("127.0.0.1:0").start().await.unwrap();
    let page = server.page_addr().unwrap();
    let given = "Authorization: Bearer a secret that nobody guesses\r\n";
    // One that may ask, and watches.
    let mut watching = TcpStream::connect(page).await.unwrap();
    let request = format!("GET /api/events HTTP/1.1\r\nHost: {page}\r\n{given}\r\n");
    watching.write_all(request.as_bytes()).await.unwrap();
    soon("a status", watching.read_exact(&mut [0; 12])).await.unwrap();
    let ways = [
        String::new(),
        "GET / HTT".to_owned(),
        format!("GET /page.js HTTP/1.1\r\nHost: {page}\r\n\r\n").repeat(50),
        format!(
            "POST /api/run HTTP/1.1\r\nHost: {page}\r\nContent-Type: application/json\r\n\
             Content-Length: 9\r\n\r\n{{"
        ),
    ];
    let mut strangers = Vec::new();
    for way in ways.iter().cycle().take(300) {
        let mut stream = TcpStream::connect(page).await.unwrap();
        let _ = stream.write_all(way.as_bytes()).await;
        strangers.push(stream);
    }
    assert_eq!(ask(page, "GET /metrics", given, "").await.0, 200);
    assert_eq!(get(page, "/").await.0, 200);
    // Who watches is not among those that had to go.
    soon("an event", watching.read_exact(&mut [0; 64])).await.unwrap();
}

#[tokio::test]
async fn a_body_that_does_not_end_is_given_up() {
    let server = server::<Measuring>(1).await;
    let page = server.page_addr().unwrap();
    let mut stream = TcpStream::connect(page).await.unwrap();
    let request = format!(
        "POST /api/run HTTP/1.1\r\nHost: {page}\r\nContent-Type: application/json\r\n\
         Content-Length: 9\r\n\r\n{{"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    soon("the end", stream.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&answer));
}
