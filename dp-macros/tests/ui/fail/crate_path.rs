#![allow(unused)]

use dp_core::distributed_worker;

struct Worker;

#[distributed_worker(crate = missing::library)]
impl Worker {
    #[remote]
    fn method(&self, argument: &str) -> u8 {
        1
    }
}

fn main() {}
