#![allow(unused)]

use dp_core::distributed_worker;

struct Borrowing<'a>(&'a str);

#[distributed_worker]
impl<'a> Borrowing<'a> {
    #[remote]
    fn method(&self) {}
}

struct Elided<'a>(&'a str);

#[distributed_worker]
impl Elided<'_> {
    #[remote]
    fn method(&self) {}

    #[schedule]
    fn run(&self) {}
}

fn main() {}
