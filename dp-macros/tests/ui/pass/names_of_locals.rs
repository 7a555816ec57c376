//! What is in scope around the block is called as variables of the generated code are, or might be.

#![deny(warnings, unused_results)]
#![warn(clippy::pedantic)]
#![allow(non_upper_case_globals, non_camel_case_types, dead_code, unused_imports, unused_macros)]

use dp_core::{Context, MasterWorker, WorkerInfo, distributed_worker};

/// Unit structs.
pub mod units {
    macro_rules! units {
        ($($name:ident)*) => { $(pub struct $name;)* };
    }
    units!(worker master arguments call context state caller method json future value argument);
}

/// Constants and a static.
pub mod constants {
    macro_rules! constants {
        ($($name:ident)*) => { $(pub const $name: u8 = 1;)* };
    }
    constants!(workers constructor argument0 argument1 version formatter wrapped group stub handle);
    pub static writer: u8 = 1;
}

use constants::*;
use units::*;

/// Variants.
pub enum Variants {
    this,
    reply,
    result,
}
use Variants::*;

/// Types that have the names of others.
pub mod types {
    pub struct Result;
    pub struct Option;
    pub struct Vec;
    pub struct String;
    pub struct Box;
    pub struct Some;
    pub struct Ok;
    pub struct Err;
    pub trait Future {}
    pub trait Send {}
    pub trait From {}
    pub trait Clone {}
    pub struct Group;
    pub struct Call;
    pub struct W;
    pub struct Worker;
}

/// Methods for everything.
pub trait Everything: Sized {
    fn method(self) {}
    fn argument(self) {}
    fn slice(self) {}
    fn bytes(self) {}
    fn arguments_end(self) {}
    fn shared(self) {}
    fn exclusive(self) {}
    fn state(self) {}
    fn caller(self) {}
    fn text(self) {}
    fn value(self) {}
    fn owned(self) {}
    fn deref(self) {}
    fn finish_non_exhaustive(self) {}
}

impl<T> Everything for T {}

macro_rules! format {
    ($($any:tt)*) => {
        compile_error!("the user's")
    };
}
macro_rules! todo {
    ($($any:tt)*) => {
        compile_error!("the user's")
    };
}
macro_rules! async_stream {
    ($($any:tt)*) => {
        compile_error!("the user's")
    };
}

/// A worker.
pub struct Meeting<W, T>(W, T);

/// A state.
pub struct Feed;

#[distributed_worker(server = Feed)]
impl<W, T> Meeting<W, T>
where
    W: serde::Serialize + serde::de::DeserializeOwned + Send + Sync + Clone + 'static,
    T: Send + Sync + 'static,
{
    /// Adds.
    #[remote]
    pub fn add(&mut self, ctx: &Context<Self>, first: u8, text: &str, list: &[u8], last: &[W]) -> u8 {
        first + u8::from(ctx.worker().index() > 9) + u8::from(text.is_empty() && list == last_of(last))
    }

    /// Returns.
    ///
    /// # Errors
    /// Never.
    #[remote]
    pub async fn returns<'w>(&self, one: &'w W) -> Result<W, std::io::Error> {
        Ok(one.clone())
    }

    /// Asks.
    #[on_server]
    async fn ask(feed: &Feed, from: &WorkerInfo, one: u8) -> u8 {
        let _ = (feed, from);
        one
    }

    /// Runs.
    #[schedule]
    pub async fn run(&self) -> std::result::Result<(), dp_core::BroadcastError> {
        let sums = self.add(1, "text", &[1], &[]).await?;
        assert_eq!(sums.into_values(), [1, 1]);
        Ok(())
    }
}

fn last_of<T>(_: &[T]) -> &'static [u8] {
    &[]
}

/// In a module where the types are.
pub mod hidden {
    use super::types::*;
    use dp_core::distributed_worker;

    /// A worker.
    pub struct Hidden;

    #[distributed_worker]
    impl Hidden {
        /// Adds.
        #[remote]
        pub async fn add(&self, number: u8) -> std::option::Option<u8> {
            let _ = (Ok, Err, Some);
            std::option::Option::Some(number)
        }

        /// Runs.
        #[schedule]
        pub async fn run(&self) -> std::result::Result<(), dp_core::BroadcastError> {
            std::mem::drop(self.add(1).await?);
            std::result::Result::Ok(())
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let both =
        MasterWorker::<Meeting<u8, ()>>::in_process_with(Feed, 2, |_info| Meeting(1, ()));
    both.run().await.unwrap();
    assert_eq!(both.returns(&7).await.unwrap().into_values(), [7, 7]);
    let both = MasterWorker::<hidden::Hidden>::in_process(2, |_info| hidden::Hidden);
    both.run().await.unwrap();
}
