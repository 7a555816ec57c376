//! Durations that workers measure, merged exactly over all of them: [`Metric`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::buckets::{Buckets, HIGHEST, LOWEST};
use crate::codec::Decoder;

/// Significant digits: values that differ by less than a thousandth share a bucket.
const DIGITS: u8 = 3;

/// The longest name of a metric, in bytes.
const MAX_NAME: usize = 256;

/// The most durations of one metric of one worker: nobody measures more, and every number up to here
/// is exact in JSON.
const MAX_COUNT: u64 = 1 << 53;

/// Grows with what is recorded: most metrics never see an hour.
fn histogram() -> Histogram<u64> {
    // The number of digits is one that the crate accepts.
    Histogram::new(DIGITS).expect("the number of digits is valid")
}

/// What the workers have [recorded](crate::Context::record) of one metric, all of them together.
///
/// The histograms of the workers are merged bucket by bucket, so that percentiles are those of all
/// recorded durations, not an average of percentiles. Durations are exact to three significant
/// digits, from 1 µs to 292,471 years; what is shorter or longer counts as that.
#[derive(Clone, PartialEq)]
pub struct Metric {
    name: String,
    buckets: Buckets,
    span: Duration,
}

impl Metric {
    /// The metric's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many durations were recorded.
    pub fn count(&self) -> u64 {
        self.buckets.count()
    }

    /// The shortest.
    pub fn min(&self) -> Duration {
        self.buckets.min()
    }

    /// The mean.
    pub fn mean(&self) -> Duration {
        self.buckets.mean()
    }

    /// The duration that `percent` percent do not exceed: 50 for the median.
    pub fn percentile(&self, percent: f64) -> Duration {
        self.buckets.percentile(percent)
    }

    /// The longest.
    pub fn max(&self) -> Duration {
        self.buckets.max()
    }

    /// The time from the begin of the first duration to the end of the last, over all workers.
    ///
    /// A duration begins its own length before it is recorded. The workers' clocks need not agree:
    /// each worker says how long ago its first duration began and its last one ended. The network adds
    /// an error of the time that an answer is on its way.
    pub fn span(&self) -> Duration {
        self.span
    }

    /// Recorded durations per second: [`count`](Self::count) over [`span`](Self::span). It is 0 if no
    /// time passed in the span.
    pub fn rate(&self) -> f64 {
        let seconds = self.span.as_secs_f64();
        if seconds > 0.0 { self.count() as f64 / seconds } else { 0.0 }
    }

    /// How many durations there are of each length, shortest first: pairs of length and count.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        self.buckets.iter()
    }

    pub(crate) fn counts(&self) -> &Buckets {
        &self.buckets
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
    /// What times are counted from.
    origin: Instant,
    max_metrics: usize,
    full: bool,
    long_name: bool,
}

#[derive(Debug)]
struct Measurement {
    histogram: Histogram<u64>,
    /// When the first began, and when the last ended: nanoseconds from the origin.
    began: i128,
    ended: i128,
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

/// How long ago a metric's first duration began, and its last one ended, in nanoseconds.
pub(crate) type Ages = (u64, u64);

impl Measured {
    pub(crate) fn new(max_metrics: usize) -> Self {
        Self {
            by_name: BTreeMap::new(),
            origin: Instant::now(),
            max_metrics: max_metrics.max(1),
            full: false,
            long_name: false,
        }
    }

    /// Adds a duration that ends now.
    ///
    /// # Errors
    /// Says why it, and others like it, are dropped: once for each reason.
    pub(crate) fn add(&mut self, metric: &str, duration: Duration) -> Result<(), String> {
        let ended = self.now();
        let began = ended - duration.as_nanos().cast_signed();
        if metric.len() > MAX_NAME {
            return once(&mut self.long_name, || long_name(metric));
        }
        if !self.by_name.contains_key(metric) {
            if self.by_name.len() >= self.max_metrics {
                return once(&mut self.full, || {
                    format!("too many metrics (max_metrics): `{metric}` and others are dropped")
                });
            }
            let measurement = Measurement { histogram: histogram(), began, ended };
            self.by_name.insert(metric.to_owned(), measurement);
        }
        if let Some(measurement) = self.by_name.get_mut(metric) {
            let micros = u64::try_from(duration.as_micros()).unwrap_or(HIGHEST);
            // It grows as needed, up to the bound that values are kept to: it can't fail.
            let _ = measurement.histogram.record(micros.clamp(LOWEST, HIGHEST));
            measurement.began = measurement.began.min(began);
            measurement.ended = ended;
        }
        Ok(())
    }

    fn now(&self) -> i128 {
        self.origin.elapsed().as_nanos().cast_signed()
    }

    pub(crate) fn to_wire(&self) -> Vec<MeasuredMetric> {
        let metric = |(name, measurement): (&String, &Measurement)| {
            let mut last = 0;
            let buckets = measurement.histogram.iter_recorded().map(|bucket| {
                let value = bucket.value_iterated_to();
                let difference = value - std::mem::replace(&mut last, value);
                (difference, bucket.count_at_value())
            });
            MeasuredMetric {
                name: name.clone(),
                buckets: buckets.collect(),
                span: nanos(measurement.ended - measurement.began),
            }
        };
        self.by_name.iter().map(metric).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The ages at this moment, in the order of [`to_wire`](Self::to_wire).
    pub(crate) fn ages(&self) -> Vec<Ages> {
        let now = self.now();
        let ages = |of: &Measurement| (nanos(now - of.began), nanos(now - of.ended));
        self.by_name.values().map(ages).collect()
    }

    pub(crate) fn reset(&mut self) {
        self.by_name.clear();
        (self.full, self.long_name) = (false, false);
    }
}

/// `Err` the first time.
fn once(said: &mut bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if std::mem::replace(said, true) { Ok(()) } else { Err(why()) }
}

fn long_name(name: &str) -> String {
    let begin: String = name.chars().take(32).collect();
    let length = name.len();
    format!(
        "the name of a metric has {length} bytes, which is more than {MAX_NAME}: `{begin}…` and \
         others are dropped"
    )
}

fn nanos(nanos: i128) -> u64 {
    u64::try_from(nanos.max(0)).unwrap_or(u64::MAX)
}

/// What one worker has measured, as it was sent and found sound.
#[derive(Debug, Clone)]
pub(crate) struct WorkerMetrics {
    metrics: Vec<MeasuredMetric>,
    /// Empty where the worker does not tell.
    ages: Vec<Ages>,
}

impl WorkerMetrics {
    /// # Errors
    /// Says what no honest worker sends. Of each worker, `max_metrics` are taken.
    pub(crate) fn decode(answer: Bytes, max_metrics: usize) -> Result<Self, String> {
        let mut decoder = Decoder::new(answer);
        let metrics: Vec<MeasuredMetric> = decoder.take()?;
        let ages = if decoder.is_empty() { Vec::new() } else { decoder.take()? };
        decoder.end()?;
        Self::new(metrics, ages, max_metrics)
    }

    /// # Errors
    /// Those of [`decode`](Self::decode).
    pub(crate) fn new(
        metrics: Vec<MeasuredMetric>,
        ages: Vec<Ages>,
        max_metrics: usize,
    ) -> Result<Self, String> {
        let count = metrics.len();
        if count > max_metrics {
            return Err(format!("{count} metrics are more than {max_metrics} (max_metrics)"));
        }
        if !ages.is_empty() && ages.len() != count {
            return Err(format!("{} ages do not belong to {count} metrics", ages.len()));
        }
        let mut names = BTreeSet::new();
        for metric in &metrics {
            let length = metric.name.len();
            if length > MAX_NAME {
                return Err(format!("the name of a metric has {length} bytes of {MAX_NAME}"));
            }
            if !names.insert(&metric.name) {
                return Err("a metric is there twice".to_owned());
            }
            let mut counts = metric.buckets.iter().map(|(_, count)| *count);
            let count = counts.try_fold(0_u64, u64::checked_add);
            if count.is_none_or(|count| count > MAX_COUNT) {
                return Err(format!("a metric has more than {MAX_COUNT} durations"));
            }
        }
        Ok(Self { metrics, ages })
    }
}

/// Merges what workers have measured, by the names of the metrics.
#[derive(Debug)]
pub(crate) struct Merging {
    by_name: BTreeMap<String, Merged>,
    /// What times are counted from.
    origin: Instant,
}

#[derive(Debug, Default)]
struct Merged {
    buckets: Buckets,
    /// When the first began, and when the last ended: nanoseconds from the origin.
    time: Option<(i128, i128)>,
}

impl Merging {
    pub(crate) fn new() -> Self {
        Self { by_name: BTreeMap::new(), origin: Instant::now() }
    }

    /// Adds what a worker told at the moment `at`, by the clock of this process. That moment is what
    /// puts the times of all workers on one axis.
    pub(crate) fn add(&mut self, at: Instant, worker: WorkerMetrics) {
        let at = match at.checked_duration_since(self.origin) {
            Some(after) => after.as_nanos().cast_signed(),
            None => -self.origin.duration_since(at).as_nanos().cast_signed(),
        };
        let WorkerMetrics { metrics, ages } = worker;
        let mut ages = ages.into_iter();
        for MeasuredMetric { name, buckets, span } in metrics {
            if buckets.iter().all(|(_, count)| *count == 0) {
                ages.next();
                continue;
            }
            // One that does not tell its ages is taken to have ended just now.
            let (began, ended) = ages.next().unwrap_or((span, 0));
            let ended = at - i128::from(ended);
            let began = (at - i128::from(began)).min(ended);
            let merged = self.by_name.entry(name).or_default();
            let mut value = 0_u64;
            merged.buckets.add(buckets.into_iter().map(|(difference, times)| {
                value = value.saturating_add(difference);
                (value, times)
            }));
            let (first, last) = merged.time.unwrap_or((began, ended));
            merged.time = Some((first.min(began), last.max(ended)));
        }
    }

    pub(crate) fn finish(self) -> Vec<Metric> {
        let metric = |(name, Merged { buckets, time }): (String, Merged)| {
            let (began, ended) = time.unwrap_or_default();
            Metric { name, buckets, span: Duration::from_nanos(nanos(ended - began)) }
        };
        self.by_name.into_iter().map(metric).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec;

    fn merged(workers: &[&Measured]) -> Vec<Metric> {
        let mut merging = Merging::new();
        for measured in workers {
            let answer = codec::encoded((measured.to_wire(), measured.ages())).unwrap();
            let worker = WorkerMetrics::decode(answer.into_bytes(), 10).unwrap();
            merging.add(Instant::now(), worker);
        }
        merging.finish()
    }

    fn told(name: &str, buckets: &[(u64, u64)], span: u64) -> MeasuredMetric {
        MeasuredMetric { name: name.to_owned(), buckets: buckets.to_vec(), span }
    }

    /// A metric of workers that each told, at this second, so many durations and their ages.
    fn rate_of(workers: &[(u64, u64, f64, Option<f64>)]) -> f64 {
        const SECOND: f64 = 1e9;
        let mut merging = Merging::new();
        let origin = merging.origin;
        for (at, count, began, ended) in workers {
            let span = (began - ended.unwrap_or(0.0)) * SECOND;
            let ages = ended.map(|ended| ((began * SECOND) as u64, (ended * SECOND) as u64));
            let metrics = vec![told("m", &[(1_000, *count)], span as u64)];
            let worker = WorkerMetrics::new(metrics, ages.into_iter().collect(), 10).unwrap();
            merging.add(origin + Duration::from_secs(*at), worker);
        }
        merging.finish()[0].rate()
    }

    #[test]
    fn a_metric_tells_count_extremes_and_percentiles() {
        let mut measured = Measured::new(10);
        for millis in 1..=1_000 {
            measured.add("fetch", Duration::from_millis(millis)).unwrap();
        }
        let [metric] = &merged(&[&measured])[..] else { panic!("one metric") };
        assert_eq!((metric.name(), metric.count()), ("fetch", 1_000));
        let near = |value: Duration, millis: f64| {
            let off = (value.as_secs_f64() * 1_000.0 - millis).abs() / millis;
            assert!(off < 0.001, "{value:?} is not {millis} ms");
        };
        near(metric.min(), 1.0);
        near(metric.percentile(50.0), 500.0);
        near(metric.percentile(95.0), 950.0);
        near(metric.percentile(99.9), 999.0);
        near(metric.max(), 1_000.0);
        near(metric.mean(), 500.5);
        // It began a second before all of that was recorded.
        assert!(metric.span() >= Duration::from_secs(1), "{:?}", metric.span());
    }

    #[test]
    fn the_rate_is_the_count_over_the_time_of_all_workers_together() {
        // One event each, all within a second, told ten seconds later.
        let four = [10.99, 10.66, 10.33, 10.01].map(|began| (20, 1, began, Some(began - 0.01)));
        assert!((rate_of(&four) - 4.0).abs() < 0.1, "{}", rate_of(&four));
        // One after another.
        let ramp = [(0, 20, 4.2, Some(3.2)), (0, 20, 3.2, Some(2.1)), (0, 40, 2.1, Some(0.0))];
        assert!((rate_of(&ramp) - 80.0 / 4.2).abs() < 0.01, "{}", rate_of(&ramp));
        // Answers that came at different moments tell of one and the same second.
        let late = [(2, 2, 2.0, Some(1.0)), (5, 2, 5.0, Some(4.0))];
        assert!((rate_of(&late) - 4.0).abs() < 0.01, "{}", rate_of(&late));
    }

    #[test]
    fn a_worker_that_tells_no_ages_is_taken_to_have_ended_just_now() {
        let workers = [(1, 10, 2.0, None), (1, 10, 5.0, None)];
        assert!((rate_of(&workers) - 4.0).abs() < 0.01, "{}", rate_of(&workers));
        let answer = codec::encoded(vec![told("m", &[(1, 1)], 7)]).unwrap().into_bytes();
        assert_eq!(WorkerMetrics::decode(answer, 10).unwrap().metrics.len(), 1);
    }

    #[test]
    fn days_are_measured_as_what_they_are() {
        let mut measured = Measured::new(10);
        for hours in [2, 3, 1_000] {
            measured.add("m", Duration::from_secs(hours * 3_600)).unwrap();
        }
        measured.add("short", Duration::ZERO).unwrap();
        measured.add("short", Duration::MAX).unwrap();
        let metrics = merged(&[&measured]);
        let hours = metrics[0].buckets().map(|(up_to, _)| up_to.as_secs_f64() / 3_600.0);
        for (hours, expected) in hours.zip([2.0, 3.0, 1_000.0]) {
            assert!((hours / expected - 1.0).abs() < 0.001, "{hours} h are not {expected} h");
        }
        assert_eq!(metrics[1].min(), Duration::from_micros(1));
        assert_eq!(metrics[1].max(), Duration::from_micros(HIGHEST));
    }

    #[test]
    fn a_metric_too_many_is_told_once() {
        let mut measured = Measured::new(1);
        assert!(measured.add("one", Duration::from_secs(1)).is_ok());
        assert!(measured.add("two", Duration::from_secs(1)).is_err());
        assert!(measured.add("two", Duration::from_secs(1)).is_ok());
        assert_eq!(measured.to_wire().len(), 1);
    }

    #[test]
    fn a_name_too_long_is_dropped_and_told_once_in_short() {
        let mut measured = Measured::new(10);
        let name = "é".repeat(5_000_000);
        let told = measured.add(&name, Duration::from_secs(1)).unwrap_err();
        assert!(told.contains("10000000 bytes") && told.len() < 300, "{told}");
        assert!(measured.add(&name, Duration::from_secs(1)).is_ok());
        assert!(measured.add(&"n".repeat(MAX_NAME), Duration::from_secs(1)).is_ok());
        assert_eq!(measured.to_wire().len(), 1);
    }

    #[test]
    fn what_no_honest_worker_sends_is_refused() {
        let check = |metrics: Vec<MeasuredMetric>, ages: &[Ages]| {
            WorkerMetrics::new(metrics, ages.to_vec(), 2).map(drop).unwrap_err()
        };
        let max = u64::MAX;
        for counts in [&[(1, max), (1, max)][..], &[(1, MAX_COUNT), (1, 1)]] {
            assert!(check(vec![told("m", counts, 0)], &[]).contains("durations"));
        }
        let name = "n".repeat(MAX_NAME + 1);
        assert!(check(vec![told(&name, &[], 0)], &[]).contains("257 bytes"));
        let twice = vec![told("m", &[], 0), told("m", &[], 0)];
        assert!(check(twice, &[]).contains("twice"));
        assert!(check(vec![told("m", &[], 0)], &[(1, 1), (1, 1)]).contains("ages"));
        let three = ["a", "b", "c"].map(|name| told(name, &[], 0)).to_vec();
        assert!(check(three, &[]).contains("max_metrics"));
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
                    measured.add("m", Duration::from_micros(*micros)).unwrap();
                    union.add("m", Duration::from_micros(*micros)).unwrap();
                }
                each.push(measured);
            }
            let each = merged(&each.iter().collect::<Vec<_>>());
            let buckets = |metrics: &[Metric]| metrics.iter().map(|m| m.buckets.clone()).collect::<Vec<_>>();
            prop_assert_eq!(buckets(&each), buckets(&merged(&[&union])));
        }

        /// Whatever a peer sends is merged or refused.
        #[test]
        fn any_numbers_are_merged_or_refused(
            buckets in prop::collection::vec((any::<u64>(), any::<u64>()), 0..6),
            span in any::<u64>(),
            ages in prop::option::of((any::<u64>(), any::<u64>())),
        ) {
            let ages = ages.into_iter().collect();
            if let Ok(worker) = WorkerMetrics::new(vec![told("m", &buckets, span)], ages, 1) {
                let mut merging = Merging::new();
                merging.add(Instant::now(), worker);
                for metric in merging.finish() {
                    prop_assert!(metric.rate().is_finite());
                    prop_assert!(metric.percentile(50.0) <= metric.percentile(99.9));
                }
            }
        }
    }
}
