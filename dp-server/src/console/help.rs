//! The list of commands for a terminal: what a command does wraps at words, beside its name.

use super::parse::COMMANDS;
use super::width::{pad, wrap};

/// How wide the column of the commands is, the gap behind it included.
const USAGE: usize = 29;

/// On a terminal that leaves less than this beside them, what commands do stands below them.
const NARROW: usize = 24;

/// The lines, each at most `columns` wide.
pub(super) fn lines(columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for command in COMMANDS {
        let usage = command.usage();
        let beside = columns.checked_sub(USAGE).filter(|left| *left >= NARROW);
        match beside {
            Some(left) => {
                for (at, about) in wrap(command.about, left).into_iter().enumerate() {
                    let first = if at == 0 { &*usage } else { "" };
                    lines.push(format!("{}{about}", pad(first, USAGE)));
                }
            }
            None => {
                lines.push(usage.to_string());
                let about = wrap(command.about, columns.saturating_sub(4));
                lines.extend(about.into_iter().map(|about| format!("    {about}")));
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::width::width;
    use super::*;

    #[test]
    fn no_line_is_wider_than_the_terminal_and_no_word_is_lost() {
        let words = |lines: &[String]| -> Vec<String> {
            lines.iter().flat_map(|line| line.split_whitespace()).map(str::to_owned).collect()
        };
        let all = words(&lines(1000));
        for columns in [40, 52, 53, 80, 200] {
            let lines = lines(columns);
            assert!(lines.iter().all(|line| width(line) <= columns), "{columns}: {lines:#?}");
            assert_eq!(words(&lines), all);
        }
        assert_eq!(lines(1000).len(), COMMANDS.len());
    }
}
