//! A network in memory: connections with latency and little room, which can be cut in every way.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::below;
use crate::sync::lock;

/// So many bytes are under way in one direction: little, so that writers wait.
const ROOM: usize = 4 << 10;

/// How a connection is disturbed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    /// Both sides see it end; what is under way arrives up to somewhere.
    Close,
    /// Both sides see it break at once; what is under way is gone.
    Reset,
    /// Nothing arrives any more, in one direction or in both, and nobody is told.
    Silence { to_server: bool, to_client: bool },
    /// Nothing arrives for this long; then all of it does.
    Delay(Duration),
}

/// One connection, as whoever disturbs it holds it.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    to_server: Arc<Mutex<Pipe>>,
    to_client: Arc<Mutex<Pipe>>,
}

/// One end of a connection.
#[derive(Debug)]
pub(super) struct Stream {
    read: Arc<Mutex<Pipe>>,
    write: Arc<Mutex<Pipe>>,
    arrival: Option<Pin<Box<Sleep>>>,
}

/// One direction.
#[derive(Debug)]
struct Pipe {
    /// What is under way, and when it arrives.
    chunks: VecDeque<(Instant, Bytes)>,
    bytes: usize,
    latency: Duration,
    /// Nothing arrives before.
    frozen: Option<Frozen>,
    end: Option<End>,
    nobody_reads: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Debug, Clone, Copy)]
enum Frozen {
    Until(Instant),
    ForEver,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Closed,
    Reset,
}

impl Pipe {
    fn new(latency: Duration) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            chunks: VecDeque::new(),
            bytes: 0,
            latency,
            frozen: None,
            end: None,
            nobody_reads: false,
            reader: None,
            writer: None,
        }))
    }

    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }

    fn disturb(&mut self, fault: Fault, silenced: bool) {
        match fault {
            Fault::Close => {
                let kept = below(self.chunks.len() as u64 + 1) as usize;
                self.chunks.truncate(kept);
                if let Some((_, last)) = self.chunks.back_mut() {
                    last.truncate(1 + below(last.len() as u64) as usize);
                }
                self.end.get_or_insert(End::Closed);
                self.nobody_reads = true;
            }
            Fault::Reset => {
                self.chunks.clear();
                self.end = Some(End::Reset);
                self.nobody_reads = true;
            }
            Fault::Silence { .. } if silenced => self.frozen = Some(Frozen::ForEver),
            Fault::Silence { .. } => {}
            Fault::Delay(_) if matches!(self.frozen, Some(Frozen::ForEver)) => {}
            Fault::Delay(delay) => self.frozen = Some(Frozen::Until(Instant::now() + delay)),
        }
        self.wake();
    }

    /// When the next bytes arrive: `Ok(None)` when nobody knows yet.
    fn next_arrival(&mut self, now: Instant) -> io::Result<Option<Instant>> {
        match self.frozen {
            Some(Frozen::ForEver) => return Ok(None),
            Some(Frozen::Until(at)) if at > now => return Ok(Some(at)),
            Some(Frozen::Until(_)) | None => self.frozen = None,
        }
        if matches!(self.end, Some(End::Reset)) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let closed = self.end.is_some().then_some(now);
        Ok(self.chunks.front().map(|(at, _)| *at).or(closed))
    }
}

impl Wire {
    /// A connection: its server's end, and its client's.
    pub(super) fn connect() -> (Self, Stream, Stream) {
        let latency = Duration::from_micros(50 + below(5_000));
        let (to_server, to_client) = (Pipe::new(latency), Pipe::new(latency));
        let end = |read: &Arc<Mutex<Pipe>>, write: &Arc<Mutex<Pipe>>| Stream {
            read: read.clone(),
            write: write.clone(),
            arrival: None,
        };
        let (server, client) = (end(&to_server, &to_client), end(&to_client, &to_server));
        (Self { to_server, to_client }, server, client)
    }

    pub(super) fn disturb(&self, fault: Fault) {
        let (up, down) = match fault {
            Fault::Silence { to_server, to_client } => (to_server, to_client),
            _ => (true, true),
        };
        lock(&self.to_server).disturb(fault, up);
        lock(&self.to_client).disturb(fault, down);
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let (now, pipe) = (Instant::now(), self.read.clone());
            let mut pipe = lock(&pipe);
            let arrival = pipe.next_arrival(now)?;
            if let Some(at) = arrival
                && at <= now
            {
                let Some((_, chunk)) = pipe.chunks.front_mut() else { return Poll::Ready(Ok(())) };
                let most = chunk.len().min(buffer.remaining());
                let bytes = 1 + below(most as u64) as usize;
                buffer.put_slice(&chunk.split_to(bytes));
                if !chunk.has_remaining() {
                    pipe.chunks.pop_front();
                }
                pipe.bytes = pipe.bytes.saturating_sub(bytes);
                pipe.writer.take().into_iter().for_each(Waker::wake);
                return Poll::Ready(Ok(()));
            }
            pipe.reader = Some(cx.waker().clone());
            let Some(at) = arrival else { return Poll::Pending };
            drop(pipe);
            let mut sleep = Box::pin(sleep_until(at));
            let over = sleep.as_mut().poll(cx).is_ready();
            self.arrival = Some(sleep);
            if !over {
                return Poll::Pending;
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut pipe = lock(&self.write);
        if pipe.frozen.is_none() && pipe.nobody_reads {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if pipe.end.is_some() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let room = ROOM.saturating_sub(pipe.bytes).min(bytes.len());
        if room == 0 {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let written = if below(4) == 0 { 1 + below(room as u64) as usize } else { room };
        let at = Instant::now() + pipe.latency + Duration::from_micros(below(1_000));
        let at = pipe.chunks.back().map_or(at, |(last, _)| at.max(*last));
        pipe.chunks.push_back((at, Bytes::copy_from_slice(&bytes[..written])));
        pipe.bytes += written;
        pipe.reader.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = lock(&self.write);
        pipe.end.get_or_insert(End::Closed);
        pipe.wake();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let unread = {
            let mut read = lock(&self.read);
            read.nobody_reads = true;
            read.wake();
            !read.chunks.is_empty()
        };
        let mut write = lock(&self.write);
        if unread {
            // As with TCP: the other side may never see what it was sent last.
            write.chunks.clear();
            write.end = Some(End::Reset);
        }
        write.end.get_or_insert(End::Closed);
        write.wake();
    }
}
