//! Work that must not end by a panic without a word: it is begun again.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use futures_util::FutureExt;

/// How long to wait before work that panicked is begun again, so that one that panics at once takes
/// neither a processor nor the log.
const PAUSE: Duration = Duration::from_secs(1);

/// Does the work that `begin` makes until it completes. If it panics, that is logged, and `begin` is
/// called again a second later. `what` names the work.
///
/// # Cancel safety
/// Dropping it drops the work.
pub async fn keep_up<F: Future>(what: &str, mut begin: impl FnMut() -> F) -> F::Output {
    loop {
        // What the work shares with others must bear a panic, as whatever threads share must.
        match AssertUnwindSafe(async { begin().await }).catch_unwind().await {
            Ok(output) => return output,
            Err(panic) => log(what, &*panic),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The same for work that has a thread of its own.
pub fn keep_up_thread<T>(what: &str, mut work: impl FnMut() -> T) -> T {
    loop {
        match catch_unwind(AssertUnwindSafe(&mut work)) {
            Ok(output) => return output,
            Err(panic) => log(what, &*panic),
        }
        thread::sleep(PAUSE);
    }
}

fn log(what: &str, panic: &(dyn Any + Send)) {
    let message = crate::error::panic_message(panic);
    tracing::error!("{what} panicked, which is a bug in dp, and begins again: {message}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_that_panics_begins_again_until_it_completes() {
        let mut begun = 0;
        let done = keep_up("an expected panic", || {
            begun += 1;
            let now = begun;
            async move {
                tokio::task::yield_now().await;
                assert!(now == 3, "an expected panic");
                now
            }
        });
        assert_eq!(done.await, 3);
    }

    #[test]
    fn a_thread_that_panics_begins_again() {
        let mut begun = 0;
        let done = keep_up_thread("an expected panic", || {
            begun += 1;
            assert!(begun == 2, "an expected panic");
            begun
        });
        assert_eq!(done, 2);
    }
}
