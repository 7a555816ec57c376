//! The user's own block.

use proc_macro2::TokenStream;
use quote::ToTokens;

use super::Expansion;

/// The block as it was written, without our attributes and without the schedules.
pub(super) fn expand(expansion: &Expansion) -> TokenStream {
    expansion.worker.local.to_token_stream()
}
