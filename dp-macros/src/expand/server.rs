//! `GreeterServer`: the stub behind `ctx.server()`.

use proc_macro2::{Span, TokenStream};
use quote::quote;

use super::{Expansion, hygienic, stub};

fn inner(expansion: &Expansion) -> TokenStream {
    let (private, self_ty) = (&expansion.worker.private, &expansion.worker.self_ty);
    quote!(#private::ServerHandle<#self_ty>)
}

pub(super) fn item(expansion: &Expansion) -> TokenStream {
    if !expansion.worker.has_server_stub {
        return TokenStream::new();
    }
    let docs = format!(
        " Calls from a `{}` to its server: the `#[on_server]` functions, each of which returns a \
         `Call`.",
        expansion.worker.name
    );
    stub::item(expansion, &expansion.server, &inner(expansion), &docs)
}

pub(super) fn expand(expansion: &Expansion) -> TokenStream {
    let Expansion { worker, server, .. } = expansion;
    if !worker.has_server_stub {
        return TokenStream::new();
    }
    let (impls, types, clause) = worker.generics.split_for_impl();
    let inner = inner(expansion);
    let numbers = stub::methods(stub::SERVER);
    let methods = worker
        .server_functions
        .iter()
        .map(|one| stub::method(worker, one, "call_server", "Call", &numbers));
    let enumeration = stub::numbers(&numbers, &worker.server_functions);
    let from = stub::from(expansion, server, &inner);
    let name = server.to_string();
    let formatter = hygienic("formatter", Span::call_site());
    let krate = &worker.krate;
    let self_ty = &worker.self_ty;
    quote! {
        #enumeration

        impl #impls #server #types #clause {
            #(#methods)*
        }

        #from

        #[automatically_derived]
        impl #impls #krate::ServerFunctions for #self_ty #clause {
            type Stub = #server #types;
        }

        #[automatically_derived]
        impl #impls ::core::fmt::Debug for #server #types #clause {
            fn fmt(&self, #formatter: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                ::core::fmt::DebugStruct::finish_non_exhaustive(
                    &mut ::core::fmt::Formatter::debug_struct(#formatter, #name),
                )
            }
        }
    }
}
