//! The frames that wait, from which those of a call can be taken back.

use std::collections::{HashMap, VecDeque};

use super::{CallTargets, Waiting};

/// A queue of frames. Taking a call's frames out of it costs a pass over all of them the first time
/// that many wait, and from then on no more than there are of that call, until the queue was empty.
#[derive(Debug, Default)]
pub(super) struct FrameQueue {
    /// Those that were taken back leave a hole.
    frames: VecDeque<Option<Waiting>>,
    holes: usize,
    /// The number of the first one.
    first: u64,
    /// The numbers of each call's frames, ascending; where it is worth having.
    of_call: Option<HashMap<u64, VecDeque<u64>>>,
    /// How often a frame was looked at in order to take back others.
    #[cfg(test)]
    pub(super) steps: u64,
}

/// Up to so many frames are looked at one by one.
const FEW: usize = 32;

impl FrameQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.frames.len() == self.holes
    }

    pub(super) fn push(&mut self, frame: Waiting) {
        if let Some(of_call) = &mut self.of_call
            && let Some((call, _)) = frame.call
        {
            of_call.entry(call).or_default().push_back(self.first + self.frames.len() as u64);
        }
        self.frames.push_back(Some(frame));
    }

    pub(super) fn pop(&mut self) -> Option<Waiting> {
        loop {
            let Some(front) = self.frames.pop_front() else {
                (self.of_call, self.holes) = (None, 0);
                return None;
            };
            let number = self.first;
            self.first += 1;
            let Some(frame) = front else {
                self.holes -= 1;
                continue;
            };
            if let (Some(of_call), Some((call, _))) = (&mut self.of_call, frame.call)
                && let Some(numbers) = of_call.get_mut(&call)
            {
                while numbers.front().is_some_and(|front| *front <= number) {
                    numbers.pop_front();
                }
                if numbers.is_empty() {
                    of_call.remove(&call);
                }
            }
            return Some(frame);
        }
    }

    /// Takes back the frames of `call` of which `take` says so.
    pub(super) fn take_back(
        &mut self,
        call: u64,
        mut take: impl FnMut(&Waiting, CallTargets) -> bool,
    ) {
        let mut holes = 0;
        let mut look_at = |slot: &mut Option<Waiting>| {
            let frame = slot.as_ref();
            let targets = frame.and_then(|frame| frame.call.filter(|(of, _)| *of == call));
            if let (Some(frame), Some((_, targets))) = (frame, targets)
                && take(frame, targets)
            {
                *slot = None;
                holes += 1;
            }
        };
        if self.of_call.is_none() && self.frames.len() > FEW {
            self.number();
        }
        match &mut self.of_call {
            None => {
                self.frames.iter_mut().for_each(&mut look_at);
                #[cfg(test)]
                {
                    self.steps += self.frames.len() as u64;
                }
            }
            Some(of_call) => {
                if let Some(numbers) = of_call.get_mut(&call) {
                    #[cfg(test)]
                    {
                        self.steps += numbers.len() as u64;
                    }
                    numbers.retain(|number| {
                        let at = number.checked_sub(self.first);
                        let slot = at.and_then(|at| self.frames.get_mut(at as usize));
                        slot.is_some_and(|slot| {
                            look_at(slot);
                            slot.is_some()
                        })
                    });
                    if numbers.is_empty() {
                        of_call.remove(&call);
                    }
                }
            }
        }
        self.holes += holes;
        if self.holes > FEW && self.holes > self.frames.len() / 2 {
            // As many as this passes over were taken back since the last time, or more.
            self.frames.retain(Option::is_some);
            (self.holes, self.of_call) = (0, None);
        }
    }

    fn number(&mut self) {
        let mut of_call: HashMap<u64, VecDeque<u64>> = HashMap::new();
        for (number, frame) in (self.first..).zip(&self.frames) {
            if let Some((call, _)) = frame.as_ref().and_then(|frame| frame.call) {
                of_call.entry(call).or_default().push_back(number);
            }
        }
        #[cfg(test)]
        {
            self.steps += self.frames.len() as u64;
        }
        self.of_call = Some(of_call);
    }
}
