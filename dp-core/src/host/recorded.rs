//! Gives what a worker has recorded, without waiting for the worker.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::Shared;
use super::slot::Slot;
use super::task::send_reply;
use super::uplink::Uplink;
use crate::codec;
use crate::executor::Job;
use crate::sync::lock;
use crate::wire::Part;
use crate::worker::DistributedWorker;

/// While more bytes than this wait to be written, the next part of a record waits.
const CROWDED: usize = 16 << 20;

/// How long it waits before it looks again.
const WAIT: Duration = Duration::from_millis(5);

/// What is asked for.
pub(super) enum Wanted {
    Metrics,
    /// And how long ago they were measured.
    MetricsWithAges,
    /// All lines, in one answer.
    Record,
    /// All lines, in as many parts as it takes.
    Parts(Place),
}

/// How far the parts have come.
#[derive(Default)]
pub(super) struct Place(Mutex<(Option<u64>, usize)>);

/// The answer to a call for what a worker has recorded.
pub(super) struct Recorded<W: DistributedWorker> {
    host: Arc<Shared<W>>,
    slot: Arc<Slot<W>>,
    link: Arc<Uplink>,
    call: u64,
    wanted: Wanted,
}

impl<W: DistributedWorker> Recorded<W> {
    pub(super) fn new(
        host: Arc<Shared<W>>,
        slot: Arc<Slot<W>>,
        link: Arc<Uplink>,
        call: u64,
        wanted: Wanted,
    ) -> Self {
        Self { host, slot, link, call, wanted }
    }

    /// Sends the next parts, and the answer behind the last.
    fn send_parts(self: &Arc<Self>, place: &Place) {
        let max = self.link.peer_max_message();
        while !self.link.is_closed() {
            let (record, from) = *lock(&place.0);
            let part = self.slot.recorder.part(record, from, max);
            let mut bytes = Vec::new();
            let mut encode = |part: &crate::record::Part| {
                if record.is_none() {
                    codec::encode(&(part.id, part.stored), &mut bytes)?;
                }
                codec::encode(&part.lines, &mut bytes)
            };
            // Integers and texts, which are always encoded.
            let encoded = part.as_ref().map_or(Ok(()), &mut encode);
            debug_assert!(encoded.is_ok());
            match part {
                Some(part) if part.left > 0 => {
                    *lock(&place.0) = (Some(part.id), from + part.lines.len());
                    let head = Part { call: self.call, worker: self.slot.index as u32 };
                    self.link.push(head.to_frame(bytes::Bytes::from(bytes)));
                    self.link.flush();
                }
                // All; or the record has been dropped meanwhile.
                _ => {
                    let answer = bytes::Bytes::from(bytes).into();
                    return send_reply(&self.link, self.call, self.slot.index, 0, Ok(answer), true);
                }
            }
            if self.link.unwritten() > CROWDED {
                return self.clone().wait();
            }
        }
    }

    /// Goes on when there is room.
    fn wait(self: Arc<Self>) {
        crate::engine::io_runtime().spawn(async move {
            while self.link.unwritten() > CROWDED && !self.link.is_closed() {
                tokio::time::sleep(WAIT).await;
            }
            let executor = self.host.executor.clone();
            executor.push(self);
        });
    }
}

impl<W: DistributedWorker> Job for Recorded<W> {
    fn run(self: Arc<Self>) {
        // Ahead of the answer: what was gathered once is not lost with the worker.
        self.slot.tell_news(&self.link);
        let reply = match &self.wanted {
            Wanted::Parts(place) => return self.send_parts(place),
            Wanted::Record => crate::__private::reply(self.slot.recorder.lines()),
            Wanted::Metrics => {
                self.slot.tell_measured(&self.link);
                crate::__private::reply(self.slot.recorder.measured().0)
            }
            Wanted::MetricsWithAges => {
                self.slot.tell_measured(&self.link);
                crate::__private::reply(self.slot.recorder.measured())
            }
        };
        let result = reply.map(|reply| reply.0).map_err(|failure| failure.0);
        send_reply(&self.link, self.call, self.slot.index, 0, result, true);
    }
}
