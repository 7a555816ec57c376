//! The master's hot paths, each once, for `.ci/instructions` to count what they take. As tests they
//! show only that they still work.

use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use tokio::runtime::Handle;

use super::conn::Conn;
use super::in_flight::InFlight;
use super::request::{MethodCall, Payload, Request};
use super::roster::Audience;
use super::{Core, Fleet, Peer};
use crate::distributed_worker;
use crate::engine::Limits;
use crate::link::Watched;
use crate::proto::handshake::prints;
use crate::wire::{ClientMessage, FRAME_HEAD, Hello, Reply};
use crate::worker::DistributedWorker;

struct Hot;

#[distributed_worker(crate = crate)]
impl Hot {
    #[remote]
    fn length(&self, bytes: &[u8]) -> u64 {
        bytes.len() as u64
    }
}

const WORKERS: u64 = 64;

/// A fleet of 64 clients of one worker each, of which none is connected to anything.
fn fleet() -> (Fleet<Hot>, Vec<Arc<Conn>>) {
    let fleet = Fleet::<Hot>::new(Limits::default(), (), Handle::current());
    let activity = Watched::new(&b""[..]).activity();
    let join = |number: u64| {
        let hello = Hello {
            worker: Hot::contract().worker.clone(),
            version: String::new(),
            methods: prints(&Hot::contract().methods),
            server_methods: Vec::new(),
            client: format!("c{number}"),
            incarnation: number,
            prefix: String::new(),
            workers: 1,
            max_message: 1 << 20,
        };
        let joined = fleet.core.join(&hello, &Peer::new("nowhere"), &activity);
        joined.unwrap_or_else(|refusal| panic!("{}", refusal.reason)).0
    };
    let conns = (0..WORKERS).map(join).collect();
    (fleet, conns)
}

fn broadcast(fleet: &Fleet<Hot>) -> Request {
    let arguments = Ok(Bytes::from_static(&[3, 1, 2, 3]).into());
    Request {
        audience: Audience::All(fleet.core.snapshot()),
        payload: Payload::Same(MethodCall { method: 0, arguments, timeout: None }),
        timeout: None,
        timed: false,
        postponed: false,
        begins_run: false,
        detached: false,
    }
}

#[inline(never)]
fn hot_encode_and_broadcast(core: &Arc<Core>, request: &Request) -> Arc<InFlight> {
    core.send(request)
}

#[inline(never)]
fn hot_decode_and_gather(core: &Core, answers: Vec<(Arc<Conn>, Bytes)>, call: &InFlight) -> usize {
    for (conn, frame) in answers {
        let Ok(ClientMessage::Replies(replies)) = ClientMessage::parse(frame) else { continue };
        core.with_calls(|calls, todo| calls.handle_replies(&conn, replies, todo));
    }
    call.poll_complete(Waker::noop()).map_or(0, |outcomes| outcomes.len())
}

#[tokio::test]
async fn hot_paths_of_the_master() {
    let (fleet, conns) = fleet();
    for _ in 0..2 {
        // The second time nobody has to be told where they stand.
        let call = hot_encode_and_broadcast(&fleet.core, &broadcast(&fleet));
        let result = Ok(Bytes::from_static(&[3]).into());
        let reply = Reply { call: call.id, worker: 0, elapsed: 5, result };
        let frame = ClientMessage::replies(&[reply], 1 << 20).remove(0).slice(FRAME_HEAD - 1..);
        let answers = conns.iter().map(|conn| (conn.clone(), frame.clone())).collect();
        assert_eq!(hot_decode_and_gather(&fleet.core, answers, &call), conns.len());
    }
    fleet.close();
}
