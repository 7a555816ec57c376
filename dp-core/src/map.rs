//! Work shared out as the workers get done: [`Map`].

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use futures_util::stream::FuturesUnordered;
use thiserror::Error;

use crate::error::{CallError, Executed, caught};
use crate::fleet::maps::MapCount;
use crate::fleet::request::MethodCall;
use crate::fold::fold_ids;
use crate::id::WorkerInfo;
use crate::outcome::DecodeAnswer;
use crate::worker::{DistributedWorker, RemoteWorker};
use crate::{Call, Group, WorkerCall};

/// An item that so many workers were lost to is given to nobody else.
const MAX_LOSSES: usize = 3;

/// Items, each given to the next worker that is free. Awaited, it gives all results in the order
/// of the items; also [as outcomes](Self::outcomes) or [as a stream](Self::stream).
///
/// Every worker has one item at a time. The item of a worker that is lost goes to another one if it
/// was certainly not executed, or if [`retry_maybe_executed`](Self::retry_maybe_executed) was asked
/// for; one that three workers were lost to is given up. What a method returns, also an `Err`, is
/// the item's result.
#[must_use = "nothing is sent before a map is awaited or streamed"]
pub struct Map<W: DistributedWorker, I, F, T> {
    group: Group<W>,
    items: I,
    call: F,
    /// Takes the next item and makes the call. A pointer: what a map does asks nothing of `F`, so
    /// that a closure of the wrong kind is reported once, where it is given.
    next: fn(&mut I, &mut F, &RemoteWorker<W>) -> Option<Call<T>>,
    retry_maybe: bool,
}

/// What became of one item.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ItemOutcome<T> {
    /// The item's position among the items, from 0.
    pub item: usize,
    /// The worker that it was given to last; `None` if there was none to give it to.
    pub worker: Option<WorkerInfo>,
    /// The workers that were lost with it before.
    pub lost: Vec<WorkerInfo>,
    /// The method's value, or why there is none.
    pub result: Result<T, CallError>,
}

/// A map in which an item failed. Holds all outcomes, successes too.
///
/// Its message names every item that failed, folded.
#[derive(Clone, Error)]
#[error("{}", describe(.failures, *.items))]
#[non_exhaustive]
pub struct MapError<T> {
    /// The items that failed, each with its position, the worker that it was given to last, and why
    /// it failed.
    pub failures: Vec<(usize, Option<WorkerInfo>, CallError)>,
    /// How many items there were.
    pub items: usize,
    /// The values still encoded: `Send + Sync` asks nothing of their type.
    outcomes: Vec<Encoded<T>>,
}

impl<T> MapError<T> {
    /// What became of each item, in the order of the items.
    pub fn outcomes(&self) -> Vec<ItemOutcome<T>> {
        self.outcomes.iter().cloned().map(Encoded::decode).collect()
    }
}

impl<T> fmt::Debug for MapError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MapError({self})")
    }
}

/// What became of an item, its value still encoded, and how that is decoded.
struct Encoded<T> {
    outcome: ItemOutcome<Bytes>,
    decode: Option<DecodeAnswer<T>>,
}

impl<T> Encoded<T> {
    fn decode(self) -> ItemOutcome<T> {
        let ItemOutcome { item, worker, lost, result } = self.outcome;
        let result = result.and_then(|answer| match (self.decode, &worker) {
            (Some(decode), Some(worker)) => decode(worker, answer),
            // There is no answer where there was no call.
            _ => Err(CallError::Cancelled),
        });
        ItemOutcome { item, worker, lost, result }
    }
}

impl<T> Clone for Encoded<T> {
    fn clone(&self) -> Self {
        Self { outcome: self.outcome.clone(), decode: self.decode }
    }
}

fn describe(failures: &[(usize, Option<WorkerInfo>, CallError)], items: usize) -> String {
    let entry = |(item, worker, error): &(usize, Option<WorkerInfo>, CallError)| {
        let on = worker.as_ref().map(|worker| format!(" on {}", worker.id())).unwrap_or_default();
        (item.to_string(), format!("{on} {error}"))
    };
    let mut texts: Vec<(Vec<String>, String)> = Vec::new();
    for (item, text) in failures.iter().map(entry) {
        match texts.iter_mut().find(|(_, seen)| *seen == text) {
            Some((items, _)) => items.push(item),
            None => texts.push((vec![item], text)),
        }
    }
    let texts: Vec<String> =
        texts.into_iter().map(|(items, text)| format!("item {}{text}", fold_ids(items))).collect();
    format!("{} of {items} items failed: {}", failures.len(), texts.join("; "))
}

impl<W, I, F, T> Map<W, I, F, T>
where
    W: DistributedWorker,
    I: Iterator,
{
    pub(crate) fn new<C>(group: Group<W>, items: I, call: F) -> Self
    where
        F: FnMut(&RemoteWorker<W>, I::Item) -> C,
        C: WorkerCall<Value = T>,
    {
        let next = |items: &mut I, call: &mut F, worker: &RemoteWorker<W>| {
            Some(call(worker, items.next()?).into_call())
        };
        Self { group, items, call, next, retry_maybe: false }
    }

    /// Gives the item of a lost worker to another one also when the lost one may have executed it:
    /// for items that may be done twice.
    pub fn retry_maybe_executed(mut self) -> Self {
        self.retry_maybe = true;
        self
    }

    /// What became of each item, in the order of the items. Never fails.
    pub async fn outcomes(self) -> Vec<ItemOutcome<T>> {
        let mut stream = self.stream();
        let mut outcomes = Vec::new();
        while let Some(outcome) = stream.next().await {
            outcomes.push(outcome);
        }
        outcomes.sort_unstable_by_key(|outcome| outcome.item);
        outcomes
    }

    /// What became of each item, as they come.
    ///
    /// Dropped before its end, it cancels what is under way and starts nothing more.
    pub fn stream(self) -> MapStream<W, I, F, T> {
        let free = (0..self.group.len()).collect();
        let count = self.group.begin_map(self.items.size_hint());
        MapStream {
            map: self,
            next_item: 0,
            exhausted: false,
            again: VecDeque::new(),
            free,
            under_way: FuturesUnordered::new(),
            count,
        }
    }
}

impl<W, I, F, T> IntoFuture for Map<W, I, F, T>
where
    W: DistributedWorker,
    I: Iterator,
{
    type Output = Result<Vec<T>, MapError<T>>;
    type IntoFuture = MapFuture<W, I, F, T>;

    fn into_future(self) -> Self::IntoFuture {
        MapFuture { stream: self.stream(), outcomes: Vec::new() }
    }
}

/// A [`Map`] under way. Dropped before its end, it cancels what is under way and starts nothing
/// more.
#[must_use = "nothing is sent before a map is awaited"]
pub struct MapFuture<W: DistributedWorker, I, F, T> {
    stream: MapStream<W, I, F, T>,
    outcomes: Vec<Encoded<T>>,
}

impl<W, I, F, T> Future for MapFuture<W, I, F, T>
where
    W: DistributedWorker,
    I: Iterator,
{
    type Output = Result<Vec<T>, MapError<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        while let Some(outcome) = std::task::ready!(self.stream.poll_encoded(cx)) {
            self.outcomes.push(outcome);
        }
        let mut outcomes = std::mem::take(&mut self.outcomes);
        outcomes.sort_unstable_by_key(|encoded| encoded.outcome.item);
        Poll::Ready(results(outcomes))
    }
}

// Nothing in them is ever pinned.
impl<W: DistributedWorker, I, F, T> Unpin for MapFuture<W, I, F, T> {}
impl<W: DistributedWorker, I, F, T> Unpin for MapStream<W, I, F, T> {}

impl<W: DistributedWorker, I, F, T> fmt::Debug for MapFuture<W, I, F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MapFuture").field(&self.stream).finish()
    }
}

/// All values, or the error that holds everything.
fn results<T>(mut outcomes: Vec<Encoded<T>>) -> Result<Vec<T>, MapError<T>> {
    let items = outcomes.len();
    let (mut results, mut failures) = (Vec::with_capacity(items), Vec::new());
    for encoded in &mut outcomes {
        let ItemOutcome { item, worker, result, .. } = encoded.clone().decode();
        match result {
            Ok(value) => results.push(value),
            Err(error) => {
                encoded.outcome.result = Err(error.clone());
                failures.push((item, worker, error));
            }
        }
    }
    if failures.is_empty() {
        return Ok(results);
    }
    // What the user's values do when they are dropped may panic.
    let _ = caught(|| drop(results));
    Err(MapError { failures, items, outcomes })
}

impl<W: DistributedWorker, I, F, T> fmt::Debug for Map<W, I, F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").field("group", &self.group).finish_non_exhaustive()
    }
}

/// The outcomes of a [`Map`], as they come; each has its item's position.
pub struct MapStream<W: DistributedWorker, I, F, T> {
    map: Map<W, I, F, T>,
    next_item: usize,
    exhausted: bool,
    /// Items whose worker was lost.
    again: VecDeque<Item<T>>,
    /// Workers without an item, by position.
    free: VecDeque<usize>,
    under_way: FuturesUnordered<UnderWay<T>>,
    /// For whoever watches.
    count: Arc<MapCount>,
}

/// An item that has been given to a worker, so that it can be given to another.
struct Item<T> {
    item: usize,
    call: MethodCall,
    decode: DecodeAnswer<T>,
    lost: Vec<WorkerInfo>,
}

/// An item on a worker.
struct UnderWay<T> {
    worker: usize,
    item: Option<Item<T>>,
    call: Call<Bytes>,
}

impl<T> Future for UnderWay<T> {
    type Output = (usize, Option<Item<T>>, Result<Bytes, CallError>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = Pin::new(&mut self.call).poll(cx);
        polled.map(|result| (self.worker, self.item.take(), result))
    }
}

impl<W, I, F, T> MapStream<W, I, F, T>
where
    W: DistributedWorker,
    I: Iterator,
{
    /// The next outcome; `None` when every item has had one.
    ///
    /// # Cancel safety
    /// No outcome is lost when it is dropped.
    pub async fn next(&mut self) -> Option<ItemOutcome<T>> {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<ItemOutcome<T>>> {
        self.poll_encoded(cx).map(|outcome| outcome.map(Encoded::decode))
    }

    fn poll_encoded(&mut self, cx: &mut Context<'_>) -> Poll<Option<Encoded<T>>> {
        loop {
            self.give_out();
            match Pin::new(&mut self.under_way).poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some((worker, item, result))) => {
                    if let Some(outcome) = self.handle_end(worker, item, result) {
                        self.count.one_more();
                        return Poll::Ready(Some(outcome));
                    }
                }
                Poll::Ready(None) => return Poll::Ready(self.nobody_left()),
            }
        }
    }

    /// Gives items to workers that are free.
    fn give_out(&mut self) {
        while let Some(&worker) = self.free.front() {
            let stub = &self.map.group.workers()[worker];
            let (item, call) = if let Some(item) = self.again.pop_front() {
                let call = stub.call_again(item.call.clone(), encoded_answer);
                (item, call)
            } else if let Some(call) = self.call_with_next_item(worker) {
                let (call, decode) = call.into_parts();
                let item = Item { item: self.next_item, call, decode, lost: Vec::new() };
                self.next_item += 1;
                let stub = &self.map.group.workers()[worker];
                let call = stub.call_again(item.call.clone(), encoded_answer);
                (item, call)
            } else {
                return;
            };
            self.free.pop_front();
            self.under_way.push(UnderWay { worker, item: Some(item), call });
        }
    }

    fn call_with_next_item(&mut self, worker: usize) -> Option<Call<T>> {
        let Map { group, items, call, next, .. } = &mut self.map;
        // An iterator need not go on saying `None`.
        let made = if self.exhausted { None } else { next(items, call, &group.workers()[worker]) };
        self.exhausted = made.is_none();
        made
    }

    /// A worker has ended with an item: its outcome, unless another worker shall try.
    fn handle_end(
        &mut self,
        worker: usize,
        item: Option<Item<T>>,
        result: Result<Bytes, CallError>,
    ) -> Option<Encoded<T>> {
        let info = self.map.group.workers()[worker].info().clone();
        let gone = match &result {
            Err(CallError::Lost { .. }) => true,
            Err(CallError::NotSent { .. }) => self.map.group.is_gone(worker),
            _ => false,
        };
        if !gone {
            self.free.push_back(worker);
        }
        let mut item = item?;
        if gone {
            let executed = result.as_ref().err().map(CallError::executed);
            if executed == Some(Executed::Maybe) {
                item.lost.push(info.clone());
            }
            let safe = executed == Some(Executed::No) || self.map.retry_maybe;
            if safe && item.lost.len() < MAX_LOSSES {
                self.again.push_back(item);
                return None;
            }
        }
        let Item { item, lost, decode, .. } = item;
        let outcome = ItemOutcome { item, worker: Some(info), lost, result };
        Some(Encoded { outcome, decode: Some(decode) })
    }

    /// Nothing is under way: either everything is done, or no worker is left.
    fn nobody_left(&mut self) -> Option<Encoded<T>> {
        let (item, lost) = match self.again.pop_front() {
            Some(item) => (item.item, item.lost),
            None => {
                if self.exhausted || self.map.items.next().is_none() {
                    self.exhausted = true;
                    return None;
                }
                self.next_item += 1;
                (self.next_item - 1, Vec::new())
            }
        };
        let reason = "no worker is left".to_owned();
        let result = Err(CallError::NotSent { reason });
        let outcome = ItemOutcome { item, worker: lost.last().cloned(), lost, result };
        Some(Encoded { outcome, decode: None })
    }
}

/// Leaves an answer as it came.
fn encoded_answer(_worker: &WorkerInfo, answer: Bytes) -> Result<Bytes, CallError> {
    Ok(answer)
}

impl<W, I, F, T> Stream for MapStream<W, I, F, T>
where
    W: DistributedWorker,
    I: Iterator,
{
    type Item = ItemOutcome<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ItemOutcome<T>>> {
        self.poll(cx)
    }
}

impl<W: DistributedWorker, I, F, T> fmt::Debug for MapStream<W, I, F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapStream")
            .field("map", &self.map)
            .field("under_way", &self.under_way.len())
            .finish_non_exhaustive()
    }
}
