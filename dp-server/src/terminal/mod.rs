//! The console on a terminal: a line that can be edited, and above it what the console says.
//!
//! Two threads. The editor's thread reads keys, since that blocks. Everything else,
//! logs included, goes through the screen's thread, which knows what the editor shows, prints above it,
//! and so never tears the line that is being typed.

mod complete;
mod edited;
mod editor;
mod history;
mod screen;

use std::io::{self, IsTerminal};

use dp_core::DistributedWorker;
use tokio::io::DuplexStream;

pub(crate) use self::screen::{Screen, Showing, log_writer, restore};

use crate::console::{OutputFormat, SignalSender};
use crate::server::Server;

/// A terminal that has been taken over. Given back by [`close`](Self::close).
#[derive(Debug)]
pub(crate) struct Terminal {
    /// The lines that are typed.
    pub(crate) input: DuplexStream,
    /// What is to be shown.
    pub(crate) output: DuplexStream,
    pub(crate) screen: Screen,
    showing: Showing,
}

/// What a person chose.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choices {
    pub(crate) history: bool,
    pub(crate) output: OutputFormat,
}

impl Terminal {
    /// Takes the terminal over, if there is a person at both ends of it.
    pub(crate) fn open<W: DistributedWorker>(
        server: &Server<W>,
        choices: Choices,
        signals: SignalSender,
    ) -> Option<Self> {
        let people = io::stdin().is_terminal() && io::stdout().is_terminal();
        if !people || choices.output != OutputFormat::Text || !can_move_the_cursor() {
            return None;
        }
        let history = choices.history.then(|| history::Store::of(&W::contract().worker)).flatten();
        let edited = edited::Edited::default();
        let completer = complete::Completer::new(server.fleet.clone(), edited.clone());
        let opened = mode::keep().and_then(|()| {
            let (screen, output, showing) = screen::start(edited.clone())?;
            let input = editor::start(completer, history, edited, signals)?;
            Ok(Self { input, output, screen, showing })
        });
        match opened {
            Ok(terminal) => Some(terminal),
            // Plain lines do as well.
            Err(error) => {
                restore();
                tracing::debug!("no line editing: {error}");
                None
            }
        }
    }

    /// Gives the terminal back, when the console has ended and everything has been shown.
    pub(crate) fn close(showing: &Showing) {
        showing.ended();
        restore();
    }

    /// The parts: input, output, screen, and what [`close`](Self::close) wants.
    pub(crate) fn into_parts(self) -> (DuplexStream, DuplexStream, Screen, Showing) {
        (self.input, self.output, self.screen, self.showing)
    }
}

/// How many columns the terminal has; 80 where it does not say.
pub(crate) fn columns() -> usize {
    mode::columns().unwrap_or(80)
}

/// As `TERM` says.
fn can_move_the_cursor() -> bool {
    match std::env::var("TERM") {
        Ok(term) => !matches!(term.as_str(), "" | "dumb" | "cons25" | "emacs"),
        Err(_) => cfg!(windows),
    }
}

/// Whether to use colors, by <https://no-color.org>.
pub(crate) fn colors_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The terminal's mode, which a program that ends while a line is edited has to put back itself.
#[cfg(unix)]
mod mode {
    use std::io;
    use std::sync::OnceLock;

    use rustix::termios::{
        LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
    };

    static BEFORE: OnceLock<Termios> = OnceLock::new();

    /// Remembers it, and has keys that are pressed while no line is edited wait for the next one:
    /// else the terminal would make lines of them itself, and an end of input, Ctrl-D, be lost.
    pub(super) fn keep() -> io::Result<()> {
        let mut mode = tcgetattr(io::stdin())?;
        // A second console of a process finds what the first one found.
        let _ = BEFORE.set(mode.clone());
        mode.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        mode.special_codes[SpecialCodeIndex::VMIN] = 1;
        mode.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(io::stdin(), OptionalActions::Now, &mode)?;
        Ok(())
    }

    /// Whether there was one to put back.
    pub(super) fn restore() -> bool {
        let Some(mode) = BEFORE.get() else { return false };
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, mode);
        true
    }

    /// Columns, if the terminal says.
    pub(super) fn columns() -> Option<usize> {
        let size = tcgetwinsize(io::stdout()).ok()?;
        (size.ws_col > 0).then_some(usize::from(size.ws_col))
    }
}

#[cfg(not(unix))]
mod mode {
    use std::io;

    pub(super) fn keep() -> io::Result<()> {
        Ok(())
    }

    pub(super) fn restore() -> bool {
        false
    }

    pub(super) fn columns() -> Option<usize> {
        None
    }
}
