//! A link as a stream of bytes.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use async_nats::message::OutboundMessage;
use async_nats::{Client, Subject};
use bytes::{BufMut, BytesMut};
use futures_util::Sink;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::link::{Link, Owed};
use crate::wire::{HEAD, Head};

/// How long what could be told along with something else waits for that.
const SOON: Duration = Duration::from_millis(20);

/// One connection between a server and a client over NATS: a stream of bytes, as a socket is one.
pub struct NatsStream {
    link: Arc<Link>,
    /// Where it sends.
    to: Subject,
    /// What is written, and what is told of what was read: two, since each has one waker.
    bytes: Client,
    credit: Client,
    soon: Option<Pin<Box<Sleep>>>,
    /// How many messages to all were sent.
    around: Arc<AtomicU64>,
    /// What ends with it.
    _kept: Box<dyn Send + Sync>,
}

impl NatsStream {
    pub(crate) fn new(
        link: Arc<Link>,
        to: Subject,
        client: &Client,
        around: Arc<AtomicU64>,
        kept: impl Send + Sync + 'static,
    ) -> Self {
        let (bytes, credit) = (client.clone(), client.clone());
        Self { link, to, bytes, credit, soon: None, around, _kept: Box::new(kept) }
    }

    fn around(&self) -> u64 {
        self.around.load(Ordering::Acquire)
    }

    /// Tells the other side what it has to know, if that does not go along with something else.
    fn poll_credit(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.link.owed() {
            Owed::Nothing => return Ok(()),
            Owed::Soon => {
                let soon = self.soon.get_or_insert_with(|| Box::pin(sleep(SOON)));
                if soon.as_mut().poll(cx).is_pending() {
                    return Ok(());
                }
            }
            Owed::Now => {}
        }
        // Pending, it is told when there is room: this is called again then.
        if let Poll::Ready(ready) = Pin::new(&mut self.credit).poll_ready(cx) {
            ready.map_err(io::Error::other)?;
            self.soon = None;
            send(&mut self.credit, &self.to, self.link.credit_head(), &[], 0)?;
        }
        Ok(())
    }
}

/// Sends a message of the first `length` bytes of `parts`, where there is room for it.
fn send(
    client: &mut Client,
    to: &Subject,
    head: Head,
    parts: &[IoSlice<'_>],
    length: usize,
) -> io::Result<()> {
    let mut payload = BytesMut::with_capacity(HEAD + length);
    head.put(&mut payload);
    for part in parts {
        let left = HEAD + length - payload.len();
        payload.put_slice(&part[..part.len().min(left)]);
    }
    let (subject, payload) = (to.clone(), payload.freeze());
    let message = OutboundMessage { subject, reply: None, payload, headers: None };
    Pin::new(client).start_send(message).map_err(io::Error::other)
}

impl AsyncRead for NatsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = self.link.poll_read(cx, buffer);
        self.poll_credit(cx)?;
        polled
    }
}

impl AsyncWrite for NatsStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let wanted = parts.iter().map(|part| part.len()).sum();
        if wanted == 0 {
            return Poll::Ready(Ok(0));
        }
        let room = this.link.poll_room(cx, wanted)?;
        let told = room.is_pending() && this.link.owed() == Owed::Now;
        if room.is_pending() && !told {
            return Poll::Pending;
        }
        ready!(Pin::new(&mut this.bytes).poll_ready(cx)).map_err(io::Error::other)?;
        let Poll::Ready(room) = room else {
            send(&mut this.bytes, &this.to, this.link.credit_head(), &[], 0)?;
            return Poll::Pending;
        };
        let around = this.around();
        let head = this.link.bytes_head(room, wanted - room, around);
        send(&mut this.bytes, &this.to, head, parts, room)?;
        Poll::Ready(Ok(room))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What was handed over is written as soon as can be.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(Pin::new(&mut this.bytes).poll_ready(cx)).map_err(io::Error::other)?;
        if let Some(head) = this.link.end_head(this.around()) {
            send(&mut this.bytes, &this.to, head, &[], 0)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for NatsStream {
    fn drop(&mut self) {
        // Where there is no room for it, the other side finds out by the silence.
        let mut cx = Context::from_waker(Waker::noop());
        let _ = Pin::new(self).poll_shutdown(&mut cx);
    }
}

impl fmt::Debug for NatsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsStream").field("to", &self.to).finish_non_exhaustive()
    }
}
