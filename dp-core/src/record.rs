//! What a worker records, and keeps until it is told to drop it.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::error::CallError;
use crate::id::{WorkerId, WorkerInfo};
use crate::limits::Limits;
use crate::metrics::{Measured, MeasuredMetric};
use crate::outcome::decode_answer;
use crate::sync::lock;
use crate::text::write_escaped;

/// A line that a worker recorded.
///
/// `Display` gives `ID<TAB>YYYYMMDD-HHMMSS<TAB>message`, in this machine's local time, and always
/// one line: line ends, and other control and format characters in the message, are shown escaped, tabs
/// as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
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

    pub(crate) fn into_line(self, worker: WorkerId) -> ResultLine {
        // A clock that far off is some worker's own; its line is worth more than its time.
        let time = Timestamp::from_microsecond(self.time).unwrap_or(Timestamp::UNIX_EPOCH);
        ResultLine { worker, time, message: self.message }
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
}

impl WorkerRecord {
    /// The record `id`, of which the first `stored` lines have been stored for good.
    pub fn new(id: u64, lines: Vec<ResultLine>, stored: usize) -> Self {
        Self { lines, stored, id }
    }

    pub(crate) fn decode(worker: &WorkerInfo, answer: Bytes) -> Result<Self, CallError> {
        let (id, stored, lines): (u64, u64, Vec<Recorded>) = decode_answer(worker, answer)?;
        let lines = lines.into_iter().map(|line| line.into_line(worker.id().clone())).collect();
        Ok(Self { lines, stored: usize::try_from(stored).unwrap_or(usize::MAX), id })
    }
}

#[derive(Debug)]
struct Lines {
    /// Tells this record from those before it, and from every other worker's.
    id: u64,
    lines: Vec<Recorded>,
    /// How many of them the server has been told.
    told: usize,
    /// How many of them a server has stored for good.
    stored: usize,
    /// How often they were dropped since the connection began.
    resets: u32,
}

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
    /// Whether there are lines that the server has not been told.
    news: AtomicBool,
    measured: Mutex<Measured>,
}

impl Recorder {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            lines: Mutex::new(Lines {
                id: random(),
                lines: Vec::new(),
                told: 0,
                stored: 0,
                resets: 0,
            }),
            max_lines: limits.max_results.max(1),
            news: AtomicBool::new(false),
            measured: Mutex::new(Measured::new(limits.max_metrics)),
        }
    }

    pub(crate) fn add(&self, message: String) {
        let time = Timestamp::now().as_microsecond();
        let mut record = lock(&self.lines);
        if record.lines.len() < self.max_lines {
            record.lines.push(Recorded { time, message });
            self.news.store(true, Ordering::Release);
        } else if record.lines.len() == self.max_lines {
            // One more line tells of the bound, so that nobody takes the record for whole.
            let max = self.max_lines;
            let message = format!("more than {max} results (max_results): the rest was dropped");
            record.lines.push(Recorded { time, message });
            self.news.store(true, Ordering::Release);
        }
    }

    pub(crate) fn add_time(&self, label: &str, elapsed: Duration) {
        self.add(format!("Time for running {label}: {:.5} seconds", elapsed.as_secs_f64()));
    }

    /// Adds a duration, which ends now, to a metric.
    pub(crate) fn measure(&self, metric: &str, duration: Duration) {
        if !lock(&self.measured).add(metric, duration) {
            self.add(format!("too many metrics (max_metrics): `{metric}` and others are dropped"));
        }
    }

    pub(crate) fn measured(&self) -> Vec<MeasuredMetric> {
        lock(&self.measured).to_wire()
    }

    /// The record's id, how many of its lines, from the first on, a server has stored for good, and
    /// the lines.
    pub(crate) fn lines(&self) -> (u64, u64, Vec<Recorded>) {
        let record = lock(&self.lines);
        (record.id, record.stored as u64, record.lines.clone())
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
        let lines = {
            let mut record = lock(&self.lines);
            (record.told, record.stored, record.id) = (0, 0, random());
            record.resets = record.resets.wrapping_add(1);
            std::mem::take(&mut record.lines)
        };
        drop(lines);
        lock(&self.measured).reset();
    }

    /// A connection begins: its server has been told nothing.
    pub(crate) fn handle_link(&self) {
        let mut record = lock(&self.lines);
        (record.told, record.resets) = (0, 0);
        self.news.store(!record.lines.is_empty(), Ordering::Release);
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
        let room = TOLD_AT_ONCE.min(max_message / 2);
        let mut bytes = 0;
        let news = record.lines.iter().skip(record.told).take_while(|line| {
            let first = bytes == 0;
            bytes += line.size();
            first || bytes <= room
        });
        let news: Vec<Recorded> = news.cloned().collect();
        record.told += news.len();
        if record.told < record.lines.len() {
            self.news.store(true, Ordering::Release);
        }
        (!news.is_empty()).then_some((record.id, record.resets, news))
    }
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
        (0..10).for_each(|n| recorder.add(n.to_string()));
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
        (0..3).for_each(|n| recorder.add(n.to_string()));
        let id = recorder.lines().0;
        recorder.handle_stored(id, 2);
        recorder.handle_stored(id, 1);
        assert_eq!(recorder.lines().1, 2);
        recorder.handle_stored(id, u64::MAX);
        assert_eq!(recorder.lines().1, 3, "more than there is cannot have been stored");
        recorder.reset();
        (0..3).for_each(|n| recorder.add(n.to_string()));
        recorder.handle_stored(id, 3);
        assert_eq!(recorder.lines().1, 0, "it was another record that was stored");
    }

    #[test]
    fn news_are_told_once_to_each_server() {
        let recorder = Recorder::new(&Limits::default());
        assert_eq!(recorder.take_news(1 << 20), None);
        recorder.add("one".to_owned());
        let told = |recorder: &Recorder| {
            let (_, resets, lines) = recorder.take_news(1 << 20)?;
            Some((resets, lines.into_iter().map(|line| line.message).collect::<Vec<_>>()))
        };
        assert_eq!(told(&recorder), Some((0, vec!["one".to_owned()])));
        assert_eq!(told(&recorder), None);
        recorder.reset();
        recorder.add("two".to_owned());
        assert_eq!(told(&recorder), Some((1, vec!["two".to_owned()])));
        recorder.handle_link();
        assert_eq!(told(&recorder), Some((0, vec!["two".to_owned()])));
    }

    #[test]
    fn a_time_is_told_in_seconds_with_five_decimals() {
        let recorder = Recorder::new(&Limits { max_results: 3, ..Limits::default() });
        recorder.add_time("fetch", Duration::from_micros(1_234_560));
        assert_eq!(recorder.lines().2[0].message, "Time for running fetch: 1.23456 seconds");
    }
}
