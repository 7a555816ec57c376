//! Schedules of every kind.
#![deny(
    warnings,
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    clippy::all
)]

use dp_core::{Context, distributed_worker};

/// Its run is not async.
#[derive(Debug)]
pub struct Sync;

#[distributed_worker]
impl Sync {
    #[remote]
    fn method(&self) {}

    #[schedule]
    fn run(&self) -> Result<(), String> {
        self.generic(|len| len, (vec![1_u8], 1));
        Ok(())
    }

    #[schedule]
    fn generic<T: Clone>(&self, count: impl Fn(usize) -> usize, (first, _): (Vec<T>, u8)) -> usize {
        count(self.len() + first.len())
    }
}

/// Its run takes arguments.
#[derive(Debug)]
pub struct WithArguments;

#[distributed_worker]
impl WithArguments {
    #[schedule]
    async fn run(&self, times: u32) -> u32 {
        times
    }
}

/// Its remote run takes arguments.
#[derive(Debug)]
pub struct RemoteWithArguments;

#[distributed_worker]
impl RemoteWithArguments {
    #[remote]
    async fn run(&self, _ctx: &Context<Self>, times: u32) -> u32 {
        times
    }
}

/// It has nothing at all.
#[derive(Debug)]
pub struct Empty;

#[distributed_worker]
impl Empty {}

fn main() {
    let _ = (Sync, WithArguments, RemoteWithArguments, Empty);
    let master = dp_core::MasterWorker::<WithArguments>::in_process(1, |_| WithArguments);
    let run = <WithArguments as dp_core::DistributedWorker>::run(&master);
    let refused = run.start().err().map(|refused| refused.to_string());
    let refused = refused.as_deref().unwrap_or_default();
    assert!(refused.starts_with("`run(times: u32) -> u32` takes arguments"), "{refused}");
    assert!(refused.contains("write a `run` without arguments"), "{refused}");
}
