//! One line for an error and what caused it.

use std::error::Error;

/// The message of `error` and of all its sources, joined by `: `. A source that the text already
/// contains is left out: many errors quote theirs.
pub fn message(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::message;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: io::Error,
    }

    #[test]
    fn sources_follow_the_message() {
        let error = Layer { text: "cannot save", source: io::Error::other("disk full") };
        assert_eq!(message(&error), "cannot save: disk full");
    }

    #[test]
    fn a_source_that_is_quoted_already_is_not_repeated() {
        let error = Layer { text: "cannot save: disk full", source: io::Error::other("disk full") };
        assert_eq!(message(&error), "cannot save: disk full");
    }
}
