#![allow(unused)]

use dp_core::{Context, distributed_worker};

struct Worker;

struct State;

#[distributed_worker(server = State)]
impl Worker {
    #[remote]
    fn by_value(&self, ctx: Context<Self>) {}

    #[remote]
    fn mutable(&self, ctx: &mut dp_core::Context<Worker>) {}

    #[remote]
    fn late(&self, argument: u8, ctx: &Context<Self>) {}

    #[remote]
    fn twice(&self, ctx: &Context<Self>, again: &Context<Self>) {}

    #[schedule]
    fn schedule(&self, ctx: &Context<Self>) {}

    #[on_server]
    fn on_server(state: &State, ctx: &Context<Self>) {}
}

struct Other;

#[distributed_worker]
impl Other {
    #[remote]
    fn of_another_worker(&self, ctx: &Context<Worker>) {}
}

fn main() {}
