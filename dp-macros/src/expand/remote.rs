//! `GreeterRemoteWorker`: the stub for one worker.

use proc_macro2::TokenStream;
use quote::quote;

use super::{Expansion, stub};

fn inner(expansion: &Expansion) -> TokenStream {
    let (krate, self_ty) = (&expansion.worker.krate, &expansion.worker.self_ty);
    quote!(#krate::Stub<#self_ty>)
}

pub(super) fn item(expansion: &Expansion) -> TokenStream {
    let docs = format!(
        " Calls to one `{}`, wherever it lives: its `#[remote]` methods, each of which returns a \
         `Call`.",
        expansion.worker.name
    );
    stub::item(expansion, &expansion.remote, &inner(expansion), &docs)
}

/// The methods of the stub.
pub(super) fn stubs(expansion: &Expansion) -> TokenStream {
    let Expansion { worker, remote, .. } = expansion;
    let (impls, types, clause) = worker.generics.split_for_impl();
    let numbers = stub::methods(stub::REMOTE);
    let methods =
        worker.remotes.iter().map(|one| stub::method(worker, one, "call", "Call", &numbers));
    quote! {
        impl #impls #remote #types #clause {
            #(#methods)*
        }
    }
}

pub(super) fn expand(expansion: &Expansion) -> TokenStream {
    let Expansion { worker, remote, .. } = expansion;
    let numbers = stub::methods(stub::REMOTE);
    let stubs = stubs(expansion);
    let enumeration = stub::numbers(&numbers, &worker.remotes);
    let wrapper = stub::wrapper(expansion, remote, &inner(expansion));
    quote! {
        #enumeration

        #stubs

        #wrapper
    }
}
