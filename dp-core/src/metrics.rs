//! Durations that workers measure, merged exactly over all of them: [`Metric`].

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Histograms go from 1 µs to 1 h, in microseconds; what is shorter or longer counts as that.
const LOWEST: u64 = 1;
const HIGHEST: u64 = 3_600_000_000;

/// Significant digits: values that differ by less than a thousandth share a bucket.
const DIGITS: u8 = 3;

/// Grows with what is recorded: most metrics never see an hour.
fn histogram() -> Histogram<u64> {
    // The number of digits is one that the crate accepts.
    Histogram::new(DIGITS).expect("the number of digits is valid")
}

/// What the workers have [recorded](crate::Context::record) of one metric, all of them together.
///
/// The histograms of the workers are merged bucket by bucket, so that percentiles are those of all
/// recorded durations, not an average of percentiles. Durations are exact to three significant
/// digits, from 1 µs to 1 h; what is shorter or longer counts as that.
#[derive(Clone, PartialEq)]
pub struct Metric {
    name: String,
    histogram: Histogram<u64>,
    rate: f64,
}

impl Metric {
    /// The metric's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many durations were recorded.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The shortest.
    pub fn min(&self) -> Duration {
        Duration::from_micros(self.histogram.min())
    }

    /// The mean.
    pub fn mean(&self) -> Duration {
        Duration::from_nanos((self.histogram.mean() * 1_000.0) as u64)
    }

    /// The duration that `percent` percent do not exceed: 50 for the median.
    pub fn percentile(&self, percent: f64) -> Duration {
        // Down to the number below: 99.9 / 100 is a little above 0.999 in binary, which of 1,000
        // values would be the 1,000th instead of the 999th.
        let quantile = (percent / 100.0).next_down();
        Duration::from_micros(self.histogram.value_at_quantile(quantile))
    }

    /// The longest.
    pub fn max(&self) -> Duration {
        Duration::from_micros(self.histogram.max())
    }

    /// Recorded durations per second, summed over the workers: for each, how many it recorded,
    /// over the time from the begin of its first to the end of its last.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// How many durations there are of each length, shortest first: pairs of length and count.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        let buckets = self.histogram.iter_recorded();
        buckets.map(|b| (Duration::from_micros(b.value_iterated_to()), b.count_at_value()))
    }
}

impl fmt::Debug for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metric")
            .field("name", &self.name)
            .field("count", &self.count())
            .field("p50", &self.percentile(50.0))
            .field("max", &self.max())
            .finish_non_exhaustive()
    }
}

/// One worker's measurements.
#[derive(Debug)]
pub(crate) struct Measured {
    by_name: BTreeMap<String, Measurement>,
    max_metrics: usize,
    full: bool,
}

#[derive(Debug)]
struct Measurement {
    histogram: Histogram<u64>,
    /// When the first began, and when the last ended.
    began: Instant,
    ended: Instant,
}

/// A measurement as it travels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct MeasuredMetric {
    name: String,
    /// Microseconds and how often, as differences to the one before: they are short then.
    buckets: Vec<(u64, u64)>,
    /// From the begin of the first to the end of the last, in nanoseconds.
    span: u64,
}

impl Measured {
    pub(crate) fn new(max_metrics: usize) -> Self {
        Self { by_name: BTreeMap::new(), max_metrics: max_metrics.max(1), full: false }
    }

    /// Adds a duration that ends now. `false`, once, when there is a metric too many.
    pub(crate) fn add(&mut self, metric: &str, duration: Duration) -> bool {
        let now = Instant::now();
        let began = now.checked_sub(duration).unwrap_or(now);
        if !self.by_name.contains_key(metric) {
            if self.by_name.len() >= self.max_metrics {
                // Told once: `false` the first time, `true` after it.
                return std::mem::replace(&mut self.full, true);
            }
            let measurement = Measurement { histogram: histogram(), began, ended: now };
            self.by_name.insert(metric.to_owned(), measurement);
        }
        if let Some(measurement) = self.by_name.get_mut(metric) {
            let micros = u64::try_from(duration.as_micros()).unwrap_or(HIGHEST);
            // It grows as needed, up to the bound that values are kept to: it can't fail.
            let _ = measurement.histogram.record(micros.clamp(LOWEST, HIGHEST));
            measurement.began = measurement.began.min(began);
            measurement.ended = now;
        }
        true
    }

    pub(crate) fn to_wire(&self) -> Vec<MeasuredMetric> {
        let metric = |(name, measurement): (&String, &Measurement)| {
            let mut last = 0;
            let buckets = measurement.histogram.iter_recorded().map(|bucket| {
                let value = bucket.value_iterated_to();
                let difference = value - std::mem::replace(&mut last, value);
                (difference, bucket.count_at_value())
            });
            let span = measurement.ended.duration_since(measurement.began);
            MeasuredMetric {
                name: name.clone(),
                buckets: buckets.collect(),
                span: u64::try_from(span.as_nanos()).unwrap_or(u64::MAX),
            }
        };
        self.by_name.iter().map(metric).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    pub(crate) fn reset(&mut self) {
        self.by_name.clear();
        self.full = false;
    }
}

/// Merges what the workers have measured, by the names of the metrics.
///
/// Of each worker, `max_metrics` count: it should not have sent more.
pub(crate) fn merge(
    workers: impl IntoIterator<Item = Vec<MeasuredMetric>>,
    max_metrics: usize,
) -> Vec<Metric> {
    let mut merged: BTreeMap<String, Metric> = BTreeMap::new();
    for measured in workers.into_iter().flat_map(|of_one| of_one.into_iter().take(max_metrics)) {
        let MeasuredMetric { name, buckets, span } = measured;
        let metric = merged.entry(name.clone()).or_insert_with(|| Metric {
            name,
            histogram: histogram(),
            rate: 0.0,
        });
        let (mut value, mut count) = (0_u64, 0_u64);
        for (difference, times) in buckets {
            // A peer's numbers: whatever they are, they land within the bounds.
            value = value.saturating_add(difference);
            count = count.saturating_add(times);
            let _ = metric.histogram.record_n(value.clamp(LOWEST, HIGHEST), times);
        }
        let seconds = Duration::from_nanos(span).as_secs_f64();
        if seconds > 0.0 {
            metric.rate += count as f64 / seconds;
        }
    }
    merged.into_values().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_metric_tells_count_extremes_and_percentiles() {
        let mut measured = Measured::new(10);
        for millis in 1..=1_000 {
            measured.add("fetch", Duration::from_millis(millis));
        }
        let [metric] = &merge([measured.to_wire()], 10)[..] else { panic!("one metric") };
        assert_eq!((metric.name(), metric.count()), ("fetch", 1_000));
        let near = |value: Duration, millis: f64| {
            let off = (value.as_secs_f64() * 1_000.0 - millis).abs() / millis;
            assert!(off < 0.001, "{value:?} is not {millis} ms");
        };
        near(metric.min(), 1.0);
        near(metric.percentile(50.0), 500.0);
        near(metric.percentile(99.9), 999.0);
        near(metric.max(), 1_000.0);
        near(metric.mean(), 500.5);
        assert!(metric.rate() > 900.0, "{}", metric.rate());
    }

    #[test]
    fn what_is_out_of_bounds_counts_as_the_bound() {
        let mut measured = Measured::new(10);
        measured.add("m", Duration::ZERO);
        measured.add("m", Duration::from_secs(100_000));
        let metric = &merge([measured.to_wire()], 10)[0];
        assert_eq!(metric.count(), 2);
        assert_eq!(metric.min(), Duration::from_micros(1));
        assert!(metric.max() >= Duration::from_secs(3_600));
    }

    #[test]
    fn a_metric_too_many_is_told_once() {
        let mut measured = Measured::new(1);
        assert!(measured.add("one", Duration::from_secs(1)));
        assert!(!measured.add("two", Duration::from_secs(1)));
        assert!(measured.add("two", Duration::from_secs(1)));
        assert_eq!(measured.to_wire().len(), 1);
    }

    proptest! {
        /// The percentiles that are printed are those of the union.
        #[test]
        fn merging_is_exact(workers in prop::collection::vec(
            prop::collection::vec(0_u64..4_000_000_000, 0..50), 1..8,
        )) {
            let mut union = Measured::new(1);
            let mut each = Vec::new();
            for durations in &workers {
                let mut measured = Measured::new(1);
                for micros in durations {
                    measured.add("m", Duration::from_micros(*micros));
                    union.add("m", Duration::from_micros(*micros));
                }
                each.push(measured.to_wire());
            }
            let merged = merge(each, 10);
            match (&merged[..], union.by_name.get("m")) {
                ([], None) => {}
                ([merged], Some(union)) => prop_assert_eq!(&merged.histogram, &union.histogram),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
