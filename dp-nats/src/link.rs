//! What makes a stream of messages that may be dropped, or held back for ever: numbers, and permission to
//! send. Pure: no connection, no clock.
//!
//! - Every message of a link has a number, and so has every message to all links. A gap, in either, ends
//!   the link with an error: what the engine had sent or waits for is then lost, and said to be.
//! - A side sends no more bytes than the other has permitted. What lies in the NATS server, for a client
//!   that does not read, is bounded by that; and what lies there for the server by the sum over all
//!   links, which share a [`Pool`].
//! - A message to all is for a link only where it has come by everything sent to it alone, and has said so:
//!   so there is one order, whatever way messages of different subjects take.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use tokio::io::ReadBuf;

use crate::wire::{Around, HEAD, Head, Kind};

/// What a server may be sent at any time on each link, in bytes.
const SERVER_WINDOW: u64 = 8 << 10;
/// What it permits beyond that to those that have more, in bytes: one link, and all together.
const MOST_EXTRA: u64 = 4 << 20;
pub(crate) const POOL: u64 = 24 << 20;
/// What a client may be sent.
const CLIENT_WINDOW: u64 = 4 << 20;

/// Bytes that a server's links share.
#[derive(Debug)]
pub(crate) struct Pool(AtomicU64);

impl Pool {
    pub(crate) fn new(bytes: u64) -> Self {
        Self(AtomicU64::new(bytes))
    }

    /// Takes up to `wanted`.
    fn take(&self, wanted: u64) -> u64 {
        let take = |free: u64| Some(free.saturating_sub(wanted));
        let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        before.unwrap_or_default().min(wanted)
    }

    fn give(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// One link, at either side.
#[derive(Debug)]
pub(crate) struct Link {
    /// Stands for it in messages to all.
    number: u32,
    /// Of the server.
    pool: Option<Arc<Pool>>,
    /// The longest message, without its head.
    chunk: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    out: Out,
    incoming: Incoming,
    /// Why it has ended.
    failure: Option<String>,
}

/// What goes to the other side.
#[derive(Debug, Default)]
struct Out {
    /// Messages with a number; of these, those that the other side says have come.
    sent: u64,
    acknowledged: u64,
    /// Bytes, heads and messages to all included; and how many may be sent.
    bytes: u64,
    limit: u64,
    /// The number of the last message to all that was for this link.
    around: u64,
    /// How many wait for permission, and whether the other side has been told.
    waiting: usize,
    asked: bool,
    ended: bool,
    /// Whether the other side is to be asked what it has sent, and whether it has asked that.
    ask: bool,
    answer: bool,
    waker: Option<Waker>,
}

/// What comes from there.
#[derive(Debug)]
struct Incoming {
    window: u64,
    /// Messages with a number, and as many as the other side was told.
    received: u64,
    told: u64,
    /// Bytes that came and that were read; how many are permitted, and what the other side was told.
    bytes: u64,
    read: u64,
    granted: u64,
    told_granted: u64,
    /// Taken from the pool for what is permitted and has not come.
    reserved: u64,
    /// How many the other side says wait there.
    wanted: u64,
    /// The number of the last message to all; none before the first of anything.
    around: Option<u64>,
    /// What came ahead of a message to all that was sent before it.
    early: VecDeque<Item>,
    ready: VecDeque<Item>,
    waker: Option<Waker>,
}

#[derive(Debug)]
struct Item {
    around: u64,
    cost: u64,
    /// `None` is the end.
    bytes: Option<Bytes>,
}

/// What has to be told to the other side.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Owed {
    Nothing,
    /// Something may take it along.
    Soon,
    /// It may be waiting.
    Now,
}

impl Link {
    /// The server's side; the client may be sent `limit` bytes at first.
    pub(crate) fn server(number: u32, limit: u64, chunk: usize, pool: Arc<Pool>) -> Self {
        Self::new(number, limit, chunk, SERVER_WINDOW, Some(pool))
    }

    /// The client's side.
    pub(crate) fn client(number: u32, limit: u64, chunk: usize) -> Self {
        Self::new(number, limit, chunk, CLIENT_WINDOW, None)
    }

    /// How many bytes the other side may send at first: to the server, and to a client.
    pub(crate) const SERVER_LIMIT: u64 = SERVER_WINDOW;
    pub(crate) const CLIENT_LIMIT: u64 = CLIENT_WINDOW;

    fn new(number: u32, limit: u64, chunk: usize, window: u64, pool: Option<Arc<Pool>>) -> Self {
        let out = Out { limit, ..Out::default() };
        let incoming = Incoming {
            window,
            received: 0,
            told: 0,
            bytes: 0,
            read: 0,
            granted: window,
            told_granted: window,
            reserved: 0,
            wanted: 0,
            around: None,
            early: VecDeque::new(),
            ready: VecDeque::new(),
            waker: None,
        };
        Self { number, pool, chunk, state: Mutex::new(State { out, incoming, failure: None }) }
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it, for a reason that both directions report.
    pub(crate) fn fail(&self, reason: &str) {
        let mut state = self.lock();
        state.failure.get_or_insert_with(|| reason.to_owned());
        let wakers = [state.out.waker.take(), state.incoming.waker.take()];
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// How many of `wanted` bytes the next message may have.
    ///
    /// # Errors
    /// Where the link has ended.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        let mut state = self.lock();
        if let Some(failure) = &state.failure {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                failure.clone(),
            )));
        }
        if state.out.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = state.out.room();
        if room == 0 {
            state.out.waiting = wanted;
            state.out.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.out.waiting = 0;
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        Poll::Ready(Ok(wanted.min(room).min(self.chunk)))
    }

    /// The head of the next message, which has `length` bytes behind it while `waiting` have to wait.
    pub(crate) fn bytes_head(&self, length: usize, waiting: usize, around: u64) -> Head {
        let mut state = self.lock();
        state.out.sent += 1;
        state.out.bytes += (HEAD + length) as u64;
        let number = state.out.sent;
        state.head(Kind::Bytes, number, waiting, around)
    }

    /// The head of the last message; `None` where it was sent already.
    pub(crate) fn end_head(&self, around: u64) -> Option<Head> {
        let mut state = self.lock();
        if state.out.ended {
            return None;
        }
        state.out.ended = true;
        state.out.sent += 1;
        let number = state.out.sent;
        Some(state.head(Kind::End, number, 0, around))
    }

    /// The head of a message that says nothing else.
    pub(crate) fn credit_head(&self) -> Head {
        let mut state = self.lock();
        let waiting = state.out.waiting;
        state.out.asked |= waiting > 0;
        state.out.answer = false;
        let kind = if mem::take(&mut state.out.ask) { Kind::Ask } else { Kind::Credit };
        let sent = state.out.sent;
        state.head(kind, sent, waiting, 0)
    }

    /// Has both sides compare what was sent and what has come: behind a moment at which something may
    /// have been lost.
    pub(crate) fn check(&self) {
        let mut state = self.lock();
        state.out.ask = true;
        let reader = state.incoming.waker.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
    }

    /// What has to be told.
    pub(crate) fn owed(&self) -> Owed {
        let state = self.lock();
        let (out, incoming) = (&state.out, &state.incoming);
        match () {
            () if state.failure.is_some() => Owed::Nothing,
            () if out.ask || out.answer => Owed::Now,
            () if incoming.granted > incoming.told_granted => Owed::Now,
            () if out.waiting > 0 && !out.asked && out.room() == 0 => Owed::Now,
            // A server sends nothing to all while something is on its way to one.
            () if self.pool.is_none() && incoming.received > incoming.told => Owed::Soon,
            () => Owed::Nothing,
        }
    }

    /// Whether a message to all of so many bytes could be for this link now.
    pub(crate) fn is_caught_up(&self, length: usize) -> bool {
        self.lock().is_caught_up(length)
    }

    /// Whether the message to all of this number and length is for this link, too. Then it counts as sent,
    /// and what is sent from now on comes behind it.
    pub(crate) fn joins_around(&self, number: u64, length: usize) -> bool {
        let mut state = self.lock();
        let joins = state.is_caught_up(length);
        if joins {
            state.out.bytes += (HEAD + length) as u64;
            state.out.around = number;
        }
        joins
    }

    /// Takes a message from the other side.
    pub(crate) fn deliver(&self, message: Bytes) {
        let Some((head, bytes)) = Head::split(message) else {
            return self.fail("peer broke the protocol: a message that is none of dp's");
        };
        let mut state = self.lock();
        let mut writer = None;
        if head.limit > state.out.limit {
            state.out.limit = head.limit;
            state.out.asked = false;
            writer = state.out.waker.take();
        }
        let acknowledged = head.received.min(state.out.sent);
        state.out.acknowledged = state.out.acknowledged.max(acknowledged);
        state.incoming.wanted = head.waiting.into();
        let taken = match head.kind {
            Kind::Credit | Kind::Ask => {
                state.out.answer |= head.kind == Kind::Ask;
                match head.number.saturating_sub(state.incoming.received) {
                    0 => Ok(()),
                    missed => Err(lost(missed)),
                }
            }
            Kind::Bytes => state.incoming.take(head, Some(bytes), self.pool.as_deref()),
            Kind::End => state.incoming.take(head, None, self.pool.as_deref()),
        };
        let reader = state.incoming.waker.take();
        drop(state);
        [reader, writer].into_iter().flatten().for_each(Waker::wake);
        if let Err(reason) = taken {
            self.fail(&reason);
        }
    }

    /// Takes a message to all.
    pub(crate) fn deliver_around(&self, message: Bytes) {
        let Some(around) = Around::split(message) else {
            return self.fail("peer broke the protocol: a message that is none of dp's");
        };
        let mut state = self.lock();
        // The server has not known this link before it sent it something.
        let for_us =
            state.incoming.received > 0 && around.except.binary_search(&self.number).is_err();
        let taken = state.incoming.take_around(around, for_us);
        let reader = state.incoming.waker.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
        if let Err(reason) = taken {
            self.fail(&reason);
        }
    }

    /// Reads what has come.
    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        let before = buffer.filled().len();
        let ended = state.incoming.read(buffer);
        state.incoming.grant(self.pool.as_deref());
        if ended || buffer.filled().len() > before || buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if let Some(failure) = &state.failure {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                failure.clone(),
            )));
        }
        state.incoming.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(pool) = &self.pool {
            pool.give(self.lock().incoming.reserved);
        }
    }
}

impl Out {
    /// How many bytes may be in the next message.
    fn room(&self) -> u64 {
        self.limit.saturating_sub(self.bytes).saturating_sub(HEAD as u64)
    }
}

impl State {
    fn is_caught_up(&self, length: usize) -> bool {
        let out = &self.out;
        // Whoever has sent something has subscribed, and who has come by something knows which messages to
        // all were before it.
        let known = out.sent > 0 && self.incoming.received > 0;
        known
            && out.acknowledged == out.sent
            && !out.ended
            && self.failure.is_none()
            && out.room() >= length as u64
    }

    fn head(&mut self, kind: Kind, number: u64, waiting: usize, around: u64) -> Head {
        let incoming = &mut self.incoming;
        (incoming.told, incoming.told_granted) = (incoming.received, incoming.granted);
        let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
        let (received, limit) = (incoming.received, incoming.granted);
        let around = around.max(self.out.around);
        Head { kind, waiting, number, received, limit, around }
    }
}

impl Incoming {
    fn take(
        &mut self,
        head: Head,
        bytes: Option<Bytes>,
        pool: Option<&Pool>,
    ) -> Result<(), String> {
        let missed = head.number.checked_sub(self.received + 1);
        match missed {
            Some(0) => self.received = head.number,
            Some(missed) => return Err(lost(missed)),
            None => return Err("peer broke the protocol: a message that came twice".to_owned()),
        }
        let cost = bytes.as_ref().map_or(0, |bytes| (HEAD + bytes.len()) as u64);
        self.count(cost)?;
        if let Some(pool) = pool {
            let reserved = self.granted.saturating_sub(self.bytes).saturating_sub(self.window);
            pool.give(self.reserved.saturating_sub(reserved));
            self.reserved = self.reserved.min(reserved);
        }
        self.around.get_or_insert(head.around);
        self.early.push_back(Item { around: head.around, cost, bytes });
        self.settle();
        Ok(())
    }

    fn take_around(&mut self, around: Around, for_us: bool) -> Result<(), String> {
        let number = around.number;
        let last = *self.around.get_or_insert(number.saturating_sub(1));
        match number.checked_sub(last.saturating_add(1)) {
            // Sent before this link began.
            None => return Ok(()),
            Some(0) => self.around = Some(number),
            Some(missed) => return Err(lost(missed)),
        }
        if for_us {
            let cost = (HEAD + around.bytes.len()) as u64;
            self.count(cost)?;
            self.ready.push_back(Item { around: number, cost, bytes: Some(around.bytes) });
        }
        self.settle();
        Ok(())
    }

    fn count(&mut self, cost: u64) -> Result<(), String> {
        self.bytes += cost;
        match self.bytes > self.granted {
            true => Err("peer broke the protocol: it sent more than it may".to_owned()),
            false => Ok(()),
        }
    }

    /// What came early is ready once everything to all has come that was sent before it. From a client
    /// nothing is to all.
    fn settle(&mut self) {
        let last = self.around.unwrap_or_default();
        while self.early.front().is_some_and(|item| item.around <= last) {
            self.ready.extend(self.early.pop_front());
        }
    }

    /// Whether it has come to the end.
    fn read(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        while buffer.remaining() > 0
            && let Some(item) = self.ready.front_mut()
        {
            // The end stays where it is.
            let Some(bytes) = &mut item.bytes else { return true };
            let count = bytes.len().min(buffer.remaining());
            buffer.put_slice(&bytes[..count]);
            bytes.advance(count);
            if bytes.is_empty() {
                self.read += item.cost;
                self.ready.pop_front();
            }
        }
        false
    }

    /// Permits more, where that is worth telling.
    fn grant(&mut self, pool: Option<&Pool>) {
        let unread = self.bytes - self.read;
        if let Some(pool) = pool {
            let extra = self.wanted.min(MOST_EXTRA).saturating_sub(unread);
            self.reserved += pool.take(extra.saturating_sub(self.reserved));
        }
        let aim = self.bytes + self.window.saturating_sub(unread) + self.reserved;
        if aim >= self.granted + self.window / 2 {
            self.granted = aim;
        } else if let Some(pool) = pool {
            let reserved = self.granted.saturating_sub(self.bytes).saturating_sub(self.window);
            pool.give(self.reserved.saturating_sub(reserved));
            self.reserved = self.reserved.min(reserved);
        }
    }
}

fn lost(missed: u64) -> String {
    let messages = if missed == 1 { "message was" } else { "messages were" };
    format!("{missed} {messages} lost on the way: NATS delivers at most once")
}

#[cfg(test)]
mod tests;
