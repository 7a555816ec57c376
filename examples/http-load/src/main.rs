//! The program: on this machine by itself, or as the server or a client of several machines.

use std::io::Write;
use std::net::SocketAddr;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::{Arg, Args, Parser, Subcommand};
use dp_client::ClientArgs;
use dp_server::{Server, ServerArgs};
use http_load::site::Site;
use http_load::{Feed, Loader, Plan, Report};
use tokio::process::Command;
use tokio::task::JoinSet;

/// How long the worker processes of this machine may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

const EXAMPLES: &str = "\
Examples:
  http-load                                        loads a small site of its own
  http-load --url http://127.0.0.1:8080/ -n 50000  loads yours, from processes on this machine
  http-load --url http://127.0.0.1:8080/ -z 10s -q 500
  http-load --urls pages.txt                       loads every URL of a file in turn

On several machines, one server and a client on each:
  http-load server --bind 0.0.0.0:8147 --workers 3 --url http://site.example/ -n 300000 -c 90
  http-load client --server master.example:8147

The exit status is 0 when every worker did its share, whatever the answers were.";

/// Loads an HTTP server from many processes or machines at once, and says how fast it answered.
///
/// Requests go over keep-alive connections. Latency counts from sending a request to the last byte of
/// its answer, and is merged exactly over all workers.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    here: Here,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Waits for workers on other machines, has them load the URL, prints the table, sends them home
    // There is no console, no log, and nothing that starts one after another.
    #[command(
        mut_arg("output", hidden),
        mut_arg("frequency", hidden),
        mut_arg("verbose", hidden),
        mut_arg("results", hidden),
        mut_arg("forward_logs", hidden)
    )]
    Server {
        #[command(flatten)]
        server: Box<ServerArgs>,
        /// What to load, http:// only; the workers have to reach it
        #[arg(long, value_name = "URL", help_heading = "Load", required_unless_present = "urls")]
        url: Option<String>,
        #[command(flatten)]
        load: LoadArgs,
    },
    /// Sends from this machine what the server tells it to
    Client(Box<ClientArgs>),
}

#[derive(Debug, Args)]
struct Here {
    /// Worker processes on this machine [default: one for each core]
    #[arg(long, value_name = "N")]
    workers: Option<NonZeroUsize>,
    /// What to load, http:// only [default: a small site that this program serves itself]
    #[arg(long, value_name = "URL", help_heading = "Load")]
    url: Option<String>,
    #[command(flatten)]
    load: LoadArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Load")]
struct LoadArgs {
    /// A file with a URL in each line, which are loaded in turn; only the server reads it
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    urls: Option<PathBuf>,
    /// How many requests, over all workers
    #[arg(short = 'n', long, value_name = "N", default_value = "10000")]
    requests: NonZeroU64,
    /// Go on for that long instead, such as 10s or 2m
    #[arg(short = 'z', long, value_name = "TIME", value_parser = duration, conflicts_with = "requests")]
    duration: Option<Duration>,
    /// How many connections, over all workers; each worker has at least one
    #[arg(short, long, value_name = "N", default_value = "50")]
    connections: NonZeroU64,
    /// Requests for each second, over all workers [default: as fast as it goes]
    ///
    /// The latency of a request that had to wait for a free connection counts from when it was due.
    #[arg(short = 'q', long, value_name = "HZ", value_parser = rate)]
    rate: Option<f64>,
    /// How long one request may take
    #[arg(short, long, value_name = "TIME", value_parser = duration, default_value = "10s")]
    timeout: Duration,
    /// The method
    #[arg(short, long, default_value = "GET")]
    method: String,
    /// A header of every request; may be given more than once
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The body of every request
    #[arg(short = 'd', long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    body: String,
}

fn hidden(argument: Arg) -> Arg {
    argument.hide(true)
}

fn duration(text: &str) -> anyhow::Result<Duration> {
    let duration = text.parse::<jiff::SignedDuration>().ok();
    let duration = duration.and_then(|duration| Duration::try_from(duration).ok());
    let duration = duration.filter(|duration| *duration > Duration::ZERO);
    duration.context("a time is above zero and has a unit, such as 500ms, 10s or 2m")
}

fn rate(text: &str) -> anyhow::Result<f64> {
    let rate_hz: f64 = text.parse()?;
    ensure!((0.001..=1e9).contains(&rate_hz), "a rate is between 0.001 and 1000000000");
    Ok(rate_hz)
}

impl LoadArgs {
    /// The URLs of the file that was given, if there was one.
    fn feed(&self) -> anyhow::Result<Option<Feed>> {
        let Some(path) = &self.urls else { return Ok(None) };
        let name = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
        Feed::parse(&text, name.to_string()).map(Some)
    }

    fn plan(self, feed: &Feed) -> anyhow::Result<Plan> {
        let plan = Plan {
            method: self.method,
            headers: self.headers,
            body: self.body,
            requests: self.requests.get(),
            duration: self.duration,
            connections: self.connections.get(),
            rate_hz: self.rate,
            timeout: self.timeout,
        };
        // What cannot be sent is said here and now, not by every worker.
        feed.check(&plan)?;
        Ok(plan)
    }
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        // One line, with what caused it; `main`'s own way takes several.
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.role {
        None => block_on(here(cli.here)),
        Some(Role::Server { server, url, load }) => block_on(lead(*server, url, load)),
        Some(Role::Client(client)) => client.run(|_info| Loader),
    }
}

fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()?.block_on(work)
}

fn print(report: &Report) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    write!(output, "{report}")?;
    output.flush()?;
    Ok(())
}

fn expect_complete(report: &Report) -> anyhow::Result<()> {
    ensure!(report.complete(), "the load is not complete: not every worker did its share");
    Ok(())
}

/// Everything on this machine: the master in this process, each worker in a process of its own.
async fn here(here: Here) -> anyhow::Result<()> {
    let workers = here.workers.or_else(|| std::thread::available_parallelism().ok());
    let workers = workers.map_or(1, NonZeroUsize::get);
    let (feed, _site) = match (here.load.feed()?, here.url) {
        (Some(feed), _) => (feed, None),
        (None, Some(url)) => (Feed::of(url), None),
        (None, None) => {
            let site = Site::start().await.context("cannot serve a site to load")?;
            (Feed::of(site.url()), Some(site))
        }
    };
    let plan = here.load.plan(&feed)?;

    let server = Server::<Loader>::builder().bind("127.0.0.1:0").workers(workers).state(feed);
    let server = server.start().await?;
    let mut clients = Clients::start(server.local_addr(), workers)?;
    let master = tokio::select! {
        master = server.ready() => master?,
        ended = clients.next_ended() => bail!("a worker process did not join: {ended:?}"),
        () = tokio::time::sleep(READY_WITHIN) => bail!("no worker processes within {READY_WITHIN:?}"),
    };
    let report = master.attack(&plan).await?;
    // First of all: what goes wrong from now on takes nothing away from it.
    print(&report)?;
    server.shutdown().await?;
    let ended = clients.expect_success().await;
    // Of a worker that was lost, the report knows more than the process's status.
    expect_complete(&report).and(ended)
}

/// The master of workers on other machines.
async fn lead(server: ServerArgs, url: Option<String>, load: LoadArgs) -> anyhow::Result<()> {
    let feed = load.feed()?.or_else(|| url.map(Feed::of)).context("there is no URL to load")?;
    let plan = load.plan(&feed)?;
    let server = server.builder::<Loader>().state(feed).start().await?;
    eprintln!("waiting for workers at {}", server.local_addr());
    let master = server.ready().await?;
    let report = master.attack(&plan).await?;
    print(&report)?;
    server.shutdown().await?;
    expect_complete(&report)
}

/// This program's worker processes. They are killed when this is dropped.
struct Clients(JoinSet<(String, std::io::Result<ExitStatus>)>);

impl Clients {
    fn start(server: SocketAddr, workers: usize) -> anyhow::Result<Self> {
        let mut clients = Self(JoinSet::new());
        let itself = std::env::current_exe().context("cannot find this program")?;
        for number in 1..=workers {
            let id = format!("w{number}");
            let mut command = Command::new(&itself);
            if std::env::var_os("RUST_LOG").is_none() {
                // That they join and leave goes without saying.
                command.env("RUST_LOG", "warn");
            }
            let mut child = command
                .args(["client", "--server", &server.to_string(), "--id", &id, "--workers", "1"])
                .stdin(Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .with_context(|| format!("cannot start worker process {id}"))?;
            clients.0.spawn(async move { (id, child.wait().await) });
        }
        Ok(clients)
    }

    async fn next_ended(&mut self) -> Option<(String, std::io::Result<ExitStatus>)> {
        // A task that waits neither panics nor is aborted.
        self.0.join_next().await?.ok()
    }

    async fn expect_success(mut self) -> anyhow::Result<()> {
        while let Some((id, status)) = self.next_ended().await {
            let status = status?;
            ensure!(status.success(), "worker process {id} ended with {status}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_have_units_and_are_above_zero() {
        assert_eq!(duration("1500ms").unwrap(), Duration::from_millis(1_500));
        assert_eq!(duration("2m").unwrap(), Duration::from_secs(120));
        assert!(duration("0s").is_err());
        assert!(duration("-1s").is_err());
        assert!(duration("soon").is_err());
    }

    #[test]
    fn a_rate_is_above_zero() {
        assert!(rate("0").is_err());
        assert!(rate("NaN").is_err());
        assert_eq!(rate("2.5").unwrap(), 2.5);
    }
}
