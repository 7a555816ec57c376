//! What the editor shows: to print above it takes to know that.
//!
//! rustyline has a printer of its own for that, which stops reading keys that came at once, as pasted
//! text does, in the releases that the oldest Rust we support can build.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use unicode_width::UnicodeWidthStr as _;

/// What the editor shows; shared by the editor, which says so, and the screen.
#[derive(Debug, Clone, Default)]
pub(super) struct Edited(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    prompt: String,
    /// The prompt with its colors.
    painted: String,
    /// The line, and where in it the cursor is, in bytes; none between two lines.
    line: Option<(String, usize)>,
    /// Something of the editor's own has come on the screen since it was last asked for.
    moved: bool,
    /// Who waits for the first line to be shown.
    first: Option<mpsc::Sender<()>>,
}

/// How to print above the line that is edited.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Around {
    /// Takes what is edited off the screen, and leaves the cursor where that began.
    pub(super) before: String,
    /// Puts it there again, from the beginning of a row.
    pub(super) behind: String,
    /// What was printed before is not right above it any more.
    pub(super) moved: bool,
}

impl Edited {
    /// Tells when the first line is shown: from then on it is the editor that gets the keys.
    pub(super) fn when_shown(&self, tell: mpsc::Sender<()>) {
        self.lock().first = Some(tell);
    }

    /// The prompt that is about to be shown.
    pub(super) fn prompt(&self, prompt: &str, painted: &str) {
        let mut state = self.lock();
        prompt.clone_into(&mut state.prompt);
        painted.clone_into(&mut state.painted);
    }

    /// The line that is about to be shown.
    pub(super) fn line(&self, line: &str, position: usize) {
        let mut state = self.lock();
        state.line = Some((line.to_owned(), position));
        if let Some(first) = state.first.take() {
            let _ = first.send(());
        }
    }

    /// The line has ended.
    pub(super) fn ended(&self) {
        let mut state = self.lock();
        state.line = None;
        state.moved = true;
    }

    /// The editor has put something between what was printed and the line.
    pub(super) fn moved(&self) {
        self.lock().moved = true;
    }

    pub(super) fn around(&self, columns: usize) -> Around {
        let mut state = self.lock();
        let moved = std::mem::take(&mut state.moved);
        let Some((line, position)) = &state.line else {
            return Around { moved, ..Around::default() };
        };
        let cell = |text: &str| state.prompt.width() + text.width();
        let cursor = cell(line.get(..*position).unwrap_or(line));
        let end = cell(line);
        let (row, column, last) = (cursor / columns, cursor % columns, end / columns);
        let up = |rows: usize| if rows > 0 { format!("\x1b[{rows}A") } else { String::new() };
        let right = if column > 0 { format!("\x1b[{column}C") } else { String::new() };
        // A row that is full leaves the cursor at its end; the editor has it on the next one.
        let wrap = if end > 0 && end % columns == 0 { "\n" } else { "" };
        let before = format!("{}\r\x1b[J", up(row));
        let behind = format!("{}{line}{wrap}{}\r{right}", state.painted, up(last - row));
        Around { before, behind, moved }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_comes_above_the_line_and_the_cursor_stays_in_it() {
        let edited = Edited::default();
        assert_eq!(edited.around(80), Around::default());
        edited.prompt("> ", "> ");
        edited.line("/run", 2);
        let around = edited.around(80);
        assert_eq!((around.before.as_str(), around.moved), ("\r\x1b[J", false));
        assert_eq!(around.behind, "> /run\r\x1b[4C");
        edited.ended();
        assert_eq!(edited.around(80), Around { moved: true, ..Around::default() });
        assert_eq!(edited.around(80), Around::default());
    }

    #[test]
    fn a_line_of_several_rows_is_taken_off_and_put_back_as_a_whole() {
        let edited = Edited::default();
        edited.prompt("> ", "> ");
        // Two columns each, as terminals have it.
        edited.line("語語語語語語語語", 9);
        let around = edited.around(10);
        // Cells: 2 of the prompt, 6 before the cursor, 10 behind it.
        assert_eq!(around.before, "\r\x1b[J");
        assert_eq!(around.behind, "> 語語語語語語語語\x1b[1A\r\x1b[8C");
        edited.line("12345678", 8);
        let around = edited.around(10);
        assert_eq!(around.before, "\x1b[1A\r\x1b[J");
        assert_eq!(around.behind, "> 12345678\n\r");
    }
}
