//! What a client is told before it runs.

use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::time::Duration;

use dp_core::engine::Limits;
use dp_core::net::address::DEFAULT_ADDRESS;
use dp_core::net::{ClientGate, ClientTls, Token};
use dp_core::{DistributedWorker, WorkerInfo};

use crate::client::{Client, ClientError};

/// The maximum number of workers of one client. It is the default maximum of a server for all its clients.
pub(crate) const MAX_WORKERS: usize = 1 << 20;

/// Settings of a [`Client`] that is about to run; made by [`Client::builder`].
///
/// `C` is how it makes its workers: by [`Default`], or by what [`worker`](Self::worker) was given.
#[must_use = "a builder does nothing before `run()`"]
pub struct ClientBuilder<W, C = DefaultConstructor> {
    constructor: C,
    settings: Settings,
    worker: PhantomData<fn() -> W>,
}

/// Everything that can be set, but for the constructor.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) server: String,
    /// An engine is asked for, which this program was built without.
    #[cfg(not(feature = "nats"))]
    pub(crate) engine: bool,
    #[cfg(feature = "nats")]
    pub(crate) engine: Result<Option<dp_nats::Settings>, dp_nats::SettingsError>,
    pub(crate) id: Option<String>,
    /// The rank that a launcher has given is added to the id.
    pub(crate) ranked: bool,
    pub(crate) workers: usize,
    pub(crate) connect_for: Option<Duration>,
    pub(crate) after_loss: AfterLoss,
    pub(crate) security: Security,
    pub(crate) limits: Limits,
}

/// How the server and this client know each other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Security {
    pub(crate) token: Option<TokenSource>,
    pub(crate) tls_ca: Option<PathBuf>,
    /// This client's own certificate, and its key.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
    pub(crate) tls_name: Option<String>,
    /// Users of this machine whose processes may be the server behind a Unix socket.
    pub(crate) users: Vec<u32>,
}

/// Where the shared secret is.
#[derive(Debug, Clone)]
pub(crate) enum TokenSource {
    Given(Token),
    File(PathBuf),
    /// `DP_TOKEN`, if that is set.
    Environment,
}

impl Security {
    /// Reads the files.
    pub(crate) fn gate(&self) -> Result<ClientGate, ClientError> {
        let token = match &self.token {
            None => None,
            Some(TokenSource::Given(token)) => Some(token.clone()),
            Some(TokenSource::File(path)) => {
                Some(Token::read(path).map_err(|error| error.of("--token-file or DP_TOKEN_FILE"))?)
            }
            Some(TokenSource::Environment) => Token::from_env()?,
        };
        let identity = self.identity.as_ref().map(|(cert, key)| (cert.as_path(), key.as_path()));
        let tls = match &self.tls_ca {
            Some(ca) => Some(ClientTls::read(ca, identity, self.tls_name.as_deref())?),
            // A secret of the user's would travel to whoever is there.
            None if identity.is_some() || self.tls_name.is_some() => {
                return Err(ClientError::NoTlsCa);
            }
            None => None,
        };
        Ok(ClientGate { tls, token })
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            server: DEFAULT_ADDRESS.to_owned(),
            #[cfg(feature = "nats")]
            engine: Ok(None),
            #[cfg(not(feature = "nats"))]
            engine: false,
            id: None,
            ranked: false,
            workers: 1,
            connect_for: None,
            after_loss: AfterLoss::Reconnect(None),
            security: Security::default(),
            limits: Limits::default(),
        }
    }
}

/// What a client does that has lost its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AfterLoss {
    /// It ends with an error.
    Exit,
    /// It tries to come back: for so long, or for ever.
    Reconnect(Option<Duration>),
}

/// Makes workers by `W::default()`. Where `W` has none, [`ClientBuilder::worker`] takes another way.
#[derive(Debug, Clone, Copy)]
pub struct DefaultConstructor;

/// Makes workers by what [`ClientBuilder::worker`] was given.
pub struct Given<F>(F);

impl<F> fmt::Debug for Given<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Given")
    }
}

/// A way to make workers of type `W`.
pub trait Constructor<W>: sealed::Sealed {
    #[doc(hidden)]
    fn into_function(self) -> impl Fn(&WorkerInfo) -> W + Send + Sync + 'static;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::DefaultConstructor {}
    impl<F> Sealed for super::Given<F> {}
}

impl<W: Default> Constructor<W> for DefaultConstructor {
    fn into_function(self) -> impl Fn(&WorkerInfo) -> W + Send + Sync + 'static {
        |_info: &WorkerInfo| W::default()
    }
}

impl<W, F: Fn(&WorkerInfo) -> W + Send + Sync + 'static> Constructor<W> for Given<F> {
    fn into_function(self) -> impl Fn(&WorkerInfo) -> W + Send + Sync + 'static {
        self.0
    }
}

impl<W: DistributedWorker> ClientBuilder<W> {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { constructor: DefaultConstructor, settings, worker: PhantomData }
    }

    /// How to make a worker; may be left out where `W` is [`Default`]. It is called once for each
    /// worker, and again for one whose `&mut self` method panicked.
    pub fn worker<F>(self, constructor: F) -> ClientBuilder<W, Given<F>>
    where
        F: Fn(&WorkerInfo) -> W + Send + Sync + 'static,
    {
        ClientBuilder {
            constructor: Given(constructor),
            settings: self.settings,
            worker: PhantomData,
        }
    }
}

/// Settings. Each is also an option and an environment variable of the program, see
/// [`ClientArgs`](crate::ClientArgs).
impl<W: DistributedWorker, C> ClientBuilder<W, C> {
    /// Where the server is: `HOST:PORT`; default `127.0.0.1:8147`. What is left out (`lab`, `:9000`)
    /// is taken from the default.
    ///
    /// `unix:PATH` is a Unix socket of a server on this machine, which has to belong to the same user,
    /// or to root, or to one that [`allow_uid`](Self::allow_uid) names. TLS is not used there; a
    /// [`token`](Self::token) is.
    pub fn server(mut self, address: impl Into<String>) -> Self {
        self.settings.server = address.into();
        self
    }

    /// The NATS server that carries the connection, in place of [`server`](Self::server); the server has
    /// to be given the same.
    #[cfg(feature = "nats")]
    pub fn engine(mut self, engine: dp_nats::Settings) -> Self {
        self.settings.engine = Ok(Some(engine));
        self
    }

    /// The client's name, which no other client of the server may have: 1 to 255 bytes without white
    /// space, control or format characters, `,`, `[` and `]`. Default: the name in its
    /// [certificate](Self::tls_identity), else host name and process id, `lab1-4711`. A process id below
    /// 1000 is what processes in other containers have, too: then six random characters follow,
    /// `lab1-1-x7k2pq`.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.settings.id = Some(id.into());
        self
    }

    /// Adds the rank that a launcher has given to this process to the id: `ID-3`; without an id, the
    /// name of the worker's type with the rank is used, `greeter-3`. Nothing changes where no launcher
    /// says a rank: see [`launch`](dp_core::net::launch). Default: no; the programs do.
    pub fn ranked_id(mut self) -> Self {
        self.settings.ranked = true;
        self
    }

    /// The secret that this client shares with its server; default: none. Both prove it to each other,
    /// and neither sends it: this client does nothing for a server that does not have it.
    pub fn token(mut self, token: Token) -> Self {
        self.settings.security.token = Some(TokenSource::Given(token));
        self
    }

    /// The same, read from a file when the client is built.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.settings.security.token = Some(TokenSource::File(path.into()));
        self
    }

    /// TLS 1.3, with the CA that has signed the server's certificate, a PEM file that is read when the
    /// client is built; default: none.
    pub fn tls_ca(mut self, ca: impl Into<PathBuf>) -> Self {
        self.settings.security.tls_ca = Some(ca.into());
        self
    }

    /// This client's own certificate and its key, PEM files, for a server that asks for them. The
    /// server knows the client by the name in it: that is its id. Only with
    /// [`tls_ca`](Self::tls_ca); default: none.
    pub fn tls_identity(mut self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.settings.security.identity = Some((cert.into(), key.into()));
        self
    }

    /// The name that the server's certificate has to have; default: the host in its address, or, where an
    /// engine carries the connections, the name of the job. Only with
    /// [`tls_ca`](Self::tls_ca).
    pub fn tls_name(mut self, name: impl Into<String>) -> Self {
        self.settings.security.tls_name = Some(name.into());
        self
    }

    /// A user, by number, whose process may be the server behind a Unix socket; may be given several
    /// times. Default: only this client's own user, and root.
    pub fn allow_uid(mut self, user: u32) -> Self {
        self.settings.security.users.push(user);
        self
    }

    /// How many workers it hosts, from 1 to 1,048,576; default 1. With an id of `c1`, the only one is `c1`;
    /// several are `c1/1`, `c1/2` and so on.
    pub fn workers(mut self, workers: usize) -> Self {
        self.settings.workers = workers;
        self
    }

    /// How long to keep trying to join before it gives up. Default: for ever.
    pub fn connect_for(mut self, limit: Duration) -> Self {
        self.settings.connect_for = Some(limit);
        self
    }

    /// Ends with [`ClientError::Lost`] when the server is lost, instead of trying to come back.
    pub fn exit_on_disconnect(mut self) -> Self {
        self.settings.after_loss = AfterLoss::Exit;
        self
    }

    /// How long to try to come back to a server that was lost before it gives up. Default: for
    /// ever.
    pub fn reconnect_for(mut self, limit: Duration) -> Self {
        self.settings.after_loss = AfterLoss::Reconnect(Some(limit));
        self
    }

    /// The longest message to or from the server, in bytes; default 256 MiB. Both sides have this
    /// limit: raise it at the server too.
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.settings.limits.max_message = bytes;
        self
    }

    /// How long the server may take to answer once connected; default 10 s.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.settings.limits.handshake_timeout = timeout;
        self
    }

    /// How many calls may wait in one worker; default 65,536.
    pub fn max_queue(mut self, calls: usize) -> Self {
        self.settings.limits.max_queue = calls;
        self
    }

    /// How many bytes of arguments of unanswered calls, and of answers that wait to be written, this
    /// client holds before it refuses calls; default 512 MiB.
    pub fn max_queued_bytes(mut self, bytes: usize) -> Self {
        self.settings.limits.max_queued_bytes = bytes;
        self
    }

    /// How many result lines one worker keeps until they are reset; default 1,000,000.
    pub fn max_results(mut self, lines: usize) -> Self {
        self.settings.limits.max_results = lines;
        self
    }

    /// How many bytes of result lines one worker keeps until they are reset, each line counted with 64
    /// bytes more; default 512 MiB.
    pub fn max_result_bytes(mut self, bytes: usize) -> Self {
        self.settings.limits.max_result_bytes = bytes;
        self
    }

    /// How many metrics one worker keeps until they are reset; default 1,024.
    pub fn max_metrics(mut self, metrics: usize) -> Self {
        self.settings.limits.max_metrics = metrics;
        self
    }

    /// How many threads methods that block may hold at a time, over all workers of this client;
    /// default 1,024.
    pub fn max_threads(mut self, threads: usize) -> Self {
        self.settings.limits.max_threads = threads;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`ClientError::Address`], [`ClientError::InvalidId`], [`ClientError::NoWorkers`],
    /// [`ClientError::TooManyWorkers`], [`ClientError::OutOfRange`] and [`ClientError::NoTlsCa`] for settings that make no sense, [`ClientError::Secret`] for a file that cannot be used,
    /// [`ClientError::NoRuntime`] outside of a tokio runtime: the workers' methods run on the one
    /// that this is called in, whatever its kind.
    pub fn build(self) -> Result<Client<W>, ClientError>
    where
        C: Constructor<W>,
    {
        Client::new(self.settings, self.constructor.into_function())
    }

    /// Builds and runs: [`build`](Self::build), then [`Client::run`].
    ///
    /// # Errors
    /// Those of both.
    pub async fn run(self) -> Result<(), ClientError>
    where
        C: Constructor<W>,
    {
        self.build()?.run().await
    }
}

impl<W, C> fmt::Debug for ClientBuilder<W, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder").field("settings", &self.settings).finish_non_exhaustive()
    }
}
