//! `#[cfg]` on methods, on `run`, and on the whole block.
#![deny(
    warnings,
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    clippy::all
)]

use dp_core::distributed_worker;

/// Has what it is configured to have.
#[derive(Debug)]
pub struct Worker;

#[distributed_worker]
impl Worker {
    #[cfg(any())]
    #[remote]
    fn gone(&self, argument: DoesNotExist) -> DoesNotExist {
        does_not_exist(argument)
    }

    #[remote]
    #[cfg(not(any()))]
    fn there(&self) -> u8 {
        1
    }

    #[cfg(not(any()))]
    #[remote]
    fn either(&self) -> u8 {
        1
    }

    #[cfg(any())]
    #[remote]
    fn either(&self, other: u16) -> u16 {
        other
    }

    #[cfg_attr(not(any()), doc = "Documented where it is configured to be.")]
    #[cfg_attr(any(), cfg(any()))]
    #[remote]
    pub fn documented(&self) {}

    #[cfg(any())]
    #[schedule]
    async fn run(&self) {
        does_not_exist();
    }

    #[cfg(not(any()))]
    #[remote]
    async fn run(&self) {}
}

/// It is not there at all.
#[cfg(any())]
#[derive(Debug)]
pub struct Gone;

#[distributed_worker]
#[cfg(any())]
impl Gone {
    #[remote]
    fn gone(&self) {}

    #[schedule]
    fn run(&self) {}
}

/// Its run is not there.
#[derive(Debug)]
pub struct NoRun;

#[distributed_worker]
impl NoRun {
    #[cfg(any())]
    #[schedule]
    fn run(&self) {}
}

fn main() {
    let _ = (Worker, NoRun);
    let contract = <Worker as dp_core::DistributedWorker>::contract();
    let names: Vec<_> = contract
        .methods
        .iter()
        .map(|method| method.signature)
        .collect();
    assert_eq!(
        names,
        ["there() -> u8", "either() -> u8", "documented()", "run()"]
    );
}
