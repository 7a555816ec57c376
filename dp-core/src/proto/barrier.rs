//! Barriers: workers that wait for one another.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

/// So many different tokens may be waited at in one call.
const MAX_TOKENS: usize = 1_024;

/// All barriers of one call, by their tokens. Who meets is who the call addresses.
///
/// A token's generation is complete when every worker that is not gone has arrived; then those
/// waiting are released and the next generation begins. A worker that comes again before that has
/// come to the next one.
///
/// After each `handle_*`, [`poll_release`](Self::poll_release) is called until it gives nothing
/// more; [`handle_time`](Self::handle_time) when [`next_deadline`](Self::next_deadline) has passed.
#[derive(Debug)]
pub(crate) struct Barriers<K> {
    /// By position: why the worker will never arrive.
    gone: BTreeMap<usize, String>,
    /// Those who were told that others are lost. When their methods end for that reason, they are
    /// missing too, but not to blame.
    told: BTreeSet<usize>,
    members: usize,
    tokens: BTreeMap<String, Generation<K>>,
    /// No deadline is before this one. It may be of somebody who waits no longer: looking then,
    /// once, is cheaper than keeping it exact at every arrival.
    earliest: Option<Instant>,
    releases: VecDeque<Release<K>>,
}

/// A worker that waits at a barrier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arrival<K> {
    /// What its release is addressed to.
    pub(crate) key: K,
    pub(crate) position: usize,
    /// Whether those who meet go on one after another.
    pub(crate) staggered: bool,
    /// Whether it goes on without those who are gone.
    pub(crate) survivors: bool,
    pub(crate) deadline: Option<Instant>,
}

#[derive(Debug)]
struct Generation<K> {
    arrived: BTreeMap<usize, Arrival<K>>,
    /// Those who came again before it was complete, in order.
    next: VecDeque<Arrival<K>>,
}

/// A worker goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Release<K> {
    pub(crate) key: K,
    pub(crate) verdict: BarrierVerdict,
    /// When; at once without it.
    pub(crate) at: Option<Instant>,
}

/// How a barrier ended, with the positions of those missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BarrierVerdict {
    Met { missing: Vec<usize> },
    Lost { missing: Vec<usize> },
    TimedOut { missing: Vec<usize> },
}

impl<K: Clone + PartialEq> Barriers<K> {
    pub(crate) fn new(members: usize) -> Self {
        Self {
            gone: BTreeMap::new(),
            told: BTreeSet::new(),
            members,
            tokens: BTreeMap::new(),
            earliest: None,
            releases: VecDeque::new(),
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
            .map(|(token, generation)| {
                (token.as_str(), generation.arrived.keys().copied().collect())
            })
            .collect()
    }

    /// How many workers wait, at all tokens together.
    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.tokens.values().map(|token| token.arrived.len() + token.next.len()).sum()
    }

    /// A worker has come to `token`. `period`: the time between two that go on one after another.
    pub(crate) fn handle_arrive(
        &mut self,
        token: &str,
        arrival: Arrival<K>,
        now: Instant,
        period: Duration,
    ) {
        let too_many = self.tokens.len() >= MAX_TOKENS && !self.tokens.contains_key(token);
        let over = self.gone.contains_key(&arrival.position);
        if arrival.position >= self.members || over || too_many {
            let verdict = BarrierVerdict::Lost { missing: vec![arrival.position] };
            self.releases.push_back(Release { key: arrival.key, verdict, at: None });
            return;
        }
        if let Some(at) = arrival.deadline {
            self.earliest = Some(self.earliest.map_or(at, |earliest| earliest.min(at)));
        }
        let generation = self.tokens.entry(token.to_owned()).or_insert_with(Generation::new);
        generation.arrive(arrival);
        self.advance(token, now, period);
    }

    /// The worker at `position` will never arrive again: it is lost, or its method has ended.
    pub(crate) fn handle_gone(
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
                    let verdict = BarrierVerdict::Lost { missing: vec![position] };
                    self.releases.push_back(Release { key: arrival.key, verdict, at: None });
                }
            }
            self.advance(&token, now, period);
        }
    }

    /// Whoever waits with `key` waits no longer. Whether somebody did.
    pub(crate) fn handle_withdraw(&mut self, key: &K) -> bool {
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
            // As many have arrived as before, or fewer: nobody is released by this.
            generation.promote();
        }
        self.tokens.retain(|_, generation| !generation.is_empty());
        found
    }

    /// When [`handle_time`](Self::handle_time) is to be called: nobody stops waiting before.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.earliest
    }

    /// Releases those who have waited long enough.
    pub(crate) fn handle_time(&mut self, now: Instant) {
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
                let verdict = BarrierVerdict::TimedOut { missing: missing.clone() };
                self.releases.push_back(Release { key: arrival.key.clone(), verdict, at: None });
            }
            generation.arrived.retain(|_, arrival| !late(arrival));
            generation.next.retain(|arrival| !late(arrival));
            generation.promote();
        }
        self.tokens.retain(|_, generation| !generation.is_empty());
        let waiting = self.tokens.values().flat_map(Generation::all);
        self.earliest = waiting.filter_map(|arrival| arrival.deadline).min();
    }

    /// Somebody who goes on.
    pub(crate) fn poll_release(&mut self) -> Option<Release<K>> {
        self.releases.pop_front()
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
                    let verdict = BarrierVerdict::Lost { missing: blamed.clone() };
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
                let verdict = BarrierVerdict::Met { missing: missing.clone() };
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

/// The time of turn number `turn`, counted from `start` in periods of `period`.
pub(crate) fn at_turn(start: Instant, period: Duration, turn: usize) -> Instant {
    let turn = u32::try_from(turn).unwrap_or(u32::MAX);
    let after = period.checked_mul(turn).unwrap_or(Duration::MAX);
    // A turn beyond the clock's end never comes.
    start.checked_add(after).unwrap_or_else(|| start + Duration::from_secs(86_400 * 365))
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

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(4);

    struct Scene {
        barriers: Barriers<u64>,
        now: Instant,
        start: Instant,
    }

    impl Scene {
        fn new(members: usize) -> Self {
            let now = Instant::now();
            Self { barriers: Barriers::new(members), now, start: now }
        }

        fn arrive(&mut self, token: &str, position: usize, key: u64) -> Vec<(u64, BarrierVerdict)> {
            self.arrive_as(token, arrival(position, key))
        }

        fn arrive_as(&mut self, token: &str, who: Arrival<u64>) -> Vec<(u64, BarrierVerdict)> {
            self.barriers.handle_arrive(token, who, self.now, PERIOD);
            self.released()
        }

        fn gone(&mut self, position: usize) -> Vec<(u64, BarrierVerdict)> {
            self.barriers.handle_gone(position, "lost".into(), self.now, PERIOD);
            self.released()
        }

        fn released(&mut self) -> Vec<(u64, BarrierVerdict)> {
            std::iter::from_fn(|| self.barriers.poll_release())
                .map(|release| (release.key, release.verdict))
                .collect()
        }
    }

    fn arrival(position: usize, key: u64) -> Arrival<u64> {
        Arrival { key, position, staggered: false, survivors: false, deadline: None }
    }

    fn met(missing: &[usize]) -> BarrierVerdict {
        BarrierVerdict::Met { missing: missing.to_vec() }
    }

    fn lost(missing: &[usize]) -> BarrierVerdict {
        BarrierVerdict::Lost { missing: missing.to_vec() }
    }

    #[test]
    fn the_last_to_arrive_releases_everybody_in_worker_order() {
        let mut scene = Scene::new(3);
        assert_eq!(scene.arrive("a", 2, 12), []);
        assert_eq!(scene.arrive("a", 0, 10), []);
        let all = [(10, met(&[])), (11, met(&[])), (12, met(&[]))];
        assert_eq!(scene.arrive("a", 1, 11), all);
        assert_eq!(scene.barriers.waiting(), 0);
    }

    #[test]
    fn tokens_do_not_mix_and_can_be_used_again() {
        let mut scene = Scene::new(2);
        assert_eq!(scene.arrive("a", 0, 1), []);
        assert_eq!(scene.arrive("b", 1, 2), []);
        assert_eq!(scene.arrive("a", 1, 3), [(1, met(&[])), (3, met(&[]))]);
        assert_eq!(scene.arrive("a", 0, 4), []);
        assert_eq!(scene.arrive("a", 1, 5), [(4, met(&[])), (5, met(&[]))]);
    }

    #[test]
    fn late_arrival_joins_next_generation() {
        let mut scene = Scene::new(2);
        assert_eq!(scene.arrive("a", 0, 1), []);
        assert_eq!(scene.arrive("a", 0, 2), []);
        assert_eq!(scene.arrive("a", 1, 3), [(1, met(&[])), (3, met(&[]))]);
        assert_eq!(scene.arrive("a", 1, 4), [(2, met(&[])), (4, met(&[]))]);
    }

    #[test]
    fn a_lost_worker_fails_those_who_wait_and_those_who_come_later() {
        let mut scene = Scene::new(3);
        scene.arrive("a", 0, 1);
        assert_eq!(scene.gone(2), [(1, lost(&[2]))]);
        assert_eq!(scene.arrive("a", 1, 2), [(2, lost(&[2]))]);
        assert_eq!(scene.arrive("b", 0, 3), [(3, lost(&[2]))]);
        assert_eq!(scene.barriers.waiting(), 0);
    }

    #[test]
    fn those_who_end_because_another_is_lost_are_not_blamed() {
        let mut scene = Scene::new(4);
        scene.arrive("a", 0, 1);
        scene.arrive("a", 1, 2);
        assert_eq!(scene.gone(2), [(1, lost(&[2])), (2, lost(&[2]))]);
        assert_eq!(scene.gone(0), []);
        assert_eq!(scene.arrive("a", 3, 3), [(3, lost(&[2]))]);
    }

    #[test]
    fn a_lost_worker_that_had_arrived_is_missed_all_the_same() {
        let mut scene = Scene::new(3);
        scene.arrive("a", 0, 1);
        scene.arrive("a", 2, 2);
        assert_eq!(scene.gone(2), [(2, lost(&[2])), (1, lost(&[2]))]);
    }

    #[test]
    fn survivors_go_on_without_the_lost_one() {
        let survivor = |position, key| Arrival { survivors: true, ..arrival(position, key) };
        let mut scene = Scene::new(3);
        assert_eq!(scene.arrive_as("a", survivor(0, 1)), []);
        assert_eq!(scene.gone(2), []);
        let all = [(1, met(&[2])), (2, met(&[2]))];
        assert_eq!(scene.arrive_as("a", survivor(1, 2)), all);
        assert_eq!(scene.arrive_as("a", survivor(0, 3)), []);
        assert_eq!(scene.gone(1), [(3, met(&[1, 2]))]);
    }

    #[test]
    fn a_timeout_names_who_is_missing_and_leaves_the_others_waiting() {
        let mut scene = Scene::new(3);
        let deadline = Some(scene.start + Duration::from_secs(1));
        scene.arrive_as("a", Arrival { deadline, ..arrival(0, 1) });
        scene.arrive("a", 1, 2);
        assert_eq!(scene.barriers.next_deadline(), deadline);
        scene.barriers.handle_time(scene.start);
        assert_eq!(scene.released(), []);
        scene.barriers.handle_time(scene.start + Duration::from_secs(1));
        assert_eq!(scene.released(), [(1, BarrierVerdict::TimedOut { missing: vec![2] })]);
        assert_eq!(scene.arrive("a", 2, 3), []);
        assert_eq!(scene.arrive("a", 0, 4).len(), 3);
    }

    #[test]
    fn who_waits_twice_is_told_twice() {
        let mut scene = Scene::new(3);
        scene.arrive("a", 0, 1);
        scene.arrive("a", 0, 2);
        assert_eq!(scene.gone(2), [(1, lost(&[2])), (2, lost(&[2]))]);

        let mut scene = Scene::new(2);
        scene.arrive("a", 0, 1);
        scene.arrive("a", 0, 2);
        assert!(scene.barriers.handle_withdraw(&1));
        assert_eq!(scene.arrive("a", 1, 3), [(2, met(&[])), (3, met(&[]))]);

        let mut scene = Scene::new(2);
        let deadline = Some(scene.start);
        scene.arrive_as("a", Arrival { deadline, ..arrival(0, 1) });
        scene.arrive("a", 0, 2);
        scene.barriers.handle_time(scene.start);
        assert_eq!(scene.released().len(), 1);
        assert_eq!(scene.arrive("a", 1, 3), [(2, met(&[])), (3, met(&[]))]);
    }

    #[test]
    fn who_withdraws_is_waited_for_again() {
        let mut scene = Scene::new(2);
        scene.arrive("a", 0, 1);
        assert!(scene.barriers.handle_withdraw(&1));
        assert!(!scene.barriers.handle_withdraw(&1));
        assert_eq!(scene.arrive("a", 1, 2), []);
        assert_eq!(scene.arrive("a", 0, 3).len(), 2);
    }

    #[test]
    fn a_delay_releases_in_worker_order_a_period_apart() {
        let staggered = |position, key| Arrival { staggered: true, ..arrival(position, key) };
        let mut scene = Scene::new(3);
        for position in [2, 1, 0] {
            let who = staggered(position, position as u64);
            scene.barriers.handle_arrive("a", who, scene.now, PERIOD);
        }
        let times: Vec<_> = std::iter::from_fn(|| scene.barriers.poll_release())
            .map(|release| (release.key, release.at.unwrap() - scene.start))
            .collect();
        assert_eq!(times, [(0, Duration::ZERO), (1, PERIOD), (2, PERIOD * 2)]);
    }

    #[test]
    fn turns_do_not_drift() {
        let start = Instant::now();
        let period = Duration::from_nanos(333_333_333);
        assert_eq!(at_turn(start, period, 1_000_000) - start, period * 1_000_000);
    }
}
