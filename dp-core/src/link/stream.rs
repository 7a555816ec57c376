//! Frames from and to a stream of bytes.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;

use bytes::{Buf, Bytes};
use futures_core::Stream;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::codec::FramedRead;
use tokio_util::codec::length_delimited::{LengthDelimitedCodec, LengthDelimitedCodecError};

use super::Outbox;
use crate::error::io_reason;
use crate::wire::{Preamble, PreambleError, WireError, is_tls};

/// How many parts one vectored write names; more are of no use to the kernel.
const PARTS_AT_ONCE: usize = 64;

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

/// The frames that come in, each as its kind and body. A frame's length is checked before anything
/// of it is buffered.
#[derive(Debug)]
pub(crate) struct Frames<R> {
    framed: FramedRead<R, LengthDelimitedCodec>,
    setting: &'static str,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    /// `setting` is the name of the limit, for the error.
    pub(crate) fn new(read: R, limit: usize, setting: &'static str) -> Self {
        let framed = LengthDelimitedCodec::builder()
            .little_endian()
            .length_field_type::<u32>()
            .max_frame_length(limit)
            .new_read(read);
        Self { framed, setting }
    }

    /// Changes the limit for the frames to come.
    pub(crate) fn set_limit(&mut self, limit: usize, setting: &'static str) {
        self.framed.decoder_mut().set_max_frame_length(limit);
        self.setting = setting;
    }

    /// The next frame; `None` when the peer has closed the connection after a whole one.
    ///
    /// # Cancel safety
    /// What was read of a frame stays in the buffer.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, LinkError> {
        let next = poll_fn(|cx| Pin::new(&mut self.framed).poll_next(cx)).await;
        match next {
            None => Ok(None),
            Some(Ok(frame)) => Ok(Some(frame.freeze())),
            Some(Err(error)) => Err(self.error(error)),
        }
    }

    fn error(&self, error: io::Error) -> LinkError {
        let inner = error.get_ref();
        if inner.is_some_and(|inner| inner.is::<LengthDelimitedCodecError>()) {
            let limit = self.framed.decoder().max_frame_length();
            // The length that was refused still stands at the begin of the buffer.
            let head = self.framed.read_buffer().first_chunk();
            let size = head.map_or(u32::MAX, |head| u32::from_le_bytes(*head));
            return LinkError::FrameTooLong { size, limit, setting: self.setting };
        }
        // The framing's own words for an end in mid-frame.
        if error.kind() == io::ErrorKind::Other && error.to_string().contains("bytes remaining") {
            return LinkError::Io(io::ErrorKind::UnexpectedEof.into());
        }
        LinkError::Io(error)
    }
}

/// Writes what comes into `outbox` until it is closed or, finished, written to its end; then it ends
/// this direction of the connection. `written` is called after each write.
pub(crate) async fn write_frames<W: AsyncWrite + Unpin>(
    mut write: W,
    outbox: &Outbox,
    mut written: impl FnMut(),
) -> io::Result<()> {
    let mut parts = VecDeque::new();
    while outbox.take(&mut parts).await {
        while !parts.is_empty() {
            let mut slices = [IoSlice::new(&[]); PARTS_AT_ONCE];
            let mut count = 0;
            for (slice, part) in slices.iter_mut().zip(&parts) {
                *slice = IoSlice::new(part);
                count += 1;
            }
            let bytes = write.write_vectored(&slices[..count]).await?;
            if bytes == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            advance(&mut parts, bytes);
            outbox.handle_written(bytes);
            written();
        }
        write.flush().await?;
    }
    // Fails where the other side is gone already.
    let _ = write.shutdown().await;
    Ok(())
}

/// Drops the first `bytes` bytes of `parts`, and parts that are empty.
fn advance(parts: &mut VecDeque<Bytes>, mut bytes: usize) {
    while let Some(first) = parts.front_mut() {
        if first.len() > bytes {
            first.advance(bytes);
            return;
        }
        bytes -= first.len();
        parts.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_oversized_length_is_refused_before_anything_is_buffered() {
        let mut frames = Frames::new(&b"\xff\xff\xff\x7fabc"[..], 1024, "max_message");
        let error = frames.next().await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "peer sent a frame of 2147483647 bytes, the limit is 1024 (max_message)"
        );
        assert!(frames.framed.read_buffer().capacity() < 64 << 10);
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
