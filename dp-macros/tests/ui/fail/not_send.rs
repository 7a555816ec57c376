#![allow(unused)]

use std::rc::Rc;

use dp_core::distributed_worker;

pub struct Worker;

#[distributed_worker]
impl Worker {
    #[remote]
    pub async fn remote(&self) {
        let local = Rc::new(1);
        std::future::ready(()).await;
        drop(local);
    }

    #[schedule]
    pub async fn run(&self) {
        let local = Rc::new(1);
        std::future::ready(()).await;
        drop(local);
    }
}

fn main() {}
