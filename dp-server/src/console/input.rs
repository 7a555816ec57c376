//! Lines of the console's input, with a bound.

use std::collections::VecDeque;
use std::future::pending;
use std::io;

use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// The longest line, in bytes, without its end.
pub(crate) const MAX_LINE: usize = 64 * 1024;

/// How many lines, and bytes of them, are read ahead while a command is under way.
const MAX_AHEAD: (usize, usize) = (1024, 1024 * 1024);

/// The command that is heard while another one is under way.
pub(crate) const CANCEL: &str = "/cancel";

/// One line of input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    /// Without its end.
    Text(String),
    Unreadable(Unreadable),
}

/// Why a line is no text. The next one is read as if nothing had happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum Unreadable {
    #[error("a line has at most {MAX_LINE} bytes; this one was left out")]
    TooLong,
    #[error("a line has to be UTF-8; this one was left out")]
    NotUtf8,
}

/// Splits input into lines.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    too_long: bool,
    /// Lines that have been looked at already, and wait for their turn.
    ahead: VecDeque<io::Result<Option<Input>>>,
    ahead_bytes: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(crate) fn new(input: R) -> Self {
        Self {
            reader: BufReader::new(input),
            line: Vec::new(),
            too_long: false,
            ahead: VecDeque::new(),
            ahead_bytes: 0,
        }
    }

    /// The next line; `None` at the end. Cancel safe: what has been read of a line is kept.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Input>> {
        match self.ahead.pop_front() {
            Some(next) => {
                self.ahead_bytes -= bytes(&next);
                next
            }
            None => self.read().await,
        }
    }

    /// Reads ahead: the next line that was not looked at yet, which is either acted on or
    /// [kept](Self::keep). Where as many are kept as there is room for, or the input has ended, this does
    /// not complete. Cancel safe.
    pub(crate) async fn ahead(&mut self) -> io::Result<Option<Input>> {
        match self.reads_ahead() {
            true => self.read().await,
            false => pending().await,
        }
    }

    /// Keeps a line that was read ahead for its turn.
    pub(crate) fn keep(&mut self, next: io::Result<Option<Input>>) {
        self.ahead_bytes += bytes(&next);
        self.ahead.push_back(next);
    }

    /// How many lines wait for their turn.
    pub(crate) fn waiting(&self) -> usize {
        self.ahead.len()
    }

    fn reads_ahead(&self) -> bool {
        let ended = matches!(self.ahead.back(), Some(Ok(None) | Err(_)));
        !ended && self.ahead.len() < MAX_AHEAD.0 && self.ahead_bytes < MAX_AHEAD.1
    }

    async fn read(&mut self) -> io::Result<Option<Input>> {
        loop {
            let buffer = self.reader.fill_buf().await?;
            if buffer.is_empty() {
                let nothing_left = self.line.is_empty() && !self.too_long;
                return Ok((!nothing_left).then(|| self.take()));
            }
            let end = buffer.iter().position(|&byte| byte == b'\n');
            let part = &buffer[..end.unwrap_or(buffer.len())];
            // One byte more than a line may have: the CR of its end.
            if self.line.len() + part.len() > MAX_LINE + 1 {
                self.too_long = true;
                self.line.clear();
            }
            if !self.too_long {
                self.line.extend_from_slice(part);
            }
            let read = end.map_or(part.len(), |end| end + 1);
            self.reader.consume(read);
            if end.is_some() {
                return Ok(Some(self.take()));
            }
        }
    }

    fn take(&mut self) -> Input {
        let mut line = std::mem::take(&mut self.line);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        if std::mem::take(&mut self.too_long) || line.len() > MAX_LINE {
            return Input::Unreadable(Unreadable::TooLong);
        }
        match String::from_utf8(line) {
            Ok(text) => Input::Text(text),
            Err(_) => Input::Unreadable(Unreadable::NotUtf8),
        }
    }
}

fn bytes(line: &io::Result<Option<Input>>) -> usize {
    match line {
        Ok(Some(Input::Text(text))) => text.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn lines(input: &[u8]) -> Vec<Input> {
        let mut lines = Lines::new(input);
        let mut all = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            all.push(line);
        }
        all
    }

    fn text(text: &str) -> Input {
        Input::Text(text.to_owned())
    }

    #[tokio::test]
    async fn lines_end_in_lf_or_crlf_and_the_last_one_in_nothing() {
        let expected = [text("/run"), text("/freq 2"), text(""), text("/quit")];
        assert_eq!(lines(b"/run\n/freq 2\r\n\n/quit").await, expected);
        assert_eq!(lines(b"/quit\n").await, [text("/quit")]);
        assert_eq!(lines(b"").await, []);
    }

    #[tokio::test]
    async fn a_line_that_is_no_utf8_costs_one_line() {
        let bad = Input::Unreadable(Unreadable::NotUtf8);
        assert_eq!(lines(b"\xff\xfe\n/run\n").await, [bad, text("/run")]);
    }

    #[tokio::test]
    async fn a_line_of_the_greatest_length_is_read_and_a_longer_one_is_not() {
        let longest = "x".repeat(MAX_LINE);
        for end in ["\n", "\r\n", ""] {
            assert_eq!(lines(format!("{longest}{end}").as_bytes()).await, [text(&longest)]);
        }
        let too_long = Input::Unreadable(Unreadable::TooLong);
        for input in [format!("{longest}y\n/run"), format!("{longest}{longest}{longest}\n/run")] {
            assert_eq!(lines(input.as_bytes()).await, [too_long.clone(), text("/run")]);
        }
    }

    #[tokio::test]
    async fn half_a_line_survives_a_cancelled_read() {
        let (mut writer, reader) = tokio::io::duplex(64);
        let mut lines = Lines::new(reader);
        writer.write_all(b"/ru").await.unwrap();
        tokio::select! {
            biased;
            _ = lines.next() => panic!("there is no line yet"),
            () = tokio::task::yield_now() => {}
        }
        writer.write_all(b"n\n").await.unwrap();
        assert_eq!(lines.next().await.unwrap(), Some(text("/run")));
    }

    /// The next line, as far as there is input.
    async fn looked_at(lines: &mut Lines<&[u8]>) -> Option<io::Result<Option<Input>>> {
        tokio::select! {
            biased;
            next = lines.ahead() => Some(next),
            () = std::future::ready(()) => None,
        }
    }

    /// Whether there is a `/cancel`; everything else is kept.
    async fn cancelled(lines: &mut Lines<&[u8]>) -> bool {
        while let Some(next) = looked_at(lines).await {
            match &next {
                Ok(Some(Input::Text(line))) if line.trim_end() == CANCEL => return true,
                Ok(Some(Input::Text(line))) if line.is_empty() => {}
                _ => lines.keep(next),
            }
        }
        false
    }

    #[tokio::test]
    async fn a_cancel_is_taken_from_behind_lines_that_stay_in_their_order() {
        let mut lines = Lines::new(&b"/freq\r\n\n/run\n/cancel \r\n/quit\n/cancel\n"[..]);
        assert!(cancelled(&mut lines).await);
        assert_eq!(lines.next().await.unwrap(), Some(text("/freq")));
        assert!(cancelled(&mut lines).await);
        assert!(!cancelled(&mut lines).await);
        for line in ["/run", "/quit"] {
            assert_eq!(lines.next().await.unwrap(), Some(text(line)));
        }
        for _ in 0..2 {
            assert_eq!(lines.next().await.unwrap(), None);
        }
    }

    #[tokio::test]
    async fn no_more_is_read_ahead_than_there_is_room_for() {
        let many = "/freq\n".repeat(MAX_AHEAD.0) + "/cancel\n";
        let long = format!("{}\n", "x".repeat(MAX_LINE)).repeat(17) + "/cancel\n";
        for input in [many, long] {
            let mut lines = Lines::new(input.as_bytes());
            assert!(!cancelled(&mut lines).await);
            let ahead = lines.ahead.len();
            lines.next().await.unwrap();
            lines.next().await.unwrap();
            assert_eq!(lines.ahead.len(), ahead - 2);
            assert!(cancelled(&mut lines).await, "{ahead}");
        }
    }
}
