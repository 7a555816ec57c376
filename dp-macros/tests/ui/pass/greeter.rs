//! The worker of the documentation, private parts and all, without a warning.
#![deny(
    warnings,
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    clippy::all
)]

use dp_core::{Context, MasterWorker, RemoteWorker, distributed_worker};

/// Greets.
#[derive(Debug, Default)]
pub struct Greeter {
    greeted: u64,
}

#[distributed_worker]
impl Greeter {
    /// How often a schedule greets.
    pub const TIMES: u64 = 2;

    /// Greets `name` on the machine that this worker lives on.
    #[remote]
    pub async fn greet(&mut self, ctx: &Context<Self>, name: &str) -> String {
        self.greeted += 1;
        ctx.result(format!("greeted {name}"));
        format!("{}: hello {name}", ctx.worker().id())
    }

    /// How often it has greeted.
    #[remote]
    pub fn greeted(&self) -> u64 {
        self.greeted
    }

    #[remote]
    fn private_and_unused(&self) {}

    /// What `/run` runs, on the master.
    #[schedule]
    pub async fn run(&self) -> anyhow::Result<()> {
        for _ in 0..Self::TIMES {
            self.greet("Ada").await?;
        }
        let numbered = |worker: &GreeterRemoteWorker| {
            worker.greet(&format!("number {}", worker.info().index()))
        };
        self.each(numbered).await?;
        self.also().await
    }

    #[schedule]
    async fn also(&self) -> anyhow::Result<()> {
        assert_eq!(self.greeted().await?.values().count(), self.len());
        Ok(())
    }

    fn not_remote(&self) -> u64 {
        self.greeted
    }
}

fn same_types(remote: GreeterRemoteWorker, master: GreeterMasterWorker) {
    let _: (RemoteWorker<Greeter>, MasterWorker<Greeter>) = (remote, master);
}

fn main() {
    let _ = same_types;
    let greeter = Greeter::default();
    assert_eq!(greeter.greeted(), greeter.not_remote());
    let contract = <Greeter as dp_core::DistributedWorker>::contract();
    assert_eq!(contract.worker, "Greeter");
    let signatures: Vec<_> = contract
        .methods
        .iter()
        .map(|method| method.signature)
        .collect();
    assert_eq!(
        signatures,
        [
            "greet(name: &str) -> String",
            "greeted() -> u64",
            "private_and_unused()"
        ]
    );
    assert_eq!(contract.methods[0].types, "mut (&str) -> String");
    assert_eq!(
        contract.methods[0].docs,
        "Greets `name` on the machine that this worker lives on."
    );
    let exclusive: Vec<_> = contract
        .methods
        .iter()
        .map(|method| method.exclusive)
        .collect();
    assert_eq!(exclusive, [true, false, false]);
}
