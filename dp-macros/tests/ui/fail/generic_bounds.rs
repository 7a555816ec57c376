#![allow(unused)]

use dp_core::distributed_worker;

pub struct Sorter<T>(Vec<T>);

#[distributed_worker]
impl<T: Ord> Sorter<T> {
    #[remote]
    pub fn push(&mut self, item: T) {}

    #[remote]
    pub fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }
}

fn main() {}
