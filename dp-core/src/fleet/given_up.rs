//! Calls that nobody waits for any more, and that a worker is still in.

use std::time::Duration;

use super::core::Core;
use crate::id::WorkerInfo;
use crate::sync::lock;
use crate::system;

/// A method that a worker is still in although its call was cancelled, or timed out.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GivenUp {
    /// The number of the call.
    pub call: u64,
    /// The worker.
    pub worker: WorkerInfo,
    /// The method.
    pub method: String,
    /// How long ago it was called.
    pub since: Duration,
}

impl Core {
    /// Of each worker that is there the oldest such call, in roster order.
    pub(super) fn given_up(&self) -> Vec<GivenUp> {
        let roster = self.snapshot();
        let calls = lock(&self.calls).in_order();
        let mut found: Vec<Option<GivenUp>> = vec![None; roster.members.len()];
        for call in &calls {
            let methods = call.given_up();
            for (position, method) in methods {
                let Some(member) = call.audience.members().get(position) else { continue };
                let here = roster.part(member.conn.key);
                let here = here.and_then(|part| part.position(member.slot));
                let Some(entry) = here.and_then(|at| found.get_mut(at)) else { continue };
                if entry.is_none() && !system::is_at_once(method) {
                    *entry = Some(GivenUp {
                        call: call.id,
                        worker: member.info.clone(),
                        method: self.names.name(method).to_owned(),
                        since: call.started.elapsed(),
                    });
                }
            }
        }
        found.into_iter().flatten().collect()
    }
}
