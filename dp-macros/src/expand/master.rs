//! `GreeterMasterWorker`: the broadcaster over a group of workers.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{Ident, ImplItemFn, parse_quote};

use super::{Expansion, stub};
use crate::model::{Schedule, Worker};

fn inner(expansion: &Expansion) -> TokenStream {
    let (krate, self_ty) = (&expansion.worker.krate, &expansion.worker.self_ty);
    quote!(#krate::Group<#self_ty>)
}

pub(super) fn item(expansion: &Expansion) -> TokenStream {
    let docs = format!(
        " Calls to every `{}` of a group: its `#[remote]` methods, each of which returns a \
         `Broadcast`, and its `#[schedule]` methods.",
        expansion.worker.name
    );
    stub::item(expansion, &expansion.master, &inner(expansion), &docs)
}

/// The schedules stand apart from the rest: their bodies are the user's, and so are their lints.
pub(super) fn schedules(expansion: &Expansion) -> Option<TokenStream> {
    let Expansion { worker, master, .. } = expansion;
    let Worker { cfgs, allows, schedules, .. } = worker;
    if schedules.is_empty() {
        return None;
    }
    let (impls, types, clause) = worker.generics.split_for_impl();
    let methods = schedules.iter().map(|schedule| run_begins(worker, schedule));
    Some(quote! {
        #(#cfgs)*
        #(#allows)*
        #[allow(dead_code, private_bounds, private_interfaces, unreachable_pub)]
        impl #impls #master #types #clause {
            #(#methods)*
        }
    })
}

/// The schedule as it is; the one named `run` begins a run first.
fn run_begins(worker: &Worker, schedule: &Schedule) -> ImplItemFn {
    let mut item = schedule.item.clone();
    if item.sig.ident == "run" && !schedule.faulty {
        let Worker { private, self_ty, .. } = worker;
        let begin = parse_quote!(#private::begin_run::<#self_ty>(self););
        item.block.stmts.insert(0, begin);
    }
    item
}

/// The methods that call every worker.
pub(super) fn stubs(expansion: &Expansion) -> TokenStream {
    let Expansion { worker, master, .. } = expansion;
    let (impls, types, clause) = worker.generics.split_for_impl();
    let numbers = stub::methods(stub::REMOTE);
    let methods = worker.remotes.iter().map(|one| {
        let function = match one.name == "run" {
            true => "broadcast_run",
            false => "broadcast",
        };
        stub::method(worker, one, function, "Broadcast", &numbers)
    });
    quote! {
        impl #impls #master #types #clause {
            #(#methods)*
        }
    }
}

pub(super) fn expand(expansion: &Expansion) -> TokenStream {
    let Expansion { worker, master, .. } = expansion;
    let (impls, types, clause) = worker.generics.split_for_impl();
    let (in_process, stubs) = (in_process(worker), stubs(expansion));
    let wrapper = stub::wrapper(expansion, master, &inner(expansion));
    quote! {
        const _: () = {
            // The names of the parameters below are for the documentation. A constant of the same
            // name would be meant by them; these functions hide it, and a parameter hides them.
            fn constructor() {}
            fn state() {}
            fn workers() {}

            impl #impls #master #types #clause {
                #in_process
            }
        };

        #stubs

        #wrapper
    }
}

fn in_process(worker: &Worker) -> TokenStream {
    let Worker { krate, private, self_ty, server, .. } = worker;
    let [state, workers, constructor] =
        ["state", "workers", "constructor"].map(|name| Ident::new(name, Span::mixed_site()));
    let constructor_type = quote! {
        impl ::core::ops::Fn(&#krate::WorkerInfo) -> #self_ty
            + ::core::marker::Send + ::core::marker::Sync + 'static
    };
    match server {
        None => quote! {
            /// A group of `workers` workers in this process, with the ids `w1`, `w2` and so on.
            ///
            /// Everything happens as over a network, by the same code; `constructor` makes each
            /// worker, and makes it anew after a panic.
            pub fn in_process(
                #workers: ::core::primitive::usize,
                #constructor: #constructor_type,
            ) -> Self {
                ::core::convert::From::from(#private::in_process((), #workers, #constructor))
            }
        },
        Some(server) => quote! {
            /// A group of `workers` workers in this process, with the ids `w1`, `w2` and so on,
            /// and with `state` as the state of their server.
            ///
            /// Everything happens as over a network, by the same code; `constructor` makes each
            /// worker, and makes it anew after a panic.
            pub fn in_process_with(
                #state: #server,
                #workers: ::core::primitive::usize,
                #constructor: #constructor_type,
            ) -> Self {
                ::core::convert::From::from(#private::in_process(#state, #workers, #constructor))
            }
        },
    }
}
