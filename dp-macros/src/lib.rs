//! The `#[distributed_worker]` attribute of `dp-core`, which re-exports it.
//!
//! This crate is an implementation detail: what it generates calls a hidden half of `dp-core` of
//! exactly the same version. Depend on `dp-core`.

mod args;
mod check;
mod errors;
mod expand;
mod model;
mod self_type;
mod text;

use proc_macro::TokenStream;

/// DOCS
#[proc_macro_attribute]
pub fn distributed_worker(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand::distributed_worker(arguments.into(), item.into()).into()
}
