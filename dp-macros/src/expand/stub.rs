//! What the three generated types have in common.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Ident, Type};

use super::{Expansion, hygienic};
use crate::model::{Argument, Carried, Function, Passing, Worker};

/// The name of the `Method` enum: whatever is declared beside the impls hides what the user's
/// signatures mean, so it must be a name that nobody has.
pub(super) fn methods(of: &str) -> Ident {
    Ident::new(of, Span::call_site())
}

pub(super) const REMOTE: &str = "__DpRemote";
pub(super) const SERVER: &str = "__DpServer";

/// `pub struct #name(#inner)`
///
/// Its fields have no names that a message could offer to the user.
///
/// It has one type parameter more than the worker, which is the worker itself. The struct is `pub`
/// because the worker may be, and the worker may be private: its name in the header of an impl,
/// where the default of the parameter puts it, makes the impl as private as the worker is, and
/// without that `Deref` would be a private type in a public interface.
pub(super) fn item(
    expansion: &Expansion,
    name: &Ident,
    inner: &TokenStream,
    docs: &str,
) -> TokenStream {
    let Expansion { worker, quiet, .. } = expansion;
    let Worker { generics, cfgs, self_ty, .. } = worker;
    let clause = &generics.where_clause;
    let parameters = generics.params.iter();
    let itself = unused_in("W", &quote!(#generics #clause #self_ty #inner));
    quote! {
        #(#cfgs)*
        #[doc = #docs]
        #quiet
        pub struct #name<#(#parameters,)* #itself = #self_ty>(
            #inner,
            ::core::marker::PhantomData<fn() -> #itself>,
        ) #clause;
    }
}

/// The name `wanted`, or one made of it that does not occur in `tokens`.
fn unused_in(wanted: &str, tokens: &TokenStream) -> Ident {
    let occurs = |name: &Ident| contains(tokens.clone(), name);
    let numbered =
        (1_u32..).map(|number| Ident::new(&format!("{wanted}{number}"), Span::call_site()));
    let wanted = Ident::new(wanted, Span::call_site());
    std::iter::once(wanted.clone()).chain(numbered).find(|name| !occurs(name)).unwrap_or(wanted)
}

fn contains(tokens: TokenStream, name: &Ident) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == *name,
        TokenTree::Group(group) => contains(group.stream(), name),
        _ => false,
    })
}

/// `From` of the type of the library's that `name` wraps.
pub(super) fn from(expansion: &Expansion, name: &Ident, inner: &TokenStream) -> TokenStream {
    let (impls, types, clause) = expansion.worker.generics.split_for_impl();
    let wrapped = hygienic("wrapped", Span::call_site());
    quote! {
        #[automatically_derived]
        impl #impls ::core::convert::From<#inner> for #name #types #clause {
            fn from(#wrapped: #inner) -> Self {
                Self(#wrapped, ::core::marker::PhantomData)
            }
        }
    }
}

/// `From`, `Deref`, `Clone` and `Debug` of a type that wraps one of the library's.
pub(super) fn wrapper(expansion: &Expansion, name: &Ident, inner: &TokenStream) -> TokenStream {
    let (impls, types, clause) = expansion.worker.generics.split_for_impl();
    let from = from(expansion, name, inner);
    let formatter = hygienic("formatter", Span::call_site());
    quote! {
        #from

        #[automatically_derived]
        impl #impls ::core::ops::Deref for #name #types #clause {
            type Target = #inner;

            fn deref(&self) -> &#inner {
                &self.0
            }
        }

        #[automatically_derived]
        impl #impls ::core::clone::Clone for #name #types #clause {
            fn clone(&self) -> Self {
                ::core::convert::From::from(::core::clone::Clone::clone(&self.0))
            }
        }

        #[automatically_derived]
        impl #impls ::core::fmt::Debug for #name #types #clause {
            fn fmt(&self, #formatter: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                ::core::fmt::Debug::fmt(&self.0, #formatter)
            }
        }
    }
}

/// One method of a stub: a call of `#function` of the library, giving `#krate::#handle<T>`.
pub(super) fn method(
    worker: &Worker,
    one: &Function,
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
                &self.0,
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
    let private = &worker.private;
    // By path: a trait of the user's may offer a method of the same name.
    let arguments = quote!(#private::ArgumentList);
    Some(match argument.passing.as_ref()? {
        Passing::Text => quote!(#arguments::text(#writer, #name);),
        Passing::Bytes => quote!(#arguments::bytes(#writer, #name);),
        Passing::Slice(ty) => {
            let ty = checked(worker, ty, "CanBeArgument");
            quote!(#arguments::slice::<#ty>(#writer, #name);)
        }
        Passing::Lent(ty) => {
            let ty = checked(worker, ty, "CanBeArgument");
            quote!(#arguments::value::<#ty>(#writer, #name);)
        }
        Passing::Unsized(ty) => {
            let check = quote_spanned! {ty.span()=>
                let _: ::core::marker::PhantomData<
                    <<#ty as #private::CanBeLent>::Size as #private::OfKnownSize>::Known
                >;
            };
            quote!(#check #private::CanBeLent::write(#name, #writer);)
        }
        Passing::Owned(ty) => {
            let ty = checked(worker, ty, "CanBeArgument");
            quote!(#arguments::owned::<#ty>(#writer, #name);)
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
