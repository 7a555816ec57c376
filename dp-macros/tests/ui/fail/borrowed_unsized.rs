#![allow(unused)]

use std::ffi::{CStr, OsStr};
use std::fmt::Display;
use std::path::Path;

use dp_core::distributed_worker;

pub struct Worker;

#[distributed_worker]
impl Worker {
    #[remote]
    pub fn path(&self, path: &Path) {}

    #[remote]
    pub fn os(&self, text: &OsStr, fine: &[u8; 4]) {}

    #[remote]
    pub fn c(&self, text: &std::ffi::CStr) {}

    #[remote]
    pub fn object(&self, display: &dyn Display) {}

    #[remote]
    pub fn paths(&self, paths: &[&Path]) {}
}

fn main() {}
