//! What came of a run.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dp_core::{CallError, Metric, ResultLine, WorkerId, WorkerInfo};
use jiff::Timestamp;
use thiserror::Error;

use crate::fold::fold;
use crate::gather::{Gathered, Silent};

/// The failure of a run that was cancelled.
pub(crate) const CANCELLED: &str = "cancelled";

/// What came of a run: what was recorded and measured, what became of each worker, and what went
/// wrong.
///
/// A run is [ok](Self::is_ok) when the worker's `run` succeeded, every worker that was there when it
/// began was there until the end, and everything that they recorded is here. A run in which a
/// worker was lost has failed, also when a schedule coped with the loss: what the worker would have
/// recorded is missing. Whether the schedule itself succeeded, [`error`](Self::error) tells.
#[derive(Debug, Clone)]
#[must_use = "the run may have failed: look at `failure()`, or use `into_result()`"]
pub struct Report {
    worker: String,
    started: Timestamp,
    elapsed: Duration,
    outcomes: Vec<WorkerOutcome>,
    error: Option<String>,
    cancelled: bool,
    failures: Vec<String>,
    failure: Option<String>,
    /// There may be many, and the server keeps the report of the last run, too.
    results: Arc<Vec<ResultLine>>,
    metrics: Vec<Metric>,
    unwritten: Vec<String>,
}

/// What became of one worker in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerOutcome {
    /// The worker. It was there when the run began.
    pub worker: WorkerInfo,
    /// What became of it.
    pub end: WorkerEnd,
}

/// How a run ended for one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerEnd {
    /// It was there until the end, and what it recorded is in the report.
    Stayed,
    /// It was there until the end, and the call that the run ended in failed on it. That is known
    /// where the error of the run is, or was caused by, a
    /// [`BroadcastError`](dp_core::BroadcastError): where every worker drives itself, and where a
    /// schedule returns the one that it got (but not as an `anyhow::Error`, which hides it).
    Failed(CallError),
    /// Its connection ended. What it had delivered before is in the report.
    Lost {
        /// How.
        reason: String,
    },
    /// It is connected, but did not give what it had recorded.
    Silent {
        /// Why.
        reason: String,
    },
}

/// What a report is made from.
#[derive(Debug)]
pub(crate) struct Facts {
    /// The name of the worker's type.
    pub(crate) worker: String,
    pub(crate) started: Timestamp,
    pub(crate) elapsed: Duration,
    pub(crate) roster: Vec<WorkerInfo>,
    /// What the run itself ended in.
    pub(crate) error: Option<String>,
    /// The workers on which the call failed that the run ended in.
    pub(crate) failed: HashMap<WorkerId, CallError>,
    /// The workers of the roster that are gone, and why.
    pub(crate) lost: HashMap<WorkerId, String>,
    pub(crate) cancelled: bool,
    pub(crate) gathered: Gathered,
    /// Why the results are not in the file that they go to.
    pub(crate) unsaved: Option<String>,
}

impl Report {
    pub(crate) fn new(facts: Facts) -> Self {
        let Facts { roster, mut failed, mut lost, mut gathered, .. } = facts;
        // Of the lost, everybody knows why they do not answer.
        gathered.silent.retain(|silent| !lost.contains_key(silent.worker.id()));

        let mut failures = Vec::from_iter(facts.error.clone());
        failures.extend(losses(&roster, &lost));
        failures.extend(gathered.failures());
        failures.extend(facts.unsaved);
        failures.extend(facts.cancelled.then(|| CANCELLED.to_owned()));
        let failure = (!failures.is_empty()).then(|| failures.join("; "));

        let silent = gathered.silent.into_iter();
        let mut silent: HashMap<WorkerId, Silent> =
            silent.map(|silent| (silent.worker.id().clone(), silent)).collect();
        let outcome = |worker: WorkerInfo| {
            let id = worker.id();
            let end = if let Some(reason) = lost.remove(id) {
                WorkerEnd::Lost { reason }
            } else if let Some(Silent { what, reason, .. }) = silent.remove(id) {
                WorkerEnd::Silent { reason: format!("no {what}: {reason}") }
            } else if let Some(error) = failed.remove(id) {
                WorkerEnd::Failed(error)
            } else {
                WorkerEnd::Stayed
            };
            WorkerOutcome { worker, end }
        };
        Self {
            worker: facts.worker,
            started: facts.started,
            elapsed: facts.elapsed,
            outcomes: roster.into_iter().map(outcome).collect(),
            error: facts.error,
            cancelled: facts.cancelled,
            failures,
            failure,
            results: Arc::new(gathered.results),
            metrics: gathered.metrics,
            unwritten: Vec::new(),
        }
    }

    /// Whether the run succeeded with everybody, and everything that was recorded is here.
    pub fn is_ok(&self) -> bool {
        self.failure.is_none()
    }

    /// Whether the run was cancelled, see [`Server::cancel`](crate::Server::cancel).
    pub fn is_cancelled(&self) -> bool {
        self.cancelled
    }

    /// What the worker's `run` itself ended in: its error with everything that caused it, or its
    /// panic. `None` when it succeeded, and when it was cancelled.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// All that went wrong, in one text. `None` when all went well.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// The parts of [`failure`](Self::failure), of which the console makes a line each: the
    /// [`error`](Self::error), the workers that were lost, those that did not give what they had
    /// recorded, results that are not in the [file](crate::ServerBuilder::results_file) that they go
    /// to, and at the end `cancelled` if it was.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }

    /// What the workers recorded in this run, by worker in the order of the roster, and of each
    /// worker in the order in which it was recorded. After a failure these are the lines that could
    /// be had, those that lost workers had delivered included.
    pub fn results(&self) -> &[ResultLine] {
        &self.results
    }

    /// The same lines, to keep.
    pub fn into_results(self) -> Vec<ResultLine> {
        Arc::unwrap_or_clone(self.results)
    }

    /// What the workers measured in this run, merged over all of them, by the names of the metrics.
    /// What lost workers measured is not in it.
    pub fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    /// What became of each worker that was there when the run began, in the order of the roster.
    /// Who joined later waits for the next run.
    pub fn outcomes(&self) -> &[WorkerOutcome] {
        &self.outcomes
    }

    /// The workers that took part: everyone who was there when the run began.
    pub fn roster(&self) -> impl ExactSizeIterator<Item = &WorkerInfo> {
        self.outcomes.iter().map(|outcome| &outcome.worker)
    }

    /// The workers that were lost during the run, with the reason.
    pub fn lost(&self) -> impl Iterator<Item = (&WorkerInfo, &str)> {
        self.outcomes.iter().filter_map(|outcome| match &outcome.end {
            WorkerEnd::Lost { reason } => Some((&outcome.worker, reason.as_str())),
            _ => None,
        })
    }

    /// The workers of which something that they recorded may be missing: those that were lost, and
    /// those that did not answer.
    pub fn missing(&self) -> impl Iterator<Item = &WorkerInfo> {
        let missing = |outcome: &&WorkerOutcome| {
            matches!(outcome.end, WorkerEnd::Lost { .. } | WorkerEnd::Silent { .. })
        };
        self.outcomes.iter().filter(missing).map(|outcome| &outcome.worker)
    }

    /// The name of the worker's type.
    pub fn worker(&self) -> &str {
        &self.worker
    }

    /// Why this report is not in the files that [`report`](crate::ServerBuilder::report) names, a
    /// text for each that could not be written. That does not make the run a failure.
    pub fn unwritten(&self) -> &[String] {
        &self.unwritten
    }

    pub(crate) fn without_results(&self) -> Self {
        Self { results: Arc::default(), ..self.clone() }
    }

    pub(crate) fn set_unwritten(&mut self, unwritten: Vec<String>) {
        self.unwritten = unwritten;
    }

    /// When the run began.
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// How long it ran, without the gathering.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// The report itself when all went well, for use with `?`.
    ///
    /// # Errors
    /// [`FailedRun`], which has the report, when anything went wrong.
    pub fn into_result(self) -> Result<Self, FailedRun> {
        if self.is_ok() { Ok(self) } else { Err(FailedRun(Box::new(self))) }
    }
}

/// A line for each reason for which workers were lost.
fn losses(roster: &[WorkerInfo], lost: &HashMap<WorkerId, String>) -> Vec<String> {
    let in_order = roster.iter().filter_map(|worker| lost.get_key_value(worker.id()));
    let line = |(ids, reason): (String, &String)| format!("{ids} lost during the run: {reason}");
    fold(in_order).into_iter().map(line).collect()
}

/// A run that failed, as an error: see [`Report::into_result`].
#[derive(Debug, Clone, Error)]
#[error("the run failed: {}", self.0.failure().unwrap_or_default())]
pub struct FailedRun(Box<Report>);

impl FailedRun {
    /// What came of the run all the same.
    pub fn report(&self) -> &Report {
        &self.0
    }

    /// The same, to keep.
    pub fn into_report(self) -> Report {
        *self.0
    }
}

/// A report with a bit of everything.
#[cfg(test)]
pub(crate) fn example() -> Report {
    use dp_core::{Context, MasterWorker, distributed_worker};

    struct Fetcher;

    #[distributed_worker]
    impl Fetcher {
        #[remote]
        fn fetch(&self, ctx: &Context<Self>) {
            for millis in 1..=1_000 {
                ctx.record("fetch", Duration::from_millis(millis));
            }
            ctx.record("once & <rarely>", Duration::from_secs(2));
            ctx.record("once & <rarely>", Duration::from_secs(2 * 3_600));
            ctx.result("greeted \"Ada\", <b>&\nnext");
        }
    }

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let master = MasterWorker::<Fetcher>::in_process(2, |_| Fetcher);
        master.workers()[0].fetch().await.unwrap();
        let (mut results, metrics) =
            (master.results().await.unwrap(), master.metrics().await.unwrap());
        let started = Timestamp::from_second(1).unwrap();
        results[0].time = started;
        let roster: Vec<WorkerInfo> =
            master.workers().iter().map(|worker| worker.info().clone()).collect();
        let lost = (roster[1].id().clone(), "connection reset".to_owned());
        Report::new(Facts {
            worker: "Greeter".to_owned(),
            started,
            elapsed: Duration::from_millis(1_500),
            roster,
            error: None,
            failed: HashMap::new(),
            lost: HashMap::from([lost]),
            cancelled: false,
            gathered: Gathered { results, metrics, silent: Vec::new() },
            unsaved: None,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            worker: "Greeter".to_owned(),
            started: Timestamp::UNIX_EPOCH,
            elapsed: Duration::ZERO,
            roster: vec![],
            error: None,
            failed: HashMap::new(),
            lost: HashMap::new(),
            cancelled: false,
            gathered: Gathered::default(),
            unsaved: None,
        }
    }

    #[test]
    fn a_report_without_failures_is_ok() {
        let report = Report::new(facts()).into_result().unwrap();
        assert!(report.is_ok() && !report.is_cancelled());
        assert_eq!(report.failure(), None);
    }

    #[test]
    fn a_failed_report_becomes_an_error_that_keeps_it() {
        let facts = Facts { error: Some("disk full".to_owned()), cancelled: true, ..facts() };
        let error = Report::new(facts).into_result().unwrap_err();
        assert_eq!(error.to_string(), "the run failed: disk full; cancelled");
        assert_eq!(error.report().failures(), ["disk full", "cancelled"]);
        assert_eq!(error.into_report().error(), Some("disk full"));
    }
}
