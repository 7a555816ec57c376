//! What came of a run.

use std::time::Duration;

use dp_core::{ResultLine, WorkerId, WorkerInfo};
use jiff::Timestamp;
use thiserror::Error;

/// What came of a run: the recorded results, and what went wrong.
#[derive(Debug, Clone)]
#[must_use = "the run may have failed: look at `failure()`, or use `into_result()`"]
pub struct Report {
    started: Timestamp,
    elapsed: Duration,
    roster: Vec<WorkerInfo>,
    results: Vec<ResultLine>,
    failures: Vec<String>,
    failure: Option<String>,
    missing: Vec<WorkerId>,
}

impl Report {
    pub(crate) fn new(
        started: Timestamp,
        elapsed: Duration,
        roster: Vec<WorkerInfo>,
        results: Vec<ResultLine>,
        failures: Vec<String>,
        missing: Vec<WorkerId>,
    ) -> Self {
        let failure = (!failures.is_empty()).then(|| failures.join("; "));
        Self { started, elapsed, roster, results, failures, failure, missing }
    }

    /// Whether the run succeeded and every worker's results are here.
    pub fn is_ok(&self) -> bool {
        self.failure.is_none()
    }

    /// What went wrong, in one text: the error that the run ended in with everything that caused it,
    /// or its panic, and the workers whose results could not be had. `None` when all went well.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// The parts of [`failure`](Self::failure), of which the console makes a line each.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }

    /// What the workers recorded in this run, by worker in the order of the roster, and of each
    /// worker in the order in which it was recorded. After a failure these are the lines that could
    /// be had.
    pub fn results(&self) -> &[ResultLine] {
        &self.results
    }

    /// The same lines, to keep.
    pub fn into_results(self) -> Vec<ResultLine> {
        self.results
    }

    /// The workers whose results could not be had.
    pub fn missing(&self) -> &[WorkerId] {
        &self.missing
    }

    /// The workers that took part: everyone who was there when the run began.
    pub fn roster(&self) -> &[WorkerInfo] {
        &self.roster
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

#[cfg(test)]
mod tests {
    use super::*;

    fn report(failures: &[&str]) -> Report {
        let failures = failures.iter().map(|&text| text.to_owned()).collect();
        Report::new(Timestamp::UNIX_EPOCH, Duration::ZERO, vec![], vec![], failures, vec![])
    }

    #[test]
    fn a_report_without_failures_is_ok() {
        let report = report(&[]).into_result().unwrap();
        assert!(report.is_ok());
        assert_eq!(report.failure(), None);
    }

    #[test]
    fn a_failed_report_becomes_an_error_that_keeps_it() {
        let error = report(&["disk full", "no results from w2: lost"]).into_result().unwrap_err();
        assert_eq!(error.to_string(), "the run failed: disk full; no results from w2: lost");
        assert_eq!(error.report().failures().len(), 2);
    }
}
