//! How many durations there are of each length: [`Buckets`].

use std::time::Duration;

/// The shortest and the longest duration that is told apart, in microseconds: 1 µs and 292,471 years.
pub(crate) const LOWEST: u64 = 1;
pub(crate) const HIGHEST: u64 = i64::MAX as u64;

/// Values below 2 to this power have a bucket each; greater ones keep so many bits.
const BITS: u32 = 11;

/// Counts of durations by length, exact to three significant digits.
///
/// The buckets are those of an HDR histogram from 1 µs. Only those that are not empty take memory, so
/// that what a peer sends takes a small multiple of its bytes. Counts saturate and never overflow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Buckets {
    /// The longest duration of each bucket, in microseconds, ascending, and how many there are.
    counts: Vec<(u64, u64)>,
}

impl Buckets {
    /// Adds counts, by duration in microseconds, ascending.
    pub(crate) fn add(&mut self, values: impl IntoIterator<Item = (u64, u64)>) {
        let mut added: Vec<(u64, u64)> = Vec::new();
        for (value, count) in values.into_iter().filter(|(_, count)| *count > 0) {
            let value = longest_like(value.clamp(LOWEST, HIGHEST));
            match added.last_mut() {
                Some((last, sum)) if *last == value => *sum = sum.saturating_add(count),
                _ => added.push((value, count)),
            }
        }
        // As a rule most of the buckets are there already: then nothing has to be moved.
        added.retain(|(value, count)| match self.find(*value) {
            Ok(at) => {
                self.counts[at].1 = self.counts[at].1.saturating_add(*count);
                false
            }
            Err(_) => true,
        });
        if !added.is_empty() {
            self.counts.extend(added);
            self.counts.sort_unstable_by_key(|(value, _)| *value);
        }
    }

    /// What there is more than in `before`. `None` if `before` has more of any length: then it is not
    /// an earlier state of the same durations.
    pub fn since(&self, before: &Self) -> Option<Self> {
        let mut counts = self.counts.clone();
        for (value, count) in &before.counts {
            let at = self.find(*value).ok()?;
            counts[at].1 = counts[at].1.checked_sub(*count)?;
        }
        counts.retain(|(_, count)| *count > 0);
        Some(Self { counts })
    }

    fn find(&self, value: u64) -> Result<usize, usize> {
        self.counts.binary_search_by_key(&value, |(value, _)| *value)
    }

    /// How many durations there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// The shortest; zero where there is none.
    pub fn min(&self) -> Duration {
        let shortest = self.counts.first().map_or(0, |(value, _)| value - width(*value));
        Duration::from_micros(shortest)
    }

    /// The longest; zero where there is none.
    pub fn max(&self) -> Duration {
        Duration::from_micros(self.counts.last().map_or(0, |(value, _)| *value))
    }

    /// The mean; zero where there is none.
    pub fn mean(&self) -> Duration {
        let (mut sum, mut all) = (0_u128, 0_u128);
        for (value, count) in &self.counts {
            // The middle of the bucket stands for what is in it.
            let middle = value - width(*value) / 2;
            sum = sum.saturating_add(u128::from(middle) * u128::from(*count));
            all += u128::from(*count);
        }
        let Some(nanos) = sum.saturating_mul(1_000).checked_div(all) else { return Duration::ZERO };
        let seconds = u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX);
        Duration::new(seconds, (nanos % 1_000_000_000) as u32)
    }

    /// The duration that `percent` percent do not exceed: 50 for the median, zero where there is none.
    pub fn percentile(&self, percent: f64) -> Duration {
        if percent <= 0.0 {
            return self.min();
        }
        let all: u128 = self.counts.iter().map(|(_, count)| u128::from(*count)).sum();
        // Down to the number below: 99.9 / 100 is a little above 0.999 in binary, which of 1,000
        // values would be the 1,000th instead of the 999th.
        let wanted = ((percent / 100.0).next_down() * all as f64).ceil() as u128;
        let mut passed = 0;
        for (value, count) in &self.counts {
            passed += u128::from(*count);
            if passed >= wanted {
                return Duration::from_micros(*value);
            }
        }
        self.max()
    }

    /// The longest duration of each bucket, and how many there are in it, shortest first.
    pub fn iter(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        self.counts.iter().map(|(value, count)| (Duration::from_micros(*value), *count))
    }
}

/// The longest value of the bucket that this one is in.
fn longest_like(value: u64) -> u64 {
    value | width(value)
}

/// By how much the longest value of a bucket exceeds the shortest.
fn width(value: u64) -> u64 {
    let bits = u64::BITS - value.leading_zeros();
    (1 << bits.saturating_sub(BITS)) - 1
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[u64]) -> Buckets {
        let mut buckets = Buckets::default();
        values.iter().for_each(|value| buckets.add([(*value, 1)]));
        buckets
    }

    #[test]
    fn counts_saturate_and_never_overflow() {
        let mut buckets = Buckets::default();
        buckets.add([(5, u64::MAX), (6, u64::MAX)]);
        buckets.add([(5, u64::MAX), (7, 1), (u64::MAX, u64::MAX)]);
        assert_eq!(buckets.count(), u64::MAX);
        assert_eq!(buckets.percentile(10.0), Duration::from_micros(5));
        assert_eq!(buckets.max(), Duration::from_micros(HIGHEST));
        assert!(buckets.mean() > Duration::from_secs(1));
    }

    #[test]
    fn nothing_has_no_percentiles_and_divides_by_nothing() {
        let none = Buckets::default();
        assert_eq!((none.count(), none.mean(), none.max()), (0, Duration::ZERO, Duration::ZERO));
        assert_eq!((none.min(), none.percentile(99.0)), (Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn what_is_not_an_earlier_state_gives_no_difference() {
        assert_eq!(of(&[1, 2, 2]).since(&of(&[2])), Some(of(&[1, 2])));
        assert_eq!(of(&[1, 2]).since(&of(&[2, 2])), None);
        assert_eq!(of(&[1, 2]).since(&of(&[3])), None);
    }

    proptest! {
        /// The buckets, and what is read off them, are those of an HDR histogram.
        #[test]
        fn the_buckets_are_those_of_an_hdr_histogram(
            values in prop::collection::vec((0_u32..63, any::<u64>()), 1..60),
            percent in 0.1_f64..100.0,
        ) {
            let values: Vec<u64> = values.iter().map(|(bits, value)| (value >> bits).clamp(LOWEST, HIGHEST)).collect();
            let mut histogram = Histogram::<u64>::new(3).unwrap();
            values.iter().for_each(|value| histogram.record(*value).unwrap());
            let buckets = of(&values);
            let expected = histogram.iter_recorded().map(|bucket| (bucket.value_iterated_to(), bucket.count_at_value()));
            prop_assert_eq!(&buckets.counts, &expected.collect::<Vec<_>>());
            prop_assert_eq!(buckets.min(), Duration::from_micros(histogram.min()));
            prop_assert_eq!(buckets.max(), Duration::from_micros(histogram.max()));
            let quantile = (percent / 100.0).next_down();
            prop_assert_eq!(buckets.percentile(percent), Duration::from_micros(histogram.value_at_quantile(quantile)));
        }

        /// Whatever was recorded, a higher percentile is no shorter, and all are within the extremes.
        #[test]
        fn percentiles_are_monotone(
            before in prop::collection::vec((any::<u64>(), any::<u64>()), 0..20),
            after in prop::collection::vec((any::<u64>(), any::<u64>()), 0..20),
        ) {
            let mut buckets = Buckets::default();
            before.iter().for_each(|value| buckets.add([*value]));
            let earlier = buckets.clone();
            after.iter().for_each(|value| buckets.add([*value]));
            for buckets in [Some(buckets.clone()), buckets.since(&earlier)].into_iter().flatten() {
                let shown = [0.0, 50.0, 90.0, 95.0, 99.0, 99.9, 100.0].map(|p| buckets.percentile(p));
                prop_assert!(shown.is_sorted(), "{:?}", shown);
                prop_assert_eq!((shown[0], shown[6]), (buckets.min(), buckets.max()));
            }
        }
    }
}
