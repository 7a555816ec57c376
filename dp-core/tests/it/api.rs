//! The worker and the test of the documentation, as they are written there.
#![cfg_attr(rustfmt, rustfmt_skip)]

use dp_core::{Context, distributed_worker};

#[derive(Default)]
pub struct Greeter { greeted: u64 }

#[distributed_worker]
impl Greeter {
    /// Greets `name` on the machine that this worker lives on.
    #[remote]
    pub async fn greet(&mut self, ctx: &Context<Self>, name: &str) -> String {
        self.greeted += 1;
        ctx.result(format!("greeted {name}"));      // kept by the worker until results are gathered
        format!("{}: hello {name}", ctx.worker().id())
    }

    #[remote]
    pub fn greeted(&self) -> u64 { self.greeted }

    /// What `/run` runs, on the master.
    #[schedule]
    pub async fn run(&self) -> anyhow::Result<()> {
        self.greet("Ada").await?;                                         // every worker, same argument
        self.each(|worker| worker.greet(&format!("number {}", worker.info().index()))).await?;  // its own argument for each
        Ok(())
    }

    fn not_remote(&self) -> u64 { self.greeted }    // stays an ordinary method of Greeter
}

#[tokio::test]
async fn everyone_greets() {
    let master = dp_core::MasterWorker::<Greeter>::in_process(3, |_info| Greeter::default());
    let replies = master.greet("Ada").await.unwrap();
    assert_eq!(replies.len(), 3);
    master.run().await.unwrap();
    assert_eq!(master.results().await.unwrap().len(), 6);
}

#[test]
fn the_block_stays_plain_rust() {
    let greeter = Greeter { greeted: 7 };
    assert_eq!(greeter.greeted(), 7);
    assert_eq!(greeter.not_remote(), 7);
}
