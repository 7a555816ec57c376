//! The live page, and metrics for Prometheus: a small HTTP server beside the console.
//!
//! It lives on a thread of its own, with a runtime of its own: whatever browsers do, neither the
//! workers' connections nor a run wait for it. What it shows is drawn from snapshots of the fleet that
//! are taken while somebody watches, and each browser gets the latest one when it is ready for it.

mod actions;
mod assets;
mod body;
mod guard;
mod http;
mod hub;
mod patient;
mod places;
mod prometheus;
mod results;
mod series;
mod snapshot;

use std::net::SocketAddr;
use std::thread;

use dp_core::DistributedWorker;
use dp_core::net::ServerTls;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use self::guard::Guard;
use self::http::{Served, Site};
use self::hub::Hub;
use dp_core::net::files;

use crate::address;
use crate::listen;
use crate::run::Runner;
use crate::settings::{Settings, TlsFiles};
use crate::start::StartError;

/// The port of the page unless another is asked for.
const DEFAULT_PORT: u16 = 8148;

/// The page of a server, and its metrics, where they are asked for. Dropping it ends both.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    pub(crate) page: Option<SocketAddr>,
    pub(crate) metrics: Option<SocketAddr>,
    /// Never sent anything: dropping it is what ends the thread.
    _stop: Option<oneshot::Sender<()>>,
}

impl Pages {
    pub(crate) async fn start<W: DistributedWorker>(
        runner: &Runner<W>,
    ) -> Result<Self, StartError> {
        if runner.settings.page.is_none() && runner.settings.metrics.is_none() {
            return Ok(Self::default());
        }
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = oneshot::channel();
        let runner = runner.clone();
        let thread = thread::Builder::new().name("dp-page".to_owned());
        let started = thread.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => {
                    let _ = tell.send(Err(StartError::NoRoom(files::explained(error))));
                    return;
                }
            };
            runtime.block_on(async move {
                let (started, mut tasks) = match listen(runner).await {
                    Ok((pages, tasks)) => (Ok(pages), tasks),
                    Err(error) => (Err(error), JoinSet::new()),
                };
                let _ = tell.send(started);
                let _ = stopped.await;
                tasks.abort_all();
            });
            // Not dropped: that would wait for a file that is being written.
            runtime.shutdown_background();
        });
        started.map_err(StartError::NoRoom)?;
        let pages = told.await.map_err(|_| StartError::NoRuntime)??;
        Ok(Self { _stop: Some(stop), ..pages })
    }
}

/// Opens the sockets, and serves them from now on.
async fn listen<W: DistributedWorker>(
    runner: Runner<W>,
) -> Result<(Pages, JoinSet<()>), StartError> {
    let settings = runner.settings.clone();
    let token = settings.security.gate()?.token;
    let tls = tls(&settings)?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let mut tasks = JoinSet::new();
    let hub = Hub::start(runner.clone(), &mut tasks);
    let mut pages = Pages::default();
    let whole = |address: &str| address::complete_with(address, DEFAULT_PORT);

    for (asked, served) in [(&settings.page, Served::Page), (&settings.metrics, Served::Metrics)] {
        let Some(asked) = asked else { continue };
        address::check_tcp(asked)?;
        // The page has the metrics, too: on one address, it is one server.
        let same = served == Served::Metrics
            && settings.page.as_ref().is_some_and(|page| whole(page) == whole(asked));
        if same && !whole(asked).ends_with(":0") {
            pages.metrics = pages.page;
            continue;
        }
        let option = match served {
            Served::Page => "--page",
            Served::Metrics => "--metrics",
        };
        let listeners = open(option, asked, whole(asked), token.is_none()).await?;
        let first = listeners.first().map(|(address, _)| *address);
        for (address, listener) in listeners {
            if token.is_some() && tls.is_none() && !address.ip().is_loopback() {
                tracing::warn!(
                    "the token of whoever opens the page on {address} travels unencrypted: add \
                     certificates (--tls-cert), or go through a tunnel"
                );
            }
            let guard = Guard::new(token.clone(), scheme);
            let site = Site::new(runner.clone(), hub.clone(), guard, served, tls.clone());
            tasks.spawn(site.serve(listener));
        }
        match (served, first) {
            (Served::Page, Some(address)) => tracing::info!("page at {scheme}://{address}/"),
            (Served::Metrics, Some(address)) => {
                tracing::info!("metrics at {scheme}://{address}/metrics");
            }
            (_, None) => {}
        }
        match served {
            Served::Page => pages.page = first,
            Served::Metrics => pages.metrics = first,
        }
    }
    Ok((pages, tasks))
}

async fn open(
    option: &'static str,
    asked: &str,
    whole: String,
    open_to_all: bool,
) -> Result<Vec<(SocketAddr, TcpListener)>, StartError> {
    let opened = listen::open_at(asked, whole, open_to_all).await;
    opened.map_err(|error| match error {
        StartError::Exposed { address } => StartError::PageExposed { address },
        StartError::PortTaken { address } => StartError::PagePortTaken { address, option },
        error => error,
    })
}

/// The server's certificate. Browsers are not asked for one of theirs: the token is what they need.
fn tls(settings: &Settings) -> Result<Option<ServerTls>, StartError> {
    let read = |files: &TlsFiles| ServerTls::read(&files.cert, &files.key, None);
    Ok(settings.security.tls.as_ref().map(read).transpose()?)
}
