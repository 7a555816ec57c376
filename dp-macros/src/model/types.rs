//! What the types of arguments and results say about how they travel.

use quote::ToTokens;
use syn::visit_mut::{self, VisitMut};
use syn::{
    GenericArgument, Lifetime, Path, PathArguments, PathSegment, ReturnType, Type, TypeReference,
};

use crate::errors::Errors;
use crate::text::print;

/// Takes away parentheses and the invisible groups of `macro_rules!`.
pub(crate) fn bare(mut ty: &Type) -> &Type {
    loop {
        ty = match ty {
            Type::Group(group) => &group.elem,
            Type::Paren(paren) => &paren.elem,
            other => return other,
        };
    }
}

pub(crate) fn last_segment(ty: &Type) -> Option<&PathSegment> {
    match bare(ty) {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    }
}

/// Whether `ty` is a path that ends in `name` without generic arguments.
fn is_plain(ty: &Type, name: &str) -> bool {
    last_segment(ty).is_some_and(|last| last.ident == name && last.arguments.is_none())
}

/// `Context<..>`, under whatever path. Without its argument it is a type of the user's.
pub(crate) fn is_context(ty: &Type) -> bool {
    last_segment(ty).is_some_and(|last| {
        last.ident == "Context" && matches!(last.arguments, PathArguments::AngleBracketed(_))
    })
}

pub(crate) fn is_worker_info(ty: &Type) -> bool {
    is_plain(ty, "WorkerInfo")
}

/// The type behind `&`, or `&mut` too, or any.
pub(crate) fn referent(ty: &Type) -> &Type {
    match bare(ty) {
        Type::Reference(reference) => bare(&reference.elem),
        other => other,
    }
}

pub(crate) fn is_shared_reference(ty: &Type) -> bool {
    matches!(bare(ty), Type::Reference(reference) if reference.mutability.is_none())
}

/// How an argument gets from the caller to the method.
#[derive(Clone)]
pub(crate) enum Passing {
    /// `T`
    Owned(Type),
    /// `&str`, sent from the borrow and lent as `String`
    Text,
    /// `&[u8]`, likewise, as one block
    Bytes,
    /// `&[T]`, likewise
    Slice(Type),
    /// `&T`
    Lent(Type),
    /// `&T` that is named like one of the standard library without a size, such as `&Path`
    Unsized(Type),
}

impl Passing {
    /// How an argument of type `ty` travels; `None` where it cannot, which `errors` then says.
    pub(crate) fn of(ty: &Type, errors: &mut Errors) -> Option<Passing> {
        let Type::Reference(reference) = bare(ty) else {
            return owned(ty, errors).then(|| Passing::Owned(ty.clone()));
        };
        let target = bare(&reference.elem);
        let by_reference = print(target);
        if reference.mutability.is_some() {
            errors.at(
                ty,
                "an argument cannot be changed across the network",
                &format!("take `&{by_reference}`, and return what has changed"),
            );
            return None;
        }
        if reference.lifetime.as_ref().is_some_and(|lifetime| lifetime.ident == "static") {
            errors.at(
                ty,
                "an argument is lent to the method for one call only",
                &format!("write `&{by_reference}`, or an owned type"),
            );
            return None;
        }
        match target {
            Type::Slice(slice) if is_plain(&slice.elem, "u8") => Some(Passing::Bytes),
            Type::Slice(slice) => {
                all_owned(&slice.elem, errors).then(|| Passing::Slice((*slice.elem).clone()))
            }
            target if is_plain(target, "str") => Some(Passing::Text),
            target if ["Path", "OsStr", "CStr"].iter().any(|name| is_plain(target, name)) => {
                Some(Passing::Unsized(target.clone()))
            }
            target => owned(target, errors).then(|| Passing::Lent(target.clone())),
        }
    }
}

/// Whether a value of type `ty` itself can be sent, as far as its tokens tell.
fn owned(ty: &Type, errors: &mut Errors) -> bool {
    match bare(ty) {
        Type::TraitObject(_) => {
            errors.at(
                ty,
                "a trait object cannot be sent",
                "use a concrete type that implements `Serialize` and `Deserialize`, such as an enum",
            );
            false
        }
        Type::Slice(_) => {
            errors.at(ty, "a slice has no size of its own", "take `&[T]` or `Vec<T>`");
            false
        }
        Type::Path(_) if is_plain(ty, "str") => {
            errors.at(ty, "`str` has no size of its own", "take `&str` or `String`");
            false
        }
        _ => all_owned(ty, errors),
    }
}

/// Whether nothing within `ty` is borrowed or left open.
fn all_owned(ty: &Type, errors: &mut Errors) -> bool {
    let before = errors.count();
    let mut copy = ty.clone();
    Owned { errors, place: "an argument's type" }.visit_type_mut(&mut copy);
    errors.count() == before
}

struct Owned<'a> {
    errors: &'a mut Errors,
    place: &'static str,
}

impl VisitMut for Owned<'_> {
    fn visit_type_mut(&mut self, ty: &mut Type) {
        match ty {
            Type::ImplTrait(_) => self.errors.at(
                &*ty,
                &format!("`impl Trait` cannot stand in {}", self.place),
                "both sides must know the type that travels: write a concrete one",
            ),
            Type::Never(_) => self.errors.at(
                &*ty,
                &format!("`!` cannot stand in {}", self.place),
                "a call has to end with a value: write `()` or another type",
            ),
            // They cannot be sent either, which is for the compiler to say.
            Type::FnPtr(_) | Type::TraitObject(_) => {}
            _ => visit_mut::visit_type_mut(self, ty),
        }
    }

    fn visit_type_reference_mut(&mut self, reference: &mut TypeReference) {
        let help =
            "what travels is owned: write `String` for `&str`, `Vec<T>` for `&[T]`, `T` for `&T`";
        self.errors.at(
            &*reference,
            &format!("a reference cannot stand within {}", self.place),
            help,
        );
    }

    fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
        if lifetime.ident != "static" {
            self.errors.at(
                &*lifetime,
                &format!("{} cannot borrow", self.place),
                "what travels is owned: write `'static`, or a type without a lifetime",
            );
        }
    }
}

/// What a method gives back.
#[derive(Clone)]
pub(crate) struct Output {
    /// The type that travels.
    pub(crate) value: Type,
    /// The `E` of a `Result` of which only the success travels as a value.
    pub(crate) error: Option<Type>,
}

impl Output {
    /// `None` where nothing of the kind can travel, which `errors` then says.
    pub(crate) fn of(
        returned: &ReturnType,
        typed_error: bool,
        private: &Path,
        errors: &mut Errors,
    ) -> Option<Output> {
        let ReturnType::Type(_, ty) = returned else {
            return Some(Output { value: syn::parse_quote!(()), error: None });
        };
        if let Type::Reference(reference) = bare(ty) {
            let target = bare(&reference.elem);
            let owned = match target {
                Type::Slice(slice) => format!("`Vec<{}>`", print(&slice.elem)),
                target if is_plain(target, "str") => "`String`".to_owned(),
                target => format!("`{}`", print(target)),
            };
            errors.at(
                ty,
                "a reference cannot be returned across the network",
                &format!("return the value itself: {owned}"),
            );
            return None;
        }
        if let Type::ImplTrait(opaque) = bare(ty) {
            let future = opaque.bounds.iter().any(|bound| {
                matches!(bound, syn::TypeParamBound::Trait(bound)
                    if bound.path.segments.last().is_some_and(|last| last.ident == "Future"))
            });
            let help = if future {
                "write an `async fn` that returns the future's output"
            } else {
                "both sides must know the type that travels: write a concrete one"
            };
            errors.at(ty, "`impl Trait` cannot be returned across the network", help);
            return None;
        }
        let before = errors.count();
        let fallible = is_result(ty);
        if typed_error && !fallible {
            no_result(ty, errors);
        }
        Owned { errors, place: "a result's type" }.visit_type_mut(&mut travelling(ty, typed_error));
        if errors.count() > before {
            return None;
        }
        if typed_error || !fallible {
            return Some(Output { value: (**ty).clone(), error: None });
        }
        // They read better in the docs where they are written; the dispatch holds both forms
        // against what the method really returns.
        let mut written = written(ty).cloned();
        let value = written.next();
        let error = written.next();
        Some(Output {
            value: value.unwrap_or_else(|| syn::parse_quote!(<#ty as #private::ResultType>::Ok)),
            error: Some(
                error.unwrap_or_else(|| syn::parse_quote!(<#ty as #private::ResultType>::Err)),
            ),
        })
    }
}

/// Says that `typed_error` has nothing to do where `culprit` is.
pub(crate) fn no_result(culprit: impl ToTokens, errors: &mut Errors) {
    errors.at(
        culprit,
        "`typed_error` is for a method that returns a `Result`",
        "write `#[remote]`, or return `Result<T, E>`",
    );
}

/// Whether `ty` is called `Result`: `anyhow::Result<T>` and `io::Result<T>` are, too.
pub(crate) fn is_result(ty: &Type) -> bool {
    last_segment(ty).is_some_and(|last| last.ident == "Result")
}

/// What has to be free of borrows: an error only has to become text, unless it travels itself.
fn travelling(ty: &Type, typed_error: bool) -> Type {
    match written(ty).next() {
        Some(success) if !typed_error && is_result(ty) => success.clone(),
        _ => ty.clone(),
    }
}

/// The types in the angle brackets that `ty` ends in.
fn written(ty: &Type) -> impl Iterator<Item = &Type> {
    let arguments = match last_segment(ty).map(|last| &last.arguments) {
        Some(PathArguments::AngleBracketed(arguments)) => Some(arguments),
        _ => None,
    };
    arguments.into_iter().flat_map(|arguments| &arguments.args).filter_map(
        |argument| match argument {
            GenericArgument::Type(ty) => Some(ty),
            _ => None,
        },
    )
}
