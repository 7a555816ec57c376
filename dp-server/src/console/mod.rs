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
//! | `/results` | prints what is recorded so far, without a run |
//! | `/reset` | flushes the recorded results of every worker; prints nothing |
//! | `/freq [HZ]` | sets the frequency and prints nothing; without an argument prints it |
//! | `/workers` | who is connected: id, address, version, what each is running and for how long |
//! | `/methods` | the remote methods: signature, and what each does |
//! | `/call METHOD [JSON ..]` | calls it on every worker, and prints the outcomes, folded |
//! | `/call @ID METHOD [JSON ..]` | calls it on one worker |
//! | `/save FILE` | writes the report of the last run to `FILE`, see [`ReportFile`] |
//! | `/cancel` | cancels the command that is under way |
//! | `/kick ID` | disconnects the client that hosts the worker, with all its workers |
//! | `/help` | the list of commands |
//! | `/quit` | ends the console; in the programs the clients quit, then the server |
//!
//! ## Runs
//! The roster is fixed when a run begins: who joins meanwhile waits for the next one. A run succeeds,
//! and ends in `ok`, if the worker's `run` succeeds, no worker of the roster is lost until everything
//! has been gathered, and everybody gives what they have recorded. Otherwise it ends in `failed`, also
//! where a schedule coped with the loss of a worker: what that would have recorded is missing. An
//! `error: …` line then names the workers that were lost, folded, and what they had delivered before is
//! among the results. Gathering waits [`gather_timeout`] for workers that are connected and do not
//! answer; they are named, too.
//!
//! ## Reports
//! The report of every run is written to the files that [`report`] names, and that of the last one
//! wherever `/save` says. A file that could not be written is an `error: …` line before the `ok` of the
//! run, which is about the run alone.
//!
//! ## Calls
//! The arguments of `/call` are JSON values with white space between them, as many as the method has:
//! `/call greet "Ada Lovelace" 2`. A mistake is answered with the method's signature. Nothing is
//! flushed before a call.
//!
//! ## Cancelling
//! While a command is under way, input is read ahead (1,024 lines and 1 MiB at the most): a
//! `/cancel` in it is heard at once and cancels the command; the other lines wait for their turn. What is
//! cancelled on the workers too: methods that await something end there, those that block their
//! thread go on until they return, and nobody waits for that. A run that is cancelled prints what has
//! been recorded so far, then `error: cancelled`, then `failed`; every other command prints what has
//! come so far, then `error: cancelled`. Where nothing is under way, `/cancel` is an error.
//!
//! In the programs ([`main`] and [`ServerArgs::run`]) Ctrl-C (SIGINT) does what `/cancel` does while a
//! command is under way. A second Ctrl-C, or one where nothing is under way, does what `/quit` does
//! without waiting for the command, and so do SIGTERM and SIGHUP: the clients are told to quit, and the
//! server ends with status 0, as it was asked to. They do so also while nobody reads what it writes,
//! which is then lost. A signal while it waits for the clients to quit ends it at once, with status 130,
//! 143 or 129. Where SIGHUP was ignored when the program began, as under `nohup`, it stays so (on
//! Linux).
//!
//! # On a terminal
//! Where standard input and output of a program are a terminal, and the output is text, lines can be
//! edited, with a history that is kept from session to session (`--no-history`) and completion of
//! commands, methods and ids by the tab key. What the console says, and the log, come above the line
//! that is typed. While a command is under way a line says for how long, how many workers are done, in
//! which methods the others are, and who is slowest; of a [`map`](dp_core::Group::map) how many items are
//! done, and about how long the others will take. `/workers` is a table, in which more than 24 workers are
//! folded into those that do the same. Errors and ends of runs have colors, unless `NO_COLOR` is set.
//! Ctrl-D is the end of the input. A pipe gets none of that.
//!
//! The history is in `$XDG_STATE_HOME/dp` or `~/.local/state/dp`, for its owner's eyes. It has no line
//! that begins with a blank or is no command, and no arguments of calls: those may be secrets.
//!
//! # Output as text
//! Each is one line; columns are separated by a tab. Line ends within a message, and its control and format
//! characters (bidirectional and invisible ones), are escaped.
//!
//! | line | when |
//! | --- | --- |
//! | `new worker arrived` | for each worker that joined, those from before the console began included |
//! | `worker departed` | for each worker that left |
//! | `ready to run` | once enough workers are there, and again after there were too few |
//! | `run started from the page` | somebody started a run at the live page |
//! | `run from the page: ok` or `…: failed` | that run is over |
//! | `ID⇥YYYYMMDD-HHMMSS⇥message` | a result |
//! | `ok` | the run is over, and succeeded |
//! | `error: …` | a command that could not be carried out, or a part of a run or call that failed |
//! | `failed` | the run is over, and failed: errors came before its results |
//! | `ID⇥ADDRESS⇥VERSION⇥idle` or `…⇥running METHOD for S.SSS s` | a worker, for `/workers` |
//! | `greet(name: &str) -> String⇥Greets ..` | a method, for `/methods` |
//! | `saved FILE` | the answer to `/save` |
//! | `w[1-3] → "hello"` | the workers on which a `/call` gave this value, which is JSON |
//! | `error: w4 failed: …` | the workers on which a `/call` failed like this |
//!
//! A `/run` that cannot begin answers with one `error: …` line and nothing else.
//!
//! With [`metrics_table`], which the programs choose where standard output is a terminal, the results
//! of `/run` and `/results` are followed by a table of the metrics, if anything was measured, which
//! has a row for each and is for people. In the text for programs there is none.
//!
//! # Output as JSON
//! With [`OutputFormat::Json`] every line is an object with one key that says what it is, but for
//! events, which have what they are about beside it. Keys may be added.
//!
//! ```json
//! {"event":"new worker arrived","worker":"w1"}
//! {"event":"worker departed","worker":"w1","reason":"connection reset"}
//! {"event":"ready to run","workers":2}
//! {"event":"run started from the page","run":3}
//! {"event":"run from the page: ok","run":3,"ok":true}
//! {"result":{"worker":"w1","time":"2026-11-24T06:06:08.123456Z","message":"greeted Ada"}}
//! {"metric":{"name":"fetch","count":1000,"min":0.001,"mean":0.0125,"p50":0.0117,"p90":0.02,"p99":0.031,"p99.9":0.04,"max":0.041,"rate":82.5}}
//! {"ok":true}
//! {"ok":false}
//! {"error":"not ready to run: 1 more worker is needed (1 of 2 have joined)"}
//! {"frequency":2.5}
//! {"saved":"run.html"}
//! {"worker":{"id":"w1","client":"w1","address":"192.0.2.7:51234","version":"0.1.0","waiting":0,"running":{"method":"greet","seconds":1.25}}}
//! {"method":{"name":"greet","signature":"greet(name: &str) -> String","docs":"Greets `name`."}}
//! {"outcome":{"worker":"w1","value":"hello","seconds":0.0002}}
//! {"outcome":{"worker":"w4","error":"failed: disk full","seconds":0.0003}}
//! {"command":{"usage":"/freq [HZ]","about":"sets the frequency .."}}
//! ```
//!
//! `{"ok":…}` stands for `ok` and `failed`; messages are not escaped twice: what a worker recorded is
//! what a JSON parser returns, its control and format characters included; times are UTC; `running` is `null` for an idle worker, and `waiting`
//! counts the calls that wait behind it. Durations are in seconds, those of a metric exact to three
//! digits; its percentiles are those of all workers together, and its rate, in recorded durations per
//! second, is the sum of theirs. Metrics follow the results of `/run` and `/results`. A call has an
//! outcome for each worker, with the time that the method ran.
//!
//! [`gather_timeout`]: crate::ServerBuilder::gather_timeout
//! [`report`]: crate::ServerBuilder::report
//! [`ReportFile`]: crate::ReportFile
//! [`metrics_table`]: crate::ServerBuilder::metrics_table
//! [`main`]: crate::main()
//! [`ServerArgs::run`]: crate::ServerArgs::run

mod announce;
mod call;
mod help;
mod input;
mod kick;
mod output;
pub(crate) mod parse;
mod progress;
mod roll;
mod run;
mod save;
mod signal;
mod stdin;
mod table;
mod watch;
mod width;
mod workers;

#[cfg(any(test, fuzzing))]
pub(crate) use call::arguments;
use std::io;

use dp_core::DistributedWorker;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};

pub use self::output::OutputFormat;
pub(crate) use self::parse::{command_names, ends_the_console, without_arguments};
pub(crate) use self::signal::{Signal, SignalSender, Signals};
pub use self::stdin::stdin;
pub(crate) use self::table::{PERCENTILES, span, three_digits};
pub(crate) use self::width::{cut, width};

use self::announce::Announcer;
use self::input::{Input, Lines};
use self::output::Line;
use self::parse::{COMMANDS, Command};
use crate::chain;
use crate::server::Server;
use crate::terminal::{self, Screen, colors_wanted};

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
    signals: Signals,
    /// Where the console is on a terminal.
    screen: Option<Screen>,
}

impl<'s, W, I, O> Console<'s, W, I, O>
where
    W: DistributedWorker,
    I: AsyncRead + Unpin,
    O: AsyncWrite + Unpin,
{
    pub(crate) fn new(
        server: &'s Server<W>,
        input: I,
        output: O,
        signals: Signals,
        screen: Option<Screen>,
    ) -> Self {
        let colors = screen.is_some() && colors_wanted();
        let announcer = Announcer::new(server, output, signals.clone(), colors);
        Self { server, input: Lines::new(input), announcer, signals, screen }
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
                // Nothing is under way, so both mean to quit.
                _ = self.signals.next() => return Ok(()),
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
            Ok(Some(Command::Run)) => return self.run().await,
            Ok(Some(Command::Results)) => return self.results().await,
            Ok(Some(Command::Reset)) => return self.reset().await,
            Ok(Some(Command::Call(call))) => return self.call(&call).await,
            Ok(Some(Command::Save(file))) => return self.save(file).await,
            Ok(Some(Command::Kick(id))) => return self.kick(&id).await,
            Ok(Some(Command::Cancel)) => self.cancel().await?,
            Ok(Some(Command::Frequency(hz))) => self.frequency(hz).await?,
            Ok(Some(Command::Workers)) => self.workers().await?,
            Ok(Some(Command::Methods)) => self.methods().await?,
            Ok(Some(Command::Help)) => self.help().await?,
            Err(error) => self.print(Line::Error(&error.to_string())).await?,
        }
        Ok(Next::Command)
    }

    /// Where nothing of this console's is under way; a program may have begun a run.
    async fn cancel(&mut self) -> Result<(), ConsoleError> {
        if self.server.cancel() {
            return Ok(());
        }
        self.print(Line::Error("nothing is under way that could be cancelled")).await
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
        let workers = self.server.fleet.status();
        if self.screen.is_some() {
            for line in workers::table(&workers) {
                self.announcer.printer.line(line).await?;
            }
            return Ok(());
        }
        for status in workers {
            self.print(Line::Worker(&status)).await?;
        }
        Ok(())
    }

    async fn methods(&mut self) -> Result<(), ConsoleError> {
        for method in W::contract().methods {
            self.print(Line::Method(&method)).await?;
        }
        Ok(())
    }

    async fn help(&mut self) -> Result<(), ConsoleError> {
        if self.screen.is_some() {
            for line in help::lines(terminal::columns()) {
                self.announcer.printer.line(line).await?;
            }
            return Ok(());
        }
        for command in COMMANDS {
            self.print(Line::Command(command)).await?;
        }
        Ok(())
    }

    async fn print(&mut self, line: Line<'_>) -> Result<(), ConsoleError> {
        self.announcer.printer.print(line).await
    }
}
