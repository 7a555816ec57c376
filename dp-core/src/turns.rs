//! A queue of several that take turns.

use std::collections::{HashMap, VecDeque};

/// What waits to be run. Who has much that waits keeps nobody else waiting: the lanes take turns, and
/// one lane has no more under way than its share. What is of no lane goes before.
#[derive(Debug)]
pub(crate) struct Turns<T> {
    common: VecDeque<T>,
    lanes: HashMap<u64, Lane<T>>,
    /// The lanes of which something can be taken, each once.
    next: VecDeque<u64>,
    /// How much can be taken.
    ready: usize,
    share: usize,
}

#[derive(Debug)]
struct Lane<T> {
    waiting: VecDeque<T>,
    under_way: usize,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self {
            common: VecDeque::new(),
            lanes: HashMap::new(),
            next: VecDeque::new(),
            ready: 0,
            share: usize::MAX,
        }
    }
}

impl<T> Turns<T> {
    /// One of which each lane has at most `share` under way.
    pub(crate) fn with_share(share: usize) -> Self {
        Self { share: share.max(1), ..Self::default() }
    }

    /// How much can be taken now: what is of lanes that have their share does not count.
    pub(crate) fn ready(&self) -> usize {
        self.ready
    }

    pub(crate) fn push(&mut self, lane: Option<u64>, item: T) {
        let Some(lane) = lane else {
            self.common.push_back(item);
            self.ready += 1;
            return;
        };
        let new = || Lane { waiting: VecDeque::new(), under_way: 0 };
        let of_lane = self.lanes.entry(lane).or_insert_with(new);
        of_lane.waiting.push_back(item);
        if of_lane.under_way < self.share {
            self.ready += 1;
            if of_lane.waiting.len() == 1 {
                self.next.push_back(lane);
            }
        }
    }

    /// What is next. [`handle_end`](Self::handle_end) follows when it is no longer under way.
    pub(crate) fn pop(&mut self) -> Option<T> {
        if let Some(item) = self.common.pop_front() {
            self.ready -= 1;
            return Some(item);
        }
        let lane = self.next.pop_front()?;
        let of_lane = self.lanes.get_mut(&lane)?;
        let item = of_lane.waiting.pop_front()?;
        of_lane.under_way += 1;
        self.ready -= 1;
        match of_lane.under_way < self.share {
            true if !of_lane.waiting.is_empty() => self.next.push_back(lane),
            true => {}
            false => self.ready -= of_lane.waiting.len(),
        }
        Some(item)
    }

    /// Something of `lane` is no longer under way.
    pub(crate) fn handle_end(&mut self, lane: Option<u64>) {
        let Some(lane) = lane else { return };
        let Some(of_lane) = self.lanes.get_mut(&lane) else { return };
        let had_its_share = of_lane.under_way == self.share;
        of_lane.under_way -= 1;
        if of_lane.waiting.is_empty() {
            if of_lane.under_way == 0 {
                self.lanes.remove(&lane);
            }
        } else if had_its_share {
            self.ready += of_lane.waiting.len();
            self.next.push_back(lane);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lanes_take_turns_however_much_one_has() {
        let mut turns = Turns::default();
        (0..1_000).for_each(|n| turns.push(Some(1), (1, n)));
        turns.push(Some(2), (2, 0));
        turns.push(Some(2), (2, 1));
        turns.push(None, (0, 0));
        let order: Vec<_> = std::iter::from_fn(|| turns.pop()).take(6).collect();
        assert_eq!(order, [(0, 0), (1, 0), (2, 0), (1, 1), (2, 1), (1, 2)]);
    }

    #[test]
    fn a_lane_has_no_more_under_way_than_its_share() {
        let mut turns = Turns::with_share(2);
        (0..5).for_each(|n| turns.push(Some(1), n));
        assert_eq!((turns.pop(), turns.pop(), turns.pop()), (Some(0), Some(1), None));
        turns.push(Some(2), 9);
        assert_eq!((turns.ready(), turns.pop()), (1, Some(9)));
        turns.handle_end(Some(1));
        assert_eq!((turns.ready(), turns.pop(), turns.pop()), (3, Some(2), None));
    }

    proptest! {
        #[test]
        fn everything_comes_once_and_in_order_within_its_lane(
            steps in proptest::collection::vec(0_u64..8, 0..300)
        ) {
            let mut turns = Turns::with_share(2);
            let (mut waiting, mut under_way) = ([const { VecDeque::new() }; 4], Vec::new());
            for (n, step) in steps.into_iter().enumerate() {
                match step {
                    lane @ 0..4 => {
                        turns.push((lane > 0).then_some(lane), (lane, n));
                        waiting[lane as usize].push_back(n);
                    }
                    4 | 5 => {
                        if let Some(at) = under_way.len().checked_sub(1) {
                            turns.handle_end(under_way.swap_remove(n % (at + 1)));
                        }
                    }
                    _ => {
                        if let Some((lane, item)) = turns.pop() {
                            prop_assert_eq!(waiting[lane as usize].pop_front(), Some(item));
                            under_way.push((lane > 0).then_some(lane));
                        }
                    }
                }
                let of = |lane: u64| under_way.iter().filter(|of| **of == Some(lane)).count();
                prop_assert!((1..4).all(|lane| of(lane) <= 2));
                let can_be_taken = |lane: &u64| *lane == 0 || of(*lane) < 2;
                let ready = (0..4).filter(can_be_taken).map(|lane| waiting[lane as usize].len());
                prop_assert_eq!(turns.ready(), ready.sum::<usize>());
            }
            under_way.drain(..).for_each(|lane| turns.handle_end(lane));
            while let Some((lane, _)) = turns.pop() {
                turns.handle_end((lane > 0).then_some(lane));
            }
            prop_assert!(turns.lanes.is_empty() && turns.next.is_empty() && turns.ready() == 0);
        }
    }
}
