//! A client and its life: join, work, quit.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dp_core::engine::text::{PeerText, is_plain};
use dp_core::engine::{self, Host, HostError, OutOfRange};
#[cfg(unix)]
use dp_core::net::TrustedUsers;
use dp_core::net::address::{self, Address, AddressError};
use dp_core::net::launch::{Place, PlaceError};
use dp_core::net::{ClientGate, ClientTls, GateError, SecretError, Secured, Socket, files};
use dp_core::{DistributedWorker, InvalidId, WorkerId, WorkerInfo};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::builder::{AfterLoss, ClientBuilder, MAX_WORKERS, Settings};
use crate::connect::{Attempts, Connected, Holder, Target, connect};

/// The files that a client opens: its event queues, and the connection.
const FILES: usize = 10;
/// The threads that a client starts by itself: for connections, and for methods.
const THREADS: usize = 4;

/// A client: hosts workers of type `W`, and does what its server says until that says quit.
///
/// ```no_run
/// use dp_client::Client;
///
/// # use dp_core::distributed_worker;
/// # struct Greeter(usize);
/// # impl Greeter { fn new(index: usize) -> Self { Self(index) } }
/// # #[distributed_worker]
/// # impl Greeter {
/// #     #[remote]
/// #     fn index(&self) -> usize { self.0 }
/// # }
/// # async fn example() -> Result<(), dp_client::ClientError> {
/// Client::<Greeter>::builder()
///     .server("192.0.2.1:8147")
///     .id("c1")
///     .workers(4) // c1/1 .. c1/4, over one connection
///     .worker(|info| Greeter::new(info.index()))
///     .run()
///     .await?;
/// # Ok(())
/// # }
/// ```
pub struct Client<W: DistributedWorker> {
    id: WorkerId,
    server: Target,
    workers: usize,
    connect_for: Option<Duration>,
    after_loss: AfterLoss,
    gate: Gate,
    handshake_timeout: Duration,
    host: Arc<Host<W>>,
}

impl<W: DistributedWorker> Client<W> {
    /// A client yet to be set up and run.
    pub fn builder() -> ClientBuilder<W> {
        ClientBuilder::new(Settings::default())
    }

    pub(crate) fn new(
        settings: Settings,
        constructor: impl Fn(&WorkerInfo) -> W + Send + Sync + 'static,
    ) -> Result<Self, ClientError> {
        let server = Target::of(&settings)?;
        let Settings { id, ranked, workers, connect_for, after_loss, security, limits, .. } =
            settings;
        let runtime = Handle::try_current().map_err(|_| ClientError::NoRuntime)?;
        if workers == 0 {
            return Err(ClientError::NoWorkers);
        }
        if workers > MAX_WORKERS {
            return Err(ClientError::TooManyWorkers { workers });
        }
        limits.check()?;
        OutOfRange::check_time("connect_for", connect_for.unwrap_or_default())?;
        if let AfterLoss::Reconnect(Some(limit)) = after_loss {
            OutOfRange::check_time("reconnect_for", limit)?;
        }
        files::check_room(FILES, THREADS).map_err(ClientError::NoRoom)?;
        let gate = security.gate()?;
        // The server knows it by the name in its certificate.
        let proven = || gate.tls.as_ref().and_then(ClientTls::own_name).map(str::to_owned);
        let place = if ranked { Place::of_environment()? } else { Place::default() };
        let name = match (id, place.telling_rank()) {
            (Some(id), _) => Some(place.id(&id)),
            (None, None) => proven(),
            (None, Some(_)) => {
                proven().or_else(|| Some(place.id(&type_name(&W::contract().worker))))
            }
        };
        let id = WorkerId::new(name.unwrap_or_else(default_id))?;
        if workers > 1 {
            // The longest id among the workers' must be one too.
            WorkerId::new(format!("{id}/{workers}"))?;
        }
        let gate = Gate::new(server.address(), gate, security.users);
        let handshake_timeout = limits.handshake_timeout;
        let host = Arc::new(Host::new(id.to_string(), workers, limits, runtime, constructor));
        Ok(Self { id, server, workers, connect_for, after_loss, gate, handshake_timeout, host })
    }

    /// Its id. The workers' ids are made of it.
    pub fn id(&self) -> &WorkerId {
        &self.id
    }

    /// How many workers it hosts.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Joins the server, for as long as that takes, and does what it says until it says quit.
    ///
    /// While the server cannot be reached it keeps trying, with pauses that grow to a second or two,
    /// and says so in the log: at once, and then less and less often.
    ///
    /// Where another client has its id, it waits to see whether that one has vanished, and the server
    /// only has not noticed yet: it keeps trying until the server has heard of the other one again.
    ///
    /// When the server is lost, whatever it had called ends here; then the client tries to come
    /// back, to the same server or to one that was started in its place. Its workers are still the
    /// same, with their state and what they have recorded.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when the server does not want this client, [`ClientError::Lost`] when
    /// it was lost and [`exit_on_disconnect`](ClientBuilder::exit_on_disconnect) is set,
    /// [`ClientError::NotReached`] when the time for trying was up, [`ClientError::Untrusted`] when
    /// one side does not trust the other, and [`ClientError::Protocol`] when the other side is no
    /// server of this version of dp.
    ///
    /// # Cancel safety
    /// Dropping it disconnects: to the server, the client is lost.
    pub async fn run(self) -> Result<(), ClientError> {
        // On the I/O runtime, where a method that blocks is in nobody's way. It is aborted when this
        // future is dropped.
        let mut tasks = JoinSet::new();
        tasks.spawn_on(self.serve(), engine::io());
        match tasks.join_next().await {
            Some(Ok(outcome)) => outcome,
            Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The I/O runtime lives as long as the process.
            Some(Err(_)) | None => Err(ClientError::NoRuntime),
        }
    }

    async fn serve(self) -> Result<(), ClientError> {
        let Self { server: target, host, gate, .. } = self;
        let server = target.address().to_string();
        let mut attempts = Attempts::new(&server, self.connect_for, Instant::now());
        let mut holder = None;
        loop {
            let Connected { stream, address, carrier } = connect(&target, &mut attempts).await?;
            tracing::debug!("connected to {address}");
            let begun = tokio::time::Instant::now();
            let passing = timeout(self.handshake_timeout, gate.pass(stream)).await;
            let stream = match passing {
                Ok(Ok(stream)) => stream,
                Ok(Err(GateError::Untrusted { reason })) => {
                    return Err(ClientError::Untrusted { server, reason });
                }
                Ok(Err(error)) => {
                    attempts.failed(io::Error::other(error)).await?;
                    continue;
                }
                Err(_) => {
                    attempts.failed(io::ErrorKind::TimedOut.into()).await?;
                    continue;
                }
            };
            let began = Instant::now();
            let served = host.serve_begun(stream, address, begun).await;
            carrier.close().await;
            match served {
                Ok(()) => {
                    tracing::info!("the server at {server} said quit");
                    return Ok(());
                }
                Err(HostError::Lost { reason }) => match self.after_loss {
                    AfterLoss::Exit => return Err(ClientError::Lost { server, reason }),
                    AfterLoss::Reconnect(limit) => {
                        tracing::warn!("the server at {server} is lost: {reason}; coming back");
                        attempts.lost(limit, began, Instant::now());
                        holder = None;
                        // With a pause, a part of which is random: else all clients of a server
                        // that was restarted would come at once.
                        attempts.pause().await;
                    }
                },
                Err(HostError::Refused { reason, silent: Some(silent) })
                    if !holder.get_or_insert_with(Holder::new).is_alive(silent, Instant::now()) =>
                {
                    // A predecessor that vanished, as far as anybody can tell: the server will notice.
                    let met = io::Error::other(format!("it refused this client: {reason}"));
                    if attempts.failed(met).await.is_err() {
                        return Err(ClientError::Refused { server, reason });
                    }
                }
                Err(HostError::Refused { reason, .. }) => {
                    return Err(ClientError::Refused { server, reason });
                }
                // It went away, or is stuck, before it answered: as good as not reached.
                Err(error @ (HostError::Ended { .. } | HostError::TimedOut { .. })) => {
                    attempts.failed(io::Error::other(error)).await?;
                }
                Err(error) => {
                    let reason = error.to_string();
                    // TLS lets a client in first, and tells it what it lacks behind that.
                    let remedy = match &reason {
                        reason if reason.contains("CertificateRequired") => {
                            ": give this client a certificate (--tls-cert, --tls-key)"
                        }
                        reason
                            if reason.contains("UnknownCA") | reason.contains("DecryptError") =>
                        {
                            ": the server does not know the CA of this client's certificate"
                        }
                        _ => "",
                    };
                    let reason = format!("{reason}{remedy}").into();
                    return Err(ClientError::Protocol { server, reason });
                }
            }
        }
    }
}

impl<W: DistributedWorker> fmt::Debug for Client<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("id", &self.id)
            .field("server", &self.server.address())
            .field("workers", &self.workers)
            .field("connect_for", &self.connect_for)
            .finish_non_exhaustive()
    }
}

/// How the server has to prove itself, and this client to it.
#[derive(Debug)]
struct Gate {
    gate: ClientGate,
    /// The name, or the IP address, that the server's certificate is for.
    host: String,
    /// Whose processes may be the server behind a Unix socket.
    #[cfg(unix)]
    users: Vec<u32>,
}

impl Gate {
    fn new(server: &Address, gate: ClientGate, users: Vec<u32>) -> Self {
        #[cfg(not(unix))]
        let _ = users;
        let (gate, host) = match server {
            Address::Tcp(whole) => (gate, address::host(whole)),
            Address::Engine { job, .. } => (gate, job.clone()),
            // Nobody is on the way there.
            _ => (gate.without_tls(), String::new()),
        };
        Self {
            gate,
            host,
            #[cfg(unix)]
            users,
        }
    }

    async fn pass(&self, socket: Socket) -> Result<Secured<Socket>, GateError> {
        #[cfg(unix)]
        if let Socket::Unix(stream) = &socket {
            let users = TrustedUsers::new(&self.users).map_err(|source| GateError::Ended {
                stage: "the look at who this process belongs to",
                source,
            })?;
            users.check(stream)?;
        }
        self.gate.pass(socket, &self.host).await
    }
}

/// The name of a worker's type as a part of an id.
fn type_name(worker: &str) -> String {
    worker.split('<').next().unwrap_or_default().to_lowercase()
}

/// Host name and process id, with what an id may not have replaced by `-`.
fn default_id() -> String {
    let host = hostname::get().unwrap_or_default();
    id_of(&host.to_string_lossy(), std::process::id(), RandomState::new().hash_one(0))
}

/// A low process id tells nothing: each container begins to count at 1, and so does each machine that
/// boots the same image. Then part of `random` is in the id.
fn id_of(host: &str, process: u32, random: u64) -> String {
    const LONGEST: usize = 200;
    const TELLING: u32 = 1000;
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let allowed = |c: char| !(c.is_whitespace() || !is_plain(c) || ",[]/".contains(c));
    let mut name = String::new();
    for char in host.chars() {
        if name.len() + char.len_utf8() > LONGEST {
            break;
        }
        name.push(if allowed(char) { char } else { '-' });
    }
    if name.is_empty() {
        name.push_str("client");
    }
    let mut id = format!("{name}-{process}");
    if process < TELLING {
        id.push('-');
        for place in 0..6 {
            let letter = (random >> (5 * place)) % 32;
            id.push(usize::try_from(letter).map_or('a', |letter| char::from(LETTERS[letter])));
        }
    }
    id
}

/// Why a client ended other than by the server's quit.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The client was built outside of a tokio runtime.
    #[error("a client needs a tokio runtime: build and run it within one")]
    NoRuntime,
    /// NATS is to carry the connection, and this program was built without it.
    #[error(
        "DP_ENGINE asks for NATS, which this program was built without: build it with the feature \
         `nats` of dp-client, or unset the variable"
    )]
    WithoutNats,
    /// A client hosts at least one worker.
    #[error("a client hosts at least one worker: `workers` is 0")]
    NoWorkers,
    /// A client hosts no more workers than a server takes, unless that is told another number.
    #[error("a client hosts 1 to {MAX_WORKERS} workers, not {workers}: start several clients")]
    TooManyWorkers {
        /// What was given.
        workers: usize,
    },
    /// A setting makes no sense.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// The system lets this process open too few files, or start too few threads.
    #[error("cannot start the client: {0}")]
    NoRoom(io::Error),
    /// The server's address is none.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The id cannot be one.
    #[error(transparent)]
    InvalidId(#[from] InvalidId),
    /// The server could not be reached, and the time for trying is up.
    #[error("cannot reach the server at {server} within {limit:?}")]
    NotReached {
        /// The address, as it was given.
        server: String,
        /// How long it was to be tried.
        limit: Duration,
        /// What the last attempt met.
        source: io::Error,
    },
    /// The server does not want this client, for a reason that does not pass: do not try again.
    #[error("the server at {server} refused this client: {reason}")]
    Refused {
        /// The address, as it was given.
        server: String,
        /// Why.
        reason: PeerText,
    },
    /// The connection ended, and the server had not said quit.
    #[error("the server at {server} is lost: {reason}")]
    Lost {
        /// The address, as it was given.
        server: String,
        /// How it ended.
        reason: PeerText,
    },
    /// One side does not trust the other, or lacks what it takes to prove itself: a token, or a
    /// certificate.
    #[error("cannot join the server at {server}: {reason}")]
    Untrusted {
        /// The address, as it was given.
        server: String,
        /// What was wrong, and the remedy.
        reason: PeerText,
    },
    /// What is to carry the connection is no NATS server's address.
    #[cfg(feature = "nats")]
    #[error(transparent)]
    Engine(#[from] dp_nats::SettingsError),
    /// What a launcher says of this process makes no sense.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The token, a certificate or a key cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A certificate of this client's, or a name for the server's, was given, and no CA.
    #[error(
        "TLS needs the CA that has signed the server's certificate: give it with `tls_ca` (--tls-ca)"
    )]
    NoTlsCa,
    /// What answered is no dp server, or one of another version.
    #[error("cannot join the server at {server}: {reason}")]
    Protocol {
        /// The address, as it was given.
        server: String,
        /// What it was instead.
        reason: PeerText,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_id_is_host_and_process() {
        assert_eq!(id_of("lab1", 4711, 0), "lab1-4711");
        assert_eq!(id_of("", 4711, 0), "client-4711");
        assert_eq!(id_of("my [old] host,1/2", 4711, 0), "my--old--host-1-2-4711");
        assert_eq!(id_of("a\u{202e}b\u{200b}", 4711, 0), "a-b--4711");
    }

    #[test]
    fn the_first_processes_of_two_containers_have_different_ids() {
        let ids = || id_of("lab1", 1, RandomState::new().hash_one(0));
        assert_ne!(ids(), ids());
        assert_eq!(id_of("lab1", 1, 1), "lab1-1-baaaaa");
    }

    #[test]
    fn the_default_id_is_a_valid_one() {
        assert!(WorkerId::new(default_id()).is_ok());
        assert!(WorkerId::new(id_of(&"ü".repeat(300), 999, u64::MAX)).is_ok());
    }
}
