//! Workers that drive themselves: every one runs [`Searcher::run`], meets the others at barriers, and
//! asks the server for what they share.
//!
//! Together they look for the number with the longest Collatz chain (halve it if it is even, else
//! triple it and add one, until it is 1). The [`Board`] is the server's state: the ranges that are
//! still to be searched, the best chain so far, and a journal that shows by one clock who did what
//! when.

mod board;
mod chain;
mod searcher;

pub use board::{Board, Entry};
pub use chain::{Chain, longest_chain};
pub use searcher::{Searcher, SearcherMasterWorker, SearcherRemoteWorker, SearcherServer};
