//! A worker's record as a server takes it: in parts, and within bounds.

use bytes::Bytes;

use crate::codec::Decoder;
use crate::error::{CallError, Decoded};
use crate::id::WorkerInfo;
use crate::limits::Limits;
use crate::record::{Recorded, ResultLine, WorkerRecord, now};

/// How much of a worker's record a server takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordBounds {
    max_lines: usize,
    max_bytes: usize,
    /// Of those who are asked together.
    max_all: usize,
}

impl RecordBounds {
    pub(crate) fn new(limits: &Limits) -> Self {
        let (max_lines, max_bytes) = (limits.max_results, limits.max_result_bytes);
        Self { max_lines, max_bytes, max_all: limits.max_kept_bytes }
    }
}

/// A worker's record as it comes in, part after part: what it is decoded within stands ahead of it.
#[derive(Debug)]
pub(crate) struct Gathered {
    bytes: Vec<u8>,
    bounds: RecordBounds,
    cut: u8,
}

/// The bounds, and which of them was met.
const BOUNDS: usize = 3 * 8 + 1;

impl Gathered {
    pub(crate) fn new(bounds: RecordBounds) -> Self {
        let words = [bounds.max_lines, bounds.max_bytes, bounds.max_all];
        let mut bytes = vec![0; BOUNDS];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&(word as u64).to_le_bytes());
        }
        Self { bytes, bounds, cut: 0 }
    }

    /// Adds a part, where so many bytes have come of everybody; how many it adds.
    pub(crate) fn push(&mut self, part: &[u8], all: usize) -> usize {
        if self.cut != 0 {
            return 0;
        }
        let own = self.bounds.max_bytes.saturating_add(BOUNDS).saturating_sub(self.bytes.len());
        let of_all = self.bounds.max_all.saturating_sub(all);
        let room = own.min(of_all);
        if part.len() > room {
            self.cut = if own <= of_all { 1 } else { 2 };
        }
        // What fits, also where that ends in the middle of a line.
        let part = &part[..part.len().min(room)];
        self.bytes.extend_from_slice(part);
        part.len()
    }

    /// As [`decode`] takes it.
    pub(crate) fn into_answer(mut self) -> Bytes {
        self.bytes[BOUNDS - 1] = self.cut;
        self.bytes.into()
    }
}

/// A line takes no less than this encoded, so that what is decoded takes no more than 32 times as much.
const SHORTEST: usize = 2;

/// Decodes what [`Gathered`] has put together.
pub(crate) fn decode(worker: &WorkerInfo, answer: Bytes) -> Result<WorkerRecord, CallError> {
    let what = Decoded::Answer;
    decode_parts(worker, answer).map_err(|message| CallError::Decode { what, message })
}

fn decode_parts(worker: &WorkerInfo, answer: Bytes) -> Result<WorkerRecord, String> {
    let Some((bounds, _)) = answer.split_at_checked(BOUNDS) else {
        return Err("no bounds stand ahead of it".to_owned());
    };
    let mut words = [0; 3];
    for (word, bytes) in words.iter_mut().zip(bounds.chunks_exact(8)) {
        let bytes = bytes.try_into().unwrap_or_default();
        *word = usize::try_from(u64::from_le_bytes(bytes)).unwrap_or(usize::MAX);
    }
    let ([max_lines, max_bytes, max_all], cut) = (words, bounds[BOUNDS - 1]);
    let too_much = |max: usize, what: &str| Some(format!("more than {max} {what} of the server)"));
    let mut missing = match cut {
        0 => None,
        1 => too_much(max_bytes, "bytes of results (max_result_bytes"),
        _ => too_much(max_all, "bytes of results of all workers (max_kept_bytes"),
    };
    let mut decoder = Decoder::new(answer.slice(BOUNDS..));
    let (mut record, mut bytes) = (WorkerRecord::new(0, Vec::new(), 0), 0);
    if !decoder.is_empty() || missing.is_none() {
        match decoder.take::<(u64, u64)>() {
            Ok((id, stored)) => {
                (record.id, record.stored) = (id, usize::try_from(stored).unwrap_or(usize::MAX));
            }
            Err(_) if cut != 0 => decoder = Decoder::new(Bytes::new()),
            Err(error) => return Err(error),
        }
    }
    'parts: while !decoder.is_empty() {
        let count: u64 = match decoder.take() {
            Ok(count) => count,
            Err(_) if cut != 0 => break,
            Err(error) => return Err(error),
        };
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        // One more than there may be, as a full record says so in its last line.
        let room = (max_lines.saturating_add(1)).saturating_sub(record.lines.len());
        record.lines.reserve(count.min(room).min(decoder.len() / SHORTEST));
        for _ in 0..count {
            let line: Recorded = match decoder.take() {
                Ok(line) => line,
                // Where it was cut.
                Err(_) if cut != 0 => break 'parts,
                Err(error) => return Err(error),
            };
            if record.lines.len() > max_lines {
                missing = too_much(max_lines, "results (max_results");
                break 'parts;
            }
            if bytes > max_bytes {
                missing = too_much(max_bytes, "bytes of results (max_result_bytes");
                break 'parts;
            }
            bytes += line.cost();
            record.lines.push(line.into_line(worker.id().clone()));
        }
    }
    record.notice = missing.map(|text| {
        let time = record.lines.last().map_or_else(now, |line| line.time);
        ResultLine::new(worker.id().clone(), time, format!("{text}: the rest is not taken"))
    });
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WorkerId;
    use crate::codec;

    fn worker() -> WorkerInfo {
        WorkerInfo::new(WorkerId::new("w").unwrap(), 0, "w".into(), "in-process".into())
    }

    fn bounds(limits: Limits) -> RecordBounds {
        RecordBounds::new(&limits)
    }

    /// The answer of a worker that has `lines` empty lines.
    fn empty_lines(lines: usize) -> Vec<u8> {
        let mut answer = Vec::new();
        codec::encode(&(7_u64, 0_u64, lines as u64), &mut answer).unwrap();
        answer.resize(answer.len() + lines * SHORTEST, 0);
        answer
    }

    fn taken(bounds: RecordBounds, parts: &[&[u8]]) -> WorkerRecord {
        let (mut gathered, mut all) = (Gathered::new(bounds), 0);
        for part in parts {
            all += gathered.push(part, all);
        }
        decode(&worker(), gathered.into_answer()).unwrap()
    }

    #[test]
    fn five_million_lines_in_ten_megabytes_are_as_many_as_may_be_and_one_that_says_so() {
        let answer = empty_lines(5_000_000);
        let record = taken(bounds(Limits::default()), &[&answer]);
        assert_eq!(record.lines.len(), 1_000_001, "a full record has one more");
        let notice = record.notice.as_ref().unwrap().message.as_str();
        assert_eq!(
            notice,
            "more than 1000000 results (max_results of the server): the rest is not taken"
        );
        let bytes = record.lines.capacity() * size_of::<ResultLine>();
        assert!(bytes <= 32 * answer.len(), "{bytes} for {}", answer.len());
    }

    #[test]
    fn what_is_decoded_takes_no_more_than_a_hundred_times_its_length() {
        // The most that there may be, in lists of one: what grows is twice as long, and copied.
        let mut parts = empty_lines(0);
        (0..100_000).for_each(|_| parts.extend([1, 0, 0]));
        let record = taken(bounds(Limits::default()), &[&parts]);
        assert_eq!(record.lines.len(), 100_000);
        assert!(record.lines.capacity() * size_of::<ResultLine>() * 3 / 2 <= 100 * parts.len());
        // A forged number of lines takes nothing.
        let mut forged = Vec::new();
        codec::encode(&(7_u64, 0_u64, u64::MAX), &mut forged).unwrap();
        let mut gathered = Gathered::new(bounds(Limits::default()));
        gathered.push(&forged, 0);
        assert!(decode(&worker(), gathered.into_answer()).is_err());
    }

    #[test]
    fn what_is_over_a_budget_ends_in_a_line_that_names_the_setting() {
        let first = empty_lines(10);
        let next = [&[10][..], &[0; 20]].concat();
        for (limits, setting, lines) in [
            (Limits { max_result_bytes: 30, ..Limits::default() }, "(max_result_bytes ", 1),
            (Limits { max_kept_bytes: 30, ..Limits::default() }, "workers (max_kept_bytes ", 13),
            (Limits { max_results: 12, ..Limits::default() }, "12 results (max_results ", 13),
        ] {
            let record = taken(bounds(limits), &[&first, &next]);
            let notice = record.notice.unwrap().message;
            assert!(notice.contains(setting), "{notice}");
            assert_eq!(record.lines.len(), lines, "{notice}");
        }
        let whole = taken(bounds(Limits::default()), &[&first, &next]);
        assert_eq!((whole.id, whole.lines.len(), whole.notice), (7, 20, None));
    }

    #[test]
    fn random_bytes_are_a_record_or_an_error() {
        let _ = decode(&worker(), Bytes::from_static(b"short"));
        for length in 0..200_usize {
            let bytes: Vec<u8> = (0..length).map(|at| (at * 7 + length) as u8).collect();
            let mut gathered = Gathered::new(bounds(Limits::default()));
            gathered.push(&bytes, 0);
            let _ = decode(&worker(), gathered.into_answer());
        }
    }
}
