//! What stands in the parentheses of the attributes.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Attribute, Ident, LitStr, Meta, Path, Token, Type};

use crate::errors::Errors;

/// The arguments of `#[distributed_worker]`.
pub(crate) struct Args {
    /// `crate = ..`: where the generated code finds the library.
    pub(crate) krate: TokenStream,
    /// `server = ..`: the type of the server's state.
    pub(crate) server: Option<Type>,
}

impl Args {
    pub(crate) fn parse(tokens: TokenStream, errors: &mut Errors) -> Self {
        let mut args = Args { krate: quote!(::dp_core), server: None };
        let mut seen = Vec::new();
        let parser = |input: ParseStream| {
            while !input.is_empty() {
                args.parse_one(input, &mut seen, errors)?;
                if !input.is_empty() {
                    input.parse::<Token![,]>()?;
                }
            }
            Ok(())
        };
        // The rest of the arguments cannot be understood after a syntax error, but the block can.
        if let Err(error) = parser.parse2(tokens) {
            errors.syntax(error);
        }
        args
    }

    fn parse_one(
        &mut self,
        input: ParseStream,
        seen: &mut Vec<Ident>,
        errors: &mut Errors,
    ) -> syn::Result<()> {
        let key = Ident::parse_any(input)?;
        if seen.contains(&key) {
            errors.at(&key, &format!("`{key}` is given twice"), "");
        }
        if (key == "crate" || key == "server") && !input.peek(Token![=]) {
            let what = if key == "crate" { "path::to::dp_core" } else { "State" };
            let help = format!("write `{key} = {what}`");
            errors.at(&key, &format!("`{key}` needs a value"), &help);
        } else if key == "crate" {
            input.parse::<Token![=]>()?;
            if let Some(text) = input.parse::<Option<LitStr>>()? {
                let help = format!("write it without the quotes: `crate = {}`", text.value());
                errors.at(&text, "`crate` is a path, not a string", &help);
            } else {
                self.krate = Path::parse_mod_style(input)?.into_token_stream();
            }
        } else if key == "server" {
            input.parse::<Token![=]>()?;
            self.server = Some(input.parse()?);
        } else {
            let message = format!("`#[distributed_worker]` has no argument `{key}`");
            let help = "it takes `server = State`, the type of the server's state, and \
                        `crate = path::to::dp_core`";
            errors.at(&key, &message, help);
            // What follows belongs to the unknown argument.
            while !input.is_empty() && !input.peek(Token![,]) {
                input.parse::<proc_macro2::TokenTree>()?;
            }
        }
        seen.push(key);
        Ok(())
    }
}

/// Which of the attributes that mark a method.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mark {
    Remote,
    Schedule,
    OnServer,
}

const MARKS: [(&str, Mark); 3] =
    [("remote", Mark::Remote), ("schedule", Mark::Schedule), ("on_server", Mark::OnServer)];

impl Mark {
    pub(crate) fn of(attribute: &Attribute) -> Option<Mark> {
        let name = attribute.path().get_ident()?;
        MARKS.iter().find_map(|(mark_name, mark)| (name == mark_name).then_some(*mark))
    }

    /// Whether one of the attributes is called `name`.
    pub(crate) fn is_name(name: &Ident) -> bool {
        MARKS.iter().any(|(mark_name, _)| name == mark_name)
    }

    /// As it is written.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mark::Remote => "#[remote]",
            Mark::Schedule => "#[schedule]",
            Mark::OnServer => "#[on_server]",
        }
    }
}

/// Whether a mark of kind `mark` says `typed_error`.
pub(crate) fn typed_error(attribute: &Attribute, mark: Mark, errors: &mut Errors) -> bool {
    let allowed = mark != Mark::Schedule;
    let list = match &attribute.meta {
        Meta::Path(_) => return false,
        Meta::List(list) => list,
        Meta::NameValue(pair) => {
            errors.at(&pair.value, &format!("`{}` takes no value", mark.name()), "");
            return false;
        }
    };
    let mut found = false;
    let parsed = list.parse_nested_meta(|meta| {
        if allowed && meta.path.is_ident("typed_error") && !found {
            found = true;
        } else {
            let message = format!("unknown argument of `{}`", mark.name());
            let help = if allowed {
                "the only argument is `typed_error`: the whole `Result` travels as the value"
            } else {
                "it takes no arguments"
            };
            errors.at(&meta.path, &message, help);
            while !meta.input.is_empty() && !meta.input.peek(Token![,]) {
                meta.input.parse::<proc_macro2::TokenTree>()?;
            }
        }
        Ok(())
    });
    if let Err(error) = parsed {
        errors.syntax(error);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(source: &str) -> (Args, String) {
        let mut errors = Errors::new();
        let args = Args::parse(source.parse().unwrap(), &mut errors);
        (args, errors.into_compile_errors().to_string())
    }

    #[test]
    fn arguments_come_in_any_order() {
        let (args, errors) = parse("server = Feed<u8>, crate = my::path,");
        assert_eq!(errors, "");
        assert_eq!(args.krate.to_string(), "my :: path");
        assert!(args.server.is_some());
    }

    #[test]
    fn an_unknown_argument_does_not_hide_the_next_mistake() {
        let (_, errors) = parse("name = a::b, crate = \"x\"");
        assert!(errors.contains("no argument `name`"));
        assert!(errors.contains("without the quotes: `crate = x`"));
    }
}
