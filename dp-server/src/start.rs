//! From the settings to a server, or why there is none.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use dp_core::DistributedWorker;
use dp_core::engine::{Fleet, FrequencyError, OutOfRange};
use dp_core::net::address::AddressError;
use dp_core::net::{SecretError, files};
use thiserror::Error;
use tokio::runtime::Handle;

use crate::builder::{ServerBuilder, StateGiven};
use crate::export::SaveError;
use crate::launch::{self, Launched, Reached};
use crate::listen::Listening;
use crate::logs::{Logs, Recent};
#[cfg(feature = "page")]
use crate::page::Pages;
use crate::run::Runner;
use crate::runs::Runs;
use crate::server::Server;
use crate::store::Store;
use crate::traffic::Traffic;

/// The files that a server opens before any client connects, and the threads that it starts.
const FILES: usize = 16;
const THREADS: usize = 4;

impl<W: DistributedWorker, S> ServerBuilder<W, S> {
    /// Listens, and lets clients join from now on.
    ///
    /// Runs (see [`Server::run`]) will happen on the tokio runtime that this is called in, whatever
    /// its kind; connections are served by a thread of their own.
    ///
    /// # Errors
    /// [`StartError`]: the address does not exist or is taken, a setting makes no sense, or there is
    /// no tokio runtime.
    pub async fn start(self) -> Result<Server<W>, StartError>
    where
        S: StateGiven<W>,
    {
        let runtime = Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        #[cfg(not(feature = "nats"))]
        if self.settings.engine {
            return Err(StartError::WithoutNats);
        }
        for file in &self.settings.reports {
            file.check()?;
        }
        self.settings.limits.check()?;
        OutOfRange::check_time("gather_timeout", self.settings.gather_timeout)?;
        OutOfRange::check_time("quit_timeout", self.settings.quit_timeout)?;
        let (workers, most) = (self.settings.workers, self.settings.limits.max_workers);
        if workers > most {
            return Err(StartError::NeverReady { workers, most });
        }
        files::check_room(FILES, THREADS).map_err(StartError::NoRoom)?;
        let (limits, state) = (self.settings.limits.clone(), self.state.into_state());
        let fleet = Fleet::<W>::new(limits, state, runtime.clone());
        if let Some(hz) = self.settings.frequency {
            fleet.set_frequency(hz)?;
        }
        let open = |path: &PathBuf| {
            Store::open(path).map_err(|source| StartError::Results { path: path.clone(), source })
        };
        let store = self.settings.results_file.as_ref().map(open).transpose()?;
        let recent_logs = Recent::default();
        let logs = match self.settings.forward_logs {
            Some(level) => Some(
                Logs::start(&fleet, level, recent_logs.clone())
                    .map_err(|_| StartError::NoThread)?,
            ),
            None => None,
        };
        let traffic: Arc<Traffic> = Arc::default();
        let gate = launch::gate(&self.settings)?;
        let token = gate.token.clone();
        let listening = Listening::start(&self.settings, gate, &fleet, traffic.clone()).await?;
        let runner = Runner {
            fleet,
            settings: Arc::new(self.settings),
            runtime,
            turns: Arc::default(),
            runs: Runs::default(),
            store: store.map(Arc::new),
            traffic,
            recent_logs,
        };
        #[cfg(feature = "page")]
        let pages = Pages::start(&runner).await?;
        let launched = match &runner.settings.launch {
            None => None,
            Some(launch) => {
                let (clients, ready) = (launch.clients, runner.settings.workers);
                if clients > ready {
                    tracing::warn!(
                        "{clients} clients are launched, and {ready} of their workers make it ready to \
                         run (--workers)"
                    );
                }
                #[cfg(feature = "nats")]
                let engine = runner.settings.engine.clone()?.map(|engine| engine.environment());
                #[cfg(feature = "nats")]
                let engine = engine.unwrap_or_default();
                #[cfg(not(feature = "nats"))]
                let engine = Vec::new();
                let reached =
                    Reached { addresses: listening.addresses(), engine, token: token.as_ref() };
                Some(Launched::start(launch, &W::contract().worker, reached).await?)
            }
        };
        Ok(Server::new(
            runner,
            listening,
            logs,
            launched,
            #[cfg(feature = "page")]
            pages,
        ))
    }
}

/// Why a server did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// [`ServerBuilder::start`] was called outside of a tokio runtime.
    #[error("a server needs a tokio runtime: call `start()` within one")]
    NoRuntime,
    /// An address to listen on is none.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Somebody listens at that Unix socket already.
    #[error(
        "cannot listen on unix:{}: another program does; stop it, or choose another path", path.display()
    )]
    SocketTaken {
        /// The socket's file.
        path: PathBuf,
    },
    /// There is another file where a Unix socket is to be. It is left alone.
    #[error(
        "cannot listen on unix:{}: there is a file of another kind; remove it, or choose another \
         path", path.display()
    )]
    NotASocket {
        /// The file.
        path: PathBuf,
    },
    /// The system does not let us listen at that Unix socket.
    #[error("cannot listen on unix:{}", path.display())]
    Socket {
        /// The socket's file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A setting makes no sense.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// More workers are waited for than may join.
    #[error(
        "it would never be ready: {workers} workers make it so (--workers), and no more than {most} may \
         join (--max-workers)"
    )]
    NeverReady {
        /// How many make it ready.
        workers: usize,
        /// How many may join.
        most: usize,
    },
    /// The system lets this process open too few files, or start too few threads.
    #[error("cannot start the server: {0}")]
    NoRoom(io::Error),
    /// The system has no thread left.
    #[error("the system has no thread left for the clients' logs")]
    NoThread,
    /// The host name in the address could not be looked up.
    #[error("cannot find the address of `{bind}`")]
    Resolve {
        /// The address to listen on, as it was given.
        bind: String,
        /// What the system said.
        source: io::Error,
    },
    /// The host name in the address stands for no address.
    #[error("`{bind}` stands for no address")]
    NoAddress {
        /// The address to listen on, as it was given.
        bind: String,
    },
    /// Somebody listens there already.
    #[error(
        "cannot listen on {address}: the port is taken; stop the program that has it, or choose \
         another one with `--bind` (port 0 takes a free one)"
    )]
    PortTaken {
        /// The address that is taken.
        address: SocketAddr,
    },
    /// Somebody listens already where the live page, or the metrics, are to be served.
    #[error(
        "cannot serve at {address}: the port is taken; stop the program that has it, or choose another \
         one with `{option}` (port 0 takes a free one)"
    )]
    PagePortTaken {
        /// The address that is taken.
        address: SocketAddr,
        /// The option that asked for it.
        option: &'static str,
    },
    /// Others than this machine could reach it, and anybody of them could join.
    #[error(
        "listening on {address} would let everybody who reaches it join: give server and clients a \
         shared secret (--token-file or DP_TOKEN) or TLS (--tls-cert and --tls-key), or allow it with \
         --insecure"
    )]
    Exposed {
        /// The address.
        address: SocketAddr,
    },
    /// NATS is to carry connections, and this program was built without it.
    #[error(
        "DP_ENGINE asks for NATS, which this program was built without: build it with the feature \
         `nats` of dp-server, or unset the variable"
    )]
    WithoutNats,
    /// What is to carry connections is no NATS server's address.
    #[cfg(feature = "nats")]
    #[error(transparent)]
    EngineSettings(#[from] dp_nats::SettingsError),
    /// The NATS server that is to carry connections cannot be used, or the job has a server.
    #[cfg(feature = "nats")]
    #[error(transparent)]
    Engine(#[from] dp_nats::NatsError),
    /// Whoever reaches the NATS server could join.
    #[cfg(feature = "nats")]
    #[error(
        "over {engine} everybody may join who reaches it: give server and clients a shared secret \
         (--token-file or DP_TOKEN) or TLS (--tls-cert and --tls-key), or, where the NATS server lets \
         in nobody else, allow it with --insecure"
    )]
    EngineExposed {
        /// Where the NATS server is.
        engine: String,
    },
    /// The file that results are to be stored in cannot be written.
    #[error("cannot write to {}, where results are to be stored", path.display())]
    Results {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The token, a certificate or a key cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The system does not let us listen there.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address to listen on.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The frequency is out of its range.
    #[error(transparent)]
    Frequency(#[from] FrequencyError),
    /// The live page, or the metrics, would be open to other machines, and there is no token.
    #[error(
        "{address} can be reached from other machines, and whoever opened the page there could \
         call the workers: add a token (`--token-file`), or serve it on 127.0.0.1"
    )]
    PageExposed {
        /// The address to listen on.
        address: SocketAddr,
    },
    /// The command that is to start clients cannot be run. What the shell has to say of it is not
    /// known yet then: that is in the log.
    #[error("cannot launch `{command}`")]
    Launch {
        /// The command.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// The reports of the runs can't be written where they were asked for.
    #[error(transparent)]
    Report(#[from] SaveError),
}
