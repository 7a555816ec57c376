#![allow(unused)]

use std::borrow::Cow;
use std::future::Future;

use dp_core::distributed_worker;

struct Worker;

#[distributed_worker]
impl Worker {
    #[remote]
    fn text(&self) -> &str {
        "text"
    }

    #[remote]
    fn slice(&self) -> &[u64] {
        &[]
    }

    #[remote]
    fn reference(&self) -> &'static u64 {
        &1
    }

    #[remote]
    fn within(&self) -> Option<&str> {
        None
    }

    #[remote]
    fn within_result(&self) -> Result<&str, String> {
        Ok("text")
    }

    #[remote]
    fn borrowed(&self) -> Cow<'_, str> {
        "text".into()
    }

    #[remote]
    fn future(&self) -> impl Future<Output = u8> {
        async { 1 }
    }

    #[remote]
    fn iterator(&self) -> impl Iterator<Item = u8> {
        [1].into_iter()
    }

    #[remote]
    fn never(&self) -> ! {
        panic!()
    }

    #[remote(typed_error)]
    fn no_error(&self) -> u8 {
        1
    }

    #[remote(typed_error)]
    fn nothing(&self) {}
}

fn main() {}
