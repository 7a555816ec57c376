//! Metrics over the time of a run.

use std::collections::{BTreeMap, VecDeque};

use dp_core::Metric;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// So many points are kept of a run; when there are more, every other one goes.
const MOST_POINTS: usize = 600;
/// So many metrics are drawn.
const MOST_METRICS: usize = 32;

/// What has been measured in the run under way, and how that came.
#[derive(Debug, Default)]
pub(super) struct Series {
    points: VecDeque<Value>,
    /// How many points make one that is kept.
    stride: u32,
    skipped: u32,
    /// The last that was seen of each metric.
    seen: BTreeMap<String, Histogram<u64>>,
    at: f64,
}

impl Series {
    /// The point `at` seconds into the run; kept, too.
    pub(super) fn add(&mut self, at: f64, metrics: &[Metric]) -> Value {
        let passed = at - self.at;
        self.at = at;
        let mut point = BTreeMap::new();
        for metric in metrics.iter().take(MOST_METRICS) {
            let now = histogram(metric);
            let mut recent = now.clone();
            // Where a worker was lost there is less than before: then it is all that there is.
            let whole =
                self.seen.get(metric.name()).is_some_and(|before| recent.subtract(before).is_err());
            let rate = if whole || passed <= 0.0 { 0.0 } else { recent.len() as f64 / passed };
            if !recent.is_empty() {
                let percentiles = [0.5, 0.9, 0.99, 1.0].map(|at| {
                    // Seconds, to the microsecond.
                    recent.value_at_quantile(at) as f64 / 1e6
                });
                point.insert(metric.name(), json!([rate, percentiles]));
            }
            self.seen.insert(metric.name().to_owned(), now);
        }
        let point = json!([(at * 1e3).round() / 1e3, point]);
        self.keep(point.clone());
        point
    }

    fn keep(&mut self, point: Value) {
        self.skipped += 1;
        if self.skipped < self.stride.max(1) {
            return;
        }
        self.skipped = 0;
        self.points.push_back(point);
        if self.points.len() > MOST_POINTS {
            let mut odd = false;
            self.points.retain(|_| {
                odd = !odd;
                odd
            });
            self.stride = self.stride.max(1) * 2;
        }
    }

    pub(super) fn points(&self) -> Value {
        self.points.iter().cloned().collect()
    }
}

/// The metric's histogram, with the same buckets.
fn histogram(metric: &Metric) -> Histogram<u64> {
    // The number of digits is one that the crate accepts; the bounds grow as needed.
    let mut histogram = Histogram::new(3).expect("the number of digits is valid");
    for (value, count) in metric.buckets() {
        let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
        let _ = histogram.record_n(micros, count);
    }
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example;

    #[test]
    fn a_point_is_of_what_came_since_the_last() {
        let (mut series, report) = (Series::default(), example());
        let first = series.add(2.0, report.metrics());
        assert_eq!(first[1]["fetch"][0], 500.0);
        let max = first[1]["fetch"][1][3].as_f64().unwrap();
        assert!((max - 1.0).abs() < 0.001, "{max}");
        let second = series.add(3.0, report.metrics());
        assert_eq!(second[1], json!({}));
        assert_eq!(series.points().as_array().unwrap().len(), 2);
    }

    #[test]
    fn a_long_run_has_as_many_points_as_a_chart_has_room_for() {
        let mut series = Series::default();
        for at in 0..10_000 {
            series.add(f64::from(at), &[]);
        }
        let points = series.points();
        let points = points.as_array().unwrap();
        assert!((MOST_POINTS / 2..=MOST_POINTS).contains(&points.len()), "{}", points.len());
        assert!(points.windows(2).all(|two| two[0][0].as_f64() < two[1][0].as_f64()));
    }
}
