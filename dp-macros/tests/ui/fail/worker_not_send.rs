#![allow(unused)]

use std::rc::Rc;

use dp_core::distributed_worker;

pub struct Worker {
    shared: Rc<u8>,
}

#[distributed_worker]
impl Worker {
    #[remote]
    pub fn method(&self, argument: &str) -> u8 {
        *self.shared
    }

    #[schedule]
    pub async fn run(&self) -> Result<(), dp_core::BroadcastError> {
        self.method("argument").await.map(drop)
    }
}

fn main() {}
