//! What the console looks out for while a command is under way, and while it is printed.

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use dp_core::DistributedWorker;
use tokio::io::{AsyncRead, AsyncWrite};

use super::input::Input;
use super::output::Line;
use super::progress::Progress;
use super::signal::Signal;
use super::{Console, ConsoleError};
use crate::time::sleep;

/// Two Ctrl-C within this time are one after the other, and not for two things.
pub(super) const TWICE: Duration = Duration::from_secs(3);

/// How long a method that was cancelled may take to end before it is worth a line.
const ENDING: Duration = Duration::from_millis(500);

/// How often to look whether it has.
const LOOK: Duration = Duration::from_millis(25);

/// The command that is under way, and what became of Ctrl-C.
#[derive(Debug, Default)]
pub(super) struct Under {
    /// Without its arguments.
    pub(super) name: &'static str,
    /// Ctrl-C has ended it: the next one quits.
    interrupted: bool,
    /// When it was last pressed.
    last: Option<Instant>,
    /// How many of the lines that waited then have not had their turn.
    behind: usize,
    /// The console is to end.
    pub(super) quits: bool,
}

/// How the wait for some work ended.
#[derive(Debug)]
pub(super) enum Waited<T> {
    Done(T),
    /// It was cancelled, and has been dropped.
    Cancelled,
    /// The console is to end, and the work has been dropped.
    Quit,
}

/// What cancelling does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cancelling {
    /// The work is dropped.
    Drops,
    /// The run under way is told, and has something left to do.
    TellsTheRun,
}

/// What the console is doing otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum While {
    /// Nothing: the next line is the next command.
    Idle,
    /// It waits for work.
    Working,
    /// It prints, and says nothing else in between.
    Printing,
    /// A command is over, but for what is not written yet.
    Ending,
}

/// What has happened.
#[derive(Debug)]
pub(super) enum Step {
    /// The next line, where nothing is under way; `None` at the end.
    Line(Option<Input>),
    Asked(Asked),
    /// Something that has been seen to.
    Other,
}

/// What somebody wants of the command under way, or of the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// `/cancel`.
    Cancel,
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM, or SIGHUP.
    End,
}

impl Under {
    /// A command begins.
    pub(super) fn begin(&mut self, name: &'static str) {
        // One that ended the command before, behind which this one was waiting already.
        let recent = self.last.is_some_and(|last| last.elapsed() < TWICE);
        (self.name, self.interrupted) = (name, self.behind > 0 && recent);
        self.behind = self.behind.saturating_sub(1);
    }

    /// Whether what was asked, while so many lines wait, ends the console; otherwise it cancels the
    /// command.
    pub(super) fn ends(&mut self, asked: Asked, waiting: usize) -> bool {
        let ends = match asked {
            Asked::Cancel => false,
            Asked::Interrupt => self.interrupted,
            Asked::End => true,
        };
        if asked == Asked::Interrupt {
            (self.interrupted, self.last, self.behind) = (true, Some(Instant::now()), waiting);
        }
        self.quits |= ends;
        ends
    }
}

impl<W, I, O> Console<'_, W, I, O>
where
    W: DistributedWorker,
    I: AsyncRead + Unpin,
    O: AsyncWrite + Unpin,
{
    /// Waits for `work`, and meanwhile says who comes and goes, and answers what is answered at once.
    /// `/cancel` and Ctrl-C cancel it; another Ctrl-C leaves it.
    pub(super) async fn meanwhile<T>(
        &mut self,
        work: impl Future<Output = T>,
        cancelling: Cancelling,
    ) -> Result<Waited<T>, ConsoleError> {
        let before = self.server.fleet.given_up();
        let mut is_to_look = !before.is_empty();
        let mut work = pin!(work);
        let mut soon = pin!(sleep(ENDING));
        let mut watched = Progress::start(self.screen.as_ref(), self.progress_is_logged);
        let waited = loop {
            let step = tokio::select! {
                // The work first: a run that has not begun could not be told to be cancelled.
                biased;
                done = &mut work => break Waited::Done(done),
                step = self.step(While::Working) => step?,
                () = Progress::tick(&mut watched) => {
                    if let Some(watched) = &mut watched {
                        watched.show(&self.server.fleet.status(), &self.server.fleet.maps());
                    }
                    continue;
                }
                () = &mut soon, if is_to_look => {
                    is_to_look = false;
                    // Those that may keep it waiting, and not what it has given up itself.
                    let calls: Vec<u64> = before.iter().map(|given_up| given_up.call).collect();
                    let mut still = self.server.fleet.given_up();
                    still.retain(|given_up| calls.contains(&given_up.call));
                    self.say_still_in(&still);
                    continue;
                }
            };
            let Step::Asked(asked) = step else { continue };
            if self.under.ends(asked, self.input.waiting()) {
                break Waited::Quit;
            }
            match cancelling {
                Cancelling::Drops => break Waited::Cancelled,
                Cancelling::TellsTheRun => _ = self.server.cancel(),
            }
        };
        self.announcer.catch_up(self.server, &mut self.printer);
        self.printer.keep();
        Ok(waited)
    }

    /// Waits until what is printed is written: all of it, or as much that there is room for more.
    /// `false` where that was cancelled.
    pub(super) async fn written(&mut self, all: bool) -> Result<bool, ConsoleError> {
        while if all { self.printer.is_waiting() } else { self.printer.is_full() } {
            if let Step::Asked(asked) = self.step(While::Printing).await? {
                self.under.ends(asked, self.input.waiting());
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits until all that a command has printed is written. What was asked meanwhile of a console for
    /// which nothing is left to do but that.
    pub(super) async fn ended(&mut self) -> Result<Option<Asked>, ConsoleError> {
        while self.printer.is_waiting() {
            let Step::Asked(asked) = self.step(While::Ending).await? else { continue };
            if !self.printer.has_unwritten() {
                return Ok(Some(asked));
            }
            self.under.ends(asked, self.input.waiting());
            self.leave_out(0);
            break;
        }
        Ok(None)
    }

    /// Leaves out what is not written yet of what the command prints, and `more` lines that it would
    /// have printed. Whether it was anything.
    pub(super) fn leave_out(&mut self, more: usize) -> bool {
        let left_out = self.printer.drop_unwritten() + more;
        if left_out > 0 {
            let lines = if left_out == 1 { "line is" } else { "lines are" };
            let text = format!("cancelled while it was printed: {left_out} {lines} left out");
            self.print(Line::Error(&text));
        }
        left_out > 0
    }

    /// Waits, not for long, until the methods have ended that were cancelled, and says which have not.
    pub(super) async fn say_what_goes_on(&mut self) -> Result<(), ConsoleError> {
        let fleet = &self.server.fleet;
        let ended = async {
            let begun = Instant::now();
            while !fleet.given_up().is_empty() && begun.elapsed() < ENDING {
                sleep(LOOK).await;
            }
        };
        let mut ended = pin!(ended);
        loop {
            let step = tokio::select! {
                biased;
                () = &mut ended => break,
                step = self.step(While::Printing) => step?,
            };
            let Step::Asked(asked) = step else { continue };
            self.under.ends(asked, self.input.waiting());
            break;
        }
        let still = self.server.fleet.given_up();
        self.say_still_in(&still);
        Ok(())
    }

    /// The next thing that happens. Cancel safe.
    pub(super) async fn step(&mut self, meanwhile: While) -> Result<Step, ConsoleError> {
        let Self { server, input, announcer, printer, signals, stubborn, .. } = self;
        let (idle, room) = (meanwhile == While::Idle, !printer.is_full());
        let next = async {
            match idle {
                true => input.next().await,
                false => input.ahead().await,
            }
        };
        let next = tokio::select! {
            biased;
            signal = signals.next() => return Ok(Step::Asked(match signal {
                Signal::Interrupt => Asked::Interrupt,
                Signal::Terminate | Signal::HangUp => Asked::End,
            })),
            drained = printer.drain(), if printer.is_waiting() => {
                return drained.map(|()| Step::Other);
            }
            // Arrivals before lines: a command that is there at the same time was written without
            // knowing of them, but its answer should not come before them.
            heard = announcer.heard(),
                if room && matches!(meanwhile, While::Idle | While::Working) =>
            {
                announcer.announce(heard, server, printer);
                return Ok(Step::Other);
            }
            client = stubborn.next(), if room => {
                client.say(printer, idle);
                return Ok(Step::Other);
            }
            next = next, if room || !idle => next,
        };
        match meanwhile {
            While::Idle => next.map(Step::Line).map_err(ConsoleError::Input),
            // Whoever wrote it may have read all that there was to read of the command.
            While::Ending if !self.printer.has_unwritten() => {
                self.input.keep(next);
                Ok(Step::Other)
            }
            _ => Ok(self.look_at(next)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_interrupt_of_a_command_ends_the_console_and_cancels_do_not() {
        let mut under = Under::default();
        under.begin("/run");
        for _ in 0..3 {
            assert!(!under.ends(Asked::Cancel, 0));
        }
        assert!(!under.ends(Asked::Interrupt, 0) && !under.quits);
        assert!(!under.ends(Asked::Cancel, 0));
        assert!(under.ends(Asked::Interrupt, 0) && under.quits);
    }

    #[test]
    fn termination_ends_it_at_once() {
        let mut under = Under::default();
        under.begin("/call");
        assert!(under.ends(Asked::End, 0) && under.quits);
    }

    #[test]
    fn a_command_that_waited_behind_an_interrupted_one_is_not_the_first_to_be_interrupted() {
        let mut under = Under::default();
        under.begin("/help");
        assert!(!under.ends(Asked::Interrupt, 1));
        under.begin("/help");
        assert!(under.ends(Asked::Interrupt, 0));
        // It came later, or it is long ago.
        let mut under = Under::default();
        under.begin("/help");
        assert!(!under.ends(Asked::Interrupt, 1));
        under.begin("/help");
        under.begin("/help");
        assert!(!under.ends(Asked::Interrupt, 1));
        under.last = Instant::now().checked_sub(TWICE);
        under.begin("/help");
        assert!(!under.ends(Asked::Interrupt, 0));
    }
}
