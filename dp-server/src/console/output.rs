//! What the console says, as text or as JSON.

use std::fmt;
use std::time::Duration;

use dp_core::engine::WorkerStatus;
use dp_core::engine::text::escaped;
use dp_core::{Method, Outcome, ResultLine, WorkerId, fold_ids};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};

use super::parse::CommandInfo;
use super::roll::News;
use super::table::span;

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

impl Line<'_> {
    /// As a terminal is told, where it is not the usual one.
    pub(super) fn color(&self) -> Option<&'static str> {
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
            Self::Error(message) => write!(f, "error: {}", escaped(message)),
            Self::Frequency(hz) => hz.fmt(f),
            Self::Saved(file) => write!(f, "saved {}", escaped(file)),
            Self::StillIn { workers, method, since } => {
                let (ids, since) = (fold_ids(*workers), span(*since));
                write!(f, "still in {method} of a cancelled call: {ids}, for {since}")
            }
            Self::Worker(status) => {
                let (info, version) = (&status.info, escaped(&status.version));
                write!(f, "{}\t{}\t{version}\t", info.id(), escaped(info.address()))?;
                match (&status.running, &status.postponed) {
                    (None, None) => f.write_str("idle"),
                    (None, Some(method)) => write!(f, "waiting for its turn in {method}"),
                    (Some(running), _) => {
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

pub(super) fn outcome_object(outcome: &Outcome<Value>) -> Value {
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
                        "postponed": status.postponed,
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
    use super::super::printer::Printer;
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
    async fn a_frequency_is_a_plain_number() {
        assert_eq!(printed(OutputFormat::Text, Line::Frequency(2.5)).await, "2.5\n");
        assert_eq!(printed(OutputFormat::Text, Line::Frequency(10.0)).await, "10\n");
        assert_eq!(
            printed(OutputFormat::Json, Line::Frequency(2.5)).await,
            "{\"frequency\":2.5}\n"
        );
    }
}
