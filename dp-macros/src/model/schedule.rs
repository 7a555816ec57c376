//! A `#[schedule]` method, which moves to the broadcaster.

use syn::visit_mut::VisitMut;
use syn::{Attribute, FnArg, GenericParam, ImplItemFn, ReturnType, parse_quote};

use super::function::{qualifiers, receiver_of};
use super::types::{is_context, is_result, referent};
use super::{Carried, Cx, Replace};
use crate::args::{self, Mark};
use crate::errors::Errors;
use crate::text::print;

/// A `#[schedule]` method.
pub(crate) struct Schedule {
    pub(crate) carried: Carried,
    /// The method as it is emitted, `Self` already replaced.
    pub(crate) item: ImplItemFn,
    pub(crate) is_async: bool,
    /// There is a mistake in it: nothing but its signature is left.
    pub(crate) faulty: bool,
    /// Whether it returns a `Result`.
    pub(crate) fallible: bool,
    /// Whether it takes anything but `&self`.
    pub(crate) takes_arguments: bool,
    /// `run(times: u32) -> Result<()>`
    pub(crate) signature: String,
}

impl Schedule {
    /// `None` where not even its signature makes sense; `errors` says why.
    pub(crate) fn of(
        item: &ImplItemFn,
        attribute: &Attribute,
        cx: &Cx,
        errors: &mut Errors,
    ) -> Option<Schedule> {
        let before = errors.count();
        args::typed_error(attribute, Mark::Schedule, errors);
        qualifiers(&item.sig, Mark::Schedule, errors);
        receiver_of(item, Mark::Schedule, errors);
        for input in &item.sig.inputs {
            if let FnArg::Typed(parameter) = input
                && is_context(referent(&parameter.ty))
            {
                errors.at(
                    &parameter.ty,
                    "a `#[schedule]` method has no context: it runs on the master",
                    "remove this parameter; `self` offers what a schedule needs",
                );
            }
        }
        super::touches::check(&item.block, &cx.ordinary, errors);
        if item.sig.ident == "run" {
            for parameter in &item.sig.generics.params {
                if !matches!(parameter, GenericParam::Lifetime(_)) {
                    let help = "give the method another name, and call it from `run`";
                    errors.at(parameter, "`run` cannot be generic: `/run` calls it", help);
                }
            }
        }
        let mut item = item.clone();
        item.attrs.retain(|attribute| Mark::of(attribute).is_none());
        cx.self_type.replace(&mut item, Replace::visit_impl_item_fn_mut);
        let faulty = errors.count() > before;
        if faulty {
            // Callers find it, and what its body makes of the mistake stays unsaid.
            if item.sig.receiver().is_none() || item.sig.variadic.is_some() {
                return None;
            }
            item.block = parse_quote!({ ::core::todo!() });
            item.attrs.push(parse_quote!(#[allow(unused_variables)]));
            if let Some(FnArg::Receiver(receiver)) = item.sig.inputs.first_mut() {
                *receiver = parse_quote!(&self);
            }
        }
        let carried = Carried::of(&item.attrs, " Runs on the master.");
        if !item.attrs.iter().any(|attribute| attribute.path().is_ident("doc")) {
            item.attrs.extend(carried.docs.last().cloned());
        }
        let sig = &item.sig;
        let returned = match &sig.output {
            ReturnType::Default => None,
            ReturnType::Type(_, ty) => Some(&**ty),
        };
        let arguments: Vec<String> = sig.inputs.iter().skip(1).map(print).collect();
        let signature = format!(
            "{}({}){}",
            sig.ident,
            arguments.join(", "),
            returned.map(|ty| format!(" -> {}", print(ty))).unwrap_or_default()
        );
        Some(Schedule {
            carried,
            is_async: sig.asyncness.is_some(),
            faulty,
            fallible: returned.is_some_and(is_result),
            takes_arguments: !arguments.is_empty(),
            signature,
            item,
        })
    }
}
