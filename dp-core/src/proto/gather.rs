//! One call's answers: a slot for every addressed worker.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use crate::error::CallError;

/// What became of the call on one worker, its value still encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawOutcome {
    pub(crate) elapsed: Duration,
    pub(crate) result: Result<Bytes, CallError>,
}

/// Collects exactly one outcome for each of a fixed number of positions.
///
/// Two things are kept apart: a slot is *filled* by the first outcome, whoever it comes from (a
/// reply, a deadline, a lost connection), and later ones are dropped; a slot is *settled* when the
/// worker will say no more: it has answered or is gone. A call whose caller stopped waiting is
/// complete long before it is settled, and until then the worker counts as busy with it.
#[derive(Debug)]
pub(crate) struct Gather {
    slots: Vec<Slot>,
    open: usize,
    unsettled: usize,
    arrived: VecDeque<usize>,
}

#[derive(Debug, Clone)]
struct Slot {
    outcome: Option<RawOutcome>,
    filled: bool,
    settled: bool,
}

impl Gather {
    /// A gather of `positions` slots, all open.
    pub(crate) fn new(positions: usize) -> Self {
        let slot = Slot { outcome: None, filled: false, settled: false };
        Self {
            slots: vec![slot; positions],
            open: positions,
            unsettled: positions,
            arrived: VecDeque::new(),
        }
    }

    /// Whether every slot is filled.
    pub(crate) fn is_complete(&self) -> bool {
        self.open == 0
    }

    /// Whether no worker has anything more to say.
    pub(crate) fn is_settled(&self) -> bool {
        self.unsettled == 0
    }

    /// Whether the worker at `position` still has the call.
    pub(crate) fn is_unsettled(&self, position: usize) -> bool {
        self.slots.get(position).is_some_and(|slot| !slot.settled)
    }

    /// Whether the slot at `position` is still to be filled.
    pub(crate) fn is_open(&self, position: usize) -> bool {
        self.slots.get(position).is_some_and(|slot| !slot.filled)
    }

    /// The positions that are still to be filled.
    pub(crate) fn open_positions(&self) -> impl Iterator<Item = usize> {
        let slots = self.slots.iter().enumerate();
        slots.filter(|(_, slot)| !slot.filled).map(|(position, _)| position)
    }

    /// The positions that are filled and not settled: their workers still have a call that the caller
    /// waits for no longer.
    pub(crate) fn given_up(&self) -> impl Iterator<Item = usize> {
        let slots = self.slots.iter().enumerate();
        slots.filter(|(_, slot)| slot.filled && !slot.settled).map(|(position, _)| position)
    }

    /// Fills a slot without settling it: the caller waits no longer. Whether it was open.
    pub(crate) fn handle_given_up(&mut self, position: usize, outcome: RawOutcome) -> bool {
        self.fill(position, outcome)
    }

    /// The worker has answered, or is gone: settles the slot, and fills it if it is still open.
    /// `None` if it was settled before, otherwise whether it was open.
    pub(crate) fn handle_settled(&mut self, position: usize, outcome: RawOutcome) -> Option<bool> {
        let slot = self.slots.get_mut(position)?;
        if slot.settled {
            return None;
        }
        slot.settled = true;
        self.unsettled -= 1;
        Some(self.fill(position, outcome))
    }

    /// The next outcome that has arrived and was not polled yet, with its position.
    pub(crate) fn poll_arrived(&mut self) -> Option<(usize, RawOutcome)> {
        let position = self.arrived.pop_front()?;
        let outcome = self.slots.get_mut(position)?.outcome.take()?;
        Some((position, outcome))
    }

    /// Every outcome, by position, once the gather is complete.
    pub(crate) fn poll_complete(&mut self) -> Option<Vec<RawOutcome>> {
        if !self.is_complete() {
            return None;
        }
        self.arrived.clear();
        self.slots.iter_mut().map(|slot| slot.outcome.take()).collect()
    }

    fn fill(&mut self, position: usize, outcome: RawOutcome) -> bool {
        let Some(slot) = self.slots.get_mut(position) else { return false };
        if slot.filled {
            return false;
        }
        slot.filled = true;
        slot.outcome = Some(outcome);
        self.open -= 1;
        self.arrived.push_back(position);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(byte: u8) -> RawOutcome {
        RawOutcome { elapsed: Duration::ZERO, result: Ok(Bytes::copy_from_slice(&[byte])) }
    }

    fn error(error: CallError) -> RawOutcome {
        RawOutcome { elapsed: Duration::ZERO, result: Err(error) }
    }

    #[test]
    fn outcomes_stand_in_order_of_position_however_they_came() {
        let mut gather = Gather::new(3);
        for position in [2, 0, 1] {
            assert_eq!(gather.poll_complete(), None);
            assert_eq!(gather.handle_settled(position, value(position as u8)), Some(true));
        }
        assert!(gather.is_settled());
        assert_eq!(gather.poll_complete(), Some(vec![value(0), value(1), value(2)]));
    }

    #[test]
    fn a_stream_gives_them_as_they_came() {
        let mut gather = Gather::new(2);
        assert_eq!(gather.poll_arrived(), None);
        gather.handle_settled(1, value(1));
        assert_eq!(gather.poll_arrived(), Some((1, value(1))));
        gather.handle_settled(0, value(0));
        assert_eq!(gather.poll_arrived(), Some((0, value(0))));
        assert_eq!(gather.poll_arrived(), None);
        assert!(gather.is_complete());
    }

    #[test]
    fn a_slot_is_filled_once() {
        let mut gather = Gather::new(1);
        assert_eq!(gather.handle_settled(0, value(1)), Some(true));
        assert_eq!(gather.handle_settled(0, value(2)), None);
        assert!(!gather.handle_given_up(0, error(CallError::Cancelled)));
        assert_eq!(gather.poll_complete(), Some(vec![value(1)]));
    }

    #[test]
    fn a_reply_after_the_deadline_settles_and_changes_nothing() {
        let mut gather = Gather::new(1);
        assert!(gather.handle_given_up(0, error(CallError::Cancelled)));
        assert!(gather.is_complete() && !gather.is_settled() && gather.is_unsettled(0));
        assert_eq!(gather.given_up().collect::<Vec<_>>(), [0]);
        assert_eq!(gather.handle_settled(0, value(1)), Some(false));
        assert!(gather.is_settled() && gather.given_up().next().is_none());
        assert_eq!(gather.poll_complete(), Some(vec![error(CallError::Cancelled)]));
    }

    #[test]
    fn a_position_that_was_not_addressed_is_ignored() {
        let mut gather = Gather::new(1);
        assert_eq!(gather.handle_settled(1, value(1)), None);
        assert!(!gather.handle_given_up(9, value(1)));
        assert!(!gather.is_complete());
    }

    #[test]
    fn nobody_addressed_is_complete_at_once() {
        let mut gather = Gather::new(0);
        assert!(gather.is_settled());
        assert_eq!(gather.poll_complete(), Some(Vec::new()));
    }
}
