//! The options of a server program.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::EnumValueParser;
use clap::{ArgAction, Args};
use dp_core::DistributedWorker;
use dp_core::args;
use dp_core::net::address::Address;
#[cfg(feature = "page")]
use dp_core::net::address::check_tcp;
use dp_core::net::launch;
use tracing::Level;

use crate::builder::{NoState, ServerBuilder};
use crate::console::OutputFormat;
use crate::export::{ReportFile, SaveError};
use crate::launch::Launch;
use crate::settings::{Security, Settings, TlsFiles, TokenSource};

/// How many clients one server starts at the most.
const MAX_LAUNCHED: usize = 65_536;
/// How many workers a server can be told to wait for.
const MAX_WORKERS: usize = u32::MAX as usize;

// The fields' documentation is what `--help` prints. That of the struct is kept from being the
// description of a program that flattens it.
/// The options of a server program, also to be flattened into those of a program of its own:
///
/// ```no_run
/// use clap::Parser;
/// # use dp_core::distributed_worker;
/// # struct Site(String);
/// # struct Loader;
/// # #[distributed_worker(server = Site)]
/// # impl Loader {
/// #     #[remote]
/// #     fn load(&self) {}
/// # }
///
/// #[derive(Parser)]
/// struct Options {
///     #[command(flatten)]
///     server: dp_server::ServerArgs,
///     /// The site to load.
///     #[arg(long)]
///     url: String,
/// }
///
/// fn main() -> anyhow::Result<()> {
///     let options = Options::parse();
///     options.server.run_with::<Loader>(Site(options.url))
/// }
/// ```
///
/// An option on the command line wins over its environment variable, which wins over the default.
#[derive(Debug, Clone, Args)]
#[command(about = None, long_about = None, mut_args = args::option)]
#[non_exhaustive]
pub struct ServerArgs {
    /// Where to listen; port 0 takes a free one, said on standard error [default: 127.0.0.1:8147]
    ///
    /// What is left out is taken from the default: `:0`, `lab` and `0.0.0.0` are fine. An address that
    /// other machines reach needs a token, or TLS, or --insecure. `unix:PATH` is a Unix socket, for
    /// clients of the same user, and of root, on this machine. May be given several times, or with
    /// commas between.
    #[arg(
        long, env = "DP_BIND", value_name = "ADDR",
        value_delimiter = ',', value_parser = args::parsed(address)
    )]
    pub bind: Vec<String>,

    #[cfg(feature = "nats")]
    #[command(flatten)]
    #[allow(missing_docs)] // It would be the description of the program.
    pub nats: dp_nats::EngineArgs,

    /// How many workers make it ready to run; `auto` asks the launcher
    ///
    /// That is DP_SIZE, or what mpirun or Slurm say, less one where the server itself is one of those
    /// that were started together.
    #[arg(
        long, env = "DP_WORKERS", value_name = "N", default_value = "1", value_parser = args::parsed(workers)
    )]
    pub workers: usize,

    /// Start the clients, too: a command for the shell
    ///
    /// It is a client, or a launcher such as `mpirun -n 8 ./client`. It finds the server, and a token
    /// that was made for it if there is none, in its environment (DP_SERVER, DP_TOKEN). What it writes
    /// goes to standard error, with its name in front. It ends with the server. Give --workers, too.
    #[arg(long, env = "DP_LAUNCH", value_name = "COMMAND")]
    pub launch: Option<String>,

    /// How often to start the command of --launch; each is told its rank in DP_RANK
    #[arg(
        long, env = "DP_LAUNCH_CLIENTS", value_name = "N", default_value = "1",
        value_parser = args::count_up_to(MAX_LAUNCHED)
    )]
    pub launch_clients: usize,

    /// Run as soon as enough workers have joined, and quit: for batch jobs
    ///
    /// As if `/run` and `/quit` were typed then; standard input is not read. Standard error says how far it
    /// is. The status is 1 where the run failed or did not come about, and where its results or its
    /// report could not be written.
    #[arg(long, env = "DP_ONCE", value_parser = args::switch())]
    pub once: bool,

    /// With --once: how long to wait for the workers, in seconds [default: for ever]
    ///
    /// Then it ends with status 1, and says how many of how many have joined. Without this option it does
    /// so, too, once everything that --launch has started has ended.
    #[arg(long, env = "DP_WAIT_FOR", value_name = "SECONDS", value_parser = args::seconds())]
    pub wait_for: Option<Duration>,

    /// Calls per second for what is started one after another [default: 1]
    #[arg(long, env = "DP_FREQUENCY", value_name = "HZ", value_parser = args::frequency())]
    pub frequency: Option<f64>,

    /// The file with the secret that clients have to share
    ///
    /// The secret itself may stand in DP_TOKEN instead. It is proven, and never sent.
    #[arg(long, env = "DP_TOKEN_FILE", value_name = "FILE", help_heading = "Security")]
    pub token_file: Option<PathBuf>,

    /// This server's certificate, a PEM file: turns TLS on
    #[arg(
        long,
        env = "DP_TLS_CERT",
        value_name = "FILE",
        requires = "tls_key",
        help_heading = "Security"
    )]
    pub tls_cert: Option<PathBuf>,

    /// The key of this server's certificate, a PEM file
    #[arg(
        long,
        env = "DP_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert",
        help_heading = "Security"
    )]
    pub tls_key: Option<PathBuf>,

    /// Clients must show a certificate that this CA has signed, a PEM file
    ///
    /// The name in it is the client's id.
    #[arg(
        long,
        env = "DP_TLS_CLIENT_CA",
        value_name = "FILE",
        requires = "tls_cert",
        help_heading = "Security"
    )]
    pub tls_client_ca: Option<PathBuf>,

    /// Let anybody join who reaches the port, from other machines too, or the NATS server
    #[arg(
        long, env = "DP_INSECURE", value_parser = args::switch(),
        help_heading = "Security"
    )]
    pub insecure: bool,

    /// Let clients of this user connect to Unix sockets, too; a number
    ///
    /// Otherwise only those of the server's own user, and of root, may. May be given several times, or
    /// with commas between.
    #[arg(
        long,
        env = "DP_ALLOW_UID",
        value_name = "UID",
        value_delimiter = ',',
        value_parser = args::user(),
        help_heading = "Security",
        hide_short_help = true
    )]
    pub allow_uid: Vec<u32>,

    /// How the console writes
    #[arg(
        long, env = "DP_OUTPUT", value_name = "FORMAT", default_value_t,
        value_parser = args::named(EnumValueParser::<OutputFormat>::new())
    )]
    pub output: OutputFormat,

    /// Serve the live page, to be opened in a browser, and say where on standard error
    ///
    /// What is left out is taken from 127.0.0.1:8148; port 0 takes a free one. Other machines can
    /// reach it only where there is a token, which the page then asks for; with --tls-cert it is
    /// served by HTTPS.
    #[cfg(feature = "page")]
    #[arg(
        long, env = "DP_PAGE", value_name = "ADDR", num_args = 0..=1,
        default_missing_value = "127.0.0.1:8148", value_parser = args::parsed(page_address)
    )]
    pub page: Option<String>,

    /// Serve metrics for Prometheus at /metrics of this address, as the page does
    #[cfg(feature = "page")]
    #[arg(
        long, env = "DP_METRICS", value_name = "ADDR", num_args = 0..=1,
        default_missing_value = "127.0.0.1:8148", value_parser = args::parsed(page_address)
    )]
    pub metrics: Option<String>,

    /// Append every result to this file when it is gathered, as JSON lines
    ///
    /// A run is `ok` only once the disk has them. Where it is full they stay on the workers, and
    /// `/results` stores them when there is room again. It has to be a regular file; a new one is
    /// its owner's alone.
    #[arg(long, env = "DP_RESULTS", value_name = "FILE")]
    pub results: Option<PathBuf>,

    /// Write a report after each run: .json, .csv, .html with charts, or .hlog for HdrHistogram's tools
    ///
    /// It takes the place of the one of the run before. May be given several times.
    #[arg(long, env = "DP_REPORT", value_name = "FILE", value_parser = args::parsed(report_file))]
    pub report: Vec<ReportFile>,

    /// Show what clients log, of this level and those before it, on standard error
    ///
    /// Equal lines are shown once, with the workers that said so: `w[1-40]: cannot load`. Without this
    /// clients send nothing of it.
    #[arg(long, env = "DP_FORWARD_LOGS", value_name = "LEVEL", value_parser = args::parsed(level))]
    pub forward_logs: Option<Level>,

    /// Keep no history of the commands typed at a terminal
    ///
    /// Otherwise it is in $XDG_STATE_HOME/dp, or ~/.local/state/dp, readable by you alone. The arguments
    /// of calls are never in it.
    #[arg(long, env = "DP_NO_HISTORY", value_parser = args::switch())]
    pub no_history: bool,

    /// Say more on standard error; twice for everything
    ///
    /// For finer choices set RUST_LOG, such as RUST_LOG=warn or RUST_LOG=dp_server=trace.
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,

    /// How long workers may take to give what they have recorded, in seconds
    ///
    /// Those that have not answered by then are named, and the results of the others are printed.
    #[arg(
        long, env = "DP_GATHER_TIMEOUT", value_name = "SECONDS", default_value = "30",
        value_parser = args::seconds(), help_heading = "Limits", hide_short_help = true
    )]
    pub gather_timeout: Duration,

    /// How long clients may take to quit before they are cut off, in seconds
    #[arg(
        long, env = "DP_QUIT_TIMEOUT", value_name = "SECONDS", default_value = "10",
        value_parser = args::seconds(), help_heading = "Limits", hide_short_help = true
    )]
    pub quit_timeout: Duration,

    /// How long a client may take to introduce itself, in seconds [default: 10]
    #[arg(
        long, env = "DP_HANDSHAKE_TIMEOUT", value_name = "SECONDS",
        value_parser = args::seconds(), help_heading = "Limits", hide_short_help = true
    )]
    pub handshake_timeout: Option<Duration>,

    /// How many connections may be in the handshake at a time [default: 1024]
    #[arg(
        long,
        env = "DP_MAX_HANDSHAKES",
        value_name = "N",
        value_parser = args::count(),
        help_heading = "Limits",
        hide_short_help = true
    )]
    pub max_handshakes: Option<usize>,

    /// How long either side may send nothing before it sends a heartbeat, in seconds [default: 2]
    #[arg(
        long, env = "DP_HEARTBEAT_INTERVAL", value_name = "SECONDS",
        value_parser = args::seconds(), help_heading = "Limits", hide_short_help = true
    )]
    pub heartbeat_interval: Option<Duration>,

    /// After how long a silence either side is taken for gone, in seconds [default: 10]
    #[arg(
        long, env = "DP_HEARTBEAT_TIMEOUT", value_name = "SECONDS",
        value_parser = args::seconds(), help_heading = "Limits", hide_short_help = true
    )]
    pub heartbeat_timeout: Option<Duration>,

    /// The longest message, in MiB; give clients the same limit [default: 256]
    #[arg(
        long, env = "DP_MAX_MESSAGE", value_name = "MIB",
        value_parser = args::message_size(), help_heading = "Limits", hide_short_help = true
    )]
    pub max_message: Option<usize>,

    /// How many clients may be connected [default: 65536]
    #[arg(
        long,
        env = "DP_MAX_CLIENTS",
        value_name = "N",
        value_parser = args::count(),
        help_heading = "Limits",
        hide_short_help = true
    )]
    pub max_clients: Option<usize>,

    /// How many workers all clients together may host [default: 1048576]
    #[arg(
        long,
        env = "DP_MAX_WORKERS",
        value_name = "N",
        value_parser = args::count(),
        help_heading = "Limits",
        hide_short_help = true
    )]
    pub max_workers: Option<usize>,

    /// How many workers one client may host [default: 65536]
    #[arg(
        long,
        env = "DP_MAX_WORKERS_PER_CLIENT",
        value_name = "N",
        value_parser = args::count(),
        help_heading = "Limits",
        hide_short_help = true
    )]
    pub max_workers_per_client: Option<usize>,

    /// How many detached calls may be under way to one worker [default: 1024]
    #[arg(
        long,
        env = "DP_IN_FLIGHT",
        value_name = "N",
        value_parser = args::count(),
        help_heading = "Limits",
        hide_short_help = true
    )]
    pub in_flight: Option<usize>,

    /// How much may wait to be written to one client, in MiB, before calls to it fail [default: 512]
    #[arg(
        long, env = "DP_MAX_QUEUED", value_name = "MIB",
        value_parser = args::size(), help_heading = "Limits", hide_short_help = true
    )]
    pub max_queued: Option<usize>,

    /// How many calls to the server the workers of a client may have unanswered [default: 65536]
    #[arg(
        long,
        env = "DP_MAX_SERVER_CALLS",
        value_name = "N",
        value_parser = args::count(),
        help_heading = "Limits",
        hide_short_help = true
    )]
    pub max_server_calls: Option<usize>,

    /// How many threads functions on the server that block may hold [default: 1024]
    #[arg(
        long,
        env = "DP_MAX_THREADS",
        value_name = "N",
        value_parser = args::count(),
        help_heading = "Limits",
        hide_short_help = true
    )]
    pub max_threads: Option<usize>,

    /// How many lines a second of one client's log are shown with --forward-logs [default: 1000]
    #[arg(
        long,
        env = "DP_MAX_LOG_LINES",
        value_name = "N",
        value_parser = args::count_or_none(),
        help_heading = "Limits",
        hide_short_help = true
    )]
    pub max_log_lines: Option<usize>,

    /// How many result lines of one worker are taken, and kept if it is lost [default: 1000000]
    #[arg(
        long,
        env = "DP_MAX_RESULTS",
        value_name = "N",
        value_parser = args::count_or_none(),
        help_heading = "Limits",
        hide_short_help = true
    )]
    pub max_results: Option<usize>,

    /// How many mebibytes of result lines of one worker are taken, each line counted with 64 bytes more
    /// [default: 512]
    #[arg(
        long, env = "DP_MAX_RESULT_BYTES", value_name = "MIB", value_parser = args::size(),
        help_heading = "Limits", hide_short_help = true
    )]
    pub max_result_bytes: Option<usize>,

    /// How many mebibytes of what one client's workers have recorded are kept in case they are lost
    /// [default: 1024]
    #[arg(
        long, env = "DP_MAX_KEPT_PER_CLIENT", value_name = "MIB", value_parser = args::size(),
        help_heading = "Limits", hide_short_help = true
    )]
    pub max_kept_per_client: Option<usize>,

    /// The same for the workers of all clients, and of those gathered together [default: 2048]
    #[arg(
        long, env = "DP_MAX_KEPT", value_name = "MIB", value_parser = args::size(),
        help_heading = "Limits", hide_short_help = true
    )]
    pub max_kept: Option<usize>,
}

impl ServerArgs {
    /// A server builder with these settings, for a program that drives the server itself.
    pub fn builder<W: DistributedWorker>(&self) -> ServerBuilder<W, NoState> {
        let mut settings = Settings {
            bind: Some(self.bind.clone()).filter(|bind| !bind.is_empty()),
            workers: self.workers,
            wait_for: self.wait_for,
            frequency: self.frequency,
            output: self.output,
            results_file: self.results.clone(),
            gather_timeout: self.gather_timeout,
            quit_timeout: self.quit_timeout,
            security: self.security(),
            reports: self.report.clone(),
            forward_logs: self.forward_logs,
            // An empty variable is as good as none.
            launch: self
                .launch
                .clone()
                .filter(|command| !command.trim().is_empty())
                .map(|command| Launch { command, clients: self.launch_clients }),
            ..Settings::default()
        };
        #[cfg(feature = "page")]
        {
            // An empty variable is as good as none.
            let given =
                |address: &Option<String>| address.clone().filter(|given| !given.is_empty());
            settings.page = given(&self.page);
            settings.metrics = given(&self.metrics);
        }
        #[cfg(feature = "nats")]
        {
            settings.engine = self.nats.settings();
        }
        #[cfg(not(feature = "nats"))]
        {
            settings.engine =
                std::env::var_os("DP_ENGINE").is_some_and(|engine| !engine.is_empty());
        }
        let limits = &mut settings.limits;
        for (limit, given) in [
            (&mut limits.handshake_timeout, self.handshake_timeout),
            (&mut limits.heartbeat_interval, self.heartbeat_interval),
            (&mut limits.heartbeat_timeout, self.heartbeat_timeout),
        ] {
            if let Some(given) = given {
                *limit = given;
            }
        }
        for (limit, given) in [
            (&mut limits.max_message, self.max_message),
            (&mut limits.max_handshakes, self.max_handshakes),
            (&mut limits.max_clients, self.max_clients),
            (&mut limits.max_workers, self.max_workers),
            (&mut limits.max_workers_per_client, self.max_workers_per_client),
            (&mut limits.in_flight, self.in_flight),
            (&mut limits.max_queued_bytes, self.max_queued),
            (&mut limits.max_server_calls, self.max_server_calls),
            (&mut limits.max_threads, self.max_threads),
            (&mut limits.max_log_lines, self.max_log_lines),
            (&mut limits.max_results, self.max_results),
            (&mut limits.max_result_bytes, self.max_result_bytes),
            (&mut limits.max_kept_bytes_per_client, self.max_kept_per_client),
            (&mut limits.max_kept_bytes, self.max_kept),
        ] {
            if let Some(given) = given {
                *limit = given;
            }
        }
        ServerBuilder::new(settings)
    }
}

impl ServerArgs {
    fn security(&self) -> Security {
        let token = match &self.token_file {
            Some(path) => Some(TokenSource::File(path.clone())),
            None => Some(TokenSource::Environment),
        };
        let files = self.tls_cert.as_ref().zip(self.tls_key.as_ref());
        let tls = files.map(|(cert, key)| TlsFiles {
            cert: cert.clone(),
            key: key.clone(),
            client_ca: self.tls_client_ca.clone(),
        });
        Security { token, tls, insecure: self.insecure, users: self.allow_uid.clone() }
    }
}

/// One that can be listened on, as far as its text says.
fn address(text: &str) -> Result<String, String> {
    text.parse::<Address>().map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// The same for the page and the metrics, where nothing at all is as good as no option.
#[cfg(feature = "page")]
fn page_address(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    check_tcp(text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

fn workers(text: &str) -> Result<usize, String> {
    match text {
        "auto" => {
            let expected = launch::expected_workers().map_err(|error| error.to_string())?;
            usize::try_from(expected).map_err(|error| error.to_string())
        }
        text => {
            let number = text.trim().parse().ok().filter(|number| *number <= MAX_WORKERS);
            number.ok_or_else(|| {
                format!("a whole number or `auto` is needed, from 0 to {MAX_WORKERS}")
            })
        }
    }
}

fn level(text: &str) -> Result<Level, String> {
    // By name alone: what tracing takes beside that are numbers.
    let level = text.parse().ok().filter(|_| !text.starts_with(|c: char| c.is_ascii_digit()));
    level.ok_or_else(|| "a level is error, warn, info, debug or trace".to_owned())
}

fn report_file(text: &str) -> Result<ReportFile, String> {
    text.parse().map_err(|error: SaveError| error.to_string())
}
