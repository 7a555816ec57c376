//! What becomes of runs: cancelled ones, lost workers, metrics.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{
    Coping, Endless, Failing, Greeter, Measuring, SelfDriven, Typist, client, columns, server, soon,
};
use dp_core::CallError;
use dp_server::{OutputFormat, RunError, Server, WorkerEnd};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, duplex};
use tokio::time::sleep;

#[tokio::test]
async fn a_cancelled_run_prints_what_there_is_then_says_so_then_failed() {
    let server = server::<Endless>(2).await;
    let _client = client(&server, "w", 2);
    let mut typist = Typist::at(server);
    typist.until("ready to run").await;
    for _ in 0..2 {
        typist.types("/run\n").await;
        sleep(Duration::from_millis(300)).await;
        typist.types("/cancel\n").await;
        let lines = typist.until("failed").await;
        let results: Vec<_> = lines[..2].iter().map(|line| columns(line)).collect();
        assert_eq!(results, [("w/1", "began"), ("w/2", "began")]);
        assert_eq!(lines[2..], ["error: cancelled"]);
    }
    // The workers were told, and are free.
    typist.types("/workers\n").await;
    for _ in 0..2 {
        assert!(typist.reads().await.unwrap().ends_with("\tidle"));
    }
    typist.leaves().await.1.unwrap();
}

#[tokio::test]
async fn a_pipe_may_write_run_cancel_and_quit_at_once() {
    let server = server::<Endless>(1).await;
    let _client = client(&server, "w", 1);
    soon("ready", server.ready()).await.unwrap();
    let mut typist = Typist::at(server);
    typist.types("/run\n/cancel\n/quit\n").await;
    let (lines, outcome) = typist.leaves().await;
    outcome.unwrap();
    assert_eq!(lines[lines.len() - 2..], ["error: cancelled", "failed"]);
}

#[tokio::test]
async fn a_program_can_cancel_its_run() {
    let server = server::<Endless>(1).await;
    let _client = client(&server, "w", 1);
    soon("ready", server.ready()).await.unwrap();
    assert!(!server.cancel());
    let (report, cancelled) = tokio::join!(server.run(), async {
        sleep(Duration::from_millis(300)).await;
        server.cancel()
    });
    assert!(cancelled && !server.cancel());
    let report = report.unwrap();
    assert!(report.is_cancelled() && !report.is_ok() && report.error().is_none());
    assert_eq!(report.failures(), ["cancelled"]);
    assert_eq!(report.results()[0].message, "began");
    assert_eq!(report.metrics()[0].name(), "begin");
    assert_eq!(report.outcomes()[0].end, WorkerEnd::Stayed);
}

/// Blocks the thread of its schedule.
#[derive(Debug, Default)]
struct Blocking;

#[dp_core::distributed_worker]
impl Blocking {
    #[remote]
    fn nothing(&self) {}

    #[schedule]
    async fn run(&self) {
        std::thread::sleep(Duration::from_secs(4));
        let _ = self.nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_schedule_that_blocks_its_thread_does_not_hold_up_the_cancelling() {
    let server = server::<Blocking>(1).await;
    let _client = client(&server, "w", 1);
    soon("ready", server.ready()).await.unwrap();
    let begun = std::time::Instant::now();
    let (report, _) = tokio::join!(server.run(), async {
        sleep(Duration::from_millis(300)).await;
        server.cancel()
    });
    assert!(begun.elapsed() < Duration::from_millis(3500));
    let failures = report.unwrap().failures().to_vec();
    assert!(failures[0].contains("blocks its thread"), "{failures:?}");
    assert_eq!(failures[1..], ["cancelled"]);
}

#[tokio::test]
async fn a_lost_worker_is_named_with_what_it_had_delivered_also_where_the_schedule_copes() {
    let server = server::<Coping>(3).await;
    let _first = client(&server, "a", 1);
    let second = client(&server, "b", 2);
    let mut typist = Typist::at(server);
    typist.until("ready to run").await;
    typist.types("/run\n").await;
    sleep(Duration::from_millis(500)).await;
    second.abort();
    typist.expects(&["worker departed", "worker departed"]).await;
    let lines = typist.until("failed").await;
    assert!(lines[0].starts_with("error: b/[1-2] lost during the run: "), "{lines:?}");
    let results: Vec<_> = lines[1..].iter().map(|line| columns(line)).collect();
    assert_eq!(results, [("a", "prepared"), ("b/1", "prepared"), ("b/2", "prepared")]);
    // They stay until the next run, like those of everybody.
    typist.types("/results\n/freq\n").await;
    assert_eq!(typist.until("1").await, lines[1..]);
}

#[tokio::test]
async fn a_report_tells_what_became_of_each_worker() {
    let server = server::<Coping>(2).await;
    let (_first, second) = (client(&server, "a", 1), client(&server, "b", 1));
    soon("ready", server.ready()).await.unwrap();
    let address = server.local_addr().to_string();
    let late = tokio::spawn(async move {
        sleep(Duration::from_millis(400)).await;
        second.abort();
        dp_client::Client::<Coping>::builder().server(address).id("c").run().await
    });
    let report = server.run().await.unwrap();
    assert!(!report.is_ok() && report.error().is_none());
    // Who joined during the run is not in it.
    let ids: Vec<_> = report.roster().map(|worker| worker.id().as_str()).collect();
    assert_eq!(ids, ["a", "b"]);
    assert_eq!(report.outcomes()[0].end, WorkerEnd::Stayed);
    let lost: Vec<_> = report.lost().map(|(worker, _)| worker.id().as_str()).collect();
    assert_eq!(lost, ["b"]);
    let missing: Vec<_> = report.missing().map(|worker| worker.id().as_str()).collect();
    assert_eq!(missing, ["b"]);
    assert!(report.failure().unwrap().starts_with("b lost during the run: "));
    // It takes part in the next one.
    let report = soon("the next run", server.run()).await.unwrap();
    let ids: Vec<_> = report.roster().map(|worker| worker.id().as_str()).collect();
    assert_eq!(ids, ["a", "c"]);
    assert!(report.is_ok(), "{:?}", report.failures());
    late.abort();
}

#[tokio::test]
async fn a_report_tells_on_whom_a_run_of_the_workers_own_failed() {
    let server = server::<SelfDriven>(3).await;
    let _client = client(&server, "w", 3);
    soon("ready", server.ready()).await.unwrap();
    let report = server.run().await.unwrap();
    let ends: Vec<_> = report.outcomes().iter().map(|outcome| &outcome.end).collect();
    let disk_full = CallError::Failed { message: "disk full".to_owned(), chain: vec![] };
    assert_eq!(ends, [&WorkerEnd::Stayed, &WorkerEnd::Failed(disk_full), &WorkerEnd::Stayed]);
    assert_eq!(report.error(), Some("1 of 3 workers failed: w/2 failed: disk full"));
}

#[tokio::test]
async fn metrics_are_a_table_where_that_is_wanted_and_nothing_elsewhere() {
    for wanted in [true, false] {
        let server = Server::<Measuring>::builder().bind("127.0.0.1:0").workers(2);
        let server = server.metrics_table(wanted).start().await.unwrap();
        let _client = client(&server, "w", 2);
        let mut typist = Typist::at(server);
        typist.until("ready to run").await;
        typist.types("/run\n").await;
        let lines = typist.until("ok").await;
        assert_eq!((columns(&lines[0]).1, columns(&lines[1]).1), ("measured", "measured"));
        if !wanted {
            assert_eq!(lines.len(), 2);
            continue;
        }
        let cells: Vec<Vec<&str>> =
            lines[2..].iter().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            cells[0],
            ["metric", "count", "min", "mean", "p50", "p90", "p95", "p99", "p99.9", "max", "rate"]
        );
        assert_eq!(cells[1][..3], ["a\\nb", "2", "7.00"]);
        // Of both workers together: 1 ms to 1 s.
        assert_eq!(cells[2][..2], ["fetch", "1000"]);
        assert_eq!(cells[2][2..12].join(" "), "1.00 ms 501 ms 500 ms 900 ms 950 ms");
        assert!(cells[2].last().unwrap().ends_with("/s"));
        let widths: Vec<_> = lines[2..].iter().map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{lines:?}");
    }
}

#[tokio::test]
async fn metrics_are_objects_in_json() {
    let server = Server::<Measuring>::builder().bind("127.0.0.1:0").workers(2);
    let server = server.output(OutputFormat::Json).start().await.unwrap();
    let _client = client(&server, "w", 2);
    soon("ready", server.ready()).await.unwrap();
    let mut typist = Typist::at(server);
    typist.types("/run\n/results\n").await;
    let (lines, _) = typist.leaves().await;
    let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let metrics: Vec<_> = lines.iter().filter_map(|line| line.get("metric")).collect();
    assert_eq!(metrics.len(), 4, "{lines:?}");
    assert_eq!(metrics[0]["name"], "a\nb");
    let fetch = metrics[1];
    assert_eq!((&fetch["name"], &fetch["count"]), (&"fetch".into(), &1000.into()));
    let near = |key: &str, seconds: f64| {
        let value = fetch[key].as_f64().unwrap();
        assert!((value - seconds).abs() / seconds < 0.002, "{key} is {value}");
    };
    near("min", 0.001);
    near("mean", 0.5005);
    near("p50", 0.5);
    near("p90", 0.9);
    near("p95", 0.95);
    near("p99", 0.99);
    near("p99.9", 0.999);
    near("max", 1.0);
    assert!(fetch["rate"].as_f64().unwrap() > 0.0);
}

#[tokio::test]
async fn quit_waits_for_the_run_before_it() {
    let server = server::<Greeter>(1).await;
    let _client = client(&server, "w", 1);
    soon("ready", server.ready()).await.unwrap();
    let mut typist = Typist::at(server);
    typist.types("/run\n/quit\n/run\n").await;
    let (lines, outcome) = typist.leaves().await;
    outcome.unwrap();
    assert_eq!(lines.iter().filter(|line| *line == "ok").count(), 1);
}

#[tokio::test]
async fn a_failed_schedule_and_its_error_are_told_apart_from_the_rest() {
    let server = server::<Failing>(1).await;
    let _client = client(&server, "w", 1);
    soon("ready", server.ready()).await.unwrap();
    let report = server.run().await.unwrap();
    assert_eq!(report.error(), Some("cannot set up: disk full"));
    assert_eq!(report.outcomes()[0].end, WorkerEnd::Stayed);
}

#[tokio::test]
async fn a_cancel_is_heard_while_nobody_reads_what_is_said() {
    let server = Arc::new(server::<Endless>(1).await);
    let _first = client(&server, "c1", 1);
    let (mut input, from_us) = duplex(1024);
    let (to_us, output) = duplex(64);
    let console = {
        let server = server.clone();
        tokio::spawn(async move { server.console(from_us, to_us).await })
    };
    let mut output = BufReader::with_capacity(16, output).lines();
    while output.next_line().await.unwrap().unwrap() != "ready to run" {}
    input.write_all(b"/run\n").await.unwrap();
    soon("the run", async { while server.master().results().await.unwrap().is_empty() {} }).await;
    // They are announced until there is no room.
    let _second = client(&server, "c2", 1000);
    soon("its workers", async {
        while server.master().len() < 1001 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    input.write_all(b"/cancel\n").await.unwrap();
    // Only then another one can begin.
    let is_running = async || {
        let run = tokio::time::timeout(Duration::from_millis(100), server.run()).await;
        matches!(run, Ok(Err(RunError::Running)))
    };
    soon("the end of the run", async {
        while is_running().await {
            sleep(Duration::from_millis(5)).await
        }
    })
    .await;
    drop(input);
    while output.next_line().await.unwrap().is_some() {}
    console.await.unwrap().unwrap();
}

#[tokio::test]
async fn who_a_postponed_call_has_not_reached_waits_for_its_turn() {
    let server = server::<Endless>(2).await;
    let _client = client(&server, "w", 2);
    let master = soon("ready", server.ready()).await.unwrap();
    // The second turn comes in an hour.
    master.set_frequency(1.0 / 3_600.0).unwrap();
    let mut outcomes = master.wait().postpone().stream();
    let calling = tokio::spawn(async move { outcomes.next().await });
    let mut typist = Typist::at(server);
    typist.until("ready to run").await;
    loop {
        typist.types("/workers\n").await;
        let (first, second) = (typist.reads().await.unwrap(), typist.reads().await.unwrap());
        if first.contains("running wait for") {
            assert!(second.ends_with("waiting for its turn in wait"), "{second}");
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }
    // It is given up: nobody waits any more.
    calling.abort();
    loop {
        typist.types("/workers\n").await;
        let states = [typist.reads().await.unwrap(), typist.reads().await.unwrap()];
        if states.iter().all(|state| state.ends_with("\tidle")) {
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }
}
