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
use dp_core::net::ServerGate;
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::address;
use crate::builder::{Settings, StartError};
use crate::traffic::{Counted, Traffic};

/// Connections beyond the cap on clients that are let in far enough to be told why they can't join.
const SPARE_CONNECTIONS: usize = 64;
/// Connections that the system keeps for us until they are accepted: a fleet starts all at once.
const BACKLOG: u32 = 4096;

/// A server that listens. Dropping it closes the listener and every connection.
#[derive(Debug)]
pub(crate) struct Listening {
    addresses: Vec<SocketAddr>,
    stop: watch::Sender<bool>,
    /// One for each listener; each owns the connections that it has accepted.
    tasks: JoinSet<()>,
}

impl Listening {
    pub(crate) async fn start<W: DistributedWorker>(
        settings: &Settings,
        fleet: &Fleet<W>,
        traffic: Arc<Traffic>,
    ) -> Result<Self, StartError> {
        let bind = settings.bind.clone();
        let gate = settings.security.gate()?;
        let open_to_all = gate.token.is_none() && gate.tls.is_none() && !settings.security.insecure;
        // A socket belongs to the runtime in which it was made.
        let opened = engine::io().spawn(async move { open(&bind, open_to_all).await }).await;
        let listeners = opened.unwrap_or(Err(StartError::NoRuntime))?;
        if gate.token.is_none()
            && gate.tls.as_ref().is_some_and(|tls| !tls.is_mutual())
            && listeners.iter().any(|(address, _)| !address.ip().is_loopback())
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
        let (mut addresses, mut tasks) = (Vec::new(), JoinSet::new());
        for (address, listener) in listeners {
            tracing::info!("listening on {address}");
            let task = accept(listener, Arc::clone(&door), stopped.clone());
            tasks.spawn_on(task, engine::io());
            addresses.push(address);
        }
        Ok(Self { addresses, stop, tasks })
    }

    /// The first of the addresses, which is never missing.
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Closes the listeners, very soon; connections stay.
    pub(crate) fn stop_accepting(&self) {
        self.stop.send_replace(true);
    }

    /// Completes once every connection has ended, after [`stop_accepting`](Self::stop_accepting).
    /// What has not ended `within` that time is cut off.
    pub(crate) async fn ended(&mut self, within: Duration) {
        let mut tasks = std::mem::take(&mut self.tasks);
        let wait = async move {
            let ended = timeout(within, async { while tasks.join_next().await.is_some() {} }).await;
            if ended.is_err() {
                tasks.shutdown().await;
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

/// Listens on every address that `bind` stands for. One that is `open_to_all` must be this machine's
/// own.
async fn open(bind: &str, open_to_all: bool) -> Result<Vec<(SocketAddr, TcpListener)>, StartError> {
    open_at(bind, address::complete(bind), open_to_all).await
}

/// The same where what `bind` leaves out has been added already.
pub(crate) async fn open_at(
    bind: &str,
    whole: String,
    open_to_all: bool,
) -> Result<Vec<(SocketAddr, TcpListener)>, StartError> {
    let resolved = lookup_host(&whole)
        .await
        .map_err(|source| StartError::Resolve { bind: bind.to_owned(), source })?;

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
                    StartError::Listen { address, source }
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
    listener: TcpListener,
    door: Arc<Door<W>>,
    mut stopped: watch::Receiver<bool>,
) {
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
            accepted = accept_one(&listener, &door.bounds) => accepted,
        };
        match accepted {
            Ok((stream, peer, handshake)) => {
                pause = Pause::default();
                match Arc::clone(&door.bounds.places).try_acquire_owned() {
                    Ok(place) => {
                        connections.spawn(serve(stream, peer, Arc::clone(&door), place, handshake));
                    }
                    Err(_) => tracing::warn!(
                        "connection from {peer} refused: {} are open, which is the most that \
                         `max_clients` lets in",
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
                tracing::warn!("cannot accept a connection: {error}; trying again in {pause:?}");
                tokio::select! {
                    _ = stopped.wait_for(|stop| *stop) => break,
                    () = sleep(pause) => {}
                }
            }
        }
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        log_panic(ended);
    }
}

/// The next connection, once there is room for one more in the handshake.
async fn accept_one(
    listener: &TcpListener,
    bounds: &Bounds,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let room = Arc::clone(&bounds.handshakes).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, room))
}

async fn serve<W: DistributedWorker>(
    stream: TcpStream,
    peer: SocketAddr,
    door: Arc<Door<W>>,
    _place: OwnedSemaphorePermit,
    handshake: OwnedSemaphorePermit,
) {
    // A call must not wait for the reply to the one before it.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("{peer}: cannot set TCP_NODELAY: {error}");
    }
    let stream = Counted::new(stream, Arc::clone(&door.traffic));
    let admitting = async {
        let (stream, names) = door.gate.admit(stream).await.map_err(|error| error.to_string())?;
        let who = Peer::new(peer.to_string()).with_names(names);
        door.fleet.admit(stream, &who).await.map_err(|error| error.to_string())
    };
    let within = door.bounds.handshake_timeout;
    let admitted = timeout(within, admitting)
        .await
        .unwrap_or_else(|_| Err(format!("no handshake within {within:?} (handshake_timeout)")));
    drop(handshake);
    match admitted {
        Ok(client) => match client.serve().await {
            Departure { client, asked: true, .. } => tracing::debug!("client {client} quit"),
            Departure { client, reason, .. } => tracing::info!("client {client} left: {reason}"),
        },
        Err(error) => tracing::warn!("connection from {peer} refused: {error}"),
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

    #[tokio::test]
    async fn a_taken_port_is_an_error_that_names_it() {
        let (address, _held) = open("127.0.0.1:0", true).await.unwrap().remove(0);
        let error = open(&address.to_string(), true).await.unwrap_err();
        assert!(matches!(error, StartError::PortTaken { address: taken } if taken == address));
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }

    #[tokio::test]
    async fn what_others_reach_is_not_opened_to_all() {
        for bind in ["0.0.0.0:0", "[::]:0"] {
            let error = open(bind, true).await.unwrap_err();
            assert!(matches!(error, StartError::Exposed { .. }), "{error}");
            assert!(error.to_string().contains("--token-file"), "{error}");
        }
        assert!(open("0.0.0.0:0", false).await.is_ok());
    }

    #[tokio::test]
    async fn a_name_is_listened_to_on_one_port() {
        let listeners = open("localhost:0", true).await.unwrap();
        assert!(listeners.iter().all(|(address, _)| address.port() == listeners[0].0.port()));
    }

    #[tokio::test]
    async fn a_name_that_does_not_exist_is_an_error_that_quotes_it() {
        let error = open("no.such.host.invalid:1", true).await.unwrap_err();
        assert!(matches!(error, StartError::Resolve { .. }), "{error:?}");
        assert!(error.to_string().contains("no.such.host.invalid:1"));
    }
}
