//! The worker.

use std::ops::Range;
use std::time::{Duration, Instant};

use dp_core::{Context, WorkerInfo, distributed_worker};

use crate::{Board, Chain, longest_chain};

/// Takes ranges of numbers from the server and looks for the longest chain in them.
#[derive(Debug, Default)]
pub struct Searcher {
    /// How long it takes to get ready.
    pub warm_up: Duration,
}

#[distributed_worker(server = Board)]
impl Searcher {
    /// What `/run` runs: on every worker, since it is a remote method and no schedule. Its value is
    /// how many ranges this worker has searched.
    #[remote]
    pub async fn run(&self, ctx: &Context<Self>) -> anyhow::Result<u64> {
        let server = ctx.server();
        // One of them prepares what all of them share; nobody goes on before that is done.
        if ctx.worker().index() == 0 {
            server.wipe().await?;
        }
        ctx.synchro("the board is clean").await?;

        tokio::time::sleep(self.warm_up).await;
        server.note("is ready").await?;
        ctx.synchro("all are ready").await?;
        server.note("starts").await?;

        let mut searched = 0;
        while let Some(numbers) = server.next_range().await? {
            let start = Instant::now();
            let chain = longest_chain(numbers);
            ctx.record("search", start.elapsed());
            server.found(&chain).await?;
            searched += 1;
        }
        server.note(&format!("has searched {searched} ranges")).await?;
        // Behind this barrier everything has been found, and all are told the same. Who is lost with
        // a range in hand makes the run fail, and is named; with `.survivors()` they would go on.
        ctx.synchro("all is searched").await?;
        let longest = server.longest().await?;

        // The same barrier, but behind it they go on one after another, at the server's frequency.
        ctx.delay("one by one").await?;
        server.note("signs off").await?;
        let Chain { start, steps } = longest;
        ctx.result(format!("searched {searched} ranges; together: {start} takes {steps} steps"));
        Ok(searched)
    }

    /// Before a run: wipes the board.
    #[on_server]
    fn wipe(board: &Board) {
        board.wipe();
    }

    /// The next range to search.
    #[on_server]
    fn next_range(board: &Board) -> Option<Range<u64>> {
        board.next_range()
    }

    /// Tells the server of a chain.
    #[on_server]
    fn found(board: &Board, chain: &Chain) {
        board.found(*chain);
    }

    /// The longest chain that anybody has found.
    #[on_server]
    fn longest(board: &Board) -> Chain {
        board.longest()
    }

    /// Writes into the journal.
    #[on_server]
    fn note(board: &Board, caller: &WorkerInfo, what: &str) {
        board.note(caller.id(), what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::Entry;
    use dp_core::MasterWorker;

    const WORKERS: usize = 3;
    const BELOW: u64 = 3_000;
    const RANGES: u64 = 10;

    fn searchers(warm_up: fn(usize) -> Duration) -> MasterWorker<Searcher> {
        let board = Board::new(BELOW, RANGES);
        let master = MasterWorker::<Searcher>::in_process_with(board, WORKERS, move |info| {
            Searcher { warm_up: warm_up(info.index()) }
        });
        master.set_frequency(100.0).unwrap();
        master
    }

    fn of(journal: &[Entry], what: &str) -> Vec<Entry> {
        journal.iter().filter(|entry| entry.what == what).cloned().collect()
    }

    #[tokio::test]
    async fn together_they_search_every_range_once_run_after_run() {
        let master = searchers(|_| Duration::ZERO);
        for _run in 0..2 {
            let searched = master.run().await.unwrap();
            assert_eq!(searched.values().sum::<u64>(), RANGES);
            assert_eq!(master.server().longest(), longest_chain(1..BELOW));

            let results = master.results().await.unwrap();
            assert_eq!(results.len(), WORKERS);
            assert!(results.iter().all(|line| line.message.ends_with("takes 216 steps")));
            let [metric] = &master.metrics().await.unwrap()[..] else { panic!("one metric") };
            assert_eq!((metric.name(), metric.count()), ("search", RANGES));
        }
    }

    #[tokio::test]
    async fn nobody_starts_before_the_last_is_ready() {
        let master = searchers(|index| Duration::from_millis(30) * index as u32);
        master.run().await.unwrap();
        let journal = master.server().journal();
        let (ready, starts) = (of(&journal, "is ready"), of(&journal, "starts"));
        assert_eq!((ready.len(), starts.len()), (WORKERS, WORKERS));
        assert!(ready.iter().all(|ready| starts.iter().all(|start| ready.at <= start.at)));
    }

    #[tokio::test]
    async fn they_sign_off_in_worker_order_a_period_apart() {
        let master = searchers(|_| Duration::ZERO);
        master.set_frequency(20.0).unwrap();
        master.run().await.unwrap();
        let ends = of(&master.server().journal(), "signs off");
        let order: Vec<_> = ends.iter().map(|entry| entry.worker.to_string()).collect();
        assert_eq!(order, ["w1", "w2", "w3"]);
        // The periods are exact where they are counted; what travels may be late, by less than one.
        assert!(ends[2].at - ends[0].at > Duration::from_millis(50));
    }
}
