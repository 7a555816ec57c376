//! Clients that are lost: both engines, and a connection for each client.
#![allow(missing_docs, missing_debug_implementations)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dp_core::engine::{Fleet, Host, HostError, Limits, io};
use dp_core::{CallError, Context, Executed, MasterWorker, distributed_worker};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::super::transport::connection;
use super::serve;

struct Worker(Arc<Shared>);

struct Shared {
    started: Semaphore,
    executions: AtomicUsize,
    /// Who has the item that never ends.
    holder: Mutex<String>,
}

#[distributed_worker]
impl Worker {
    #[remote]
    fn record(&self, ctx: &Context<Self>, line: &str) {
        ctx.result(line);
    }

    #[remote]
    async fn record_and_wait(&self, ctx: &Context<Self>) {
        ctx.result("before the end");
        self.0.started.add_permits(1);
        std::future::pending().await
    }

    /// Ends on every worker but `on`.
    #[remote]
    async fn wait_on(&self, ctx: &Context<Self>, on: &str) -> u32 {
        if *ctx.worker().id() == on {
            self.0.started.add_permits(1);
            std::future::pending::<()>().await;
        }
        7
    }

    /// Never ends for the item `poison`.
    #[remote]
    async fn work(&self, ctx: &Context<Self>, item: u32, poison: u32) -> u32 {
        self.0.executions.fetch_add(1, Ordering::SeqCst);
        if item == poison {
            *self.0.holder.lock().unwrap() = ctx.worker().id().to_string();
            self.0.started.add_permits(1);
            std::future::pending::<()>().await;
        }
        item * 10
    }

    #[remote]
    async fn meet(&self, ctx: &Context<Self>, rounds: u32) -> Result<u32, dp_core::BarrierError> {
        for _ in 0..rounds {
            ctx.synchro("round").await?;
        }
        Ok(rounds)
    }
}

struct Cluster {
    fleet: Fleet<Worker>,
    shared: Arc<Shared>,
    clients: Vec<(String, JoinHandle<Result<(), HostError>>)>,
}

impl Cluster {
    async fn new(clients: usize) -> Self {
        let shared = Arc::new(Shared {
            started: Semaphore::new(0),
            executions: AtomicUsize::new(0),
            holder: Mutex::default(),
        });
        let fleet = Fleet::new(Limits::default(), (), Handle::current());
        let mut cluster = Self { fleet, shared, clients: Vec::new() };
        for number in 1..=clients {
            cluster.join(&format!("c{number}")).await;
        }
        cluster.fleet.joined(clients).await;
        cluster
    }

    async fn join(&mut self, client: &str) {
        let (server_end, peer, client_end) = connection().await;
        let of_worker = self.shared.clone();
        let limits = Limits::default();
        let host = Host::new(client.to_owned(), 1, limits, Handle::current(), move |_| {
            Worker(of_worker.clone())
        });
        serve(&self.fleet, server_end, peer);
        let serving = io().spawn(async move { host.serve(client_end, "memory".to_owned()).await });
        self.clients.push((client.to_owned(), serving));
    }

    /// Cuts the connection of a client.
    fn kill(&self, client: &str) {
        let (_, serving) = self.clients.iter().find(|(id, _)| id == client).unwrap();
        serving.abort();
    }

    fn master(&self) -> MasterWorker<Worker> {
        self.fleet.master()
    }

    fn holder(&self) -> String {
        self.shared.holder.lock().unwrap().clone()
    }

    async fn started(&self, calls: u32) {
        self.shared.started.acquire_many(calls).await.unwrap().forget();
    }

    async fn left(&self, workers: usize) {
        for _ in 0..3_000 {
            if self.fleet.len() == workers {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("there are {} workers", self.fleet.len());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.fleet.close();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_client_ends_its_calls_at_once_and_nobody_elses() {
    needs_transport!();
    let cluster = Cluster::new(3).await;
    let master = cluster.master();
    let broadcast = tokio::spawn(master.wait_on("c2").outcomes());
    cluster.started(1).await;
    cluster.kill("c2");
    let outcomes = broadcast.await.unwrap();
    assert_eq!(outcomes.len(), 3);
    assert_eq!(outcomes.to_string(), "c[1,3] → 7\nc2 lost: connection closed (maybe executed)");
    // The old roster still has it, and a call to it is certain not to have been executed.
    let error = master.get(&"c2".parse().unwrap()).unwrap().wait_on("").await.unwrap_err();
    assert_eq!(error.executed(), Executed::No);
    assert!(matches!(error, CallError::NotSent { .. }), "{error}");
    assert_eq!(cluster.master().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_worker_had_told_of_its_record_is_not_lost() {
    needs_transport!();
    let mut cluster = Cluster::new(2).await;
    let master = cluster.master();
    master.record("told with the answer").await.unwrap();
    let waiting = tokio::spawn(master.record_and_wait().outcomes());
    cluster.started(2).await;
    // Longer than a worker keeps what it records to itself.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    cluster.kill("c1");
    cluster.left(1).await;
    let messages = |lines: Vec<dp_core::ResultLine>| -> Vec<(String, String)> {
        lines.into_iter().map(|line| (line.worker.to_string(), line.message)).collect()
    };
    let expected = |id: &str| {
        ["told with the answer", "before the end"].map(|line| (id.to_owned(), line.to_owned()))
    };
    assert_eq!(messages(cluster.master().results_of_lost()), expected("c1"));
    assert_eq!(messages(cluster.master().results().await.unwrap()), expected("c2"));
    waiting.abort();

    // Another of the same id begins with an empty record of its own; a reset drops both.
    cluster.join("c1").await;
    cluster.left(2).await;
    assert_eq!(cluster.master().results().await.unwrap().len(), 2);
    cluster.master().reset_results().await.unwrap();
    assert!(cluster.master().results_of_lost().is_empty());
    cluster.master().record("after the reset").await.unwrap();
    cluster.kill("c2");
    cluster.left(1).await;
    assert_eq!(cluster.master().results_of_lost().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_item_of_a_lost_worker_is_given_on_only_when_asked_for() {
    needs_transport!();
    let cluster = Cluster::new(3).await;
    let master = cluster.master();
    let map = master.map(0..10, |worker, item| worker.work(item, 5)).outcomes();
    let map = tokio::spawn(map);
    cluster.started(1).await;
    cluster.kill(&cluster.holder());
    let outcomes = map.await.unwrap();
    let failed: Vec<_> = outcomes.iter().filter(|o| o.result.is_err()).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].item, 5);
    assert!(matches!(failed[0].result, Err(CallError::Lost { .. })));
    assert_eq!(cluster.shared.executions.load(Ordering::SeqCst), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_item_is_skipped_after_three_lost_workers() {
    needs_transport!();
    let cluster = Cluster::new(5).await;
    let master = cluster.master();
    let map = master.map(0..40, |worker, item| worker.work(item, 5)).retry_maybe_executed();
    let map = tokio::spawn(map.outcomes());
    for _ in 0..3 {
        cluster.started(1).await;
        cluster.kill(&cluster.holder());
    }
    let outcomes = map.await.unwrap();
    assert_eq!(outcomes.len(), 40);
    let failed: Vec<_> = outcomes.iter().filter(|o| o.result.is_err()).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!((failed[0].item, failed[0].lost.len()), (5, 3));
    assert_eq!(cluster.fleet.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_at_a_random_moment_fails_a_barrier_and_is_named() {
    needs_transport!();
    for moment in 0..20_u64 {
        let cluster = Cluster::new(8).await;
        let meeting = tokio::spawn(cluster.master().meet(100_000).outcomes());
        tokio::time::sleep(Duration::from_millis(moment * 3)).await;
        cluster.kill("c3");
        let outcomes = tokio::time::timeout(Duration::from_secs(60), meeting).await;
        let outcomes = outcomes.expect("nobody hangs").unwrap();
        assert_eq!(outcomes.failures().count(), 8);
        for (worker, error) in outcomes.failures() {
            let text = error.to_string();
            if *worker.id() == "c3" {
                assert!(text.starts_with("lost: ") || text.starts_with("not sent: "), "{text}");
            } else {
                let why = text.strip_prefix("failed: barrier `round`: missing c3 in meet: ");
                let why = why.unwrap_or_else(|| panic!("{worker:?}: {text}"));
                assert!(why.starts_with("lost: ") || why.starts_with("not sent: "), "{text}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kicked_client_is_told_and_gone() {
    needs_transport!();
    let mut cluster = Cluster::new(2).await;
    assert_eq!(cluster.fleet.kick(&"c9".parse().unwrap()), None);
    assert_eq!(cluster.fleet.kick(&"c1".parse().unwrap()).as_deref(), Some("c1"));
    cluster.left(1).await;
    let (_, serving) = cluster.clients.remove(0);
    let error = serving.await.unwrap().unwrap_err();
    assert!(matches!(error, HostError::Refused { .. }), "{error}");
}

/// Forwards both ways between the connection and a pipe until it is told to stop, as a cable does.
async fn cable(
    server: &Fleet<Worker>,
    plugged: tokio::sync::watch::Receiver<bool>,
) -> tokio::io::DuplexStream {
    let (server_end, peer, mut a) = connection().await;
    let (mut b, client_end) = tokio::io::duplex(64 << 10);
    serve(server, server_end, peer);
    io().spawn(async move {
        let mut plugged = plugged;
        let unplugged = async { plugged.wait_for(|plugged| !plugged).await.is_ok() };
        let unplugged = tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut a, &mut b) => false,
            unplugged = unplugged => unplugged,
        };
        if unplugged {
            // Neither end hears anything any more, and neither is closed.
            std::future::pending::<()>().await;
        }
    });
    client_end
}

fn quick() -> Limits {
    let mut limits = Limits::default();
    limits.heartbeat_interval = Duration::from_millis(100);
    limits.heartbeat_timeout = Duration::from_millis(1_000);
    limits
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_connection_is_noticed_on_both_sides_and_the_same_client_comes_back() {
    needs_transport!();
    let fleet = Fleet::<Worker>::new(quick(), (), Handle::current());
    let shared = Arc::new(Shared {
        started: Semaphore::new(0),
        executions: AtomicUsize::new(0),
        holder: Mutex::default(),
    });
    let of_worker = shared.clone();
    let built = Arc::new(AtomicUsize::new(0));
    let count = built.clone();
    let limits = Limits::default();
    let host = Host::new("c1".to_owned(), 1, limits, Handle::current(), move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        Worker(of_worker.clone())
    });
    let host = Arc::new(host);
    let (pull, plugged) = tokio::sync::watch::channel(true);
    let stream = cable(&fleet, plugged).await;
    let serving = host.clone();
    let serving = io().spawn(async move { serving.serve(stream, "memory".to_owned()).await });
    fleet.joined(1).await;
    let master = fleet.master();
    master.record("kept").await.unwrap();
    // Idle for longer than the timeout: heartbeats keep it.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(fleet.len(), 1);

    let waiting = tokio::spawn(master.record_and_wait().outcomes());
    shared.started.acquire().await.unwrap().forget();
    pull.send(false).unwrap();
    let outcomes = waiting.await.unwrap();
    let text = outcomes.to_string();
    assert_eq!(text, "c1 lost: no sign of life for 1s (heartbeat_timeout) (maybe executed)");
    let error = serving.await.unwrap().unwrap_err();
    assert!(matches!(error, HostError::Lost { .. }), "{error}");

    // The same worker again: not built anew, and its record is still there.
    let (_plugged, plugged) = tokio::sync::watch::channel(true);
    let stream = cable(&fleet, plugged).await;
    let serving = host.clone();
    io().spawn(async move { serving.serve(stream, "memory".to_owned()).await });
    fleet.joined(1).await;
    let messages: Vec<String> =
        fleet.master().results().await.unwrap().into_iter().map(|line| line.message).collect();
    assert_eq!(messages, ["kept", "before the end"]);
    assert!(fleet.master().results_of_lost().is_empty(), "they would be counted twice");
    assert_eq!(built.load(Ordering::SeqCst), 1);

    // A connection of the same process takes the place of one that the server believes in.
    let (_plugged, plugged) = tokio::sync::watch::channel(true);
    let stream = cable(&fleet, plugged).await;
    let serving = host.clone();
    let mut events = fleet.events();
    io().spawn(async move { serving.serve(stream, "memory".to_owned()).await });
    let mut seen = Vec::new();
    while seen.len() < 2 {
        seen.push(format!("{:?}", events.recv().await.unwrap()));
    }
    assert!(seen[0].contains("replaced by a new connection"), "{seen:?}");
    assert!(seen[1].starts_with("Arrived"), "{seen:?}");
    assert_eq!(fleet.master().wait_on("").await.unwrap().into_values(), [7]);
    fleet.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_worker_is_never_taken_for_lost() {
    needs_transport!();
    struct Busy;
    #[distributed_worker]
    impl Busy {
        #[remote]
        fn block(&mut self, millis: u64) -> u64 {
            std::thread::sleep(Duration::from_millis(millis));
            millis
        }
    }
    let fleet = Fleet::<Busy>::new(quick(), (), Handle::current());
    let (server_end, peer, client_end) = connection().await;
    serve(&fleet, server_end, peer);
    let limits = Limits::default();
    let host = Host::new("c1".to_owned(), 4, limits, Handle::current(), |_| Busy);
    io().spawn(async move { host.serve(client_end, "memory".to_owned()).await });
    fleet.joined(4).await;
    let blocked = fleet.master().block(3_000).await.unwrap();
    assert_eq!(blocked.len(), 4);
    fleet.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_in_one_process_share_their_threads_and_nothing_else() {
    needs_transport!();
    struct Named(String);
    #[distributed_worker]
    impl Named {
        #[remote]
        fn name(&self) -> String {
            self.0.clone()
        }
    }
    let fleet = Fleet::<Named>::new(quick(), (), Handle::current());
    let named = |info: &dp_core::WorkerInfo| Named(info.id().to_string());
    let first = Host::new("c1".to_owned(), 1, Limits::default(), Handle::current(), named);
    let second = first.beside("c2".to_owned(), 2, named);
    for host in [first, second] {
        let (server_end, peer, client_end) = connection().await;
        serve(&fleet, server_end, peer);
        io().spawn(async move { host.serve(client_end, "memory".to_owned()).await });
    }
    fleet.joined(3).await;
    assert_eq!(fleet.master().name().await.unwrap().into_values(), ["c1", "c2/1", "c2/2"]);
    fleet.close();
}
