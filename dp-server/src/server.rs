//! A server that is up.

use std::fmt;
use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use dp_core::engine::{self, Fleet};
use dp_core::net::address::Address;
use dp_core::{DistributedWorker, MasterWorker, fold_ids};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;

use crate::builder::ServerBuilder;
use crate::console::{Console, ConsoleError, Signals};
use crate::launch::Launched;
use crate::listen::Listening;
use crate::logs::{Logs, Recent};
#[cfg(feature = "page")]
use crate::page::Pages;
use crate::report::Report;
use crate::run::{self, RunError, Runner, Turns};
use crate::runs::{Origin, Runs};
use crate::settings::Settings;
use crate::store::Store;
use crate::terminal::Screen;
use crate::time;
use crate::traffic::Traffic;

/// Connections that were told to go are given this long to do so.
const CLOSING: Duration = Duration::from_secs(1);

/// A server: clients join it, and through it their workers are called.
///
/// Dropping it closes the listener and disconnects the clients, who then do what they do when a
/// server is lost; [`shutdown`](Self::shutdown) tells them to quit first.
///
/// ```no_run
/// use dp_server::Server;
///
/// # use dp_core::distributed_worker;
/// # #[derive(Default)]
/// # struct Greeter;
/// # #[distributed_worker]
/// # impl Greeter {
/// #     #[remote]
/// #     fn greet(&self, name: &str) -> String { format!("hello {name}") }
/// # }
/// # async fn example() -> anyhow::Result<()> {
/// let server = Server::<Greeter>::builder().bind("127.0.0.1:0").workers(2).start().await?;
/// println!("clients can join at {}", server.local_addr());
/// server.ready().await?;
/// let report = server.run().await?.into_result()?;
/// for line in report.results() {
///     println!("{line}");
/// }
/// # Ok(())
/// # }
/// ```
pub struct Server<W: DistributedWorker> {
    pub(crate) fleet: Fleet<W>,
    pub(crate) settings: Arc<Settings>,
    /// Where runs happen.
    pub(crate) runtime: Handle,
    /// Whose turn it is to run.
    pub(crate) turns: Arc<Turns>,
    /// Where results are stored.
    pub(crate) store: Option<Arc<Store>>,
    pub(crate) runs: Runs,
    traffic: Arc<Traffic>,
    recent_logs: Recent,
    /// Shows what the clients log.
    logs: Option<Logs>,
    #[cfg(feature = "page")]
    pages: Pages,
    listening: Listening,
    launched: Option<Launched>,
}

impl<W: DistributedWorker> Server<W> {
    /// A server yet to be set up and started.
    pub fn builder() -> ServerBuilder<W> {
        ServerBuilder::new(Settings::default())
    }

    pub(crate) fn new(
        runner: Runner<W>,
        listening: Listening,
        logs: Option<Logs>,
        launched: Option<Launched>,
        #[cfg(feature = "page")] pages: Pages,
    ) -> Self {
        let Runner { fleet, settings, runtime, turns, store, runs, traffic, recent_logs } = runner;
        Self {
            fleet,
            settings,
            runtime,
            turns,
            store,
            runs,
            traffic,
            recent_logs,
            logs,
            #[cfg(feature = "page")]
            pages,
            listening,
            launched,
        }
    }

    fn runner(&self) -> Runner<W> {
        Runner {
            fleet: self.fleet.clone(),
            settings: self.settings.clone(),
            runtime: self.runtime.clone(),
            turns: self.turns.clone(),
            store: self.store.clone(),
            runs: self.runs.clone(),
            traffic: self.traffic.clone(),
            recent_logs: self.recent_logs.clone(),
        }
    }

    /// The address where it listens, with the real port also where port 0 was asked for. The first
    /// one where a name stands for several, which then all have this port. Where it listens at Unix
    /// sockets alone there is none, and this is `0.0.0.0:0`; see [`addresses`](Self::addresses).
    pub fn local_addr(&self) -> SocketAddr {
        self.listening.tcp().unwrap_or((Ipv4Addr::UNSPECIFIED, 0).into())
    }

    /// Every address where it listens, as clients are told: `127.0.0.1:8147`, `unix:/run/lab.sock`.
    pub fn addresses(&self) -> &[Address] {
        self.listening.addresses()
    }

    /// Where the live page is served, with the real port; `None` without one.
    #[cfg(feature = "page")]
    pub fn page_addr(&self) -> Option<SocketAddr> {
        self.pages.page
    }

    /// Where the metrics are served, with the real port; `None` where that was not asked for. The
    /// live page has them, too, at `/metrics`.
    #[cfg(feature = "page")]
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.pages.metrics
    }

    /// The workers that are there now, as a group to call. It is a snapshot: who joins later is not
    /// in it.
    pub fn master(&self) -> MasterWorker<W> {
        self.fleet.master()
    }

    /// Waits until as many workers have joined as [`workers`](ServerBuilder::workers) asks for, and
    /// returns all that are there.
    ///
    /// # Errors
    /// [`ReadyError`]: too few have joined within the time that [`wait_for`](ServerBuilder::wait_for)
    /// sets, or everything that was [launched](ServerBuilder::launch) has ended. Without either it waits
    /// for as long as it takes.
    ///
    /// # Cancel safety
    /// It can be dropped at any time, as in a `tokio::time::timeout`.
    pub async fn ready(&self) -> Result<MasterWorker<W>, ReadyError> {
        let needed = self.settings.workers;
        let joined = async {
            loop {
                self.fleet.joined(needed).await;
                let master = self.fleet.master();
                // One may have left between the two.
                if master.len() >= needed {
                    return master;
                }
            }
        };
        tokio::select! {
            biased;
            master = joined => Ok(master),
            error = self.too_few() => Err(error),
        }
    }

    /// Completes when it is time to wait no longer.
    async fn too_few(&self) -> ReadyError {
        let (needed, wait_for) = (self.settings.workers, self.settings.wait_for);
        let timed_out = async {
            match wait_for {
                Some(after) => {
                    time::sleep(after).await;
                    after
                }
                None => pending().await,
            }
        };
        let ended = async {
            match &self.launched {
                // What has ended well may have started clients elsewhere, for which there is time.
                Some(launched) => launched.all_ended(wait_for.is_some()).await,
                None => pending().await,
            }
        };
        tokio::select! {
            after = timed_out => {
                ReadyError::TooFew { present: self.fleet.len(), needed, after }
            }
            ends = ended => {
                ReadyError::LaunchedEnded { present: self.fleet.len(), needed, ends }
            }
        }
    }

    /// What `/run` does: runs the worker's `run` with everyone who is there, then gathers what they
    /// have recorded, as far as it can be had. Who joins meanwhile waits for the next run.
    ///
    /// A run that began has a [`Report`] however it ended, also when it panicked: see
    /// [`Report::failure`]. It is written to the files that [`report`](ServerBuilder::report) names.
    ///
    /// # Errors
    /// [`RunError`] when it could not begin: too few workers have joined, the worker has no `run`, or
    /// another run is under way.
    ///
    /// # Cancel safety
    /// Dropping it ends the run, and cancels its calls on the workers. [`cancel`](Self::cancel) does
    /// so, too, and leaves the report of what there is.
    pub async fn run(&self) -> Result<Report, RunError> {
        run::execute(&self.runner(), Origin::Program).await
    }

    /// The report of the run that ended last, if there was one.
    pub fn last_report(&self) -> Option<Report> {
        self.runs.last()
    }

    /// What `/cancel` does: ends the [`run`](Self::run) that is under way, and cancels its calls on
    /// the workers. That run then gathers what has been recorded so far, and its report says that it
    /// was cancelled. Cancelled while it gathers, or again, it waits for no more.
    ///
    /// `false` if no run is under way.
    pub fn cancel(&self) -> bool {
        self.turns.cancel()
    }

    /// Reads commands from `input` and answers on `output` until `/quit` or the end of the input:
    /// see [`console`](crate::console), and [`console::stdin`](crate::console::stdin) for a terminal.
    /// The server stays up; calling [`shutdown`](Self::shutdown) is up to the caller.
    ///
    /// # Errors
    /// [`ConsoleError`] when `input` cannot be read or `output` cannot be written. What a command
    /// answers, errors included, goes to `output`.
    pub async fn console(
        &self,
        input: impl AsyncRead + Unpin,
        output: impl AsyncWrite + Unpin,
    ) -> Result<(), ConsoleError> {
        self.console_with(input, output, Signals::none(), None).await
    }

    /// The same, with what the operating system has to say, and on a terminal.
    pub(crate) async fn console_with(
        &self,
        input: impl AsyncRead + Unpin,
        output: impl AsyncWrite + Unpin,
        signals: Signals,
        screen: Option<Screen>,
    ) -> Result<(), ConsoleError> {
        Console::new(self, input, output, signals, screen).serve().await
    }

    /// Stops listening, tells every client to quit, waits until they have, and cuts off those that
    /// have not within [`quit_timeout`](ServerBuilder::quit_timeout). What was
    /// [launched](ServerBuilder::launch) has ended then, too.
    ///
    /// # Errors
    /// [`ShutdownError::TimedOut`] when some had to be cut off. The server is down all the same.
    pub async fn shutdown(mut self) -> Result<(), ShutdownError> {
        self.listening.stop_accepting();
        let launched = self.launched.take();
        if let Some(launched) = &launched {
            launched.is_ending();
        }
        let (fleet, within) = (self.fleet.clone(), self.settings.quit_timeout);
        // On the I/O runtime, since the caller's may have no timers.
        let quit = engine::io().spawn(async move { fleet.quit(within).await });
        let clients = quit.await.unwrap_or_default();
        self.fleet.close();
        self.listening.ended(CLOSING).await;
        if let Some(logs) = &self.logs {
            logs.flush().await;
        }
        if let Some(launched) = launched {
            launched.end().await;
        }
        if clients.is_empty() {
            Ok(())
        } else {
            Err(ShutdownError::TimedOut { after: within, clients })
        }
    }
}

impl<W: DistributedWorker> Drop for Server<W> {
    fn drop(&mut self) {
        self.listening.stop_accepting();
        self.fleet.close();
    }
}

impl<W: DistributedWorker> fmt::Debug for Server<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("addresses", &self.addresses())
            .field("workers", &self.fleet.len())
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// Why [`Server::ready`] gave up waiting.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadyError {
    /// Too few workers have joined in time.
    #[error("{} within {} s (--wait-for)", have_joined(*.present, *.needed), after.as_secs_f64())]
    TooFew {
        /// How many have.
        present: usize,
        /// How many it takes.
        needed: usize,
        /// How long they were waited for, see [`ServerBuilder::wait_for`].
        after: Duration,
    },
    /// Everything that was launched to start clients has ended, and nobody else is expected.
    #[error("{}, and all that was launched has ended: {ends}", have_joined(*.present, *.needed))]
    LaunchedEnded {
        /// How many workers have joined.
        present: usize,
        /// How many it takes.
        needed: usize,
        /// What was launched, and how it ended.
        ends: String,
    },
}

/// As in `1 of 3 workers have joined`.
pub(crate) fn have_joined(present: usize, needed: usize) -> String {
    let workers = if needed == 1 { "worker has" } else { "workers have" };
    format!("{present} of {needed} {workers} joined")
}

/// What went wrong as a server went down.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ShutdownError {
    /// Some clients were still there when the time was up, and have been disconnected.
    #[error("told to quit, {} had not done so within {after:?}: cut off", fold_ids(.clients))]
    TimedOut {
        /// How long they were given.
        after: Duration,
        /// Their ids.
        clients: Vec<String>,
    },
}
