//! Counts the outcomes of calls, by method.

use std::collections::BTreeMap;
use std::time::Duration;

use super::MethodNames;
use crate::error::CallError;
use crate::proto::gather::RawOutcome;

/// The upper bounds of the buckets of [`CallStatistics::buckets`], in seconds.
pub const DURATION_BOUNDS: [f64; 20] = [
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025,
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
];

/// What became of the calls of one method since the fleet began.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CallStatistics {
    /// The method's name.
    pub method: &'static str,
    /// How many calls, of one worker each, had each kind of outcome: `ok`, or the kind of
    /// [`CallError`](crate::CallError) in words, such as `timed_out`.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// How many of those that were answered took how long where they ran: up to each of
    /// [`DURATION_BOUNDS`] and longer than the bound before, and at the end those above all bounds.
    pub buckets: Vec<u64>,
    /// How long these took together.
    pub total: Duration,
}

const KINDS: [&str; 9] = [
    "ok",
    "failed",
    "panicked",
    "timed_out",
    "cancelled",
    "lost",
    "not_sent",
    "too_large",
    "not_decoded",
];

/// Counts for each method that was called.
#[derive(Debug, Default)]
pub(super) struct Tally(BTreeMap<u16, Counts>);

#[derive(Debug, Default)]
struct Counts {
    outcomes: [u64; KINDS.len()],
    buckets: [u64; DURATION_BOUNDS.len() + 1],
    total: Duration,
}

impl Tally {
    pub(super) fn add(&mut self, method: u16, outcome: &RawOutcome) {
        let counts = self.0.entry(method).or_default();
        let kind = match &outcome.result {
            Ok(_) => 0,
            Err(CallError::Failed { .. }) => 1,
            Err(CallError::Panicked { .. }) => 2,
            Err(CallError::TimedOut { .. }) => 3,
            Err(CallError::Cancelled) => 4,
            Err(CallError::Lost { .. }) => 5,
            Err(CallError::NotSent { .. }) => 6,
            Err(CallError::TooLarge { .. }) => 7,
            Err(CallError::Decode { .. }) => 8,
        };
        counts.outcomes[kind] += 1;
        let answered = kind <= 2;
        if answered {
            let seconds = outcome.elapsed.as_secs_f64();
            counts.buckets[DURATION_BOUNDS.partition_point(|bound| *bound < seconds)] += 1;
            counts.total = counts.total.saturating_add(outcome.elapsed);
        }
    }

    pub(super) fn statistics(&self, names: &MethodNames) -> Vec<CallStatistics> {
        let of = |(method, counts): (&u16, &Counts)| CallStatistics {
            method: names.name(*method),
            outcomes: KINDS.into_iter().zip(counts.outcomes).filter(|(_, n)| *n > 0).collect(),
            buckets: counts.buckets.to_vec(),
            total: counts.total,
        };
        self.0.iter().map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn outcomes_are_counted_by_kind_and_durations_by_length() {
        let mut tally = Tally::default();
        let outcome =
            |millis, result| RawOutcome { elapsed: Duration::from_millis(millis), result };
        tally.add(3, &outcome(1, Ok(Bytes::new())));
        tally.add(3, &outcome(2, Ok(Bytes::new())));
        tally.add(3, &outcome(100_000, Ok(Bytes::new())));
        tally.add(3, &outcome(7, Err(CallError::Cancelled)));
        let all = tally.statistics(&MethodNames::new(&[]));
        let [statistics] = &all[..] else { panic!("{all:?}") };
        assert_eq!(statistics.outcomes, BTreeMap::from([("ok", 3), ("cancelled", 1)]));
        assert_eq!((statistics.buckets[6], statistics.buckets[7]), (1, 1));
        assert_eq!((statistics.buckets[20], statistics.buckets.iter().sum::<u64>()), (1, 3));
        assert_eq!(statistics.total, Duration::from_millis(100_003));
    }
}
