//! What holds for whatever bytes a peer sends: one function for each way in, which panics where it
//! does not hold. The fuzz targets in tests/fuzz call them, and so do this crate's own tests.

mod engines;

use bytes::Bytes;
use futures_util::FutureExt;

use crate::json::JsonForm;
use crate::link::Frames;
use crate::proto::handshake::{compare, worker_ids};
use crate::wire::{ClientMessage, Hello, Preamble, ServerMessage};
use crate::worker::{Contract, Method};

pub use engines::{client, server};

/// Frames are cut alike however the bytes arrive, each within the limit, and none is made up.
pub fn frames(bytes: &[u8]) {
    const LIMIT: usize = 1 << 10;
    let Some((step, stream)) = bytes.split_first() else { return };
    let whole = cut(stream, LIMIT);
    assert!(whole.iter().all(|frame| frame.len() <= LIMIT), "longer than the limit");
    let framed: Vec<u8> = whole
        .iter()
        .flat_map(|frame| [&(frame.len() as u32).to_le_bytes()[..], frame].concat())
        .collect();
    assert!(stream.starts_with(&framed), "frames that were not sent");
    let pieces = engines::Script::in_pieces(stream.to_vec(), usize::from(*step) + 1);
    assert_eq!(cut(pieces, LIMIT), whole, "another cut in pieces of {step} and 1");
}

fn cut(stream: impl tokio::io::AsyncRead + Unpin, limit: usize) -> Vec<Bytes> {
    let mut frames = Frames::new(stream, limit, "a limit");
    let mut all = Vec::new();
    while let Some(Ok(Some(frame))) = frames.next().now_or_never() {
        all.push(frame);
    }
    all
}

/// What a client says is a message or an error; and a message comes back as it was.
pub fn client_message(frame: &[u8]) {
    let Ok(message) = ClientMessage::parse(Bytes::copy_from_slice(frame)) else { return };
    let again: Vec<Bytes> = match &message {
        ClientMessage::Hello(hello) => {
            // What a stranger says of itself is looked at before anything is known of it.
            let _ = join(hello);
            vec![hello.to_frame()]
        }
        ClientMessage::Replies(replies) => ClientMessage::replies(replies, usize::MAX),
        ClientMessage::ServerCall(head, arguments) => head.to_frame(arguments.clone()).into(),
        ClientMessage::Arrive(arrive) => vec![arrive.to_frame()],
        ClientMessage::Withdraw(withdraw) => vec![withdraw.to_frame()],
        ClientMessage::Record(record) => vec![record.to_frame()],
        ClientMessage::Measured(head, metrics) => head.to_frame(metrics.clone()).into(),
        ClientMessage::Part(head, part) => head.to_frame(part.clone()).into(),
        ClientMessage::Heartbeat => vec![ClientMessage::heartbeat()],
        ClientMessage::Logs(logs) => vec![logs.to_frame()],
        ClientMessage::Trace(trace) => vec![trace.to_server()],
    };
    if !again.is_empty() {
        assert_eq!(ClientMessage::parse(unframed(&again)), Ok(message));
    }
}

/// What a server says is a message or an error; and a message comes back as it was.
pub fn server_message(frame: &[u8]) {
    let Ok(message) = ServerMessage::parse(Bytes::copy_from_slice(frame)) else { return };
    let again: Vec<Bytes> = match &message {
        ServerMessage::Welcome(welcome) => vec![welcome.to_frame()],
        ServerMessage::Refused(refused) => vec![refused.to_frame()],
        ServerMessage::Positions(positions) => vec![ServerMessage::positions(positions)],
        ServerMessage::Call(head, arguments) => head.to_frame(arguments.clone()).into(),
        ServerMessage::Cancel(cancel) => vec![cancel.to_frame()],
        ServerMessage::Quit => vec![ServerMessage::quit()],
        ServerMessage::ServerReply(head, value) => head.to_frame(value.clone()).into(),
        ServerMessage::Release(release) => vec![release.to_frame()],
        ServerMessage::Heartbeat => vec![ServerMessage::heartbeat()],
        ServerMessage::ForwardLogs(forward) => vec![forward.to_frame()],
        ServerMessage::Trace(trace) => vec![trace.to_client()],
    };
    assert_eq!(ServerMessage::parse(unframed(&again)), Ok(message));
}

/// Both sides' handshakes: whatever is wrong is said on one line.
pub fn handshake(bytes: &[u8]) {
    let Some((preamble, rest)) = bytes.split_first_chunk::<{ Preamble::LENGTH }>() else { return };
    if let Err(error) = Preamble::parse(*preamble) {
        one_line(&error.to_string());
        return;
    }
    for frame in cut(rest, 1 << 16) {
        if let Ok(ClientMessage::Hello(hello)) = ClientMessage::parse(frame)
            && let Err(error) = join(&hello)
        {
            one_line(&error);
        }
    }
}

fn join(hello: &Hello) -> Result<(), String> {
    compare(&contract(), hello)?;
    if hello.workers <= 1_000 {
        let ids = worker_ids(hello).map_err(|error| error.to_string())?;
        assert_eq!(ids.len(), if hello.prefix.is_empty() { 1 } else { hello.workers as usize });
    }
    Ok(())
}

fn contract() -> Contract {
    let method = |name| {
        let json = JsonForm::new::<()>(|_, _| Ok(()));
        Method { name, signature: "()", types: "()", docs: "", exclusive: false, json }
    };
    let methods = vec![method("a"), method("b")];
    Contract { worker: "W".into(), version: "1", methods, server_methods: Vec::new() }
}

fn one_line(text: &str) {
    assert!(!text.is_empty() && text.chars().all(crate::text::is_plain), "not one line: {text:?}");
}

fn unframed(frames: &[Bytes]) -> Bytes {
    Bytes::from(frames.concat()).slice(4..)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn whatever_fuzzing_has_come_across_holds_still() {
        type Target = (&'static str, fn(&[u8]));
        let targets: [Target; 6] = [
            ("frames", frames),
            ("client_message", client_message),
            ("server_message", server_message),
            ("handshake", handshake),
            ("server", server),
            ("client", client),
        ];
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus");
        // A published crate comes without it.
        if !corpus.is_dir() {
            return;
        }
        for (name, target) in targets {
            let files: Vec<_> = std::fs::read_dir(corpus.join(name)).unwrap().collect();
            assert!(!files.is_empty(), "{name}");
            for file in files {
                let path = file.unwrap().path();
                println!("{}", path.display());
                target(&std::fs::read(&path).unwrap());
            }
        }
    }
}
