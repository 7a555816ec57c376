//! Replaces `Self` by the type of the worker, in what moves to another type.

use proc_macro2::{Group, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::visit_mut::{self, VisitMut};
use syn::{Item, Macro, Path, PathArguments, PathSegment};

/// The type that an impl block is for, in the form that is right in every position:
/// `Sorter::<T>` is a type, an expression and a pattern.
#[derive(Clone)]
pub(crate) struct SelfType {
    path: Path,
}

impl SelfType {
    pub(crate) fn new(path: &Path) -> Self {
        let mut path = path.clone();
        for segment in &mut path.segments {
            if let PathArguments::AngleBracketed(arguments) = &mut segment.arguments {
                arguments.colon2_token.get_or_insert_default();
            }
        }
        SelfType { path }
    }

    /// Replaces every `Self` of `node` by means of the visitor method for its kind.
    pub(crate) fn replace<T>(&self, node: &mut T, visit: impl FnOnce(&mut Replace, &mut T)) {
        visit(&mut Replace { with: self.clone() }, node);
    }

    /// The segments of the type, to be found where `Self` stood.
    fn segments(&self, at: Span) -> Vec<PathSegment> {
        let tokens = located(self.path.to_token_stream(), at);
        match syn::parse2::<Path>(tokens) {
            Ok(path) => path.segments.into_iter().collect(),
            Err(_) => self.path.segments.iter().cloned().collect(),
        }
    }
}

/// The visitor behind [`SelfType::replace`].
pub(crate) struct Replace {
    with: SelfType,
}

impl VisitMut for Replace {
    fn visit_path_mut(&mut self, path: &mut Path) {
        let leading = path.segments.first().map(|segment| segment.ident.clone());
        if let Some(ident) = leading.filter(|ident| ident == "Self" && path.leading_colon.is_none())
        {
            let rest = std::mem::take(&mut path.segments).into_iter().skip(1);
            path.leading_colon = self.with.path.leading_colon;
            path.segments = self.with.segments(ident.span()).into_iter().chain(rest).collect();
        }
        visit_mut::visit_path_mut(self, path);
    }

    fn visit_macro_mut(&mut self, call: &mut Macro) {
        let tokens = std::mem::take(&mut call.tokens);
        call.tokens = self.tokens(tokens);
    }

    fn visit_item_mut(&mut self, item: &mut Item) {
        // An item in a function body cannot see the `Self` around it, and may have its own.
        if let Item::Macro(item) = item {
            self.visit_macro_mut(&mut item.mac);
        }
    }
}

impl Replace {
    /// Nobody knows what a macro makes of its tokens, except that no other `Self` is meant.
    fn tokens(&self, tokens: TokenStream) -> TokenStream {
        let replace = |token| match token {
            TokenTree::Ident(ident) if ident == "Self" => {
                located(self.with.path.to_token_stream(), ident.span())
            }
            TokenTree::Group(group) => {
                let mut replaced = Group::new(group.delimiter(), self.tokens(group.stream()));
                replaced.set_span(group.span());
                TokenTree::Group(replaced).into()
            }
            other => other.into(),
        };
        tokens.into_iter().map(replace).collect::<TokenStream>()
    }
}

/// `tokens` as if they were written at `at`, meaning what they mean where they are from.
pub(crate) fn located(tokens: TokenStream, at: Span) -> TokenStream {
    let locate = |mut token: TokenTree| {
        if let TokenTree::Group(group) = &token {
            let mut moved = Group::new(group.delimiter(), located(group.stream(), at));
            moved.set_span(group.span());
            token = TokenTree::Group(moved);
        }
        token.set_span(token.span().located_at(at));
        token
    };
    tokens.into_iter().map(locate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::quote;
    use syn::parse_quote;

    fn replaced(mut block: syn::Block) -> String {
        let worker = SelfType::new(&parse_quote!(Sorter<T>));
        worker.replace(&mut block, Replace::visit_block_mut);
        block.to_token_stream().to_string().replace(' ', "")
    }

    #[test]
    fn self_is_replaced_in_expressions_types_patterns_and_macros() {
        let block = replaced(parse_quote!({
            let a: Vec<Self> = Self::new(Self::SIZE);
            let Self { field } = a;
            println!("{}", Self::SIZE);
        }));
        assert_eq!(
            block,
            "{leta:Vec<Sorter::<T>>=Sorter::<T>::new(Sorter::<T>::SIZE);\
             letSorter::<T>{field}=a;println!(\"{}\",Sorter::<T>::SIZE);}"
        );
    }

    #[test]
    fn nested_items_keep_their_own_self() {
        let block = quote!({
            impl Other {
                fn new() -> Self {
                    Self
                }
            }
        });
        let plain = block.to_string().replace(' ', "");
        assert_eq!(replaced(parse_quote!(#block)), plain);
    }
}
