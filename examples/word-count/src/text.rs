//! Words, and how a text is cut without cutting one of them.

use std::collections::BTreeMap;

/// How often each word occurs, in lower case.
pub type Counts = BTreeMap<String, u64>;

/// Counts the words of a text in UTF-8. What is not UTF-8 separates words, as a blank does.
///
/// A word is a run of letters, digits and apostrophes, without the apostrophes around it.
pub fn count(text: &[u8]) -> Counts {
    let mut counts = Counts::new();
    for chunk in text.utf8_chunks() {
        for run in chunk.valid().split(|c| !is_word_char(c)) {
            let word = run.trim_matches(is_apostrophe);
            if word.is_empty() {
                continue;
            }
            *counts.entry(word.to_lowercase()).or_default() += 1;
        }
    }
    counts
}

fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || is_apostrophe(c)
}

fn is_apostrophe(c: char) -> bool {
    c == '\'' || c == '’'
}

/// Cuts a text into blocks of about `size` bytes, so that the counts of the blocks add up to the count
/// of the text.
///
/// It is cut only after an ASCII character that is part of no word: such a byte is never part of
/// another character's UTF-8 either. A text without one stays whole, however long it is.
pub fn blocks(mut text: &[u8], size: usize) -> Vec<&[u8]> {
    let mut blocks = Vec::new();
    let size = size.max(1);
    while text.len() > size {
        let Some(further) = text[size - 1..].iter().copied().position(separates) else {
            break;
        };
        let (block, rest) = text.split_at(size + further);
        blocks.push(block);
        text = rest;
    }
    if !text.is_empty() {
        blocks.push(text);
    }
    blocks
}

fn separates(byte: u8) -> bool {
    byte.is_ascii() && !is_word_char(char::from(byte))
}

/// Adds the counts of another part of the text.
pub fn add(counts: &mut Counts, more: Counts) {
    for (word, count) in more {
        *counts.entry(word).or_default() += count;
    }
}

/// The `limit` most frequent words, the most frequent first, equally frequent ones by alphabet.
pub fn most_frequent(counts: &Counts, limit: usize) -> Vec<(&str, u64)> {
    let mut words: Vec<_> = counts.iter().map(|(word, &count)| (word.as_str(), count)).collect();
    // Stable, so that the map's order stays among equals.
    words.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    words.truncate(limit);
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counted(text: &str) -> Vec<(String, u64)> {
        count(text.as_bytes()).into_iter().collect()
    }

    fn words(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
        expected.iter().map(|&(word, count)| (word.to_owned(), count)).collect()
    }

    fn count_by_blocks(text: &[u8], size: usize) -> Counts {
        let mut counts = Counts::new();
        for block in blocks(text, size) {
            add(&mut counts, count(block));
        }
        counts
    }

    #[test]
    fn words_are_runs_of_letters_whatever_the_case() {
        assert_eq!(
            counted("The cat, the CAT -- and 'the' dog's 2 Straßen."),
            words(&[("2", 1), ("and", 1), ("cat", 2), ("dog's", 1), ("straßen", 1), ("the", 3)])
        );
        assert_eq!(counted(" ... ' ’ \n"), words(&[]));
    }

    #[test]
    fn bytes_that_are_no_utf8_separate_words() {
        let counts = count(b"left\xffright \xc3");
        assert_eq!(counts.into_iter().collect::<Vec<_>>(), words(&[("left", 1), ("right", 1)]));
    }

    #[test]
    fn a_word_across_a_boundary_stays_whole() {
        let text = "one twenty three".as_bytes();
        let cut: Vec<_> = blocks(text, 6).into_iter().map(String::from_utf8_lossy).collect();
        assert_eq!(cut, ["one twenty ", "three"]);
        let cut: Vec<_> = blocks(text, 4).into_iter().map(String::from_utf8_lossy).collect();
        assert_eq!(cut, ["one ", "twenty ", "three"]);
    }

    #[test]
    fn a_text_without_a_place_to_cut_stays_whole() {
        let text = "日本語の長い文".repeat(100);
        assert_eq!(blocks(text.as_bytes(), 10), [text.as_bytes()]);
        assert_eq!(blocks(b"", 10), [b""; 0]);
    }

    #[test]
    fn ties_are_broken_by_alphabet() {
        let counts = count(b"b a c b c d");
        assert_eq!(most_frequent(&counts, 3), [("b", 2), ("c", 2), ("a", 1)]);
    }

    proptest! {
        #[test]
        fn blocks_make_up_the_text(text in any::<Vec<u8>>(), size in 0_usize..50) {
            prop_assert_eq!(blocks(&text, size).concat(), text);
        }

        #[test]
        fn counts_of_blocks_add_up(text in "[a-cßé日’' .\n]{0,200}", size in 1_usize..30) {
            prop_assert_eq!(count_by_blocks(text.as_bytes(), size), count(text.as_bytes()));
        }

        #[test]
        fn counts_of_blocks_add_up_for_any_bytes(text in any::<Vec<u8>>(), size in 1_usize..30) {
            prop_assert_eq!(count_by_blocks(&text, size), count(&text));
        }
    }
}
