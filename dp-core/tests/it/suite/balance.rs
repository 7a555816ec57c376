//! Balanced work, quorums, staggered starts, metrics.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dp_core::{CallError, Context, Executed, MasterWorker, WorkerId, distributed_worker};

use super::{group, group_over};

struct Worker(Arc<Shared>);

#[derive(Default)]
struct Shared {
    starts: Mutex<Vec<(usize, Instant)>>,
    begun: AtomicUsize,
    dropped: AtomicUsize,
}

struct OnDrop<'a>(&'a Shared);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

#[distributed_worker]
impl Worker {
    /// Takes longer on the first worker.
    #[remote]
    async fn square(&self, ctx: &Context<Self>, n: u64) -> Result<(String, u64), String> {
        if n == 13 {
            return Err("13".to_owned());
        }
        if ctx.worker().index() == 0 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok((ctx.worker().id().to_string(), n * n))
    }

    /// Only the workers below `below` ever answer, and not before all of `all` have begun: a call that
    /// is cancelled before it begins leaves nothing to drop.
    #[remote]
    async fn answer(&self, ctx: &Context<Self>, below: usize, all: usize) -> usize {
        let on_drop = OnDrop(&self.0);
        self.0.begun.fetch_add(1, Ordering::SeqCst);
        if ctx.worker().index() >= below {
            std::future::pending::<()>().await;
        }
        while self.0.begun.load(Ordering::SeqCst) < all {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        std::mem::forget(on_drop);
        ctx.worker().index()
    }

    #[remote]
    fn fail_below(&self, ctx: &Context<Self>, below: usize) -> Result<usize, String> {
        let index = ctx.worker().index();
        if index < below { Err("too low".to_owned()) } else { Ok(index) }
    }

    #[remote]
    fn start(&self, ctx: &Context<Self>) {
        self.0.starts.lock().unwrap().push((ctx.worker().index(), Instant::now()));
    }

    #[remote]
    fn measure(&self, ctx: &Context<Self>) {
        for n in 1..=100 {
            let millis = n + 100 * ctx.worker().index() as u64;
            ctx.record("fetch", Duration::from_millis(millis));
        }
    }
}

fn workers(workers: usize) -> (MasterWorker<Worker>, Arc<Shared>) {
    let shared = Arc::<Shared>::default();
    let of_workers = shared.clone();
    (group::<Worker>(workers, move |_| Worker(of_workers.clone())), shared)
}

/// The same behind one connection.
fn workers_in_order(workers: usize) -> (MasterWorker<Worker>, Arc<Shared>) {
    let shared = Arc::<Shared>::default();
    let of_workers = shared.clone();
    (group_over::<Worker>(1, (), workers, move |_| Worker(of_workers.clone())), shared)
}

fn id(text: &str) -> WorkerId {
    text.parse().unwrap()
}

#[tokio::test]
async fn map_gives_each_worker_the_next_item_when_it_is_free() {
    needs_transport!();
    let (master, _) = workers(4);
    let results = master.map(100..200, |worker, n| worker.square(n)).await.unwrap();
    let values: Vec<u64> = results.iter().map(|(_, value)| *value).collect();
    assert_eq!(values, (100..200).map(|n| n * n).collect::<Vec<u64>>());
    let by_first = results.iter().filter(|(worker, _)| worker == "w1").count();
    assert!(by_first < 20, "the slow worker did {by_first} of 100");
}

#[tokio::test]
async fn an_item_that_fails_is_named_and_costs_no_other() {
    needs_transport!();
    let (master, _) = workers(2);
    let outcomes = master.map(10..20, |worker, n| worker.square(n)).outcomes().await;
    assert_eq!(outcomes.len(), 10);
    let failed: Vec<_> = outcomes.iter().filter(|o| o.result.is_err()).map(|o| o.item).collect();
    assert_eq!(failed, [3]);
    let error = master.map(10..20, |worker, n| worker.square(n)).await.unwrap_err();
    assert!(error.to_string().starts_with("1 of 10 items failed: item 3 on w"), "{error}");
    assert!(error.to_string().ends_with("failed: 13"), "{error}");
}

#[tokio::test]
async fn a_map_without_workers_says_so_for_each_item() {
    needs_transport!();
    let (master, _) = workers(0);
    let error = master.map(0..3, |worker, n| worker.square(n)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "3 of 3 items failed: item [0-2] not sent: no worker is left (not executed)"
    );
    assert!(master.map(0..0, |worker, n| worker.square(n)).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_quorum_is_done_when_enough_succeeded_and_cancels_the_rest() {
    needs_transport!();
    let (master, shared) = workers(5);
    let outcomes = master.answer(3, 5).quorum(3).await.unwrap();
    assert_eq!(outcomes.successes().count(), 3);
    assert_eq!(outcomes[&id("w4")].result, Err(CallError::Cancelled));
    until(|| shared.dropped.load(Ordering::SeqCst) == 2).await;

    let error = master.fail_below(3).quorum(3).await.unwrap_err();
    assert_eq!(error.addressed(), 5);
    assert_eq!(master.fail_below(3).quorum(2).await.unwrap().successes().count(), 2);
}

#[tokio::test]
async fn any_gives_the_first_success() {
    needs_transport!();
    let (master, shared) = workers(4);
    let value = master.any(|worker| worker.answer(1, 4)).await.unwrap();
    assert_eq!(value, 0);
    until(|| shared.dropped.load(Ordering::SeqCst) == 3).await;
    assert_eq!(master.any(|worker| worker.fail_below(3)).await.unwrap(), 3);
    let error = master.any(|worker| worker.fail_below(9)).await.unwrap_err();
    assert_eq!(error.to_string(), "4 of 4 workers failed: w[1-4] failed: too low");
    assert!(master.select(|_| false).any(|worker| worker.answer(1, 4)).await.is_err());
}

#[tokio::test]
async fn postponed_calls_start_in_worker_order_a_period_apart() {
    needs_transport!();
    let (master, shared) = workers_in_order(5);
    master.set_frequency(20.0).unwrap();
    let before = Instant::now();
    master.start().postpone().await.unwrap();
    let starts = shared.starts.lock().unwrap().clone();
    assert_eq!(starts.iter().map(|start| start.0).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    for (turn, (_, at)) in starts.iter().enumerate() {
        // Never before its turn; how much later is the machine's affair.
        let turn = Duration::from_millis(50) * turn as u32;
        assert!(
            at.duration_since(before) >= turn,
            "{:?} before {turn:?}",
            at.duration_since(before)
        );
    }
}

#[tokio::test]
async fn a_postponed_call_that_is_given_up_never_reaches_those_behind() {
    needs_transport!();
    let (master, shared) = workers_in_order(5);
    master.set_frequency(20.0).unwrap();
    let outcomes = master.start().postpone().timeout(Duration::from_millis(75)).outcomes().await;
    assert!(outcomes.failures().count() >= 2);
    let failed: Vec<_> = outcomes.failures().map(|(_, error)| error.clone()).collect();
    // The last one was never sent, so that a retry of it is safe.
    let Some(CallError::NotSent { reason }) = failed.last() else { panic!("{failed:?}") };
    assert!(reason.contains("timed out after 75ms before this worker's turn"), "{reason}");
    assert_eq!(failed[failed.len() - 1].executed(), Executed::No);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(shared.starts.lock().unwrap().len() <= 3);
    // All are free, and the next call is like any other.
    master.set_frequency(1_000.0).unwrap();
    master.start().postpone().await.unwrap();
    master.synchro("all").await.unwrap();
}

#[tokio::test]
async fn metrics_are_those_of_all_workers_together() {
    needs_transport!();
    let (master, _) = workers(3);
    master.measure().await.unwrap();
    let metrics = master.metrics().await.unwrap();
    let [fetch] = &metrics[..] else { panic!("{metrics:?}") };
    assert_eq!((fetch.name(), fetch.count()), ("fetch", 300));
    let median = fetch.percentile(50.0);
    assert!((149..=151).contains(&median.as_millis()), "{median:?}");
    assert!((299..=301).contains(&fetch.max().as_millis()));
    master.reset_results().await.unwrap();
    assert!(master.metrics().await.unwrap().is_empty());
}

/// Waits for something that must come, with a bound that only a hang reaches.
async fn until(condition: impl Fn() -> bool) {
    for _ in 0..3_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come");
}
