//! Prints types as text, for people and for the fingerprint of the contract.
//!
//! The fingerprint decides whether a client may join a server, so its text must depend on nothing
//! but the tokens: `TokenStream::to_string` changes its spacing from one compiler to the next.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use quote::ToTokens;

/// `tokens` with the spacing that rustfmt would give a type on one line.
pub(crate) fn print(tokens: impl ToTokens) -> String {
    let mut printer = Printer { text: String::new(), last: Last::Open };
    printer.tokens(tokens.to_token_stream());
    printer.text
}

/// What stands before the next token.
#[derive(Clone, Copy, PartialEq)]
enum Last {
    /// Nothing, an opening bracket, or an operator that binds to what follows.
    Open,
    /// An identifier or a literal, which an opening bracket follows closely.
    Word,
    /// A lifetime, or a keyword that stands before types.
    Prefix,
    /// A closing bracket or `>`.
    Close,
    /// What is always followed by a space, unless the bracket closes.
    Separator,
}

struct Printer {
    text: String,
    last: Last,
}

impl Printer {
    fn tokens(&mut self, tokens: TokenStream) {
        let mut flat = Vec::new();
        flatten(tokens, &mut flat);
        let mut index = 0;
        while let Some(token) = flat.get(index) {
            index += match token {
                TokenTree::Group(group) => {
                    self.group(group.delimiter(), group.stream());
                    1
                }
                TokenTree::Ident(ident) => {
                    self.word(&ident.to_string());
                    1
                }
                TokenTree::Literal(literal) => {
                    self.word(&literal.to_string());
                    1
                }
                TokenTree::Punct(_) => self.punct(&flat, index),
            };
        }
    }

    fn group(&mut self, delimiter: Delimiter, content: TokenStream) {
        let (open, close) = match delimiter {
            Delimiter::Parenthesis => ("(", ")"),
            Delimiter::Bracket => ("[", "]"),
            Delimiter::Brace => ("{ ", " }"),
            Delimiter::None => ("", ""),
        };
        let braces = delimiter == Delimiter::Brace;
        self.gap(braces || matches!(self.last, Last::Separator | Last::Prefix));
        self.text.push_str(open);
        self.last = Last::Open;
        self.tokens(content);
        self.text.push_str(close);
        self.last = Last::Close;
    }

    fn word(&mut self, word: &str) {
        self.gap(self.last != Last::Open);
        self.text.push_str(word);
        let prefix =
            word.starts_with('\'') || ["as", "const", "dyn", "impl", "mut"].contains(&word);
        self.last = if prefix { Last::Prefix } else { Last::Word };
    }

    /// Prints the operator at `index` and says of how many tokens it is made.
    fn punct(&mut self, flat: &[TokenTree], index: usize) -> usize {
        let operator = operator(flat, index);
        let length = operator.chars().count();
        match operator.as_str() {
            "'" => {
                // A lifetime is its apostrophe and its name.
                let name = flat.get(index + 1).map(ToString::to_string).unwrap_or_default();
                self.word(&format!("'{name}"));
                return 2;
            }
            "," | ";" => {
                if operator == ";" || !is_trailing_comma(flat, index) {
                    self.text.push_str(&operator);
                    self.last = Last::Separator;
                }
            }
            ":" => {
                self.text.push(':');
                self.last = Last::Separator;
            }
            "->" | "=>" | "=" | "+" => {
                self.gap(true);
                self.text.push_str(&operator);
                self.last = Last::Separator;
            }
            ">" => {
                self.text.push('>');
                self.last = Last::Close;
            }
            // A type means the same with and without the turbofish.
            "::" if matches!(flat.get(index + 2), Some(TokenTree::Punct(next)) if next.as_char() == '<') =>
                {}
            "::" | "<" => {
                // At the start of a path it follows a word such as `dyn`, within one it does not.
                self.gap(matches!(self.last, Last::Separator | Last::Prefix));
                self.text.push_str(&operator);
                self.last = Last::Open;
            }
            _ => {
                self.gap(matches!(self.last, Last::Word | Last::Prefix | Last::Separator));
                self.text.push_str(&operator);
                self.last = Last::Open;
            }
        }
        length
    }

    fn gap(&mut self, wanted: bool) {
        if wanted && !self.text.is_empty() && !self.text.ends_with([' ', '(', '[', '{']) {
            self.text.push(' ');
        }
    }
}

/// Takes away the invisible groups in which `macro_rules!` wraps its fragments.
fn flatten(tokens: TokenStream, into: &mut Vec<TokenTree>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::None => {
                flatten(group.stream(), into);
            }
            other => into.push(other),
        }
    }
}

fn operator(flat: &[TokenTree], index: usize) -> String {
    let char_at = |index: usize| match flat.get(index) {
        Some(TokenTree::Punct(punct)) => Some((punct.as_char(), punct.spacing())),
        _ => None,
    };
    let Some((first, spacing)) = char_at(index) else {
        return String::new();
    };
    let mut operator = String::from(first);
    if let (Spacing::Joint, Some((second, _))) = (spacing, char_at(index + 1))
        && matches!((first, second), (':', ':') | ('-' | '=', '>'))
    {
        operator.push(second);
    }
    operator
}

/// Whether a comma may be left out: before a closing bracket or `>`, but for that of `(T,)`.
fn is_trailing_comma(flat: &[TokenTree], index: usize) -> bool {
    match flat.get(index + 1) {
        Some(TokenTree::Punct(next)) => next.as_char() == '>',
        Some(_) => false,
        None => {
            let mut depth = 0_usize;
            flat.iter().take(index).enumerate().any(|(at, token)| {
                let TokenTree::Punct(punct) = token else {
                    return false;
                };
                match punct.as_char() {
                    '<' => depth += 1,
                    // Not the head of an arrow.
                    '>' if at == 0 || operator(flat, at - 1).len() < 2 => {
                        depth = depth.saturating_sub(1);
                    }
                    ',' => return depth == 0,
                    _ => {}
                }
                false
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(source: &str) -> String {
        print(source.parse::<TokenStream>().unwrap())
    }

    #[test]
    fn types_read_as_rustfmt_writes_them() {
        for source in [
            "&str",
            "&[u8]",
            "&mut Vec<Vec<u8>>",
            "&'a [std::string::String]",
            "std::collections::HashMap<String, (u8, [u64; 4])>",
            "::std::option::Option<u8>",
            "Result<(), Box<dyn std::error::Error + Send + Sync + 'static>>",
            "Box<dyn for<'a> Fn(&'a str) -> u8>",
            "Box<dyn ::std::error::Error>",
            "<Vec<T> as IntoIterator>::Item",
            "Matrix<3, { N }>",
            "Box<dyn Iterator<Item = u8>>",
            "(u8,)",
            "()",
            "fn(u8, &str) -> u8",
            "Wrapper<-1>",
            "r#type<T>",
        ] {
            assert_eq!(printed(source), source);
        }
    }

    #[test]
    fn spacing_and_optional_tokens_do_not_matter() {
        for (source, plain) in [
            ("HashMap < String ,u8, >", "HashMap<String, u8>"),
            ("(u8, u16,)", "(u8, u16)"),
            ("(HashMap<u8, u8>,)", "(HashMap<u8, u8>,)"),
            ("Vec::<u8>", "Vec<u8>"),
            ("Box<dyn   Fn ( u8 )->u8>", "Box<dyn Fn(u8) -> u8>"),
        ] {
            assert_eq!(printed(source), plain);
        }
    }

    #[test]
    fn invisible_groups_leave_no_trace() {
        let inner = "Vec<u8>".parse().unwrap();
        let group = proc_macro2::Group::new(Delimiter::None, inner);
        assert_eq!(print(quote::quote!(Option<#group>)), "Option<Vec<u8>>");
    }
}
