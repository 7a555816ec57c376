//! Collatz chains: the work itself.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// How many steps it takes from a number down to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// The number.
    pub start: u64,
    /// The steps.
    pub steps: u32,
}

impl Chain {
    fn of(start: u64) -> Self {
        let (mut number, mut steps) = (start, 0);
        while number > 1 {
            number = if number.is_multiple_of(2) { number / 2 } else { 3 * number + 1 };
            steps += 1;
        }
        Self { start, steps }
    }

    /// The longer one of two; of equal ones, that of the smaller number, so that it does not matter
    /// who is asked first.
    pub fn or_longer(self, other: Self) -> Self {
        let rank = |chain: &Self| (chain.steps, std::cmp::Reverse(chain.start));
        std::cmp::max_by_key(self, other, rank)
    }
}

/// The longest chain of a range of numbers.
pub fn longest_chain(numbers: Range<u64>) -> Chain {
    numbers.map(Chain::of).fold(Chain::default(), Chain::or_longer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_longest_chains_are_found() {
        assert_eq!(longest_chain(1..10), Chain { start: 9, steps: 19 });
        assert_eq!(longest_chain(1..1_000), Chain { start: 871, steps: 178 });
        assert_eq!(longest_chain(5..5), Chain::default());
    }

    #[test]
    fn of_equally_long_chains_the_smaller_number_counts() {
        // 12 and 13 both take 9 steps.
        let (twelve, thirteen) = (Chain::of(12), Chain::of(13));
        assert_eq!(twelve.steps, thirteen.steps);
        assert_eq!(twelve.or_longer(thirteen), twelve);
        assert_eq!(thirteen.or_longer(twelve), twelve);
    }
}
