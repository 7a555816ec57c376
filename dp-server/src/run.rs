//! One run: the worker's `run` on the master, then the results of everyone.

use std::any::Any;
use std::collections::HashMap;
use std::error::Error;
use std::future::pending;
use std::iter::successors;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dp_core::engine::logs::CALL;
use dp_core::engine::trace::{Parent, Traced};
use dp_core::engine::{Fleet, FleetEvent};
use dp_core::{
    BroadcastError, CallError, DistributedWorker, NoRun, RunFuture, RunResult, WorkerId, WorkerInfo,
};
use jiff::Timestamp;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tracing::field::Empty;

use crate::chain;
use crate::gather::Gathering;
use crate::logs::Recent;
use crate::report::{Facts, Report};
use crate::runs::{Origin, Runs};
use crate::settings::Settings;
use crate::store::Store;
use crate::time::timeout;
use crate::traffic::Traffic;

/// A schedule that was cancelled ends where it awaits something; one that does not come to that
/// within this time is not waited for.
const CANCELLING: Duration = Duration::from_secs(2);

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
    /// What the workers have recorded before could not be stored in the file that results go to, and
    /// would be dropped by the run.
    #[error(
        "what the workers have recorded before is not stored, and a run would drop it: {reason}; \
         `/reset` drops it on purpose"
    )]
    Unsaved {
        /// Why.
        reason: String,
    },
    /// The worker has no `run` that could be called without arguments.
    #[error(transparent)]
    NoRun(NoRun),
    /// Another run is under way; this server does one at a time.
    #[error("a run is under way already: wait until it has ended, or `/cancel` it")]
    Running,
}

fn not_ready(present: usize, needed: usize) -> String {
    let missing = needed.saturating_sub(present);
    let workers = if missing == 1 { "worker is" } else { "workers are" };
    format!("not ready to run: {missing} more {workers} needed ({present} of {needed} have joined)")
}

/// What it takes to run: a server without its sockets. Cheap to clone.
pub(crate) struct Runner<W: DistributedWorker> {
    pub(crate) fleet: Fleet<W>,
    pub(crate) settings: Arc<Settings>,
    /// Where runs happen.
    pub(crate) runtime: Handle,
    /// Whose turn it is to run.
    pub(crate) turns: Arc<Turns>,
    /// Where results are stored.
    pub(crate) store: Option<Arc<Store>>,
    pub(crate) runs: Runs,
    pub(crate) traffic: Arc<Traffic>,
    /// What clients logged last, where that is asked for.
    pub(crate) recent_logs: Recent,
}

impl<W: DistributedWorker> Clone for Runner<W> {
    fn clone(&self) -> Self {
        Self {
            fleet: self.fleet.clone(),
            settings: self.settings.clone(),
            runtime: self.runtime.clone(),
            turns: self.turns.clone(),
            store: self.store.clone(),
            runs: self.runs.clone(),
            traffic: self.traffic.clone(),
            recent_logs: self.recent_logs.clone(),
        }
    }
}

pub(crate) async fn execute<W: DistributedWorker>(
    server: &Runner<W>,
    origin: Origin,
) -> Result<Report, RunError> {
    let mut turn = server.turns.take().ok_or(RunError::Running)?;
    // Before the roster is taken: who is in it and leaves is heard of.
    let departures = server.fleet.events();
    let master = server.fleet.master();
    let (present, needed) = (master.len(), server.settings.workers);
    if present < needed {
        return Err(RunError::NotReady { present, needed });
    }
    let within = server.settings.gather_timeout;
    if let Some(store) = &server.store {
        // The run begins with an empty record: what is there must be stored before.
        let storing = Gathering::<W>::store_all(master.clone(), store, within);
        tokio::select! {
            stored = storing => stored.map_err(|reason| RunError::Unsaved { reason })?,
            () = turn.cancelled(1) => {
                return Err(RunError::Unsaved { reason: "cancelled".to_owned() });
            }
        }
    }
    let roster: Vec<WorkerInfo> =
        master.workers().iter().map(|worker| worker.info().clone()).collect();
    let run = W::run(&master).start().map_err(RunError::NoRun)?;

    let (started, begun) = (Timestamp::now(), Instant::now());
    let entry = server.runs.begin(origin, started);
    // A task of its own, so that neither a panic nor a schedule that blocks its thread takes the
    // console along. It is aborted when this future is dropped.
    let mut tasks = JoinSet::new();
    tasks.spawn_on(entry.under_way(traced(run, entry.number())), &server.runtime);
    let ended = tokio::select! {
        biased;
        ended = tasks.join_next() => Some(ended),
        () = turn.cancelled(1) => None,
    };
    let mut cancelled = ended.is_none();
    let (error, failed) = match ended {
        Some(ended) => verdict(ended),
        None => (cancel(&mut tasks).await, HashMap::new()),
    };
    let elapsed = begun.elapsed();

    entry.gathering();
    let mut gathering = Gathering::<W>::new(master);
    // Cancelled before, it has this left to do, which another cancelling gives up.
    let given_up = 1 + usize::from(cancelled);
    tokio::select! {
        biased;
        () = gathering.proceed(within) => {}
        () = turn.cancelled(given_up) => cancelled = true,
    }
    let unsaved = gathering.store(server.store.as_deref(), within).await;
    let gathered = gathering.finish();
    let lost = lost(departures, &roster, &server.fleet);
    let worker = W::contract().worker;
    let mut report = Report::new(Facts {
        worker,
        started,
        elapsed,
        roster,
        error,
        failed,
        lost,
        cancelled,
        gathered,
        unsaved,
    });
    save(server, &mut report).await;
    drop(turn);
    entry.end(report.clone());
    Ok(report)
}

/// The run in a span of its own, if anybody looks at it: its calls are parts of one trace.
fn traced(
    run: RunFuture,
    number: u64,
) -> Pin<Box<dyn Future<Output = RunResult> + Send + 'static>> {
    let span = tracing::debug_span!(
        target: CALL, "run", number, trace_id = Empty, otel.name = Empty,
    );
    match Traced::begin(span, || format!("run {number}"), Parent::Here) {
        None => Box::pin(run),
        Some(traced) => traced.within(Box::pin(run)),
    }
}

/// Writes the report to the files that were asked for.
async fn save<W: DistributedWorker>(server: &Runner<W>, report: &mut Report) {
    let mut unwritten = Vec::new();
    for file in &server.settings.reports {
        let (name, file, report) = (file.to_string(), file.clone(), report.clone());
        // Disks may be slow.
        let saved = server.runtime.spawn_blocking(move || file.write(&report)).await;
        match saved {
            Ok(Ok(())) => {}
            Ok(Err(error)) => unwritten.push(chain::message(&error)),
            Err(error) => unwritten.push(format!("cannot write {name}: {}", aborted(error))),
        }
    }
    report.set_unwritten(unwritten);
}

/// Ends the schedule, and with it its calls on the workers. What there is to say of that.
async fn cancel(tasks: &mut JoinSet<RunResult>) -> Option<String> {
    tasks.abort_all();
    match timeout(CANCELLING, tasks.join_next()).await {
        Some(_) => None,
        None => Some("the schedule blocks its thread, and goes on until it awaits".to_owned()),
    }
}

/// What a schedule that came to its end ended in, and the workers on which that failed.
fn verdict(
    ended: Option<Result<RunResult, JoinError>>,
) -> (Option<String>, HashMap<WorkerId, CallError>) {
    match ended {
        Some(Ok(Ok(()))) | None => (None, HashMap::new()),
        Some(Ok(Err(error))) => (Some(chain::message(&*error)), failed_on(&*error)),
        Some(Err(error)) => (Some(aborted(error)), HashMap::new()),
    }
}

fn failed_on(error: &(dyn Error + 'static)) -> HashMap<WorkerId, CallError> {
    let broadcast = successors(Some(error), |error| (**error).source())
        .find_map(|error| error.downcast_ref::<BroadcastError>());
    let failures = broadcast.into_iter().flat_map(BroadcastError::failures);
    failures.map(|(worker, error)| (worker.id().clone(), error.clone())).collect()
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

/// The workers of `roster` that have left since `events` began, with the reason.
fn lost<W: DistributedWorker>(
    mut events: Receiver<FleetEvent>,
    roster: &[WorkerInfo],
    fleet: &Fleet<W>,
) -> HashMap<WorkerId, String> {
    let took_part = |id: &WorkerId| roster.binary_search_by(|worker| worker.id().cmp(id)).is_ok();
    let mut lost = HashMap::new();
    loop {
        match events.try_recv() {
            Ok(FleetEvent::Departed { workers, reason, .. }) => {
                for worker in workers.iter().filter(|worker| took_part(worker.id())) {
                    // Who has come back and is gone again was lost the first time.
                    lost.entry(worker.id().clone()).or_insert_with(|| reason.clone());
                }
            }
            Ok(_) => {}
            Err(TryRecvError::Lagged(_)) => {
                // More came and went than is kept: of those that are not there, no more is known.
                let here = fleet.master();
                for worker in roster.iter().filter(|worker| here.get(worker.id()).is_none()) {
                    lost.insert(worker.id().clone(), "left".to_owned());
                }
            }
            Err(TryRecvError::Empty | TryRecvError::Closed) => return lost,
        }
    }
}

/// The right to run, of which there is one.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<Option<watch::Sender<usize>>>);

/// It, given back when dropped.
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    /// How often it was cancelled.
    cancelled: watch::Receiver<usize>,
}

impl Turns {
    pub(crate) fn take(&self) -> Option<Turn<'_>> {
        let mut current = self.lock();
        if current.is_some() {
            return None;
        }
        let (sender, cancelled) = watch::channel(0);
        *current = Some(sender);
        Some(Turn { turns: self, cancelled })
    }

    /// Whether somebody has it.
    pub(crate) fn is_taken(&self) -> bool {
        self.lock().is_some()
    }

    /// Tells whoever has it to stop; `false` if nobody has.
    pub(crate) fn cancel(&self) -> bool {
        let current = self.lock();
        current.as_ref().map(|sender| sender.send_modify(|times| *times += 1)).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Option<watch::Sender<usize>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// Completes once it was cancelled so many times.
    async fn cancelled(&mut self, times: usize) {
        if self.cancelled.wait_for(|cancelled| *cancelled >= times).await.is_err() {
            pending().await
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.turns.lock() = None;
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

    #[tokio::test]
    async fn only_one_turn_can_be_had_at_a_time_and_cancelled() {
        let turns = Turns::default();
        assert!(!turns.cancel());
        let mut turn = turns.take().unwrap();
        assert!(turns.take().is_none());
        assert!(turns.cancel());
        turn.cancelled(1).await;
        assert_eq!(*turn.cancelled.borrow(), 1);
        assert!(turns.cancel());
        turn.cancelled(2).await;
        drop(turn);
        assert!(!turns.cancel());
        assert!(turns.take().is_some_and(|turn| *turn.cancelled.borrow() == 0));
    }

    #[tokio::test]
    async fn a_panic_is_quoted() {
        let error = tokio::spawn(async { panic!("no such file") }).await.unwrap_err();
        assert_eq!(aborted(error), "schedule panicked: no such file");
    }
}
