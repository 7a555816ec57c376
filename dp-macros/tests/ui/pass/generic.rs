//! Generic workers: bounds, where clauses, constants, and `Self` in every position.
#![deny(
    warnings,
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    clippy::all
)]

use dp_core::{Context, MasterWorker, distributed_worker};
use serde::{Serialize, de::DeserializeOwned};

/// Sorts.
#[derive(Debug, Default)]
pub struct Sorter<T, const N: usize>
where
    T: Ord,
{
    items: Vec<T>,
}

#[distributed_worker]
impl<T: Ord + Clone, const N: usize> Sorter<T, N>
where
    T: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    const LIMIT: usize = N;

    #[remote]
    fn push(&mut self, _ctx: &Context<Self>, item: T, items: &[T]) -> anyhow::Result<usize> {
        anyhow::ensure!(self.items.len() < Self::LIMIT);
        self.items.push(item);
        self.items.extend_from_slice(items);
        Ok(self.items.len())
    }

    #[remote]
    async fn sorted(&mut self) -> Vec<T> {
        self.items.sort();
        self.items.clone()
    }

    #[schedule]
    async fn run(&self) -> anyhow::Result<()> {
        println!("{}", Self::LIMIT);
        let _: Vec<Vec<T>> = self.sorted().await?.into_values();
        let _: Option<Self> = None;
        Ok(())
    }
}

/// It is usable in generic code.
pub async fn sort<T>(master: &MasterWorker<Sorter<T, 3>>) -> anyhow::Result<usize>
where
    T: Ord + Clone + Serialize + DeserializeOwned + Send + Sync + 'static,
{
    Ok(master.sorted().await?.into_values().len())
}

/// Its bounds say `Self`, and its lifetime is none.
#[derive(Debug, Clone)]
pub struct Odd<'a, T>(&'a str, T);

#[distributed_worker]
impl<T> Odd<'static, T>
where
    Self: Clone + Send + Sync + 'static,
    T: Default,
{
    #[remote]
    fn length(&self) -> usize {
        self.clone().0.len()
    }
}

fn main() {
    let contract = <Sorter<String, 3> as dp_core::DistributedWorker>::contract();
    assert_eq!(contract.worker, "Sorter<alloc::string::String, 3>");
}
