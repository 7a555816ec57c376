//! What workers that are gone had told of their records.

use std::collections::BTreeMap;

use super::conn::Conn;
use super::core::Core;
use super::roster::Audience;
use crate::id::WorkerId;
use crate::record::{Recorded, ResultLine, WorkerRecord};
use crate::sync::lock;

/// By worker, and how many lines that is in all: to count them would take a pass over everybody who is
/// gone, for each who goes.
#[derive(Debug, Default)]
pub(super) struct Left {
    lines: usize,
    records: BTreeMap<WorkerId, Vec<LeftRecord>>,
}

#[derive(Debug)]
struct LeftRecord {
    /// Of which process it was.
    incarnation: u64,
    /// Which record it is of.
    record: u64,
    lines: Vec<Recorded>,
}

impl Left {
    fn push(&mut self, id: &WorkerId, record: LeftRecord) {
        self.lines += record.lines.len();
        self.records.entry(id.clone()).or_default().push(record);
    }

    /// Takes out what a worker had told when it was of the process `incarnation`.
    fn take(&mut self, id: &WorkerId, incarnation: u64) -> Vec<LeftRecord> {
        let Some(records) = self.records.get_mut(id) else { return Vec::new() };
        let taken = records.extract_if(.., |left| left.incarnation == incarnation);
        let taken: Vec<_> = taken.collect();
        if records.is_empty() {
            self.records.remove(id);
        }
        self.lines -= taken.iter().map(|left| left.lines.len()).sum::<usize>();
        taken
    }

    fn remove(&mut self, id: &WorkerId) {
        let removed = self.records.remove(id).unwrap_or_default();
        self.lines -= removed.iter().map(|left| left.lines.len()).sum::<usize>();
    }
}

impl Core {
    /// What workers that are gone had recorded, as far as they had told.
    pub(crate) fn results_of_lost(&self) -> Vec<ResultLine> {
        let left = lock(&self.left);
        let lines = left.records.iter().flat_map(|(id, left)| {
            let lines = left.iter().flat_map(|left| left.lines.iter().cloned());
            lines.map(|line| line.into_line(id.clone()))
        });
        lines.collect()
    }

    /// The same, each record on its own.
    pub(crate) fn records_of_lost(&self) -> Vec<(WorkerId, WorkerRecord)> {
        let left = lock(&self.left);
        let records = left.records.iter();
        let records = records.flat_map(|(id, left)| left.iter().map(move |left| (id, left)));
        let record = |(id, left): (&WorkerId, &LeftRecord)| {
            let lines = left.lines.iter().map(|line| line.clone().into_line(id.clone()));
            (id.clone(), WorkerRecord::new(left.record, lines.collect(), 0))
        };
        records.map(record).collect()
    }

    /// Keeps what the workers of a connection that has ended had told of their records.
    pub(super) fn keep_records(&self, conn: &Conn) {
        let told = std::mem::take(&mut *lock(&conn.told_records));
        let mut left = lock(&self.left);
        for (id, record) in conn.workers.iter().zip(told) {
            // As many lines of all that are gone as one worker may have.
            let room = self.limits.max_results.saturating_sub(left.lines);
            let (incarnation, of) = (conn.incarnation, record.id);
            let lines: Vec<_> = record.into_lines().into_iter().take(room).collect();
            if !lines.is_empty() {
                left.push(id, LeftRecord { incarnation, record: of, lines });
            }
        }
    }

    /// A client is there: if it is one that was lost, its workers have their records still, and
    /// what they had told is not to be counted twice. It is kept in case they are lost again before
    /// they have told it again.
    pub(super) fn hand_records_back(&self, conn: &Conn) {
        let mut left = lock(&self.left);
        let mut told = lock(&conn.told_records);
        // Nothing is told any more where the connection has ended meanwhile: it stays where it is.
        for (id, record) in conn.workers.iter().zip(told.iter_mut()) {
            for left in left.take(id, conn.incarnation) {
                record.id = left.record;
                record.before.extend(left.lines);
            }
        }
    }

    /// The records of these workers are dropped.
    pub(super) fn handle_reset(&self, audience: &Audience) {
        for member in audience.members() {
            member.conn.handle_reset(member.slot);
        }
        let mut left = lock(&self.left);
        if audience.is_everybody() {
            *left = Left::default();
        } else {
            for member in audience.members() {
                left.remove(member.info.id());
            }
        }
    }
}
