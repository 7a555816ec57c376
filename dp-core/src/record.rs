//! What a worker records, and keeps until it is told to drop it.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::id::WorkerId;
use crate::limits::Limits;
use crate::metrics::{Measured, MeasuredMetric};
use crate::sync::lock;

/// A line that a worker recorded.
///
/// `Display` gives `ID<TAB>YYYYMMDD-HHMMSS<TAB>message`, in this machine's local time, and always
/// one line: line ends and other control characters in the message are shown escaped, tabs as they
/// are.
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

impl fmt::Display for ResultLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.time.to_zoned_datetime(TimeZone::system());
        write!(f, "{}\t{}\t", self.worker, time.strftime("%Y%m%d-%H%M%S"))?;
        for c in self.message.chars() {
            match c {
                c if c.is_control() && c != '\t' => write!(f, "{}", c.escape_debug())?,
                c => fmt::Write::write_char(f, c)?,
            }
        }
        Ok(())
    }
}

/// A recorded line as it travels: microseconds since the epoch, and the message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recorded {
    time: i64,
    message: String,
}

impl Recorded {
    pub(crate) fn into_line(self, worker: WorkerId) -> ResultLine {
        // A clock that far off is some worker's own; its line is worth more than its time.
        let time = Timestamp::from_microsecond(self.time).unwrap_or(Timestamp::UNIX_EPOCH);
        ResultLine { worker, time, message: self.message }
    }
}

/// One worker's record.
#[derive(Debug)]
pub(crate) struct Recorder {
    lines: Mutex<Vec<Recorded>>,
    max_lines: usize,
    measured: Mutex<Measured>,
}

impl Recorder {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            lines: Mutex::default(),
            max_lines: limits.max_results.max(1),
            measured: Mutex::new(Measured::new(limits.max_metrics)),
        }
    }

    pub(crate) fn add(&self, message: String) {
        let time = Timestamp::now().as_microsecond();
        let mut lines = lock(&self.lines);
        if lines.len() < self.max_lines {
            lines.push(Recorded { time, message });
        } else if let Some(last) = lines.last_mut() {
            // The last line tells of the bound, so that nobody takes the record for whole.
            let max = self.max_lines;
            last.message = format!("more than {max} results (max_results): the rest was dropped");
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

    pub(crate) fn lines(&self) -> Vec<Recorded> {
        lock(&self.lines).clone()
    }

    pub(crate) fn reset(&self) {
        let lines = std::mem::take(&mut *lock(&self.lines));
        drop(lines);
        lock(&self.measured).reset();
    }
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
        let lines = recorder.lines();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[1].message, "1");
        assert!(lines[2].message.contains("max_results"));
        recorder.reset();
        assert!(recorder.lines().is_empty());
    }

    #[test]
    fn a_time_is_told_in_seconds_with_five_decimals() {
        let recorder = Recorder::new(&Limits { max_results: 3, ..Limits::default() });
        recorder.add_time("fetch", Duration::from_micros(1_234_560));
        assert_eq!(recorder.lines()[0].message, "Time for running fetch: 1.23456 seconds");
    }
}
