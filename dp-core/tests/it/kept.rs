//! What workers have recorded, however much it is and whatever becomes of them.

use std::time::Duration;

use dp_core::engine::{Fleet, Host, Limits, io};
use dp_core::{Context, MasterWorker, ResultLine, WorkerInfo, distributed_worker};
use tokio::runtime::Handle;

struct Writer;

#[distributed_worker]
impl Writer {
    #[remote]
    fn write(&self, ctx: &Context<Self>, lines: usize, length: usize) {
        (0..lines).for_each(|line| ctx.result(format!("{line}{}", " ".repeat(length - 1))));
    }

    #[remote]
    fn measure(&self, ctx: &Context<Self>, times: u64) {
        (0..times).for_each(|time| ctx.record("metric", Duration::from_millis(1 + time)));
    }
}

fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

async fn until(mut what: impl FnMut() -> bool) {
    let waiting = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("it comes to that");
}

/// A fleet of one client of one worker.
async fn pair(server: Limits, client: Limits) -> Fleet<Writer> {
    let fleet = Fleet::<Writer>::new(server, (), Handle::current());
    let (server_end, client_end) = tokio::io::duplex(1 << 20);
    let host = Host::new("w".to_owned(), 1, client, Handle::current(), |_: &WorkerInfo| Writer);
    let serving = fleet.clone();
    io().spawn(async move { serving.serve(server_end, "memory".to_owned()).await });
    io().spawn(async move { host.serve(client_end, "memory".to_owned()).await });
    until(|| fleet.master().len() == 1).await;
    fleet
}

/// What the worker has, and what is known of it when it is lost.
async fn gathered_and_lost(fleet: &Fleet<Writer>) -> (Vec<ResultLine>, Vec<ResultLine>) {
    let master: MasterWorker<Writer> = fleet.master();
    let results = master.results().await.unwrap();
    fleet.kick(master.workers()[0].info().id());
    until(|| fleet.is_empty()).await;
    (results, fleet.master().results_of_lost())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_longer_than_a_message_is_gathered_in_parts() {
    let small = || limits(|limits| limits.max_message = 64 << 10);
    let fleet = pair(small(), small()).await;
    fleet.master().write(100, 10 << 10).await.unwrap();
    let (results, lost) = gathered_and_lost(&fleet).await;
    let numbers: Vec<&str> = results.iter().map(|line| line.message.trim()).collect();
    assert_eq!(numbers, (0..100).map(|line| line.to_string()).collect::<Vec<_>>());
    assert!(results == lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_gathered_once_is_known_when_the_worker_is_lost() {
    let fleet = pair(Limits::default(), Limits::default()).await;
    let master = fleet.master();
    master.write(20_000, 1 << 10).await.unwrap();
    master.measure(200).await.unwrap();
    let before = master.metrics().await.unwrap();
    let (results, lost) = gathered_and_lost(&fleet).await;
    assert_eq!(results.len(), 20_000);
    assert!(results == lost);
    let metrics = fleet.master().metrics().await.unwrap();
    assert_eq!((metrics[0].name(), metrics[0].count()), ("metric", 200));
    assert_eq!(metrics[0].max(), before[0].max());
    let (metrics, _) = fleet.master().gather_metrics(Duration::from_secs(30)).await;
    assert_eq!(metrics[0].count(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_longer_than_a_message_leaves_the_others_in_their_places() {
    let fleet = pair(limits(|limits| limits.max_message = 64 << 10), Limits::default()).await;
    let master = fleet.master();
    for length in [1, 100 << 10, 1] {
        master.write(1, length).await.unwrap();
    }
    let (results, lost) = gathered_and_lost(&fleet).await;
    assert_eq!((results.len(), results[0].message.as_str()), (3, "0"));
    let middle = &results[1].message;
    assert!(middle.contains("102400 bytes") && middle.contains("max_message"), "{middle}");
    assert!(results == lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_a_bound_of_either_side_ends_in_a_line_that_says_so() {
    type Change = fn(&mut Limits);
    let (lines, bytes): (Change, Change) =
        (|limits| limits.max_results = 5, |limits| limits.max_result_bytes = 1_000);
    let all: Change = |limits| limits.max_kept_bytes_per_client = 1_000;
    let none: Change = |_| ();
    for (server, client, setting, kept) in [
        (none, lines, "(max_results)", true),
        (none, bytes, "(max_result_bytes)", true),
        (lines, none, "(max_results of the server)", true),
        (bytes, none, "(max_result_bytes of the server)", true),
        (all, none, "(max_kept_bytes_per_client of the server)", false),
    ] {
        let fleet = pair(limits(server), limits(client)).await;
        fleet.master().write(100, 50).await.unwrap();
        let (results, lost) = gathered_and_lost(&fleet).await;
        let last = |lines: &[ResultLine]| lines.last().unwrap().message.clone();
        if kept {
            assert!(last(&results).contains(setting), "{setting}: {}", last(&results));
            assert!(results.len() < 30, "{setting}: {}", results.len());
        } else {
            assert_eq!(results.len(), 100);
        }
        assert!(last(&lost).contains(setting), "{setting}: {}", last(&lost));
        // All but what says so is the worker's own.
        let own = lost.len() - 1;
        assert!(own >= 5 && lost[..own] == results[..own], "{setting}: {own}");
    }
}
