//! Answers: the one message whose frames are put together from many.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::FRAME_HEAD;
use super::frame::{append_frame, frame};
use super::message::{
    ClientMessage, Failure, MAX_ITEMS, WireError, encode, few, from_client, malformed,
};
use crate::codec::{Decoder, Encoded};

/// One worker's answer to one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) call: u64,
    pub(crate) worker: u32,
    /// How long the method ran, in microseconds.
    pub(crate) elapsed: u64,
    pub(crate) result: Result<Encoded, Failure>,
}

/// What stands before an answer's value, or its failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReplyHead {
    pub(crate) call: u64,
    pub(crate) worker: u32,
    pub(crate) elapsed: u64,
    pub(crate) status: Status,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Status {
    /// A block of bytes follows: the encoded value.
    Value,
    Failure(Failure),
}

/// Up to this length an answer's value is copied into a frame with others.
const COPIED: usize = 16 << 10;

impl Reply {
    /// Whether it is cheaper copied than written as a part of its own.
    pub(crate) fn is_short(&self) -> bool {
        self.result.as_ref().map_or(0, Encoded::len) <= COPIED
    }

    /// An upper bound of what it takes in a frame.
    pub(crate) fn encoded_len(&self) -> usize {
        // Heads: four integers of at most 10 bytes, and each text's length.
        const HEAD: usize = 64;
        HEAD + match &self.result {
            Ok(value) => value.len(),
            Err(Failure::Failed { message, chain }) => {
                message.len() + chain.iter().map(|text| text.len() + 10).sum::<usize>()
            }
            Err(
                Failure::Panicked { message }
                | Failure::Arguments { message }
                | Failure::NotStarted { reason: message },
            ) => message.len(),
            Err(_) => 0,
        }
    }
}

impl ClientMessage {
    /// Encodes replies into as few frames as the server's limit allows. No single reply may exceed
    /// it: whoever made them has checked.
    ///
    /// The value of a long one is not copied: these are the frames' parts, in order.
    pub(crate) fn replies(replies: &[Reply], max_message: usize) -> Vec<Bytes> {
        let mut frames = Vec::new();
        for run in replies.chunk_by(|a, b| a.is_short() && b.is_short()) {
            if let [Reply { call, worker, elapsed, result: Ok(value) }] = run
                && !run[0].is_short()
            {
                let (call, worker, elapsed) = (*call, *worker, *elapsed);
                let head = ReplyHead { call, worker, elapsed, status: Status::Value };
                let head = |body: &mut Vec<u8>| {
                    encode(&head, body);
                    encode(&(value.len() as u64), body);
                };
                frames.extend(frame(from_client::REPLIES, head, value.clone()));
            } else {
                let mut encoded = Vec::new();
                Self::encode_replies(run, max_message, &mut encoded);
                frames.push(encoded.into());
            }
        }
        frames
    }

    /// The same, all copied behind what is in `buffer`.
    pub(crate) fn encode_replies(replies: &[Reply], max_message: usize, buffer: &mut Vec<u8>) {
        let mut rest = replies;
        while !rest.is_empty() {
            let mut bytes = FRAME_HEAD;
            let fits = rest.iter().take(MAX_ITEMS).take_while(|reply| {
                bytes += reply.encoded_len();
                bytes <= max_message
            });
            let (now, later) = rest.split_at(fits.count().max(1));
            rest = later;
            buffer.reserve(bytes.min(max_message));
            append_frame(buffer, from_client::REPLIES, |body| {
                for reply in now {
                    encode_reply(reply, body);
                }
            });
        }
    }
}

fn encode_reply(reply: &Reply, body: &mut Vec<u8>) {
    let status = match &reply.result {
        Ok(_) => Status::Value,
        Err(failure) => Status::Failure(failure.clone()),
    };
    let Reply { call, worker, elapsed, .. } = *reply;
    encode(&ReplyHead { call, worker, elapsed, status }, body);
    if let Ok(Encoded { start, block }) = &reply.result {
        encode(&((start.len() + block.len()) as u64), body);
        body.extend_from_slice(start);
        body.extend_from_slice(block);
    }
}

pub(super) fn decode_replies(body: Bytes) -> Result<Vec<Reply>, WireError> {
    let mut decoder = Decoder::new(body);
    let mut replies = Vec::new();
    while !decoder.is_empty() {
        few("reply", replies.len() as u64 + 1)?;
        let head: ReplyHead = decoder.take().map_err(malformed("reply"))?;
        let result = match head.status {
            Status::Value => Ok(decoder.bytes().map_err(malformed("reply"))?.into()),
            Status::Failure(failure) => Err(failure),
        };
        let ReplyHead { call, worker, elapsed, .. } = head;
        replies.push(Reply { call, worker, elapsed, result });
    }
    Ok(replies)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The replies in each frame of what is written.
    fn parse_replies(parts: &[Bytes]) -> Vec<Vec<Reply>> {
        let mut written = Bytes::from(parts.concat());
        let mut frames = Vec::new();
        while !written.is_empty() {
            let length = u32::from_le_bytes(written[..4].try_into().unwrap()) as usize;
            match ClientMessage::parse(written.split_to(4 + length).slice(4..)) {
                Ok(ClientMessage::Replies(replies)) => frames.push(replies),
                other => panic!("{other:?}"),
            }
        }
        frames
    }

    fn reply(worker: u32, result: Result<Bytes, Failure>) -> Reply {
        Reply { call: 7, worker, elapsed: 1_000_000, result: result.map(Encoded::from) }
    }

    #[test]
    fn replies_are_no_more_in_a_frame_than_the_server_takes() {
        let replies: Vec<Reply> =
            (0..=MAX_ITEMS as u32).map(|worker| reply(worker, Ok(Bytes::new()))).collect();
        let frames = parse_replies(&ClientMessage::replies(&replies, 256 << 20));
        assert_eq!(frames.iter().map(Vec::len).collect::<Vec<_>>(), [MAX_ITEMS, 1]);
    }

    #[test]
    fn replies_share_a_frame_up_to_the_limit() {
        let failed = Failure::Failed { message: "no".into(), chain: vec!["why".into()] };
        let all: Vec<_> = (0..10)
            .map(|w| reply(w, Ok(Bytes::from(vec![0; 100]))))
            .chain([reply(10, Err(failed)), reply(11, Err(Failure::Cancelled))])
            .collect();
        let one = parse_replies(&ClientMessage::replies(&all, 1 << 20));
        assert_eq!(one, std::slice::from_ref(&all));
        let several = parse_replies(&ClientMessage::replies(&all, 400));
        let length = |replies: &[Reply]| ClientMessage::replies(replies, 1 << 20).concat().len();
        assert!(several.len() > 1 && several.iter().all(|replies| length(replies) <= 400 + 4));
        assert_eq!(several.concat(), all);
    }

    #[test]
    fn a_long_value_is_a_part_of_its_own_between_others() {
        let long = Bytes::from(vec![7; COPIED + 1]);
        let short = || Ok(Bytes::from_static(b"short"));
        let all = [reply(0, short()), reply(1, short()), reply(2, Ok(long.clone()))];
        let all = [&all[..], &[reply(3, Ok(long.clone())), reply(4, short())]].concat();
        let parts = ClientMessage::replies(&all, 1 << 20);
        assert_eq!(parts.iter().filter(|part| part.as_ptr() == long.as_ptr()).count(), 2);
        let frames = parse_replies(&parts);
        assert_eq!(frames.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 1, 1]);
        assert_eq!(frames.concat(), all);
    }
}
