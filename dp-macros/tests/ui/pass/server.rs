//! Functions on the server, and what a schedule keeps there.
#![deny(
    warnings,
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    clippy::all
)]

use std::sync::Mutex;

use dp_core::{Context, MasterWorker, WorkerInfo, distributed_worker};

/// What is left to do.
#[derive(Debug, Default)]
pub struct UrlFeed {
    urls: Mutex<Vec<String>>,
}

/// Fetches.
#[derive(Debug)]
pub struct Crawler;

#[distributed_worker(server = UrlFeed)]
impl Crawler {
    /// Every worker drives itself.
    #[remote]
    pub async fn run(&mut self, ctx: &Context<Self>) -> anyhow::Result<u64> {
        let mut fetched = 0;
        while let Some(url) = ctx.server().next_url().await? {
            fetched += ctx.server().len(&url).await? as u64;
        }
        Ok(fetched)
    }

    #[on_server]
    async fn next_url(feed: &UrlFeed, caller: &WorkerInfo) -> Option<String> {
        let _ = caller.id();
        feed.urls.lock().ok()?.pop()
    }

    #[on_server]
    fn len(_feed: &UrlFeed, url: &str) -> Result<usize, String> {
        Ok(url.len())
    }

    #[schedule]
    fn left(&self) -> usize {
        self.server().urls.lock().map_or(0, |urls| urls.len())
    }
}

/// State that nobody asks for.
#[derive(Debug)]
pub struct Quiet;

#[distributed_worker(server = UrlFeed)]
impl Quiet {
    #[remote]
    fn nothing(&self) {}
}

/// Two workers share what there is to do.
#[tokio::main(flavor = "current_thread")]
async fn run_it() {
    let urls = ["a", "bc", "def"].map(String::from);
    let feed = UrlFeed { urls: Mutex::new(urls.into()) };
    let master = MasterWorker::<Crawler>::in_process_with(feed, 2, |_info| Crawler);
    assert_eq!(master.left(), 3);
    let fetched = master.run().await.unwrap().into_values();
    assert_eq!(fetched.iter().sum::<u64>(), 6);
    assert_eq!(master.left(), 0);
}

fn main() {
    run_it();
    let _ = MasterWorker::<Quiet>::in_process_with(UrlFeed::default(), 1, |_| Quiet);
    let contract = <Crawler as dp_core::DistributedWorker>::contract();
    assert_eq!(
        contract.server_methods[0].signature,
        "next_url() -> Option<String>"
    );
    assert_eq!(
        contract.server_methods[1].types,
        "(&str) -> Result<usize, String>"
    );
}
