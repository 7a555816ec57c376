//! What workers have told of their records, kept for the case that they are lost.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;

use crate::id::WorkerId;
use crate::limits::Limits;
use crate::metrics::WorkerMetrics;
use crate::record;
use crate::record::{Recorded, ResultLine, WorkerRecord};
use crate::wire::{MeasuredNews, Record};

/// A record takes so many bytes beside what is in it.
const RECORD: usize = 256;

/// What metrics take in memory, to what they take encoded.
const MEASURED: usize = 16;

/// Bytes that are kept of the workers of all clients.
#[derive(Debug, Default)]
pub(super) struct KeptBytes(AtomicUsize);

impl KeptBytes {
    fn take(&self, bytes: usize, max: usize) -> bool {
        let before = self.0.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= max;
        if !fits {
            self.release(bytes);
        }
        fits
    }

    pub(super) fn release(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the workers of one client have told.
#[derive(Debug)]
pub(super) struct Told {
    bytes: usize,
    /// By slot; empty where the connection has ended.
    workers: Vec<ToldWorker>,
}

#[derive(Debug, Default)]
struct ToldWorker {
    /// How often it was told to drop its record over this connection.
    resets: u32,
    record: Option<Box<KeptRecord>>,
}

/// What is kept of one record, from its first line on.
#[derive(Debug, Default)]
pub(super) struct KeptRecord {
    pub(super) id: u64,
    lines: Vec<Recorded>,
    /// How many lines were told over this connection: a process tells its record from the start over
    /// each.
    told: usize,
    bytes: usize,
    /// The rest was not kept.
    cut: Option<Cut>,
    /// Encoded, and when it came.
    measured: Bytes,
    measured_at: Option<Instant>,
}

/// A bound that was met.
#[derive(Debug, Clone, Copy)]
struct Cut {
    max: usize,
    what: &'static str,
}

/// The bounds, and what is kept of everybody.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds<'a> {
    pub(super) limits: &'a Limits,
    pub(super) all: &'a KeptBytes,
}

impl Bounds<'_> {
    /// Takes room for a client of which so many bytes are kept; or says what there is too much of.
    fn take(&self, client: usize, bytes: usize) -> Result<(), Cut> {
        let max = self.limits.max_kept_bytes_per_client;
        if client.saturating_add(bytes) > max {
            return Err(Cut {
                max,
                what: "bytes of the workers of one client (max_kept_bytes_per_client",
            });
        }
        let max = self.limits.max_kept_bytes;
        match self.all.take(bytes, max) {
            true => Ok(()),
            false => Err(Cut { max, what: "bytes of all workers (max_kept_bytes" }),
        }
    }
}

impl Told {
    pub(super) fn new(workers: usize) -> Self {
        Self { bytes: 0, workers: (0..workers).map(|_| ToldWorker::default()).collect() }
    }

    /// A worker tells lines that it has recorded.
    pub(super) fn handle_record(&mut self, told: Record, bounds: Bounds<'_>) {
        let (id, slot) = (told.record, told.worker);
        let Some((bytes, record)) = self.record(slot, told.resets, id, bounds) else { return };
        for line in told.lines {
            record.told += 1;
            // What was told over an earlier connection is there already.
            if record.told <= record.lines.len() || record.cut.is_some() {
                continue;
            }
            match record.room(&line, *bytes, bounds) {
                Ok(taken) => {
                    *bytes += taken;
                    record.bytes += taken;
                    record.lines.push(line);
                }
                Err(cut) => record.cut = Some(cut),
            }
        }
    }

    /// A worker tells all that it has measured.
    pub(super) fn handle_measured(
        &mut self,
        told: &MeasuredNews,
        metrics: &Bytes,
        bounds: Bounds<'_>,
    ) {
        let (id, slot) = (told.record, told.worker);
        let Some((bytes, record)) = self.record(slot, told.resets, id, bounds) else { return };
        let (before, now) = (record.measured.len() * MEASURED, metrics.len() * MEASURED);
        *bytes -= before;
        record.bytes -= before;
        bounds.all.release(before);
        match bounds.take(*bytes, now) {
            Ok(()) => {
                *bytes += now;
                record.bytes += now;
                // A copy: it may be a small part of what was read.
                record.measured = Bytes::copy_from_slice(metrics);
                record.measured_at = Some(Instant::now());
            }
            Err(cut) => {
                record.measured = Bytes::new();
                record.cut.get_or_insert(cut);
            }
        }
    }

    /// The record `id` of a worker that has dropped its records so often; and the bytes of the client.
    fn record(
        &mut self,
        slot: u32,
        resets: u32,
        id: u64,
        bounds: Bounds<'_>,
    ) -> Option<(&mut usize, &mut KeptRecord)> {
        let worker = self.workers.get_mut(slot as usize)?;
        if worker.resets != resets {
            return None;
        }
        if worker.record.as_ref().is_some_and(|record| record.id != id) {
            // Of another server's time: the process has dropped it since.
            let gone = worker.record.take().map_or(0, |record| record.bytes);
            self.bytes -= gone;
            bounds.all.release(gone);
        }
        if worker.record.is_none() {
            let mut record = KeptRecord { id, ..KeptRecord::default() };
            match bounds.take(self.bytes, RECORD) {
                Ok(()) => record.bytes = RECORD,
                Err(cut) => record.cut = Some(cut),
            }
            self.bytes += record.bytes;
            worker.record = Some(Box::new(record));
        }
        Some((&mut self.bytes, worker.record.as_mut()?))
    }

    /// The worker at `slot` is told to drop its record.
    pub(super) fn handle_reset(&mut self, slot: u32, all: &KeptBytes) {
        if let Some(worker) = self.workers.get_mut(slot as usize) {
            worker.resets = worker.resets.wrapping_add(1);
            let gone = worker.record.take().map_or(0, |record| record.bytes);
            self.bytes -= gone;
            all.release(gone);
        }
    }

    /// Takes out what is kept, by slot, where the connection has ended. It still counts as kept.
    pub(super) fn take(&mut self) -> Vec<Option<Box<KeptRecord>>> {
        self.bytes = 0;
        std::mem::take(&mut self.workers).into_iter().map(|worker| worker.record).collect()
    }

    /// Whether the connection has not ended.
    pub(super) fn is_open(&self) -> bool {
        !self.workers.is_empty()
    }

    /// Takes back what the same process had told over an earlier connection. What it has no room for.
    pub(super) fn hand_back(&mut self, slot: usize, mut record: KeptRecord) -> Option<KeptRecord> {
        let worker = self.workers.get_mut(slot)?;
        if worker.record.is_some() {
            // It has told of another already.
            return Some(record);
        }
        // There may be room again for what comes behind.
        (record.told, record.cut) = (0, None);
        self.bytes += record.bytes;
        worker.record = Some(Box::new(record));
        None
    }
}

impl KeptRecord {
    /// What it counts for.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.measured.is_empty() && self.cut.is_none()
    }

    fn room(&self, line: &Recorded, client: usize, bounds: Bounds<'_>) -> Result<usize, Cut> {
        // One line more than there may be: a full record says so in its last.
        let max = bounds.limits.max_results;
        if self.lines.len() > max {
            return Err(Cut { max, what: "lines (max_results" });
        }
        let max = bounds.limits.max_result_bytes;
        if self.bytes > max.saturating_add(RECORD) {
            return Err(Cut { max, what: "bytes (max_result_bytes" });
        }
        let bytes = line.cost();
        bounds.take(client, bytes)?;
        Ok(bytes)
    }

    /// What is known of a worker that is lost; where that is not all, it says so.
    pub(super) fn to_record(&self, id: &WorkerId) -> WorkerRecord {
        let lines = self.lines.iter().map(|line| line.clone().into_line(id.clone())).collect();
        let mut record = WorkerRecord::new(self.id, lines, 0);
        record.notice = self.cut.map(|Cut { max, what }| {
            let time = self.lines.last().map_or_else(record::now, Recorded::time);
            let message = format!(
                "this worker was lost, and with it what it recorded behind this: the server keeps no \
                 more than {max} {what} of the server)"
            );
            ResultLine::new(id.clone(), time, message)
        });
        record
    }

    /// What was measured, and when that came. What no honest worker sends is left out.
    pub(super) fn measured(&self, max_metrics: usize) -> Option<(Instant, WorkerMetrics)> {
        let metrics = WorkerMetrics::decode(self.measured.clone(), max_metrics).ok()?;
        Some((self.measured_at?, metrics))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Recorder;

    fn lines(count: usize) -> Vec<Recorded> {
        let recorder = Recorder::new(&Limits::default());
        (0..count).for_each(|line| recorder.add(recorder.current(), line.to_string()));
        recorder.take_news(1 << 20).map(|(_, _, lines)| lines).unwrap_or_default()
    }

    fn news(worker: u32, count: usize) -> Record {
        Record { worker, resets: 0, record: 7, lines: lines(count) }
    }

    fn known(told: &mut Told, slot: usize) -> Vec<String> {
        let record = told.workers[slot].record.as_ref().expect("told");
        let record = record.to_record(&WorkerId::new("w").unwrap());
        let lines = record.lines.into_iter().chain(record.notice);
        lines.map(|line| line.message).collect()
    }

    #[test]
    fn what_was_told_before_counts_until_as_much_has_been_told_again() {
        let (limits, all) = (Limits::default(), KeptBytes::default());
        let bounds = Bounds { limits: &limits, all: &all };
        for again in [0, 2, 3, 4] {
            let mut first = Told::new(1);
            first.handle_record(news(0, 3), bounds);
            let record = first.take().remove(0).unwrap();
            let mut second = Told::new(1);
            assert!(second.hand_back(0, *record).is_none());
            second.handle_record(news(0, again), bounds);
            let all: Vec<String> = (0..again.max(3)).map(|line| line.to_string()).collect();
            assert_eq!(known(&mut second, 0), all);
            second.handle_reset(0, bounds.all);
        }
        assert_eq!(all.bytes(), 0);
    }

    #[test]
    fn what_is_over_a_bound_ends_in_a_line_that_names_the_setting() {
        let base = || Limits::default();
        for (limits, setting, kept) in [
            (Limits { max_results: 3, ..base() }, "3 lines (max_results ", 4),
            (Limits { max_result_bytes: 150, ..base() }, "150 bytes (max_result_bytes ", 3),
            (Limits { max_kept_bytes_per_client: 400, ..base() }, "max_kept_bytes_per_client ", 2),
            (Limits { max_kept_bytes: 400, ..base() }, "bytes of all workers (max_kept_bytes ", 2),
        ] {
            let all = KeptBytes::default();
            let bounds = Bounds { limits: &limits, all: &all };
            let mut told = Told::new(2);
            told.handle_record(news(0, 10), bounds);
            let lines = known(&mut told, 0);
            assert_eq!(lines.len(), kept + 1, "{lines:?}");
            assert!(lines[kept].contains(setting), "{lines:?}");
            // What comes behind is not kept, where a line is missing.
            told.handle_record(news(0, 1), bounds);
            assert_eq!(known(&mut told, 0).len(), kept + 1);
            (0..2).for_each(|slot| told.handle_reset(slot, &all));
            assert_eq!((told.bytes, all.bytes()), (0, 0));
        }
    }

    #[test]
    fn a_record_of_another_id_takes_the_place_of_the_one_before() {
        let (limits, all) = (Limits::default(), KeptBytes::default());
        let bounds = Bounds { limits: &limits, all: &all };
        let mut told = Told::new(1);
        told.handle_record(news(0, 3), bounds);
        told.handle_record(Record { record: 8, ..news(0, 1) }, bounds);
        assert_eq!(known(&mut told, 0), ["0"]);
        let news = MeasuredNews { worker: 0, resets: 0, record: 8 };
        let encoded = vec![0];
        (0..2).for_each(|_| told.handle_measured(&news, &encoded.clone().into(), bounds));
        let expected = RECORD + lines(1)[0].cost() + MEASURED;
        assert_eq!((told.bytes, all.bytes()), (expected, expected));
    }
}
