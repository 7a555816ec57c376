// One mistake, and everything that depends on the method it is in.
#![deny(warnings)]

use std::collections::HashMap;

use dp_core::{Context, MasterWorker, RemoteWorker, distributed_worker};

pub struct State;

pub struct Worker;

#[distributed_worker(server = State)]
impl Worker {
    #[remote]
    pub fn mistaken(&mut self, ctx: &Context<Self>, (first, _): (u8, u8)) -> u64 {
        let _ = ctx;
        u64::from(first)
    }

    #[remote]
    pub async fn calls_the_server(&self, ctx: &Context<Self>) -> anyhow::Result<u8> {
        Ok(ctx.server().answer([1]).await?)
    }

    #[on_server]
    fn answer<const N: usize>(_state: &State, numbers: [u8; N]) -> u8 {
        numbers[0]
    }

    #[schedule]
    pub async fn run(&self) -> anyhow::Result<()> {
        let counts: HashMap<u8, u64> =
            self.mistaken((1, 2)).await?.values().map(|count| (1, *count)).collect();
        drop(counts);
        self.each(|worker| worker.mistaken((1, 2))).await?;
        Ok(())
    }
}

pub async fn uses(one: &RemoteWorker<Worker>) -> anyhow::Result<()> {
    let master = MasterWorker::<Worker>::in_process_with(State, 2, |_info| Worker);
    let _: u64 = one.mistaken((1, 2)).await?;
    let _: WorkerServer;
    master.run().await
}

fn main() {}
