//! A call as it came: one for all the workers of this client that it addresses.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::time::Instant;

use super::Shared;
use super::uplink::Uplink;
use crate::id::WorkerInfo;
use crate::sync::lock;
use crate::trace::TraceContext;
use crate::worker::DistributedWorker;

/// Builds the worker, as an exclusive call in its queue. Never on the wire.
pub(super) const BUILD: u16 = u16::MAX;

#[derive(Debug)]
pub(super) struct Call {
    pub(super) link: Arc<Uplink>,
    pub(super) id: u64,
    pub(super) method: u16,
    pub(super) exclusive: bool,
    pub(super) timed: bool,
    pub(super) deadline: Option<Instant>,
    /// Where it comes from, if anybody looks at that.
    pub(super) from: Option<Box<TraceContext>>,
    pub(super) _held: Option<Held>,
}

/// What a worker's queue holds of a call.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) call: Arc<Call>,
    /// The encoded arguments.
    pub(super) arguments: Bytes,
    /// The worker as the call meant it: where it stood in the caller's roster.
    pub(super) info: WorkerInfo,
    /// The worker's record in which the call came.
    pub(super) record: u64,
}

impl Call {
    /// One that builds workers.
    pub(super) fn build(link: &Arc<Uplink>) -> Self {
        Self {
            link: link.clone(),
            id: 0,
            method: BUILD,
            exclusive: true,
            timed: false,
            deadline: None,
            from: None,
            _held: None,
        }
    }

    /// Whether this is the call of this number that came over this connection.
    pub(super) fn is(&self, link: u64, id: u64) -> bool {
        self.id == id && self.link.number() == link && self.method != BUILD
    }

    pub(super) fn came_over(&self, link: &Arc<Uplink>) -> bool {
        Arc::ptr_eq(&self.link, link)
    }

    /// It is over for the worker of this number.
    pub(super) fn forget_deadline<W: DistributedWorker>(&self, host: &Shared<W>, worker: usize) {
        if let Some(deadline) = self.deadline {
            let key = (self.link.number(), self.id, worker);
            lock(&host.deadlines).remove(deadline, key);
        }
    }
}

/// The arguments of a call, for as long as one of its workers has not answered it.
#[derive(Debug)]
pub(super) struct Held {
    all: Arc<AtomicUsize>,
    bytes: usize,
}

impl Held {
    /// Arguments up to this length are not counted: how many calls may wait bounds them.
    const SMALL: usize = 1 << 10;

    pub(super) fn new(all: &Arc<AtomicUsize>, bytes: usize) -> Option<Self> {
        (bytes > Self::SMALL).then(|| {
            all.fetch_add(bytes, Ordering::Relaxed);
            Self { all: all.clone(), bytes }
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
