//! What launched processes say, line by line, with the name of who says it.

use std::io::{BufRead, BufReader, Read, Write};

use dp_core::engine::text::{escaped, escaped_but_tabs};

use crate::terminal;

/// A longer line comes in parts of so many bytes, each with the name.
const LONGEST: u64 = 8 * 1024;

/// Says every line of `stream` where logs go, until its end. A reader that is slow holds up who writes
/// it.
pub(super) fn forward(name: &str, stream: impl Read) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.by_ref().take(LONGEST).read_until(b'\n', &mut line) {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
        // Nobody is there to be told where that fails.
        let _ = terminal::log_writer().write_all(labelled(name, &line).as_bytes());
    }
}

/// One line, without what could spoil it or a terminal.
fn labelled(name: &str, line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end_matches(['\n', '\r']);
    format!("{}: {}\n", escaped(name), escaped_but_tabs(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_name_and_spoils_nothing() {
        assert_eq!(labelled("c1", b"hello\r\n"), "c1: hello\n");
        assert_eq!(labelled("c1", b"a\tb \x1b[31m\xff"), "c1: a\tb \\u{1b}[31m\u{fffd}\n");
        assert_eq!(labelled("c1", b"\n"), "c1: \n");
        let hostile = "\u{9b}2J\u{202e}\u{200b}";
        assert_eq!(labelled("c1", hostile.as_bytes()), "c1: \\u{9b}2J\\u{202e}\\u{200b}\n");
    }
}
