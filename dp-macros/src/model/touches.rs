//! What a `#[schedule]` says of a worker that is not where it runs: a field, or an ordinary method.

use proc_macro2::{TokenStream, TokenTree};
use syn::ext::IdentExt;
use syn::visit_mut::{self, VisitMut};
use syn::{Expr, ExprField, ExprMethodCall, Item, Macro, Member};

use crate::errors::Errors;

/// Looks for fields of `self`, and for calls of the methods `ordinary`, in the body of a schedule.
pub(super) fn check(block: &syn::Block, ordinary: &[String], errors: &mut Errors) {
    Touches { ordinary, errors }.visit_block_mut(&mut block.clone());
}

struct Touches<'a> {
    ordinary: &'a [String],
    errors: &'a mut Errors,
}

impl Touches<'_> {
    fn field(&mut self, field: &dyn quote::ToTokens, name: &str) {
        let mut tokens = TokenStream::new();
        field.to_tokens(&mut tokens);
        self.errors.at(
            tokens,
            &format!(
                "a `#[schedule]` runs on the master, where there is no worker and no field `{name}`"
            ),
            "write a `#[remote]` method that returns or changes the field, and call it: it is \
             called on every worker",
        );
    }

    fn method(&mut self, name: &syn::Ident) {
        self.errors.at(
            name,
            &format!(
                "`{name}` is an ordinary method of the worker, and a `#[schedule]` runs on the \
                 master, where there is no worker"
            ),
            &format!(
                "mark `{name}` with `#[remote]`, to have it called on every worker, or with \
                 `#[schedule]`, to have it on the master"
            ),
        );
    }

    /// `self.name` within the arguments of a macro that formats or asserts.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let punct = |at: usize, wanted: char| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == wanted);
        let call = |at: usize| {
            matches!(tokens.get(at), Some(TokenTree::Group(group))
                if group.delimiter() == proc_macro2::Delimiter::Parenthesis)
        };
        for (at, token) in tokens.iter().enumerate() {
            if let TokenTree::Group(group) = token {
                self.tokens(group.stream());
            }
            let is_self = matches!(token, TokenTree::Ident(ident) if ident == "self");
            let range = at > 0 && punct(at - 1, '.');
            if !is_self || range || !punct(at + 1, '.') || punct(at + 2, '.') {
                continue;
            }
            match tokens.get(at + 2) {
                Some(TokenTree::Ident(name)) if call(at + 3) => {
                    // Another method is one of the broadcaster's: no arm below may see it.
                    let is_ordinary = self.ordinary.contains(&name.unraw().to_string());
                    if is_ordinary {
                        self.method(name);
                    }
                }
                // A turbofish, or what is no expression.
                _ if punct(at + 3, ':') => {}
                Some(TokenTree::Ident(name)) if name != "await" => {
                    self.field(name, &name.unraw().to_string());
                }
                Some(TokenTree::Literal(number)) => self.field(number, &number.to_string()),
                _ => {}
            }
        }
    }
}

impl VisitMut for Touches<'_> {
    fn visit_expr_field_mut(&mut self, expression: &mut ExprField) {
        if is_self(&expression.base) {
            match &expression.member {
                Member::Named(name) => self.field(name, &name.unraw().to_string()),
                Member::Unnamed(index) => self.field(index, &index.index.to_string()),
            }
        }
        visit_mut::visit_expr_field_mut(self, expression);
    }

    fn visit_expr_method_call_mut(&mut self, call: &mut ExprMethodCall) {
        if is_self(&call.receiver) && self.ordinary.contains(&call.method.unraw().to_string()) {
            self.method(&call.method);
        }
        visit_mut::visit_expr_method_call_mut(self, call);
    }

    fn visit_macro_mut(&mut self, call: &mut Macro) {
        let name = call.path.segments.last().map(|last| last.ident.to_string());
        // Nobody knows what another macro makes of its tokens.
        if name.is_some_and(|name| PLAIN.contains(&name.as_str())) {
            self.tokens(call.tokens.clone());
        }
    }

    // An item in a body has a `self` of its own.
    fn visit_item_mut(&mut self, _: &mut Item) {}
}

fn is_self(expression: &Expr) -> bool {
    match expression {
        Expr::Path(path) => path.path.is_ident("self"),
        Expr::Paren(inner) => is_self(&inner.expr),
        Expr::Group(inner) => is_self(&inner.expr),
        _ => false,
    }
}

/// Macros that evaluate their arguments as they are written.
const PLAIN: &[&str] = &[
    "anyhow",
    "assert",
    "assert_eq",
    "assert_ne",
    "bail",
    "dbg",
    "debug",
    "debug_assert",
    "debug_assert_eq",
    "debug_assert_ne",
    "ensure",
    "eprint",
    "eprintln",
    "error",
    "format",
    "info",
    "join",
    "matches",
    "panic",
    "print",
    "println",
    "trace",
    "try_join",
    "vec",
    "warn",
    "write",
    "writeln",
];
