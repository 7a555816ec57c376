//! What the three generated types have in common.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Ident, Type};

use super::{Expansion, hygienic};
use crate::model::{Argument, Carried, Function, Passing, Worker};

/// The name of the `Method` enum: whatever is declared beside the impls hides what the user's
/// signatures mean, so it must be a name that nobody has.
pub(super) fn methods(of: &str) -> Ident {
    Ident::new(of, proc_macro2::Span::call_site())
}

pub(super) const REMOTE: &str = "__DpRemote";
pub(super) const SERVER: &str = "__DpServer";

/// `pub struct #name { #field: #inner }`
///
/// It has one type parameter more than the worker, which is the worker itself. The struct is `pub`
/// because the worker may be, and the worker may be private: its name in the header of an impl,
/// where the default of the parameter puts it, makes the impl as private as the worker is, and
/// without that `Deref` would be a private type in a public interface.
pub(super) fn item(
    expansion: &Expansion,
    name: &Ident,
    field: &Ident,
    inner: &TokenStream,
    docs: &str,
) -> TokenStream {
    let Expansion { worker, quiet, .. } = expansion;
    let Worker { generics, cfgs, self_ty, .. } = worker;
    let clause = &generics.where_clause;
    let parameters = generics.params.iter();
    quote! {
        #(#cfgs)*
        #[doc = #docs]
        #quiet
        pub struct #name<#(#parameters,)* __Worker = #self_ty> #clause {
            #field: #inner,
            __dp_worker: ::core::marker::PhantomData<fn() -> __Worker>,
        }
    }
}

/// `From` of the type of the library's that `name` wraps.
pub(super) fn from(
    expansion: &Expansion,
    name: &Ident,
    field: &Ident,
    inner: &TokenStream,
) -> TokenStream {
    let (impls, types, clause) = expansion.worker.generics.split_for_impl();
    quote! {
        #[automatically_derived]
        impl #impls ::core::convert::From<#inner> for #name #types #clause {
            fn from(#field: #inner) -> Self {
                Self { #field, __dp_worker: ::core::marker::PhantomData }
            }
        }
    }
}

/// `From`, `Deref`, `Clone` and `Debug` of a type that wraps one of the library's.
pub(super) fn wrapper(
    expansion: &Expansion,
    name: &Ident,
    field: &Ident,
    inner: &TokenStream,
) -> TokenStream {
    let (impls, types, clause) = expansion.worker.generics.split_for_impl();
    let from = from(expansion, name, field, inner);
    quote! {
        #from

        #[automatically_derived]
        impl #impls ::core::ops::Deref for #name #types #clause {
            type Target = #inner;

            fn deref(&self) -> &#inner {
                &self.#field
            }
        }

        #[automatically_derived]
        impl #impls ::core::clone::Clone for #name #types #clause {
            fn clone(&self) -> Self {
                ::core::convert::From::from(::core::clone::Clone::clone(&self.#field))
            }
        }

        #[automatically_derived]
        impl #impls ::core::fmt::Debug for #name #types #clause {
            fn fmt(&self, formatter: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                ::core::fmt::Debug::fmt(&self.#field, formatter)
            }
        }
    }
}

/// One method of a stub: a call of `#function` of the library, giving `#krate::#handle<T>`.
pub(super) fn method(
    worker: &Worker,
    one: &Function,
    field: &Ident,
    function: &str,
    handle: &str,
    methods: &Ident,
) -> TokenStream {
    let Worker { krate, private, self_ty, .. } = worker;
    let Function { carried, vis, name, generics, arguments, output, .. } = one;
    let clause = &generics.where_clause;
    let handle = Ident::new(handle, name.span());
    let function = Ident::new(function, name.span());
    let value = &output.value;
    let parameters = arguments.iter().map(|Argument { name, ty, .. }| quote!(#name: #ty));
    let body = if one.faulty {
        quote!({ ::core::todo!() })
    } else {
        let writer = hygienic("arguments", name.span());
        let writes: Vec<TokenStream> =
            arguments.iter().filter_map(|argument| write(worker, argument, &writer)).collect();
        let writer = if writes.is_empty() { quote!(_) } else { quote!(#writer) };
        let value = checked(worker, value, "CanBeResult");
        quote! {{
            #private::#function::<#self_ty, #value>(
                &self.#field,
                #methods::#name as ::core::primitive::u16,
                |#writer| { #(#writes)* },
            )
        }}
    };
    let Carried { cfgs, docs, .. } = carried;
    quote! {
        #(#cfgs)*
        #(#docs)*
        #vis fn #name #generics (&self, #(#parameters),*) -> #krate::#handle<#value> #clause #body
    }
}

/// Puts one argument into the message.
fn write(worker: &Worker, argument: &Argument, writer: &Ident) -> Option<TokenStream> {
    let name = &argument.name;
    Some(match argument.passing.as_ref()? {
        Passing::Text => quote!(#writer.text(#name);),
        Passing::Bytes => quote!(#writer.bytes(#name);),
        Passing::Slice(ty) => {
            let ty = checked(worker, ty, "CanBeArgument");
            quote!(#writer.slice::<#ty>(#name);)
        }
        Passing::Lent(ty) => {
            let ty = checked(worker, ty, "CanBeArgument");
            quote!(#writer.value::<#ty>(#name);)
        }
        Passing::Owned(ty) => {
            let ty = checked(worker, ty, "CanBeArgument");
            quote!(#writer.owned::<#ty>(#name);)
        }
    })
}

/// The type `ty`, by way of the trait that it has to implement.
///
/// The generated code mentions each type several times. A bound that fails is reported for each of
/// them with another note; a projection that fails reads the same everywhere, and what reads the
/// same is reported once.
pub(super) fn checked(worker: &Worker, ty: &Type, bound: &str) -> TokenStream {
    let first = ty.span();
    let last = ty.to_token_stream().into_iter().last().map_or(first, |token| token.span());
    let private = &worker.private;
    let bound = Ident::new(bound, first);
    let bound = quote_spanned!(first=> #private::#bound);
    let open = quote_spanned!(first=> <);
    let end = quote_spanned!(last=> >::Itself);
    quote!(#open #ty as #bound #end)
}

/// The enum that gives each function its number on the wire.
pub(super) fn numbers(name: &Ident, functions: &[Function]) -> TokenStream {
    let variants = functions.iter().filter(|one| !one.faulty).map(|one| {
        let (cfgs, name) = (&one.carried.cfgs, &one.name);
        quote!(#(#cfgs)* #name,)
    });
    quote! {
        enum #name { #(#variants)* }
    }
}
