#![allow(unused)]

use dp_core::distributed_worker;

struct Worker;

impl Worker {
    #[remote]
    fn forgot_the_attribute_on_the_block(&self) {}
}

#[distributed_worker]
impl Worker {
    #[remote]
    fn method(&self) {
        #[remote]
        fn nested() {}
    }
}

fn main() {}
