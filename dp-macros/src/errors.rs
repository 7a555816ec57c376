//! The sink that collects every mistake, so that all of them are reported at once.

use proc_macro2::TokenStream;
use quote::ToTokens;

/// What is wrong with the user's block.
///
/// It must be consumed by [`Errors::into_compile_errors`]: a mistake that is found and then
/// forgotten would expand to code that fails in a way nobody can read.
#[must_use]
pub(crate) struct Errors {
    list: Vec<syn::Error>,
    consumed: bool,
}

impl Errors {
    pub(crate) fn new() -> Self {
        Errors { list: Vec::new(), consumed: false }
    }

    /// Notes a mistake, marking all of `culprit`.
    ///
    /// `help` says what to write instead; it may be empty where the message leaves no doubt.
    pub(crate) fn at(&mut self, culprit: impl ToTokens, message: &str, help: &str) {
        self.list.push(syn::Error::new_spanned(culprit, with_help(message, help)));
    }

    /// Notes what `syn` had to say.
    pub(crate) fn syntax(&mut self, error: syn::Error) {
        self.list.push(error);
    }

    /// How many mistakes there are, to see whether a step has found another one.
    pub(crate) fn count(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn into_compile_errors(mut self) -> TokenStream {
        self.consumed = true;
        self.list.iter().map(syn::Error::to_compile_error).collect()
    }
}

impl Drop for Errors {
    fn drop(&mut self) {
        // For the tests of this crate: a released macro never panics.
        debug_assert!(self.consumed || std::thread::panicking(), "mistakes were not reported");
    }
}

fn with_help(message: &str, help: &str) -> String {
    if help.is_empty() { message.to_owned() } else { format!("{message}\nhelp: {help}") }
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    #[test]
    fn every_mistake_becomes_a_compile_error() {
        let mut errors = Errors::new();
        errors.at(quote!(a), "first", "");
        errors.at(quote!(b), "second", "write it");
        let text = errors.into_compile_errors().to_string();
        assert_eq!(text.matches("compile_error").count(), 2);
        assert!(text.contains(r"second\nhelp: write it"));
    }
}
