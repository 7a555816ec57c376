// The stubs take what the method takes, and nothing else.
#![allow(unused)]

use dp_core::{MasterWorker, distributed_worker};

struct Worker;

#[distributed_worker]
impl Worker {
    #[remote]
    fn greet(&self, name: &str) -> String {
        name.to_owned()
    }

    fn local(&self) {}
}

async fn uses(master: &MasterWorker<Worker>) {
    let _ = master.greet(1).await;
    let _ = master.local();
    let _ = MasterWorker::<Worker>::in_process_with((), 1, |_info| Worker);
}

fn main() {}
