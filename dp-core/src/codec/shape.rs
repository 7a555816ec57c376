//! The shape of a value as it was written: what its reader must ask for, one thing after another.

/// One thing that was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    Leaf(Leaf),
    /// So many elements follow, or entries of a map.
    Items(Leaf, usize),
    /// The fields of a struct, a tuple or a variant follow.
    Group {
        name: &'static str,
        len: usize,
        fields: Vec<&'static str>,
    },
    Variant {
        name: &'static str,
        index: u32,
        variant: &'static str,
    },
}

/// What reads alike is one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Leaf {
    Bool,
    U8,
    I8,
    Unsigned,
    Signed,
    F32,
    F64,
    Char,
    Bytes,
    Option,
    Seq,
    Map,
}

/// The shape of what was written, while it is read again.
#[derive(Debug)]
pub(super) struct Replay {
    events: std::vec::IntoIter<Event>,
    /// The reader asks for other kinds of things than were written, which may fit all the same.
    pub(super) unsure: bool,
    /// A variant of which only the value that was read shows whether it is the right one.
    pub(super) suspect: Option<(&'static str, &'static str)>,
    /// What was found to be wrong.
    pub(super) fault: Option<String>,
}

impl Replay {
    pub(super) fn new(events: Vec<Event>) -> Self {
        Self { events: events.into_iter(), unsure: false, suspect: None, fault: None }
    }

    fn next(&mut self) -> Option<Event> {
        if self.unsure { None } else { self.events.next() }
    }

    pub(super) fn leaf(&mut self, leaf: Leaf) {
        self.unsure |= self.next() != Some(Event::Leaf(leaf));
    }

    pub(super) fn items(&mut self, leaf: Leaf, count: usize) {
        self.unsure |= self.next() != Some(Event::Items(leaf, count));
    }

    /// How many fields were written, and their names if they have any.
    pub(super) fn group(&mut self) -> Option<(usize, Vec<&'static str>)> {
        match self.next() {
            Some(Event::Group { len, fields, .. }) => Some((len, fields)),
            _ => {
                self.unsure = true;
                None
            }
        }
    }

    /// The variant that was written as this number.
    pub(super) fn variant(&mut self, read: u32) -> Option<&'static str> {
        match self.next() {
            Some(Event::Variant { index, variant, .. }) if index == read => Some(variant),
            _ => {
                self.unsure = true;
                None
            }
        }
    }

    pub(super) fn is_sure(&self) -> bool {
        !self.unsure && self.events.len() == 0
    }
}

/// The variants among the events, in an order that does not depend on that of a map or a set.
pub(super) fn variants(events: &[Event]) -> Vec<&Event> {
    let mut variants: Vec<_> =
        events.iter().filter(|event| matches!(event, Event::Variant { .. })).collect();
    variants.sort_unstable();
    variants
}
