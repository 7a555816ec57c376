//! Who waits at which barrier, for people to see.

use std::time::Duration;

use super::core::Core;
use crate::id::WorkerInfo;
use crate::sync::lock;

/// A barrier at which somebody waits.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BarrierStatus {
    /// What the workers meet under.
    pub token: String,
    /// Who has come, in roster order.
    pub arrived: Vec<WorkerInfo>,
    /// Who has not come yet, in roster order. Who is gone is not waited for.
    pub awaited: Vec<Awaited>,
}

/// A worker that others wait for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Awaited {
    /// Who it is.
    pub worker: WorkerInfo,
    /// The method that it is in, or will be when its turn comes.
    pub method: String,
    /// Whether its turn in a postponed call has not come yet.
    pub is_postponed: bool,
    /// How long ago the method was called on it.
    pub since: Duration,
}

impl Core {
    pub(super) fn barriers(&self) -> Vec<BarrierStatus> {
        let calls = lock(&self.calls).in_order();
        let mut barriers = Vec::new();
        for call in calls {
            let members = call.audience.members();
            let info = |at: usize| members.get(at).map(|member| member.info.clone());
            for (token, arrived, awaited) in call.barriers() {
                let awaited = awaited.into_iter().filter_map(|at| {
                    Some(Awaited {
                        worker: info(at)?,
                        method: self.names.name(call.method(at)).to_owned(),
                        is_postponed: !call.is_sent(at),
                        since: call.since(at),
                    })
                });
                barriers.push(BarrierStatus {
                    token,
                    awaited: awaited.collect(),
                    arrived: arrived.into_iter().filter_map(info).collect(),
                });
            }
        }
        barriers
    }
}
