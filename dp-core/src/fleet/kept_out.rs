//! Clients that were disconnected on purpose, and are not let in for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::sync::lock;

/// For so long a client is not let in that was disconnected on purpose. One that obeys does not come
/// back by itself.
pub(crate) const KEPT_OUT: Duration = Duration::from_secs(30);

/// The ids of those clients, and until when they are kept out.
#[derive(Debug, Default)]
pub(super) struct KeptOut(Mutex<HashMap<Arc<str>, Instant>>);

impl KeptOut {
    pub(super) fn insert(&self, client: &Arc<str>, now: Instant) {
        let mut kept = lock(&self.0);
        kept.retain(|_, until| *until > now);
        kept.insert(client.clone(), now + KEPT_OUT);
    }

    /// For how long `client` is still kept out, if it is.
    pub(super) fn left(&self, client: &str, now: Instant) -> Option<Duration> {
        let left = lock(&self.0).get(client)?.saturating_duration_since(now);
        (left > Duration::ZERO).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_kept_out_for_its_time_and_no_longer() {
        let (kept, now) = (KeptOut::default(), Instant::now());
        kept.insert(&"c1".into(), now);
        assert_eq!(kept.left("c1", now), Some(KEPT_OUT));
        assert_eq!(kept.left("c2", now), None);
        assert_eq!(kept.left("c1", now + KEPT_OUT), None);
        kept.insert(&"c2".into(), now + KEPT_OUT);
        assert_eq!(lock(&kept.0).len(), 1);
    }
}
