//! What holds over every transport. A test program has this as a module, beside one named `transport`
//! that says which it is: `connection`, which gives the two ends of a new one and what is known of the
//! client, the type of the `ClientEnd`, and whether
//! what it needs `is_here`.

/// Ends the test where what carries the transport is not installed.
macro_rules! needs_transport {
    () => {
        if !super::super::transport::is_here() {
            return;
        }
    };
}

mod balance;
mod barriers;
mod bounds;
mod calls;
mod loss;
mod queues;

use std::sync::mpsc;

use dp_core::engine::{Fleet, Peer, Transport, in_process_over, io};
use dp_core::{DistributedWorker, MasterWorker, WorkerInfo};

use super::transport::{ServerEnd, connection};

/// Workers `w1`, `w2`, … in this process: each has a connection of its own, unless they are many.
fn group<W: DistributedWorker<Server = ()>>(
    workers: usize,
    constructor: impl Fn(&WorkerInfo) -> W + Send + Sync + 'static,
) -> MasterWorker<W> {
    const MANY: usize = 16;
    group_over(if workers > MANY { 1 } else { workers }, (), workers, constructor)
}

/// The same with the server's state, over so many connections. What comes over several has no order but that in which it comes: a
/// machine that is busy may take long with one of them.
fn group_over<W: DistributedWorker>(
    connections: usize,
    state: W::Server,
    workers: usize,
    constructor: impl Fn(&WorkerInfo) -> W + Send + Sync + 'static,
) -> MasterWorker<W> {
    let (made, wait) = mpsc::channel();
    io().spawn(async move {
        for _ in 0..connections {
            let _ = made.send(connection().await);
        }
    });
    in_process_over(state, workers, constructor, wait.iter().collect()).into()
}

/// Serves one client in the background.
fn serve<W: DistributedWorker>(fleet: &Fleet<W>, stream: ServerEnd, peer: Peer) {
    fn is_transport(_: &impl Transport) {}
    is_transport(&stream);
    let fleet = fleet.clone();
    io().spawn(async move {
        Ok(fleet.admit(stream, &peer).await?.serve().await)
            as Result<_, dp_core::engine::ServeError>
    });
}
