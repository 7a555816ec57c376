//! The file that servers store results in: it outlives them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::subject::{Ledger, Subject};
use super::{millis, one_in};
use crate::engine::{self, StoredLines};
use crate::sync::lock;
use crate::{MasterWorker, WorkerId};

/// A line that is stored: of which worker and record, its number, and its text.
pub(super) type Line = (WorkerId, u64, usize, String);

/// The file as one server writes it: one at a time.
#[derive(Debug)]
pub(super) struct File(tokio::sync::Mutex<StoredLines>);

impl File {
    /// As a server finds it that starts.
    pub(super) fn open(ledger: &Ledger) -> Arc<Self> {
        let mut stored = StoredLines::default();
        for (worker, record, number, _) in &*lock(&ledger.file) {
            stored.note(worker, *record, *number);
        }
        Arc::new(Self(tokio::sync::Mutex::new(stored)))
    }

    /// Gathers, stores and acknowledges. The server may be killed anywhere in it.
    pub(super) async fn store(&self, ledger: &Ledger, master: &MasterWorker<Subject>) {
        let mut stored = self.0.lock().await;
        let (mut records, mut answered) = (Vec::new(), Vec::new());
        let gathered = engine::gather_records(master).timeout(Duration::from_secs(3));
        for outcome in gathered.outcomes().await {
            let (worker, Ok(record)) = (outcome.worker.id().clone(), outcome.result) else {
                continue;
            };
            let of = |line: &&Line| (&line.0, line.1) == (&worker, record.id);
            let there = lock(&ledger.file).iter().filter(of).count();
            if record.stored > there {
                let told = record.stored;
                ledger.violation(format!("{worker} takes {told} lines for stored, of {there}"));
            }
            answered.push((worker.clone(), (record.id, record.lines.len() as u64)));
            records.push((worker, record));
        }
        // Behind the answers: who was lost meanwhile is known from both sides.
        records.extend(engine::records_of_lost(master));
        let unstored = stored.unstored(&records);
        for news in &unstored {
            let (worker, record) = &records[news.record];
            for number in news.lines.clone() {
                let text = record.lines[number].message.clone();
                ledger.tell(format!("stored: {text} of {worker}"));
                lock(&ledger.file).push((worker.clone(), record.id, number, text));
                if one_in(6) {
                    sleep(millis(0, 30)).await;
                }
            }
        }
        stored.handle_stored(&records, &unstored);
        if one_in(2) {
            sleep(millis(0, 200)).await;
        }
        let told = master.select(|worker| answered.iter().any(|(id, _)| id == worker.id()));
        let counts: Vec<(u64, u64)> = answered.iter().map(|(_, count)| *count).collect();
        let acknowledged = engine::acknowledge(&told, &counts).timeout(Duration::from_secs(1));
        acknowledged.outcomes().await;
    }
}

/// Each line is there once, and nothing that nobody has recorded; `kept` is all that is known, by worker.
pub(super) fn look_at(ledger: &Ledger, kept: &BTreeMap<String, Vec<String>>) {
    let file = lock(&ledger.file).clone();
    let lines: Vec<(&str, &str)> =
        file.iter().map(|(worker, _, _, text)| (worker.as_str(), text.as_str())).collect();
    let distinct: BTreeSet<_> = lines.iter().collect();
    if distinct.len() != lines.len() {
        ledger.violation(format!("of {} lines stored, {} differ", lines.len(), distinct.len()));
    }
    for (worker, text) in &lines {
        let process = super::callers::process_of(text).unwrap_or_default();
        if !ledger.recorded(process, worker).iter().any(|line| line == text) {
            ledger.violation(format!("{worker} never recorded {text}, which is stored"));
        }
    }
    for (worker, texts) in kept {
        for text in texts {
            if !distinct.contains(&(worker.as_str(), text.as_str())) {
                ledger.violation(format!("{text} of {worker} is not stored"));
            }
        }
    }
}
