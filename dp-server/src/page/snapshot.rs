//! What the page shows at a moment, and what has changed since the one before.

use std::collections::BTreeMap;
use std::time::Instant;

use dp_core::engine::{BarrierStatus, WorkerStatus};
use dp_core::{DistributedWorker, Metric, WorkerId, fold_ids};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::export::metric_value;
use crate::logs::Recently;
use crate::run::Runner;
use crate::runs::{Origin, RunState};

/// So many of those awaited at a barrier are named.
const MOST_AWAITED: usize = 20;
/// Two measurements of one moment differ by less than this, in milliseconds.
const SAME_MOMENT: i64 = 300;

/// A worker, as a cell of the grid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) state: CellState,
    /// Since when, in milliseconds since the epoch.
    pub(super) since: i64,
    pub(super) waiting: usize,
    pub(super) address: String,
    pub(super) version: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CellState {
    Idle,
    /// Its turn in a postponed call of this method is still to come.
    Postponed(String),
    /// In this method.
    Busy(String),
    /// For this reason.
    Lost(String),
}

/// Everything that is shown, but for the points of the charts.
#[derive(Debug, Clone, Default)]
pub(super) struct Snapshot {
    cells: BTreeMap<WorkerId, Cell>,
    /// By key.
    rest: Map<String, Value>,
}

impl Snapshot {
    pub(super) fn take<W: DistributedWorker>(
        runner: &Runner<W>,
        lost: &BTreeMap<WorkerId, Cell>,
        before: &Self,
        past: &Value,
        totals: &Value,
    ) -> Self {
        let own = W::contract().methods;
        let all = runner.fleet.status();
        let now = Timestamp::now().as_millisecond();
        let mut cells = lost.clone();
        for status in all {
            let is_own = |method: &str| own.iter().any(|known| known.name == method);
            let old = before.cells.get(status.info.id());
            cells.insert(status.info.id().clone(), cell(status, now, old, is_own));
        }
        let mut rest = Map::new();
        rest.insert("frequency".to_owned(), json!(runner.fleet.frequency()));
        rest.insert("present".to_owned(), json!(runner.fleet.len()));
        rest.insert("barriers".to_owned(), runner.fleet.barriers().iter().map(barrier).collect());
        rest.insert("run".to_owned(), current(&runner.runs.watch().borrow()));
        rest.insert("past".to_owned(), past.clone());
        rest.insert("logs".to_owned(), runner.recent_logs.lines().iter().map(logged).collect());
        rest.insert("totals".to_owned(), totals.clone());
        Self { cells, rest }
    }

    /// All of it, for somebody who knows nothing yet.
    pub(super) fn full<W: DistributedWorker>(&self, runner: &Runner<W>) -> Map<String, Value> {
        let contract = W::contract();
        let methods: Vec<Value> = contract
            .methods
            .iter()
            .map(|method| {
                json!({
                    "name": method.name,
                    "signature": method.signature,
                    "docs": method.docs,
                })
            })
            .collect();
        let mut full = self.rest.clone();
        full.insert("worker".to_owned(), json!(contract.worker));
        full.insert("version".to_owned(), json!(contract.version));
        full.insert("needed".to_owned(), json!(runner.settings.workers));
        full.insert("methods".to_owned(), json!(methods));
        full.insert("cells".to_owned(), self.cells.iter().map(row).collect());
        full
    }

    /// What somebody who knows `before` does not know yet.
    pub(super) fn changes(&self, before: &Self) -> Map<String, Value> {
        let mut changes = Map::new();
        for (key, value) in &self.rest {
            if before.rest.get(key) != Some(value) {
                changes.insert(key.clone(), value.clone());
            }
        }
        let changed = self.cells.iter().filter(|(id, cell)| before.cells.get(*id) != Some(*cell));
        let changed: Vec<Value> = changed.map(row).collect();
        if !changed.is_empty() {
            changes.insert("changed".to_owned(), json!(changed));
        }
        let gone = before.cells.keys().filter(|id| !self.cells.contains_key(*id));
        let gone: Vec<&str> = gone.map(WorkerId::as_str).collect();
        if !gone.is_empty() {
            changes.insert("gone".to_owned(), json!(gone));
        }
        changes
    }

    pub(super) fn insert(&mut self, key: &str, value: Value) {
        self.rest.insert(key.to_owned(), value);
    }

    pub(super) fn cell(&self, id: &WorkerId) -> Option<&Cell> {
        self.cells.get(id)
    }
}

/// A line of a client's log.
fn logged(line: &Recently) -> Value {
    json!([line.at, line.level.as_str().to_lowercase(), line.text])
}

fn cell(status: WorkerStatus, now: i64, old: Option<&Cell>, is_own: impl Fn(&str) -> bool) -> Cell {
    // What the page itself asks of a worker does not make it busy.
    let asks =
        |method: &str| matches!(method, "metrics" | "results" | "reset_results" | "acknowledge");
    let running =
        status.running.filter(|running| is_own(&running.method) || !asks(&running.method));
    let (state, mut since) = match running {
        Some(running) => {
            let since = now - i64::try_from(running.since.as_millis()).unwrap_or(0);
            (CellState::Busy(running.method), since)
        }
        None => (status.postponed.map_or(CellState::Idle, CellState::Postponed), 0),
    };
    if let Some(old) = old
        && old.state == state
        && (old.since - since).abs() < SAME_MOMENT
    {
        since = old.since;
    }
    Cell {
        state,
        since,
        waiting: status.waiting,
        address: status.info.address().to_owned(),
        version: status.version,
    }
}

fn row((id, cell): (&WorkerId, &Cell)) -> Value {
    let postponed;
    let (state, text) = match &cell.state {
        CellState::Idle => (0, ""),
        CellState::Postponed(method) => {
            postponed = format!("waiting for its turn in {method}");
            (0, postponed.as_str())
        }
        CellState::Busy(method) => (1, method.as_str()),
        CellState::Lost(reason) => (2, reason.as_str()),
    };
    json!([id.as_str(), state, text, cell.since, cell.waiting, cell.address, cell.version])
}

fn current(runs: &RunState) -> Value {
    match &runs.current {
        None => Value::Null,
        Some(run) => json!({
            "number": run.number,
            "page": run.origin == Origin::Page,
            "started": run.started.as_millisecond(),
            "gathering": run.gathering,
        }),
    }
}

fn barrier(status: &BarrierStatus) -> Value {
    let awaited: Vec<Value> = status
        .awaited
        .iter()
        .take(MOST_AWAITED)
        .map(|one| {
            let what = if one.is_postponed { "waiting for its turn in" } else { "in" };
            json!([one.worker.id().as_str(), format!("{what} {}", one.method)])
        })
        .collect();
    let now = Timestamp::now().as_millisecond();
    // The call is one: they are in it for as long as each other. To the second, so that it does not
    // change all the time.
    let since = status.awaited.first().map(|one| one.since.as_millis());
    let since = since.map(|since| (now - i64::try_from(since).unwrap_or(0)) / 1_000 * 1_000);
    json!({
        "token": status.token,
        "arrived": fold_ids(status.arrived.iter().map(|worker| worker.id())),
        "here": status.arrived.len(),
        "awaited": awaited,
        "missing": status.awaited.len(),
        "since": since,
    })
}

/// The runs that are over, in short.
pub(super) fn past(runs: &RunState) -> Value {
    let run = |past: &std::sync::Arc<crate::runs::Past>| {
        let report = &past.report;
        json!({
            "number": past.number,
            "page": past.origin == Origin::Page,
            "started": report.started().as_millisecond(),
            "seconds": report.elapsed().as_secs_f64(),
            "ok": report.is_ok(),
            "cancelled": report.is_cancelled(),
            "failures": report.failures(),
            "unwritten": report.unwritten(),
            "workers": report.outcomes().len(),
            "results": past.results,
            "metrics": totals(report.metrics()),
        })
    };
    runs.past.iter().map(run).collect()
}

/// The figures of metrics, over all of a run.
pub(super) fn totals(metrics: &[Metric]) -> Value {
    metrics.iter().map(metric_value).collect()
}

/// A worker that was lost just now.
pub(super) fn lost(reason: &str, address: &str, known: Option<&Cell>) -> Cell {
    Cell {
        state: CellState::Lost(reason.to_owned()),
        since: Timestamp::now().as_millisecond(),
        waiting: 0,
        address: address.to_owned(),
        version: known.map(|cell| cell.version.clone()).unwrap_or_default(),
    }
}

/// How long a run has gone on, in seconds.
pub(super) fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle() -> Cell {
        Cell {
            state: CellState::Idle,
            since: 0,
            waiting: 0,
            address: "a".to_owned(),
            version: "1".to_owned(),
        }
    }

    fn snapshot(cells: &[(&str, Cell)], frequency: f64) -> Snapshot {
        let cells = cells.iter().map(|(id, cell)| (WorkerId::new(*id).unwrap(), cell.clone()));
        let rest = Map::from_iter([("frequency".to_owned(), json!(frequency))]);
        Snapshot { cells: cells.collect(), rest }
    }

    #[test]
    fn changes_are_what_differs_and_nothing_else() {
        let busy = Cell { state: CellState::Busy("greet".to_owned()), since: 7, ..idle() };
        let before = snapshot(&[("w1", idle()), ("w2", idle()), ("w3", idle())], 1.0);
        let after = snapshot(&[("w1", idle()), ("w2", busy)], 2.0);
        assert_eq!(
            Value::Object(after.changes(&before)),
            json!({
                "frequency": 2.0,
                "changed": [["w2", 1, "greet", 7, 0, "a", "1"]],
                "gone": ["w3"],
            })
        );
        assert!(after.changes(&after).is_empty());
    }
}
