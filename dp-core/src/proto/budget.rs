//! So many of something a second.

use std::time::{Duration, Instant};

/// Counts what is taken of a budget that is renewed every second.
#[derive(Debug)]
pub(crate) struct Budget {
    per_second: u32,
    taken: u32,
    since: Option<Instant>,
}

impl Budget {
    pub(crate) fn new(per_second: u32) -> Self {
        Self { per_second, taken: 0, since: None }
    }

    /// Takes one; `false` if this second's are all taken.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let over = |since| now.saturating_duration_since(since) >= Duration::from_secs(1);
        if self.since.is_none_or(over) {
            (self.since, self.taken) = (Some(now), 0);
        }
        let left = self.taken < self.per_second;
        self.taken += u32::from(left);
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_there_again_a_second_later() {
        let (start, mut budget) = (Instant::now(), Budget::new(2));
        let mut take = |millis| budget.take(start + Duration::from_millis(millis));
        assert_eq!([0, 1, 2, 999].map(&mut take), [true, true, false, false]);
        assert_eq!([1_000, 1_001, 1_002].map(&mut take), [true, true, false]);
        assert!(!Budget::new(0).take(start));
    }
}
