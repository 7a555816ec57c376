#![allow(unused)]

use dp_core::distributed_worker;

pub struct Worker;

#[distributed_worker]
impl Worker {
    #[remote]
    pub fn argument(&self, argument: Missing, list: &[Missing]) {}

    #[remote]
    pub fn result(&self) -> Result<Missing, String> {
        Err(String::new())
    }

    #[remote]
    pub fn body(&self) -> u8 {
        "not a number"
    }
}

#[distributed_worker]
impl Absent {
    #[remote]
    pub fn method(&self) {}
}

fn main() {}
