//! Positions of which many stand side by side.

use std::collections::BTreeMap;

/// A set of positions, kept as runs: each step takes a time that grows with the logarithm of how many
/// runs there are, and so it does to find the first ones that are not in it.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    /// The position behind each run's last, by the run's first.
    runs: BTreeMap<usize, usize>,
    len: usize,
}

impl Runs {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn contains(&self, position: usize) -> bool {
        self.run_of(position).is_some()
    }

    /// The run that `position` is in: its first, and the one behind its last.
    fn run_of(&self, position: usize) -> Option<(usize, usize)> {
        let (first, behind) = self.runs.range(..=position).next_back()?;
        (position < *behind).then_some((*first, *behind))
    }

    /// Adds `position`. Whether it was not there.
    pub(crate) fn insert(&mut self, position: usize) -> bool {
        if self.contains(position) {
            return false;
        }
        self.len += 1;
        let behind = self.runs.remove(&(position + 1)).unwrap_or(position + 1);
        match self.runs.range_mut(..position).next_back() {
            Some((_, before)) if *before == position => *before = behind,
            _ => {
                self.runs.insert(position, behind);
            }
        }
        true
    }

    /// Removes `position`. Whether it was there.
    pub(crate) fn remove(&mut self, position: usize) -> bool {
        let Some((first, behind)) = self.run_of(position) else { return false };
        self.len -= 1;
        match first == position {
            true => self.runs.remove(&first),
            false => self.runs.insert(first, position),
        };
        if position + 1 < behind {
            self.runs.insert(position + 1, behind);
        }
        true
    }

    /// All of them, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> {
        self.runs.iter().flat_map(|(first, behind)| *first..*behind)
    }

    /// Those below `end` that are not in it, in order.
    pub(crate) fn gaps(&self, end: usize) -> impl Iterator<Item = usize> {
        let starts = std::iter::once(0).chain(self.runs.values().copied());
        let ends = self.runs.keys().copied().chain(std::iter::once(end));
        starts.zip(ends).flat_map(move |(start, next)| start..next.min(end))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_are_a_set_of_positions(
            steps in proptest::collection::vec((any::<bool>(), 0_usize..24), 0..200)
        ) {
            let (mut runs, mut set) = (Runs::default(), BTreeSet::new());
            for (insert, position) in steps {
                match insert {
                    true => prop_assert_eq!(runs.insert(position), set.insert(position)),
                    false => prop_assert_eq!(runs.remove(position), set.remove(&position)),
                }
                prop_assert_eq!(runs.len(), set.len());
                prop_assert!(runs.iter().eq(set.iter().copied()));
                prop_assert!(runs.gaps(20).eq((0..20).filter(|at| !set.contains(at))));
                prop_assert_eq!(runs.contains(position), set.contains(&position));
                let joined = runs.runs.iter().zip(runs.runs.keys().skip(1));
                prop_assert!(joined.into_iter().all(|((_, behind), next)| behind < next));
            }
        }
    }
}
