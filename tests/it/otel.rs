//! Spans of all programs, as a collector of OpenTelemetry gets them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use dp_tests::{Program, Server};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use crate::{CLIENT, SERVER};

/// A collector: takes what is exported to it, and gives the spans with the service that they are of.
struct Collector {
    endpoint: String,
    spans: Receiver<(String, Span)>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (sender, spans) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let sender = sender.clone();
                thread::spawn(move || while serve(stream.as_ref().unwrap(), &sender).is_some() {});
            }
        });
        Self { endpoint, spans }
    }
}

/// One request; `None` at the end of the connection.
fn serve(stream: &TcpStream, spans: &Sender<(String, Span)>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        (reader.read_line(&mut head).ok()? > 0).then_some(())?;
    }
    assert!(head.starts_with("POST /v1/traces "), "{head}");
    let length = head.to_lowercase();
    let length = length.split_once("content-length: ").unwrap().1.lines().next().unwrap().parse();
    let mut body = vec![0; length.unwrap()];
    reader.read_exact(&mut body).ok()?;
    for resource in ExportTraceServiceRequest::decode(&body[..]).unwrap().resource_spans {
        let attributes = resource.resource.unwrap().attributes;
        let service = attributes.into_iter().find(|one| one.key == "service.name").unwrap();
        let Some(Value::StringValue(service)) = service.value.unwrap().value else { panic!() };
        for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            let _ = spans.send((service.clone(), span));
        }
    }
    let mut writer = stream;
    writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok()
}

#[test]
fn a_run_is_one_trace_from_the_console_to_the_workers_and_back() {
    let collector = Collector::start();
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.as_str());
    let args = ["--bind", "127.0.0.1:0", "--workers", "2"];
    let env = [endpoint, ("DP_TESTS_RUN", "meet")];
    let mut program = Program::start(SERVER.as_ref(), &args, &env);
    let line = program.error_line("listening on ");
    let address = line.split("listening on ").nth(1).unwrap().trim().to_owned();
    let mut server = Server { program, address };
    let mut clients = ["a", "b"].map(|id| {
        let args = ["--server", server.address.as_str(), "--id", id];
        let env = [endpoint, ("OTEL_SERVICE_NAME", id)];
        Program::start(CLIENT.as_ref(), &args, &env)
    });
    server.ready(2);
    assert!(server.run().1, "{}", server.all_errors());
    server.quit();
    assert!(clients.iter_mut().all(|client| client.wait().success()));

    // All of it was exported before the programs ended.
    let mut spans: BTreeMap<(String, String), Vec<Span>> = BTreeMap::new();
    while let Ok((service, span)) = collector.spans.recv_timeout(Duration::from_millis(500)) {
        // The workers were built before there was a run.
        if span.name.starts_with("build ") {
            continue;
        }
        spans.entry((service, span.name.clone())).or_default().push(span);
    }
    let of = |service: &str, name: &str| &spans[&(service.to_owned(), name.to_owned())];
    let [run] = &of("subject-server", "run 1")[..] else { panic!("{:?}", spans.keys()) };
    let [call] = &of("subject-server", "call meet")[..] else { panic!("{:?}", spans.keys()) };
    assert!(run.parent_span_id.is_empty());
    assert_eq!(call.parent_span_id, run.span_id);
    for worker in ["a", "b"] {
        let [method] = &of(worker, &format!("meet on {worker}"))[..] else { panic!("{worker}") };
        assert_eq!(method.parent_span_id, call.span_id);
        let functions = of("subject-server", &format!("next for {worker}"));
        assert_eq!(functions.len(), 100);
        assert!(functions.iter().all(|span| span.parent_span_id == method.span_id));
    }
    assert!(spans.values().flatten().all(|span| span.trace_id == run.trace_id));
    let names: Vec<_> = spans.keys().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names.len(), 6, "the framework's own calls are no spans: {names:?}");
}

#[test]
fn what_cannot_be_exported_to_is_an_error_with_the_remedy() {
    for (name, value, remedy) in [
        ("OTEL_TRACES_EXPORTER", "zipkin", "there is only `otlp`"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://lab.example", "begin with http://"),
    ] {
        let mut program = Program::start(SERVER.as_ref(), &["--bind", ":0"], &[(name, value)]);
        program.error_line(remedy);
        assert_eq!(program.wait().code(), Some(1));
    }
}
