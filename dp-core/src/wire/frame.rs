//! The preamble and the frame: length, kind, body.

use bytes::{Buf, Bytes};
use thiserror::Error;

use super::{FRAME_HEAD, PROTOCOL_VERSION};
use crate::codec::{self, Encoded};
use crate::memory;

/// Eight bytes that both sides send first, so that a stranger is known by its first bytes, and an
/// older or newer dp by its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Preamble {
    pub(crate) version: u16,
    pub(crate) codec: u8,
}

/// Not a byte that a text protocol starts with, then the name.
const MAGIC: [u8; 4] = *b"\xd5dp\n";

/// Why a connection's first bytes are not a preamble that this side can talk to.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum PreambleError {
    #[error("peer does not speak dp: it sent {start}")]
    NotDp { start: String },
    #[error(
        "peer speaks version {theirs} of the protocol, this side version {ours}: build both \
             programs with the same version of dp"
    )]
    Version { theirs: u16, ours: u16 },
    #[error("peer encodes values in a way unknown here ({codec})")]
    Codec { codec: u8 },
    #[error(
        "peer asks for a token, this side has none: give both the same (--token-file or DP_TOKEN)"
    )]
    Token,
    #[error(
        "peer speaks TLS, this side does not: give the server --tls-cert and --tls-key, and the \
         client --tls-ca"
    )]
    Tls,
}

/// What a side that has a token sends first, so that one that has none is told by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenPreamble {
    /// Of this version.
    Ours,
    /// Of another one.
    Version(u16),
    /// It is none.
    None,
}

const TOKEN_MAGIC: [u8; 4] = *b"\xd5dpt";
const TOKEN_VERSION: u16 = 1;

impl TokenPreamble {
    pub(crate) fn parse(bytes: [u8; Preamble::LENGTH]) -> Self {
        let [m0, m1, m2, m3, v0, v1, _, _] = bytes;
        match u16::from_le_bytes([v0, v1]) {
            _ if [m0, m1, m2, m3] != TOKEN_MAGIC => Self::None,
            TOKEN_VERSION => Self::Ours,
            version => Self::Version(version),
        }
    }

    #[cfg(any(feature = "net", test))]
    pub(crate) fn bytes() -> [u8; Preamble::LENGTH] {
        let [m0, m1, m2, m3] = TOKEN_MAGIC;
        let [v0, v1] = TOKEN_VERSION.to_le_bytes();
        [m0, m1, m2, m3, v0, v1, 0, 0]
    }
}

impl Preamble {
    pub(crate) const LENGTH: usize = 8;

    pub(crate) fn ours() -> Self {
        Self { version: PROTOCOL_VERSION, codec: codec::CODEC_ID }
    }

    pub(crate) fn to_bytes(self) -> [u8; Self::LENGTH] {
        let [m0, m1, m2, m3] = MAGIC;
        let [v0, v1] = self.version.to_le_bytes();
        [m0, m1, m2, m3, v0, v1, self.codec, 0]
    }

    pub(crate) fn parse(bytes: [u8; Self::LENGTH]) -> Result<Self, PreambleError> {
        let [m0, m1, m2, m3, v0, v1, codec, _reserved] = bytes;
        if TokenPreamble::parse(bytes) != TokenPreamble::None {
            return Err(PreambleError::Token);
        }
        if is_tls(&bytes) {
            return Err(PreambleError::Tls);
        }
        if [m0, m1, m2, m3] != MAGIC {
            let start = format!("\"{}\"", bytes.escape_ascii());
            return Err(PreambleError::NotDp { start });
        }
        let theirs = Self { version: u16::from_le_bytes([v0, v1]), codec };
        let ours = Self::ours();
        if theirs.version != ours.version {
            let (theirs, ours) = (theirs.version, ours.version);
            return Err(PreambleError::Version { theirs, ours });
        }
        if theirs.codec != ours.codec {
            return Err(PreambleError::Codec { codec });
        }
        Ok(theirs)
    }
}

#[cfg(feature = "net")]
impl Preamble {
    /// Whether these are the first bytes of a dp, of whatever version.
    pub(crate) fn is_dp(bytes: [u8; Self::LENGTH]) -> bool {
        bytes.starts_with(&MAGIC)
    }

    /// What there is to say of first bytes that are none of a dp's.
    pub(crate) fn stranger(bytes: [u8; Self::LENGTH]) -> String {
        Self::parse(bytes).err().map_or_else(String::new, |error| error.to_string())
    }
}

/// Whether this is the begin of a TLS handshake, or of a TLS alert.
pub(crate) fn is_tls(bytes: &[u8]) -> bool {
    matches!(bytes, [0x15 | 0x16, 0x03, ..])
}

/// A frame whose body is written by `body`.
pub(crate) fn frame_with(kind: u8, body: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut buffer = Vec::with_capacity(HEADS);
    append_frame(&mut buffer, kind, body);
    buffer.into()
}

/// The same, behind what is in `buffer`.
pub(crate) fn append_frame(buffer: &mut Vec<u8>, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let start = buffer.len();
    buffer.extend([0, 0, 0, 0, kind]);
    body(buffer);
    seal(&mut buffer[start..], 0);
}

/// Room for most heads.
const HEADS: usize = 64;
/// Up to this length, what is behind a head is cheaper copied than written as a part of its own.
const SMALL: usize = 1 << 10;

/// A frame of a head, and of the bytes behind it, which are shared and not copied unless they are few.
pub(crate) fn frame(kind: u8, head: impl FnOnce(&mut Vec<u8>), behind: Encoded) -> [Bytes; 2] {
    let Encoded { start, block } = behind;
    let (copied, shared) = match block.is_empty() && start.len() > SMALL {
        true => (Bytes::new(), start),
        false => (start, block),
    };
    memory::expect(shared.len());
    let mut buffer = Vec::with_capacity(HEADS + copied.len());
    buffer.extend([0, 0, 0, 0, kind]);
    head(&mut buffer);
    buffer.extend_from_slice(&copied);
    seal(&mut buffer, shared.len());
    [buffer.into(), shared]
}

/// Fills in the length, which counts the kind and the body, of which `behind` bytes are elsewhere.
fn seal(frame: &mut [u8], behind: usize) {
    let length = frame.len() - (FRAME_HEAD - 1) + behind;
    // Whoever sends has checked against the other side's limit, which is at most `u32::MAX`.
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    frame[..FRAME_HEAD - 1].copy_from_slice(&length.to_le_bytes());
}

/// Splits what the length announced into kind and body.
pub(crate) fn split_kind(mut frame: Bytes) -> Option<(u8, Bytes)> {
    let kind = *frame.first()?;
    // In place: another handle of the same memory would cost an allocation.
    frame.advance(1);
    Some((kind, frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preamble_comes_back_as_it_was() {
        assert_eq!(Preamble::parse(Preamble::ours().to_bytes()), Ok(Preamble::ours()));
    }

    #[test]
    fn a_stranger_is_told_by_its_first_bytes() {
        let error = Preamble::parse(*b"GET / HT").unwrap_err();
        assert_eq!(error.to_string(), "peer does not speak dp: it sent \"GET / HT\"");
    }

    #[test]
    fn another_version_is_named_with_the_remedy() {
        let mut bytes = Preamble::ours().to_bytes();
        bytes[4] = 9;
        let error = Preamble::parse(bytes).unwrap_err();
        assert!(matches!(error, PreambleError::Version { theirs: 9, ours: 1 }), "{error}");
    }

    #[test]
    fn who_speaks_tls_or_has_a_token_is_named_with_the_remedy() {
        let error = Preamble::parse(*b"\x16\x03\x01\x02\x00\x01\x00\x01").unwrap_err();
        assert!(error.to_string().contains("--tls-ca"), "{error}");
        let error = Preamble::parse(TokenPreamble::bytes()).unwrap_err();
        assert!(error.to_string().contains("DP_TOKEN"), "{error}");
    }

    #[test]
    fn a_frame_counts_its_kind_and_both_parts_of_its_body() {
        let behind = Bytes::from_static(&[1; SMALL + 1]);
        let [head, shared] = frame(7, |head| head.extend(b"ab"), behind.clone().into());
        assert_eq!(&head[..], b"\x04\x04\0\0\x07ab");
        assert_eq!(shared, behind);
        let [whole, none] = frame(7, |head| head.extend(b"ab"), Bytes::from_static(b"cde").into());
        assert_eq!(&whole[..], b"\x06\0\0\0\x07abcde");
        assert!(none.is_empty());
        let encoded = Encoded { start: Bytes::from_static(b"c"), block: behind.clone() };
        let [head, shared] = frame(7, |head| head.extend(b"ab"), encoded);
        assert_eq!(&head[..], b"\x05\x04\0\0\x07abc");
        assert_eq!(shared.as_ptr(), behind.as_ptr());
        assert_eq!(&frame_with(7, |body| body.push(1))[..], b"\x02\0\0\0\x07\x01");
    }
}
