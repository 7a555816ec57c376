//! Barriers as simply as they can be said, each step a pass over everything: what
//! [the machine](super) is compared with.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::{Arrival, BarrierVerdict, Missing, Release, at_turn};

/// What [`Barriers`](super::Barriers) is, without its bounds.
#[derive(Debug)]
pub(super) struct Model<K> {
    /// By position: why the worker will never arrive.
    gone: BTreeMap<usize, String>,
    /// Those who were told that others are lost. When their methods end for that reason, they are
    /// missing too, but not to blame.
    told: BTreeSet<usize>,
    members: usize,
    tokens: BTreeMap<String, Generation<K>>,
    releases: VecDeque<Release<K>>,
}

#[derive(Debug)]
struct Generation<K> {
    arrived: BTreeMap<usize, Arrival<K>>,
    /// Those who came again before it was complete, in order.
    next: VecDeque<Arrival<K>>,
}

impl<K: Clone + PartialEq> Model<K> {
    pub(super) fn new(members: usize) -> Self {
        Self {
            gone: BTreeMap::new(),
            told: BTreeSet::new(),
            members,
            tokens: BTreeMap::new(),
            releases: VecDeque::new(),
        }
    }

    /// How many workers wait, at all tokens together.
    pub(super) fn waiting(&self) -> usize {
        self.tokens.values().map(|token| token.arrived.len() + token.next.len()).sum()
    }

    /// A worker has come to `token`. `period`: the time between two that go on one after another.
    pub(super) fn handle_arrive(
        &mut self,
        token: &str,
        arrival: Arrival<K>,
        now: Instant,
        period: Duration,
    ) {
        if self.gone.contains_key(&arrival.position) {
            let verdict = BarrierVerdict::Lost { missing: Missing::of(&[arrival.position]) };
            self.releases.push_back(Release { key: arrival.key, verdict, at: None });
            return;
        }
        let generation = self.tokens.entry(token.to_owned()).or_insert_with(Generation::new);
        generation.arrive(arrival);
        self.advance(token, now, period);
    }

    /// The worker at `position` will never arrive again: it is lost, or its method has ended.
    pub(super) fn handle_gone(
        &mut self,
        position: usize,
        why: String,
        now: Instant,
        period: Duration,
    ) {
        self.gone.entry(position).or_insert(why);
        let tokens: Vec<String> = self.tokens.keys().cloned().collect();
        for token in tokens {
            if let Some(generation) = self.tokens.get_mut(&token) {
                // A task that its method left behind may wait there: it is told, too.
                let mut left: Vec<Arrival<K>> =
                    generation.arrived.remove(&position).into_iter().collect();
                let next = std::mem::take(&mut generation.next);
                for arrival in next {
                    match arrival.position == position {
                        true => left.push(arrival),
                        false => generation.next.push_back(arrival),
                    }
                }
                for arrival in left {
                    let verdict = BarrierVerdict::Lost { missing: Missing::of(&[position]) };
                    self.releases.push_back(Release { key: arrival.key, verdict, at: None });
                }
            }
            self.advance(&token, now, period);
        }
    }

    /// Whoever waits with `key` waits no longer. Whether somebody did.
    pub(super) fn handle_withdraw(&mut self, key: &K, now: Instant, period: Duration) -> bool {
        let mut found = false;
        for generation in self.tokens.values_mut() {
            let at = generation.arrived.iter().find(|(_, arrival)| arrival.key == *key);
            if let Some(position) = at.map(|(position, _)| *position) {
                generation.arrived.remove(&position);
                found = true;
            }
            let before = generation.next.len();
            generation.next.retain(|arrival| arrival.key != *key);
            found |= generation.next.len() < before;
            generation.promote();
        }
        self.advance_all(now, period);
        found
    }

    /// When somebody has waited long enough.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let waiting = self.tokens.values().flat_map(Generation::all);
        waiting.filter_map(|arrival| arrival.deadline).min()
    }

    /// Releases those who have waited long enough.
    pub(super) fn handle_time(&mut self, now: Instant, period: Duration) {
        for generation in self.tokens.values_mut() {
            let late = |arrival: &Arrival<K>| arrival.deadline.is_some_and(|at| at <= now);
            let due: Vec<_> = generation.all().filter(|arrival| late(arrival)).cloned().collect();
            if due.is_empty() {
                continue;
            }
            let missing: Vec<usize> = (0..self.members)
                .filter(|position| !generation.arrived.contains_key(position))
                .collect();
            for arrival in due {
                let verdict = BarrierVerdict::TimedOut { missing: Missing::of(&missing) };
                self.releases.push_back(Release { key: arrival.key.clone(), verdict, at: None });
            }
            generation.arrived.retain(|_, arrival| !late(arrival));
            generation.next.retain(|arrival| !late(arrival));
            generation.promote();
        }
        self.advance_all(now, period);
    }

    /// Somebody who goes on.
    pub(super) fn poll_release(&mut self) -> Option<Release<K>> {
        self.releases.pop_front()
    }

    fn advance_all(&mut self, now: Instant, period: Duration) {
        for token in self.tokens.keys().cloned().collect::<Vec<_>>() {
            self.advance(&token, now, period);
        }
    }

    /// Releases from `token` whoever can go on.
    fn advance(&mut self, token: &str, now: Instant, period: Duration) {
        let Some(generation) = self.tokens.get_mut(token) else { return };
        loop {
            let absent = |position: &usize| !generation.arrived.contains_key(position);
            let missing: Vec<usize> = self.gone.keys().copied().filter(absent).collect();
            if !missing.is_empty() {
                // Who does not go on without them fails at once, and is told who began.
                let first: Vec<usize> =
                    missing.iter().copied().filter(|at| !self.told.contains(at)).collect();
                let blamed = if first.is_empty() { &missing } else { &first };
                let failed = generation.arrived.values().filter(|arrival| !arrival.survivors);
                let failed: Vec<&Arrival<K>> = failed.collect();
                for arrival in &failed {
                    let verdict = BarrierVerdict::Lost { missing: Missing::of(blamed) };
                    let key = arrival.key.clone();
                    self.releases.push_back(Release { key, verdict, at: None });
                }
                self.told.extend(failed.iter().map(|arrival| arrival.position));
                let some_failed = !failed.is_empty();
                generation.arrived.retain(|_, arrival| arrival.survivors);
                generation.promote();
                if some_failed {
                    // Those who had come again, behind these, are told as well.
                    continue;
                }
            }
            let complete = generation.arrived.len() + missing.len() >= self.members;
            if !complete || generation.arrived.is_empty() {
                break;
            }
            let arrived = std::mem::take(&mut generation.arrived);
            let staggered = arrived.values().any(|arrival| arrival.staggered);
            for (turn, arrival) in arrived.into_values().enumerate() {
                let verdict = BarrierVerdict::Met { missing: Missing::of(&missing) };
                // Every turn is counted from the first, so that no error adds up.
                let at = staggered.then(|| at_turn(now, period, turn));
                self.releases.push_back(Release { key: arrival.key, verdict, at });
            }
            generation.promote();
        }
        if generation.is_empty() {
            self.tokens.remove(token);
        }
    }
}

impl<K> Generation<K> {
    fn new() -> Self {
        Self { arrived: BTreeMap::new(), next: VecDeque::new() }
    }

    fn arrive(&mut self, arrival: Arrival<K>) {
        match self.arrived.entry(arrival.position) {
            Entry::Occupied(_) => self.next.push_back(arrival),
            Entry::Vacant(free) => {
                free.insert(arrival);
            }
        }
    }

    /// Those who came again take the places that are free now.
    fn promote(&mut self) {
        for arrival in std::mem::take(&mut self.next) {
            self.arrive(arrival);
        }
    }

    fn all(&self) -> impl Iterator<Item = &Arrival<K>> {
        self.arrived.values().chain(&self.next)
    }

    fn is_empty(&self) -> bool {
        self.arrived.is_empty() && self.next.is_empty()
    }
}
