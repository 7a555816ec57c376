#![allow(unused)]

use dp_core::{Context, distributed_worker};

pub struct Worker;

#[distributed_worker]
impl Worker {
    #[remote]
    pub fn double(&self, ctx: &Context<Self>, number: u8) -> u8 {
        ctx.server().next();
        number * 2
    }

    #[schedule]
    pub async fn run(&self) {
        let _ = self.each(|worker| async move { worker.double(1).await }).await;
        let _ = self.map(0..9, |worker, number| async move { worker.double(number).await }).await;
        let _ = self.each(|worker| {
            worker.double(1);
        });
    }
}

fn main() {}
