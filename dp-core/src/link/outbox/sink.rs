//! Where an outbox is written to, by its writer or by whoever sends.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::mem;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;
use tokio::task::coop;

use super::{Load, Outbox, Taken};
use crate::sync::lock;
use crate::wire::{ClientMessage, Reply};

/// Up to so many bytes are written by whoever sends them: less than a socket has room for.
const WRITTEN_NOW: usize = 64 << 10;
/// So many times at most the writer takes what waits, before others have their turn.
const TAKES: usize = 16;
/// How many parts one vectored write names; more are of no use to the kernel.
const PARTS_AT_ONCE: usize = 64;
/// The memory of so many replies is kept for the next ones.
const REPLIES_KEPT: usize = 1 << 10;

thread_local! {
    /// Replies are encoded here, and seldom stay: a connection needs no memory of its own for that.
    static ENCODED: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// How a turn of writing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::link) enum Turn {
    /// Nothing waits.
    Done,
    /// It was long enough: more may wait.
    More,
    /// Nothing waits, and nothing will any more.
    Over,
}

/// Where it goes. Whoever has it locked writes, so that the order is that of the queue.
pub(super) struct Sink {
    write: Box<dyn AsyncWrite + Send + Unpin>,
    written: Box<dyn Fn() + Send>,
    load: Load,
    /// The writer waits for room, or has been asked to: nobody else writes.
    blocked: bool,
    /// Somebody else than the writer met this.
    failed: Option<io::Error>,
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").field("blocked", &self.blocked).finish_non_exhaustive()
    }
}

/// The connection's direction that is written to is closed when this is dropped.
#[derive(Debug)]
pub(in crate::link) struct Writing<'a>(&'a Outbox);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let sink = lock(&self.0.sink).take();
        // Without the lock: what is closed is not this one's business.
        drop(sink);
    }
}

impl Outbox {
    /// From now on what waits can be written to `write`, until what this gives is dropped, and
    /// `write` with it; `written` is called after each write.
    pub(in crate::link) fn begin_writing(
        &self,
        write: impl AsyncWrite + Send + Unpin + 'static,
        written: impl Fn() + Send + 'static,
    ) -> Writing<'_> {
        *lock(&self.sink) = Some(Sink {
            write: Box::new(write),
            written: Box::new(written),
            load: Load::default(),
            blocked: false,
            failed: None,
        });
        Writing(self)
    }

    /// Writes what waits here and now, as far as there is room for it, and unless it is much; the
    /// writer does the rest, and everything where it is at it already.
    ///
    /// Saves the way to another thread where nothing else is about to be sent. Where much is, each
    /// part would take a write of its own; and whoever sends it is not held up by long ones.
    pub(crate) fn write_now(&self) {
        if self.unwritten() <= WRITTEN_NOW
            && let Ok(mut sink) = self.sink.try_lock()
            && let Some(sink) = &mut *sink
            && !sink.blocked
            && sink.failed.is_none()
        {
            // That of the caller's task is for its own work, and too small for a thousand connections.
            let unbudgeted = coop::unconstrained(poll_fn(|cx| sink.poll(self, cx, 1)));
            match pin!(unbudgeted).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(Turn::Done | Turn::More)) if self.unwritten() == 0 => return,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => sink.failed = Some(error),
                Poll::Pending => sink.blocked = true,
            }
        }
        self.wake.notify_one();
    }

    /// The writer's turn.
    pub(in crate::link) fn poll_write(&self, cx: &mut Context<'_>) -> Poll<io::Result<Turn>> {
        match &mut *lock(&self.sink) {
            Some(sink) => {
                sink.failed.take().map_or(Ok(()), Err)?;
                // Until it is through, it is the one to be told that there is room.
                sink.blocked = true;
                let polled = sink.poll(self, cx, TAKES);
                sink.blocked = polled.is_pending();
                polled
            }
            None => Poll::Ready(Ok(Turn::Over)),
        }
    }

    /// The writer's last turn.
    pub(in crate::link) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *lock(&self.sink) {
            Some(sink) => {
                // Nobody else touches it now.
                sink.blocked = true;
                Pin::new(&mut sink.write).poll_shutdown(cx)
            }
            None => Poll::Ready(Ok(())),
        }
    }
}

impl Sink {
    /// Takes what waits in `outbox`, at most so many times, and writes it.
    fn poll(
        &mut self,
        outbox: &Outbox,
        cx: &mut Context<'_>,
        mut takes: usize,
    ) -> Poll<io::Result<Turn>> {
        loop {
            if self.load.is_empty() {
                let turn = match takes {
                    0 => Some(Turn::More),
                    _ => match outbox.take(&mut self.load) {
                        Taken::Some => None,
                        Taken::None => Some(Turn::Done),
                        Taken::Over => Some(Turn::Over),
                    },
                };
                if let Some(turn) = turn {
                    ready!(Pin::new(&mut self.write).poll_flush(cx))?;
                    return Poll::Ready(Ok(turn));
                }
                takes -= 1;
            }
            let bytes = if self.load.are_short_replies() {
                ready!(self.poll_replies(outbox, cx))?
            } else {
                self.load.make_frames(outbox);
                ready!(self.poll_parts(cx))?
            };
            if bytes == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            outbox.handle_written(bytes);
            (self.written)();
        }
    }

    fn poll_parts(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.write);
        let bytes = match self.load.parts.as_slices() {
            // Cheaper than a vector of one.
            ([one], []) => ready!(write.poll_write(cx, one))?,
            _ => {
                let mut slices = [IoSlice::new(&[]); PARTS_AT_ONCE];
                let mut count = 0;
                for (slice, part) in slices.iter_mut().zip(&self.load.parts) {
                    *slice = IoSlice::new(part);
                    count += 1;
                }
                ready!(write.poll_write_vectored(cx, &slices[..count]))?
            }
        };
        self.load.advance(bytes);
        Poll::Ready(Ok(bytes))
    }

    /// Encodes and writes replies, of which nothing is left: what there is no room for becomes a part.
    fn poll_replies(&mut self, outbox: &Outbox, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // Taken, and not borrowed: what is beneath may write to another connection.
        let mut encoded = ENCODED.take();
        encoded.clear();
        ClientMessage::encode_replies(&self.load.replies, outbox.peer_max_message, &mut encoded);
        self.load.handle_encoded(outbox, encoded.len());
        let written = Pin::new(&mut self.write).poll_write(cx, &encoded);
        let bytes = match &written {
            Poll::Ready(Ok(bytes)) => *bytes,
            _ => 0,
        };
        if bytes < encoded.len() {
            self.load.parts.push_back(Bytes::copy_from_slice(&encoded[bytes..]));
        }
        ENCODED.set(encoded);
        written
    }
}

impl Load {
    /// Whether there is nothing but replies that are cheaper copied than written as parts of their own.
    fn are_short_replies(&self) -> bool {
        self.parts.is_empty()
            && self.reply_bytes <= WRITTEN_NOW
            && self.replies.iter().all(Reply::is_short)
    }

    /// Makes frames of the replies.
    pub(super) fn make_frames(&mut self, outbox: &Outbox) {
        if self.replies.is_empty() {
            return;
        }
        let frames = ClientMessage::replies(&self.replies, outbox.peer_max_message);
        self.handle_encoded(outbox, frames.iter().map(Bytes::len).sum());
        self.parts.extend(frames);
    }

    /// The replies have become so many bytes.
    fn handle_encoded(&mut self, outbox: &Outbox, bytes: usize) {
        outbox.handle_encoded(mem::take(&mut self.reply_bytes), bytes);
        self.replies.clear();
        if self.replies.capacity() > REPLIES_KEPT {
            self.replies = Vec::new();
        }
    }

    /// Drops the first `bytes` bytes of the parts, and parts that are empty.
    fn advance(&mut self, mut bytes: usize) {
        while let Some(first) = self.parts.front_mut() {
            if first.len() > bytes {
                first.advance(bytes);
                return;
            }
            bytes -= first.len();
            self.parts.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{CallFrame, CallTargets};

    #[tokio::test]
    async fn who_sends_writes_what_there_is_room_for_and_the_writer_the_rest() {
        let outbox = Outbox::new(1 << 20);
        let (mut read, write) = tokio::io::duplex(100);
        let frame = |length: usize| CallFrame {
            targets: Some(CallTargets::One(0)),
            parts: [Bytes::from(vec![1; length]), Bytes::new()],
        };
        let writer = crate::link::write_frames(write, &outbox, || ());
        tokio::pin!(writer);
        assert!(futures_util::poll!(&mut writer).is_pending());
        outbox.push_call(None, 1, [frame(60)]);
        outbox.write_now();
        assert_eq!(outbox.unwritten(), 0);
        outbox.push_call(None, 2, [frame(60)]);
        outbox.write_now();
        assert_eq!(outbox.unwritten(), 20);
        // There is somebody before it.
        outbox.push_call(None, 3, [frame(50)]);
        outbox.write_now();
        assert_eq!(outbox.unwritten(), 70);
        let mut got = [0; 170];
        tokio::select! {
            result = &mut writer => panic!("the writer ended: {result:?}"),
            result = tokio::io::AsyncReadExt::read_exact(&mut read, &mut got) => {
                result.unwrap();
            }
        }
        assert_eq!(outbox.unwritten(), 0);
        outbox.push_call(None, 4, [frame(60)]);
        outbox.write_now();
        assert_eq!(outbox.unwritten(), 0, "the way is free again");
        // Much is left to the writer.
        outbox.push_call(None, 5, [frame(WRITTEN_NOW + 1)]);
        outbox.write_now();
        assert_eq!(outbox.unwritten(), WRITTEN_NOW + 1);
    }
}
