#![allow(unused)]

use std::collections::HashMap;

use dp_core::distributed_worker;

pub struct Plain;

pub struct State;

pub struct Worker;

#[distributed_worker(server = State)]
impl Worker {
    #[remote]
    pub fn owned(&self, argument: Plain) {}

    #[remote]
    pub fn lent(&self, argument: &Plain) {}

    #[remote]
    pub fn slice(&self, argument: &[Plain]) {}

    #[remote]
    pub fn within(&self, argument: HashMap<u8, Plain>, fine: u8) {}

    #[remote]
    pub fn result(&self) -> Plain {
        Plain
    }

    #[remote]
    pub async fn success(&self) -> Result<Plain, String> {
        Ok(Plain)
    }

    #[remote]
    pub fn error(&self) -> Result<u8, Plain> {
        Ok(1)
    }

    #[remote]
    pub fn short(&self) -> Short {
        Ok(1)
    }

    #[remote(typed_error)]
    pub fn typed(&self) -> Result<u8, Plain> {
        Ok(1)
    }

    #[on_server]
    fn on_server(state: &State, argument: Plain) -> Vec<Plain> {
        vec![argument]
    }
}

type Short = Result<u8, Plain>;

fn main() {}
