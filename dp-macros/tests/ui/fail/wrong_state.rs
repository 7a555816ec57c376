#![allow(unused)]

use dp_core::distributed_worker;

pub struct State;

pub struct Worker;

#[distributed_worker(server = State)]
impl Worker {
    #[on_server]
    fn forgotten(text: &str) {}

    #[on_server]
    async fn fine(state: &State) {}
}

fn main() {}
