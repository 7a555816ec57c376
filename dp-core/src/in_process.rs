//! Master and workers in one process, without a network: the same engines, joined by a pipe in
//! memory instead of a socket.

use std::sync::{Arc, OnceLock, mpsc};

use tokio::runtime::{Builder, Handle, Runtime};

use crate::engine::{Fleet, FleetEvent, Host, Limits, Peer, io};
use crate::group::Group;
use crate::id::WorkerInfo;
use crate::link::{PIPE, Transport};
use crate::worker::DistributedWorker;

/// What the worker's information gives for an address.
const ADDRESS: &str = "in-process";

/// A group of `workers` workers `w1`, `w2`, … in this process.
pub(crate) fn in_process<W: DistributedWorker>(
    state: W::Server,
    workers: usize,
    constructor: impl Fn(&WorkerInfo) -> W + Send + Sync + 'static,
) -> Group<W> {
    let (server_end, client_end) = tokio::io::duplex(PIPE);
    let pipe = (server_end, Peer::new(ADDRESS), client_end);
    in_process_over(state, workers, constructor, vec![pipe])
}

/// The same over connections of any kind, each by its two ends, for tests of those: over a single one,
/// which all workers share, or over one for each worker.
///
/// # Panics
/// Where there are neither as many connections as workers nor one.
pub fn in_process_over<W: DistributedWorker, S: Transport, C: Transport>(
    state: W::Server,
    workers: usize,
    constructor: impl Fn(&WorkerInfo) -> W + Send + Sync + 'static,
    connections: Vec<(S, Peer, C)>,
) -> Group<W> {
    crate::codec::check_round_trips();
    let fleet = Fleet::<W>::new(Limits::default(), state, runtime());
    if workers == 0 {
        return fleet.owned_group();
    }
    let single = connections.len() == 1;
    assert!(single || connections.len() == workers, "one connection, or one for each worker");
    let constructor = Arc::new(constructor);
    let (joined, wait) = mpsc::channel();
    let clients = connections.len();
    let mut events = fleet.events();
    for (number, (server_end, peer, client_end)) in connections.into_iter().enumerate() {
        let constructor = constructor.clone();
        let constructor = move |info: &WorkerInfo| constructor(info);
        let (client, prefix, hosted) = match single {
            true => ("w".to_owned(), "w".to_owned(), workers),
            false => (format!("w{}", number + 1), String::new(), 1),
        };
        let limits = Limits::default();
        let host = Host::with_prefix(client, prefix, hosted, limits, runtime(), constructor);
        // The tasks hold no handle of the fleet: when the group is dropped, so is the connection.
        io().spawn(fleet.serve_detached(server_end, peer));
        io().spawn(async move { host.serve(client_end, ADDRESS.to_owned()).await });
    }
    io().spawn(async move {
        for _ in 0..clients {
            let arrived = matches!(events.recv().await, Ok(FleetEvent::Arrived { .. }));
            let _ = joined.send(arrived);
        }
    });
    // The handshake runs on the I/O thread, whatever runtime this is called in, if any.
    if !(0..clients).all(|_| wait.recv() == Ok(true)) {
        tracing::error!("the workers could not join within their own process");
    }
    fleet.owned_group()
}

/// Where the workers' methods find timers, sockets and spawned tasks. Not the caller's runtime:
/// that is often a test's, of a single thread, which may block or be gone while they run.
fn runtime() -> Handle {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        Builder::new_multi_thread()
            .thread_name("dp-runtime")
            .enable_all()
            .build()
            .unwrap_or_else(|error| panic!("can't start tokio: {error}"))
    });
    runtime.handle().clone()
}
