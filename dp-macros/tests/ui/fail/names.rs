#![allow(unused)]

use dp_core::{MasterWorker, distributed_worker};

struct Worker;

#[distributed_worker]
impl Worker {
    #[remote]
    fn in_process(&self) {}

    #[schedule]
    fn in_process_with(&self) {}

    #[remote]
    fn twice(&self) {}

    #[remote]
    fn twice(&self, argument: u8) {}

    #[remote]
    fn run(&self) {}

    #[schedule]
    async fn run(&self) {}

    // An ordinary method may be called as it likes.
    fn is_empty(&self) -> bool {
        true
    }
}

async fn uses(master: &MasterWorker<Worker>) {
    let _ = master.twice().await;
}

fn main() {}
