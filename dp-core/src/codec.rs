//! Values ↔ bytes. The only file that names bincode.
//!
//! The protocol's own messages are written by bincode's serializer. Values of the user's types take
//! [`write`] and [`read`], which give the same bytes, and refuse what bincode would read as another
//! value: fields and variants that serde's attributes write and do not read, or the other way round.
//! Whether a type is of that kind is found out by reading what was written, beside its shape, once
//! for each struct and each variant; see [`check`].
//!
//! bincode 2 in its standard configuration, little endian, integers of variable length. A `u8`
//! is one byte there, so that a `Vec<u8>` and a block of bytes look the same on the wire; the block
//! is a thousand times cheaper, and [`encode_value`] and [`Decoder::value`] take it wherever the
//! type is `Vec<u8>` or `Bytes`.

#[cfg(test)]
mod attributes;
mod check;
mod fault;
mod known;
mod read;
mod shape;
#[cfg(test)]
mod tests;
mod write;

use std::any::Any;
use std::cell::Cell;
use std::mem;

use bincode::config::{Config, Configuration, standard};
use bincode::de::read::{BorrowReader, Reader};
use bincode::de::{BorrowDecode, Decode, Decoder as _, DecoderImpl};
use bincode::enc::write::Writer;
use bincode::enc::{Encode, Encoder as _, EncoderImpl};
use bincode::error::{DecodeError, EncodeError};
use bytes::{Buf, Bytes};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::caught;
pub(crate) use check::check_round_trips;
use fault::Fault;
use read::Source;

/// What the handshake names this encoding.
pub(crate) const CODEC_ID: u8 = 1;

/// Without a limit, a forged length in a message of a few bytes makes the decoder allocate it, and
/// a failed allocation ends the process. bincode counts what values occupy, which is up to 16 times
/// what they take in a message (a `u128` of one byte), and its limit is a constant: so there are
/// three, for messages of up to 64 KiB, of up to 4 MiB, and for those above.
const SMALL: usize = 64 << 10;
const SMALL_LIMIT: usize = 16 * SMALL;
const MEDIUM: usize = 4 << 20;
const MEDIUM_LIMIT: usize = 16 * MEDIUM;
const LARGE_LIMIT: usize = u32::MAX as usize;

const ENCODE: Configuration = standard();

/// Why a value can't be encoded or decoded, as text.
pub(crate) type CodecError = String;

/// Where bincode writes to.
struct Append<'a>(&'a mut Vec<u8>);

impl Writer for Append<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// bincode's encoder.
type Put<'a> = EncoderImpl<Append<'a>, Configuration>;

fn put<T: Encode + ?Sized>(value: &T, to: &mut Put<'_>) -> Result<(), Fault> {
    value.encode(to).map_err(|error| Fault(encode_text(error)))
}

/// What it has written so far.
fn written<'p>(put: &'p mut Put<'_>) -> &'p mut Vec<u8> {
    put.writer().0
}

/// Where bincode reads from: what is left.
struct Rest<'de>(&'de [u8]);

impl Reader for Rest<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> Result<(), DecodeError> {
        let taken = self.take_bytes(bytes.len())?;
        bytes.copy_from_slice(taken);
        Ok(())
    }

    fn peek_read(&mut self, count: usize) -> Option<&[u8]> {
        self.0.get(..count)
    }

    fn consume(&mut self, count: usize) {
        self.0 = self.0.get(count..).unwrap_or_default();
    }
}

impl<'de> BorrowReader<'de> for Rest<'de> {
    fn take_bytes(&mut self, length: usize) -> Result<&'de [u8], DecodeError> {
        let Some((taken, rest)) = self.0.split_at_checked(length) else {
            return Err(DecodeError::UnexpectedEnd { additional: length - self.0.len() });
        };
        self.0 = rest;
        Ok(taken)
    }
}

/// bincode's decoder.
type Take<'de, C> = DecoderImpl<Rest<'de>, C, ()>;

fn take<T: Decode<()>, C: Config>(from: &mut Take<'_, C>) -> Result<T, Fault> {
    T::decode(from).map_err(|error| Fault(decode_text(error)))
}

fn take_borrowed<'de, T: BorrowDecode<'de, ()>, C: Config>(
    from: &mut Take<'de, C>,
) -> Result<T, Fault> {
    T::borrow_decode(from).map_err(|error| Fault(decode_text(error)))
}

/// How many bytes have not been taken.
fn left<C: Config>(from: &mut Take<'_, C>) -> usize {
    from.reader().0.len()
}

fn encode_text(error: EncodeError) -> String {
    match error {
        EncodeError::OtherString(text) => text,
        EncodeError::Other(text) => text.to_owned(),
        error => error.to_string(),
    }
}

fn decode_text(error: DecodeError) -> String {
    match error {
        DecodeError::OtherString(text) => text,
        DecodeError::Other(text) => text.to_owned(),
        DecodeError::UnexpectedEnd { additional } => {
            format!("the bytes end too early, by {additional} at least")
        }
        DecodeError::LimitExceeded => {
            "it would take far more memory than the message it is in".to_owned()
        }
        DecodeError::Utf8 { inner } => format!("a text is no UTF-8: {inner}"),
        DecodeError::InvalidBooleanValue(byte) => format!("a bool is 0 or 1, and here is {byte}"),
        error => error.to_string(),
    }
}

/// Appends `value` to `buffer`.
pub(crate) fn encode<T: Serialize + ?Sized>(
    value: &T,
    buffer: &mut Vec<u8>,
) -> Result<(), CodecError> {
    bincode::serde::encode_into_writer(value, Append(buffer), ENCODE).map_err(encode_text)
}

/// Appends a block of bytes: its length, then the bytes as they are.
pub(crate) fn encode_bytes(bytes: &[u8], buffer: &mut Vec<u8>) -> Result<(), CodecError> {
    buffer.reserve(bytes.len() + 9);
    encode(serde_bytes::Bytes::new(bytes), buffer)
}

/// Appends `value`; as one block where `T` is `Vec<u8>` or `Bytes`.
pub(crate) fn encode_value<T: Serialize + DeserializeOwned + 'static>(
    value: &T,
    buffer: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let any: &dyn Any = value;
    if let Some(bytes) = any.downcast_ref::<Vec<u8>>() {
        encode_bytes(bytes, buffer)
    } else if let Some(bytes) = any.downcast_ref::<Bytes>() {
        encode_bytes(bytes, buffer)
    } else {
        check::encode::<T, T>(value, buffer)
    }
}

/// Appends what is decoded as a `Vec<T>`.
pub(crate) fn encode_slice<T: Serialize + DeserializeOwned + 'static>(
    values: &[T],
    buffer: &mut Vec<u8>,
) -> Result<(), CodecError> {
    check::encode::<[T], Vec<T>>(values, buffer)
}

/// Up to this length an encoded value is copied to memory of just its length.
const COPIED: usize = 4 << 10;

thread_local! {
    /// Where values are encoded: most are far shorter than the memory that growing buffers would take.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Encoded values: `start`, and behind it `block`, which is the last one's own memory where that is a
/// long block of bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Encoded {
    pub(crate) start: Bytes,
    pub(crate) block: Bytes,
}

impl Encoded {
    pub(crate) fn len(&self) -> usize {
        self.start.len() + self.block.len()
    }

    /// All of it, in one.
    pub(crate) fn into_bytes(self) -> Bytes {
        match self.block.is_empty() {
            true => self.start,
            false => [self.start, self.block].concat().into(),
        }
    }
}

impl From<Bytes> for Encoded {
    fn from(start: Bytes) -> Self {
        Self { start, block: Bytes::new() }
    }
}

/// The value itself, if it is a block of bytes that is cheaper kept than copied.
///
/// `Bytes` that others share are copied: what happens when the last handle of them is dropped may be the
/// user's code (`Bytes::from_owner`), which has no place where a connection is written to.
pub(crate) fn as_block<T: 'static>(value: T) -> Result<Bytes, T> {
    let mut slot = Some(value);
    let any: &mut dyn Any = &mut slot;
    let block = if let Some(bytes) = any.downcast_mut::<Option<Vec<u8>>>() {
        bytes.take_if(|bytes| bytes.len() > COPIED).map(Bytes::from)
    } else if let Some(bytes) = any.downcast_mut::<Option<Bytes>>() {
        bytes.take_if(|bytes| bytes.len() > COPIED && bytes.is_unique())
    } else {
        None
    };
    match (block, slot) {
        (None, Some(value)) => Err(value),
        (block, _) => Ok(block.unwrap_or_default()),
    }
}

/// What stands before a block of so many bytes.
pub(crate) fn encode_length(length: usize, buffer: &mut Vec<u8>) -> Result<(), CodecError> {
    encode(&(length as u64), buffer)
}

/// A value, encoded.
pub(crate) fn encoded<T: Serialize + DeserializeOwned + 'static>(
    value: T,
) -> Result<Encoded, CodecError> {
    // Taken, and not borrowed: a value may encode others in order to encode itself.
    let mut buffer = SCRATCH.take();
    buffer.clear();
    let block = match as_block(value) {
        Ok(block) => {
            encode_length(block.len(), &mut buffer)?;
            block
        }
        Err(value) => {
            encode_value(&value, &mut buffer)?;
            Bytes::new()
        }
    };
    if buffer.len() > COPIED {
        return Ok(Encoded { start: buffer.into(), block });
    }
    let start = Bytes::copy_from_slice(&buffer);
    SCRATCH.set(buffer);
    Ok(Encoded { start, block })
}

/// The value at the front, and how many bytes are behind it.
fn read_from<T: DeserializeOwned>(
    bytes: &[u8],
    config: impl Config,
) -> Result<(T, usize), CodecError> {
    let mut source = Source::new(Take::new(Rest(bytes), config, ()), None);
    let value = caught(|| source.read())
        .map_err(|text| format!("its `Deserialize` panicked: {text}"))?
        .map_err(|fault| fault.0)?;
    Ok((value, source.left()))
}

/// Takes values one after another from the front of a message.
#[derive(Debug)]
pub(crate) struct Decoder(Bytes);

impl Decoder {
    pub(crate) fn new(message: Bytes) -> Self {
        Self(message)
    }

    /// Takes a value of the protocol's own.
    pub(crate) fn take<T: DeserializeOwned>(&mut self) -> Result<T, CodecError> {
        let (value, used) = if self.0.len() <= SMALL {
            bincode::serde::decode_from_slice(&self.0, ENCODE.with_limit::<SMALL_LIMIT>())
        } else if self.0.len() <= MEDIUM {
            bincode::serde::decode_from_slice(&self.0, ENCODE.with_limit::<MEDIUM_LIMIT>())
        } else {
            bincode::serde::decode_from_slice(&self.0, ENCODE.with_limit::<LARGE_LIMIT>())
        }
        .map_err(decode_text)?;
        self.skip(used);
        Ok(value)
    }

    /// Takes a value of a type of the user's.
    fn read<T: DeserializeOwned>(&mut self) -> Result<T, CodecError> {
        let (value, left) = if self.0.len() <= SMALL {
            read_from(&self.0, ENCODE.with_limit::<SMALL_LIMIT>())
        } else if self.0.len() <= MEDIUM {
            read_from(&self.0, ENCODE.with_limit::<MEDIUM_LIMIT>())
        } else {
            read_from(&self.0, ENCODE.with_limit::<LARGE_LIMIT>())
        }?;
        self.skip(self.0.len() - left);
        Ok(value)
    }

    /// Takes a block of bytes, without copying it.
    pub(crate) fn bytes(&mut self) -> Result<Bytes, CodecError> {
        let length: u64 = self.take()?;
        match usize::try_from(length) {
            // The only handle of its memory, if this was: then it becomes a `Vec` without another.
            Ok(length) if length == self.0.len() => Ok(mem::take(&mut self.0)),
            Ok(length) if length < self.0.len() => Ok(self.0.split_to(length)),
            _ => Err(format!("a block of {length} bytes in {} bytes", self.0.len())),
        }
    }

    /// Takes a value; a `Vec<u8>` or `Bytes` as one block.
    pub(crate) fn value<T: DeserializeOwned + 'static>(&mut self) -> Result<T, CodecError> {
        // `Option<T>` is the slot that a downcast can fill without knowing that `T` is `Vec<u8>`.
        let mut slot: Option<T> = None;
        let any: &mut dyn Any = &mut slot;
        if let Some(slot) = any.downcast_mut::<Option<Vec<u8>>>() {
            *slot = Some(self.bytes()?.into());
        } else if let Some(slot) = any.downcast_mut::<Option<Bytes>>() {
            *slot = Some(self.bytes()?);
        }
        match slot {
            Some(value) => Ok(value),
            None => self.read(),
        }
    }

    /// Checks that nothing is left.
    pub(crate) fn end(&self) -> Result<(), CodecError> {
        if self.0.is_empty() { Ok(()) } else { Err(format!("{} bytes too many", self.0.len())) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bytes are left.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// What has not been taken yet.
    pub(crate) fn rest(self) -> Bytes {
        self.0
    }

    fn skip(&mut self, used: usize) {
        if used < self.0.len() {
            self.0.advance(used);
        } else {
            // Whoever keeps the decoder, as for the time of a call, does not keep the message.
            self.0 = Bytes::new();
        }
    }
}

/// Decodes a message that is one value and nothing else.
pub(crate) fn decode<T: DeserializeOwned + 'static>(message: Bytes) -> Result<T, CodecError> {
    let mut decoder = Decoder::new(message);
    let value = decoder.value()?;
    decoder.end()?;
    Ok(value)
}
