#![allow(unused)]

use std::sync::Arc;

use dp_core::distributed_worker;

struct Worker;

#[distributed_worker]
impl Worker {
    #[remote]
    fn by_value(self) {}

    #[remote]
    fn by_mutable_value(mut self, argument: u8) {}

    #[remote]
    fn boxed(self: Box<Self>) {}

    #[remote]
    fn shared(self: &Arc<Self>) {}

    #[remote]
    fn missing() {}

    #[remote]
    fn missing_before_arguments(argument: u8) {}

    #[schedule]
    async fn changing(&mut self) {}

    #[schedule]
    async fn static_schedule() {}
}

fn main() {}
