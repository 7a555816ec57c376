//! Where the console writes.

use std::io;

use dp_core::engine::text::escaped;
use dp_core::{Metric, Outcome};
use serde_json::{Value, json};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::ConsoleError;
use super::output::{Line, OutputFormat, outcome_object};
use super::table::table;
use crate::export::metric_value;
use crate::fold::fold;
use crate::json_text::json_text;

/// More bytes than these do not wait to be written: who has more to say waits.
const FULL: usize = 64 * 1024;

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
                self.line(&json_text(&line));
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
        self.line(&json_text(&object));
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
                        Ok(value) => self.line(&format!("{ids} → {}", escaped(&value))),
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

    /// Whether there are lines of which nothing is written yet, and that are not kept.
    pub(crate) fn has_unwritten(&self) -> bool {
        self.unwritten() < self.buffer.len()
    }

    /// Drops these. How many they are.
    pub(crate) fn drop_unwritten(&mut self) -> usize {
        let from = self.unwritten();
        let dropped = self.buffer[from..].iter().filter(|byte| **byte == b'\n').count();
        self.buffer.truncate(from);
        dropped
    }

    /// Where they begin.
    fn unwritten(&self) -> usize {
        // One that is written in part is written to its end.
        let begun = match self.written {
            0 => 0,
            written if self.buffer[written - 1] == b'\n' => written,
            written => {
                let end = self.buffer[written..].iter().position(|byte| *byte == b'\n');
                end.map_or(self.buffer.len(), |end| written + end + 1)
            }
        };
        begun.max(self.kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(printer.drop_unwritten(), 2);
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
}
