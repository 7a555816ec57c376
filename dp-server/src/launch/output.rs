//! What launched processes say, line by line, with the name of who says it.

use std::io::{BufRead, BufReader, Read, Write};

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
    let mut whole = String::with_capacity(name.len() + text.len() + 3);
    whole.push_str(name);
    whole.push_str(": ");
    for char in text.chars() {
        match char {
            '\t' => whole.push(char),
            char if char.is_control() => whole.extend(char.escape_debug()),
            char => whole.push(char),
        }
    }
    whole.push('\n');
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_name_and_spoils_nothing() {
        assert_eq!(labelled("c1", b"hello\r\n"), "c1: hello\n");
        assert_eq!(labelled("c1", b"a\tb \x1b[31m\xff"), "c1: a\tb \\u{1b}[31m\u{fffd}\n");
        assert_eq!(labelled("c1", b"\n"), "c1: \n");
    }
}
