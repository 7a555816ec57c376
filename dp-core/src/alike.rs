//! What prints alike: `Debug` shows the entries of a map, or a set, in whatever order they have.

use std::borrow::Cow;
use std::fmt::Debug;

use crate::error::caught;

/// The value as text; what its `Debug` panicked with, if it did.
pub(crate) fn shown<T: Debug>(value: &T) -> String {
    caught(|| format!("{value:?}"))
        .unwrap_or_else(|text| format!("(can't be shown: its `Debug` panicked: {text})"))
}

/// Whether two values are equal. Those that do not equal themselves, as NaN, are if they print alike.
#[allow(clippy::eq_op)]
pub(crate) fn alike<T: PartialEq + Debug>(one: &T, other: &T) -> bool {
    let irregular = || one != one && other != other;
    one == other || (irregular() && regular(&shown(one)) == regular(&shown(other)))
}

/// A value's text as `Debug` gives it, the entries of each map and set sorted. Braces behind a name are
/// a struct's, and stay as they are.
pub(crate) fn regular(text: &str) -> Cow<'_, str> {
    let braces = text.contains('{') && text.contains(',');
    braces.then(|| sorted(text)).flatten().map_or(Cow::Borrowed(text), Cow::Owned)
}

/// What stands between two brackets.
struct Level {
    close: char,
    sorts: bool,
    entries: Vec<String>,
    entry: String,
}

impl Level {
    fn new(close: char, sorts: bool) -> Self {
        Self { close, sorts, entries: Vec::new(), entry: String::new() }
    }

    fn end_entry(&mut self) {
        let entry = std::mem::take(&mut self.entry);
        self.entries.push(entry.trim().to_owned());
    }

    fn text(mut self) -> String {
        self.end_entry();
        if self.sorts {
            self.entries.sort_unstable();
        }
        self.entries.join(", ")
    }
}

/// `None` where the brackets do not match: then it is not what `Debug` writes.
fn sorted(text: &str) -> Option<String> {
    let mut levels = vec![Level::new('\0', false)];
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let level = levels.last_mut()?;
        let taken = match c {
            '"' | '\'' => literal(rest).unwrap_or(c.len_utf8()),
            _ => c.len_utf8(),
        };
        match c {
            '{' | '[' | '(' => {
                let before = level.entry.trim_end().chars().next_back();
                let named = before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '>');
                let close = match c {
                    '{' => '}',
                    '[' => ']',
                    _ => ')',
                };
                level.entry.push(c);
                levels.push(Level::new(close, c == '{' && !named));
            }
            '}' | ']' | ')' => {
                let inner = levels.pop().filter(|level| level.close == c)?;
                let outer = levels.last_mut()?;
                outer.entry.push_str(&inner.text());
                outer.entry.push(c);
            }
            ',' => level.end_entry(),
            _ => level.entry.push_str(&rest[..taken]),
        }
        rest = &rest[taken..];
    }
    match levels.pop() {
        Some(level) if levels.is_empty() => Some(level.text()),
        _ => None,
    }
}

/// How long the text or character in quotes is that stands in front.
fn literal(text: &str) -> Option<usize> {
    let mut chars = text.char_indices();
    let (_, quote) = chars.next()?;
    let mut count = 0;
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                // Of `\u{1f600}` the rest is no quote, either.
                chars.next();
            }
            c if c == quote => return Some(at + c.len_utf8()),
            _ => {}
        }
        count += 1;
        // An apostrophe, and not a character.
        if quote == '\'' && count > 12 {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap, HashSet};

    use super::*;

    #[test]
    fn the_order_of_maps_and_sets_does_not_count() {
        let two = [r#"{"a": {2, 1}, "b}, {": {}}"#, r#"{"b}, {": {}, "a": {1, 2}}"#];
        assert_eq!(regular(two[0]), regular(two[1]));
        for _ in 0..20 {
            let map: HashMap<_, _> = (0..9)
                .map(|n| (n.to_string(), HashSet::from([Some('}'), None, Some(',')])))
                .collect();
            let regular_map: HashMap<_, BTreeSet<_>> =
                map.iter().map(|(k, v)| (k, v.iter().collect())).collect();
            assert_eq!(regular(&shown(&map)), regular(&shown(&regular_map)));
        }
    }

    #[test]
    fn the_order_of_anything_else_counts() {
        for (one, other) in [
            ("[1, 2, {3}]", "[2, 1, {3}]"),
            ("P { a: 1, b: 2 }", "P { b: 2, a: 1 }"),
            ("({1}, {2})", "({2}, {1})"),
            (r#"{"a, b"}"#, r#"{"b, a"}"#),
            ("it's {1, 2", "it's {2, 1"),
        ] {
            assert_ne!(regular(one), regular(other));
        }
    }

    #[test]
    fn nan_is_alike_and_what_stands_beside_it_counts() {
        assert!(alike(&f64::NAN, &-f64::NAN) && !alike(&f64::NAN, &1.0));
        assert!(alike(&(f64::NAN, 1), &(f64::NAN, 1)) && !alike(&(f64::NAN, 1), &(f64::NAN, 2)));
    }
}
