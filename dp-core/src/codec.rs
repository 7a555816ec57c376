//! Values ↔ bytes. The only file that names bincode.
//!
//! bincode 2 in its standard configuration, little endian, integers of variable length. A `u8`
//! is one byte there, so that a `Vec<u8>` and a block of bytes look the same on the wire; the block
//! is a thousand times cheaper, and [`encode_value`] and [`Decoder::value`] take it wherever the
//! type is `Vec<u8>` or `Bytes`.

use std::any::Any;
use std::cell::Cell;
use std::mem;

use bincode::config::{Configuration, standard};
use bytes::{Buf, Bytes};
use serde::Serialize;
use serde::de::DeserializeOwned;

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

/// Appends `value` to `buffer`.
pub(crate) fn encode<T: Serialize + ?Sized>(
    value: &T,
    buffer: &mut Vec<u8>,
) -> Result<(), CodecError> {
    struct Append<'a>(&'a mut Vec<u8>);
    impl bincode::enc::write::Writer for Append<'_> {
        fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }
    }
    bincode::serde::encode_into_writer(value, Append(buffer), ENCODE)
        .map_err(|error| error.to_string())
}

/// Appends a block of bytes: its length, then the bytes as they are.
pub(crate) fn encode_bytes(bytes: &[u8], buffer: &mut Vec<u8>) -> Result<(), CodecError> {
    buffer.reserve(bytes.len() + 9);
    encode(serde_bytes::Bytes::new(bytes), buffer)
}

/// Appends `value`; as one block where `T` is `Vec<u8>` or `Bytes`.
pub(crate) fn encode_value<T: Serialize + 'static>(
    value: &T,
    buffer: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let any: &dyn Any = value;
    if let Some(bytes) = any.downcast_ref::<Vec<u8>>() {
        encode_bytes(bytes, buffer)
    } else if let Some(bytes) = any.downcast_ref::<Bytes>() {
        encode_bytes(bytes, buffer)
    } else {
        encode(value, buffer)
    }
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
pub(crate) fn encoded<T: Serialize + 'static>(value: T) -> Result<Encoded, CodecError> {
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

/// Takes values one after another from the front of a message.
#[derive(Debug)]
pub(crate) struct Decoder(Bytes);

impl Decoder {
    pub(crate) fn new(message: Bytes) -> Self {
        Self(message)
    }

    /// Takes a value.
    pub(crate) fn take<T: DeserializeOwned>(&mut self) -> Result<T, CodecError> {
        let (value, used) = if self.0.len() <= SMALL {
            bincode::serde::decode_from_slice(&self.0, ENCODE.with_limit::<SMALL_LIMIT>())
        } else if self.0.len() <= MEDIUM {
            bincode::serde::decode_from_slice(&self.0, ENCODE.with_limit::<MEDIUM_LIMIT>())
        } else {
            bincode::serde::decode_from_slice(&self.0, ENCODE.with_limit::<LARGE_LIMIT>())
        }
        .map_err(|error| error.to_string())?;
        self.skip(used);
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
            None => self.take(),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded<T: Serialize + Clone + 'static>(value: &T) -> Bytes {
        super::encoded(value.clone()).unwrap().into_bytes()
    }

    #[test]
    fn bytes_look_the_same_as_a_block_and_element_by_element() {
        for length in [0, 1, 250, 251, 70_000] {
            let bytes = vec![7_u8; length];
            let mut elements = Vec::new();
            encode(&bytes, &mut elements).unwrap();
            assert_eq!(encoded(&bytes), elements);
            assert_eq!(decode::<Vec<u8>>(elements.clone().into()).unwrap(), bytes);
            assert_eq!(decode::<Bytes>(elements.into()).unwrap(), bytes);
        }
    }

    #[test]
    fn a_long_block_that_is_given_away_is_not_copied() {
        let bytes = vec![7_u8; COPIED + 1];
        let memory = bytes.as_ptr();
        let Encoded { start, block } = super::encoded(bytes).unwrap();
        assert_eq!((&start[..], block.as_ptr()), (&[251, 1, 16][..], memory));
        let bytes = Bytes::from(vec![7_u8; COPIED + 1]);
        let memory = bytes.as_ptr();
        let shared = bytes.clone();
        assert!(super::encoded(bytes).unwrap().block.is_empty());
        assert_eq!(super::encoded(shared).unwrap().block.as_ptr(), memory);
        let owned = Bytes::from_owner(vec![7_u8; COPIED + 1]);
        assert!(super::encoded(owned).unwrap().block.is_empty());
        let Encoded { start, block } = super::encoded(Bytes::from(vec![7; COPIED])).unwrap();
        assert_eq!((start.len(), block.len()), (3 + COPIED, 0));
    }

    #[test]
    fn a_block_is_lent_from_the_message_without_a_copy() {
        let message = encoded(&vec![1_u8; 100]);
        let block: Bytes = decode(message.clone()).unwrap();
        assert_eq!(block.as_ptr(), message[1..].as_ptr());
    }

    #[test]
    fn a_block_that_is_the_last_of_its_message_becomes_a_value_in_the_same_memory() {
        let mut message = bytes::BytesMut::with_capacity(9 + 100_000);
        message.extend_from_slice(&encoded(&vec![1_u8; 100_000]));
        let message = message.freeze();
        let memory = message.as_ptr();
        let block: Vec<u8> = decode(message).unwrap();
        assert!(block.len() == 100_000 && block.as_ptr() == memory);
    }

    #[test]
    fn a_forged_length_is_an_error() {
        for forged in [&[253, 0, 0, 0, 0, 0, 0, 0, 1][..], &[252, 255, 255, 255, 255]] {
            let message = Bytes::copy_from_slice(forged);
            assert!(decode::<Vec<u8>>(message.clone()).is_err());
            assert!(decode::<Bytes>(message.clone()).is_err());
            assert!(decode::<String>(message.clone()).is_err());
            assert!(decode::<Vec<String>>(message.clone()).is_err());
            assert!(decode::<Vec<u64>>(message).is_err());
        }
    }

    #[test]
    fn a_decoder_at_its_end_does_not_keep_the_message() {
        let message = encoded(&vec![7_u64; 1_000]);
        let mut decoder = Decoder::new(message.clone());
        assert_eq!(decoder.take::<Vec<u64>>().unwrap().len(), 1_000);
        decoder.end().unwrap();
        assert!(message.is_unique());
    }

    #[test]
    fn trailing_bytes_are_an_error() {
        assert_eq!(decode::<u8>(Bytes::from_static(&[1, 2])).unwrap_err(), "1 bytes too many");
    }

    #[test]
    fn values_are_taken_in_order() {
        let mut buffer = Vec::new();
        encode("one", &mut buffer).unwrap();
        encode_bytes(b"two", &mut buffer).unwrap();
        encode_value(&3_u32, &mut buffer).unwrap();
        let mut decoder = Decoder::new(buffer.into());
        assert_eq!(decoder.value::<String>().unwrap(), "one");
        assert_eq!(decoder.value::<Vec<u8>>().unwrap(), b"two");
        assert_eq!(decoder.value::<u32>().unwrap(), 3);
        assert!(decoder.is_empty());
        decoder.end().unwrap();
    }
}
