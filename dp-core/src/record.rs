//! What a worker records, and keeps until it is told to drop it.

use std::borrow::Cow;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::id::WorkerId;
use crate::limits::Limits;
use crate::metrics::{Ages, Measured, MeasuredMetric};
use crate::sync::lock;
use crate::text::write_escaped;

/// A line that a worker recorded.
///
/// `Display` gives `ID<TAB>YYYYMMDD-HHMMSS<TAB>message`, in this machine's local time, and always
/// one line: line ends, and other control and format characters in the message, are shown escaped, tabs
/// as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "PlainLine", into = "PlainLine")]
#[non_exhaustive]
pub struct ResultLine {
    /// The worker that recorded it.
    pub worker: WorkerId,
    /// When it did, by its own clock.
    pub time: Timestamp,
    /// The line.
    pub message: String,
}

impl ResultLine {
    /// A line that `worker` recorded at `time`.
    pub fn new(worker: WorkerId, time: Timestamp, message: impl Into<String>) -> Self {
        Self { worker, time, message: message.into() }
    }
}

/// A [`ResultLine`] for serde: the time in microseconds since the epoch.
#[derive(Serialize, Deserialize)]
#[serde(rename = "ResultLine")]
struct PlainLine {
    worker: String,
    time: i64,
    message: String,
}

impl From<ResultLine> for PlainLine {
    fn from(line: ResultLine) -> Self {
        let ResultLine { worker, time, message } = line;
        Self { worker: worker.to_string(), time: time.as_microsecond(), message }
    }
}

impl TryFrom<PlainLine> for ResultLine {
    type Error = String;

    fn try_from(line: PlainLine) -> Result<Self, String> {
        let worker = WorkerId::new(line.worker).map_err(|error| error.to_string())?;
        let time = Timestamp::from_microsecond(line.time).map_err(|error| error.to_string())?;
        Ok(Self { worker, time, message: line.message })
    }
}

impl fmt::Display for ResultLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.time.to_zoned_datetime(TimeZone::system());
        write!(f, "{}\t{}\t", self.worker, time.strftime("%Y%m%d-%H%M%S"))?;
        write_escaped(f, &self.message, true)
    }
}

/// A recorded line as it travels: microseconds since the epoch, and the message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recorded {
    time: i64,
    message: String,
}

impl Recorded {
    /// What it takes, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.message.len() + 24
    }

    /// What it takes in memory, also as a line of a worker's.
    pub(crate) fn cost(&self) -> usize {
        self.message.len() + 64
    }

    /// The line as it is told to a server that takes messages of `max_message` bytes: one that is too
    /// long is replaced by one that says so, as those behind it have their places.
    fn within(&self, max_message: usize) -> Cow<'_, Self> {
        let size = self.size() + HEADS;
        if size <= max_message {
            return Cow::Borrowed(self);
        }
        let message = format!(
            "a line of {} bytes stays on its worker: it exceeds {max_message} (max_message of the server)",
            self.message.len()
        );
        Cow::Owned(Self { time: self.time, message })
    }

    pub(crate) fn time(&self) -> Timestamp {
        // A clock that far off is some worker's own; its line is worth more than its time.
        Timestamp::from_microsecond(self.time).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    pub(crate) fn into_line(self, worker: WorkerId) -> ResultLine {
        ResultLine { worker, time: self.time(), message: self.message }
    }
}

/// What a worker has recorded since its record was last dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerRecord {
    /// The lines, in the order in which they were recorded.
    pub lines: Vec<ResultLine>,
    /// How many of them, from the first on, some server has stored for good.
    pub stored: usize,
    /// Tells it from every other record, the same worker's included: a random number that it gets when
    /// it begins.
    pub id: u64,
    /// Where lines are missing behind those, as the server keeps or takes no more: says so. No line of
    /// the worker's own.
    pub notice: Option<ResultLine>,
}

impl WorkerRecord {
    /// The record `id`, of which the first `stored` lines have been stored for good.
    pub fn new(id: u64, lines: Vec<ResultLine>, stored: usize) -> Self {
        Self { lines, stored, id, notice: None }
    }

    /// All lines, with what there is to say of those that are missing.
    pub(crate) fn into_lines(self) -> Vec<ResultLine> {
        let mut lines = self.lines;
        lines.extend(self.notice);
        lines
    }
}

#[derive(Debug)]
struct Lines {
    /// Tells this record from those before it, and from every other worker's.
    id: u64,
    lines: Vec<Recorded>,
    /// What they take.
    bytes: usize,
    /// The last one says that there were more than may be.
    full: bool,
    /// How many of them the server has been told.
    told: usize,
    /// How many of them a server has stored for good.
    stored: usize,
    /// How often they were dropped since the connection began.
    resets: u32,
}

/// Some of a record's lines.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) id: u64,
    pub(crate) stored: u64,
    pub(crate) lines: Vec<Recorded>,
    /// How many come behind them.
    pub(crate) left: usize,
}

impl Lines {
    /// The lines from number `from` on that belong in one message.
    fn some(&self, from: usize, max_message: usize) -> Vec<Recorded> {
        let room = together(max_message);
        let mut bytes = 0;
        let some = self.lines.iter().skip(from).map(|line| line.within(max_message));
        let some = some.take_while(|line| {
            let first = bytes == 0;
            bytes += line.size();
            first || bytes <= room
        });
        some.map(Cow::into_owned).take(MAX_LINES).collect()
    }
}

/// Of so many bytes, lines share a message.
fn together(max_message: usize) -> usize {
    #[cfg(test)]
    if crate::chaos::is_simulated() {
        // Little, so that there are several.
        return 100;
    }
    TOLD_AT_ONCE.min(max_message / 2)
}

/// So many lines are in one message at the most.
const MAX_LINES: usize = 1 << 16;

/// What a message takes beside a line that is alone in it.
const HEADS: usize = 64;

/// Of this many bytes, lines are told at a time.
const TOLD_AT_ONCE: usize = 1 << 20;

/// One worker's record.
///
/// The server is told of lines as they come, so that those of a worker that is lost are not; they
/// stay here all the same until they are dropped on purpose.
#[derive(Debug)]
pub(crate) struct Recorder {
    lines: Mutex<Lines>,
    max_lines: usize,
    max_bytes: usize,
    /// Whether there are lines that the server has not been told.
    news: AtomicBool,
    /// Whether something was measured of which the server has not been told.
    measured_news: AtomicBool,
    /// What was measured, and of which record that is a part.
    measured: Mutex<(u64, Measured)>,
    /// The record that calls which come now belong to.
    current: AtomicU64,
}

impl Recorder {
    pub(crate) fn new(limits: &Limits) -> Self {
        let id = random();
        Self {
            lines: Mutex::new(Lines {
                id,
                lines: Vec::new(),
                bytes: 0,
                full: false,
                told: 0,
                stored: 0,
                resets: 0,
            }),
            max_lines: limits.max_results.max(1),
            max_bytes: limits.max_result_bytes,
            news: AtomicBool::new(false),
            measured_news: AtomicBool::new(false),
            measured: Mutex::new((id, Measured::new(limits.max_metrics))),
            current: AtomicU64::new(id),
        }
    }

    /// The record that calls which come now belong to.
    pub(crate) fn current(&self) -> u64 {
        self.current.load(Ordering::Acquire)
    }

    /// Adds a line to the record `to`, unless that has been dropped meanwhile.
    pub(crate) fn add(&self, to: u64, message: String) {
        let time = Timestamp::now().as_microsecond();
        let mut record = lock(&self.lines);
        if record.id != to {
            return;
        }
        if record.full {
            return;
        }
        let mut line = Recorded { time, message };
        // One more line tells of the bound, so that nobody takes the record for whole.
        if record.lines.len() >= self.max_lines {
            let max = self.max_lines;
            line.message = format!("more than {max} results (max_results): the rest was dropped");
            record.full = true;
        } else if record.bytes.saturating_add(line.cost()) > self.max_bytes {
            let max = self.max_bytes;
            line.message = format!(
                "more than {max} bytes of results (max_result_bytes): the rest was dropped"
            );
            record.full = true;
        }
        record.bytes += line.cost();
        record.lines.push(line);
        self.news.store(true, Ordering::Release);
    }

    pub(crate) fn add_time(&self, to: u64, label: &str, elapsed: Duration) {
        self.add(to, format!("Time for running {label}: {:.5} seconds", elapsed.as_secs_f64()));
    }

    /// Adds a duration, which ends now, to a metric of the record `to`, unless that has been dropped
    /// meanwhile.
    pub(crate) fn measure(&self, to: u64, metric: &str, duration: Duration) {
        let added = {
            let mut measured = lock(&self.measured);
            if measured.0 == to { measured.1.add(metric, duration) } else { Ok(()) }
        };
        self.measured_news.store(true, Ordering::Release);
        if let Err(dropped) = added {
            self.add(to, dropped);
        }
    }

    /// What was measured, and how long ago.
    pub(crate) fn measured(&self) -> (Vec<MeasuredMetric>, Vec<Ages>) {
        let measured = &lock(&self.measured).1;
        (measured.to_wire(), measured.ages())
    }

    /// The record's id, how many of its lines, from the first on, a server has stored for good, and
    /// the lines.
    pub(crate) fn lines(&self) -> (u64, u64, Vec<Recorded>) {
        let record = lock(&self.lines);
        (record.id, record.stored as u64, record.lines.clone())
    }

    /// The lines from number `from` on, as many as belong in one message; of the record `of`, or of the
    /// one that there is. `None` if that has been dropped.
    pub(crate) fn part(&self, of: Option<u64>, from: usize, max_message: usize) -> Option<Part> {
        let record = lock(&self.lines);
        if of.is_some_and(|of| of != record.id) {
            return None;
        }
        let lines = record.some(from, max_message);
        let left = record.lines.len().saturating_sub(from + lines.len());
        Some(Part { id: record.id, stored: record.stored as u64, lines, left })
    }

    /// What was measured, encoded, if the server has not been told; and of which record it is, and how
    /// often that was dropped.
    pub(crate) fn take_measured(&self) -> Option<(u64, u32, Bytes)> {
        if !self.measured_news.swap(false, Ordering::AcqRel) {
            return None;
        }
        let (id, metrics) = {
            let measured = lock(&self.measured);
            (measured.0, (measured.1.to_wire(), measured.1.ages()))
        };
        let record = lock(&self.lines);
        if record.id != id {
            // Dropped just now.
            return None;
        }
        let resets = record.resets;
        drop(record);
        let mut encoded = Vec::new();
        codec::encode(&metrics, &mut encoded).ok()?;
        Some((id, resets, encoded.into()))
    }

    /// A server has stored the first `count` lines of the record `id` for good: no other one needs to.
    pub(crate) fn handle_stored(&self, id: u64, count: u64) {
        let mut record = lock(&self.lines);
        if record.id != id {
            // That one has been dropped meanwhile.
            return;
        }
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(record.lines.len());
        record.stored = record.stored.max(count);
    }

    pub(crate) fn reset(&self) {
        let id = random();
        let lines = {
            let mut record = lock(&self.lines);
            (record.told, record.stored, record.id) = (0, 0, id);
            (record.bytes, record.full) = (0, false);
            record.resets = record.resets.wrapping_add(1);
            std::mem::take(&mut record.lines)
        };
        drop(lines);
        let mut measured = lock(&self.measured);
        measured.0 = id;
        measured.1.reset();
        drop(measured);
        self.current.store(id, Ordering::Release);
    }

    /// A connection begins: its server has been told nothing.
    pub(crate) fn handle_link(&self) {
        let mut record = lock(&self.lines);
        (record.told, record.resets) = (0, 0);
        self.news.store(!record.lines.is_empty(), Ordering::Release);
        drop(record);
        let measured = !lock(&self.measured).1.is_empty();
        self.measured_news.store(measured, Ordering::Release);
    }

    /// Whether there is anything that the server has not been told.
    pub(crate) fn has_news(&self) -> bool {
        self.news.load(Ordering::Acquire)
    }

    /// Lines that the server, which takes messages of `max_message` bytes, has not been told; and
    /// the record's id, and how often it was dropped.
    pub(crate) fn take_news(&self, max_message: usize) -> Option<(u64, u32, Vec<Recorded>)> {
        if !self.news.swap(false, Ordering::AcqRel) {
            return None;
        }
        let mut record = lock(&self.lines);
        let news = record.some(record.told, max_message);
        record.told += news.len();
        if record.told < record.lines.len() {
            self.news.store(true, Ordering::Release);
        }
        (!news.is_empty()).then_some((record.id, record.resets, news))
    }
}

/// What the time is.
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// A hasher's keys are the standard library's random numbers.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_whatever_was_recorded() {
        let line = ResultLine {
            worker: WorkerId::new("w1").unwrap(),
            time: Timestamp::from_second(1_700_000_000).unwrap(),
            message: "two\nlines\ta tab \u{1b}[0m".to_owned(),
        };
        let text = line.to_string();
        let fields: Vec<&str> = text.splitn(3, '\t').collect();
        assert_eq!(fields[0], "w1");
        assert_eq!(fields[1].len(), "YYYYMMDD-HHMMSS".len());
        assert!(fields[1].chars().enumerate().all(|(at, c)| c.is_ascii_digit() != (at == 8)));
        assert_eq!(fields[2], "two\\nlines\ta tab \\u{1b}[0m");
    }

    #[test]
    fn a_full_record_says_so_in_its_last_line() {
        let recorder = Recorder::new(&Limits { max_results: 3, ..Limits::default() });
        (0..10).for_each(|n| recorder.add(recorder.current(), n.to_string()));
        let (_, _, lines) = recorder.lines();
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[2].message, "2", "none is changed");
        assert!(lines[3].message.contains("max_results"));
        recorder.reset();
        assert!(recorder.lines().2.is_empty());
    }

    #[test]
    fn what_was_stored_is_known_until_the_record_is_dropped() {
        let recorder = Recorder::new(&Limits::default());
        (0..3).for_each(|n| recorder.add(recorder.current(), n.to_string()));
        let id = recorder.lines().0;
        recorder.handle_stored(id, 2);
        recorder.handle_stored(id, 1);
        assert_eq!(recorder.lines().1, 2);
        recorder.handle_stored(id, u64::MAX);
        assert_eq!(recorder.lines().1, 3, "more than there is cannot have been stored");
        recorder.reset();
        (0..3).for_each(|n| recorder.add(recorder.current(), n.to_string()));
        recorder.handle_stored(id, 3);
        assert_eq!(recorder.lines().1, 0, "it was another record that was stored");
    }

    #[test]
    fn news_are_told_once_to_each_server() {
        let recorder = Recorder::new(&Limits::default());
        assert_eq!(recorder.take_news(1 << 20), None);
        recorder.add(recorder.current(), "one".to_owned());
        let told = |recorder: &Recorder| {
            let (_, resets, lines) = recorder.take_news(1 << 20)?;
            Some((resets, lines.into_iter().map(|line| line.message).collect::<Vec<_>>()))
        };
        assert_eq!(told(&recorder), Some((0, vec!["one".to_owned()])));
        assert_eq!(told(&recorder), None);
        recorder.reset();
        recorder.add(recorder.current(), "two".to_owned());
        assert_eq!(told(&recorder), Some((1, vec!["two".to_owned()])));
        recorder.handle_link();
        assert_eq!(told(&recorder), Some((0, vec!["two".to_owned()])));
    }

    #[test]
    fn a_time_is_told_in_seconds_with_five_decimals() {
        let recorder = Recorder::new(&Limits { max_results: 3, ..Limits::default() });
        recorder.add_time(recorder.current(), "fetch", Duration::from_micros(1_234_560));
        assert_eq!(recorder.lines().2[0].message, "Time for running fetch: 1.23456 seconds");
    }
}
