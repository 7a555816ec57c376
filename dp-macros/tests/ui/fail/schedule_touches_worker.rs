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

    fn len(&self) -> usize {
        1
    }

    #[schedule]
    pub async fn run(&self) {
        let _ = self.remote().await;
        self.local();
        println!("{} {}", self.len(), self.count);
        let more = || self.count + 1;
    }

    #[schedule]
    fn by_another_name(&self) -> u64 {
        let this = self;
        this.count
    }
}

#[derive(Clone)]
pub struct Tuple(u64);

#[distributed_worker]
impl Tuple {
    #[schedule]
    fn first(&self) -> u64 {
        (self).0
    }
}

fn main() {}
