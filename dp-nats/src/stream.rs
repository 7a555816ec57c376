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
    /// Whether each waits for its place among the messages to be written, or has one that it has not used:
    /// all links share these.
    bytes_waits: bool,
    credit_waits: bool,
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
        let (bytes_waits, credit_waits) = (false, false);
        let (soon, kept) = (None, Box::new(kept));
        Self { link, to, bytes, credit, bytes_waits, credit_waits, soon, around, _kept: kept }
    }

    fn around(&self) -> u64 {
        self.around.load(Ordering::Acquire)
    }

    /// Tells the other side what it has to know, if that does not go along with something else.
    fn poll_credit(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let due = match self.link.owed() {
            Owed::Nothing => false,
            Owed::Soon => {
                let soon = self.soon.get_or_insert_with(|| Box::pin(sleep(SOON)));
                soon.as_mut().poll(cx).is_ready()
            }
            Owed::Now => true,
        };
        if !due {
            // What waited was told along with bytes.
            give_back(&mut self.credit, &mut self.credit_waits);
            return Ok(());
        }
        // Pending, it is told when there is room: this is called again then.
        let ready = Pin::new(&mut self.credit).poll_ready(cx);
        self.credit_waits = ready.is_pending();
        if let Poll::Ready(ready) = ready {
            ready.map_err(io::Error::other)?;
            self.soon = None;
            send(&mut self.credit, &self.to, self.link.credit_head(), &[], 0)?;
        }
        Ok(())
    }

    /// Whether there is room for one of what is written.
    fn poll_place(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ready = Pin::new(&mut self.bytes).poll_ready(cx);
        self.bytes_waits = ready.is_pending();
        ready.map_err(io::Error::other)
    }
}

/// Gives back the place of a client that has one, or waits for one, and does not send.
fn give_back(client: &mut Client, waits: &mut bool) {
    if std::mem::take(waits) {
        // A clone begins without one.
        *client = client.clone();
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
            give_back(&mut this.bytes, &mut this.bytes_waits);
            return Poll::Pending;
        }
        ready!(this.poll_place(cx))?;
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
        ready!(this.poll_place(cx))?;
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

#[cfg(test)]
mod tests {
    use async_nats::ConnectOptions;
    use futures_util::FutureExt;

    use super::*;
    use crate::link::{POOL, Pool};

    const PLACES: usize = 2;

    async fn is_free(client: &Client) -> bool {
        let mut client = client.clone();
        let ready = std::future::poll_fn(|cx| Pin::new(&mut client).poll_ready(cx));
        ready.now_or_never().is_some()
    }

    #[tokio::test]
    async fn a_place_to_send_is_given_back_where_there_is_nothing_to_send_any_more() {
        // Nobody is there: nothing leaves the queue.
        let options = ConnectOptions::new().retry_on_initial_connect().client_capacity(PLACES);
        let client = options.connect("nats://127.0.0.1:1").await.unwrap();
        let mut taken: Vec<Client> = (0..PLACES).map(|_| client.clone()).collect();
        for one in &mut taken {
            std::future::poll_fn(|cx| Pin::new(&mut *one).poll_ready(cx)).await.unwrap();
        }
        assert!(!is_free(&client).await);

        let link = Arc::new(Link::server(1, 0, 1024, Arc::new(Pool::new(POOL))));
        let to = Subject::from("to");
        let mut stream = NatsStream::new(link.clone(), to, &client, Arc::default(), ());
        let mut cx = Context::from_waker(Waker::noop());
        let mut read = |stream: &mut NatsStream| {
            let mut memory = [0; 16];
            let polled = Pin::new(stream).poll_read(&mut cx, &mut ReadBuf::new(&mut memory));
            assert!(polled.is_pending());
        };
        link.check();
        read(&mut stream);
        assert!(stream.credit_waits);
        // It is told along with something else, and then there is a place.
        let _ = link.credit_head();
        taken.pop();
        assert!(!is_free(&client).await, "the place is not the stream's");
        read(&mut stream);
        assert!(is_free(&client).await);

        // The same for what is written: it may not send yet, and asks to.
        taken.push(client.clone());
        let last = taken.last_mut().unwrap();
        std::future::poll_fn(|cx| Pin::new(&mut *last).poll_ready(cx)).await.unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut stream).poll_write(&mut cx, b"bytes").is_pending());
        assert!(stream.bytes_waits);
        let _ = link.credit_head();
        taken.pop();
        assert!(!is_free(&client).await, "the place is not the stream's");
        assert!(Pin::new(&mut stream).poll_write(&mut cx, b"bytes").is_pending());
        assert!(is_free(&client).await);
    }
}
