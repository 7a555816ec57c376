//! Accepts connections, and hands each to the fleet in a task of its own.
//!
//! All of it lives on the I/O runtime: neither a blocked schedule nor the kind of the caller's
//! runtime can delay a connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dp_core::DistributedWorker;
use dp_core::engine::{self, Departure, Fleet, Peer};
#[cfg(feature = "nats")]
use dp_core::net::Carried;
use dp_core::net::address::{Address, host_and_port};
use dp_core::net::{GateError, ServerGate, Socket, files};
use tokio::net::{TcpListener, TcpSocket, lookup_host};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::address::DEFAULT_ADDRESS;
use crate::settings::Settings;
use crate::start::StartError;
use crate::traffic::{Counted, Traffic};
#[cfg(unix)]
use crate::unix;

/// Connections beyond the cap on clients that are let in far enough to be told why they can't join.
const SPARE_CONNECTIONS: usize = 64;
/// Connections that the system keeps for us until they are accepted: a fleet starts all at once.
const BACKLOG: u32 = 4096;

/// A server that listens. Dropping it closes the listener and every connection.
#[derive(Debug)]
pub(crate) struct Listening {
    addresses: Vec<Address>,
    /// The first one over TCP.
    tcp: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    /// One for each listener; each owns the connections that it has accepted.
    tasks: JoinSet<()>,
    #[cfg(feature = "nats")]
    nats: Option<dp_nats::Connection>,
}

impl Listening {
    pub(crate) async fn start<W: DistributedWorker>(
        settings: &Settings,
        gate: ServerGate,
        fleet: &Fleet<W>,
        traffic: Arc<Traffic>,
    ) -> Result<Self, StartError> {
        let open_to_all = gate.token.is_none() && gate.tls.is_none() && !settings.security.insecure;
        let (bind, users) = (bind(settings), settings.security.users.clone());
        // A socket belongs to the runtime in which it was made.
        let opening = async move {
            match bind {
                Some(bind) => open(&bind, &users, open_to_all).await,
                None => Ok(Vec::new()),
            }
        };
        let opened = engine::io().spawn(opening).await;
        #[cfg_attr(not(feature = "nats"), expect(unused_mut))]
        let mut listeners = opened.unwrap_or(Err(StartError::NoRuntime))?;
        #[cfg(feature = "nats")]
        let nats = match settings.engine.clone()? {
            None => None,
            // Where it is, or who we are to it, does not say who else reaches it.
            Some(engine) if open_to_all => {
                return Err(StartError::EngineExposed { engine: engine.engine() });
            }
            Some(engine) => {
                let address =
                    Address::Engine { engine: engine.engine(), job: engine.job_name().to_owned() };
                let opening = async move { dp_nats::Listener::open(&engine).await };
                let opened = engine::io().spawn(opening).await;
                let listener = opened.map_err(|_| StartError::NoRuntime)??;
                let connection = listener.connection();
                listeners.push(Listener::Nats(address, listener));
                Some(connection)
            }
        };
        let tcp = || listeners.iter().filter_map(Listener::tcp);
        if gate.token.is_none()
            && gate.tls.as_ref().is_some_and(|tls| !tls.is_mutual())
            && tcp().any(|address| !address.ip().is_loopback())
        {
            tracing::warn!(
                "TLS proves this server to its clients, and nothing to it: whoever reaches it can \
                 join; add a token (--token-file) or certificates of clients (--tls-client-ca)"
            );
        }

        let (stop, stopped) = watch::channel(false);
        let places = settings.limits.max_clients.saturating_add(SPARE_CONNECTIONS);
        let bounds = Bounds {
            places: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
            handshakes: Arc::new(Semaphore::new(
                settings.limits.max_handshakes.clamp(1, Semaphore::MAX_PERMITS),
            )),
            handshake_timeout: settings.limits.handshake_timeout,
        };
        let door = Arc::new(Door { gate, fleet: fleet.clone(), bounds, traffic });
        let (tcp, mut addresses, mut tasks) = (tcp().next(), Vec::new(), JoinSet::new());
        for listener in listeners {
            let address = listener.address();
            tracing::info!("listening on {address}");
            let (door, stopped) = (Arc::clone(&door), stopped.clone());
            let listener = Arc::new(Mutex::new(Some(listener)));
            let accepting =
                move || accept(Arc::clone(&listener), Arc::clone(&door), stopped.clone());
            tasks.spawn_on(engine::keep_up("what accepts connections", accepting), engine::io());
            addresses.push(address);
        }
        Ok(Self {
            addresses,
            tcp,
            stop,
            tasks,
            #[cfg(feature = "nats")]
            nats,
        })
    }

    /// All of them, at least one.
    pub(crate) fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The first one over TCP, if there is one.
    pub(crate) fn tcp(&self) -> Option<SocketAddr> {
        self.tcp
    }

    /// Closes the listeners, very soon; connections stay.
    pub(crate) fn stop_accepting(&self) {
        self.stop.send_replace(true);
    }

    /// Completes once every connection has ended, after [`stop_accepting`](Self::stop_accepting).
    /// What has not ended `within` that time is cut off.
    pub(crate) async fn ended(&mut self, within: Duration) {
        let mut tasks = std::mem::take(&mut self.tasks);
        #[cfg(feature = "nats")]
        let nats = self.nats.take();
        let wait = async move {
            let ended = timeout(within, async { while tasks.join_next().await.is_some() {} }).await;
            if ended.is_err() {
                tasks.shutdown().await;
            }
            #[cfg(feature = "nats")]
            if let Some(nats) = nats {
                nats.close().await;
            }
        };
        // On the I/O runtime, since the caller's may have no timers. It ends in time, or not at all
        // because the process does.
        let _ = engine::io().spawn(wait).await;
    }
}

/// How many may come in.
#[derive(Debug)]
struct Bounds {
    places: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    handshake_timeout: Duration,
}

/// What everybody who connects goes through.
#[derive(Debug)]
struct Door<W: DistributedWorker> {
    gate: ServerGate,
    fleet: Fleet<W>,
    bounds: Bounds,
    traffic: Arc<Traffic>,
}

/// Where connections come from.
#[derive(Debug)]
enum Listener {
    Tcp(SocketAddr, TcpListener),
    #[cfg(unix)]
    Unix(unix::Listener),
    #[cfg(feature = "nats")]
    Nats(Address, dp_nats::Listener),
}

impl Listener {
    fn address(&self) -> Address {
        match self {
            Self::Tcp(address, _) => Address::Tcp(address.to_string()),
            #[cfg(unix)]
            Self::Unix(listener) => Address::Unix(listener.path().to_owned()),
            #[cfg(feature = "nats")]
            Self::Nats(address, _) => address.clone(),
        }
    }

    fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address, _) => Some(*address),
            _ => None,
        }
    }

    /// The next connection, and who it is; or why that one is not let in.
    async fn accept(&mut self) -> io::Result<(Socket, Result<Peer, GateError>)> {
        match self {
            Self::Tcp(_, listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((stream.into(), Ok(Peer::new(peer.to_string()))))
            }
            #[cfg(unix)]
            Self::Unix(listener) => {
                let (stream, who) = listener.accept().await?;
                Ok((stream, who.map(Peer::new)))
            }
            #[cfg(feature = "nats")]
            Self::Nats(_, listener) => match listener.accept().await {
                Some((stream, peer)) => Ok((Socket::Carried(Carried::new(stream)), Ok(peer))),
                None => Err(io::Error::other("the connection to the NATS server is closed")),
            },
        }
    }
}

/// Where to listen. With an engine, the default address is none of them, and there may be nothing left.
fn bind(settings: &Settings) -> Option<Vec<String>> {
    #[cfg(feature = "nats")]
    let carried = !matches!(settings.engine, Ok(None));
    #[cfg(not(feature = "nats"))]
    let carried = false;
    let mut bind = match &settings.bind {
        Some(bind) => bind.clone(),
        None if carried => Vec::new(),
        None => vec![DEFAULT_ADDRESS.to_owned()],
    };
    bind.extend_from_slice(&settings.bind_also);
    (!bind.is_empty()).then_some(bind)
}

/// Listens on every address that each of `bind` stands for. Those over TCP must be this machine's own
/// if they are `open_to_all`; at those of Unix sockets processes of `users` may connect, too.
async fn open(
    bind: &[String],
    users: &[u32],
    open_to_all: bool,
) -> Result<Vec<Listener>, StartError> {
    #[cfg(not(unix))]
    let _ = users;
    // All are looked at before the first is listened to.
    let asked = bind.iter().map(|bind| bind.parse().map_err(StartError::Address));
    let asked = asked.collect::<Result<Vec<Address>, _>>()?;
    let mut listeners: Vec<Listener> = Vec::new();
    for (at, (bind, address)) in bind.iter().zip(&asked).enumerate() {
        if asked[..at].contains(address) && !bind.ends_with(":0") {
            continue;
        }
        match address {
            Address::Tcp(whole) => match open_at(bind, whole.clone(), open_to_all).await {
                Ok(opened) => {
                    listeners.extend(opened.into_iter().map(|(at, to)| Listener::Tcp(at, to)));
                }
                // Two names of one address.
                Err(StartError::PortTaken { address })
                    if listeners.iter().any(|known| known.tcp() == Some(address)) => {}
                Err(error) => return Err(error),
            },
            #[cfg(unix)]
            Address::Unix(path) => {
                listeners.push(Listener::Unix(unix::Listener::open(path, users, BACKLOG).await?));
            }
            // Nothing is parsed into others.
            _ => {}
        }
    }
    match listeners.is_empty() {
        true => Err(StartError::NoAddress { bind: bind.join(",") }),
        false => Ok(listeners),
    }
}

/// Listens on every address that `whole` stands for, which is `bind` with what that leaves out.
pub(crate) async fn open_at(
    bind: &str,
    whole: String,
    open_to_all: bool,
) -> Result<Vec<(SocketAddr, TcpListener)>, StartError> {
    let resolved = lookup_host(host_and_port(&whole)).await.map_err(|source| {
        StartError::Resolve { bind: bind.to_owned(), source: files::explained(source) }
    })?;

    let mut listeners: Vec<(SocketAddr, TcpListener)> = Vec::new();
    let mut failure = None;
    for mut address in resolved {
        if open_to_all && !address.ip().is_loopback() {
            return Err(StartError::Exposed { address });
        }
        let any_port = address.port() == 0;
        if any_port && let Some((first, _)) = listeners.first() {
            // One name, one port: clients are told a single number.
            address.set_port(first.port());
        }
        let listener = listen(address);
        match listener.and_then(|listener| Ok((listener.local_addr()?, listener))) {
            Ok(listener) if listeners.iter().all(|(known, _)| *known != listener.0) => {
                listeners.push(listener);
            }
            Ok(_) => {}
            Err(source) => {
                // A name may stand for addresses that this machine lacks, IPv6 for one.
                let tolerable = any_port || source.kind() == io::ErrorKind::AddrNotAvailable;
                let error = if source.kind() == io::ErrorKind::AddrInUse {
                    StartError::PortTaken { address }
                } else {
                    StartError::Listen { address, source: files::explained(source) }
                };
                if !tolerable {
                    return Err(error);
                }
                tracing::debug!("{error}");
                failure.get_or_insert(error);
            }
        }
    }
    match failure {
        _ if !listeners.is_empty() => Ok(listeners),
        Some(error) => Err(error),
        None => Err(StartError::NoAddress { bind: bind.to_owned() }),
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Lets a server come back at once to the port that the last one had. On Windows the option would
    // let two servers share it instead.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts until told to stop, then waits for the connections that there are.
async fn accept<W: DistributedWorker>(
    listener: Arc<Mutex<Option<Listener>>>,
    door: Arc<Door<W>>,
    mut stopped: watch::Receiver<bool>,
) {
    // Nobody else has it: it is shared with the next of these, if this one panics.
    let mut shared = listener.lock().await;
    let Some(listener) = &mut *shared else { return };
    let mut connections = JoinSet::new();
    let mut pause = Pause::default();
    loop {
        let accepted = tokio::select! {
            // An error says that the server is gone, which is also a reason to stop.
            _ = stopped.wait_for(|stop| *stop) => break,
            Some(ended) = connections.join_next() => {
                log_panic(ended);
                continue;
            }
            accepted = accept_one(listener, &door.bounds) => accepted,
        };
        match accepted {
            Ok((_, Err(error), _)) => {
                pause = Pause::default();
                tracing::warn!("connection refused: {error}");
            }
            Ok((stream, Ok(peer), handshake)) => {
                pause = Pause::default();
                match Arc::clone(&door.bounds.places).try_acquire_owned() {
                    Ok(place) => {
                        connections.spawn(serve(stream, peer, Arc::clone(&door), place, handshake));
                    }
                    Err(_) => tracing::warn!(
                        "connection from {} refused: {} are open, which is the most that \
                         `max_clients` lets in",
                        peer.address,
                        connections.len()
                    ),
                }
            }
            // That connection was given up before we came to it.
            Err(error) if is_about_one_connection(&error) => tracing::debug!("accept: {error}"),
            Err(error) => {
                // No file descriptors or no memory are left: it takes others to end before it gets
                // better, and trying without a pause would keep the thread from serving them.
                let pause = pause.longer();
                let remedy = files::remedy(&error).map(|remedy| format!(": {remedy}"));
                let remedy = remedy.unwrap_or_default();
                tracing::warn!(
                    "cannot accept a connection: {error}{remedy}; trying again in {pause:?}"
                );
                tokio::select! {
                    _ = stopped.wait_for(|stop| *stop) => break,
                    () = sleep(pause) => {}
                }
            }
        }
    }
    *shared = None;
    drop(shared);
    while let Some(ended) = connections.join_next().await {
        log_panic(ended);
    }
}

/// The next connection, once there is room for one more in the handshake.
async fn accept_one(
    listener: &mut Listener,
    bounds: &Bounds,
) -> io::Result<(Socket, Result<Peer, GateError>, OwnedSemaphorePermit)> {
    let room = Arc::clone(&bounds.handshakes).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, who) = listener.accept().await?;
    Ok((stream, who, room))
}

async fn serve<W: DistributedWorker>(
    stream: Socket,
    peer: Peer,
    door: Arc<Door<W>>,
    _place: OwnedSemaphorePermit,
    handshake: OwnedSemaphorePermit,
) {
    let gate = match &stream {
        #[cfg(unix)]
        Socket::Unix(_) => door.gate.without_tls(),
        _ => door.gate.clone(),
    };
    let stream = Counted::new(stream, Arc::clone(&door.traffic));
    let address = peer.address.clone();
    let admitting = async {
        let (stream, names) = gate.admit(stream).await.map_err(|error| error.to_string())?;
        let mut who = peer.with_names(names);
        if gate.tls.is_some() {
            // What is sent to many at once is not encrypted for each.
            who.fan_out = None;
        }
        door.fleet.admit(stream, &who).await.map_err(|error| error.to_string())
    };
    let within = door.bounds.handshake_timeout;
    // What it needs is more than all that a client needs once it is in, of whom there may be thousands.
    let admitted = timeout(within, Box::pin(admitting))
        .await
        .unwrap_or_else(|_| Err(format!("no handshake within {within:?} (handshake_timeout)")));
    drop(handshake);
    match admitted {
        Ok(client) => match client.serve().await {
            Departure { client, asked: true, .. } => tracing::debug!("client {client} quit"),
            Departure { client, reason, .. } => tracing::info!("client {client} left: {reason}"),
        },
        Err(error) => tracing::warn!("connection from {address} refused: {error}"),
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!("a connection's task failed, which is a bug in dp: {error}");
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// How long to wait after a failed accept: longer each time it fails in a row.
#[derive(Debug, Default)]
struct Pause(Duration);

impl Pause {
    const SHORTEST: Duration = Duration::from_millis(10);
    const LONGEST: Duration = Duration::from_secs(1);

    fn longer(&mut self) -> Duration {
        self.0 = (self.0 * 2).clamp(Self::SHORTEST, Self::LONGEST);
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_to_a_second_and_no_longer() {
        let mut pause = Pause::default();
        let pauses: Vec<_> = (0..9).map(|_| pause.longer().as_millis()).collect();
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
    }

    #[test]
    fn an_engine_takes_the_place_of_the_default_address_and_of_no_other() {
        let mut settings = Settings::default();
        let of = |settings: &Settings| bind(settings).unwrap_or_default();
        assert_eq!(of(&settings), [DEFAULT_ADDRESS]);
        settings.bind_also = vec!["unix:/run/lab".to_owned()];
        assert_eq!(of(&settings), [DEFAULT_ADDRESS, "unix:/run/lab"]);
        #[cfg(feature = "nats")]
        {
            settings.engine = Ok(Some(dp_nats::Settings::new("nats://lab").unwrap()));
            assert_eq!(of(&settings), ["unix:/run/lab"]);
            settings.bind_also.clear();
            assert_eq!(bind(&settings), None);
            settings.bind = Some(vec![DEFAULT_ADDRESS.to_owned()]);
            assert_eq!(of(&settings), [DEFAULT_ADDRESS]);
        }
    }

    async fn open_one(bind: &str) -> Result<Vec<(SocketAddr, TcpListener)>, StartError> {
        open_at(bind, bind.to_owned(), true).await
    }

    #[tokio::test]
    async fn several_addresses_are_listened_to_and_one_that_comes_twice_once() {
        let count = async |bind: &[&str]| {
            let bind: Vec<String> = bind.iter().map(|bind| (*bind).to_owned()).collect();
            open(&bind, &[], true).await.map(|listeners| listeners.len())
        };
        assert_eq!(count(&["127.0.0.1:0", "127.0.0.1:0"]).await.unwrap(), 2);
        let free = open_one("127.0.0.1:0").await.unwrap().remove(0).0.port();
        let (one, same) = (format!("127.0.0.1:{free}"), format!(":{free}"));
        assert_eq!(count(&[&one, &same]).await.unwrap(), 1);
        // The first is not listened to when the second is none.
        let error = count(&[&one, "lab:http"]).await.unwrap_err();
        assert!(error.to_string().contains("`http`"), "{error}");
        assert!(matches!(count(&[]).await, Err(StartError::NoAddress { .. })));
    }

    #[tokio::test]
    async fn a_taken_port_is_an_error_that_names_it() {
        let (address, _held) = open_one("127.0.0.1:0").await.unwrap().remove(0);
        let error = open_one(&address.to_string()).await.unwrap_err();
        assert!(matches!(error, StartError::PortTaken { address: taken } if taken == address));
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }

    #[tokio::test]
    async fn what_others_reach_is_not_opened_to_all() {
        for bind in ["0.0.0.0:0", "[::]:0"] {
            let error = open(&[bind.to_owned()], &[], true).await.unwrap_err();
            assert!(matches!(error, StartError::Exposed { .. }), "{error}");
            assert!(error.to_string().contains("--token-file"), "{error}");
        }
        assert!(open(&["0.0.0.0:0".to_owned()], &[], false).await.is_ok());
    }

    #[tokio::test]
    async fn a_name_is_listened_to_on_one_port() {
        let listeners = open_one("localhost:0").await.unwrap();
        assert!(listeners.iter().all(|(address, _)| address.port() == listeners[0].0.port()));
    }

    #[tokio::test]
    async fn a_name_that_does_not_exist_is_an_error_that_quotes_it() {
        let error = open_one("no.such.host.invalid:1").await.unwrap_err();
        assert!(matches!(error, StartError::Resolve { .. }), "{error:?}");
        assert!(error.to_string().contains("no.such.host.invalid:1"));
    }
}
