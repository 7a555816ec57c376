//! Folds lists of ids: `w1,w2,w3,w5` becomes `w[1-3,5]`.

use std::collections::HashMap;

use crate::id::split_digits;

/// The ids in one short text, in the order in which they came: ids that differ in one number only
/// are folded on it, the last number first, so that `a1/1,a1/2,a2/1,a2/2` becomes `a[1-2]/[1-2]`.
///
/// ```
/// assert_eq!(dp_core::fold_ids(["w1", "w2", "w3", "w40", "db"]), "w[1-3,40],db");
/// ```
pub fn fold_ids<I>(ids: I) -> String
where
    I: IntoIterator,
    I::Item: AsRef<str>,
{
    let mut entries: Vec<Entry> = ids.into_iter().map(|id| Entry::parse(id.as_ref())).collect();
    let most = entries.iter().map(|entry| entry.numbers.len()).max().unwrap_or(0);
    for position in (0..most).rev() {
        entries = fold_position(entries, position);
    }
    entries.iter().map(Entry::text).collect::<Vec<_>>().join(",")
}

/// An id as its texts and the numbers between them: `texts[0] numbers[0] texts[1] …`.
#[derive(Clone)]
struct Entry {
    texts: Vec<String>,
    numbers: Vec<String>,
}

impl Entry {
    fn parse(id: &str) -> Self {
        let (mut texts, mut numbers) = (vec![String::new()], Vec::new());
        let mut rest = id;
        while let Some(first) = rest.chars().next() {
            let (digits, behind) = split_digits(rest);
            // What does not fit 64 bits is text: it can't be counted on.
            if digits.parse::<u64>().is_ok() {
                numbers.push(digits.to_owned());
                texts.push(String::new());
                rest = behind;
            } else {
                let end = if digits.is_empty() { first.len_utf8() } else { digits.len() };
                if let Some(text) = texts.last_mut() {
                    text.push_str(&rest[..end]);
                }
                rest = &rest[end..];
            }
        }
        Self { texts, numbers }
    }

    fn text(&self) -> String {
        let mut text = self.texts[0].clone();
        for (number, behind) in self.numbers.iter().zip(&self.texts[1..]) {
            text.push_str(number);
            text.push_str(behind);
        }
        text
    }
}

/// Merges the entries that are alike but for the number at `position`.
fn fold_position(entries: Vec<Entry>, position: usize) -> Vec<Entry> {
    let mut folded: Vec<(Entry, Vec<String>)> = Vec::new();
    let mut seen: HashMap<(Vec<String>, Vec<String>), usize> = HashMap::new();
    for entry in entries {
        if entry.numbers.len() <= position {
            folded.push((entry, Vec::new()));
            continue;
        }
        let mut others = entry.numbers.clone();
        let number = others.remove(position);
        let key = (entry.texts.clone(), others);
        match seen.get(&key) {
            Some(&at) => folded[at].1.push(number),
            None => {
                seen.insert(key, folded.len());
                folded.push((entry, vec![number]));
            }
        }
    }
    let merge = |(mut entry, numbers): (Entry, Vec<String>)| {
        if numbers.len() > 1 {
            entry.numbers[position] = ranges(numbers);
        }
        entry
    };
    folded.into_iter().map(merge).collect()
}

/// `["1", "2", "3", "5"]` as `[1-3,5]`.
fn ranges(mut numbers: Vec<String>) -> String {
    let value = |number: &String| number.parse::<u64>().unwrap_or(u64::MAX);
    numbers.sort_by_key(|number| (value(number), number.len()));
    numbers.dedup();
    let follows = |a: &String, b: &String| {
        let same_padding = a.len() == b.len() || !(a.starts_with('0') || b.starts_with('0'));
        same_padding && value(a).checked_add(1) == Some(value(b))
    };
    let runs: Vec<String> = numbers
        .chunk_by(follows)
        .map(|run| match run {
            [one] => one.clone(),
            [first, .., last] => format!("{first}-{last}"),
            [] => String::new(),
        })
        .collect();
    format!("[{}]", runs.join(","))
}

#[cfg(test)]
mod tests {
    use super::fold_ids;

    #[test]
    fn consecutive_ids_become_a_range() {
        let ids: Vec<String> =
            (1..=40).map(|n| format!("w{n}")).chain(["w42".to_owned()]).collect();
        assert_eq!(fold_ids(&ids), "w[1-40,42]");
    }

    #[test]
    fn one_id_stays_as_it_is() {
        assert_eq!(fold_ids(["w12"]), "w12");
        assert_eq!(fold_ids(["w7", "w9"]), "w[7,9]");
        assert_eq!(fold_ids(Vec::<String>::new()), "");
    }

    #[test]
    fn a_grid_folds_in_both_directions() {
        let ids = ["c1/1", "c1/2", "c2/1", "c2/2"];
        assert_eq!(fold_ids(ids), "c[1-2]/[1-2]");
        assert_eq!(fold_ids(["c1/1", "c1/2", "c2/1"]), "c1/[1-2],c2/1");
    }

    #[test]
    fn padded_numbers_keep_their_zeros() {
        assert_eq!(fold_ids(["n008", "n009", "n010"]), "n[008-010]");
        assert_eq!(fold_ids(["n9", "n10", "n011"]), "n[9-10,011]");
    }

    #[test]
    fn unlike_ids_are_listed() {
        assert_eq!(fold_ids(["db", "web1", "web2"]), "db,web[1-2]");
        assert_eq!(fold_ids(["99999999999999999999999"]), "99999999999999999999999");
    }
}
