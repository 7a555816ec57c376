//! Whatever a peer sends, decoding it is a message or an error, and never a panic.

use bytes::Bytes;
use proptest::prelude::*;

use super::Reply;
use super::frame::Preamble;
use super::logs::{ForwardLogs, LoggedLine, Logs};
use super::message::{
    Arrive, CallHead, ClientMessage, Failure, Hello, MethodPrint, Record, ServerCallHead, Targets,
};
use super::trace::Trace;
use crate::fuzzing;
use crate::trace::TraceContext;

fn hello() -> impl Strategy<Value = Hello> {
    let method = ("[a-z]{0,8}", ".{0,20}", any::<u64>())
        .prop_map(|(name, signature, fingerprint)| MethodPrint { name, signature, fingerprint });
    let methods = prop::collection::vec(method, 0..5);
    (".{0,20}", methods, ".{0,20}", any::<u64>(), any::<u32>()).prop_map(
        |(worker, methods, client, incarnation, workers)| Hello {
            worker,
            version: client.clone(),
            server_methods: methods.clone(),
            methods,
            prefix: client.clone(),
            client,
            incarnation,
            workers,
            max_message: incarnation,
        },
    )
}

fn reply() -> impl Strategy<Value = Reply> {
    let value =
        prop::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| Ok(Bytes::from(bytes).into()));
    let failed = (".{0,20}", prop::collection::vec(".{0,9}", 0..3))
        .prop_map(|(message, chain)| Err(Failure::Failed { message, chain }));
    let large =
        any::<(u64, u64)>().prop_map(|(size, limit)| Err(Failure::TooLarge { size, limit }));
    (any::<u64>(), any::<u32>(), any::<u64>(), prop_oneof![value, failed, large])
        .prop_map(|(call, worker, elapsed, result)| Reply { call, worker, elapsed, result })
}

fn unframed(frames: &[Bytes]) -> Bytes {
    let whole: Vec<u8> = frames.iter().flat_map(|part| part.iter().copied()).collect();
    Bytes::from(whole).slice(4..)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn random_bytes_are_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        fuzzing::client_message(&bytes);
        fuzzing::server_message(&bytes);
        fuzzing::frames(&bytes);
        fuzzing::handshake(&bytes);
    }

    /// Most random bytes fail at their first; these are of a kind that exists.
    #[test]
    fn random_bodies_of_known_kinds_too(
        kind in prop_oneof![0_u8..0x0a, 0x80_u8..0x8c],
        bytes in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let frame = [vec![kind], bytes].concat();
        fuzzing::client_message(&frame);
        fuzzing::server_message(&frame);
    }

    #[test]
    fn a_message_cut_or_changed_anywhere_too(
        hello in hello(),
        replies in prop::collection::vec(reply(), 1..5),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let head = CallHead {
            call: u64::from(byte),
            method: 1,
            timed: true,
            timeout: Some(1 << 40),
            targets: Targets::Some(vec![1, 2, 3]),
        };
        let arrive = Arrive {
            wait: 1,
            worker: 2,
            call: 3,
            token: "token".to_owned(),
            staggered: false,
            survivors: true,
            timeout: None,
        };
        let context = TraceContext::new(u128::MAX, 1, true).unwrap();
        let trace = Trace::new(u64::from(byte), &context);
        let line = LoggedLine { worker: Some(1), level: 2, text: "text".to_owned() };
        let frames = [
            unframed(&[hello.to_frame()]),
            unframed(&ClientMessage::replies(&replies, 1 << 20)),
            unframed(&head.to_frame(Bytes::from_static(b"arguments"))),
            unframed(&[arrive.to_frame()]),
            unframed(&ServerCallHead { wait: 1, worker: 2, method: 3 }.to_frame(Bytes::new())),
            unframed(&[Record { worker: 1, resets: 2, record: 3, lines: Vec::new() }.to_frame()]),
            unframed(&[Logs { dropped: 300, lines: vec![line.clone(), line] }.to_frame()]),
            unframed(&[ForwardLogs { level: 3, per_second: 1_000 }.to_frame()]),
            unframed(&[trace.to_client()]),
            unframed(&[trace.to_server()]),
        ];
        for frame in frames {
            let at = at.index(frame.len());
            let mut changed = frame.to_vec();
            changed[at] = byte;
            for bytes in [&frame[..at], &changed] {
                fuzzing::client_message(bytes);
                fuzzing::server_message(bytes);
            }
        }
    }

    #[test]
    fn messages_come_back_as_they_were(
        hello in hello(),
        replies in prop::collection::vec(reply(), 1..20),
    ) {
        let parsed = ClientMessage::parse(unframed(&[hello.to_frame()]));
        prop_assert_eq!(parsed, Ok(ClientMessage::Hello(hello)));
        let parsed = ClientMessage::parse(unframed(&ClientMessage::replies(&replies, 1 << 20)));
        prop_assert_eq!(parsed, Ok(ClientMessage::Replies(replies)));
    }

    #[test]
    fn eight_random_bytes_are_no_preamble(bytes in any::<[u8; 8]>()) {
        prop_assert!(Preamble::parse(bytes).is_err());
    }
}
