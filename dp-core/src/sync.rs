//! Locks that outlive a panic; and the first of several futures.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`, also after a panic under it: user code never runs under one of these locks, and
/// what they protect is changed in steps that each leave it whole.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `tokio::select!`: in random order, so that no branch starves another; in tests in the order of the
/// branches, so that a simulation takes the same course each time.
macro_rules! select {
    ($($branches:tt)*) => {{
        #[cfg(not(test))]
        let first = tokio::select! { $($branches)* };
        #[cfg(test)]
        let first = tokio::select! { biased; $($branches)* };
        first
    }};
}
pub(crate) use select;
