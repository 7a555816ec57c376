//! Who a worker is: [`WorkerId`] and [`WorkerInfo`].

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::text::{PeerText, is_plain};

/// The longest id, in bytes.
const MAX_ID: usize = 255;

/// The name of one worker, unique among the workers of a server.
///
/// Ids sort in natural order: `w2` comes before `w10`.
///
/// ```
/// use dp_core::WorkerId;
///
/// let two: WorkerId = "w2".parse().unwrap();
/// let ten: WorkerId = "w10".parse().unwrap();
/// assert!(two < ten);
/// assert_eq!(two.to_string(), "w2");
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct WorkerId(Arc<str>);

/// Why a text is no id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{id}` is not a valid id: {reason} (an id has 1 to 255 bytes, and neither white space, \
     control or format characters, `,`, `[` nor `]`)"
)]
pub struct InvalidId {
    id: PeerText,
    reason: &'static str,
}

impl WorkerId {
    /// Makes an id of `id`.
    ///
    /// # Errors
    /// [`InvalidId`] when it is empty, longer than 255 bytes, or has white space, a control
    /// or format character (invisible ones, and those that turn the direction of text), or one of `,`, `[` and `]`, which folded lists of ids (`w[1-40,42]`) need.
    pub fn new(id: impl Into<String>) -> Result<Self, InvalidId> {
        let id = id.into();
        let reason = if id.is_empty() {
            "it is empty"
        } else if id.len() > MAX_ID {
            "it is longer than 255 bytes"
        } else if id.chars().any(|c| c.is_whitespace() || !is_plain(c)) {
            "it has white space, or a control or format character"
        } else if id.contains([',', '[', ']']) {
            "it has one of `,`, `[` and `]`"
        } else {
            return Ok(Self(id.into()));
        };
        Err(InvalidId { id: PeerText::within(id, 80), reason })
    }

    /// `w1`, the first worker of those without a network.
    pub(crate) fn first() -> Self {
        Self("w1".into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl std::str::FromStr for WorkerId {
    type Err = InvalidId;

    fn from_str(id: &str) -> Result<Self, InvalidId> {
        Self::new(id)
    }
}

impl AsRef<str> for WorkerId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for WorkerId {
    fn eq(&self, other: &str) -> bool {
        &*self.0 == other
    }
}

impl PartialEq<&str> for WorkerId {
    fn eq(&self, other: &&str) -> bool {
        &*self.0 == *other
    }
}

impl PartialOrd for WorkerId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for WorkerId {
    fn cmp(&self, other: &Self) -> Ordering {
        natural(&self.0, &other.0)
    }
}

/// Compares runs of digits by their value and everything else by its characters; what is left
/// equal that way (`w07` and `w7`) is ordered as plain text, so that the order is total.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    loop {
        let (Some(l), Some(r)) = (left.chars().next(), right.chars().next()) else {
            return left.len().cmp(&right.len()).then_with(|| a.cmp(b));
        };
        let order = if l.is_ascii_digit() && r.is_ascii_digit() {
            let (l, l_rest) = split_digits(left);
            let (r, r_rest) = split_digits(right);
            (left, right) = (l_rest, r_rest);
            let (l, r) = (l.trim_start_matches('0'), r.trim_start_matches('0'));
            l.len().cmp(&r.len()).then_with(|| l.cmp(r))
        } else {
            (left, right) = (&left[l.len_utf8()..], &right[r.len_utf8()..]);
            l.cmp(&r)
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// Splits the run of ASCII digits that `text` starts with from the rest.
pub(crate) fn split_digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// What is known of one worker: its id, its place in the roster, and where it lives.
///
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct WorkerInfo(Arc<Inner>);

#[derive(PartialEq, Eq)]
struct Inner {
    id: WorkerId,
    index: usize,
    client: Arc<str>,
    address: Arc<str>,
}

impl WorkerInfo {
    pub(crate) fn new(id: WorkerId, index: usize, client: Arc<str>, address: Arc<str>) -> Self {
        Self(Arc::new(Inner { id, index, client, address }))
    }

    pub(crate) fn at_index(&self, index: usize) -> Self {
        if index == self.0.index {
            return self.clone();
        }
        Self::new(self.0.id.clone(), index, self.0.client.clone(), self.0.address.clone())
    }

    /// The worker's id.
    pub fn id(&self) -> &WorkerId {
        &self.0.id
    }

    /// The worker's position in the roster, from 0, in natural order of id.
    ///
    /// The roster is that of everybody who was there when the group was made: a worker that
    /// [`select`](crate::Group::select) picks keeps its index. While workers still join and leave,
    /// positions move; within one run they stay as they are.
    pub fn index(&self) -> usize {
        self.0.index
    }

    /// The id of the client process that hosts the worker.
    pub fn client(&self) -> &str {
        &self.0.client
    }

    /// The address from which that client is connected, such as `192.0.2.7:51234`;
    /// `in-process` where there is no network.
    pub fn address(&self) -> &str {
        &self.0.address
    }
}

impl fmt::Debug for WorkerInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerInfo")
            .field("id", &self.0.id)
            .field("index", &self.0.index)
            .field("client", &self.0.client)
            .field("address", &self.0.address)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> WorkerId {
        WorkerId::new(text).unwrap()
    }

    #[test]
    fn numbers_in_ids_sort_by_value() {
        let mut ids: Vec<_> =
            ["w10", "w2", "w1", "client2/1", "client1/10", "client1/9"].map(id).into();
        ids.sort();
        let sorted: Vec<_> = ids.iter().map(WorkerId::as_str).collect();
        assert_eq!(sorted, ["client1/9", "client1/10", "client2/1", "w1", "w2", "w10"]);
    }

    #[test]
    fn ids_that_differ_only_in_leading_zeros_are_ordered_and_differ() {
        assert_ne!(id("w7"), id("w07"));
        assert_ne!(id("w7").cmp(&id("w07")), Ordering::Equal);
    }

    #[test]
    fn numbers_beyond_64_bits_are_compared_by_value() {
        assert!(id("w99999999999999999999999") < id("w100000000000000000000000"));
    }

    #[test]
    fn a_prefix_comes_first() {
        assert!(id("w") < id("w1"));
        assert!(id("client1") < id("client1/1"));
    }

    #[test]
    fn ids_that_could_not_be_folded_or_printed_are_refused() {
        for bad in [
            "",
            "a b",
            "a\tb",
            "a,b",
            "a[1",
            "a]",
            "a\u{7f}",
            "a\u{9b}",
            "a\u{202e}",
            "\u{200b}",
            "\u{e0041}",
            "a\u{2028}",
            &"x".repeat(256),
        ] {
            assert!(WorkerId::new(bad).is_err(), "{bad:?}");
        }
        assert!(WorkerId::new("höst-1.example/7").is_ok());
    }
}
