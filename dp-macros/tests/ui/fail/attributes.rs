#![allow(unused)]

use dp_core::distributed_worker;

struct Worker;

#[distributed_worker(name = "w", crate = "dp_core", server = u8, server = u8)]
impl Worker {
    #[remote(foo)]
    fn unknown(&self) {}

    #[remote(typed_error, typed_error)]
    fn repeated(&self) -> Result<u8, u8> {
        Ok(1)
    }

    #[remote = "value"]
    fn value(&self) {}

    #[schedule(every = 1)]
    fn schedule(&self) {}

    #[remote]
    #[schedule]
    fn both(&self) {}

    #[remote]
    #[remote]
    fn twice(&self) {}

    #[remote]
    const CONSTANT: u8 = 1;

    #[cfg_attr(all(), remote)]
    fn conditional(&self) {}
}

struct Other;

#[distributed_worker(server)]
impl Other {}

fn main() {}
