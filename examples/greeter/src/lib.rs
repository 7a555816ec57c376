//! A worker that greets: the smallest complete worker crate.
//!
//! The impl block below is all that there is to write. `#[distributed_worker]` makes two types of it:
//! `GreeterRemoteWorker`, the stub for one worker, and `GreeterMasterWorker`, the same methods for
//! all workers at once. The programs in `src/bin/` are one line each.

use dp_core::{Context, distributed_worker};

/// Greets, and counts how often it did.
#[derive(Debug, Default)]
pub struct Greeter {
    greeted: u64,
}

#[distributed_worker]
impl Greeter {
    /// Greets `name` on the machine that this worker lives on.
    #[remote]
    pub async fn greet(&mut self, ctx: &Context<Self>, name: &str) -> String {
        self.greeted += 1;
        ctx.result(format!("greeted {name}")); // kept by the worker until results are gathered
        format!("{}: hello {name}", ctx.worker().id())
    }

    /// How often this worker has greeted.
    #[remote]
    pub fn greeted(&self) -> u64 {
        self.greeted
    }

    /// What `/run` runs, on the master.
    #[schedule]
    pub async fn run(&self) -> anyhow::Result<()> {
        self.greet("Ada").await?; // every worker, same argument
        self.each(|worker| worker.greet(&format!("number {}", worker.info().index()))).await?; // its own argument for each
        Ok(())
    }

    // Stays an ordinary method of Greeter: no stub has it.
    #[allow(dead_code, reason = "it is here to be seen; only the tests call it")]
    fn not_remote(&self) -> u64 {
        self.greeted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dp_core::{MasterWorker, RemoteWorker};

    #[tokio::test]
    async fn everyone_greets() {
        let master = dp_core::MasterWorker::<Greeter>::in_process(3, |_info| Greeter::default());
        let replies = master.greet("Ada").await.unwrap();
        assert_eq!(replies.len(), 3);
        master.run().await.unwrap();
        assert_eq!(master.results().await.unwrap().len(), 6);
    }

    #[tokio::test]
    async fn a_broadcast_answers_in_worker_order() {
        let master = MasterWorker::<Greeter>::in_process(3, |_info| Greeter::default());
        let greetings = master.greet("Ada").await.unwrap().into_values();
        assert_eq!(greetings, ["w1: hello Ada", "w2: hello Ada", "w3: hello Ada"]);
    }

    #[tokio::test]
    async fn one_stub_calls_one_worker() {
        let master = MasterWorker::<Greeter>::in_process(2, |_info| Greeter::default());
        let second: &RemoteWorker<Greeter> = &master.workers()[1];
        assert_eq!(second.greet("Grace").await.unwrap(), "w2: hello Grace");
        assert_eq!(second.greeted().await.unwrap(), 1);
        assert_eq!(master.greeted().await.unwrap().into_values(), [0, 1]);
    }

    #[tokio::test]
    async fn every_worker_gets_its_own_argument() {
        let master = MasterWorker::<Greeter>::in_process(2, |_info| Greeter::default());
        let names = ["Ada", "Grace"];
        let replies =
            master.each(|worker| worker.greet(names[worker.info().index()])).await.unwrap();
        assert_eq!(replies.into_values(), ["w1: hello Ada", "w2: hello Grace"]);
    }

    #[tokio::test]
    async fn equal_replies_print_as_one() {
        let master = MasterWorker::<Greeter>::in_process(12, |_info| Greeter::default());
        master.select(|info| info.index() == 4).greet("Ada").await.unwrap();
        assert_eq!(master.greeted().await.unwrap().to_string(), "w[1-4,6-12] → 0\nw5 → 1");
    }

    #[tokio::test]
    async fn a_greeter_by_itself_is_plain_rust() {
        let ctx = Context::local();
        assert_eq!(Greeter::default().greet(&ctx, "Ada").await, "w1: hello Ada");
        assert_eq!(ctx.recorded()[0].message, "greeted Ada");
    }

    #[test]
    fn an_ordinary_method_stays_one() {
        let greeter = Greeter { greeted: 7 };
        assert_eq!(greeter.not_remote(), 7);
        assert_eq!(greeter.greeted(), 7);
    }
}
