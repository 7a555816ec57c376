//! What workers that are gone had told of their records.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;

use super::conn::Conn;
use super::core::Core;
use super::kept::{Bounds, KeptRecord};
use super::roster::Audience;
use crate::id::WorkerId;
use crate::metrics::WorkerMetrics;
use crate::record::{ResultLine, WorkerRecord};
use crate::sync::lock;
use crate::wire::{MeasuredNews, Record};

/// By worker.
pub(super) type Left = BTreeMap<WorkerId, Vec<LeftRecord>>;

#[derive(Debug)]
pub(super) struct LeftRecord {
    /// Of which process it was.
    incarnation: u64,
    kept: KeptRecord,
}

/// What a worker that is gone had measured.
#[derive(Debug, Clone)]
pub(crate) struct MeasuredOfLost {
    pub(crate) worker: WorkerId,
    /// Of which record it is.
    pub(crate) record: u64,
    /// When it came.
    pub(crate) told_at: Instant,
    pub(crate) measured: WorkerMetrics,
}

impl Core {
    fn bounds(&self) -> Bounds<'_> {
        Bounds { limits: &self.limits, all: &self.kept }
    }

    /// A worker tells lines that it has recorded.
    pub(super) fn handle_record(&self, conn: &Conn, told: Record) {
        lock(&conn.told_records).handle_record(told, self.bounds());
    }

    /// A worker tells what it has measured.
    pub(super) fn handle_measured(&self, conn: &Conn, told: &MeasuredNews, metrics: &Bytes) {
        lock(&conn.told_records).handle_measured(told, metrics, self.bounds());
    }

    /// What workers that are gone had recorded, as far as they had told.
    pub(crate) fn results_of_lost(&self) -> Vec<ResultLine> {
        let records = self.records_of_lost().into_iter();
        records.flat_map(|(_, record)| record.lines.into_iter().chain(record.notice)).collect()
    }

    /// The same, each record on its own.
    pub(crate) fn records_of_lost(&self) -> Vec<(WorkerId, WorkerRecord)> {
        let left = lock(&self.left);
        let records = left.iter().flat_map(|(id, left)| left.iter().map(move |left| (id, left)));
        records.map(|(id, left)| (id.clone(), left.kept.to_record(id))).collect()
    }

    /// What workers that are gone had measured, as far as they had told.
    pub(crate) fn measured_of_lost(&self) -> Vec<MeasuredOfLost> {
        let left = lock(&self.left);
        let records = left.iter().flat_map(|(id, left)| left.iter().map(move |left| (id, left)));
        let of = |(id, left): (&WorkerId, &LeftRecord)| {
            let (told_at, measured) = left.kept.measured(self.limits.max_metrics)?;
            Some(MeasuredOfLost { worker: id.clone(), record: left.kept.id, told_at, measured })
        };
        records.filter_map(of).collect()
    }

    /// Keeps what the workers of a connection that has ended had told of their records.
    pub(super) fn keep_records(&self, conn: &Conn) {
        let told = lock(&conn.told_records).take();
        let mut left = lock(&self.left);
        for (id, kept) in conn.workers.iter().zip(told) {
            let Some(kept) = kept else { continue };
            if kept.is_empty() {
                self.kept.release(kept.bytes());
            } else {
                let record = LeftRecord { incarnation: conn.incarnation, kept: *kept };
                left.entry(id.clone()).or_default().push(record);
            }
        }
    }

    /// A client is there: if it is one that was lost, its workers have their records still, and
    /// what they had told is not to be counted twice. It is kept in case they are lost again before
    /// they have told it again.
    pub(super) fn hand_records_back(&self, conn: &Conn) {
        let mut left = lock(&self.left);
        let mut told = lock(&conn.told_records);
        if !told.is_open() {
            // Nothing is told any more where the connection has ended meanwhile: it stays where it is.
            return;
        }
        for (slot, id) in conn.workers.iter().enumerate() {
            let Some(records) = left.get_mut(id) else { continue };
            let own = records.extract_if(.., |left| left.incarnation == conn.incarnation);
            for record in own.collect::<Vec<_>>() {
                if let Some(gone) = told.hand_back(slot, record.kept) {
                    self.kept.release(gone.bytes());
                }
            }
            if records.is_empty() {
                left.remove(id);
            }
        }
    }

    /// The records of these workers are dropped.
    pub(super) fn handle_reset(&self, audience: &Audience) {
        for member in audience.members() {
            lock(&member.conn.told_records).handle_reset(member.slot, &self.kept);
        }
        let mut left = lock(&self.left);
        let gone: Vec<LeftRecord> = if audience.is_everybody() {
            std::mem::take(&mut *left).into_values().flatten().collect()
        } else {
            let members = audience.members().iter();
            members.filter_map(|member| left.remove(member.info.id())).flatten().collect()
        };
        drop(left);
        gone.iter().for_each(|record| self.kept.release(record.kept.bytes()));
    }
}
