//! What the schedule of the soak test does: calls of every kind, of whoever is there, and a count of
//! what came of them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use dp_core::{CallError, MasterWorker, Outcomes};
use tokio::time::{sleep, timeout};

use crate::Subject;

/// Nothing that is called takes so long, but for a hang.
const HANG: Duration = Duration::from_secs(60);

/// How many outcomes of each kind there were; `hangs` counts calls without an end.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tally(BTreeMap<String, u64>);

impl Tally {
    /// How many of this kind.
    pub fn of(&self, kind: &str) -> u64 {
        self.0.get(kind).copied().unwrap_or_default()
    }

    /// Adds those of another.
    pub fn add(&mut self, other: &Self) {
        other.0.iter().for_each(|(kind, count)| self.count(kind, *count));
    }

    fn count(&mut self, kind: &str, count: u64) {
        *self.0.entry(kind.to_owned()).or_default() += count;
    }

    fn outcomes<T>(&mut self, method: &str, outcomes: &Outcomes<T>) {
        self.count("calls", 1);
        for outcome in outcomes {
            let kind = match &outcome.result {
                Ok(_) => "ok",
                Err(CallError::Lost { .. }) => "lost",
                Err(CallError::NotSent { .. }) => "not-sent",
                Err(CallError::TimedOut { .. }) => "timed-out",
                // At a barrier: those who missed one that was lost.
                Err(CallError::Failed { .. }) if method == "meet" => "missed-others",
                Err(error) => {
                    eprintln!("{method} on {}: {error}", outcome.worker.id());
                    "other"
                }
            };
            self.count(kind, 1);
        }
    }
}

/// `KIND=COUNT KIND=COUNT ..`
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<String> =
            self.0.iter().map(|(kind, count)| format!("{kind}={count}")).collect();
        f.write_str(&counts.join(" "))
    }
}

impl FromStr for Tally {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let mut tally = Self::default();
        for entry in text.split_whitespace() {
            let (kind, count) =
                entry.split_once('=').ok_or_else(|| anyhow::anyhow!("no count: {entry}"))?;
            tally.count(kind, count.parse()?);
        }
        Ok(tally)
    }
}

/// Calls for a few seconds.
pub(crate) async fn call(master: &MasterWorker<Subject>) -> Tally {
    let mut tally = Tally::default();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(4) {
        if timeout(HANG, round(master, &mut tally)).await.is_err() {
            tally.count("hangs", 1);
        }
        sleep(Duration::from_millis(50)).await;
    }
    tally
}

async fn round(master: &MasterWorker<Subject>, tally: &mut Tally) {
    let name = "x".repeat(300);
    for _ in 0..5 {
        tally.outcomes("set_name", &master.set_name(name.clone()).outcomes().await);
    }
    let each = master.each(|worker| worker.set_name(worker.info().id().to_string()));
    tally.outcomes("set_name", &each.outcomes().await);
    tally.outcomes("block", &master.block(2).outcomes().await);
    let late = master.nap(400).timeout(Duration::from_millis(200)).outcomes().await;
    tally.outcomes("nap", &late);
    tally.outcomes("meet", &master.meet(5).outcomes().await);
    // Given up at once: it is cancelled wherever it is.
    let _ = timeout(Duration::from_millis(20), master.endless().outcomes()).await;
    let items = 0..2 * master.len() as u64;
    let mapped = master.map(items, |worker, _| worker.block(1)).retry_maybe_executed().await;
    tally.count(if mapped.is_ok() { "maps" } else { "maps-failed" }, 1);
    master.greet("Ada").detach().await;
    let _ = master.synchro("all greeted").await;
}
