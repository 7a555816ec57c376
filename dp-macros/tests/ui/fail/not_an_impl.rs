#![allow(unused)]

use dp_core::distributed_worker;

#[distributed_worker]
struct Worker;

#[distributed_worker]
fn function() {}

#[distributed_worker]
mod module {
    pub struct Inner;

    impl Inner {
        #[remote]
        pub fn method(&self) {}
    }
}

#[distributed_worker]
trait Trait {
    #[remote]
    fn method(&self);
}

#[distributed_worker]
impl Trait for Worker {
    #[remote]
    fn method(&self) {}
}

#[distributed_worker]
impl dyn Trait {
    #[remote]
    fn other(&self) {}
}

fn main() {}
