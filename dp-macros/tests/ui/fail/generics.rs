#![allow(unused)]

use dp_core::distributed_worker;

struct Worker;

#[distributed_worker]
impl Worker {
    #[remote]
    fn of_types<T: Into<String>, U>(&self, argument: T, other: U) {}

    #[remote]
    fn of_numbers<const N: usize>(&self, argument: [u8; N]) {}

    #[remote]
    fn of_implementations(&self, argument: impl Into<String>, nested: Option<&impl Clone>) {}

    #[remote]
    fn fine<'a>(&'a self, argument: &'a str) {}

    #[schedule]
    fn fine_too<T>(&self, argument: T) {}

    #[schedule]
    fn run<T>(&self) {}
}

fn main() {}
