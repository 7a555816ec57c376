//! A function that is called over the network: `#[remote]` or `#[on_server]`.

use proc_macro2::Span;
use quote::format_ident;
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::visit_mut::VisitMut;
use syn::{
    Attribute, FnArg, GenericParam, Generics, Ident, ImplItemFn, Pat, ReceiverKind, ReturnType,
    Safety, Signature, Type, Visibility,
};

use super::types::{
    Output, Passing, is_context, is_shared_reference, is_worker_info, no_result, referent,
};
use super::{Carried, Cx};
use crate::args::{self, Mark};
use crate::errors::Errors;
use crate::text::print;

/// A function that is called over the network.
pub(crate) struct Function {
    pub(crate) carried: Carried,
    pub(crate) vis: Visibility,
    pub(crate) name: Ident,
    /// Lifetimes only, or what the user wrote where `faulty`.
    pub(crate) generics: Generics,
    pub(crate) role: Role,
    pub(crate) is_async: bool,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) output: Output,
    /// `greet(name: &str) -> String`
    pub(crate) signature: String,
    /// `(&str) -> String`, with what else both sides must agree upon
    pub(crate) types: String,
    /// There is a mistake in it: it gets a stub, so that its callers are not wrong as well, but
    /// nothing that would look at its types.
    pub(crate) faulty: bool,
}

/// What a function is given besides its arguments.
pub(crate) enum Role {
    Remote {
        /// `&mut self`
        exclusive: bool,
        /// where the `&Context<..>` is written
        context: Option<Span>,
    },
    Server {
        /// where the type of the state is written
        state: Option<Span>,
        /// where the `&WorkerInfo` is written
        caller: Option<Span>,
    },
}

pub(crate) struct Argument {
    pub(crate) name: Ident,
    pub(crate) ty: Type,
    /// Its name as people read it: `_` has another one in the generated code.
    pub(crate) shown: String,
    /// `None` only where the function is faulty.
    pub(crate) passing: Option<Passing>,
}

impl Function {
    /// `None` where not even a stub makes sense; `errors` says why.
    pub(crate) fn of(
        item: &ImplItemFn,
        mark: Mark,
        attribute: &Attribute,
        cx: &Cx,
        errors: &mut Errors,
    ) -> Option<Function> {
        let before = errors.count();
        let typed_error = args::typed_error(attribute, mark, errors);
        let mut sig = item.sig.clone();
        cx.self_type.replace(&mut sig, super::Replace::visit_signature_mut);
        qualifiers(&sig, mark, errors);
        generics(&sig.generics, mark, errors);
        let mut parameters: Vec<&syn::PatType> = Vec::new();
        for input in &sig.inputs {
            if let FnArg::Typed(parameter) = input {
                parameters.push(parameter);
            }
        }
        let (role, taken) = match mark {
            Mark::OnServer => server_role(item, &parameters, cx, errors),
            _ => remote_role(item, &parameters, errors),
        };
        let arguments: Vec<Argument> = parameters
            .iter()
            .enumerate()
            .skip(taken)
            .map(|(index, parameter)| argument(index, parameter, &role, errors))
            .collect();
        if typed_error && matches!(sig.output, ReturnType::Default) {
            no_result(&sig.ident, errors);
        }
        let output = Output::of(&sig.output, typed_error, &cx.private, errors);
        let output = output.filter(|_| sig.variadic.is_none())?;
        let (signature, types) = describe(&sig, &role, &arguments, typed_error);
        Some(Function {
            carried: Carried::of(&item.attrs, &format!(" Calls `{}`.", sig.ident)),
            vis: item.vis.clone(),
            name: sig.ident,
            generics: sig.generics,
            role,
            is_async: sig.asyncness.is_some(),
            arguments,
            output,
            signature,
            types,
            faulty: errors.count() > before,
        })
    }

    pub(crate) fn exclusive(&self) -> bool {
        matches!(self.role, Role::Remote { exclusive: true, .. })
    }
}

/// What no function that is called over the network can be.
pub(super) fn qualifiers(sig: &Signature, mark: Mark, errors: &mut Errors) {
    let mark = mark.name();
    if let Some(token) = &sig.constness {
        errors.at(token, &format!("a `const fn` cannot be `{mark}`"), "remove `const`");
    }
    if let Safety::Unsafe(token) = &sig.safety {
        let help = "remove `unsafe`: nobody at the other end can uphold its conditions";
        errors.at(token, &format!("an `unsafe fn` cannot be `{mark}`"), help);
    }
    if let Some(abi) = &sig.abi {
        errors.at(abi, &format!("an `extern fn` cannot be `{mark}`"), "remove the ABI");
    }
    if let Some(variadic) = &sig.variadic {
        let help = "take a `Vec` or a slice";
        errors.at(variadic.dots, &format!("a variadic function cannot be `{mark}`"), help);
    }
}

fn generics(generics: &Generics, mark: Mark, errors: &mut Errors) {
    for parameter in &generics.params {
        let help = match mark {
            Mark::OnServer => "write a concrete type, such as an enum",
            _ => "write a concrete type, such as an enum, or make the whole worker generic",
        };
        let message = format!("a generic function cannot be `{}`", mark.name());
        match parameter {
            GenericParam::Lifetime(_) => {}
            GenericParam::Type(parameter) => errors.at(&parameter.ident, &message, help),
            GenericParam::Const(parameter) => errors.at(&parameter.ident, &message, help),
        }
    }
}

/// Reads the receiver and the context; the second is how many parameters they take.
fn remote_role(
    item: &ImplItemFn,
    parameters: &[&syn::PatType],
    errors: &mut Errors,
) -> (Role, usize) {
    let exclusive = receiver_of(item, Mark::Remote, errors).unwrap_or(false);
    let context = parameters.first().filter(|first| is_context(referent(&first.ty)));
    if let Some(context) = context
        && !is_shared_reference(&context.ty)
    {
        errors.at(&context.ty, "the context is lent to the method", "write `&Context<Self>`");
    }
    let taken = usize::from(context.is_some());
    (Role::Remote { exclusive, context: context.map(|context| context.ty.span()) }, taken)
}

/// Whether the receiver is exclusive; `None` where there is none that can do.
pub(super) fn receiver_of(item: &ImplItemFn, mark: Mark, errors: &mut Errors) -> Option<bool> {
    let choice = if mark == Mark::Schedule { "`&self`" } else { "`&self` or `&mut self`" };
    let Some(receiver) = item.sig.receiver() else {
        let message = format!("a `{}` method needs a receiver", mark.name());
        let help = format!("make {choice} its first parameter");
        errors.at(&item.sig.ident, &message, &help);
        return None;
    };
    let exclusive = match &receiver.kind {
        ReceiverKind::Reference(_, _, exclusive) => Some(exclusive.is_some()),
        ReceiverKind::Typed(_, ty) => match super::types::bare(ty) {
            Type::Reference(reference) if is_self(&reference.elem) => {
                Some(reference.mutability.is_some())
            }
            _ => None,
        },
        _ => None,
    };
    match exclusive {
        None => {
            let message = format!("a `{}` method can only borrow `self`", mark.name());
            errors.at(receiver, &message, &format!("write {choice}"));
        }
        Some(true) if mark == Mark::Schedule => errors.at(
            receiver,
            "a `#[schedule]` method runs on the master, where there is no worker to change",
            "write `&self`, which is the broadcaster; what a schedule keeps between two runs \
             lives in the server's state",
        ),
        Some(_) => {}
    }
    exclusive
}

fn is_self(ty: &Type) -> bool {
    matches!(super::types::bare(ty), Type::Path(path) if path.path.is_ident("Self"))
}

/// Reads the state and the caller; the second is how many parameters they take.
fn server_role(
    item: &ImplItemFn,
    parameters: &[&syn::PatType],
    cx: &Cx,
    errors: &mut Errors,
) -> (Role, usize) {
    let state = match &cx.server {
        Some(server) => format!("state: &{}", print(server)),
        None => "state: &State".to_owned(),
    };
    if let Some(receiver) = item.sig.receiver() {
        errors.at(
            receiver,
            "an `#[on_server]` function runs on the server, where there is no worker",
            &format!("write `{state}` in place of the receiver"),
        );
        return (Role::Server { state: None, caller: None }, 0);
    }
    let Some(first) = parameters
        .first()
        .filter(|first| is_shared_reference(&first.ty) && !is_worker_info(referent(&first.ty)))
    else {
        let message = "the first parameter of an `#[on_server]` function is the server's state";
        let help = format!("write `{state}`");
        match parameters.first() {
            Some(first) => errors.at(&first.ty, message, &help),
            None => errors.at(&item.sig.ident, message, &help),
        }
        return (Role::Server { state: None, caller: None }, parameters.len().min(1));
    };
    let caller = parameters.get(1).filter(|second| is_worker_info(referent(&second.ty)));
    if let Some(caller) = caller.filter(|caller| !is_shared_reference(&caller.ty)) {
        errors.at(
            &caller.ty,
            "the caller's `WorkerInfo` is lent to the function",
            "write `&WorkerInfo`",
        );
    }
    let taken = 1 + usize::from(caller.is_some());
    let caller = caller.map(|caller| caller.ty.span());
    (Role::Server { state: Some(first.ty.span()), caller }, taken)
}

fn argument(index: usize, parameter: &syn::PatType, role: &Role, errors: &mut Errors) -> Argument {
    for attribute in parameter.attrs.iter().filter(|attribute| {
        attribute.path().is_ident("cfg") || attribute.path().is_ident("cfg_attr")
    }) {
        let help = "write the method twice, each with a `#[cfg]` of its own";
        errors.at(attribute, "an argument cannot depend on a `#[cfg]`", help);
    }
    let passing =
        is_argument(parameter, role, errors).then(|| Passing::of(&parameter.ty, errors)).flatten();
    let generated = || format_ident!("__argument_{index}", span = parameter.pat.span());
    let mut shown = None;
    let name = match &*parameter.pat {
        Pat::Ident(pat) if pat.by_ref.is_none() && pat.subpat.is_none() => pat.ident.clone(),
        Pat::Wild(_) => {
            shown = Some("_".to_owned());
            generated()
        }
        pattern => {
            let ty = print(&parameter.ty);
            let help = match pattern {
                Pat::Ident(pat) => format!("write `{}: {ty}`", pat.ident),
                pattern => format!(
                    "write `argument: {ty}`, and take it apart in the body: `let {} = argument;`",
                    print(pattern)
                ),
            };
            errors.at(pattern, "an argument that is sent needs a name, not a pattern", &help);
            generated()
        }
    };
    Argument {
        shown: shown.unwrap_or_else(|| name.unraw().to_string()),
        name,
        ty: (*parameter.ty).clone(),
        passing,
    }
}

/// Whether the parameter is an ordinary argument, not a context or a caller out of its place.
fn is_argument(parameter: &syn::PatType, role: &Role, errors: &mut Errors) -> bool {
    let target = referent(&parameter.ty);
    match role {
        Role::Remote { context: Some(_), .. } if is_context(target) => {
            errors.at(&parameter.ty, "a method has one context", "remove this parameter");
        }
        Role::Remote { context: None, .. } if is_context(target) => errors.at(
            &parameter.ty,
            "the context stands right after the receiver",
            "make `&Context<Self>` the first parameter after `self`",
        ),
        Role::Server { .. } if is_context(target) => errors.at(
            &parameter.ty,
            "an `#[on_server]` function has no context: it does not run in a worker",
            "take `caller: &WorkerInfo` as the second parameter to know who calls",
        ),
        Role::Server { caller: None, .. } if is_worker_info(target) => errors.at(
            &parameter.ty,
            "the caller stands right after the server's state",
            "make `caller: &WorkerInfo` the second parameter",
        ),
        _ => return true,
    }
    false
}

/// The text for people and the text for the fingerprint.
fn describe(
    sig: &Signature,
    role: &Role,
    arguments: &[Argument],
    typed_error: bool,
) -> (String, String) {
    let returned = match &sig.output {
        ReturnType::Default => String::new(),
        ReturnType::Type(_, ty) => format!(" -> {}", print(ty)),
    };
    let list = |one: &dyn Fn(&Argument) -> String| {
        arguments.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let with_names =
        list(&|argument| format!("{}: {}", argument.shown, print(without_lifetime(&argument.ty))));
    let signature = format!("{}({with_names}){returned}", sig.ident.unraw());
    let exclusive = if matches!(role, Role::Remote { exclusive: true, .. }) { "mut " } else { "" };
    let typed = if typed_error { " typed" } else { "" };
    let types = list(&|argument| print(without_lifetime(&argument.ty)));
    (signature, format!("{exclusive}({types}){returned}{typed}"))
}

/// `&'a str` is `&str` for whoever sends it.
fn without_lifetime(ty: &Type) -> Type {
    let mut ty = ty.clone();
    if let Type::Reference(reference) = &mut ty {
        reference.lifetime = None;
    }
    ty
}
