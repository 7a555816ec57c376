#![allow(unused)]

use dp_core::{WorkerInfo, distributed_worker};

pub struct State;

pub struct Worker;

#[distributed_worker(server = State)]
impl Worker {
    #[on_server]
    fn receiver(&self, argument: u8) {}

    #[on_server]
    fn nothing() {}

    #[on_server]
    fn owned_state(state: State) {}

    #[on_server]
    fn only_the_caller(caller: &WorkerInfo) {}

    #[on_server]
    fn late(state: &State, argument: u8, caller: &WorkerInfo) {}

    #[on_server]
    fn owned_caller(state: &State, caller: WorkerInfo) {}

    #[on_server]
    fn generic<T>(state: &State, argument: T) {}

    #[on_server]
    fn borrowed(state: &State) -> &str {
        "text"
    }
}

pub struct Stateless;

#[distributed_worker]
impl Stateless {
    #[on_server]
    fn stateless(state: &State) {}
}

fn main() {}
