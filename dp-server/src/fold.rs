//! Workers that something alike is said of, in one line.

use std::collections::HashMap;
use std::hash::Hash;

use dp_core::{WorkerId, fold_ids};

/// Groups workers by what is said of them, in the order of the first of each group:
/// `(folded ids, what)`.
pub(crate) fn fold<'a, T: Eq + Hash + Clone>(
    entries: impl IntoIterator<Item = (&'a WorkerId, T)>,
) -> Vec<(String, T)> {
    let mut groups: Vec<(Vec<&WorkerId>, T)> = Vec::new();
    let mut known: HashMap<T, usize> = HashMap::new();
    for (worker, what) in entries {
        match known.get(&what) {
            Some(&at) => groups[at].0.push(worker),
            None => {
                known.insert(what.clone(), groups.len());
                groups.push((vec![worker], what));
            }
        }
    }
    groups.into_iter().map(|(workers, what)| (fold_ids(workers), what)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_of_which_the_same_is_said_are_named_together() {
        let ids: Vec<_> = ["w1", "w2", "w3", "w4"].map(|id| WorkerId::new(id).unwrap()).into();
        let folded = fold(ids.iter().zip(["lost", "lost", "too large", "lost"]));
        assert_eq!(folded, [("w[1-2,4]".to_owned(), "lost"), ("w3".to_owned(), "too large")]);
    }
}
