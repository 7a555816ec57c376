//! What is to happen when: a queue of deadlines.

use std::collections::BTreeSet;

use tokio::time::Instant;

/// Deadlines in order of time, each for one key.
#[derive(Debug)]
pub(crate) struct Deadlines<K>(BTreeSet<(Instant, K)>);

impl<K: Ord + Clone> Deadlines<K> {
    pub(crate) fn new() -> Self {
        Self(BTreeSet::new())
    }

    /// Adds a deadline. Whether it is now the earliest: whoever sleeps must be told.
    pub(crate) fn insert(&mut self, at: Instant, key: K) -> bool {
        let entry = (at, key);
        let earliest = self.0.first().is_none_or(|first| entry < *first);
        self.0.insert(entry);
        earliest
    }

    pub(crate) fn remove(&mut self, at: Instant, key: K) {
        self.0.remove(&(at, key));
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.first().map(|(at, _)| *at)
    }

    /// Takes one key whose deadline has passed at `now`.
    pub(crate) fn poll_expired(&mut self, now: Instant) -> Option<K> {
        if self.next()? > now {
            return None;
        }
        self.0.pop_first().map(|(_, key)| key)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn keys_expire_in_order_of_their_time() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut deadlines = Deadlines::new();
        assert!(deadlines.insert(at(2), "b"));
        assert!(deadlines.insert(at(1), "a"));
        assert!(!deadlines.insert(at(3), "c"));
        assert!(!deadlines.insert(at(3), "d"));
        deadlines.remove(at(3), "c");
        assert_eq!(deadlines.poll_expired(start), None);
        assert_eq!(deadlines.poll_expired(at(2)), Some("a"));
        assert_eq!(deadlines.poll_expired(at(2)), Some("b"));
        assert_eq!(deadlines.poll_expired(at(2)), None);
        assert_eq!(deadlines.next(), Some(at(3)));
        assert_eq!(deadlines.poll_expired(at(9)), Some("d"));
        assert_eq!(deadlines.next(), None);
    }
}
