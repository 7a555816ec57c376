//! What waits to be written to one connection.

mod frames;
mod sink;

use std::collections::VecDeque;
use std::mem;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::sync::lock;
use crate::wire::Reply;
use frames::FrameQueue;
use sink::Sink;
pub(super) use sink::Turn;

/// Replies are announced to the writer at the latest when so many bytes of them wait.
const REPLIES_AT_ONCE: usize = 64 << 10;
/// The writer takes no more than about so many bytes at a time: what it has taken cannot be
/// withdrawn any more.
const TAKEN_AT_ONCE: usize = 1 << 20;
/// The queue between those who send, on any thread, and the one writer of a connection.
///
/// It grows with what its own side sends: calls are withdrawn when their callers wait no longer, and
/// not made above `max_queued_bytes`; replies are bounded by the calls in flight.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    sink: Mutex<Option<Sink>>,
    wake: Notify,
    /// Bytes that were pushed and are not written yet.
    unwritten: AtomicUsize,
    /// Bytes that were ever pushed, up to the last answer to something that the other side asked;
    /// and bytes that were ever written.
    answered: AtomicU64,
    written: AtomicU64,
    /// The longest frame that the other side takes.
    peer_max_message: usize,
}

/// What there was to take.
#[derive(Debug, PartialEq, Eq)]
enum Taken {
    Some,
    None,
    /// Nothing, and there will be nothing any more.
    Over,
}

/// What was taken from the queue and is not written yet: the parts of frames, and behind them replies
/// of which no frame has been made.
#[derive(Debug, Default)]
struct Load {
    parts: VecDeque<Bytes>,
    replies: Vec<Reply>,
    /// What the replies were counted as.
    reply_bytes: usize,
}

impl Load {
    fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.replies.is_empty()
    }
}

/// A frame that waits, in its two parts, so that it is taken as a whole.
#[derive(Debug)]
struct Waiting {
    /// Of a call: its number and the targets.
    call: Option<(u64, CallTargets)>,
    head: Bytes,
    body: Bytes,
}

/// Whom a call's frame is for, as far as it takes to tell whether nobody waits for it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallTargets {
    One(u32),
    /// Everybody whom the call addresses behind this connection: so many.
    All(usize),
}

impl CallTargets {
    fn are_among(self, slots: &[u32]) -> bool {
        match self {
            Self::One(slot) => slots.binary_search(&slot).is_ok(),
            Self::All(count) => count == slots.len(),
        }
    }
}

/// The frame of a call that is to be pushed.
#[derive(Debug)]
pub(crate) struct CallFrame {
    /// `None` for one that is to arrive whoever waits for the answer.
    pub(crate) targets: Option<CallTargets>,
    pub(crate) parts: [Bytes; 2],
}

impl Waiting {
    fn other(head: Bytes) -> Self {
        Self { call: None, head, body: Bytes::new() }
    }

    fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }
}

#[derive(Debug, Default)]
struct Queue {
    frames: FrameQueue,
    replies: Vec<Reply>,
    reply_bytes: usize,
    /// Bytes of frames that were ever pushed.
    pushed: u64,
    /// Nothing is pushed any more; what waits is still written.
    finished: bool,
    closed: bool,
}

impl Outbox {
    pub(crate) fn new(peer_max_message: usize) -> Self {
        Self {
            queue: Mutex::default(),
            sink: Mutex::new(None),
            wake: Notify::new(),
            unwritten: AtomicUsize::new(0),
            answered: AtomicU64::new(0),
            written: AtomicU64::new(0),
            peer_max_message,
        }
    }

    /// The longest frame that the other side takes, in bytes.
    pub(crate) fn peer_max_message(&self) -> usize {
        self.peer_max_message
    }

    /// How many bytes wait to be written, those of replies included.
    pub(crate) fn unwritten(&self) -> usize {
        self.unwritten.load(Ordering::Relaxed)
    }

    /// Whether everything has been written that was pushed, and more may be.
    pub(crate) fn is_idle(&self) -> bool {
        // Behind the handshake, which is written without this.
        let begun = self.sink.try_lock().is_ok_and(|sink| sink.is_some());
        begun && self.unwritten() == 0 && !self.is_closed()
    }

    /// Whether the connection has ended.
    pub(crate) fn is_closed(&self) -> bool {
        let queue = lock(&self.queue);
        queue.closed || queue.finished
    }

    /// Queues frames. `false` if the connection is closed.
    pub(crate) fn push(&self, frames: impl IntoIterator<Item = Bytes>) -> bool {
        let pushed = self.push_as(false, frames.into_iter().map(Waiting::other));
        self.flush();
        pushed
    }

    /// Queues the frames of a call, behind `first` if there is one. `false` if the connection is
    /// closed. The writer is not told: whoever calls this goes on with
    /// [`write_now`](Self::write_now) or [`flush`](Self::flush).
    pub(crate) fn push_call(
        &self,
        first: Option<Bytes>,
        call: u64,
        frames: impl IntoIterator<Item = CallFrame>,
    ) -> bool {
        let frames = frames.into_iter().map(|CallFrame { targets, parts: [head, body] }| Waiting {
            call: targets.map(|targets| (call, targets)),
            head,
            body,
        });
        self.push_as(false, first.map(Waiting::other).into_iter().chain(frames))
    }

    /// Takes back a call's frames that the writer has not taken yet, where all whom they are for are
    /// in `slots`, which are in order. The workers that will never hear of the call, in no order.
    pub(crate) fn withdraw(&self, call: u64, slots: &[u32]) -> Vec<u32> {
        let mut withdrawn = Vec::new();
        let mut bytes = 0;
        let mut queue = lock(&self.queue);
        queue.frames.take_back(call, |frame, targets| {
            let taken = targets.are_among(slots);
            if taken {
                bytes += frame.len();
                match targets {
                    CallTargets::One(slot) => withdrawn.push(slot),
                    CallTargets::All(_) => withdrawn.extend(slots),
                }
            }
            taken
        });
        drop(queue);
        // As good as written to everybody who counts bytes.
        self.handle_written(bytes);
        withdrawn
    }

    /// Queues the answer to something that the other side asked.
    pub(crate) fn push_answer(&self, frames: impl IntoIterator<Item = Bytes>) -> bool {
        let pushed = self.push_as(true, frames.into_iter().map(Waiting::other));
        self.flush();
        pushed
    }

    fn push_as(&self, answer: bool, frames: impl IntoIterator<Item = Waiting>) -> bool {
        let mut queue = lock(&self.queue);
        if queue.closed || queue.finished {
            return false;
        }
        let mut bytes = 0;
        for frame in frames {
            bytes += frame.len();
            queue.frames.push(frame);
        }
        self.unwritten.fetch_add(bytes, Ordering::Relaxed);
        queue.pushed += bytes as u64;
        if answer {
            self.answered.store(queue.pushed, Ordering::Relaxed);
        }
        drop(queue);
        true
    }

    /// How many bytes wait to be written up to the last answer.
    pub(crate) fn unwritten_answers(&self) -> u64 {
        let answered = self.answered.load(Ordering::Relaxed);
        answered.saturating_sub(self.written.load(Ordering::Relaxed))
    }

    /// Queues a reply. Unless `flush`, the writer is not told yet: more replies will follow at
    /// once, and [`flush`](Self::flush) after them; so they share a frame.
    pub(crate) fn push_reply(&self, reply: Reply, flush: bool) {
        let mut queue = lock(&self.queue);
        if queue.closed || queue.finished {
            return;
        }
        let bytes = reply.encoded_len();
        queue.reply_bytes += bytes;
        self.unwritten.fetch_add(bytes, Ordering::Relaxed);
        queue.replies.push(reply);
        let many = queue.reply_bytes >= REPLIES_AT_ONCE;
        drop(queue);
        if flush || many {
            self.flush();
        }
    }

    /// Tells the writer of what waits.
    pub(crate) fn flush(&self) {
        self.wake.notify_one();
    }

    /// Lets what waits be written; nothing can be pushed any more, and then the writer ends.
    pub(crate) fn finish(&self) {
        lock(&self.queue).finished = true;
        self.wake.notify_one();
    }

    /// Drops what waits; nothing can be pushed any more, and the writer ends.
    pub(crate) fn close(&self) {
        let mut queue = lock(&self.queue);
        queue.closed = true;
        queue.frames = FrameQueue::default();
        queue.replies = Vec::new();
        drop(queue);
        self.wake.notify_one();
    }

    /// Waits until something was pushed.
    pub(super) async fn pushed(&self) {
        self.wake.notified().await;
    }

    /// Takes a good deal of what waits into `load`, of which everything was written.
    fn take(&self, load: &mut Load) -> Taken {
        let mut queue = lock(&self.queue);
        if queue.closed {
            return Taken::Over;
        }
        let mut bytes = 0;
        while bytes < TAKEN_AT_ONCE
            && let Some(frame) = queue.frames.pop()
        {
            bytes += frame.len();
            // A part of which there is nothing could never be written.
            if !frame.head.is_empty() {
                load.parts.push_back(frame.head);
            }
            if !frame.body.is_empty() {
                load.parts.push_back(frame.body);
            }
        }
        // No reply overtakes what was recorded before it.
        if queue.frames.is_empty() {
            load.reply_bytes = mem::take(&mut queue.reply_bytes);
            mem::swap(&mut queue.replies, &mut load.replies);
        }
        match queue.finished && queue.frames.is_empty() {
            _ if !load.is_empty() => Taken::Some,
            true => Taken::Over,
            false => Taken::None,
        }
    }

    /// Replies that were counted as `estimated` bytes are `bytes` bytes.
    fn handle_encoded(&self, estimated: usize, bytes: usize) {
        self.unwritten.fetch_add(bytes, Ordering::Relaxed);
        self.unwritten.fetch_sub(estimated, Ordering::Relaxed);
    }

    /// The writer has written so many bytes.
    pub(crate) fn handle_written(&self, bytes: usize) {
        self.unwritten.fetch_sub(bytes, Ordering::Relaxed);
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the writer takes, with the replies made frames.
    fn take(outbox: &Outbox) -> (Taken, Vec<Bytes>) {
        let mut load = Load::default();
        let taken = outbox.take(&mut load);
        load.make_frames(outbox);
        (taken, load.parts.into())
    }

    fn reply(worker: u32) -> Reply {
        Reply { call: 1, worker, elapsed: 0, result: Ok(Bytes::from_static(b"x").into()) }
    }

    #[test]
    fn replies_that_wait_together_leave_in_one_frame() {
        let outbox = Outbox::new(1 << 20);
        for worker in 0..100 {
            outbox.push_reply(reply(worker), false);
        }
        outbox.flush();
        let (taken, frames) = take(&outbox);
        assert_eq!((taken, frames.len()), (Taken::Some, 1));
        assert_eq!(outbox.unwritten(), frames[0].len());
        outbox.handle_written(frames[0].len());
        assert_eq!(outbox.unwritten(), 0);
    }

    #[test]
    fn what_nobody_waits_for_is_withdrawn_as_long_as_it_has_not_been_taken() {
        let outbox = Outbox::new(1 << 20);
        let frame = |targets| CallFrame {
            targets: Some(targets),
            parts: [Bytes::from_static(b"head"), Bytes::from_static(b"arguments")],
        };
        outbox.push_call(None, 1, [frame(CallTargets::All(3))]);
        let each = (0..3).map(|slot| frame(CallTargets::One(slot)));
        outbox.push_call(Some(Bytes::from_static(b"positions")), 2, each);
        assert_eq!(outbox.unwritten(), 4 * 13 + 9);

        assert_eq!(outbox.withdraw(1, &[0, 2]), Vec::<u32>::new(), "one still waits");
        assert_eq!(outbox.withdraw(1, &[0, 1, 2]), [0, 1, 2]);
        assert_eq!(outbox.withdraw(2, &[0, 2]), [0, 2]);
        assert_eq!(outbox.unwritten(), 13 + 9);

        let (taken, parts) = take(&outbox);
        assert_eq!((taken, &parts.concat()[..]), (Taken::Some, &b"positionsheadarguments"[..]));
        assert_eq!(outbox.withdraw(2, &[0, 1, 2]), Vec::<u32>::new(), "it has been taken");
    }

    #[test]
    fn calls_are_taken_back_one_by_one_without_a_pass_over_all_that_wait() {
        const CALLS: u64 = 20_000;
        let orders: [fn(u64) -> u64; 3] = [|at| at, |at| CALLS - 1 - at, |at| (at * 7_919) % CALLS];
        for order in orders {
            let outbox = Outbox::new(1 << 20);
            let frame = || CallFrame {
                targets: Some(CallTargets::One(0)),
                parts: [Bytes::from_static(b"head"), Bytes::new()],
            };
            (0..CALLS).for_each(|call| assert!(outbox.push_call(None, call, [frame()])));
            for at in 0..CALLS - 1 {
                assert_eq!(outbox.withdraw(order(at), &[0]), [0]);
                assert_eq!(outbox.withdraw(order(at), &[0]), Vec::<u32>::new());
            }
            assert_eq!(outbox.unwritten(), 4);
            let steps = lock(&outbox.queue).frames.steps;
            assert!(steps < 8 * CALLS, "{steps} steps");
            assert_eq!(take(&outbox).1.len(), 1);
            assert_eq!(take(&outbox), (Taken::None, Vec::new()));
        }
    }

    #[test]
    fn a_writer_takes_whole_frames_and_not_all_at_once() {
        let outbox = Outbox::new(1 << 20);
        let body = Bytes::from(vec![0; TAKEN_AT_ONCE]);
        let parts = || [Bytes::from_static(b"head"), body.clone()];
        let frame = |slot| CallFrame { targets: Some(CallTargets::One(slot)), parts: parts() };
        outbox.push_call(None, 1, (0..3).map(frame));
        assert_eq!(take(&outbox), (Taken::Some, parts().into()));
        assert_eq!(outbox.withdraw(1, &[0, 1, 2]), [1, 2]);
    }

    #[test]
    fn nothing_is_taken_of_a_part_that_is_empty() {
        let outbox = Outbox::new(1 << 20);
        // Up to where the writer stops, and then one whose second part is empty.
        let long = Bytes::from(vec![0; TAKEN_AT_ONCE - 1]);
        outbox.push([long, Bytes::from_static(b"head"), Bytes::new()]);
        assert_eq!(take(&outbox).1.len(), 2);
        assert_eq!(take(&outbox), (Taken::None, Vec::new()));
        assert!(outbox.push_answer([Bytes::new()]));
        assert_eq!(take(&outbox), (Taken::None, Vec::new()));
    }

    #[test]
    fn no_reply_is_taken_before_what_was_pushed_ahead_of_it() {
        let outbox = Outbox::new(1 << 20);
        let record = Bytes::from(vec![0; TAKEN_AT_ONCE]);
        outbox.push([record.clone(), record]);
        outbox.push_reply(reply(0), true);
        let mut lengths = Vec::new();
        for _ in 0..2 {
            let (taken, parts) = take(&outbox);
            assert_eq!(taken, Taken::Some);
            lengths.push(parts.iter().map(Bytes::len).collect::<Vec<_>>());
        }
        assert_eq!(lengths[0], [TAKEN_AT_ONCE]);
        assert!(lengths[1][0] == TAKEN_AT_ONCE && lengths[1][1] < 100, "{lengths:?}");
    }

    #[test]
    fn a_finished_outbox_is_written_to_its_end() {
        let outbox = Outbox::new(1 << 20);
        outbox.push([Bytes::from_static(b"last")]);
        outbox.finish();
        assert!(!outbox.push([Bytes::from_static(b"too late")]));
        let (taken, frames) = take(&outbox);
        assert_eq!((taken, frames.len()), (Taken::Some, 1));
        assert_eq!(take(&outbox).0, Taken::Over);
    }

    #[test]
    fn a_closed_outbox_takes_nothing_and_ends_its_writer() {
        let outbox = Outbox::new(1 << 20);
        assert!(outbox.push([Bytes::from_static(b"a")]));
        outbox.close();
        assert!(!outbox.push([Bytes::from_static(b"b")]));
        outbox.push_reply(reply(0), true);
        assert_eq!(take(&outbox).0, Taken::Over);
    }
}
