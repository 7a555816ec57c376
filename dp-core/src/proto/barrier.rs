//! Barriers: workers that wait for one another.

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::runs::Runs;

/// So many different tokens may be waited at in one call.
pub(crate) const MAX_TOKENS: usize = 1_024;
/// So many arrivals of one worker may wait in one call, those at all tokens together.
pub(crate) const MAX_WAITING: usize = 1_024;
/// So many of those missing are named; the others are counted.
pub(crate) const MAX_NAMED: usize = 256;

/// All barriers of one call, by their tokens. Who meets is who the call addresses.
///
/// A token's generation is complete when every worker that is not gone has arrived; then those
/// waiting are released and the next generation begins. A worker that comes again before that has
/// come to the next one.
///
/// After each `handle_*`, [`poll_release`](Self::poll_release) is called until it gives nothing
/// more; [`handle_time`](Self::handle_time) when [`next_deadline`](Self::next_deadline) has passed.
///
/// What one arrival costs, until it is released, grows with the logarithm of how many wait: nothing
/// but the end of a generation passes over all who wait, and those it releases.
#[derive(Debug)]
pub(crate) struct Barriers<K> {
    /// By position: why the worker will never arrive.
    gone: BTreeMap<usize, String>,
    /// Those who were told that others are lost. When their methods end for that reason, they are
    /// missing too, but not to blame.
    told: HashSet<usize>,
    /// Those who are gone and to blame.
    to_blame: BTreeSet<usize>,
    /// Who is gone, and who is to blame, as it is told; until somebody else is gone.
    missing: Option<Missing>,
    blamed: Option<Missing>,
    members: usize,
    tokens: BTreeMap<Arc<str>, Generation<K>>,
    /// The tokens, by how many have arrived.
    fullest: BTreeSet<(usize, Arc<str>)>,
    /// Where whoever has this key waits.
    places: HashMap<K, Place>,
    /// Who waits, by position, in the order in which they came; with the token.
    waiting: BTreeMap<Turn, (K, Arc<str>)>,
    /// How many wait, by position.
    waits: HashMap<usize, usize>,
    deadlines: BTreeSet<(Instant, Turn)>,
    arrivals: u64,
    releases: VecDeque<Release<K>>,
    /// How often anything was looked at.
    #[cfg(test)]
    steps: u64,
}

/// A worker's position, and the number of the arrival.
type Turn = (usize, u64);

/// Where an arrival waits.
#[derive(Debug)]
struct Place {
    token: Arc<str>,
    turn: Turn,
}

/// A worker that waits at a barrier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arrival<K> {
    /// What its release is addressed to. No other one that waits has it.
    pub(crate) key: K,
    pub(crate) position: usize,
    /// Whether those who meet go on one after another.
    pub(crate) staggered: bool,
    /// Whether it goes on without those who are gone.
    pub(crate) survivors: bool,
    pub(crate) deadline: Option<Instant>,
}

/// Who waits at one token. The first arrival of each position is one to this generation; those
/// behind it came again before it was complete.
#[derive(Debug)]
struct Generation<K> {
    queue: BTreeMap<Turn, Arrival<K>>,
    /// The positions that have arrived.
    arrived: Runs,
    /// Those of them that do not go on without those who are gone.
    strict: BTreeSet<usize>,
}

/// A worker goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Release<K> {
    pub(crate) key: K,
    pub(crate) verdict: BarrierVerdict,
    /// When; at once without it.
    pub(crate) at: Option<Instant>,
}

/// How a barrier ended, with those missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BarrierVerdict {
    Met { missing: Missing },
    Lost { missing: Missing },
    TimedOut { missing: Missing },
}

/// Who is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    /// The positions of the first of them, in order.
    pub(crate) named: Arc<[usize]>,
    /// How many there are beside these.
    pub(crate) more: usize,
}

impl Missing {
    /// The first of `all` `positions`.
    fn first_of(positions: impl Iterator<Item = usize>, all: usize) -> Self {
        let named: Arc<[usize]> = positions.take(MAX_NAMED).collect();
        let more = all - named.len();
        Self { named, more }
    }

    /// Just these.
    pub(crate) fn of(positions: &[usize]) -> Self {
        Self::first_of(positions.iter().copied(), positions.len())
    }
}

impl<K: Clone + Eq + Hash> Barriers<K> {
    pub(crate) fn new(members: usize) -> Self {
        Self {
            gone: BTreeMap::new(),
            told: HashSet::new(),
            to_blame: BTreeSet::new(),
            missing: None,
            blamed: None,
            members,
            tokens: BTreeMap::new(),
            fullest: BTreeSet::new(),
            places: HashMap::new(),
            waiting: BTreeMap::new(),
            waits: HashMap::new(),
            deadlines: BTreeSet::new(),
            arrivals: 0,
            releases: VecDeque::new(),
            #[cfg(test)]
            steps: 0,
        }
    }

    /// Why the worker at `position` will never arrive, if so.
    pub(crate) fn gone(&self, position: usize) -> Option<&str> {
        self.gone.get(&position).map(String::as_str)
    }

    /// Who has come to each token, and waits there; by token.
    pub(crate) fn arrived(&self) -> BTreeMap<&str, Vec<usize>> {
        self.tokens
            .iter()
            .map(|(token, generation)| (&**token, generation.arrived.iter().collect()))
            .collect()
    }

    /// A worker has come to `token`. `period`: the time between two that go on one after another.
    pub(crate) fn handle_arrive(
        &mut self,
        token: &str,
        arrival: Arrival<K>,
        now: Instant,
        period: Duration,
    ) {
        self.step();
        let position = arrival.position;
        let known = self.tokens.get_key_value(token).map(|(token, _)| token.clone());
        let too_many = known.is_none() && self.tokens.len() >= MAX_TOKENS;
        let waits = self.waits.get(&position).copied().unwrap_or_default();
        let over = self.gone.contains_key(&position) || self.places.contains_key(&arrival.key);
        if position >= self.members || over || too_many || waits >= MAX_WAITING {
            self.lose(arrival.key, Missing::of(&[position]));
            return;
        }
        let token = known.unwrap_or_else(|| token.into());
        self.insert(&token, arrival);
        self.advance(&token, now, period);
    }

    /// The worker at `position` will never arrive again: it is lost, or its method has ended.
    pub(crate) fn handle_gone(
        &mut self,
        position: usize,
        why: String,
        now: Instant,
        period: Duration,
    ) {
        self.step();
        if position >= self.members || self.gone.contains_key(&position) {
            return;
        }
        self.gone.insert(position, why);
        self.missing = None;
        if !self.told.contains(&position) {
            self.to_blame.insert(position);
            self.blamed = None;
        }
        // A task that its method left behind may wait: it is told, too.
        let left = self.waiting.range((position, 0)..=(position, u64::MAX));
        let left: Vec<K> = left.map(|(_, (key, _))| key.clone()).collect();
        for key in left {
            self.remove(&key);
            self.lose(key, Missing::of(&[position]));
        }
        if self.gone.len() == 1 {
            // From here on nobody waits for this one any more but those who go on without.
            let tokens: Vec<Arc<str>> = self.tokens.keys().cloned().collect();
            tokens.iter().for_each(|token| self.fail(token));
        }
        while let Some((arrived, token)) = self.fullest.last()
            && arrived + self.gone.len() >= self.members
        {
            let token = token.clone();
            self.advance(&token, now, period);
        }
    }

    /// Whoever waits with `key` waits no longer. Whether somebody did.
    pub(crate) fn handle_withdraw(&mut self, key: &K) -> bool {
        self.step();
        let Some((token, _)) = self.remove(key) else { return false };
        // As many have arrived as before, or fewer: nobody meets by this.
        self.fail(&token);
        true
    }

    /// When [`handle_time`](Self::handle_time) is to be called: nobody stops waiting before.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Releases those who have waited long enough.
    pub(crate) fn handle_time(&mut self, now: Instant) {
        self.step();
        let mut due: BTreeMap<Arc<str>, Vec<K>> = BTreeMap::new();
        while let Some((at, turn)) = self.deadlines.first().copied()
            && at <= now
        {
            self.step();
            self.deadlines.pop_first();
            if let Some((key, token)) = self.waiting.get(&turn) {
                due.entry(token.clone()).or_default().push(key.clone());
            }
        }
        for (token, keys) in due {
            let Some(generation) = self.tokens.get(&token) else { continue };
            let absent = self.members - generation.arrived.len();
            let missing = Missing::first_of(generation.arrived.gaps(self.members), absent);
            for key in keys {
                self.remove(&key);
                let verdict = BarrierVerdict::TimedOut { missing: missing.clone() };
                self.releases.push_back(Release { key, verdict, at: None });
            }
            self.fail(&token);
        }
    }

    /// Somebody who goes on.
    pub(crate) fn poll_release(&mut self) -> Option<Release<K>> {
        self.releases.pop_front()
    }

    /// Releases from `token` whoever can go on.
    fn advance(&mut self, token: &Arc<str>, now: Instant, period: Duration) {
        loop {
            self.fail(token);
            let Some(generation) = self.tokens.get(token) else { return };
            if generation.arrived.len() + self.gone.len() < self.members {
                return;
            }
            let positions: Vec<usize> = generation.arrived.iter().collect();
            let met: Vec<Arrival<K>> = positions
                .into_iter()
                .filter_map(|position| self.take_first(token, position))
                .collect();
            let staggered = met.iter().any(|arrival| arrival.staggered);
            let missing = self.missing();
            for (turn, arrival) in met.into_iter().enumerate() {
                let verdict = BarrierVerdict::Met { missing: missing.clone() };
                // Every turn is counted from the first, so that no error adds up.
                let at = staggered.then(|| at_turn(now, period, turn));
                self.releases.push_back(Release { key: arrival.key, verdict, at });
            }
        }
    }

    /// Where somebody is gone: who does not go on without fails at once, and is told who began.
    fn fail(&mut self, token: &Arc<str>) {
        if self.gone.is_empty() {
            return;
        }
        // Those who had come again, behind these, are told as well.
        while let Some(generation) = self.tokens.get(token)
            && !generation.strict.is_empty()
        {
            let strict: Vec<usize> = generation.strict.iter().copied().collect();
            let blamed = self.blamed();
            for position in strict {
                self.told.insert(position);
                if let Some(arrival) = self.take_first(token, position) {
                    self.lose(arrival.key, blamed.clone());
                }
            }
        }
    }

    fn lose(&mut self, key: K, missing: Missing) {
        let verdict = BarrierVerdict::Lost { missing };
        self.releases.push_back(Release { key, verdict, at: None });
    }

    fn missing(&mut self) -> Missing {
        let gone = || Missing::first_of(self.gone.keys().copied(), self.gone.len());
        self.missing.get_or_insert_with(gone).clone()
    }

    fn blamed(&mut self) -> Missing {
        let blamed = || Missing::first_of(self.to_blame.iter().copied(), self.to_blame.len());
        self.blamed.get_or_insert_with(blamed).clone()
    }

    fn insert(&mut self, token: &Arc<str>, arrival: Arrival<K>) {
        self.step();
        self.arrivals += 1;
        let turn = (arrival.position, self.arrivals);
        self.deadlines.extend(arrival.deadline.map(|at| (at, turn)));
        self.places.insert(arrival.key.clone(), Place { token: token.clone(), turn });
        self.waiting.insert(turn, (arrival.key.clone(), token.clone()));
        *self.waits.entry(turn.0).or_default() += 1;
        let generation = self.tokens.entry(token.clone()).or_insert_with(Generation::new);
        let before = generation.arrived.len();
        generation.queue.insert(turn, arrival);
        generation.look_at(turn.0);
        self.note(token, before);
    }

    fn remove(&mut self, key: &K) -> Option<(Arc<str>, Arrival<K>)> {
        self.step();
        let Place { token, turn } = self.places.remove(key)?;
        self.waiting.remove(&turn);
        if let Some(waits) = self.waits.get_mut(&turn.0) {
            *waits -= 1;
            if *waits == 0 {
                self.waits.remove(&turn.0);
            }
        }
        let generation = self.tokens.get_mut(&token)?;
        let before = generation.arrived.len();
        let arrival = generation.queue.remove(&turn)?;
        generation.look_at(turn.0);
        if let Some(at) = arrival.deadline {
            self.deadlines.remove(&(at, turn));
        }
        self.note(&token, before);
        Some((token, arrival))
    }

    /// Takes the arrival of `position` to this generation; the one behind it, if there is one, has
    /// come to the next.
    fn take_first(&mut self, token: &Arc<str>, position: usize) -> Option<Arrival<K>> {
        let key = self.tokens.get(token)?.first(position)?.key.clone();
        self.remove(&key).map(|(_, arrival)| arrival)
    }

    /// Notes how many have arrived at `token`, where there were `before`.
    fn note(&mut self, token: &Arc<str>, before: usize) {
        let now = self.tokens.get(token).map_or(0, |generation| generation.arrived.len());
        if now == before {
            return;
        }
        self.fullest.remove(&(before, token.clone()));
        if now == 0 {
            self.tokens.remove(token);
        } else {
            self.fullest.insert((now, token.clone()));
        }
    }

    fn step(&mut self) {
        #[cfg(test)]
        {
            self.steps += 1;
        }
    }
}

/// The time of turn number `turn`, counted from `start` in periods of `period`.
pub(crate) fn at_turn(start: Instant, period: Duration, turn: usize) -> Instant {
    let turn = u32::try_from(turn).unwrap_or(u32::MAX);
    let after = period.checked_mul(turn).unwrap_or(Duration::MAX);
    // A turn beyond the clock's end never comes.
    start.checked_add(after).unwrap_or_else(|| start + Duration::from_secs(86_400 * 365))
}

impl<K> Generation<K> {
    fn new() -> Self {
        Self { queue: BTreeMap::new(), arrived: Runs::default(), strict: BTreeSet::new() }
    }

    /// The arrival of `position` to this generation.
    fn first(&self, position: usize) -> Option<&Arrival<K>> {
        let of_position = (position, 0)..=(position, u64::MAX);
        self.queue.range(of_position).next().map(|(_, arrival)| arrival)
    }

    /// Notes whether `position` has arrived, and whether it goes on without those who are gone.
    fn look_at(&mut self, position: usize) {
        match self.first(position).map(|arrival| arrival.survivors) {
            Some(survivors) => {
                self.arrived.insert(position);
                match survivors {
                    true => self.strict.remove(&position),
                    false => self.strict.insert(position),
                };
            }
            None => {
                self.arrived.remove(position);
                self.strict.remove(&position);
            }
        }
    }
}
