//! Counts words in text files, the work split over many machines.
//!
//! [`blocks`] cuts the texts into blocks at places where no word is cut; [`WordCounter`] counts those
//! of one block, and its `count_all` hands them out and puts the counts together. [`count`] is the
//! same on one thread: what the result is checked against.

mod counter;
mod text;

pub use counter::{WordCounter, WordCounterMasterWorker, WordCounterRemoteWorker};
pub use text::{Counts, add, blocks, count, most_frequent};
