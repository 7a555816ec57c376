//! The console: commands in, one line at a time, and lines out that people and programs can read.
//!
//! # Input
//! A line ends in LF or CRLF; the last one may lack its end. A line that starts with `/` is a command,
//! an empty one is ignored, and everything else is an error. Commands are carried out strictly one
//! after another, so that a pipe may write `/run` and `/quit` at once. A line has at most 64 KiB.
//!
//! | command | what it does |
//! | --- | --- |
//! | `/run` | runs, then gathers and prints what this run recorded, then `ok` |
//! | `/reset` | flushes the recorded results of every worker; prints nothing |
//! | `/freq [HZ]` | sets the frequency and prints nothing; without an argument prints it |
//! | `/workers` | who is connected: id, address, version, what each is running and for how long |
//! | `/results` | prints what is recorded so far, without a run |
//! | `/help` | the list of commands |
//! | `/quit` | ends the console; in the programs the clients quit, then the server |
//!
//! # Output as text
//! Each is one line; columns are separated by a tab, and line ends within a message are escaped.
//!
//! | line | when |
//! | --- | --- |
//! | `new worker arrived` | for each worker that joined, those from before the console began included |
//! | `worker departed` | for each worker that left |
//! | `ready to run` | once enough workers are there, and again after there were too few |
//! | `ID⇥YYYYMMDD-HHMMSS⇥message` | a result |
//! | `ok` | the run is over, and succeeded |
//! | `error: …` | a command that could not be carried out, or a part of a run that failed |
//! | `failed` | the run is over, and failed: errors came before its results |
//! | `ID⇥ADDRESS⇥VERSION⇥idle` or `…⇥running METHOD for S.SSS s` | a worker, for `/workers` |
//!
//! A `/run` that cannot begin answers with one `error: …` line and nothing else.
//!
//! # Output as JSON
//! With [`OutputFormat::Json`] every line is an object with one key that says what it is, but for
//! events, which have what they are about beside it. Keys may be added.
//!
//! ```json
//! {"event":"new worker arrived","worker":"w1"}
//! {"event":"worker departed","worker":"w1","reason":"connection reset"}
//! {"event":"ready to run","workers":2}
//! {"result":{"worker":"w1","time":"2026-11-24T06:06:08.123456Z","message":"greeted Ada"}}
//! {"ok":true}
//! {"ok":false}
//! {"error":"not ready to run: 1 more worker is needed (1 of 2 have joined)"}
//! {"frequency":2.5}
//! {"worker":{"id":"w1","client":"w1","address":"192.0.2.7:51234","version":"0.1.0","waiting":0,"running":{"method":"greet","seconds":1.25}}}
//! {"command":{"usage":"/freq [HZ]","about":"sets the frequency .."}}
//! ```
//!
//! `{"ok":…}` stands for `ok` and `failed`; messages are not escaped twice: what a worker recorded is
//! what a JSON parser returns; times are UTC; `running` is `null` for an idle worker, and `waiting`
//! counts the calls that wait behind it.

mod input;
mod output;
mod parse;
mod roll;
mod run;
mod stdin;

use std::future::{Future, pending};
use std::io;
use std::pin::pin;

use dp_core::DistributedWorker;
use dp_core::engine::FleetEvent;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

pub use self::output::OutputFormat;
pub use self::stdin::stdin;

use self::input::{Input, Lines};
use self::output::{Line, Printer};
use self::parse::{COMMANDS, Command};
use self::roll::Roll;
use crate::chain;
use crate::server::Server;

/// Why a console ended other than by `/quit` or the end of its input.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConsoleError {
    /// The commands can't be read any more.
    #[error("cannot read the console's input")]
    Input(#[source] io::Error),
    /// What the console has to say can't be written any more: whoever read it is gone.
    #[error("cannot write the console's output")]
    Output(#[source] io::Error),
}

/// Whether the console goes on after a command.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Command,
    End,
}

/// A console under way.
pub(crate) struct Console<'s, W: DistributedWorker, I, O> {
    server: &'s Server<W>,
    input: Lines<I>,
    announcer: Announcer<O>,
}

impl<'s, W, I, O> Console<'s, W, I, O>
where
    W: DistributedWorker,
    I: AsyncRead + Unpin,
    O: AsyncWrite + Unpin,
{
    pub(crate) fn new(server: &'s Server<W>, input: I, output: O) -> Self {
        let announcer = Announcer {
            // Before the roll is first taken: who joins in between is in both, and announced once.
            events: server.fleet.events(),
            roll: Roll::new(server.settings.workers),
            printer: Printer::new(output, server.settings.output),
        };
        Self { server, input: Lines::new(input), announcer }
    }

    pub(crate) async fn serve(mut self) -> Result<(), ConsoleError> {
        self.announcer.take_roll(self.server).await?;
        loop {
            let line = tokio::select! {
                // Arrivals first: a command that is there at the same time was written without
                // knowing of them, but its answer should not come before them.
                biased;
                event = self.announcer.heard() => {
                    self.announcer.announce(event, self.server).await?;
                    continue;
                }
                line = self.input.next() => line.map_err(ConsoleError::Input)?,
            };
            let Some(line) = line else { return Ok(()) };
            self.announcer.catch_up(self.server).await?;
            let next = self.obey(line).await?;
            self.announcer.printer.flush().await?;
            if next == Next::End {
                return Ok(());
            }
        }
    }

    async fn obey(&mut self, line: Input) -> Result<Next, ConsoleError> {
        let command = match line {
            Input::Text(text) => parse::parse(&text),
            Input::Unreadable(error) => {
                self.print(Line::Error(&error.to_string())).await?;
                return Ok(Next::Command);
            }
        };
        match command {
            Ok(None) => {}
            Ok(Some(Command::Quit)) => return Ok(Next::End),
            Ok(Some(Command::Run)) => self.run().await?,
            Ok(Some(Command::Results)) => self.results().await?,
            Ok(Some(Command::Reset)) => self.reset().await?,
            Ok(Some(Command::Frequency(hz))) => self.frequency(hz).await?,
            Ok(Some(Command::Workers)) => self.workers().await?,
            Ok(Some(Command::Help)) => self.help().await?,
            Err(error) => self.print(Line::Error(&error.to_string())).await?,
        }
        Ok(Next::Command)
    }

    async fn reset(&mut self) -> Result<(), ConsoleError> {
        let master = self.server.master();
        if let Err(error) = self.meanwhile(master.reset_results()).await? {
            self.print(Line::Error(&chain::message(&error))).await?;
        }
        Ok(())
    }

    async fn frequency(&mut self, hz: Option<f64>) -> Result<(), ConsoleError> {
        match hz {
            None => self.print(Line::Frequency(self.server.fleet.frequency())).await,
            Some(hz) => match self.server.fleet.set_frequency(hz) {
                Ok(()) => Ok(()),
                Err(error) => self.print(Line::Error(&chain::message(&error))).await,
            },
        }
    }

    async fn workers(&mut self) -> Result<(), ConsoleError> {
        for status in self.server.fleet.status() {
            self.print(Line::Worker(&status)).await?;
        }
        Ok(())
    }

    async fn help(&mut self) -> Result<(), ConsoleError> {
        for command in COMMANDS {
            self.print(Line::Command(command)).await?;
        }
        Ok(())
    }

    /// Waits for `work`, saying who comes and goes until it is done.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Result<T, ConsoleError> {
        let mut work = pin!(work);
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                event = self.announcer.heard() => {
                    self.announcer.announce(event, self.server).await?;
                }
            }
        };
        self.announcer.catch_up(self.server).await?;
        Ok(done)
    }

    async fn print(&mut self, line: Line<'_>) -> Result<(), ConsoleError> {
        self.announcer.printer.print(line).await
    }
}

/// The part of the console that says who comes and goes, and holds its output.
struct Announcer<O> {
    events: Receiver<FleetEvent>,
    roll: Roll,
    printer: Printer<O>,
}

/// What the fleet's events had for us.
enum Heard {
    Event(FleetEvent),
    /// More than the channel holds: what there was is lost, and the roll has to be taken anew.
    TooMany,
}

impl<O: AsyncWrite + Unpin> Announcer<O> {
    /// The next event. Cancel safe.
    async fn heard(&mut self) -> Heard {
        match self.events.recv().await {
            Ok(event) => Heard::Event(event),
            Err(RecvError::Lagged(_)) => Heard::TooMany,
            // The fleet is closed: nobody will come or go any more.
            Err(RecvError::Closed) => pending().await,
        }
    }

    /// Says what has happened so far.
    async fn catch_up<W: DistributedWorker>(
        &mut self,
        server: &Server<W>,
    ) -> Result<(), ConsoleError> {
        loop {
            let heard = match self.events.try_recv() {
                Ok(event) => Heard::Event(event),
                Err(TryRecvError::Lagged(_)) => Heard::TooMany,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return Ok(()),
            };
            self.announce(heard, server).await?;
        }
    }

    async fn announce<W: DistributedWorker>(
        &mut self,
        heard: Heard,
        server: &Server<W>,
    ) -> Result<(), ConsoleError> {
        match heard {
            Heard::Event(FleetEvent::Arrived { workers, .. }) => {
                self.roll.arrived(workers.iter().map(|worker| worker.id()));
            }
            Heard::Event(FleetEvent::Departed { workers, reason, .. }) => {
                self.roll.departed(workers.iter().map(|worker| worker.id()), &reason);
            }
            // An event that a later dp-core has and this console does not know.
            Heard::Event(_) => {}
            Heard::TooMany => return self.take_roll(server).await,
        }
        self.say().await
    }

    /// Compares what has been announced with who is there, and says what is new.
    async fn take_roll<W: DistributedWorker>(
        &mut self,
        server: &Server<W>,
    ) -> Result<(), ConsoleError> {
        let status = server.fleet.status();
        self.roll.taken(status.iter().map(|worker| worker.info.id()));
        self.say().await
    }

    async fn say(&mut self) -> Result<(), ConsoleError> {
        for news in self.roll.news() {
            self.printer.print(Line::News(&news)).await?;
        }
        self.printer.flush().await
    }
}
