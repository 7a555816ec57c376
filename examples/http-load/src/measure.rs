//! What is counted beside the latencies, which the library keeps and merges.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What one worker counted, or all of them together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    requests: u64,
    responses: u64,
    errors: BTreeMap<String, u64>,
    received_bytes: u64,
    elapsed: Duration,
}

impl Measured {
    /// A request was answered completely, with whatever status.
    pub fn response(&mut self, body_bytes: u64) {
        self.requests += 1;
        self.responses += 1;
        self.received_bytes += body_bytes;
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

    /// Adds what another worker counted at the same time.
    pub fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.responses += other.responses;
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
        self.responses
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
        self.responses as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_answer_counts_once_as_a_request() {
        let mut measured = Measured::default();
        measured.response(5);
        measured.error("HTTP 404 Not Found");
        measured.failure("timed out");
        assert_eq!((measured.requests(), measured.responses(), measured.error_count()), (2, 1, 2));
    }

    #[test]
    fn several_workers_count_as_one() {
        let (mut one, mut other) = (Measured::default(), Measured::default());
        one.response(5);
        one.failure("timed out");
        one.took(Duration::from_secs(2));
        other.failure("timed out");
        other.took(Duration::from_secs(1));
        one.merge(&other);
        assert_eq!((one.requests(), one.responses(), one.errors()["timed out"]), (3, 1, 2));
        assert_eq!(one.throughput_hz(), 0.5);
        assert_eq!(Measured::default().throughput_hz(), 0.0);
    }
}
