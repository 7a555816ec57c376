//! What the codec's bytes are, and what is refused.

use super::*;

fn encoded<T: Serialize + DeserializeOwned + Clone + 'static>(value: &T) -> Bytes {
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
