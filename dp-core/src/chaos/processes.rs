//! Client processes: each joins, comes back, and is started again when it has ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Handle;
use tokio::time::sleep;

use super::network::{Fault, Wire};
use super::subject::Subject;
use super::world::{Task, World, limits};
use super::{millis, one_in};
use crate::engine::{Host, HostError};
use crate::sync::lock;

/// A client that somebody sees to: when its process ends, there is another soon.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) name: String,
    pub(super) workers: usize,
    running: Task,
    /// A second process of the same id.
    double: Option<Task>,
}

/// A process that lives.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) client: String,
    pub(super) host: Arc<Host<Subject>>,
    wire: Option<Wire>,
    disturbed: Arc<AtomicBool>,
    kicked: Arc<AtomicBool>,
}

impl Process {
    pub(super) fn disturb(&self, fault: Fault) {
        self.disturbed.store(true, Ordering::Relaxed);
        if let Some(wire) = &self.wire {
            wire.disturb(fault);
        }
    }

    pub(super) fn handle_kicked(&self) {
        self.kicked.store(true, Ordering::Relaxed);
    }
}

impl Client {
    pub(super) fn start(world: &Arc<World>, name: String, workers: usize) -> Self {
        let running = supervise(world, &name, workers, None);
        Self { name, workers, running, double: None }
    }

    /// Kills the process; where it vanishes, nobody is told. After a while it is started again.
    pub(super) fn kill(&mut self, world: &Arc<World>, vanish: bool) {
        world.ledger.tell(format!("{} is killed; vanishes: {vanish}", self.name));
        for process in lock(&world.processes).values().filter(|other| other.client == self.name) {
            let silence = Fault::Silence { to_server: true, to_client: true };
            if vanish {
                process.disturb(silence);
            }
        }
        let after = millis(0, 2_000);
        self.running = supervise(world, &self.name, self.workers, Some(after));
    }

    /// Starts a second process of the same id.
    pub(super) fn double(&mut self, world: &Arc<World>) {
        world.ledger.tell(format!("there is a second {}", self.name));
        world.doubled.store(true, Ordering::Relaxed);
        self.double = Some(supervise(world, &self.name, self.workers, None));
    }

    /// Ends the second one.
    pub(super) fn heal(&mut self) {
        self.double = None;
    }
}

fn supervise(
    world: &Arc<World>,
    name: &str,
    workers: usize,
    after: Option<std::time::Duration>,
) -> Task {
    let (world, name) = (world.clone(), name.to_owned());
    Task(Handle::current().spawn(async move {
        if let Some(after) = after {
            sleep(after).await;
        }
        loop {
            live(&world, &name, workers).await;
            sleep(millis(20, 400)).await;
        }
    }))
}

/// One process, from its start to its end.
async fn live(world: &Arc<World>, name: &str, workers: usize) {
    let number = world.next_process();
    world.ledger.tell(format!("{name} starts as process {number}"));
    let (ledger, connected) = (world.ledger.clone(), Arc::<AtomicBool>::default());
    let on = connected.clone();
    let host = Host::new(name.to_owned(), workers, limits(), Handle::current(), move |_| {
        Subject::new(&ledger, number, &on)
    });
    let (host, client) = (Arc::new(host), name.to_owned());
    let (disturbed, kicked) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let process = Process {
        client,
        host: host.clone(),
        wire: None,
        disturbed: disturbed.clone(),
        kicked: kicked.clone(),
    };
    lock(&world.processes).insert(number, process);
    let _listed = Listed(world, number);
    let mut joined = false;
    loop {
        sleep(millis(1, 150)).await;
        let Some((server, wire, stream)) = world.connect() else { continue };
        disturbed.store(false, Ordering::Relaxed);
        if let Some(process) = lock(&world.processes).get_mut(&number) {
            process.wire = Some(wire);
        }
        let ended = {
            let _connected = Connected::new(&connected);
            host.serve(stream, "simulated".to_owned()).await
        };
        world.ledger.tell(format!("process {number} of {name}: {ended:?}"));
        match ended {
            Ok(()) | Err(HostError::Refused { silent: None, .. }) => {
                world.ledger.rejoined.fetch_add(u64::from(joined), Ordering::Relaxed);
                return;
            }
            Err(HostError::Refused { silent: Some(_), .. }) => {
                let others = world.doubled.load(Ordering::Relaxed);
                if joined && !others {
                    world.ledger.violation(format!("{name} stands in its own way"));
                }
                sleep(millis(50, 300)).await;
            }
            Err(error) => {
                let again = joined && error.joined();
                world.ledger.rejoined.fetch_add(u64::from(again), Ordering::Relaxed);
                joined |= error.joined();
                let undisturbed = !disturbed.load(Ordering::Relaxed);
                let same = world.server_number() == Some(server);
                if kicked.load(Ordering::Relaxed) && undisturbed && same && error.joined() {
                    world.ledger.violation(format!("{name} was kicked and is not told: {error}"));
                }
            }
        }
        kicked.store(false, Ordering::Relaxed);
        if one_in(3) {
            sleep(millis(10, 500)).await;
        }
    }
}

/// A process is connected as long as this lives.
struct Connected<'a>(&'a AtomicBool);

impl<'a> Connected<'a> {
    fn new(connected: &'a AtomicBool) -> Self {
        connected.store(true, Ordering::SeqCst);
        Self(connected)
    }
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// A process that is listed as long as it lives.
struct Listed<'a>(&'a World, u64);

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        lock(&self.0.processes).remove(&self.1);
    }
}
