//! Time that passes whatever the caller's runtime is like: it may have no timers.

use std::future::{Future, pending};
use std::pin::pin;
use std::time::Duration;

use dp_core::engine;
use tokio::task::JoinSet;

/// Completes after `duration`.
pub(crate) async fn sleep(duration: Duration) {
    // A set, since that ends its task when it is dropped.
    let mut timer = JoinSet::new();
    timer.spawn_on(async move { tokio::time::sleep(duration).await }, engine::io());
    match timer.join_next().await {
        Some(Ok(())) => {}
        // The process is about to end.
        _ => pending().await,
    }
}

/// What `work` gives, if it does `within` this time.
pub(crate) async fn timeout<T>(within: Duration, work: impl Future<Output = T>) -> Option<T> {
    let work = pin!(work);
    tokio::select! {
        biased;
        done = work => Some(done),
        () = sleep(within) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_in_a_runtime_without_timers() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            assert_eq!(timeout(Duration::from_millis(1), pending::<()>()).await, None);
            assert_eq!(timeout(Duration::MAX, async { 1 }).await, Some(1));
        });
    }
}
