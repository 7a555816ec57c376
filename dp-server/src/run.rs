//! One run: the worker's `run` on the master, then the results of everyone.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use dp_core::{DistributedWorker, MasterWorker, NoRun, ResultLine, WorkerId, WorkerInfo, fold_ids};
use jiff::Timestamp;
use thiserror::Error;
use tokio::task::{JoinError, JoinSet};

use crate::chain;
use crate::report::Report;
use crate::server::Server;

/// Why a run did not begin.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// Too few workers have joined so far.
    #[error("{}", not_ready(*.present, *.needed))]
    NotReady {
        /// How many have.
        present: usize,
        /// How many it takes, see [`ServerBuilder::workers`](crate::ServerBuilder::workers).
        needed: usize,
    },
    /// The worker has no `run` that could be called without arguments.
    #[error(transparent)]
    NoRun(NoRun),
    /// Another run is under way; this server does one at a time.
    #[error("a run is under way already: wait until it has ended")]
    Running,
}

fn not_ready(present: usize, needed: usize) -> String {
    let missing = needed.saturating_sub(present);
    let workers = if missing == 1 { "worker is" } else { "workers are" };
    format!("not ready to run: {missing} more {workers} needed ({present} of {needed} have joined)")
}

pub(crate) async fn execute<W: DistributedWorker>(server: &Server<W>) -> Result<Report, RunError> {
    let _turn = Turn::take(&server.running).ok_or(RunError::Running)?;
    let master = server.fleet.master();
    let (present, needed) = (master.len(), server.settings.workers);
    if present < needed {
        return Err(RunError::NotReady { present, needed });
    }
    let roster: Vec<WorkerInfo> =
        master.workers().iter().map(|worker| worker.info().clone()).collect();
    let run = W::run(&master).start().map_err(RunError::NoRun)?;

    let (started, begun) = (Timestamp::now(), Instant::now());
    // A task of its own, so that neither a panic nor a schedule that blocks its thread takes the
    // console along. It is aborted when this future is dropped.
    let mut tasks = JoinSet::new();
    tasks.spawn_on(run, &server.runtime);
    let mut failures = Vec::new();
    match tasks.join_next().await {
        Some(Ok(Ok(()))) | None => {}
        Some(Ok(Err(error))) => failures.push(chain::message(&*error)),
        Some(Err(error)) => failures.push(aborted(error)),
    }
    let elapsed = begun.elapsed();

    let (results, missing) = gather::<W>(&master).await;
    failures.extend(missing.messages());
    Ok(Report::new(started, elapsed, roster, results, failures, missing.ids()))
}

/// What everyone has recorded so far, and who could not be asked.
pub(crate) async fn gather<W: DistributedWorker>(
    master: &MasterWorker<W>,
) -> (Vec<ResultLine>, Missing) {
    let mut results = Vec::new();
    let mut missing = Missing::default();
    for outcome in master.gather_results().outcomes().await {
        match outcome.result {
            Ok(lines) => results.extend(lines),
            Err(error) => missing.add(outcome.worker.id(), chain::message(&error)),
        }
    }
    (results, missing)
}

/// What became of a schedule that did not come to its end.
fn aborted(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(payload) => format!("schedule panicked: {}", panic_message(&*payload)),
        Err(_) => "the program's runtime was shut down during the run".to_owned(),
    }
}

fn panic_message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// The workers whose results could not be had, by reason, in the order of the roster.
#[derive(Debug, Default)]
pub(crate) struct Missing(Vec<(String, Vec<WorkerId>)>);

impl Missing {
    fn add(&mut self, worker: &WorkerId, reason: String) {
        match self.0.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, workers)) => workers.push(worker.clone()),
            None => self.0.push((reason, vec![worker.clone()])),
        }
    }

    pub(crate) fn messages(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(reason, ids)| format!("no results from {}: {reason}", fold_ids(ids)))
    }

    fn ids(self) -> Vec<WorkerId> {
        let mut ids: Vec<_> = self.0.into_iter().flat_map(|(_, ids)| ids).collect();
        ids.sort();
        ids
    }
}

/// The right to run, given back when dropped.
struct Turn<'a>(&'a AtomicBool);

impl<'a> Turn<'a> {
    fn take(running: &'a AtomicBool) -> Option<Self> {
        (!running.swap(true, Ordering::AcqRel)).then_some(Self(running))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_how_many_are_missing() {
        assert_eq!(
            RunError::NotReady { present: 1, needed: 2 }.to_string(),
            "not ready to run: 1 more worker is needed (1 of 2 have joined)"
        );
        assert!(not_ready(0, 4).contains("4 more workers are needed"));
    }

    #[test]
    fn workers_that_fail_alike_are_named_together() {
        let mut missing = Missing::default();
        for id in ["w1", "w2", "w4"] {
            missing.add(&WorkerId::new(id).unwrap(), "lost".to_owned());
        }
        missing.add(&WorkerId::new("w3").unwrap(), "too large".to_owned());
        let messages: Vec<_> = missing.messages().collect();
        assert_eq!(messages, ["no results from w[1-2,4]: lost", "no results from w3: too large"]);
        assert_eq!(missing.ids().len(), 4);
    }

    #[test]
    fn only_one_turn_can_be_had_at_a_time() {
        let running = AtomicBool::new(false);
        let turn = Turn::take(&running);
        assert!(turn.is_some());
        assert!(Turn::take(&running).is_none());
        drop(turn);
        assert!(Turn::take(&running).is_some());
    }

    #[tokio::test]
    async fn a_panic_is_quoted() {
        let error = tokio::spawn(async { panic!("no such file") }).await.unwrap_err();
        assert_eq!(aborted(error), "schedule panicked: no such file");
    }
}
