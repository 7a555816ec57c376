//! The generated code takes nothing from the names around it.
#![no_implicit_prelude]
#![deny(warnings)]
#![allow(non_camel_case_types)]

extern crate dp_core as renamed;

mod library {
    pub use ::renamed::*;
}

// Everything that could be taken for something else.
struct Result;
struct Option;
struct String;
struct Vec;
struct Box;
struct Method;
struct Call;
struct Broadcast;
struct u16;
struct str_;
mod core {}
mod std {}

struct Worker;

#[library::distributed_worker(crate = library)]
impl Worker {
    #[remote]
    fn add(&self, first: u8, text: &str, items: &[u8], more: &[u64]) -> u64 {
        let _ = (first, text, items, more);
        1
    }

    #[remote]
    async fn fails(&mut self) -> ::core::result::Result<(), ::std::string::String> {
        ::core::result::Result::Ok(())
    }

    #[schedule]
    async fn run(&self) -> ::core::result::Result<(), ::renamed::BroadcastError> {
        self.add(1, "", &[], &[]).await?;
        ::core::result::Result::Ok(())
    }
}

fn main() {
    let _ = (
        Result, Option, String, Vec, Box, Method, Call, Broadcast, u16, str_, Worker,
    );
}
