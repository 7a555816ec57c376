//! Methods that are called as those of `Group` and `Stub` are: the worker's win on the generated
//! types, and the group's are reached through `group()` and `stub()`.

use dp_core::{MasterWorker, distributed_worker};

#[derive(Default)]
pub struct Store {
    entries: Vec<u64>,
}

#[distributed_worker]
impl Store {
    #[remote]
    pub fn get(&self, key: usize) -> Option<u64> {
        self.entries.get(key).copied()
    }

    #[remote]
    pub fn map(&mut self, value: u64) -> u64 {
        self.entries.push(value);
        value * 10
    }

    #[remote]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    #[remote]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    #[remote]
    pub fn info(&self) -> String {
        "of the store".to_owned()
    }

    #[remote]
    pub fn metrics(&self) {}

    #[remote]
    pub fn select(&self, _from: &str) -> u64 {
        1
    }

    #[remote]
    pub fn each(&self) {}

    #[remote]
    pub fn any(&self) -> bool {
        true
    }

    #[remote]
    pub fn results(&self) -> Vec<u64> {
        self.entries.clone()
    }

    #[remote]
    pub fn workers(&self) -> u8 {
        8
    }

    #[remote]
    pub fn call_json(&self) {}

    #[remote]
    pub fn frequency(&self) {}

    #[remote]
    pub fn set_frequency(&self) {}

    #[remote]
    pub fn gather_metrics(&self) {}

    #[remote]
    pub fn gather_results(&self) {}

    #[remote]
    pub fn reset_results(&self) {}

    #[remote]
    pub fn results_of_lost(&self) {}

    #[remote]
    pub fn server(&self) {}

    #[remote]
    pub fn synchro(&self) {}

    #[remote]
    #[allow(clippy::should_implement_trait)]
    pub fn clone(&self) -> u8 {
        9
    }

    #[remote]
    pub fn fmt(&self) {}

    #[remote]
    pub fn from(&self) {}

    #[remote]
    #[allow(clippy::should_implement_trait)]
    pub fn deref(&self) {}

    /// The worker's names are meant here, too.
    #[schedule]
    pub async fn run(&self) -> anyhow::Result<()> {
        assert_eq!(self.workers().await?.into_values(), [8, 8]);
        assert_eq!(self.group().workers().len(), 2);
        let tens = self.group().map(0..4, |worker, value| worker.map(value)).await?;
        assert_eq!(tens, [0, 10, 20, 30]);
        let infos = self.group().each(|worker| worker.info()).await?;
        assert_eq!(infos.into_values(), ["of the store", "of the store"]);
        Ok(())
    }
}

pub struct Grouping;

#[distributed_worker]
impl Grouping {
    #[remote]
    pub fn group(&self) -> u8 {
        1
    }

    #[remote]
    pub fn stub(&self) -> u8 {
        2
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let master = MasterWorker::<Store>::in_process(2, |_info| Store::default());
    master.run().await?;
    let lengths: usize = master.len().await?.into_values().into_iter().sum();
    assert_eq!(lengths, 4);
    assert_eq!(master.group().len(), 2);
    assert!(master.any().await?.into_values().iter().all(|any| *any));
    assert_eq!(master.clone().await?.into_values(), [9, 9]);
    let ids: Vec<_> =
        master.group().workers().iter().map(|worker| worker.stub().info().id().clone()).collect();
    assert_eq!(ids, [dp_core::WorkerId::new("w1")?, dp_core::WorkerId::new("w2")?]);

    // The dereference reaches the group whatever the worker's methods are called.
    let master = MasterWorker::<Grouping>::in_process(2, |_info| Grouping);
    assert_eq!(master.group().await?.into_values(), [1, 1]);
    assert_eq!((*master).group().len(), 2);
    Ok(())
}
