//! Emits what the model says, one file for each item.

mod local;
mod master;
mod remote;
mod server;
mod stub;
mod worker;

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::Ident;
use syn::ext::IdentExt;

use crate::args::Args;
use crate::check::check;
use crate::errors::Errors;
use crate::model::{self, Worker};

/// The attribute, as a function of tokens.
pub(crate) fn distributed_worker(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::new();
    let args = Args::parse(arguments, &mut errors);
    let expansion = match model::build(item, args, &mut errors) {
        Ok(mut worker) => {
            check(&mut worker, &mut errors);
            Expansion::new(&worker).into_token_stream()
        }
        Err(rest) => rest,
    };
    let mut tokens = errors.into_compile_errors();
    tokens.extend(expansion);
    tokens
}

/// The model and the names of what is made of it.
struct Expansion<'a> {
    worker: &'a Worker,
    remote: Ident,
    master: Ident,
    server: Ident,
    /// The lints that would speak of generated code to a user who cannot change it.
    quiet: TokenStream,
}

impl<'a> Expansion<'a> {
    fn new(worker: &'a Worker) -> Self {
        let name = worker.name.unraw();
        let span = worker.name.span();
        Expansion {
            worker,
            remote: format_ident!("{name}RemoteWorker", span = span),
            master: format_ident!("{name}MasterWorker", span = span),
            server: format_ident!("{name}Server", span = span),
            quiet: quote! {
                #[allow(
                    clippy::all,
                    clippy::nursery,
                    clippy::pedantic,
                    clippy::restriction,
                    dead_code,
                    deprecated,
                    elided_lifetimes_in_paths,
                    non_camel_case_types,
                    non_local_definitions,
                    non_snake_case,
                    private_bounds,
                    private_interfaces,
                    single_use_lifetimes,
                    unnameable_types,
                    unreachable_code,
                    unreachable_pub,
                    unused_lifetimes,
                    unused_mut,
                    unused_qualifications,
                    unused_variables
                )]
            },
        }
    }
}

impl ToTokens for Expansion<'_> {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Expansion { worker, quiet, .. } = self;
        let cfgs = &worker.cfgs;
        let local = local::expand(self);
        if worker.is_second {
            // Its methods are there for those who call them.
            let (schedules, stubs) =
                (master::schedules(self), [remote::stubs(self), master::stubs(self)]);
            tokens.extend(
                quote! { #local #schedules #(#cfgs)* #quiet const _: () = { #(#stubs)* }; },
            );
            return;
        }
        let types = [remote::item(self), master::item(self), server::item(self)];
        let schedules = master::schedules(self);
        let impls = [remote::expand(self), master::expand(self), server::expand(self)];
        let implementation = worker::expand(self);
        tokens.extend(quote! {
            #local
            #(#types)*
            #schedules
            #(#cfgs)*
            #quiet
            const _: () = {
                #(#impls)*
                #implementation
            };
        });
    }
}

/// A name for a variable of the generated code, which no name of the user's can be.
///
/// The span keeps it apart from the user's variables. The prefix keeps it apart from the user's
/// constants, statics and unit structs, which a pattern of the same name would mean.
fn hygienic(name: &str, at: Span) -> Ident {
    Ident::new(&format!("__dp_{name}"), Span::mixed_site().located_at(at))
}

#[cfg(test)]
mod tests;
