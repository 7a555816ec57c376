//! One simulation: who is there, what breaks, and in which order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::file::File;
use super::network::{Fault, Stream, Wire};
use super::processes::{Client, Process};
use super::subject::{Ledger, Shared, Subject};
use super::{Course, below, callers, millis, one_in, verdict};
use crate::engine::{Fleet, Limits};
use crate::sync::lock;

/// Nothing takes so long in a simulation, but for a hang.
pub(super) const HANG: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct World {
    pub(super) ledger: Arc<Ledger>,
    pub(super) clients: Mutex<Vec<Client>>,
    /// Client processes that live, by their number.
    pub(super) processes: Mutex<BTreeMap<u64, Process>>,
    server: Mutex<Option<Server>>,
    /// Whether there ever was a second process of one id.
    pub(super) doubled: AtomicBool,
    /// Whether anybody was ever kicked.
    pub(super) kicked: AtomicBool,
    next_process: AtomicU64,
    next_server: AtomicU64,
}

#[derive(Debug)]
struct Server {
    number: u64,
    fleet: Fleet<Subject>,
    connections: JoinSet<()>,
    callers: JoinSet<()>,
    file: Arc<File>,
}

/// Short times, so that little has to be simulated.
pub(super) fn limits() -> Limits {
    Limits {
        handshake_timeout: Duration::from_secs(1),
        heartbeat_interval: Duration::from_millis(300),
        heartbeat_timeout: Duration::from_secs(1),
        in_flight: 4,
        ..Limits::default()
    }
}

impl World {
    pub(super) async fn run() -> Course {
        let world = Arc::new(Self {
            ledger: Arc::new(Ledger::new()),
            clients: Mutex::default(),
            processes: Mutex::default(),
            server: Mutex::default(),
            doubled: AtomicBool::new(false),
            kicked: AtomicBool::new(false),
            next_process: AtomicU64::new(1),
            next_server: AtomicU64::new(1),
        });
        let clients = 1 + below(4);
        let callers = 1 + below(3);
        for number in 1..=clients {
            let client = Client::start(&world, format!("c{number}"), 1 + below(3) as usize);
            lock(&world.clients).push(client);
        }
        world.start_server(callers);
        for _ in 0..below(10) {
            sleep(millis(0, 700)).await;
            world.disturb(callers).await;
        }
        verdict::reach(&world).await;
        // Nobody runs any more, so that what is told is complete.
        world.clients.lock().unwrap().clear();
        let (fingerprint, told, violations) = world.ledger.close();
        Course {
            fingerprint,
            told,
            violations,
            calls: world.ledger.calls(),
            failures: world.ledger.failures.load(Ordering::Relaxed),
            rejoined: world.ledger.rejoined.load(Ordering::Relaxed),
            stored: lock(&world.ledger.file).len() as u64,
        }
    }

    pub(super) fn next_process(&self) -> u64 {
        self.next_process.fetch_add(1, Ordering::Relaxed)
    }

    /// A connection to the server, if there is one: the number of the server, what can be disturbed,
    /// and the client's end.
    pub(super) fn connect(&self) -> Option<(u64, Wire, Stream)> {
        let mut server = lock(&self.server);
        let server = server.as_mut()?;
        let (wire, server_end, client_end) = Wire::connect();
        let (fleet, ledger) = (server.fleet.clone(), self.ledger.clone());
        server.connections.spawn(async move {
            match fleet.serve(server_end, "simulated".to_owned()).await {
                Ok(left) => ledger.tell(format!("{} left: {}", left.client, left.reason)),
                Err(error) => ledger.tell(format!("not joined: {error}")),
            }
        });
        Some((server.number, wire, client_end))
    }

    pub(super) fn server_number(&self) -> Option<u64> {
        lock(&self.server).as_ref().map(|server| server.number)
    }

    fn take_server(&self) -> Option<Server> {
        lock(&self.server).take()
    }

    /// The server, which goes on: its number, its fleet, and those who call.
    pub(super) fn take_callers(&self) -> Option<(u64, Fleet<Subject>, JoinSet<()>)> {
        let mut server = lock(&self.server);
        let server = server.as_mut()?;
        Some((server.number, server.fleet.clone(), std::mem::take(&mut server.callers)))
    }

    pub(super) fn fleet(&self) -> Option<Fleet<Subject>> {
        lock(&self.server).as_ref().map(|server| server.fleet.clone())
    }

    /// The file as the server writes it.
    pub(super) fn file(&self) -> Option<Arc<File>> {
        lock(&self.server).as_ref().map(|server| server.file.clone())
    }

    pub(super) fn has_server(&self) -> bool {
        lock(&self.server).is_some()
    }

    pub(super) fn start_server(self: &Arc<Self>, callers: u64) {
        let number = self.next_server.fetch_add(1, Ordering::Relaxed);
        let fleet = Fleet::new(limits(), Shared::new(&self.ledger), Handle::current());
        fleet.set_frequency(100.0).unwrap();
        self.ledger.tell(format!("server {number} starts"));
        let (mut calling, file) = (JoinSet::new(), File::open(&self.ledger));
        for _ in 0..callers {
            let (ledger, fleet) = (self.ledger.clone(), fleet.clone());
            calling.spawn(callers::call(ledger, number, fleet, file.clone()));
        }
        let connections = JoinSet::new();
        *lock(&self.server) = Some(Server { number, fleet, connections, callers: calling, file });
    }

    /// Something breaks.
    async fn disturb(self: &Arc<Self>, callers: u64) {
        match below(18) {
            0 => self.restart_server(callers).await,
            16 => {
                // A server that knows nothing but its file, and then a worker that is lost.
                self.restart_server(callers).await;
                sleep(millis(200, 1_500)).await;
                let at = below(lock(&self.clients).len() as u64) as usize;
                let vanish = one_in(2);
                lock(&self.clients)[at].kill(self, vanish);
            }
            1 => {
                let fleet = self.fleet();
                let who = fleet.and_then(|fleet| {
                    let roster = fleet.status();
                    let at = below(roster.len().max(1) as u64) as usize;
                    let id = roster.get(at)?.info.id().clone();
                    fleet.kick(&id)
                });
                let Some(who) = who else { return };
                self.kicked.store(true, Ordering::Relaxed);
                self.ledger.tell(format!("{who} is kicked"));
                let processes = lock(&self.processes);
                for process in processes.values().filter(|process| process.client == who) {
                    process.handle_kicked();
                }
            }
            2..=5 => {
                let at = below(lock(&self.clients).len() as u64) as usize;
                let vanish = one_in(2);
                lock(&self.clients)[at].kill(self, vanish);
            }
            6 => {
                let at = below(lock(&self.clients).len() as u64) as usize;
                lock(&self.clients)[at].double(self);
            }
            _ => {
                let processes = lock(&self.processes);
                let at = below(processes.len().max(1) as u64) as usize;
                let Some(process) = processes.values().nth(at) else { return };
                let fault = match below(5) {
                    0 => Fault::Close,
                    1 => Fault::Reset,
                    2 => match below(3) {
                        0 => Fault::Silence { to_server: true, to_client: false },
                        1 => Fault::Silence { to_server: false, to_client: true },
                        _ => Fault::Silence { to_server: true, to_client: true },
                    },
                    _ => Fault::Delay(millis(50, 1_500)),
                };
                self.ledger.tell(format!("{} has {fault:?}", process.client));
                process.disturb(fault);
            }
        }
    }

    async fn restart_server(self: &Arc<Self>, callers: u64) {
        let Some(mut server) = self.take_server() else { return };
        let number = server.number;
        match below(3) {
            0 => {
                self.ledger.tell(format!("server {number} is killed"));
                server.callers.abort_all();
                server.connections.abort_all();
                drop(server);
            }
            1 => {
                self.ledger.tell(format!("server {number} closes"));
                server.fleet.close();
                self.end_callers(&mut server.callers).await;
            }
            _ => {
                self.ledger.tell(format!("server {number} quits"));
                let within = Duration::from_secs(2);
                if timeout(within * 2, server.fleet.quit(within)).await.is_err() {
                    self.ledger.violation("quit takes longer than it may");
                }
                self.end_callers(&mut server.callers).await;
            }
        }
        sleep(millis(0, 1_500)).await;
        self.start_server(callers);
    }

    /// Waits for everybody who calls.
    pub(super) async fn end_callers(&self, callers: &mut JoinSet<()>) {
        let ended = timeout(HANG, async {
            while let Some(ended) = callers.join_next().await {
                if let Err(error) = ended {
                    self.ledger.violation(format!("a caller failed: {error}"));
                }
            }
        });
        if ended.await.is_err() {
            self.ledger.violation("a caller hangs");
        }
    }
}

/// A task that ends with its handle.
#[derive(Debug)]
pub(super) struct Task(pub(super) JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
