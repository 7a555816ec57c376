//! Locks that outlive a panic; and the first of several futures.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

/// Locks `mutex`, also after a panic under it: user code never runs under one of these locks, and
/// what they protect is changed in steps that each leave it whole.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A future among several, which stays where it is.
pub(crate) type Arm<'a, T> = Pin<&'a mut (dyn Future<Output = T> + Send + 'a)>;

/// The output of the first of `arms` that completes. Each is polled when it was woken itself: what
/// wakes one of them thousands of times in a second costs the others nothing, as it would in a
/// `select!`.
///
/// # Panics
/// When there are none.
pub(crate) async fn first<T, const N: usize>(arms: [Arm<'_, T>; N]) -> T {
    let mut arms = FuturesUnordered::from_iter(arms);
    arms.next().await.expect("there is one")
}
