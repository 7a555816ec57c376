//! `impl DistributedWorker for Greeter`: what the library has to know, and the worker's side.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{GenericParam, Ident};

use super::stub::{self, checked};
use super::{Expansion, hygienic};
use crate::model::{Function, Passing, Role, Run, RunKind, Worker};

pub(super) fn expand(expansion: &Expansion) -> TokenStream {
    let Expansion { worker, remote, master, .. } = expansion;
    let Worker { krate, private, self_ty, .. } = worker;
    let (impls, types, clause) = worker.generics.split_for_impl();
    let state = match &worker.server {
        None => quote!(
            type Server = ();
        ),
        // Where the state is private and the worker is not, the compiler marks all of this.
        Some(state) => quote_spanned!(state.span()=> type Server = #state;),
    };
    let contract = contract(worker);
    let dispatch = dispatcher(worker, &worker.remotes, stub::REMOTE);
    let dispatch_server = dispatcher(worker, &worker.server_functions, stub::SERVER);
    let run = run(expansion);
    let [call, master_argument] = ["call", "master"].map(|name| hygienic(name, Span::call_site()));
    quote! {
        #[automatically_derived]
        impl #impls #krate::DistributedWorker for #self_ty #clause {
            type Remote = #remote #types;
            type Master = #master #types;
            #state

            fn contract() -> #krate::Contract {
                #contract
            }

            fn dispatch(mut #call: #private::Invocation<Self>) -> #private::Invoked {
                #dispatch
            }

            fn dispatch_server(mut #call: #private::ServerInvocation<Self>) -> #private::Invoked {
                #dispatch_server
            }

            fn run(#master_argument: &#master #types) -> #private::Run {
                #run
            }
        }
    }
}

fn contract(worker: &Worker) -> TokenStream {
    let Worker { krate, .. } = worker;
    let title = title(worker);
    let remote = methods(worker, &worker.remotes);
    let server = methods(worker, &worker.server_functions);
    quote! {
        #krate::Contract {
            worker: #title,
            version: ::core::option::Option::unwrap_or(
                ::core::option_env!("CARGO_PKG_VERSION"),
                "",
            ),
            methods: #remote,
            server_methods: #server,
        }
    }
}

/// The name of the worker, with what its parameters stand for.
fn title(worker: &Worker) -> TokenStream {
    let title = worker.title();
    let mut format = String::new();
    let mut values = Vec::new();
    for parameter in &worker.generics.params {
        format.push_str(if format.is_empty() { "<{}" } else { ", {}" });
        values.push(match parameter {
            GenericParam::Const(parameter) => parameter.ident.to_token_stream(),
            GenericParam::Type(parameter) => {
                let ident = &parameter.ident;
                quote!(::core::any::type_name::<#ident>())
            }
            GenericParam::Lifetime(_) => continue,
        });
    }
    if values.is_empty() {
        return quote!(<::std::string::String as ::core::convert::From<_>>::from(#title));
    }
    let format = format!("{title}{format}>");
    quote!(::std::format!(#format, #(#values),*))
}

fn methods(worker: &Worker, functions: &[Function]) -> TokenStream {
    let krate = &worker.krate;
    let methods = functions.iter().filter(|one| !one.faulty).map(|one| {
        let Function { carried, signature, types, .. } = one;
        let (cfgs, docs) = (&carried.cfgs, &carried.summary);
        let (name, exclusive) = (one.name.unraw().to_string(), one.exclusive());
        let json = json(worker, one);
        quote! {
            #(#cfgs)*
            #krate::Method {
                name: #name,
                signature: #signature,
                types: #types,
                docs: #docs,
                exclusive: #exclusive,
                json: #json,
            },
        }
    });
    quote! {
        <::std::vec::Vec<#krate::Method> as ::core::convert::From<_>>::from([#(#methods)*])
    }
}

/// How the function is called with JSON: each argument in turn, as the type that it is decoded to.
fn json(worker: &Worker, one: &Function) -> TokenStream {
    let private = &worker.private;
    let value = checked(worker, &one.output.value, "CanBeResult");
    let [json, writer] = ["json", "arguments"].map(|name| hygienic(name, Span::call_site()));
    let takes: Vec<TokenStream> = one
        .arguments
        .iter()
        .filter_map(|argument| {
            let span = argument.ty.span();
            let (ty, take) = match argument.passing.as_ref()? {
                Passing::Text => (quote!(::std::string::String), "argument"),
                Passing::Bytes => (quote!(::std::vec::Vec<::core::primitive::u8>), "argument"),
                Passing::Slice(ty) => (checked(worker, ty, "CanBeArgument"), "slice"),
                Passing::Unsized(ty) => (checked(worker, ty, "CanBeLent"), "argument"),
                Passing::Lent(ty) | Passing::Owned(ty) => {
                    (checked(worker, ty, "CanBeArgument"), "argument")
                }
            };
            let take = Ident::new(take, span);
            let name = &argument.shown;
            Some(quote_spanned!(span=> #private::JsonArguments::#take::<#ty>(#json, #name, #writer)?;))
        })
        .collect();
    let parameters = match takes.is_empty() {
        true => quote!(_, _),
        false => quote!(#json, #writer),
    };
    quote! {
        #private::JsonForm::new::<#value>(|#parameters| {
            #(#takes)*
            ::core::result::Result::Ok(())
        })
    }
}

fn dispatcher(worker: &Worker, functions: &[Function], numbers: &str) -> TokenStream {
    let private = &worker.private;
    let invocation = invocation(worker, numbers);
    let numbers = stub::methods(numbers);
    let [call, method] = ["call", "method"].map(|name| hygienic(name, Span::call_site()));
    if functions.iter().all(|one| one.faulty) {
        return quote!(#private::unknown_method(#invocation::method(&#call)));
    }
    let arms = functions
        .iter()
        .filter(|one| !one.faulty)
        .map(|one| arm(worker, one, &invocation, &numbers));
    // It says once that the worker is not `Send`, in place of each future that takes it along.
    let checked = checked(worker, &worker.self_ty, "CanBeWorker");
    quote! {
        let _: ::core::marker::PhantomData<#checked>;
        match #invocation::method(&#call) {
            #(#arms)*
            #method => #private::unknown_method(#method),
        }
    }
}

/// The type of the call. Its methods are called by path: a trait of the user's may offer a method
/// of the same name.
fn invocation(worker: &Worker, numbers: &str) -> TokenStream {
    let private = &worker.private;
    match numbers {
        stub::SERVER => quote!(#private::ServerInvocation),
        _ => quote!(#private::Invocation),
    }
}

/// Decodes the arguments of one function, calls it, and encodes what it returns.
///
/// The tokens stand where the function's name does, so that the compiler says there what it has to
/// say, such as that the future is not `Send`.
fn arm(worker: &Worker, one: &Function, invocation: &TokenStream, numbers: &Ident) -> TokenStream {
    let Worker { private, self_ty, .. } = worker;
    let Function { carried, name, is_async, arguments, output, role, .. } = one;
    let cfgs = &carried.cfgs;
    let span = name.span();
    let [call, method] = ["call", "method"].map(|name| hygienic(name, Span::call_site()));
    let mut names = Vec::new();
    let mut decode = Vec::new();
    for (index, argument) in arguments.iter().enumerate() {
        let Some(passing) = &argument.passing else {
            continue;
        };
        let span = argument.ty.span();
        let local = hygienic(&format!("argument{index}"), span);
        let (ty, read, lent) = match passing {
            Passing::Text => (quote!(::std::string::String), "argument", true),
            Passing::Bytes => {
                decode.push(quote_spanned!(span=> let #local = #invocation::bytes(&mut #call)?;));
                names.push(quote!(&#local));
                continue;
            }
            Passing::Slice(ty) => (checked(worker, ty, "CanBeArgument"), "slice", true),
            Passing::Unsized(ty) => (checked(worker, ty, "CanBeLent"), "argument", true),
            Passing::Lent(ty) => (checked(worker, ty, "CanBeArgument"), "argument", true),
            Passing::Owned(ty) => (checked(worker, ty, "CanBeArgument"), "argument", false),
        };
        // Where a bound has failed already, the same at the same place is not reported again.
        let read = Ident::new(read, span);
        decode.push(quote_spanned!(span=> let #local = #invocation::#read::<#ty>(&mut #call)?;));
        names.push(if lent { quote!(&#local) } else { quote!(#local) });
    }
    let (given, leading) = leading(role, invocation, &call, span);
    let wait = is_async.then(|| quote_spanned!(span=> .await));
    let function = quote_spanned!(span=> <#self_ty>::#name(#(#leading,)* #(#names),*) #wait);
    let value = checked(worker, &output.value, "CanBeResult");
    let reply = match &output.error {
        Some(error) => {
            let error = checked(worker, error, "CanBeError");
            quote!(#private::reply_result::<#value, #error>(#function))
        }
        None => quote!(#private::reply::<#value>(#function)),
    };
    let body = quote_spanned! {span=>
        async move {
            #(#decode)*
            #invocation::arguments_end(&#call)?;
            #given
            #reply
        }
    };
    let boxed = quote_spanned!(span=> ::std::boxed::Box::pin(#body));
    quote! {
        #(#cfgs)*
        #method if #method == #numbers::#name as ::core::primitive::u16 => #boxed,
    }
}

/// What a function is given besides its arguments: how to get it, and the names of it.
fn leading(
    role: &Role,
    invocation: &TokenStream,
    call: &Ident,
    span: Span,
) -> (TokenStream, Vec<TokenStream>) {
    match role {
        Role::Remote { exclusive, context } => {
            let worker = hygienic("worker", span);
            let access = match exclusive {
                true => quote_spanned!(span=> #invocation::exclusive(&mut #call)),
                false => quote_spanned!(span=> #invocation::shared(&#call)),
            };
            match context {
                Some(at) => {
                    let context = hygienic("context", *at);
                    let given = quote!(let (#worker, #context) = #access;);
                    (given, vec![quote!(#worker), quote!(#context)])
                }
                None => (quote!(let (#worker, _) = #access;), vec![quote!(#worker)]),
            }
        }
        Role::Server { state, caller } => {
            let state = hygienic("state", state.unwrap_or(span));
            let mut given = quote!(let #state = #invocation::state(&#call););
            let mut leading = vec![quote!(#state)];
            if let Some(at) = caller {
                let caller = hygienic("caller", *at);
                given.extend(quote!(let #caller = #invocation::caller(&#call);));
                leading.push(quote!(#caller));
            }
            (given, leading)
        }
    }
}

/// What `/run` does.
fn run(expansion: &Expansion) -> TokenStream {
    let private = &expansion.worker.private;
    let missing = quote!(#private::Run::missing());
    match expansion.worker.runs.as_slice() {
        [] => missing,
        [one] if one.cfgs.is_empty() => run_one(expansion, one),
        several => {
            let several = several.iter().map(|one| {
                let (cfgs, run) = (&one.cfgs, run_one(expansion, one));
                quote!(#(#cfgs)* return #run;)
            });
            quote!(#(#several)* #missing)
        }
    }
}

fn run_one(expansion: &Expansion, one: &Run) -> TokenStream {
    let Expansion { worker, master: master_type, .. } = expansion;
    let private = &worker.private;
    let (_, types, _) = worker.generics.split_for_impl();
    let name = &one.name;
    let span = name.span();
    let master = hygienic("master", Span::call_site());
    match &one.kind {
        RunKind::TakesArguments { signature } => quote!(#private::Run::takes_arguments(#signature)),
        RunKind::Broadcast => {
            quote!(#private::Run::broadcast(<#master_type #types>::#name(#master)))
        }
        RunKind::Schedule { is_async, fallible } => {
            let wait = is_async.then(|| quote_spanned!(span=> .await));
            // The future outlives this borrow. It is boxed where it has the place of the schedule in
            // the user's source, for the compiler to say there if it is not `Send`.
            let future_name = hygienic("future", Span::call_site());
            let value = quote_spanned!(span=> <#master_type #types>::#name(&#master) #wait);
            let ended = match fallible {
                true => quote_spanned!(span=> #private::Run::result(#value)),
                // It may be a `Result` of another name: the type decides, which only the compiler
                // knows.
                false => quote_spanned! {span=>
                    use #private::RanValue as _;
                    #private::Run::result(#private::Ran(#value).run_result())
                },
            };
            let future = quote_spanned! {span=>
                ::std::boxed::Box::pin(async move { #ended })
            };
            quote! {{
                let #master = ::core::clone::Clone::clone(#master);
                let #future_name: ::core::pin::Pin<::std::boxed::Box<
                    dyn ::core::future::Future<Output = #private::RunResult>
                        + ::core::marker::Send
                >> = #future;
                #private::Run::schedule(#future_name)
            }}
        }
    }
}
