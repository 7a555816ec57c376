//! Which structs and enums have been looked at: of each, and each variant, a process looks once.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// How many there are is in the program's text.
static LOOKED_AT: Mutex<Option<HashSet<u64>>> = Mutex::new(None);

thread_local! {
    /// Those of them that this thread has come across.
    static HERE: RefCell<HashSet<u64>> = RefCell::default();
}

/// The shapes of one value.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The last one, which in a list is the next one, too.
    last: u64,
    /// Those that nobody has looked at.
    new: Vec<u64>,
}

impl Known {
    /// A shape is met: texts of the program's own, told apart by where they lie, and a number.
    pub(super) fn meet(&mut self, texts: [&'static str; 2], number: usize) {
        let mut key = number as u64 ^ 0x9e37_79b9_7f4a_7c15;
        for text in texts {
            for part in [text.as_ptr() as usize, text.len()] {
                key = (key.rotate_left(5) ^ part as u64).wrapping_mul(0x517c_c1b7_2722_0a95);
            }
        }
        if key == self.last {
            return;
        }
        self.last = key;
        if !is_known(key) && !self.new.contains(&key) {
            self.new.push(key);
        }
    }

    pub(super) fn has_new(&self) -> bool {
        !self.new.is_empty()
    }

    /// They have been looked at, and travel well.
    pub(super) fn remember(self) {
        let mut all = LOOKED_AT.lock().unwrap_or_else(PoisonError::into_inner);
        all.get_or_insert_default().extend(self.new);
    }
}

fn is_known(key: u64) -> bool {
    HERE.with_borrow_mut(|here| {
        if here.contains(&key) {
            return true;
        }
        let all = LOOKED_AT.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.as_ref().is_some_and(|all| all.contains(&key));
        if known {
            here.insert(key);
        }
        known
    })
}
