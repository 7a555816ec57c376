//! Who is served at a time: strangers on one side, and on the other those who have shown that they may ask.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// So many connections of those who may ask are served at a time, those of browsers that only watch
/// included.
const MAX_KNOWN: usize = 256;
/// So many connections have not asked for anything yet that they may have. One more takes the place of the
/// oldest of them: so they keep nobody out, whatever they wait for.
const MAX_STRANGERS: usize = 64;

/// The places at one address.
#[derive(Debug)]
pub(super) struct Places {
    strangers: Mutex<Strangers>,
    known: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Strangers {
    next: u64,
    /// Oldest first.
    there: VecDeque<(u64, Arc<Notify>)>,
}

/// A connection's place. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    leave: Arc<Notify>,
    known: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Places {
    pub(super) fn new() -> Arc<Self> {
        let known = Arc::new(Semaphore::new(MAX_KNOWN));
        Arc::new(Self { strangers: Mutex::default(), known })
    }

    /// A place for somebody who has just connected.
    pub(super) fn stranger(self: &Arc<Self>) -> Arc<Place> {
        let leave = Arc::new(Notify::new());
        let mut strangers = lock(&self.strangers);
        let number = strangers.next;
        strangers.next += 1;
        if strangers.there.len() >= MAX_STRANGERS
            && let Some((_, oldest)) = strangers.there.pop_front()
        {
            oldest.notify_one();
        }
        strangers.there.push_back((number, leave.clone()));
        drop(strangers);
        Arc::new(Place { places: self.clone(), number, leave, known: Mutex::new(None) })
    }

    fn forget(&self, number: u64) {
        lock(&self.strangers).there.retain(|(other, _)| *other != number);
    }
}

impl Place {
    /// It has shown that it may ask, and keeps its place from now on. `false` where there are too many of
    /// those.
    pub(super) fn is_known(&self) -> bool {
        let mut known = lock(&self.known);
        if known.is_none() {
            *known = self.places.known.clone().try_acquire_owned().ok();
            if known.is_some() {
                self.places.forget(self.number);
            }
        }
        known.is_some()
    }

    /// Returns when somebody else needs the place.
    pub(super) async fn leave(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.forget(self.number);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_more_stranger_takes_the_place_of_the_oldest_and_never_of_one_that_is_known() {
        let places = Places::new();
        let known = places.stranger();
        assert!(known.is_known() && known.is_known());
        let strangers: Vec<_> = (0..MAX_STRANGERS).map(|_| places.stranger()).collect();
        let left = |place: &Arc<Place>| {
            let place = place.clone();
            let now = std::time::Duration::ZERO;
            async move { tokio::time::timeout(now, place.leave()).await.is_ok() }
        };
        assert!(!left(&strangers[0]).await);
        let _one_more = places.stranger();
        assert!(left(&strangers[0]).await);
        assert!(!left(&strangers[1]).await && !left(&known).await);
    }

    #[test]
    fn those_who_are_known_have_a_bound_and_a_place_is_given_back() {
        let places = Places::new();
        let mut known: Vec<_> = (0..MAX_KNOWN).map(|_| places.stranger()).collect();
        assert!(known.iter().all(|place| place.is_known()));
        let late = places.stranger();
        assert!(!late.is_known());
        known.pop();
        assert!(late.is_known());
        drop((known, late));
        assert!(lock(&places.strangers).there.is_empty());
    }
}
