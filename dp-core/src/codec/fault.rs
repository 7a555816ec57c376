//! Why a value can't be written or read, in words.

use std::fmt;

/// What serde asks of an error, around a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault(pub(super) String);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}

impl serde::ser::Error for Fault {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self(text.to_string())
    }
}

impl serde::de::Error for Fault {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self(text.to_string())
    }
}

/// What to do about a type that does not travel.
const REMEDY: &str = "take the attribute off the type, send a type without it (`into`, `from`), or \
                      send it as text (`serde_json::to_string`)";

impl Fault {
    /// A field that is left out of this value.
    pub(super) fn left_out(field: &str, name: &str) -> Self {
        Self(format!(
            "field `{field}` of `{name}` is left out by `#[serde(skip_serializing_if)]`, and values \
             travel by position: who reads it could not tell which field is missing; {REMEDY}"
        ))
    }

    /// A field that is written and not read.
    pub(super) fn not_read(field: &str, name: &str) -> Self {
        Self(format!(
            "{field} of `{name}` is written and not read, as with `#[serde(skip_deserializing)]` or \
             `rename(serialize = .., deserialize = ..)`, and values travel by position: the fields \
             behind it would arrive as others; use `#[serde(skip)]`, or {REMEDY}"
        ))
    }

    /// A field that is read and not written.
    pub(super) fn not_written(field: &str, name: &str) -> Self {
        Self(format!(
            "{field} of `{name}` is read and not written, as with `#[serde(skip_serializing)]` or \
             `skip_serializing_if`, and values travel by position: the fields behind it would arrive \
             as others; use `#[serde(skip)]`, or {REMEDY}"
        ))
    }

    /// A variant that would be read as another one, or not at all.
    pub(super) fn variant(variant: &str, name: &str) -> Self {
        Self(format!(
            "variant `{variant}` of `{name}` would arrive as another one or not at all, as with \
             `#[serde(skip_deserializing)]`, `#[serde(skip_serializing)]` or \
             `rename(serialize = .., deserialize = ..)` on a variant, and variants travel by number; \
             use `#[serde(skip)]` for the last variants, or {REMEDY}"
        ))
    }

    /// A type that can only be read where the bytes describe themselves.
    pub(super) fn any(ty: &str) -> Self {
        Self(format!(
            "`{}` asks what is there before it reads it, as `#[serde(untagged)]`, `#[serde(tag = \
             ..)]`, `#[serde(flatten)]` and `serde_json::Value` do, and the bytes of a value do not \
             say what they are; {REMEDY}",
            short(ty)
        ))
    }

    /// A type whose two halves disagree.
    pub(super) fn another(ty: &str) -> Self {
        Self(format!(
            "this value of `{}` would arrive as another one: what its `Serialize` writes, its \
             `Deserialize` reads as something else; compare the two (`#[serde(serialize_with, \
             deserialize_with, into, from, ..)]`), or send it as text (`serde_json::to_string`)",
            short(ty)
        ))
    }

    /// Fields that were announced and did not come, or came without.
    pub(super) fn count(name: &str, announced: usize, written: usize) -> Self {
        Self(format!(
            "`{name}` announces {announced} fields and writes {written}: its `Serialize` must \
             announce as many as it writes"
        ))
    }
}

/// The name of a type, or of an enum's variant.
pub(super) fn joined([of, name]: [&str; 2]) -> String {
    if of.is_empty() { short(name) } else { format!("{of}::{name}") }
}

/// The type that the user knows: the inner one, unless that is serde's own.
pub(super) fn named(inner: &'static str, outer: &'static str) -> &'static str {
    let own =
        inner.contains("__") || inner.starts_with("serde::") || inner.starts_with("serde_core::");
    if own { outer } else { inner }
}

/// A type's name without the paths: `Option<Step>`.
pub(super) fn short(ty: &str) -> String {
    let mut text = String::new();
    let mut word = String::new();
    let mut chars = ty.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ':' if chars.peek() == Some(&':') => {
                chars.next();
                word.clear();
            }
            c if c.is_alphanumeric() || c == '_' => word.push(c),
            c => {
                text.push_str(&word);
                word.clear();
                text.push(c);
            }
        }
    }
    text.push_str(&word);
    text
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn a_types_name_is_shown_without_its_paths() {
        assert_eq!(short("core::option::Option<app::shapes::Shape>"), "Option<Shape>");
        assert_eq!(short("(u8, alloc::vec::Vec<a::B>)"), "(u8, Vec<B>)");
        assert_eq!(short("u64"), "u64");
    }
}
