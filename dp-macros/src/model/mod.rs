//! What the block says, with every decision taken: the expansion reads no attributes.

mod function;
mod schedule;
mod touches;
mod types;

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::visit_mut::VisitMut;
use syn::{
    Attribute, GenericArgument, GenericParam, Generics, Ident, ImplItem, Item, ItemImpl, Path,
    PathArguments, Type,
};

pub(crate) use function::{Argument, Function, Role};
pub(crate) use schedule::Schedule;
pub(crate) use types::Passing;

use crate::args::{Args, Mark};
use crate::errors::Errors;
pub(crate) use crate::self_type::Replace;
use crate::self_type::SelfType;
use crate::text::print;
use crate::twice;

/// A worker: one impl block.
pub(crate) struct Worker {
    /// The user's block without what belongs to this macro.
    pub(crate) local: ItemImpl,
    /// `Greeter`
    pub(crate) name: Ident,
    /// `Greeter`, or `Sorter<T>`
    pub(crate) self_ty: Type,
    /// Those of the block, and that the worker can live on a machine of its own.
    pub(crate) generics: Generics,
    /// The `#[cfg]`s of the block.
    pub(crate) cfgs: Vec<Attribute>,
    /// The `#[allow]`s of the block, for what moves out of it.
    pub(crate) allows: Vec<Attribute>,
    /// The path of the library.
    pub(crate) krate: TokenStream,
    /// `#krate::__private`
    pub(crate) private: Path,
    pub(crate) server: Option<Type>,
    pub(crate) remotes: Vec<Function>,
    pub(crate) schedules: Vec<Schedule>,
    pub(crate) server_functions: Vec<Function>,
    /// Whether there is a stub for `ctx.server()`.
    pub(crate) has_server_stub: bool,
    /// Another block for this type stands above: its types are those of this one as well.
    pub(crate) is_second: bool,
    /// What `/run` does: the first of which the `#[cfg]`s hold.
    pub(crate) runs: Vec<Run>,
}

/// One meaning of `/run`.
pub(crate) struct Run {
    pub(crate) cfgs: Vec<Attribute>,
    pub(crate) name: Ident,
    pub(crate) kind: RunKind,
}

pub(crate) enum RunKind {
    Schedule { is_async: bool, fallible: bool },
    Broadcast,
    TakesArguments { signature: String },
}

/// The attributes that generated items take over.
pub(crate) struct Carried {
    /// On every item that comes from the method.
    pub(crate) cfgs: Vec<Attribute>,
    /// On its stubs. There is always documentation: what is generated is never to be the reason
    /// for `missing_docs`, and to allow it would be an error where it is forbidden.
    pub(crate) docs: Vec<Attribute>,
    /// The first paragraph of its documentation.
    pub(crate) summary: String,
}

/// What the parts of the block have to know of the whole.
pub(crate) struct Cx {
    /// The methods of the block that no attribute marks, less those that a group has as well.
    pub(crate) ordinary: Vec<String>,
    pub(crate) self_type: SelfType,
    pub(crate) server: Option<Type>,
    pub(crate) private: Path,
}

/// Reads the item. Where it is no worker at all, what is left to emit beside the mistakes.
pub(crate) fn build(
    item: TokenStream,
    args: Args,
    errors: &mut Errors,
) -> Result<Worker, TokenStream> {
    let item = match syn::parse2::<Item>(item.clone()) {
        Ok(Item::Impl(block)) => block,
        Ok(mut other) => {
            errors.at(
                &other,
                "`#[distributed_worker]` belongs on an impl block",
                "write it above `impl Worker { .. }`, the block with the `#[remote]` methods",
            );
            StripAll.visit_item_mut(&mut other);
            return Err(other.into_token_stream());
        }
        Err(error) => {
            errors.syntax(error);
            return Err(item);
        }
    };
    let mut local = item;
    let Some(path) = worker_type(&local, errors) else {
        StripAll.visit_item_impl_mut(&mut local);
        return Err(local.into_token_stream());
    };
    let cx = Cx {
        ordinary: ordinary(&local),
        self_type: SelfType::new(&path),
        server: args.server,
        private: private(&args.krate),
    };
    let is_second = twice::is_second(&local, errors);
    let mut worker = worker(local, path, cx, args.krate, errors);
    if is_second {
        worker.is_second = true;
        worker.remotes.iter_mut().for_each(|one| one.faulty = true);
    }
    Ok(worker)
}

/// The type that the block is for, where a worker can be made of it.
fn worker_type(block: &ItemImpl, errors: &mut Errors) -> Option<Path> {
    let before = errors.count();
    if let Some((path, _)) = &block.trait_ {
        errors.at(
            path,
            "a trait impl cannot be a distributed worker",
            "write `#[distributed_worker]` on an inherent block: `impl Worker { .. }`",
        );
    }
    for parameter in &block.generics.params {
        if let GenericParam::Lifetime(parameter) = parameter {
            borrowed(&parameter.lifetime, errors);
        }
    }
    let path = match types::bare(&block.self_ty) {
        Type::Path(path) if path.qself.is_none() => &path.path,
        other => {
            let help = "write `impl Name { .. }` for a struct or an enum of this crate";
            errors.at(other, "a distributed worker needs a type with a name", help);
            return None;
        }
    };
    if let Some(PathArguments::AngleBracketed(arguments)) =
        path.segments.last().map(|last| &last.arguments)
    {
        for argument in &arguments.args {
            match argument {
                // One mistake for one parameter: its declaration has been named already.
                GenericArgument::Lifetime(lifetime)
                    if lifetime.ident != "static" && errors.count() == before =>
                {
                    borrowed(lifetime, errors);
                }
                _ => {}
            }
        }
    }
    (errors.count() == before).then(|| path.clone())
}

fn borrowed(lifetime: &syn::Lifetime, errors: &mut Errors) {
    errors.at(
        lifetime,
        "a distributed worker cannot borrow: it lives on a machine of its own",
        "own the data, or share it in an `Arc`",
    );
}

fn worker(
    mut local: ItemImpl,
    path: Path,
    mut cx: Cx,
    krate: TokenStream,
    errors: &mut Errors,
) -> Worker {
    if let Some(server) = &mut cx.server {
        cx.self_type.replace(server, Replace::visit_type_mut);
    }
    let mut worker = Worker {
        name: path
            .segments
            .last()
            .map_or_else(|| quote::format_ident!("Worker"), |last| last.ident.clone()),
        self_ty: (*local.self_ty).clone(),
        generics: bounded(&local.generics, &local.self_ty, &cx.self_type),
        cfgs: Carried::of(&local.attrs, "").cfgs,
        allows: local.attrs.iter().filter(|one| one.path().is_ident("allow")).cloned().collect(),
        krate,
        private: cx.private.clone(),
        server: cx.server.clone(),
        remotes: Vec::new(),
        schedules: Vec::new(),
        server_functions: Vec::new(),
        has_server_stub: false,
        is_second: false,
        runs: Vec::new(),
        local: local.clone(),
    };
    let mut kept = Vec::new();
    for mut item in std::mem::take(&mut local.items) {
        let marks = take_marks(&mut item, errors);
        let moved = marks.first().is_some_and(|first| worker.item(&item, first, &cx, errors));
        for second in marks.iter().skip(1) {
            errors.at(
                second,
                "a method takes one of `#[remote]`, `#[schedule]` and `#[on_server]`",
                "remove this one, or make it a method of its own",
            );
        }
        if !moved {
            kept.push(item);
        }
    }
    local.items = kept;
    worker.local = local;
    worker
}

impl Worker {
    /// Takes in one marked item of the block, and says whether it leaves the block.
    fn item(&mut self, item: &ImplItem, mark: &Attribute, cx: &Cx, errors: &mut Errors) -> bool {
        let Some(kind) = Mark::of(mark) else {
            return false;
        };
        let ImplItem::Fn(method) = item else {
            let message = format!("`{}` belongs on a method", kind.name());
            errors.at(mark, &message, "remove it");
            return false;
        };
        match kind {
            Mark::Remote => self.remotes.extend(Function::of(method, kind, mark, cx, errors)),
            Mark::OnServer => {
                self.has_server_stub = true;
                self.server_functions.extend(Function::of(method, kind, mark, cx, errors));
            }
            Mark::Schedule => {
                self.schedules.extend(Schedule::of(method, mark, cx, errors));
                return true;
            }
        }
        false
    }

    /// The text by which both sides know the worker; type parameters are for the expansion to add.
    pub(crate) fn title(&self) -> String {
        match self.generics.params.is_empty() {
            true => types::last_segment(&self.self_ty).map(print).unwrap_or_default(),
            false => self.name.unraw().to_string(),
        }
    }
}

/// The names of the methods of the block that only a worker has.
fn ordinary(block: &ItemImpl) -> Vec<String> {
    let names = block.items.iter().filter_map(|item| match item {
        ImplItem::Fn(item) => Some(item)
            .filter(|item| item.sig.receiver().is_some())
            .filter(|item| !item.attrs.iter().any(is_mark_or_condition))
            .map(|item| item.sig.ident.unraw().to_string()),
        _ => None,
    });
    names.filter(|name| !of_a_group(name)).collect()
}

/// Whether the attribute marks the method, or may take it away in favour of one that is marked.
fn is_mark_or_condition(attribute: &Attribute) -> bool {
    let path = attribute.path();
    Mark::of(attribute).is_some() || path.is_ident("cfg") || path.is_ident("cfg_attr")
}

/// Whether every broadcaster has a method called `name`.
fn of_a_group(name: &str) -> bool {
    GROUP.contains(&name)
}

/// The methods of `Group`, and those of the traits that a broadcaster implements.
const GROUP: &[&str] = &[
    "any",
    "call_json",
    "clone",
    "deref",
    "each",
    "fmt",
    "frequency",
    "gather_metrics",
    "gather_results",
    "get",
    "group",
    "is_empty",
    "len",
    "map",
    "metrics",
    "reset_results",
    "results",
    "results_of_lost",
    "select",
    "server",
    "set_frequency",
    "synchro",
    "workers",
];

fn private(krate: &TokenStream) -> Path {
    syn::parse_quote!(#krate::__private)
}

/// The generics of everything that mentions the worker.
fn bounded(generics: &Generics, self_ty: &Type, self_type: &SelfType) -> Generics {
    let mut generics = generics.clone();
    self_type.replace(&mut generics, Replace::visit_generics_mut);
    // Of a type without parameters it holds or does not, and the compiler says so by itself.
    if !generics.params.is_empty() {
        let predicate = syn::parse2::<syn::WherePredicate>(quote! {
            #self_ty: ::core::marker::Send + ::core::marker::Sync + 'static
        });
        generics.make_where_clause().predicates.extend(predicate);
    }
    generics
}

fn take_marks(item: &mut ImplItem, errors: &mut Errors) -> Vec<Attribute> {
    let attributes = match item {
        ImplItem::Fn(item) => &mut item.attrs,
        ImplItem::Const(item) => &mut item.attrs,
        ImplItem::Type(item) => &mut item.attrs,
        ImplItem::Macro(item) => &mut item.attrs,
        _ => return Vec::new(),
    };
    attributes.retain(|attribute| {
        let mark = attribute.path().is_ident("cfg_attr").then(|| conditional(attribute)).flatten();
        let Some(mark) = mark.filter(Mark::is_name) else {
            return true;
        };
        let message = format!("`#[{mark}]` cannot depend on a condition");
        let help = format!("write `#[{mark}]`, and `#[cfg(..)]` on the method");
        errors.at(attribute, &message, &help);
        false
    });
    let (marks, others) =
        std::mem::take(attributes).into_iter().partition(|attribute| Mark::of(attribute).is_some());
    *attributes = others;
    marks
}

/// Strips what only this macro understands from an item that it cannot help.
struct StripAll;

impl VisitMut for StripAll {
    fn visit_attributes_mut(&mut self, attributes: &mut Vec<Attribute>) {
        attributes.retain(|attribute| Mark::of(attribute).is_none());
    }
}

impl Carried {
    /// `otherwise` is the documentation where there is none.
    pub(crate) fn of(attributes: &[Attribute], otherwise: &str) -> Self {
        let mut carried =
            Carried { cfgs: Vec::new(), docs: Vec::new(), summary: summary(attributes) };
        for attribute in attributes {
            let path = attribute.path();
            let conditional = path.is_ident("cfg_attr").then(|| conditional(attribute)).flatten();
            let name = conditional.as_ref().or_else(|| path.get_ident());
            match name.map(ToString::to_string).as_deref() {
                Some("cfg") => carried.cfgs.push(attribute.clone()),
                Some("doc" | "deprecated") => carried.docs.push(attribute.clone()),
                _ => {}
            }
        }
        if !attributes.iter().any(|attribute| attribute.path().is_ident("doc")) {
            carried.docs.push(syn::parse_quote!(#[doc = #otherwise]));
        }
        carried
    }
}

/// The name of the attribute that a `cfg_attr` stands for.
fn conditional(attribute: &Attribute) -> Option<Ident> {
    let tokens = attribute.meta.require_list().ok()?.tokens.clone();
    let mut rest = tokens.into_iter().skip_while(
        |token| !matches!(token, proc_macro2::TokenTree::Punct(punct) if punct.as_char() == ','),
    );
    match rest.nth(1)? {
        proc_macro2::TokenTree::Ident(ident) => Some(ident),
        _ => None,
    }
}

/// The first paragraph of the documentation, as one line.
fn summary(attributes: &[Attribute]) -> String {
    let mut lines = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("doc")) {
        let syn::Meta::NameValue(pair) = &attribute.meta else {
            continue;
        };
        let syn::Expr::Lit(literal) = &pair.value else {
            continue;
        };
        let syn::Lit::Str(text) = &literal.lit else {
            continue;
        };
        lines.extend(text.value().lines().map(|line| line.trim().to_owned()));
        if text.value().is_empty() {
            lines.push(String::new());
        }
    }
    let paragraph: Vec<String> = lines
        .into_iter()
        .skip_while(String::is_empty)
        .take_while(|line| !line.is_empty())
        .collect();
    paragraph.join(" ")
}
