#![allow(unused)]

use std::borrow::Cow;
use std::collections::HashMap;

use dp_core::distributed_worker;

struct Worker;

#[distributed_worker]
impl Worker {
    #[remote]
    fn patterns(&self, (first, second): (u8, u8), Point { x, .. }: Point, ref third: u8) {}

    #[remote]
    fn mutable(&self, list: &mut Vec<u8>, text: &mut str) {}

    #[remote]
    fn dynamic(&self, error: &dyn std::error::Error) {}

    #[remote]
    fn nested(&self, option: Option<&str>, map: &HashMap<u8, &'static str>, twice: &&u8) {}

    #[remote]
    fn borrowing<'a>(&self, cow: Cow<'a, str>, elided: Cow<'_, str>, fine: Cow<'static, str>) {}

    #[remote]
    fn for_ever(&self, text: &'static str, numbers: &'static [u8]) {}

    #[remote]
    fn configured(&self, #[cfg(unix)] argument: u8) {}

    #[remote]
    fn fine(&self, mut argument: u8, _: u8, _ignored: &str) {}
}

struct Point {
    x: u8,
}

fn main() {}
