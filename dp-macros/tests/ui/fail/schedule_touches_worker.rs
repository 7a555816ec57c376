#![allow(unused)]

use dp_core::distributed_worker;

pub struct Worker {
    count: u64,
}

#[distributed_worker]
impl Worker {
    #[remote]
    pub fn remote(&self) {}

    fn local(&self) {}

    #[schedule]
    pub async fn run(&self) {
        let _ = self.remote().await;
        self.local();
        println!("{}", self.count);
    }
}

fn main() {}
