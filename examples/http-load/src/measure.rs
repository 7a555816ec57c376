//! What is measured: each latency in a histogram that merges exactly, each error by its kind.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The longest latency that is told apart from longer ones: one hour, in nanoseconds.
const LONGEST_NANOS: u64 = 3_600_000_000_000;
/// Latencies keep three significant digits.
const DIGITS: u8 = 3;

/// What one worker measured, or all of them together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    #[serde(with = "v2")]
    latency_nanos: Histogram<u64>,
    requests: u64,
    errors: BTreeMap<String, u64>,
    received_bytes: u64,
    elapsed: Duration,
}

impl Default for Measured {
    fn default() -> Self {
        let latency_nanos = Histogram::new_with_bounds(1, LONGEST_NANOS, DIGITS)
            .expect("the bounds are constants in the range that it takes");
        Self {
            latency_nanos,
            requests: 0,
            errors: BTreeMap::new(),
            received_bytes: 0,
            elapsed: Duration::ZERO,
        }
    }
}

impl Measured {
    /// A request was answered completely, with whatever status.
    pub fn response(&mut self, latency: Duration, body_bytes: u64) {
        self.requests += 1;
        self.received_bytes += body_bytes;
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.latency_nanos.saturating_record(nanos);
    }

    /// A request was not answered.
    pub fn failure(&mut self, kind: &str) {
        self.requests += 1;
        self.error(kind);
    }

    /// An answer was one that counts as an error.
    pub fn error(&mut self, kind: &str) {
        match self.errors.get_mut(kind) {
            Some(count) => *count += 1,
            None => drop(self.errors.insert(kind.to_owned(), 1)),
        }
    }

    /// All of it took so long.
    pub fn took(&mut self, elapsed: Duration) {
        self.elapsed = elapsed;
    }

    /// Adds what another worker measured at the same time. Exact: as if one had measured it all.
    pub fn merge(&mut self, other: &Self) {
        self.latency_nanos
            .add(&other.latency_nanos)
            .expect("a histogram of the same bounds holds every value of the other");
        self.requests += other.requests;
        for (kind, count) in &other.errors {
            *self.errors.entry(kind.clone()).or_default() += count;
        }
        self.received_bytes += other.received_bytes;
        self.elapsed = self.elapsed.max(other.elapsed);
    }

    /// How many requests were sent, or tried.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// How many were answered completely, with whatever status.
    pub fn responses(&self) -> u64 {
        self.latency_nanos.len()
    }

    /// How many ended in an error.
    pub fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }

    /// How many ended in an error of which kind.
    pub fn errors(&self) -> &BTreeMap<String, u64> {
        &self.errors
    }

    /// The bytes of all bodies received.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// From the first request's start to the last one's end; of several workers, the longest.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// Complete answers for each second.
    pub fn throughput_hz(&self) -> f64 {
        self.responses() as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// The latency that so many percent of the answers did not exceed; `None` without an answer.
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        let nanos = self.latency_nanos.value_at_percentile(percent);
        (self.responses() > 0).then(|| Duration::from_nanos(nanos))
    }

    /// The longest latency; `None` without an answer.
    pub fn longest(&self) -> Option<Duration> {
        (self.responses() > 0).then(|| Duration::from_nanos(self.latency_nanos.max()))
    }
}

/// A histogram as one block of bytes, in HdrHistogram's V2 format: a few hundred bytes instead of the
/// quarter of a megabyte that it takes in memory.
mod v2 {
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::{Deserializer as Decoder, Serializer as _, V2Serializer};
    use serde::{Deserializer, Serializer, de, ser};
    use serde_bytes::ByteBuf;

    pub(super) fn serialize<S: Serializer>(
        histogram: &Histogram<u64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut block = Vec::new();
        V2Serializer::new()
            .serialize(histogram, &mut block)
            .map_err(|error| ser::Error::custom(format_args!("histogram: {error:?}")))?;
        serde_bytes::serialize(&block, serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Histogram<u64>, D::Error> {
        let block: ByteBuf = serde_bytes::deserialize(deserializer)?;
        let histogram = Decoder::new()
            .deserialize(&mut block.as_slice())
            .map_err(|error| de::Error::custom(format_args!("histogram: {error:?}")))?;
        // Merging relies on it.
        if histogram.high() != super::LONGEST_NANOS || histogram.sigfig() != super::DIGITS {
            return Err(de::Error::custom("histogram: of other bounds than this program's"));
        }
        Ok(histogram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_percentiles_are_those_of_the_union() {
        let (mut fast, mut slow, mut both) =
            (Measured::default(), Measured::default(), Measured::default());
        for micros in 1..=900 {
            fast.response(Duration::from_micros(micros), 1);
            both.response(Duration::from_micros(micros), 1);
        }
        for millis in 1..=100 {
            slow.response(Duration::from_millis(millis), 1);
            both.response(Duration::from_millis(millis), 1);
        }
        fast.merge(&slow);
        assert_eq!(fast.latency_nanos, both.latency_nanos);
        assert_eq!(fast.percentile(99.0), both.percentile(99.0));
        assert_eq!(fast.responses(), 1_000);
    }

    #[test]
    fn it_survives_the_wire_in_few_bytes() {
        let mut measured = Measured::default();
        for micros in 0..10_000 {
            measured.response(Duration::from_micros(100 + micros % 50), 10);
        }
        measured.failure("connect: Connection refused");
        let text = serde_json::to_string(&measured).unwrap();
        assert!(text.len() < 4_000, "{} bytes", text.len());
        let back: Measured = serde_json::from_str(&text).unwrap();
        assert_eq!(back.latency_nanos, measured.latency_nanos);
        assert_eq!(back.errors(), measured.errors());
        assert_eq!(back.requests(), 10_001);
    }

    #[test]
    fn a_histogram_of_other_bounds_is_refused() {
        let latency_nanos = Histogram::new_with_bounds(1, 1_000, 2).unwrap();
        let measured = Measured { latency_nanos, ..Measured::default() };
        let text = serde_json::to_string(&measured).unwrap();
        assert!(serde_json::from_str::<Measured>(&text).is_err());
    }

    #[test]
    fn an_error_answer_counts_once_as_a_request() {
        let mut measured = Measured::default();
        measured.response(Duration::from_millis(1), 5);
        measured.error("HTTP 404 Not Found");
        measured.failure("timed out");
        assert_eq!((measured.requests(), measured.responses(), measured.error_count()), (2, 1, 2));
    }

    #[test]
    fn nothing_measured_has_no_percentiles() {
        let nothing = Measured::default();
        assert_eq!(nothing.percentile(50.0), None);
        assert_eq!(nothing.longest(), None);
        assert_eq!(nothing.throughput_hz(), 0.0);
    }
}
