//! How wide text is on a terminal, and columns by that.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// How many columns of a terminal `text` takes: two for a wide character, none for a combining one.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// `text` with blanks behind it, up to `columns`.
pub(crate) fn pad(text: &str, columns: usize) -> String {
    format!("{text}{}", blanks(text, columns))
}

/// The same, with the blanks before it.
pub(crate) fn pad_left(text: &str, columns: usize) -> String {
    format!("{}{text}", blanks(text, columns))
}

fn blanks(text: &str, columns: usize) -> String {
    " ".repeat(columns.saturating_sub(width(text)))
}

/// As much of the beginning of `text` as fits into `columns`.
pub(crate) fn cut(text: &str, columns: usize) -> &str {
    let mut taken = 0;
    for (at, c) in text.char_indices() {
        taken += c.width().unwrap_or(0);
        if taken > columns {
            return &text[..at];
        }
    }
    text
}

/// `text` in lines of at most `columns`, broken between words. A word that is longer has a line of its
/// own.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if width(line) + 1 + width(word) <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_padded_and_cut_by_what_it_takes_on_a_terminal() {
        assert_eq!(pad("語e\u{301}", 5), "語e\u{301}  ");
        assert_eq!(pad_left("語", 3), " 語");
        assert_eq!(pad("longer", 3), "longer");
        assert_eq!(cut("語語語", 5), "語語");
        assert_eq!(cut("e\u{301}ab", 2), "e\u{301}a");
        assert_eq!(cut("", 0), "");
    }

    #[test]
    fn lines_are_broken_between_words() {
        assert_eq!(
            wrap("runs, then prints the results", 12),
            ["runs, then", "prints the", "results"]
        );
        assert_eq!(wrap("a longest-word b", 5), ["a", "longest-word", "b"]);
        assert!(wrap("", 10).is_empty());
    }
}
