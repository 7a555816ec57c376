//! Workers that drive themselves: barriers, delays, calls to the server.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dp_core::{
    BarrierError, CallError, Context, Executed, MasterWorker, WorkerInfo, distributed_worker,
};

use super::group_over;

/// What the server hands out, and what it has seen.
#[derive(Default)]
struct Feed {
    urls: Mutex<Vec<String>>,
    callers: Mutex<Vec<String>>,
    under_way: AtomicUsize,
    withdrawn: Arc<AtomicUsize>,
}

struct Crawler {
    log: Arc<Mutex<Vec<(usize, String, Instant)>>>,
}

#[distributed_worker(server = Feed)]
impl Crawler {
    #[remote]
    async fn run(&mut self, ctx: &Context<Self>) -> anyhow::Result<u64> {
        let mut fetched = 0;
        ctx.synchro("everyone is ready").await?;
        while let Some(_url) = ctx.server().next_url().await? {
            fetched += 1;
        }
        Ok(fetched)
    }

    /// Comes to `rounds` barriers of one token in a row.
    #[remote]
    async fn rounds(&self, ctx: &Context<Self>, rounds: u32) -> Result<(), BarrierError> {
        for round in 0..rounds {
            self.log(ctx, format!("before {round}"));
            ctx.synchro("round").await?;
            self.log(ctx, format!("after {round}"));
        }
        Ok(())
    }

    #[remote]
    async fn delays(&self, ctx: &Context<Self>) -> Result<(), BarrierError> {
        for token in ["a", "b", "c"] {
            ctx.delay(token).await?;
            self.log(ctx, token.to_owned());
        }
        Ok(())
    }

    /// The first worker does not come to the barrier.
    #[remote]
    async fn one_stays_away(
        &self,
        ctx: &Context<Self>,
        survivors: bool,
    ) -> Result<String, BarrierError> {
        if ctx.worker().index() == 0 {
            return Ok("stayed away".to_owned());
        }
        let barrier = ctx.synchro("all");
        let met = if survivors { barrier.survivors().await? } else { barrier.await? };
        Ok(met.to_string())
    }

    #[remote]
    async fn one_is_late(&self, ctx: &Context<Self>) -> Result<bool, BarrierError> {
        if ctx.worker().index() == 0 {
            tokio::time::sleep(Duration::from_millis(300)).await;
        } else {
            let error = ctx.synchro("late").timeout(Duration::from_millis(50)).await.unwrap_err();
            let text = error.to_string();
            let expected =
                "timed out after 50ms at barrier `late`: missing w1 in one_is_late: in it for";
            assert!(text.starts_with(expected), "{text}");
        }
        ctx.synchro("late").await?;
        Ok(true)
    }

    #[remote]
    async fn ask(&self, ctx: &Context<Self>, what: &str) -> Result<u32, CallError> {
        match what {
            "fail" => ctx.server().fail(&[1, 2]).await,
            "panic" => ctx.server().panics().await,
            "slow" => ctx.server().slow().timeout(Duration::from_millis(30)).await,
            "together" => ctx.server().together().await,
            other => panic!("{other}"),
        }
    }

    fn log(&self, ctx: &Context<Self>, line: String) {
        self.log.lock().unwrap().push((ctx.worker().index(), line, Instant::now()));
    }

    /// Runs on the server; `caller` is optional.
    #[on_server]
    async fn next_url(feed: &Feed, caller: &WorkerInfo) -> Option<String> {
        feed.callers.lock().unwrap().push(caller.id().to_string());
        feed.urls.lock().unwrap().pop()
    }

    #[on_server]
    fn fail(_feed: &Feed, numbers: &[u32]) -> Result<u32, String> {
        Err(format!("no luck with {numbers:?}"))
    }

    #[on_server]
    fn panics(_feed: &Feed) -> u32 {
        panic!("an expected panic")
    }

    #[on_server]
    async fn slow(feed: &Feed) -> u32 {
        struct OnDrop(Arc<AtomicUsize>);
        impl Drop for OnDrop {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let _on_drop = OnDrop(feed.withdrawn.clone());
        std::future::pending().await
    }

    /// Answers when all three callers are here.
    #[on_server]
    async fn together(feed: &Feed) -> u32 {
        feed.under_way.fetch_add(1, Ordering::SeqCst);
        while feed.under_way.load(Ordering::SeqCst) < 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        3
    }
}

type Log = Arc<Mutex<Vec<(usize, String, Instant)>>>;

fn crawlers(workers: usize, feed: Feed) -> (MasterWorker<Crawler>, Log) {
    crawlers_over(workers, workers, feed)
}

/// The same over so many connections.
fn crawlers_over(connections: usize, workers: usize, feed: Feed) -> (MasterWorker<Crawler>, Log) {
    let log = Log::default();
    let of_workers = log.clone();
    let master = group_over::<Crawler>(connections, feed, workers, move |_info| Crawler {
        log: of_workers.clone(),
    });
    (master, log)
}

#[tokio::test]
async fn workers_that_drive_themselves_share_what_the_server_hands_out() {
    needs_transport!();
    let urls = (0..100).map(|n| format!("http://host/{n}")).collect();
    let (master, _) = crawlers(4, Feed { urls: Mutex::new(urls), ..Feed::default() });
    let fetched = master.run().await.unwrap().into_values();
    assert_eq!(fetched.iter().sum::<u64>(), 100);
    let mut callers = master.server().callers.lock().unwrap().clone();
    callers.sort();
    callers.dedup();
    assert_eq!(callers, ["w1", "w2", "w3", "w4"]);
    assert_eq!(master.run().await.unwrap().into_values(), [0, 0, 0, 0]);
}

#[tokio::test]
async fn nobody_passes_a_barrier_before_all_have_come() {
    needs_transport!();
    let (master, log) = crawlers(8, Feed::default());
    for _run in 0..2 {
        master.rounds(20).await.unwrap();
        let log = std::mem::take(&mut *log.lock().unwrap());
        for round in 0..20 {
            let before = format!("before {round}");
            let after = format!("after {round}");
            let last_before = log.iter().filter(|entry| entry.1 == before).map(|e| e.2).max();
            let first_after = log.iter().filter(|entry| entry.1 == after).map(|e| e.2).min();
            assert!(last_before < first_after, "round {round}");
        }
    }
}

#[tokio::test]
async fn a_delay_lets_them_go_on_in_worker_order_a_period_apart() {
    needs_transport!();
    let (master, log) = crawlers_over(1, 4, Feed::default());
    master.set_frequency(25.0).unwrap();
    master.delays().await.unwrap();
    let log = log.lock().unwrap();
    for token in ["a", "b", "c"] {
        let entries: Vec<_> = log.iter().filter(|entry| entry.1 == token).collect();
        assert_eq!(entries.iter().map(|e| e.0).collect::<Vec<_>>(), [0, 1, 2, 3]);
        let all = entries[3].2 - entries[0].2;
        assert!(all >= Duration::from_millis(100), "{all:?}");
    }
}

#[tokio::test]
async fn whoever_will_never_come_fails_the_barrier_and_is_named() {
    needs_transport!();
    let (master, _) = crawlers(3, Feed::default());
    let error = master.one_stays_away(false).await.unwrap_err();
    let text = error.to_string();
    assert_eq!(
        text,
        "2 of 3 workers failed: w[2-3] failed: barrier `all`: missing w1 in one_stays_away: it has \
         ended"
    );
    let values = master.one_stays_away(true).await.unwrap().into_values();
    assert_eq!(values, ["stayed away", "met without w1", "met without w1"]);
}

#[tokio::test]
async fn a_barrier_that_timed_out_names_who_is_late_and_can_be_met_again() {
    needs_transport!();
    let (master, _) = crawlers(3, Feed::default());
    assert_eq!(master.one_is_late().await.unwrap().into_values(), [true, true, true]);
}

#[tokio::test]
async fn two_runs_at_once_never_mix() {
    needs_transport!();
    let (master, _) = crawlers(4, Feed::default());
    let left = master.select(|worker| worker.index() < 2);
    let right = master.select(|worker| worker.index() >= 1);
    let (left, right) = tokio::join!(left.rounds(50), right.rounds(50));
    left.unwrap();
    right.unwrap();
}

#[tokio::test]
async fn a_call_to_one_worker_meets_nobody() {
    needs_transport!();
    let (master, _) = crawlers(3, Feed::default());
    master.workers()[1].rounds(3).await.unwrap();
}

#[tokio::test]
async fn a_server_call_fails_as_a_call_does() {
    needs_transport!();
    let (master, _) = crawlers(1, Feed::default());
    let worker = &master.workers()[0];
    let text = |error: CallError| error.to_string();
    let failed = worker.ask("fail").await.unwrap_err();
    assert_eq!(text(failed), "failed: failed: no luck with [1, 2]");
    let panicked = worker.ask("panic").await.unwrap_err();
    assert_eq!(text(panicked), "failed: panicked: an expected panic");
    let late = worker.ask("slow").await.unwrap_err();
    assert_eq!(text(late), "failed: timed out after 30ms (maybe executed)");
    for _ in 0..3_000 {
        if master.server().withdrawn.load(Ordering::SeqCst) == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the server went on with a call that nobody waits for");
}

#[tokio::test]
async fn server_calls_of_different_workers_run_concurrently() {
    needs_transport!();
    let (master, _) = crawlers(3, Feed::default());
    assert_eq!(master.ask("together").await.unwrap().into_values(), [3, 3, 3]);
}

#[tokio::test]
async fn a_local_context_meets_nobody_and_has_no_server() {
    needs_transport!();
    let ctx = Context::<Crawler>::local();
    let met = ctx.synchro("alone").await.unwrap();
    assert!(met.missing().is_empty());
    let error = ctx.server().next_url().await.unwrap_err();
    assert_eq!(error.executed(), Executed::No);
}
