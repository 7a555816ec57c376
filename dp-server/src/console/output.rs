//! What the console says, as text or as JSON.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::time::Duration;

use dp_core::engine::WorkerStatus;
use dp_core::{Method, Metric, Outcome, ResultLine, WorkerId, fold_ids};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::ConsoleError;
use super::parse::CommandInfo;
use super::roll::News;
use super::table::{span, table};
use crate::export::metric_value;
use crate::fold::fold;

/// More bytes than these do not wait to be written: who has more to say waits.
const FULL: usize = 64 * 1024;

/// How a console writes; [`console`](crate::console) describes both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
#[non_exhaustive]
pub enum OutputFormat {
    /// Lines of text, for people and simple programs.
    #[default]
    Text,
    /// Every line is one JSON object.
    Json,
}

impl fmt::Display for OutputFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// One line of output.
#[derive(Debug)]
pub(crate) enum Line<'a> {
    News(&'a News),
    Result(&'a ResultLine),
    /// The end of a run.
    Done {
        ok: bool,
    },
    /// Somebody has started one at the live page.
    RunStarted {
        run: u64,
    },
    /// One that was started there is over.
    RunEnded {
        run: u64,
        ok: bool,
    },
    Error(&'a str),
    Frequency(f64),
    /// The report, to this file.
    Saved(&'a str),
    /// These workers, which are folded in the text, are still in a method whose call was cancelled.
    StillIn {
        workers: &'a [WorkerId],
        method: &'a str,
        since: Duration,
    },
    Worker(&'a WorkerStatus),
    Method(&'a Method),
    Command(&'a CommandInfo),
}

/// Writes lines. They wait in a buffer until [`drain`](Self::drain) is called, so that saying something
/// takes no time, and whoever waits for the output can listen to a signal meanwhile.
#[derive(Debug)]
pub(crate) struct Printer<O> {
    output: O,
    /// Whole lines, of which the first may be written in part.
    buffer: Vec<u8>,
    /// How much of the buffer is written.
    written: usize,
    /// How much of it is not to be dropped.
    kept: usize,
    flushed: bool,
    format: OutputFormat,
    colors: bool,
    /// The command that the next lines answer while another one is under way.
    answers: Option<String>,
}

impl<O: AsyncWrite + Unpin> Printer<O> {
    pub(crate) fn new(output: O, format: OutputFormat) -> Self {
        Self {
            output,
            buffer: Vec::new(),
            written: 0,
            kept: 0,
            flushed: true,
            format,
            colors: false,
            answers: None,
        }
    }

    /// The same, with colors in its text or not.
    pub(crate) fn colored(self, colors: bool) -> Self {
        Self { colors, ..self }
    }

    /// From now on the lines answer this command, while another is under way; `None`: that one again.
    pub(crate) fn answering(&mut self, command: Option<String>) {
        self.answers = command;
    }

    /// Says one line.
    pub(crate) fn print(&mut self, line: Line<'_>) {
        match self.format {
            OutputFormat::Text => match line.color().filter(|_| self.colors) {
                Some(color) => self.line(&format!("\x1b[{color}m{line}\x1b[0m")),
                None => self.line(&line.to_string()),
            },
            // Maps with text for keys, and numbers that are all finite or `null`: it can't fail.
            OutputFormat::Json if self.answers.is_none() => {
                self.line(&serde_json::to_string(&line).unwrap_or_default());
            }
            OutputFormat::Json => self.object(serde_json::to_value(&line).unwrap_or_default()),
        }
    }

    /// Says a line of text as it is.
    pub(crate) fn line(&mut self, line: &str) {
        self.buffer.extend_from_slice(line.as_bytes());
        self.buffer.push(b'\n');
        self.flushed = false;
    }

    fn object(&mut self, mut object: Value) {
        if let (Some(command), Some(object)) = (&self.answers, object.as_object_mut()) {
            object.insert("answers".to_owned(), command.as_str().into());
        }
        self.line(&object.to_string());
    }

    /// Says metrics: as an object each, or, if that is wanted, as a table.
    pub(crate) fn metrics(&mut self, metrics: &[Metric], as_table: bool) {
        match self.format {
            OutputFormat::Json => {
                for metric in metrics {
                    self.object(json!({ "metric": metric_value(metric) }));
                }
            }
            OutputFormat::Text if as_table => {
                for line in table(metrics) {
                    self.line(&line);
                }
            }
            OutputFormat::Text => {}
        }
    }

    /// Says the outcomes of a call: an object each, or a line for those that are alike.
    pub(crate) fn outcomes(&mut self, outcomes: &[Outcome<Value>]) {
        match self.format {
            OutputFormat::Json => {
                for outcome in outcomes {
                    self.object(outcome_object(outcome));
                }
            }
            OutputFormat::Text => {
                let entries = outcomes.iter().map(|outcome| {
                    let text = match &outcome.result {
                        Ok(value) => Ok(value.to_string()),
                        Err(error) => Err(error.to_string()),
                    };
                    (outcome.worker.id(), text)
                });
                for (ids, text) in fold(entries) {
                    match text {
                        Ok(value) => self.line(&format!("{ids} → {}", one_line(&value))),
                        Err(error) => self.print(Line::Error(&format!("{ids} {error}"))),
                    }
                }
            }
        }
    }

    /// Whether something is still to be written.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.flushed
    }

    /// Whether as much waits to be written that more should wait for it.
    pub(crate) fn is_full(&self) -> bool {
        self.buffer.len() - self.written >= FULL
    }

    /// Writes what waits. Cancel safe: the rest waits on.
    pub(crate) async fn drain(&mut self) -> Result<(), ConsoleError> {
        while self.written < self.buffer.len() {
            let rest = &self.buffer[self.written..];
            let written = self.output.write(rest).await.map_err(ConsoleError::Output)?;
            if written == 0 {
                return Err(ConsoleError::Output(io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
        }
        self.buffer.clear();
        (self.written, self.kept) = (0, 0);
        self.output.flush().await.map_err(ConsoleError::Output)?;
        self.flushed = true;
        Ok(())
    }

    /// What was said so far is not to be dropped.
    pub(crate) fn keep(&mut self) {
        self.kept = self.buffer.len();
    }

    /// Drops the lines of which nothing is written yet, and that are not kept. How many they are.
    pub(crate) fn drop_waiting(&mut self) -> usize {
        if self.written == self.buffer.len() {
            return 0;
        }
        // One that is written in part is written to its end.
        let begun = match self.written {
            0 => 0,
            written if self.buffer[written - 1] == b'\n' => written,
            written => {
                let end = self.buffer[written..].iter().position(|byte| *byte == b'\n');
                end.map_or(self.buffer.len(), |end| written + end + 1)
            }
        };
        let begun = begun.max(self.kept);
        let dropped = self.buffer[begun..].iter().filter(|byte| **byte == b'\n').count();
        self.buffer.truncate(begun);
        dropped
    }
}

impl Line<'_> {
    /// As a terminal is told, where it is not the usual one.
    fn color(&self) -> Option<&'static str> {
        match self {
            Self::Error(_) | Self::Done { ok: false } => Some("31"),
            Self::Done { ok: true } | Self::News(News::Ready(_)) => Some("32"),
            Self::News(News::Departed { .. }) => Some("33"),
            Self::News(News::Arrived(_)) => Some("2"),
            Self::StillIn { .. } => Some("33"),
            _ => None,
        }
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::News(News::Arrived(_)) => f.write_str("new worker arrived"),
            Self::News(News::Departed { .. }) => f.write_str("worker departed"),
            Self::News(News::Ready(_)) => f.write_str("ready to run"),
            Self::Result(result) => result.fmt(f),
            Self::Done { ok: true } => f.write_str("ok"),
            Self::Done { ok: false } => f.write_str("failed"),
            Self::RunStarted { .. } => f.write_str("run started from the page"),
            Self::RunEnded { ok: true, .. } => f.write_str("run from the page: ok"),
            Self::RunEnded { ok: false, .. } => f.write_str("run from the page: failed"),
            Self::Error(message) => write!(f, "error: {}", one_line(message)),
            Self::Frequency(hz) => hz.fmt(f),
            Self::Saved(file) => write!(f, "saved {}", one_line(file)),
            Self::StillIn { workers, method, since } => {
                let (ids, since) = (fold_ids(*workers), span(*since));
                write!(f, "still in {method} of a cancelled call: {ids}, for {since}")
            }
            Self::Worker(status) => {
                let (info, version) = (&status.info, one_line(&status.version));
                write!(f, "{}\t{}\t{version}\t", info.id(), info.address())?;
                match &status.running {
                    None => f.write_str("idle"),
                    Some(running) => {
                        let seconds = running.since.as_secs_f64();
                        write!(f, "running {} for {seconds:.3} s", running.method)
                    }
                }
            }
            Self::Method(method) if method.docs.is_empty() => f.write_str(method.signature),
            Self::Method(method) => write!(f, "{}\t{}", method.signature, summary(method)),
            Self::Command(info) => write!(f, "{:<28} {}", info.usage(), info.about),
        }
    }
}

fn outcome_object(outcome: &Outcome<Value>) -> Value {
    let worker = name(outcome.worker.id());
    let seconds = outcome.elapsed.as_secs_f64();
    match &outcome.result {
        Ok(value) => json!({"outcome": {"worker": worker, "value": value, "seconds": seconds}}),
        Err(error) => {
            let error = error.to_string();
            json!({"outcome": {"worker": worker, "error": error, "seconds": seconds}})
        }
    }
}

/// What a method does, in one line.
fn summary(method: &Method) -> String {
    method.docs.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `text` without line ends and other control characters, which would spoil a line or a terminal.
pub(super) fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len() + 8);
    for char in text.chars() {
        if char.is_control() {
            line.extend(char.escape_debug());
        } else {
            line.push(char);
        }
    }
    Cow::Owned(line)
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::News(news) => {
                map.serialize_entry("event", &self.to_string())?;
                match news {
                    News::Arrived(worker) => map.serialize_entry("worker", name(worker))?,
                    News::Departed { worker, reason } => {
                        map.serialize_entry("worker", name(worker))?;
                        map.serialize_entry("reason", reason)?;
                    }
                    News::Ready(workers) => map.serialize_entry("workers", workers)?,
                }
            }
            Self::Result(result) => map.serialize_entry(
                "result",
                &json!({
                    "worker": name(&result.worker),
                    "time": result.time.to_string(),
                    "message": result.message,
                }),
            )?,
            Self::Done { ok } => map.serialize_entry("ok", ok)?,
            Self::RunStarted { run } => {
                map.serialize_entry("event", &self.to_string())?;
                map.serialize_entry("run", run)?;
            }
            Self::RunEnded { run, ok } => {
                map.serialize_entry("event", &self.to_string())?;
                map.serialize_entry("run", run)?;
                map.serialize_entry("ok", ok)?;
            }
            Self::Error(message) => map.serialize_entry("error", message)?,
            Self::Frequency(hz) => map.serialize_entry("frequency", hz)?,
            Self::Saved(file) => map.serialize_entry("saved", file)?,
            Self::StillIn { workers, method, since } => {
                map.serialize_entry("event", "still in a cancelled call")?;
                let workers: Vec<&str> = workers.iter().map(name).collect();
                map.serialize_entry("workers", &workers)?;
                map.serialize_entry("method", method)?;
                map.serialize_entry("seconds", &since.as_secs_f64())?;
            }
            Self::Worker(status) => {
                let running = status.running.as_ref().map(
                    |running| json!({"method": running.method, "seconds": running.since.as_secs_f64()}),
                );
                map.serialize_entry(
                    "worker",
                    &json!({
                        "id": name(status.info.id()),
                        "client": status.info.client(),
                        "address": status.info.address(),
                        "version": status.version,
                        "running": running,
                        "waiting": status.waiting,
                    }),
                )?;
            }
            Self::Method(method) => map.serialize_entry(
                "method",
                &json!({
                    "name": method.name,
                    "signature": method.signature,
                    "docs": summary(method),
                }),
            )?,
            Self::Command(info) => map
                .serialize_entry("command", &json!({"usage": info.usage(), "about": info.about}))?,
        }
        map.end()
    }
}

fn name(worker: &WorkerId) -> &str {
    worker.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn printed(format: OutputFormat, line: Line<'_>) -> String {
        let mut bytes = Vec::new();
        let mut printer = Printer::new(&mut bytes, format);
        printer.print(line);
        printer.drain().await.unwrap();
        String::from_utf8(bytes).unwrap()
    }

    fn id(name: &str) -> WorkerId {
        WorkerId::new(name).unwrap()
    }

    #[tokio::test]
    async fn events_are_the_documented_words() {
        let departed = News::Departed { worker: id("w1"), reason: "reset".to_owned() };
        for (news, text, json) in [
            (
                News::Arrived(id("w1")),
                "new worker arrived\n",
                "{\"event\":\"new worker arrived\",\"worker\":\"w1\"}\n",
            ),
            (
                departed,
                "worker departed\n",
                "{\"event\":\"worker departed\",\"worker\":\"w1\",\"reason\":\"reset\"}\n",
            ),
            (News::Ready(2), "ready to run\n", "{\"event\":\"ready to run\",\"workers\":2}\n"),
        ] {
            assert_eq!(printed(OutputFormat::Text, Line::News(&news)).await, text);
            assert_eq!(printed(OutputFormat::Json, Line::News(&news)).await, json);
        }
    }

    #[tokio::test]
    async fn the_end_of_a_run_is_one_word() {
        assert_eq!(printed(OutputFormat::Text, Line::Done { ok: true }).await, "ok\n");
        assert_eq!(printed(OutputFormat::Text, Line::Done { ok: false }).await, "failed\n");
        assert_eq!(printed(OutputFormat::Json, Line::Done { ok: true }).await, "{\"ok\":true}\n");
        assert_eq!(printed(OutputFormat::Json, Line::Done { ok: false }).await, "{\"ok\":false}\n");
    }

    #[tokio::test]
    async fn an_error_stays_on_one_line() {
        let line = printed(OutputFormat::Text, Line::Error("disk\nfull\u{1b}[31m")).await;
        assert_eq!(line, "error: disk\\nfull\\u{1b}[31m\n");
        let line = printed(OutputFormat::Json, Line::Error("disk\nfull")).await;
        assert_eq!(line, "{\"error\":\"disk\\nfull\"}\n");
    }

    #[tokio::test]
    async fn who_is_still_in_a_cancelled_call_is_named_with_the_method() {
        let workers = [id("w1"), id("w2"), id("w4")];
        let since = Duration::from_millis(1500);
        let line = || Line::StillIn { workers: &workers, method: "block", since };
        assert_eq!(
            printed(OutputFormat::Text, line()).await,
            "still in block of a cancelled call: w[1-2,4], for 1.50 s\n"
        );
        let json: Value = serde_json::from_str(&printed(OutputFormat::Json, line()).await).unwrap();
        assert_eq!(json["event"], "still in a cancelled call");
        assert_eq!(json["workers"], json!(["w1", "w2", "w4"]));
        assert_eq!((&json["method"], &json["seconds"]), (&json!("block"), &json!(1.5)));
    }

    #[tokio::test]
    async fn what_answers_another_command_than_that_under_way_says_so_as_json() {
        let mut bytes = Vec::new();
        let mut printer = Printer::new(&mut bytes, OutputFormat::Json);
        printer.print(Line::Frequency(1.0));
        printer.answering(Some("/freq".to_owned()));
        printer.print(Line::Frequency(1.0));
        printer.answering(None);
        printer.print(Line::Frequency(1.0));
        printer.drain().await.unwrap();
        let lines = String::from_utf8(bytes).unwrap();
        let (plain, answer) =
            ("{\"frequency\":1.0}\n", "{\"answers\":\"/freq\",\"frequency\":1.0}\n");
        assert_eq!(lines, format!("{plain}{answer}{plain}"));
    }

    #[tokio::test]
    async fn a_line_that_is_written_in_part_is_finished_and_those_behind_it_are_dropped() {
        let (output, mut input) = tokio::io::duplex(5);
        let mut printer = Printer::new(output, OutputFormat::Text);
        for line in ["first", "second", "third"] {
            printer.line(line);
        }
        // As far as there is room, in which there is all but the end of the first line.
        tokio::select! {
            biased;
            _ = printer.drain() => panic!("there is no room"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(printer.drop_waiting(), 2);
        printer.line("last");
        let mut read = String::new();
        let (drained, _) = tokio::join!(
            async {
                let drained = printer.drain().await;
                drop(printer);
                drained
            },
            tokio::io::AsyncReadExt::read_to_string(&mut input, &mut read),
        );
        drained.unwrap();
        assert_eq!(read, "first\nlast\n");
    }

    #[tokio::test]
    async fn a_frequency_is_a_plain_number() {
        assert_eq!(printed(OutputFormat::Text, Line::Frequency(2.5)).await, "2.5\n");
        assert_eq!(printed(OutputFormat::Text, Line::Frequency(10.0)).await, "10\n");
        assert_eq!(
            printed(OutputFormat::Json, Line::Frequency(2.5)).await,
            "{\"frequency\":2.5}\n"
        );
    }
}
