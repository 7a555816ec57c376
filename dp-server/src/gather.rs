//! Gathers what the workers have recorded.

use std::collections::HashMap;
use std::time::Duration;

use dp_core::engine::{self, WorkerRecord};
use dp_core::{
    CallError, DistributedWorker, MasterWorker, Metric, ResultLine, WorkerId, WorkerInfo,
};

use crate::fold::fold;
use crate::store::Store;

/// How long to wait until workers know that their results are stored. Who does not would have them
/// stored twice by another server.
const ACKNOWLEDGED: Duration = Duration::from_secs(2);

/// A gathering. What has come is kept where [`proceed`](Self::proceed) is dropped before its end.
pub(crate) struct Gathering<W: DistributedWorker> {
    master: MasterWorker<W>,
    /// By index.
    answers: Vec<Option<Result<WorkerRecord, CallError>>>,
    /// What workers that were gone before had delivered.
    of_lost: Vec<(WorkerId, WorkerRecord)>,
    metrics: Vec<Metric>,
    without_metrics: Vec<(WorkerInfo, CallError)>,
}

/// A worker that did not give everything.
#[derive(Debug, Clone)]
pub(crate) struct Silent {
    pub(crate) worker: WorkerInfo,
    /// What is missing.
    pub(crate) what: &'static str,
    pub(crate) reason: String,
}

/// What came of a gathering.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    /// In the order of the workers.
    pub(crate) results: Vec<ResultLine>,
    pub(crate) metrics: Vec<Metric>,
    pub(crate) silent: Vec<Silent>,
}

impl<W: DistributedWorker> Gathering<W> {
    /// A gathering from everybody in `master`, which is a whole roster.
    pub(crate) fn new(master: MasterWorker<W>) -> Self {
        let of_lost = engine::records_of_lost(&master);
        let answers = vec![None; master.len()];
        Self { master, answers, of_lost, metrics: Vec::new(), without_metrics: Vec::new() }
    }

    /// Asks everybody, and waits for the answers `within` this time, once for results and once for
    /// metrics.
    pub(crate) async fn proceed(&mut self, within: Duration) {
        self.gather_records(within).await;
        // Who did not answer once is not waited for again.
        let answers = &self.answers;
        let answered =
            |worker: &WorkerInfo| matches!(answers.get(worker.index()), Some(Some(Ok(_))));
        let answered = self.master.select(answered);
        (self.metrics, self.without_metrics) = engine::gather_metrics(&answered, within).await;
    }

    /// Asks everybody for results alone.
    async fn gather_records(&mut self, within: Duration) {
        let mut outcomes = engine::gather_records(&self.master).timeout(within).stream();
        while let Some(outcome) = outcomes.next().await {
            if let Some(answer) = self.answers.get_mut(outcome.worker.index()) {
                *answer = Some(outcome.result);
            }
        }
    }

    /// Stores what has come, if there is a store, and acknowledges that to the workers. What could not
    /// be done.
    pub(crate) async fn store(&self, store: Option<&Store>, within: Duration) -> Option<String> {
        let store = store?;
        let mut records = engine::records_of_lost(&self.master);
        let mut stored = Vec::new();
        for (worker, answer) in self.master.workers().iter().zip(&self.answers) {
            if let Some(Ok(record)) = answer {
                if record.lines.len() > record.stored {
                    stored.push((worker.info().id(), (record.id, record.lines.len() as u64)));
                }
                records.push((worker.info().id().clone(), record.clone()));
            }
        }
        if let Err(error) = store.store(records).await {
            return Some(error.to_string());
        }
        // Those alone that have answered just now: nobody else is waited for.
        let news = self.master.select(|worker| stored.iter().any(|(id, _)| *id == worker.id()));
        let counts: Vec<(u64, u64)> = stored.iter().map(|(_, count)| *count).collect();
        let acknowledged = engine::acknowledge(&news, &counts).timeout(within.min(ACKNOWLEDGED));
        for outcome in acknowledged.outcomes().await {
            if let Err(error) = outcome.result {
                let worker = outcome.worker.id();
                tracing::debug!("{worker} does not know that its results are stored: {error}");
            }
        }
        None
    }

    /// Stores what everybody has recorded so far and is not stored yet: an error if that cannot be.
    pub(crate) async fn store_all(
        master: MasterWorker<W>,
        store: &Store,
        within: Duration,
    ) -> Result<(), String> {
        let mut gathering = Self::new(master);
        gathering.gather_records(within).await;
        if let Some(error) = gathering.store(Some(store), within).await {
            return Err(error);
        }
        let failures = gathering.finish().failures();
        if failures.is_empty() { Ok(()) } else { Err(failures.join("; ")) }
    }

    pub(crate) fn finish(self) -> Gathered {
        let mut gathered = Gathered { metrics: self.metrics, ..Gathered::default() };
        // Who was gone before may have come back since, and who was there may have gone.
        let mut records = Records::default();
        self.of_lost.into_iter().for_each(|(worker, record)| records.add(worker, record));
        let now = engine::records_of_lost(&self.master);
        now.into_iter().for_each(|(worker, record)| records.add(worker, record));
        for (worker, answer) in self.master.workers().iter().zip(self.answers) {
            let info = worker.info();
            match answer {
                Some(Ok(record)) => {
                    records.add(info.id().clone(), record);
                }
                Some(Err(error)) => {
                    gathered.silent.push(Silent::new(info, "results", reason(&error)));
                }
                None => {
                    let reason = "not waited for".to_owned();
                    gathered.silent.push(Silent::new(info, "results", reason));
                }
            }
        }
        let silent = |(worker, error)| Silent::new(&worker, "metrics", reason(&error));
        gathered.silent.extend(self.without_metrics.into_iter().map(silent));
        gathered.results = records.into_lines();
        gathered
    }
}

/// Records, each of which may be known from several sides: a record only grows, so the longest account of
/// it is whole.
#[derive(Default)]
struct Records {
    all: Vec<(WorkerId, WorkerRecord)>,
    /// Where in it each is.
    places: HashMap<(WorkerId, u64), usize>,
}

impl Records {
    fn add(&mut self, worker: WorkerId, record: WorkerRecord) {
        let place = *self.places.entry((worker.clone(), record.id)).or_insert(self.all.len());
        match self.all.get_mut(place) {
            Some((_, known)) if known.lines.len() >= record.lines.len() => {}
            Some((_, known)) => *known = record,
            None => self.all.push((worker, record)),
        }
    }

    /// In the order of the workers, and of each in the order in which they were added.
    fn into_lines(mut self) -> Vec<ResultLine> {
        self.all.sort_by(|(a, _), (b, _)| a.cmp(b));
        let records = self.all.into_iter();
        records.flat_map(|(_, record)| record.lines.into_iter().chain(record.notice)).collect()
    }
}

impl Silent {
    fn new(worker: &WorkerInfo, what: &'static str, reason: String) -> Self {
        Self { worker: worker.clone(), what, reason }
    }

    /// A line for each kind of silence.
    pub(crate) fn messages(silent: &[Self]) -> impl Iterator<Item = String> {
        let entries = silent.iter().map(|one| (one.worker.id(), (one.what, one.reason.as_str())));
        let line = |(ids, (what, reason))| format!("no {what} from {ids}: {reason}");
        fold(entries).into_iter().map(line).collect::<Vec<_>>().into_iter()
    }
}

impl Gathered {
    /// A line for everything that could not be had.
    pub(crate) fn failures(&self) -> Vec<String> {
        Silent::messages(&self.silent).collect()
    }
}

/// Whether a method was executed, which a call's error tells, is no question here.
fn reason(error: &CallError) -> String {
    match error {
        CallError::TimedOut { after } => format!("no answer within {after:?} (gather_timeout)"),
        CallError::Lost { reason } => format!("lost: {reason}"),
        CallError::NotSent { reason } => reason.clone(),
        error => error.to_string(),
    }
}
