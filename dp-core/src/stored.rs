//! Which lines of which records are stored for good, so that each is stored once.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::ops::Range;

use crate::id::WorkerId;
use crate::record::WorkerRecord;

/// So many records are remembered: those that were stored last.
const REMEMBERED: usize = 1 << 18;

/// How many lines of which record are stored for good.
///
/// A record is known by its worker and its id. What is stored of it is always its first lines, so their
/// number says all. Whoever keeps the lines notes, when it is started again, those that it finds.
///
/// ```
/// use dp_core::engine::{StoredLines, WorkerRecord};
/// use dp_core::{ResultLine, WorkerId};
///
/// let worker = WorkerId::new("w1").unwrap();
/// let line = |text: &str| ResultLine::new(worker.clone(), "2026-01-01T00:00:00Z".parse().unwrap(), text);
/// let record = WorkerRecord::new(7, vec![line("one"), line("two")], 0);
/// let mut stored = StoredLines::default();
/// // Found in the file.
/// stored.note(&worker, 7, 0);
/// let records = [(worker, record)];
/// let unstored = stored.unstored(&records);
/// assert_eq!((unstored[0].record, unstored[0].lines.clone()), (0, 1..2));
/// stored.handle_stored(&records, &unstored);
/// assert!(stored.unstored(&records).is_empty());
/// ```
#[derive(Debug, Default)]
pub struct StoredLines {
    known: HashMap<Key, Known>,
    /// The one that was added first comes first.
    order: VecDeque<Key>,
    hasher: RandomState,
}

/// A worker's id, hashed, and its record's.
type Key = (u64, u64);

#[derive(Debug, Clone, Copy, Default)]
struct Known {
    lines: usize,
    notice: bool,
}

/// What is to be stored of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unstored {
    /// Which one of the records that were given.
    pub record: usize,
    /// These of its lines.
    pub lines: Range<usize>,
    /// Also what it says of lines that are missing.
    pub notice: bool,
}

impl StoredLines {
    /// The line of this number, from 0, of a record is stored, and so are those before it.
    pub fn note(&mut self, worker: &WorkerId, record: u64, line: usize) {
        let key = self.key(worker, record);
        let known = self.entry(key);
        known.lines = known.lines.max(line.saturating_add(1));
    }

    /// What a record says of lines that are missing is stored.
    pub fn note_notice(&mut self, worker: &WorkerId, record: u64) {
        let key = self.key(worker, record);
        self.entry(key).notice = true;
    }

    /// What is not stored yet of these records. There may be several accounts of one.
    pub fn unstored(&self, records: &[(WorkerId, WorkerRecord)]) -> Vec<Unstored> {
        let mut now: HashMap<Key, Known> = HashMap::new();
        let mut unstored = Vec::new();
        for (record, (worker, of)) in records.iter().enumerate() {
            let key = self.key(worker, of.id);
            let known = self.known.get(&key).copied().unwrap_or_default();
            let known = now.entry(key).or_insert(known);
            let from = known.lines.max(of.stored).min(of.lines.len());
            let notice = of.notice.is_some() && !known.notice;
            let lines = from..of.lines.len();
            if !lines.is_empty() || notice {
                unstored.push(Unstored { record, lines, notice });
            }
            known.lines = known.lines.max(of.stored).max(of.lines.len());
            known.notice |= notice;
        }
        unstored
    }

    /// It has been stored.
    pub fn handle_stored(&mut self, records: &[(WorkerId, WorkerRecord)], unstored: &[Unstored]) {
        for Unstored { record, lines, notice } in unstored {
            let Some((worker, of)) = records.get(*record) else { continue };
            if let Some(last) = lines.clone().last() {
                self.note(worker, of.id, last);
            }
            if *notice {
                self.note_notice(worker, of.id);
            }
        }
    }

    fn key(&self, worker: &WorkerId, record: u64) -> Key {
        (self.hasher.hash_one(worker), record)
    }

    fn entry(&mut self, key: Key) -> &mut Known {
        if !self.known.contains_key(&key) {
            if self.known.len() >= REMEMBERED
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
            self.order.push_back(key);
        }
        self.known.entry(key).or_default()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::record::ResultLine;

    fn record(worker: &str, id: u64, lines: usize, stored: usize) -> (WorkerId, WorkerRecord) {
        let worker = WorkerId::new(worker).unwrap();
        let line = |n: usize| ResultLine::new(worker.clone(), Timestamp::UNIX_EPOCH, n.to_string());
        (worker.clone(), WorkerRecord::new(id, (0..lines).map(line).collect(), stored))
    }

    fn ranges(stored: &StoredLines, records: &[(WorkerId, WorkerRecord)]) -> Vec<Range<usize>> {
        stored.unstored(records).into_iter().map(|unstored| unstored.lines).collect()
    }

    #[test]
    fn of_several_accounts_of_a_record_each_line_is_stored_once() {
        let mut stored = StoredLines::default();
        let records = [record("a", 1, 2, 0), record("a", 1, 4, 1), record("b", 1, 3, 0)];
        let unstored = stored.unstored(&records);
        assert_eq!(ranges(&stored, &records), [0..2, 2..4, 0..3]);
        stored.handle_stored(&records, &unstored);
        assert!(ranges(&stored, &records).is_empty());
        // Of one that was lost less may be known than is stored.
        assert!(ranges(&stored, &[record("a", 1, 1, 0)]).is_empty());
        assert_eq!(ranges(&stored, &[record("a", 2, 1, 0)]), Vec::from([0..1; 1]));
    }

    #[test]
    fn nobody_has_anothers_lines_taken_for_stored() {
        let mut stored = StoredLines::default();
        stored.note(&WorkerId::new("liar").unwrap(), 7, usize::MAX);
        assert_eq!(ranges(&stored, &[record("honest", 7, 2, 0)]), Vec::from([0..2; 1]));
        assert!(ranges(&stored, &[record("liar", 7, 2, usize::MAX)]).is_empty());
    }

    #[test]
    fn a_notice_is_stored_once() {
        let mut stored = StoredLines::default();
        let mut lost = record("a", 1, 1, 0);
        lost.1.notice = Some(lost.1.lines[0].clone());
        let records = [lost];
        let unstored = stored.unstored(&records);
        assert!(unstored[0].notice);
        stored.handle_stored(&records, &unstored);
        assert!(stored.unstored(&records).is_empty());
    }

    #[test]
    fn the_records_that_were_stored_first_are_forgotten_first() {
        let mut stored = StoredLines::default();
        let worker = WorkerId::new("a").unwrap();
        (0..=REMEMBERED as u64).for_each(|record| stored.note(&worker, record, 0));
        assert_eq!(stored.known.len(), REMEMBERED);
        assert_eq!(ranges(&stored, &[record("a", 0, 1, 0)]), Vec::from([0..1; 1]));
        assert!(ranges(&stored, &[record("a", 1, 1, 0)]).is_empty());
    }
}
