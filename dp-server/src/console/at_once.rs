//! Commands that take no time, which are carried out at once while another one is under way.

use std::io;

use dp_core::engine::GivenUp;
use dp_core::{DistributedWorker, WorkerId};
use tokio::io::{AsyncRead, AsyncWrite};

use super::input::Input;
use super::output::Line;
use super::parse::{self, COMMANDS, Command, Quoted};
use super::watch::{Asked, Step};
use super::{Console, help, workers};
use crate::chain;
use crate::terminal;

impl<W, I, O> Console<'_, W, I, O>
where
    W: DistributedWorker,
    I: AsyncRead + Unpin,
    O: AsyncWrite + Unpin,
{
    /// Acts on a line that was read while a command is under way, or keeps it for its turn.
    pub(super) fn look_at(&mut self, next: io::Result<Option<Input>>) -> Step {
        // Programs know by the order of the answers where one ends, but for that to `/run`, which has
        // an end of its own.
        let at_once = self.screen.is_some() || self.under.name == parse::RUN;
        // Nor does an answer overtake a command that waits: a script may have written all at once.
        let at_once = at_once && (self.screen.is_some() || self.input.waiting() == 0);
        // There is no end to what is answered and not read.
        let at_once = at_once && !self.printer.is_full();
        let Ok(Some(line)) = &next else {
            self.input.keep(next);
            return Step::Other;
        };
        let (text, command) = match line {
            Input::Text(text) => {
                (text.as_str(), parse::parse(text).map_err(|error| error.to_string()))
            }
            Input::Unreadable(error) => ("", Err(error.to_string())),
        };
        let command = match command {
            Ok(None) => return Step::Other,
            Ok(Some(Command::Cancel)) => return Step::Asked(Asked::Cancel),
            Ok(Some(command)) if at_once && command.takes_no_time() => Ok(command),
            Err(error) if at_once => Err(error),
            Ok(Some(_)) | Err(_) => {
                self.say_that_it_waits(text);
                self.input.keep(next);
                return Step::Other;
            }
        };
        let name = text.split_whitespace().next().unwrap_or_default();
        self.printer.answering((!name.is_empty()).then(|| Quoted::new(name).into_inner()));
        match command {
            Ok(Command::Kick(id)) => self.kick_now(&id),
            Ok(command) => self.answer(&command),
            Err(error) => self.print(Line::Error(&error)),
        }
        self.printer.answering(None);
        self.printer.keep();
        Step::Other
    }

    /// A person would wonder.
    fn say_that_it_waits(&mut self, line: &str) {
        if self.screen.is_some() && !self.printer.is_full() {
            let name = Quoted::new(line.split_whitespace().next().unwrap_or_default());
            let text =
                format!("{name} waits for the end of `{}`, which Ctrl-C cancels", self.under.name);
            self.printer.line(&text);
        }
    }

    /// Answers a command that only asks, or sets something.
    pub(super) fn answer(&mut self, command: &Command) {
        match command {
            Command::Frequency(None) => self.print(Line::Frequency(self.server.fleet.frequency())),
            Command::Frequency(Some(hz)) => {
                if let Err(error) = self.server.fleet.set_frequency(*hz) {
                    self.print(Line::Error(&chain::message(&error)));
                }
            }
            Command::Workers => self.workers(),
            Command::Methods => {
                for method in W::contract().methods {
                    self.print(Line::Method(&method));
                }
            }
            Command::Help if self.screen.is_some() => {
                for line in help::lines(terminal::columns()) {
                    self.printer.line(&line);
                }
            }
            Command::Help => {
                for command in COMMANDS {
                    self.print(Line::Command(command));
                }
            }
            _ => {}
        }
    }

    fn workers(&mut self) {
        let workers = self.server.fleet.status();
        if self.screen.is_some() {
            for line in workers::table(&workers) {
                self.printer.line(&line);
            }
            return;
        }
        for status in workers {
            self.print(Line::Worker(&status));
        }
    }

    /// Says who is still in which method of a call that was given up, a line for each method.
    pub(super) fn say_still_in(&mut self, given_up: &[GivenUp]) {
        let mut methods: Vec<&str> = given_up.iter().map(|one| one.method.as_str()).collect();
        methods.sort_unstable();
        methods.dedup();
        for method in methods {
            let of_it = given_up.iter().filter(|one| one.method == method);
            let workers: Vec<WorkerId> = of_it.clone().map(|one| one.worker.id().clone()).collect();
            let since = of_it.map(|one| one.since).max().unwrap_or_default();
            self.print(Line::StillIn { workers: &workers, method, since });
        }
    }
}
