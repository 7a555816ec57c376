//! Master and workers in one process, without a network: the same engines, joined by a pipe in
//! memory instead of a socket.

use std::sync::{OnceLock, mpsc};

use tokio::runtime::{Builder, Handle, Runtime};

use crate::engine::{Fleet, FleetEvent, Host, Limits, io};
use crate::group::Group;
use crate::id::WorkerInfo;
use crate::link::PIPE;
use crate::worker::DistributedWorker;

/// What the worker's information gives for an address.
const ADDRESS: &str = "in-process";

/// A group of `workers` workers `w1`, `w2`, … in this process.
pub(crate) fn in_process<W: DistributedWorker>(
    state: W::Server,
    workers: usize,
    constructor: impl Fn(&WorkerInfo) -> W + Send + Sync + 'static,
) -> Group<W> {
    let fleet = Fleet::<W>::new(Limits::default(), state, runtime());
    if workers == 0 {
        return fleet.owned_group();
    }
    let (client, prefix) = ("w".to_owned(), "w".to_owned());
    let limits = Limits::default();
    let host = Host::with_prefix(client, prefix, workers, limits, runtime(), constructor);
    let (server_end, client_end) = tokio::io::duplex(PIPE);
    let (joined, wait) = mpsc::channel();
    let mut events = fleet.events();
    // The tasks hold no handle of the fleet: when the group is dropped, so is the connection.
    io().spawn(fleet.serve_detached(server_end, ADDRESS.to_owned()));
    io().spawn(async move { host.serve(client_end, ADDRESS.to_owned()).await });
    io().spawn(async move {
        let arrived = matches!(events.recv().await, Ok(FleetEvent::Arrived { .. }));
        let _ = joined.send(arrived);
    });
    // The handshake runs on the I/O thread, whatever runtime this is called in, if any.
    if wait.recv() != Ok(true) {
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
