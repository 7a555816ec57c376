#![allow(unused)]

use dp_core::distributed_worker;

struct Worker;

#[distributed_worker]
impl Worker {
    #[remote]
    unsafe fn is_unsafe(&self) {}

    #[remote]
    extern "C" fn is_extern(&self) {}

    #[remote]
    const fn is_const(&self) {}

    #[schedule]
    const unsafe extern "C" fn all_of_it(&self) {}
}

fn main() {}
