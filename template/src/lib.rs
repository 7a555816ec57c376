//! What runs on many machines at once: an ordinary struct, and one annotated impl block.

use std::time::Instant;

use dp_core::{Context, distributed_worker};

/// One for each worker, on whatever machine it lives.
#[derive(Debug, Default)]
pub struct Job {
    done: u64,
}

#[distributed_worker]
impl Job {
    /// Runs on a worker: replace this by what there is to do.
    #[remote]
    pub async fn work(&mut self, ctx: &Context<Self>, item: u64) -> anyhow::Result<u64> {
        let start = Instant::now();
        let square = item * item;
        self.done += 1;
        ctx.record("work", start.elapsed()); // a histogram, merged over all workers
        Ok(square)
    }

    /// How many items this worker has done.
    #[remote]
    pub fn done(&self, ctx: &Context<Self>) -> u64 {
        ctx.result(format!("{} items so far", self.done)); // a line, gathered after the run
        self.done
    }

    /// Runs on the server: this is what `/run` runs.
    #[schedule]
    pub async fn run(&self) -> anyhow::Result<()> {
        // Whoever is free gets the next item; `self.done()` is a call to everybody.
        self.map(1..=100, |worker, item| worker.work(item)).await?;
        self.done().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use dp_core::MasterWorker;

    use super::*;

    #[tokio::test]
    async fn squares_come_back_in_the_order_of_the_items() {
        let master = MasterWorker::<Job>::in_process(3, |_info| Job::default());
        let squares = master
            .map(1..=4, |worker, item| worker.work(item))
            .await
            .unwrap();
        assert_eq!(squares, [1, 4, 9, 16]);
    }

    #[tokio::test]
    async fn a_run_does_every_item_once() {
        let master = MasterWorker::<Job>::in_process(3, |_info| Job::default());
        master.run().await.unwrap();
        assert_eq!(master.results().await.unwrap().len(), 3);
        let done = master.done().await.unwrap().into_values();
        assert_eq!(done.iter().sum::<u64>(), 100);
    }
}
