//! The console: commands in, one line at a time, and lines out that people and programs can read.
//!
//! # Input
//! A line ends in LF or CRLF; the last one may lack its end. A line that starts with `/` is a command,
//! an empty one is ignored, and everything else is an error. Commands are carried out one after another,
//! so that a pipe may write `/run` and `/quit` at once; some are carried out [at once](#at-once). A line
//! has at most 64 KiB.
//!
//! | command | what it does |
//! | --- | --- |
//! | `/run` | runs, then gathers and prints what this run recorded, then `ok` |
//! | `/results` | prints what is recorded so far, without a run |
//! | `/reset` | flushes the recorded results of every worker; prints nothing |
//! | `/freq [HZ]` | sets the frequency and prints nothing; without an argument prints it; at once |
//! | `/workers` | who is connected: id, address, version, what each is running and for how long; at once |
//! | `/methods` | the remote methods: signature, and what each does; at once |
//! | `/call METHOD [JSON ..]` | calls it on every worker, and prints the outcomes, folded |
//! | `/call @ID METHOD [JSON ..]` | calls it on one worker |
//! | `/save FILE` | writes the report of the last run to `FILE`, see [`ReportFile`] |
//! | `/cancel` | cancels the command that is under way; a second one gives up what that still waits for |
//! | `/kick ID` | disconnects the client that hosts the worker, with all its workers; at once |
//! | `/help` | the list of commands; at once |
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
//! `/call greet "Ada Lovelace" 2`. NaN and infinity are `"NaN"`, `"Infinity"` and `"-Infinity"`, integers
//! that JSON can't hold are texts, and so are the keys of a map that are no texts: `{"[1,2]": "x"}` has
//! the key `(1, 2)`. A mistake is answered with the method's signature. Nothing is
//! flushed before a call.
//!
//! ## At once
//! While a command is under way, input is read ahead (1,024 lines and 1 MiB at the most). What takes no time
//! is then carried out when it is read: `/workers`,
//! `/methods`, `/help`, `/freq` with and without a value, `/kick`, and errors in what was typed. On a terminal
//! it also overtakes lines that wait for their turn, in a pipe it does not. A frequency
//! holds for the run under way, too. The lines of such an answer come together, in between those of the
//! command under way. In a pipe this holds while a `/run` is under way, whose end is a line of its own, `ok`
//! or `failed`. Where one ends of the other commands a program knows only by what it wrote next, so behind
//! these everything waits for its turn. A script that wants `/kick` or another frequency after a run writes
//! them when it has read the run's `ok`.
//!
//! `/run`, `/results`, `/reset`, `/call`, `/save` and `/quit` always wait for their turn; a terminal says so.
//!
//! ## Cancelling
//! A `/cancel` is heard at once, too, and cancels the command under way, its printing included. What is
//! cancelled on the workers too: methods that await something end there. Those that block their thread go on
//! until they return, and the cancelled command does not wait for them. It says who they are, in a line
//! `still in METHOD of a cancelled call: w[1-2], for 3.20 s` for each method, and so does the next command
//! that has to wait for them: a `&mut self` method of a worker waits for those that it is still in. A
//! `/cancel` ends that wait; `/kick` is for workers that never return.
//!
//! A run that is cancelled gathers and prints what has been recorded so far, then `error: cancelled`, then
//! `failed`; a second `/cancel` has it gather no longer. Every other command prints what has come so far,
//! then `error: cancelled`. What is cancelled while it is printed leaves out the rest, says how many lines
//! that were in a line that starts with `error: cancelled while it was printed`, and a run ends in `failed`
//! then. Where nothing is under way, `/cancel` is an error, with the lines that say who is still in which
//! method.
//!
//! In the programs ([`main`] and [`ServerArgs::run`]) Ctrl-C (SIGINT) does what `/cancel` does while a
//! command is under way, and a second one leaves the command and does what `/quit` does. Where nothing is
//! under way the first one only asks, in a line on the terminal, else in the log on standard error: it may
//! have been meant for a command that has just ended. A second one within 3 s does what `/quit` does. That
//! holds without a terminal, too: one SIGINT does not end an idle server. SIGTERM and SIGHUP do what `/quit`
//! does, without waiting for the command: the clients are told to quit, and the server ends with status 0, as
//! it was asked to. With `--once`, which has no prompt, the first SIGINT ends the run, or the wait for the
//! workers, and the status is 1.
//!
//! Signals are heard also while nobody reads what the console writes, which is then lost. A signal while the
//! server waits for the clients to quit ends it at once, with status 130, 143 or 129. Where SIGHUP was
//! ignored when the program began, as under `nohup`, it stays so (on Linux).
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
//! | `still in METHOD of a cancelled call: w[1-2], for S.SS s` | these workers have not ended yet what was [cancelled](#cancelling), or ran out of time |
//! | `w[1-3] → "hello"` | the workers on which a `/call` gave this value, which is JSON |
//! | `error: w4 failed: …` | the workers on which a `/call` failed like this |
//!
//! A `/run` that cannot begin answers with one `error: …` line and nothing else.
//!
//! With [`metrics_table`], which the programs choose where standard output is a terminal, and with `--once`,
//! the results
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
//! {"metric":{"name":"fetch","count":1000,"min":0.001,"mean":0.0125,"p50":0.0117,"p90":0.02,"p95":0.024,"p99":0.031,"p99.9":0.04,"max":0.041,"rate":82.5}}
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
//! {"event":"still in a cancelled call","workers":["w1","w2"],"method":"fetch","seconds":3.2}
//! {"answers":"/freq","frequency":2.5}
//! ```
//!
//! `{"ok":…}` stands for `ok` and `failed`; messages are not escaped twice: what a worker recorded is
//! what a JSON parser returns, its control and format characters included; times are UTC; `running` is `null` for an idle worker, and `waiting`
//! counts the calls that wait behind it. Durations are in seconds, those of a metric exact to three
//! digits; its percentiles are those of all workers together, and its rate, in recorded durations per
//! second, is the sum of theirs. Metrics follow the results of `/run` and `/results`. A call has an
//! outcome for each worker, with the time that the method ran. What is answered while another command is
//! under way has, as `answers`, the command that it answers.
//!
//! [`gather_timeout`]: crate::ServerBuilder::gather_timeout
//! [`report`]: crate::ServerBuilder::report
//! [`ReportFile`]: crate::ReportFile
//! [`metrics_table`]: crate::ServerBuilder::metrics_table
//! [`main`]: crate::main()
//! [`ServerArgs::run`]: crate::ServerArgs::run

mod announce;
mod at_once;
mod call;
mod help;
mod input;
mod kick;
mod once;
mod output;
pub(crate) mod parse;
mod printer;
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
use std::time::{Duration, Instant};

use dp_core::DistributedWorker;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};

pub use self::output::OutputFormat;
pub(crate) use self::parse::{command_names, ends_the_console, without_arguments};
pub(crate) use self::run::Ran;
pub(crate) use self::signal::{Signal, SignalSender, Signals};
pub use self::stdin::stdin;
pub(crate) use self::table::{PERCENTILES, span, three_digits};
pub(crate) use self::width::{cut, width};

use self::announce::Announcer;
use self::input::{Input, Lines};
use self::kick::Stubborn;
use self::output::Line;
use self::parse::Command;
use self::printer::Printer;
use self::watch::{Asked, Step, TWICE, Under, While};
use crate::server::Server;
use crate::terminal::{Screen, colors_wanted};
use crate::time::sleep;

/// How long the end of the console waits for output that is stuck, once a signal has asked for it.
const STUCK: Duration = Duration::from_millis(500);

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

/// A console under way.
pub(crate) struct Console<'s, W: DistributedWorker, I, O> {
    server: &'s Server<W>,
    input: Lines<I>,
    announcer: Announcer,
    printer: Printer<O>,
    signals: Signals,
    stubborn: Stubborn,
    under: Under,
    /// Where the console is on a terminal.
    screen: Option<Screen>,
    /// Whether the log says how far a command is.
    progress_is_logged: bool,
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
        Self {
            server,
            input: Lines::new(input),
            announcer: Announcer::new(server),
            printer: Printer::new(output, server.settings.output).colored(colors),
            signals,
            stubborn: Stubborn::new(),
            under: Under::default(),
            screen,
            progress_is_logged: false,
        }
    }

    pub(crate) async fn serve(mut self) -> Result<(), ConsoleError> {
        self.announcer.take_roll(self.server, &mut self.printer);
        // When it was asked whether Ctrl-C means to end it.
        let mut asked: Option<Instant> = None;
        let mut over: Option<Asked> = None;
        while !self.under.quits {
            let step = match over.take() {
                Some(asked) => Step::Asked(asked),
                None => self.step(While::Idle).await?,
            };
            match step {
                Step::Other => {}
                Step::Asked(Asked::Interrupt)
                    if asked.is_none_or(|asked| asked.elapsed() >= TWICE) =>
                {
                    asked = Some(Instant::now());
                    self.ask();
                }
                Step::Asked(_) => self.under.quits = true,
                Step::Line(None) => break,
                Step::Line(Some(line)) => {
                    asked = None;
                    self.announcer.catch_up(self.server, &mut self.printer);
                    self.printer.keep();
                    if self.obey(line).await? == Next::End {
                        break;
                    }
                    over = self.ended().await?;
                    self.printer.keep();
                }
            }
        }
        self.end().await
    }

    async fn obey(&mut self, line: Input) -> Result<Next, ConsoleError> {
        let command = match line {
            Input::Text(text) => parse::parse(&text),
            Input::Unreadable(error) => {
                self.print(Line::Error(&error.to_string()));
                return Ok(Next::Command);
            }
        };
        let command = match command {
            Ok(None) => return Ok(Next::Command),
            Ok(Some(command)) => command,
            Err(error) => {
                self.print(Line::Error(&error.to_string()));
                return Ok(Next::Command);
            }
        };
        self.under.begin(command.name());
        match command {
            Command::Quit => return Ok(Next::End),
            Command::Run => _ = self.run().await?,
            Command::Results => self.results().await?,
            Command::Reset => self.reset().await?,
            Command::Call(call) => self.call(&call).await?,
            Command::Save(file) => self.save(file).await?,
            Command::Kick(id) => self.kick(&id).await?,
            Command::Cancel => self.cancel(),
            command => self.answer(&command),
        }
        Ok(Next::Command)
    }

    /// Where nothing of this console's is under way; a program may have begun a run.
    fn cancel(&mut self) {
        if self.server.cancel() {
            return;
        }
        self.print(Line::Error("nothing is under way that could be cancelled"));
        let still = self.server.fleet.given_up();
        self.say_still_in(&still);
    }

    /// Asks whether Ctrl-C, where nothing is under way, means to end the server.
    fn ask(&mut self) {
        let (workers, seconds) = (self.server.fleet.len(), TWICE.as_secs());
        let noun = if workers == 1 { "worker" } else { "workers" };
        if self.screen.is_some() {
            self.printer.line(&format!(
                "nothing is under way: press Ctrl-C again within {seconds} s, or type /quit, to end the \
                 server and its {workers} {noun}"
            ));
        } else {
            tracing::warn!(
                "SIGINT while nothing is under way: the server goes on, with {workers} {noun}; a second \
                 one within {seconds} s ends it, as SIGTERM and `/quit` do"
            );
        }
    }

    /// Writes what is left to be written, unless a signal came and that is stuck.
    async fn end(&mut self) -> Result<(), ConsoleError> {
        let Self { printer, signals, under, .. } = self;
        let impatient = async {
            if !under.quits {
                signals.any().await;
            }
            sleep(STUCK).await;
        };
        tokio::select! {
            biased;
            drained = printer.drain() => drained,
            () = impatient => Ok(()),
        }
    }

    fn print(&mut self, line: Line<'_>) {
        self.printer.print(line);
    }
}

/// Whether the console goes on after a command.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Command,
    End,
}
