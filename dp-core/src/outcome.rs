//! What a broadcast brings back: [`Outcome`], [`Outcomes`], [`Replies`], [`BroadcastError`].

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::ops::Index;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::alike::{alike, regular, shown};
use crate::codec;
use crate::error::{CallError, Decoded, caught};
use crate::fold::fold_ids;
use crate::id::{WorkerId, WorkerInfo};
use crate::text::escaped;

/// What became of a call on one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome<T> {
    /// The worker.
    pub worker: WorkerInfo,
    /// How long the method ran, measured where it ran. Where no answer came, how long the caller
    /// waited for it.
    pub elapsed: Duration,
    /// The method's value, or why there is none.
    pub result: Result<T, CallError>,
}

/// Exactly one [`Outcome`] for every addressed worker, in worker order.
///
/// Iterates by value and by reference, and is indexed by worker id. `Display` folds what prints
/// alike, a line each: `w[1-40,42] → 3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcomes<T>(Vec<Outcome<T>>);

/// The value of every addressed worker, in worker order: what a broadcast gives when all succeeded.
///
/// Iterates over pairs of worker and value, by value and by reference, and is indexed by worker id.
/// `Display` folds what prints alike, a line each: `w[1-40,42] → 3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replies<T>(Vec<(WorkerInfo, T)>);

/// A broadcast that did not succeed on every worker. Holds all outcomes, successes too.
///
/// Its message names every worker that failed, folded:
/// `3 of 40 workers failed: w[7,9] lost: connection reset (maybe executed); w12 failed: disk full`.
#[derive(Clone)]
pub struct BroadcastError {
    /// The values still encoded: an error without a type parameter can hold them, and
    /// `Send + Sync` asks nothing of the value's type.
    outcomes: Vec<Outcome<Bytes>>,
    own: Option<OwnDecoding>,
}

/// A [`DecodeAnswer`] of a type whose values are not what travels, such as JSON.
pub(crate) type OwnDecoding = Arc<dyn Any + Send + Sync>;

impl<T> Outcomes<T> {
    pub(crate) fn new(outcomes: Vec<Outcome<T>>) -> Self {
        Self(outcomes)
    }

    /// How many workers were addressed.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no worker was addressed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The outcome of the worker `id`, if it was addressed.
    pub fn get(&self, id: &WorkerId) -> Option<&Outcome<T>> {
        let at = self.0.binary_search_by(|outcome| outcome.worker.id().cmp(id)).ok()?;
        self.0.get(at)
    }

    /// The outcomes in worker order.
    pub fn iter(&self) -> std::slice::Iter<'_, Outcome<T>> {
        self.0.iter()
    }

    /// The workers that succeeded, with their values.
    pub fn successes(&self) -> impl Iterator<Item = (&WorkerInfo, &T)> {
        self.0.iter().filter_map(|o| Some((&o.worker, o.result.as_ref().ok()?)))
    }

    /// The workers that did not, with the reason.
    pub fn failures(&self) -> impl Iterator<Item = (&WorkerInfo, &CallError)> {
        self.0.iter().filter_map(|o| Some((&o.worker, o.result.as_ref().err()?)))
    }
}

impl<T> Replies<T> {
    pub(crate) fn empty() -> Self {
        Self(Vec::new())
    }

    /// How many workers replied.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no worker was addressed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of the worker `id`, if it was addressed.
    pub fn get(&self, id: &WorkerId) -> Option<&T> {
        let at = self.0.binary_search_by(|(worker, _)| worker.id().cmp(id)).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// Workers and values in worker order.
    pub fn iter(&self) -> RepliesIter<'_, T> {
        RepliesIter(self.0.iter())
    }

    /// The bare values in worker order.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &T> + DoubleEndedIterator {
        self.0.iter().map(|(_, value)| value)
    }

    /// The bare values in worker order.
    pub fn into_values(self) -> Vec<T> {
        self.0.into_iter().map(|(_, value)| value).collect()
    }
}

impl<T: PartialEq + fmt::Debug> Replies<T> {
    /// The value that most workers gave; of several that equally many gave, the one that comes
    /// first. `None` when no worker was addressed.
    ///
    /// Values that do not equal themselves, as NaN does not, are equal if they print alike. It
    /// compares every value with every different one: meant for values of which few differ.
    pub fn majority(&self) -> Option<&T> {
        let mut counts: Vec<(&T, usize)> = Vec::new();
        for value in self.values() {
            match counts.iter_mut().find(|(seen, _)| alike(*seen, value)) {
                Some((_, count)) => *count += 1,
                None => counts.push((value, 1)),
            }
        }
        // `max_by_key` would give the last of equals.
        let most = counts.iter().map(|(_, count)| *count).max()?;
        counts.into_iter().find(|(_, count)| *count == most).map(|(value, _)| value)
    }

    /// The workers whose value is not that of the [`majority`](Self::majority), with their values.
    pub fn differing(&self) -> Vec<(&WorkerInfo, &T)> {
        let Some(majority) = self.majority() else { return Vec::new() };
        self.iter().filter(|(_, value)| !alike(*value, majority)).collect()
    }
}

impl BroadcastError {
    pub(crate) fn new(outcomes: Vec<Outcome<Bytes>>, own: Option<OwnDecoding>) -> Self {
        Self { outcomes, own }
    }

    /// All outcomes, in worker order, with the values of the workers that succeeded.
    ///
    /// `T` is what the broadcast would have given: the value of the method that was called, JSON
    /// after [`call_json`](crate::Group::call_json), `Vec<ResultLine>` after
    /// [`gather_results`](crate::Group::gather_results). As any other type, the values would not
    /// decode and come out as [`CallError::Decode`].
    pub fn outcomes<T: DeserializeOwned + 'static>(&self) -> Outcomes<T> {
        let own = self.own.as_ref().and_then(|own| own.downcast_ref::<DecodeAnswer<T>>());
        let decode = own.copied().unwrap_or(decode_answer);
        Outcomes(self.outcomes.iter().cloned().map(|o| o.decode(decode)).collect())
    }

    /// The workers that failed, with the reason, in worker order.
    pub fn failures(&self) -> impl Iterator<Item = (&WorkerInfo, &CallError)> {
        self.outcomes.iter().filter_map(|o| Some((&o.worker, o.result.as_ref().err()?)))
    }

    /// How many workers were addressed.
    pub fn addressed(&self) -> usize {
        self.outcomes.len()
    }
}

/// Turns the encoded answer of a worker into its value.
pub(crate) type DecodeAnswer<T> = fn(&WorkerInfo, Bytes) -> Result<T, CallError>;

pub(crate) fn decode_answer<T: DeserializeOwned + 'static>(
    _worker: &WorkerInfo,
    answer: Bytes,
) -> Result<T, CallError> {
    codec::decode(answer).map_err(|message| CallError::Decode { what: Decoded::Answer, message })
}

impl Outcome<Bytes> {
    pub(crate) fn decode<T>(self, decode: DecodeAnswer<T>) -> Outcome<T> {
        let result = self.result.and_then(|answer| decode(&self.worker, answer));
        Outcome { worker: self.worker, elapsed: self.elapsed, result }
    }
}

/// All values, or the error that holds everything.
pub(crate) fn replies<T>(
    outcomes: Vec<Outcome<Bytes>>,
    decode: DecodeAnswer<T>,
    own: Option<OwnDecoding>,
) -> Result<Replies<T>, BroadcastError> {
    // The encoded answers are kept until all have been decoded (cloning `Bytes` shares them): any
    // failure must hand out every success.
    let mut values = Vec::with_capacity(outcomes.len());
    let mut failed = Vec::new();
    for (position, outcome) in outcomes.iter().enumerate() {
        match outcome.result.clone().and_then(|answer| decode(&outcome.worker, answer)) {
            Ok(value) => values.push((outcome.worker.clone(), value)),
            Err(error) => failed.push((position, error)),
        }
    }
    if failed.is_empty() {
        return Ok(Replies(values));
    }
    // What the user's values do when they are dropped may panic.
    let _ = caught(|| drop(values));
    let mut outcomes = outcomes;
    for (position, error) in failed {
        outcomes[position].result = Err(error);
    }
    Err(BroadcastError::new(outcomes, own))
}

/// Groups what prints alike, but for the order of maps and sets, in the order of the first worker of each: `(folded ids, text)`.
pub(crate) fn fold<'a>(
    entries: impl Iterator<Item = (&'a WorkerId, String)>,
) -> Vec<(String, String)> {
    let mut order: Vec<(Vec<&WorkerId>, String)> = Vec::new();
    let mut seen: HashMap<String, usize> = HashMap::new();
    for (id, text) in entries {
        let key = regular(&text);
        match seen.get(&*key) {
            Some(&at) => order[at].0.push(id),
            None => {
                seen.insert(key.into_owned(), order.len());
                order.push((vec![id], text));
            }
        }
    }
    order.into_iter().map(|(ids, text)| (fold_ids(ids), text)).collect()
}

/// A value on one line: how it shows itself is up to its type, and may be a peer's words.
fn arrow<T: fmt::Debug>(value: &T) -> String {
    format!("→ {}", escaped(&shown(value)))
}

fn write_folded<'a>(
    f: &mut fmt::Formatter<'_>,
    entries: impl Iterator<Item = (&'a WorkerId, String)>,
    separator: &str,
) -> fmt::Result {
    for (position, (ids, text)) in fold(entries).into_iter().enumerate() {
        let separator = if position == 0 { "" } else { separator };
        write!(f, "{separator}{ids} {text}")?;
    }
    Ok(())
}

impl<T: fmt::Debug> fmt::Display for Outcomes<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |outcome: &Outcome<T>| match &outcome.result {
            Ok(value) => arrow(value),
            Err(error) => error.to_string(),
        };
        write_folded(f, self.iter().map(|outcome| (outcome.worker.id(), text(outcome))), "\n")
    }
}

impl<T: fmt::Debug> fmt::Display for Replies<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.iter().map(|(worker, value)| (worker.id(), arrow(value)));
        write_folded(f, entries, "\n")
    }
}

impl fmt::Display for BroadcastError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.outcomes.is_empty() {
            return f.write_str("there is no worker to call");
        }
        let failed = self.failures().count();
        write!(f, "{failed} of {} workers failed: ", self.addressed())?;
        write_folded(f, self.failures().map(|(w, error)| (w.id(), error.to_string())), "; ")
    }
}

impl fmt::Debug for BroadcastError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BroadcastError({self})")
    }
}

impl std::error::Error for BroadcastError {}

impl<T> Index<&WorkerId> for Outcomes<T> {
    type Output = Outcome<T>;

    /// # Panics
    /// When the worker was not addressed; [`get`](Outcomes::get) does not.
    fn index(&self, id: &WorkerId) -> &Outcome<T> {
        self.get(id).unwrap_or_else(|| panic!("worker {id} was not addressed"))
    }
}

impl<T> Index<&WorkerId> for Replies<T> {
    type Output = T;

    /// # Panics
    /// When the worker was not addressed; [`get`](Replies::get) does not.
    fn index(&self, id: &WorkerId) -> &T {
        self.get(id).unwrap_or_else(|| panic!("worker {id} was not addressed"))
    }
}

impl<T> Index<WorkerId> for Outcomes<T> {
    type Output = Outcome<T>;

    fn index(&self, id: WorkerId) -> &Outcome<T> {
        &self[&id]
    }
}

impl<T> Index<WorkerId> for Replies<T> {
    type Output = T;

    fn index(&self, id: WorkerId) -> &T {
        &self[&id]
    }
}

impl<T> IntoIterator for Outcomes<T> {
    type Item = Outcome<T>;
    type IntoIter = std::vec::IntoIter<Outcome<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Outcomes<T> {
    type Item = &'a Outcome<T>;
    type IntoIter = std::slice::Iter<'a, Outcome<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<T> IntoIterator for Replies<T> {
    type Item = (WorkerInfo, T);
    type IntoIter = std::vec::IntoIter<(WorkerInfo, T)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Replies<T> {
    type Item = (&'a WorkerInfo, &'a T);
    type IntoIter = RepliesIter<'a, T>;

    fn into_iter(self) -> RepliesIter<'a, T> {
        self.iter()
    }
}

/// Iterates over the workers and values of [`Replies`].
#[derive(Debug)]
pub struct RepliesIter<'a, T>(std::slice::Iter<'a, (WorkerInfo, T)>);

impl<'a, T> Iterator for RepliesIter<'a, T> {
    type Item = (&'a WorkerInfo, &'a T);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(worker, value)| (worker, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<T> ExactSizeIterator for RepliesIter<'_, T> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(index: usize, result: Result<u32, CallError>) -> Outcome<Bytes> {
        let id = WorkerId::new(format!("w{}", index + 1)).unwrap();
        let worker = WorkerInfo::new(id, index, "w".into(), "in-process".into());
        let encode = |value| {
            let mut buffer = Vec::new();
            codec::encode(&value, &mut buffer).unwrap();
            buffer.into()
        };
        Outcome { worker, elapsed: Duration::ZERO, result: result.map(encode) }
    }

    fn mixed() -> BroadcastError {
        let lost = || CallError::Lost { reason: "connection reset".to_owned() };
        let full = CallError::Failed { message: "disk full".to_owned(), chain: Vec::new() };
        let mut outcomes: Vec<_> = (0..40).map(|index| outcome(index, Ok(3))).collect();
        outcomes[6] = outcome(6, Err(lost()));
        outcomes[8] = outcome(8, Err(lost()));
        outcomes[11] = outcome(11, Err(full));
        replies(outcomes, decode_answer::<u32>, None).unwrap_err()
    }

    #[test]
    fn equal_replies_print_folded() {
        let outcomes = (0..40).map(|index| outcome(index, Ok(u32::from(index == 4)))).collect();
        let replies = replies(outcomes, decode_answer::<u32>, None).unwrap();
        assert_eq!(replies.to_string(), "w[1-4,6-40] → 0\nw5 → 1");
    }

    #[test]
    fn a_broadcast_error_names_every_failed_worker_folded() {
        assert_eq!(
            mixed().to_string(),
            "3 of 40 workers failed: w[7,9] lost: connection reset (maybe executed); \
             w12 failed: disk full"
        );
    }

    #[test]
    fn a_broadcast_error_holds_the_successes_too() {
        let outcomes = mixed().outcomes::<u32>();
        assert_eq!(outcomes.len(), 40);
        assert_eq!(outcomes.successes().filter(|(_, value)| **value == 3).count(), 37);
        assert_eq!(outcomes.failures().count(), 3);
    }

    #[test]
    fn an_answer_that_does_not_decode_is_that_workers_failure() {
        let mut bad = outcome(1, Ok(1));
        bad.result = Ok(Bytes::from_static(&[1, 2, 3]));
        let error = replies(vec![outcome(0, Ok(1)), bad], decode_answer::<u32>, None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "1 of 2 workers failed: w2 answer could not be decoded: 2 bytes too many"
        );
    }

    #[test]
    fn the_majority_is_told_and_who_differs_from_it() {
        let values = [1, 3, 3, 2, 1, 3].into_iter().enumerate();
        let outcomes = values.map(|(index, value)| outcome(index, Ok(value))).collect();
        let replies = replies(outcomes, decode_answer::<u32>, None).unwrap();
        assert_eq!(replies.majority(), Some(&3));
        let differing = replies.differing().into_iter();
        let differing: Vec<_> = differing.map(|(w, value)| (w.index(), *value)).collect();
        assert_eq!(differing, [(0, 1), (3, 2), (4, 1)]);
        assert_eq!(Replies::<u8>::empty().majority(), None);
    }

    #[test]
    fn replies_are_indexed_by_worker_id() {
        let outcomes = (0..3).map(|index| outcome(index, Ok(index as u32))).collect();
        let replies = replies(outcomes, decode_answer::<u32>, None).unwrap();
        assert_eq!(replies[&WorkerId::new("w3").unwrap()], 2);
        let pairs: Vec<_> = (&replies).into_iter().map(|(w, value)| (w.index(), *value)).collect();
        assert_eq!(pairs, [(0, 0), (1, 1), (2, 2)]);
        assert_eq!(replies.into_values(), [0, 1, 2]);
    }
}
