use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dp_core::{Context, WorkerInfo, distributed_worker};
use tracing::Instrument as _;

/// What the server hands out.
#[derive(Debug, Default)]
pub struct State {
    next: AtomicU64,
}

/// A worker with a method for each thing that the tests look at. The run follows the environment
/// variable `DP_TESTS_RUN` of the server.
#[derive(Debug, Default)]
pub struct Subject {
    name: String,
}

#[distributed_worker(server = State)]
impl Subject {
    /// Greets, and records it.
    #[remote]
    pub fn greet(&mut self, ctx: &Context<Self>, name: &str) -> String {
        ctx.result(format!("greeted {name}"));
        format!("{}: hello {name}", ctx.worker().id())
    }

    /// Gives this worker a value of its own.
    #[remote]
    pub fn set_name(&mut self, name: String) {
        self.name = name;
    }

    /// Records `ok` and the value of its own.
    #[remote]
    pub fn session(&self, ctx: &Context<Self>) {
        ctx.result(format!("ok {}", self.name));
    }

    /// Records when it began, in microseconds since the epoch.
    #[remote]
    pub fn begin(&self, ctx: &Context<Self>) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        ctx.result(format!("began {}", now.unwrap_or_default().as_micros()));
    }

    /// Sleeps, and records when it began, in microseconds since the epoch.
    #[remote]
    pub async fn nap(&self, ctx: &Context<Self>, millis: u64) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        ctx.result(format!("nap {}", now.unwrap_or_default().as_micros()));
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    /// Blocks its thread.
    #[remote]
    pub fn block(&self, millis: u64) {
        std::thread::sleep(Duration::from_millis(millis));
    }

    /// Blocks its thread for a minute, alone on its worker.
    #[remote]
    pub fn hold(&mut self) {
        std::thread::sleep(Duration::from_secs(60));
    }

    /// Records so many lines.
    #[remote]
    pub fn record(&self, ctx: &Context<Self>, lines: u32) {
        for line in 0..lines {
            ctx.result(format!("line {line} of many"));
        }
    }

    /// Takes data, and gives its length.
    #[remote]
    pub fn swallow(&self, data: &[u8]) -> usize {
        data.len()
    }

    /// Goes on for ever.
    #[remote]
    pub async fn endless(&self, ctx: &Context<Self>) {
        ctx.result("began");
        std::future::pending().await
    }

    /// Fails on workers with an odd index.
    #[remote]
    pub fn fail_on_odd(&self, ctx: &Context<Self>) -> anyhow::Result<()> {
        ctx.result("tried");
        anyhow::ensure!(ctx.worker().index().is_multiple_of(2), "odd");
        Ok(())
    }

    /// Measures two things again and again for some time, and meets the others at the end of it. The
    /// first worker is the last to come.
    #[remote]
    pub async fn work(&self, ctx: &Context<Self>, millis: u64) -> anyhow::Result<()> {
        let index = ctx.worker().index() as u64;
        let late = if index == 0 { millis } else { millis / 2 };
        let end = tokio::time::Instant::now() + Duration::from_millis(late);
        let mut round = 0;
        while tokio::time::Instant::now() < end {
            round += 1;
            let fetch = 2_000 + (round * 7_919 + index * 104_729) % 9_000;
            tokio::time::sleep(Duration::from_micros(fetch)).await;
            ctx.record("fetch", Duration::from_micros(fetch));
            ctx.record("parse <b>", Duration::from_micros(fetch / 10));
        }
        ctx.result(format!("part {} of <b>3</b> is done", index % 3));
        ctx.synchro("all parts are done").await?;
        ctx.result("met the others");
        Ok(())
    }

    /// Comes to `rounds` barriers, and takes a number from the server at each.
    #[remote]
    pub async fn meet(&self, ctx: &Context<Self>, rounds: u32) -> anyhow::Result<()> {
        for round in 0..rounds {
            ctx.synchro("round").await?;
            let number = ctx.server().next().await?;
            ctx.result(format!("round {round} number {number}"));
        }
        Ok(())
    }

    /// Goes on after three delays, and records when.
    #[remote]
    pub async fn delays(&self, ctx: &Context<Self>) -> anyhow::Result<()> {
        for token in ["one", "two", "three"] {
            ctx.delay(token).await?;
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
            ctx.result(format!("{token} {}", now.as_micros()));
        }
        Ok(())
    }

    /// Logs a text so many times, and details at the debug level.
    #[remote]
    pub async fn say(&self, text: &str, times: u32) {
        for _ in 0..times {
            tracing::warn!(times, "{text}");
        }
        // What a method starts beside itself is its own where it says so.
        let beside = async { tracing::debug!("details") }.in_current_span();
        let _ = tokio::spawn(beside).await;
    }

    /// A number that nobody else gets.
    #[on_server]
    fn next(state: &State, _caller: &WorkerInfo) -> u64 {
        state.next.fetch_add(1, Ordering::Relaxed)
    }

    /// What `/run` runs.
    #[schedule]
    pub async fn run(&self) -> anyhow::Result<()> {
        let what = std::env::var("DP_TESTS_RUN").unwrap_or_default();
        match what.as_str() {
            "" | "greet" => {
                self.greet("Ada").await?;
                self.each(|worker| worker.greet(&format!("number {}", worker.info().index())))
                    .await?;
            }
            "session" => {
                self.each(|worker| worker.set_name(format!("name of {}", worker.info().id())))
                    .await?;
                self.session().await?;
            }
            "timed" => {
                self.block(20).timed().await?;
            }
            "postponed" => {
                self.begin().postpone().await?;
            }
            "fail" => {
                self.fail_on_odd().await?;
            }
            "nap" => {
                self.nap(1_000).await?;
            }
            "hold" => {
                self.hold().await?;
            }
            "many" => {
                self.record(200_000).await?;
            }
            "endless" => {
                self.endless().await?;
            }
            "meet" => {
                self.meet(100).await?;
            }
            // Again and again 1 MiB to everybody, waiting for all but one; `failed` tells how often.
            "flood" => {
                let (data, begun) = (vec![0; 1 << 20], std::time::Instant::now());
                let mut rounds = 0_u64;
                while begun.elapsed() < Duration::from_secs(4) {
                    self.swallow(&data).quorum(self.len() - 1).await?;
                    rounds += 1;
                }
                anyhow::bail!("{rounds} rounds");
            }
            "work" => {
                self.work(6_000).await?;
            }
            "delays" => {
                self.delays().await?;
            }
            "soak" => {
                let tally = crate::soak::call(self).await;
                println!("tally: {tally}");
            }
            "say" => {
                self.say("hello", 1).await?;
                self.say("goodbye", 1).await?;
            }
            "map" => {
                self.map(0..60, |worker, _| worker.nap(700)).await?;
            }
            "panic" => panic!("an expected panic"),
            other => anyhow::bail!("no such run: {other}"),
        }
        Ok(())
    }
}
