//! How far the maps are that are under way, for whoever watches.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use crate::sync::lock;

/// How far a [`map`](crate::Group::map) is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MapStatus {
    /// How many items have had their outcome.
    pub done: usize,
    /// How many there are in all, if the iterator that they come from knows.
    pub items: Option<usize>,
    /// How long ago it began.
    pub since: Duration,
}

/// The maps under way.
#[derive(Debug, Default)]
pub(crate) struct Maps(Mutex<Vec<Weak<MapCount>>>);

/// Counts the items of one map; it is under way until this is dropped.
#[derive(Debug)]
pub(crate) struct MapCount {
    done: AtomicUsize,
    items: Option<usize>,
    begun: Instant,
}

impl Maps {
    /// One more begins. `size` is what its iterator says of itself.
    pub(crate) fn begin(&self, size: (usize, Option<usize>)) -> Arc<MapCount> {
        let (at_least, at_most) = size;
        let items = at_most.filter(|&items| items == at_least);
        let count = Arc::new(MapCount { done: AtomicUsize::new(0), items, begun: Instant::now() });
        let mut maps = lock(&self.0);
        maps.retain(|map| map.strong_count() > 0);
        maps.push(Arc::downgrade(&count));
        count
    }

    pub(crate) fn status(&self) -> Vec<MapStatus> {
        let maps = lock(&self.0);
        let maps = maps.iter().filter_map(Weak::upgrade);
        maps.map(|map| MapStatus {
            done: map.done.load(Ordering::Relaxed),
            items: map.items,
            since: map.begun.elapsed(),
        })
        .collect()
    }
}

impl MapCount {
    pub(crate) fn one_more(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_seen_until_it_is_dropped() {
        let maps = Maps::default();
        let (first, second) = (maps.begin((3, Some(3))), maps.begin((0, None)));
        first.one_more();
        let seen =
            |maps: &Maps| maps.status().iter().map(|map| (map.done, map.items)).collect::<Vec<_>>();
        assert_eq!(seen(&maps), [(1, Some(3)), (0, None)]);
        drop(first);
        second.one_more();
        assert_eq!(seen(&maps), [(1, None)]);
    }
}
