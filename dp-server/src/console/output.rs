//! What the console says, as text or as JSON.

use std::fmt;
use std::io;
use std::time::Duration;

use dp_core::engine::WorkerStatus;
use dp_core::engine::text::escaped;
use dp_core::{Method, Metric, Outcome, ResultLine, WorkerId};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};
use tokio::io::{AsyncWrite, AsyncWriteExt, BufWriter};

use super::ConsoleError;
use super::parse::CommandInfo;
use super::roll::News;
use super::signal::Signals;
use super::table::table;
use crate::export::metric_value;
use crate::fold::fold;
use crate::json_text::json_text;
use crate::time::sleep;

/// How long output may be stuck before a signal is worth more than it.
const STUCK: Duration = Duration::from_millis(500);

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
    Worker(&'a WorkerStatus),
    Method(&'a Method),
    Command(&'a CommandInfo),
}

/// Writes lines.
#[derive(Debug)]
pub(crate) struct Printer<O> {
    output: BufWriter<O>,
    format: OutputFormat,
    signals: Signals,
    given_up: bool,
    colors: bool,
}

impl<O: AsyncWrite + Unpin> Printer<O> {
    /// While output is stuck, as in a pipe that nobody reads, a signal is not: then all output is
    /// given up, and whoever acts on the signal finds it still there.
    pub(crate) fn new(output: O, format: OutputFormat, signals: Signals) -> Self {
        Self { output: BufWriter::new(output), format, signals, given_up: false, colors: false }
    }

    /// The same, with colors in its text or not.
    pub(crate) fn colored(self, colors: bool) -> Self {
        Self { colors, ..self }
    }

    /// Writes nothing from now on.
    pub(crate) fn give_up(&mut self) {
        self.given_up = true;
    }

    /// Writes one line, which is seen at the next [`flush`](Self::flush) at the latest.
    pub(crate) async fn print(&mut self, line: Line<'_>) -> Result<(), ConsoleError> {
        match self.format {
            OutputFormat::Text => match line.color().filter(|_| self.colors) {
                Some(color) => self.write(format!("\x1b[{color}m{line}\x1b[0m")).await,
                None => self.write(line.to_string()).await,
            },
            // Maps with text for keys, and numbers that are all finite or `null`: it can't fail.
            OutputFormat::Json => self.write(json_text(&line)).await,
        }
    }

    /// Writes a line of text as it is.
    pub(crate) async fn line(&mut self, line: String) -> Result<(), ConsoleError> {
        self.write(line).await
    }

    /// Writes metrics: as an object each, or, if that is wanted, as a table.
    pub(crate) async fn metrics(
        &mut self,
        metrics: &[Metric],
        as_table: bool,
    ) -> Result<(), ConsoleError> {
        match self.format {
            OutputFormat::Json => {
                for metric in metrics {
                    self.write(json_text(&json!({ "metric": metric_value(metric) }))).await?;
                }
            }
            OutputFormat::Text if as_table => {
                for line in table(metrics) {
                    self.write(line).await?;
                }
            }
            OutputFormat::Text => {}
        }
        Ok(())
    }

    /// Writes the outcomes of a call: an object each, or a line for those that are alike.
    pub(crate) async fn outcomes(
        &mut self,
        outcomes: &[Outcome<Value>],
    ) -> Result<(), ConsoleError> {
        match self.format {
            OutputFormat::Json => {
                for outcome in outcomes {
                    self.write(json_text(&outcome_object(outcome))).await?;
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
                        Ok(value) => self.write(format!("{ids} → {}", escaped(&value))).await?,
                        Err(error) => self.print(Line::Error(&format!("{ids} {error}"))).await?,
                    }
                }
            }
        }
        Ok(())
    }

    async fn write(&mut self, mut line: String) -> Result<(), ConsoleError> {
        line.push('\n');
        let Self { output, signals, given_up, .. } = self;
        *given_up = *given_up || unless_stuck(output.write_all(line.as_bytes()), signals).await?;
        Ok(())
    }

    pub(crate) async fn flush(&mut self) -> Result<(), ConsoleError> {
        let Self { output, signals, given_up, .. } = self;
        *given_up = *given_up || unless_stuck(output.flush(), signals).await?;
        Ok(())
    }
}

/// Finishes `writing`; `true` if it is stuck and there is a signal to act on.
async fn unless_stuck(
    writing: impl Future<Output = io::Result<()>>,
    signals: &mut Signals,
) -> Result<bool, ConsoleError> {
    let asked_to_end = async {
        loop {
            signals.any().await;
            sleep(STUCK).await;
            if signals.is_any() {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        written = writing => written.map(|()| false).map_err(ConsoleError::Output),
        () = asked_to_end => Ok(true),
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
            Self::Error(message) => write!(f, "error: {}", escaped(message)),
            Self::Frequency(hz) => hz.fmt(f),
            Self::Saved(file) => write!(f, "saved {}", escaped(file)),
            Self::Worker(status) => {
                let (info, version) = (&status.info, escaped(&status.version));
                write!(f, "{}\t{}\t{version}\t", info.id(), escaped(info.address()))?;
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
        let mut printer = Printer::new(&mut bytes, format, Signals::none());
        printer.print(line).await.unwrap();
        printer.flush().await.unwrap();
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
    async fn an_error_stays_on_escaped() {
        let line = printed(OutputFormat::Text, Line::Error("disk\nfull\u{1b}[31m")).await;
        assert_eq!(line, "error: disk\\nfull\\u{1b}[31m\n");
        let hostile = "a\u{9b}2J\u{202e}\u{2066}\u{200b}\u{e0041}\u{2028}b";
        let line = printed(OutputFormat::Text, Line::Error(hostile)).await;
        assert_eq!(line, "error: a\\u{9b}2J\\u{202e}\\u{2066}\\u{200b}\\u{e0041}\\u{2028}b\n");
        let line = printed(OutputFormat::Json, Line::Error(hostile)).await;
        assert!(line.trim_end().bytes().all(|byte| matches!(byte, b' '..=b'~')), "{line}");
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["error"], hostile);
        let line = printed(OutputFormat::Json, Line::Error("disk\nfull")).await;
        assert_eq!(line, "{\"error\":\"disk\\nfull\"}\n");
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
