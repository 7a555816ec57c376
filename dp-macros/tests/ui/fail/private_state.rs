#![allow(unused)]

use dp_core::distributed_worker;

struct Private;

pub struct Public;

#[distributed_worker(server = Private)]
impl Public {}

fn main() {}
