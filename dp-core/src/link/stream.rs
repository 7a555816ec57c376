//! Frames from and to a stream of bytes.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::mem;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::task::yield_now;

use super::outbox::{Outbox, Turn};
use crate::error::io_reason;
use crate::memory;
use crate::wire::{Preamble, PreambleError, WireError, is_tls};

/// How many bytes the length before a frame has.
const LENGTH: usize = size_of::<u32>();

/// How a connection ends, other than by the peer closing it between two frames.
#[derive(Debug, Error)]
pub(crate) enum LinkError {
    #[error("{}", io_reason(.0))]
    Io(#[from] io::Error),
    #[error(transparent)]
    Preamble(#[from] PreambleError),
    #[error("peer sent a frame of {size} bytes, the limit is {limit} ({setting})")]
    FrameTooLong { size: u32, limit: usize, setting: &'static str },
    #[error("peer broke the protocol: {0}")]
    Wire(#[from] WireError),
}

/// Reads the other side's preamble.
pub(crate) async fn read_preamble<R: AsyncRead + Unpin>(read: &mut R) -> Result<(), LinkError> {
    Preamble::parse(read_first(read).await?)?;
    Ok(())
}

/// Reads as many bytes as a preamble has.
pub(crate) async fn read_first<R: AsyncRead + Unpin>(
    read: &mut R,
) -> Result<[u8; Preamble::LENGTH], LinkError> {
    let mut bytes = [0; Preamble::LENGTH];
    let mut filled = 0;
    while filled < bytes.len() {
        match read.read(&mut bytes[filled..]).await? {
            // An alert of TLS is shorter than a preamble.
            0 if is_tls(&bytes[..filled]) => return Err(PreambleError::Tls.into()),
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            count => filled += count,
        }
    }
    Ok(bytes)
}

/// What is read goes here first: as large as the parts of a burst of small frames that are worth
/// reading at once. One for each thread, not for each connection, of which thousands are idle.
const SCRATCH: usize = 64 << 10;

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into());
}

/// The frames that come in, each as its kind and body. A frame's length is checked before anything
/// of it is buffered.
#[derive(Debug)]
pub(crate) struct Frames<R> {
    read: R,
    /// What has come of frames that were not handed over yet. It has no memory of its own where nothing
    /// is under way.
    buffer: BytesMut,
    limit: usize,
    setting: &'static str,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    /// `setting` is the name of the limit, for the error.
    pub(crate) fn new(read: R, limit: usize, setting: &'static str) -> Self {
        Self { read, buffer: BytesMut::new(), limit, setting }
    }

    /// Changes the limit for the frames to come.
    pub(crate) fn set_limit(&mut self, limit: usize, setting: &'static str) {
        self.limit = limit;
        self.setting = setting;
    }

    /// Whether the next frame has come already.
    pub(crate) fn has_next(&self) -> bool {
        self.next_length().is_some_and(|length| self.buffer.len() - LENGTH >= length as usize)
    }

    /// The next frame; `None` when the peer has closed the connection after a whole one.
    ///
    /// # Cancel safety
    /// What was read of a frame stays in the buffer.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, LinkError> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(Some(frame));
            }
            if poll_fn(|cx| self.poll_fill(cx)).await? == 0 {
                return match self.buffer.is_empty() {
                    true => Ok(None),
                    false => Err(LinkError::Io(io::ErrorKind::UnexpectedEof.into())),
                };
            }
        }
    }

    /// Reads on to the end, or so many bytes, and keeps nothing of it.
    pub(crate) async fn drain(&mut self, most: u64) {
        self.buffer = BytesMut::new();
        let mut left = most;
        while left > 0 {
            let read = poll_fn(|cx| {
                READ.with_borrow_mut(|scratch| {
                    let mut read = ReadBuf::new(scratch);
                    ready!(Pin::new(&mut self.read).poll_read(cx, &mut read))?;
                    Poll::Ready(io::Result::Ok(read.filled().len()))
                })
            });
            match read.await {
                Ok(read) if read > 0 => left = left.saturating_sub(read as u64),
                _ => return,
            }
        }
    }

    fn next_length(&self) -> Option<u32> {
        self.buffer.first_chunk().map(|head| u32::from_le_bytes(*head))
    }

    /// Takes the next frame if it has come as a whole; otherwise makes room for it.
    fn take(&mut self) -> Result<Option<Bytes>, LinkError> {
        let Some(size) = self.next_length() else { return Ok(None) };
        let (limit, setting) = (self.limit, self.setting);
        let length = usize::try_from(size).ok().filter(|length| *length <= limit);
        let length = length.ok_or(LinkError::FrameTooLong { size, limit, setting })?;
        if self.buffer.len() < LENGTH + length {
            memory::expect(length);
            self.buffer.reserve(LENGTH + length - self.buffer.len());
            return Ok(None);
        }
        // The last one gets the memory as its own, so that a block that fills it can become the
        // user's value as it is.
        let mut frame = match self.buffer.len() == LENGTH + length {
            true => mem::take(&mut self.buffer),
            false => self.buffer.split_to(LENGTH + length),
        };
        frame.advance(LENGTH);
        Ok(Some(frame.freeze()))
    }

    /// Reads what is there, once. How many bytes; 0 at the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.buffer.len() >= LENGTH {
            // There is room for the rest of this frame: no detour for what is long.
            return pin!(self.read.read_buf(&mut self.buffer)).poll(cx);
        }
        READ.with_borrow_mut(|scratch| {
            let mut read = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.read).poll_read(cx, &mut read))?;
            self.put(read.filled());
            Poll::Ready(Ok(read.filled().len()))
        })
    }

    fn put(&mut self, bytes: &[u8]) {
        if self.buffer.is_empty() {
            // No more than what is there: where a long frame begins, `take` makes room for it.
            self.buffer = BytesMut::with_capacity(bytes.len());
        }
        self.buffer.extend_from_slice(bytes);
    }
}

/// Writes what comes into `outbox` until it is closed or, finished, written to its end; then it ends
/// this direction of the connection. `written` is called after each write.
///
/// Meanwhile those who send may write themselves, see [`Outbox::write_now`].
pub(crate) async fn write_frames(
    write: impl AsyncWrite + Send + Unpin + 'static,
    outbox: &Outbox,
    written: impl Fn() + Send + 'static,
) -> io::Result<()> {
    let _writing = outbox.begin_writing(write, written);
    loop {
        match poll_fn(|cx| outbox.poll_write(cx)).await? {
            Turn::Done => outbox.pushed().await,
            Turn::More => yield_now().await,
            Turn::Over => break,
        }
    }
    // Fails where the other side is gone already.
    let _ = poll_fn(|cx| outbox.poll_shutdown(cx)).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn an_oversized_length_is_refused_before_anything_is_buffered() {
        let mut frames = Frames::new(&b"\xff\xff\xff\x7fabc"[..], 1024, "max_message");
        let error = frames.next().await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "peer sent a frame of 2147483647 bytes, the limit is 1024 (max_message)"
        );
        assert!(frames.buffer.capacity() < 64 << 10);
    }

    #[tokio::test]
    async fn an_end_in_mid_frame_is_an_error_and_between_frames_is_none() {
        let mut frames = Frames::new(&b"\x02\0\0\0ab"[..], 1024, "max_message");
        assert_eq!(frames.next().await.unwrap().unwrap(), &b"ab"[..]);
        assert!(frames.next().await.unwrap().is_none());
        let mut frames = Frames::new(&b"\x09\0\0\0ab"[..], 1024, "max_message");
        let error = frames.next().await.unwrap_err();
        assert_eq!(error.to_string(), "connection closed in mid-message");
    }

    #[tokio::test]
    async fn frames_come_whole_however_they_are_cut_and_leave_no_memory_behind() {
        let lengths = [0, 1, 3, 4, 5, 1_000, SCRATCH - 4, SCRATCH, SCRATCH + 1, 300_000, 7];
        for pipe in [1, 3, 1_000, SCRATCH, 1 << 20] {
            let (read, mut write) = tokio::io::duplex(pipe);
            let writer = tokio::spawn(async move {
                for (n, length) in lengths.into_iter().enumerate() {
                    write.write_all(&(length as u32).to_le_bytes()).await.unwrap();
                    write.write_all(&vec![n as u8; length]).await.unwrap();
                }
            });
            let mut frames = Frames::new(read, 300_000, "max_message");
            for (n, length) in lengths.into_iter().enumerate() {
                let frame = frames.next().await.unwrap().unwrap();
                assert!(frame.len() == length && frame.iter().all(|byte| *byte == n as u8));
            }
            assert!(!frames.has_next());
            assert_eq!(frames.buffer.capacity(), 0);
            assert!(frames.next().await.unwrap().is_none());
            writer.await.unwrap();
        }
    }

    #[tokio::test]
    async fn parts_are_written_in_order_through_short_writes() {
        let outbox = Outbox::new(1 << 20);
        let parts: Vec<Bytes> = (0..200_u8).map(|n| Bytes::from(vec![n; n.into()])).collect();
        outbox.push(parts.iter().cloned());
        let (mut read, write) = tokio::io::duplex(7);
        let writer = write_frames(write, &outbox, || ());
        let total: usize = parts.iter().map(Bytes::len).sum();
        let mut got = vec![0; total];
        tokio::select! {
            result = writer => panic!("the writer ended: {result:?}"),
            result = read.read_exact(&mut got) => { result.unwrap(); }
        }
        assert_eq!(got, parts.concat());
    }
}
