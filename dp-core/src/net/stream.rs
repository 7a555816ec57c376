//! A connection with or without TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;

/// A connection behind the gate.
#[derive(Debug)]
pub enum Secured<S> {
    /// As it came.
    Plain(S),
    /// In TLS.
    Tls(Box<TlsStream<S>>),
}

impl<S> Secured<S> {
    /// Bytes that both sides of a TLS connection have, and nobody between them: a proof that has
    /// them in it is of no use on another connection. Empty without TLS.
    pub(super) fn binding(&self) -> Vec<u8> {
        const LABEL: &[u8] = b"EXPORTER-dp-token";
        let exported = match self {
            Self::Plain(_) => return Vec::new(),
            Self::Tls(stream) => match &**stream {
                TlsStream::Client(stream) => {
                    stream.get_ref().1.export_keying_material([0_u8; 32], LABEL, None)
                }
                TlsStream::Server(stream) => {
                    stream.get_ref().1.export_keying_material([0_u8; 32], LABEL, None)
                }
            },
        };
        // The handshake is over, so there is keying material.
        exported.map(Vec::from).unwrap_or_default()
    }
}

/// The stream itself, whichever it is.
macro_rules! whichever {
    ($secured:expr, $stream:ident => $do:expr) => {
        match $secured.get_mut() {
            Secured::Plain(stream) => {
                let $stream = Pin::new(stream);
                $do
            }
            Secured::Tls(stream) => {
                let $stream = Pin::new(&mut **stream);
                $do
            }
        }
    };
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Secured<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        whichever!(self, stream => stream.poll_read(cx, buffer))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Secured<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        whichever!(self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        whichever!(self, stream => stream.poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        whichever!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        whichever!(self, stream => stream.poll_shutdown(cx))
    }
}
