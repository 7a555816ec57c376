//! Metrics over the time of a run.
//!
//! A point is of what every worker has recorded since the point before. Where that is not known of
//! every worker there is a gap, which says of how many it is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use dp_core::engine::{self, Buckets};
use dp_core::{Metric, WorkerId};
use serde_json::{Value, json};

use crate::console::PERCENTILES;

/// So many points are kept of a run; when there are more, every other one goes.
const MOST_POINTS: usize = 600;
/// So many metrics are drawn.
const MOST_METRICS: usize = 32;

/// What the workers had recorded at a moment of the run.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    /// In seconds since the run began.
    pub(super) at: f64,
    /// Who was asked, and who of them answered.
    pub(super) asked: BTreeSet<WorkerId>,
    pub(super) answered: BTreeSet<WorkerId>,
    /// Of those who answered, merged.
    pub(super) metrics: &'a [Metric],
}

/// What has been measured in the run under way, and how that came.
#[derive(Debug, Default)]
pub(super) struct Series {
    points: VecDeque<Value>,
    /// How many points make one that is kept.
    stride: u32,
    skipped: u32,
    /// The metrics that are drawn, in the order in which they came.
    drawn: Vec<String>,
    base: Base,
}

/// The last moment at which it was known of everybody what they had recorded.
#[derive(Debug, Default)]
struct Base {
    at: f64,
    /// Everybody.
    workers: BTreeSet<WorkerId>,
    /// Those of them who have been away since: what they have recorded may be another record.
    left: BTreeSet<WorkerId>,
    counts: BTreeMap<String, Buckets>,
}

impl Series {
    /// A run begins with these workers, none of which has recorded anything.
    pub(super) fn new(workers: BTreeSet<WorkerId>) -> Self {
        Self { base: Base { workers, ..Base::default() }, ..Self::default() }
    }

    /// A worker left, whether or not it comes back.
    pub(super) fn left(&mut self, worker: &WorkerId) {
        if self.base.workers.contains(worker) {
            self.base.left.insert(worker.clone());
        }
    }

    /// The point of a reading; kept, too. `None` where no time has passed.
    pub(super) fn add(&mut self, reading: &Reading<'_>) -> Option<Value> {
        let passed = reading.at - self.base.at;
        if passed <= 0.0 {
            return None;
        }
        let counts: BTreeMap<String, Buckets> = reading
            .metrics
            .iter()
            .map(|metric| (metric.name().to_owned(), engine::buckets(metric).clone()))
            .collect();
        for name in counts.keys() {
            if self.drawn.len() < MOST_METRICS && !self.drawn.contains(name) {
                self.drawn.push(name.clone());
            }
        }
        let figures = self.base.is_known(reading).then(|| self.figures(&counts, passed)).flatten();
        let at = (reading.at * 1e3).round() / 1e3;
        let point = match figures {
            Some(figures) => json!([at, figures]),
            None => {
                let (known, all) = self.base.coverage(reading);
                json!([at, null, [known, all]])
            }
        };
        if reading.asked == reading.answered {
            let workers = reading.answered.clone();
            self.base = Base { at: reading.at, workers, left: BTreeSet::new(), counts };
        }
        self.keep(point.clone());
        Some(point)
    }

    /// By metric: how many a second, and the percentiles of those. `None` where somebody has recorded
    /// less than before.
    fn figures(
        &self,
        counts: &BTreeMap<String, Buckets>,
        passed: f64,
    ) -> Option<BTreeMap<String, Value>> {
        // What is not there any more was dropped.
        let dropped = self.base.counts.keys().any(|name| !counts.contains_key(name));
        let (none, mut figures) = (Buckets::default(), BTreeMap::new());
        for (name, now) in counts {
            let recent = now.since(self.base.counts.get(name).unwrap_or(&none))?;
            if !self.drawn.contains(name) {
                continue;
            }
            let rate = recent.count() as f64 / passed;
            let shown = PERCENTILES.map(|(_, percent)| recent.percentile(percent));
            let durations = shown.into_iter().chain([recent.max()]);
            // Of nothing there are no durations.
            let durations: Vec<_> = durations
                .map(|duration| (recent.count() > 0).then_some(duration.as_secs_f64()))
                .collect();
            figures.insert(name.clone(), json!([rate, durations]));
        }
        (!dropped).then_some(figures)
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

impl Base {
    /// Whether the difference to this is what everybody has recorded since.
    fn is_known(&self, reading: &Reading<'_>) -> bool {
        let all = self.left.is_empty() && self.workers == reading.answered;
        all && reading.asked == reading.answered
    }

    /// Of how many workers the difference is known, and how many there were or are.
    fn coverage(&self, reading: &Reading<'_>) -> (usize, usize) {
        let stayed = self.workers.difference(&self.left);
        let known = stayed.filter(|worker| reading.answered.contains(*worker)).count();
        (known, self.workers.union(&reading.asked).count())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dp_core::{Context, MasterWorker, distributed_worker};
    use proptest::prelude::*;

    use super::*;
    use crate::report::example;

    fn ids(count: usize) -> BTreeSet<WorkerId> {
        (1..=count).map(|n| WorkerId::new(format!("w{n}")).unwrap()).collect()
    }

    fn whole(at: f64, workers: usize, metrics: &[Metric]) -> Reading<'_> {
        Reading { at, asked: ids(workers), answered: ids(workers), metrics }
    }

    struct Recording;

    #[distributed_worker]
    impl Recording {
        #[remote]
        fn take(&self, ctx: &Context<Self>, millis: &[u64]) {
            for millis in millis {
                ctx.record("m", Duration::from_millis(*millis));
            }
        }
    }

    /// What each of the workers has recorded, merged over some of them.
    async fn merged(master: &MasterWorker<Recording>, some: &BTreeSet<WorkerId>) -> Vec<Metric> {
        master.select(|worker| some.contains(worker.id())).metrics().await.unwrap()
    }

    #[test]
    fn a_point_is_of_what_came_since_the_last() {
        let (mut series, report) = (Series::new(ids(2)), example());
        let first = series.add(&whole(2.0, 2, report.metrics())).unwrap();
        assert_eq!(first[1]["fetch"][0], 500.0);
        let max = first[1]["fetch"][1][5].as_f64().unwrap();
        assert!((max - 1.0).abs() < 0.001, "{max}");
        // Nothing came: that is known, and nothing has no durations.
        let second = series.add(&whole(3.0, 2, report.metrics())).unwrap();
        assert_eq!(second[1]["fetch"], json!([0.0, [null, null, null, null, null, null]]));
        assert_eq!(series.points().as_array().unwrap().len(), 2);
    }

    #[test]
    fn where_somebody_does_not_answer_there_is_a_gap_and_the_next_point_is_of_all_the_time() {
        let (mut series, report) = (Series::new(ids(3)), example());
        let reading = Reading { answered: ids(2), ..whole(1.0, 3, &[]) };
        assert_eq!(series.add(&reading), Some(json!([1.0, null, [2, 3]])));
        let point = series.add(&whole(2.0, 3, report.metrics())).unwrap();
        assert_eq!(point[1]["fetch"][0], 500.0);
    }

    #[test]
    fn where_somebody_left_or_joined_there_is_one_gap() {
        let (mut series, report) = (Series::new(ids(3)), example());
        let lost = WorkerId::new("w3").unwrap();
        series.left(&lost);
        let gap = series.add(&whole(1.0, 2, report.metrics()));
        assert_eq!(gap, Some(json!([1.0, null, [2, 3]])));
        assert_eq!(series.add(&whole(2.0, 2, report.metrics())).unwrap()[1]["fetch"][0], 0.0);
        // It is back, with whatever it has recorded.
        let gap = series.add(&whole(3.0, 3, report.metrics()));
        assert_eq!(gap, Some(json!([3.0, null, [2, 3]])));
        // It was away for a moment only.
        series.left(&lost);
        let gap = series.add(&whole(4.0, 3, report.metrics()));
        assert_eq!(gap, Some(json!([4.0, null, [2, 3]])));
        assert_ne!(series.add(&whole(5.0, 3, report.metrics())).unwrap()[1], Value::Null);
    }

    #[test]
    fn where_less_is_recorded_than_before_there_is_a_gap() {
        let (mut series, report) = (Series::new(ids(2)), example());
        series.add(&whole(1.0, 2, report.metrics()));
        assert_eq!(series.add(&whole(2.0, 2, &[])), Some(json!([2.0, null, [2, 2]])));
    }

    #[test]
    fn time_never_goes_back() {
        let (mut series, report) = (Series::new(ids(2)), example());
        series.add(&whole(2.5, 2, report.metrics()));
        assert_eq!(series.add(&whole(2.4, 2, report.metrics())), None);
        assert_eq!(series.add(&whole(2.5, 2, report.metrics())), None);
    }

    #[test]
    fn a_long_run_has_as_many_points_as_a_chart_has_room_for() {
        let mut series = Series::default();
        for at in 1..10_000 {
            series.add(&whole(f64::from(at), 0, &[]));
        }
        let points = series.points();
        let points = points.as_array().unwrap();
        assert!((MOST_POINTS / 2..=MOST_POINTS).contains(&points.len()), "{}", points.len());
        assert!(points.windows(2).all(|two| two[0][0].as_f64() < two[1][0].as_f64()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Whoever answers when: every point counts exactly what was recorded since the point
        /// before it, its percentiles are in order, and everything else is a gap.
        #[test]
        fn points_are_exact_and_everything_else_is_a_gap(
            steps in prop::collection::vec(
                (prop::collection::vec(1_u64..5_000, 0..8), 0_usize..4, any::<[bool; 4]>()), 1..12,
            ),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let master = MasterWorker::<Recording>::in_process(4, |_| Recording);
                let mut series = Series::new(ids(4));
                let (mut recorded, mut since) = (0, 0.0);
                for (step, (millis, who, answers)) in steps.iter().enumerate() {
                    master.workers()[*who].take(millis).await.unwrap();
                    recorded += millis.len();
                    let answered: BTreeSet<WorkerId> = ids(4)
                        .into_iter()
                        .zip(answers)
                        .filter_map(|(id, answers)| answers.then_some(id))
                        .collect();
                    let metrics = merged(&master, &answered).await;
                    let at = step as f64 + 1.0;
                    let reading = Reading { at, asked: ids(4), answered, metrics: &metrics };
                    let point = series.add(&reading).unwrap();
                    if reading.answered.len() < 4 {
                        prop_assert_eq!(point, json!([at, null, [reading.answered.len(), 4]]));
                        continue;
                    }
                    let passed = at - std::mem::replace(&mut since, at);
                    let came = std::mem::take(&mut recorded);
                    let figures = &point[1]["m"];
                    let rate = figures[0].as_f64().unwrap_or_default();
                    prop_assert!((rate * passed - came as f64).abs() < 1e-6, "{} of {}", rate, came);
                    let durations = figures[1].as_array().cloned().unwrap_or_default();
                    let durations: Vec<f64> = durations.iter().filter_map(Value::as_f64).collect();
                    prop_assert_eq!(durations.is_empty(), came == 0);
                    prop_assert!(durations.is_sorted(), "{:?}", durations);
                }
                Ok(())
            })?;
        }
    }
}
