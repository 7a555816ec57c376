//! JSON as text that spoils neither a line nor a terminal.

use std::io;

use dp_core::engine::text::is_plain;
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{CompactFormatter, Formatter};

/// `value` as compact JSON. Control and format characters in its texts, C1 and bidirectional ones
/// included, are escapes of JSON, so that whoever parses it gets the same texts.
pub(crate) fn json_text<T: Serialize + ?Sized>(value: &T) -> String {
    let mut bytes = Vec::new();
    // Texts for keys, and memory to write to: it cannot fail.
    let _ = write_json(&mut bytes, value);
    String::from_utf8(bytes).unwrap_or_default()
}

/// The same, to wherever.
pub(crate) fn write_json<T: Serialize + ?Sized>(
    out: impl io::Write,
    value: &T,
) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(out, Plain))
}

struct Plain;

impl Formatter for Plain {
    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut plain = 0;
        for (at, c) in fragment.char_indices().filter(|(_, c)| !is_plain(*c)) {
            CompactFormatter.write_string_fragment(out, &fragment[plain..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            plain = at + c.len_utf8();
        }
        CompactFormatter.write_string_fragment(out, &fragment[plain..])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_would_spoil_a_terminal_is_an_escape_and_means_the_same() {
        let value = json!({"a\u{202e}": ["\u{1b}[2J\n\u{7f}\u{9b}", "\u{e0041}\u{2028}", "h\u{f6}st \"語\""]});
        let text = json_text(&value);
        assert_eq!(
            text,
            "{\"a\\u202e\":[\"\\u001b[2J\\n\\u007f\\u009b\",\"\\udb40\\udc41\\u2028\",\"höst \\\"語\\\"\"]}"
        );
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
