//! The client program of a worker crate.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use clap::{ArgAction, Args, Command, FromArgMatches};
#[cfg(feature = "otel")]
use dp_core::engine::otel::Telemetry;
use dp_core::net::address::{Address, DEFAULT_ADDRESS};
use dp_core::net::{files, launch};
use dp_core::{DistributedWorker, WorkerInfo, args};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::builder::{AfterLoss, ClientBuilder, MAX_WORKERS, Security, Settings, TokenSource};
use crate::chain;

/// The files that a client program opens, and the threads that it starts beside those for its cores.
const FILES: usize = 16;
const THREADS: usize = 5;

// The fields' documentation is what `--help` prints. That of the struct is kept from being the
// description of a program that flattens it.
/// The options of a client program, also to be flattened into those of a program of its own:
///
/// ```no_run
/// use std::path::{Path, PathBuf};
///
/// use clap::Parser;
/// # use dp_core::distributed_worker;
/// # struct Keeper(PathBuf);
/// # impl Keeper { fn new(folder: &Path) -> Self { Self(folder.to_owned()) } }
/// # #[distributed_worker]
/// # impl Keeper {
/// #     #[remote]
/// #     fn folder(&self) -> PathBuf { self.0.clone() }
/// # }
///
/// #[derive(Parser)]
/// struct Options {
///     #[command(flatten)]
///     client: dp_client::ClientArgs,
///     /// Where to keep files.
///     #[arg(long)]
///     folder: PathBuf,
/// }
///
/// fn main() -> anyhow::Result<()> {
///     let Options { client, folder } = Options::parse();
///     client.run(move |_info| Keeper::new(&folder))
/// }
/// ```
///
/// An option on the command line wins over its environment variable, which wins over the default.
#[derive(Debug, Clone, Args)]
#[command(about = None, long_about = None, mut_args = args::option)]
#[non_exhaustive]
pub struct ClientArgs {
    /// Where the server is; it may be started later
    ///
    /// What is left out is taken from the default: `lab`, `:9000` and `192.0.2.1` are fine. `auto` asks
    /// the launcher: Slurm's first host, or the first pod of an indexed job of Kubernetes, by the
    /// headless service that DP_SERVICE names; `auto:9000` does so with that port. `unix:PATH` is the
    /// Unix socket of a server on this machine that belongs to the same user, or to root.
    #[arg(
        long, env = "DP_SERVER", value_name = "ADDR", default_value = DEFAULT_ADDRESS,
        value_parser = args::parsed(server)
    )]
    pub server: String,

    #[cfg(feature = "nats")]
    #[command(flatten)]
    #[allow(missing_docs)] // It would be the description of the program.
    pub nats: dp_nats::EngineArgs,

    /// This client's name, which no other client may have [default: host name and process id]
    ///
    /// Where the process id is below 1000, as in a container, the default has random characters behind it.
    /// With --tls-cert it is the name in the certificate. Where a launcher has started several clients
    /// (mpirun, srun, a Slurm array, an indexed job; or DP_RANK is set), the rank is added to it, ID-3,
    /// and the default is the worker's name with the rank. It has 1 to 255 bytes, and neither white space, control or format characters, `,`, `[` nor `]`.
    #[arg(long, env = "DP_ID", value_name = "ID", value_parser = args::text())]
    pub id: Option<String>,

    /// How many workers to host, all over one connection
    ///
    /// Those of client c1 are c1/1, c1/2 and so on; a single one is just c1. Where DP_CLIENT_WORKERS
    /// is not set, DP_WORKERS counts, which is also read by the server: how many it waits for.
    #[arg(
        long, env = "DP_CLIENT_WORKERS", value_name = "N", default_value = workers_of_server(),
        value_parser = args::count_up_to(MAX_WORKERS).default_from("DP_WORKERS")
    )]
    pub workers: usize,

    /// The file with the secret that this client shares with the server
    ///
    /// The secret itself may stand in DP_TOKEN instead. It is proven, and never sent.
    #[arg(long, env = "DP_TOKEN_FILE", value_name = "FILE", help_heading = "Security")]
    pub token_file: Option<PathBuf>,

    /// The CA that has signed the server's certificate, a PEM file: turns TLS on
    #[arg(long, env = "DP_TLS_CA", value_name = "FILE", help_heading = "Security")]
    pub tls_ca: Option<PathBuf>,

    /// This client's own certificate, a PEM file, for a server that asks for one
    #[arg(
        long, env = "DP_TLS_CLIENT_CERT", value_name = "FILE", requires_all = ["tls_key", "tls_ca"],
        help_heading = "Security"
    )]
    pub tls_cert: Option<PathBuf>,

    /// The key of this client's certificate, a PEM file
    #[arg(
        long,
        env = "DP_TLS_CLIENT_KEY",
        value_name = "FILE",
        requires = "tls_cert",
        help_heading = "Security"
    )]
    pub tls_key: Option<PathBuf>,

    /// The name in the server's certificate [default: the host in --server, or with --engine the job]
    #[arg(
        long,
        env = "DP_TLS_NAME",
        value_name = "HOST",
        value_parser = args::text(),
        requires = "tls_ca",
        help_heading = "Security"
    )]
    pub tls_name: Option<String>,

    /// Take a server of this user behind a Unix socket, too; a number
    ///
    /// Otherwise it has to belong to this client's own user, or to root. May be given several times, or
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

    /// How long to keep trying to join, in seconds [default: for ever]
    #[arg(long, env = "DP_CONNECT_FOR", value_name = "SECONDS", value_parser = args::seconds())]
    pub connect_for: Option<Duration>,

    /// End with an error when the server is lost, instead of trying to come back
    #[arg(long, env = "DP_EXIT_ON_DISCONNECT", value_parser = args::switch())]
    pub exit_on_disconnect: bool,

    /// How long to try to come back to a server that was lost, in seconds [default: for ever]
    ///
    /// Of no effect with --exit-on-disconnect.
    #[arg(
        long, env = "DP_RECONNECT_FOR", value_name = "SECONDS", value_parser = args::seconds()
    )]
    pub reconnect_for: Option<Duration>,

    /// End with an error at the end of standard input
    ///
    /// For clients that are started over ssh without a terminal: they then end with the session.
    #[arg(long, env = "DP_EXIT_ON_STDIN_EOF", value_parser = args::switch())]
    pub exit_on_stdin_eof: bool,

    /// Say more on standard error; twice for everything
    ///
    /// For finer choices set RUST_LOG, such as RUST_LOG=warn or RUST_LOG=dp_client=trace.
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,

    /// How long the server may take to answer once connected, in seconds [default: 10]
    #[arg(
        long, env = "DP_HANDSHAKE_TIMEOUT", value_name = "SECONDS",
        value_parser = args::seconds(), help_heading = "Limits", hide_short_help = true
    )]
    pub handshake_timeout: Option<Duration>,

    /// The longest message, in MiB; give the server the same limit [default: 256]
    #[arg(
        long, env = "DP_MAX_MESSAGE", value_name = "MIB",
        value_parser = args::message_size(), help_heading = "Limits", hide_short_help = true
    )]
    pub max_message: Option<usize>,

    /// How many calls may wait in one worker [default: 65536]
    #[arg(
        long, env = "DP_MAX_QUEUE", value_name = "N", value_parser = args::count(),
        help_heading = "Limits", hide_short_help = true
    )]
    pub max_queue: Option<usize>,

    /// How much in unanswered calls and unsent answers this client holds, in MiB [default: 512]
    #[arg(
        long, env = "DP_MAX_QUEUED", value_name = "MIB",
        value_parser = args::size(), help_heading = "Limits", hide_short_help = true
    )]
    pub max_queued: Option<usize>,

    /// How many result lines one worker keeps until they are reset [default: 1000000]
    #[arg(
        long,
        env = "DP_MAX_RESULTS",
        value_name = "N",
        value_parser = args::count_or_none(),
        help_heading = "Limits",
        hide_short_help = true
    )]
    pub max_results: Option<usize>,

    /// How many mebibytes of result lines one worker keeps, each line counted with 64 bytes more
    /// [default: 512]
    #[arg(
        long, env = "DP_MAX_RESULT_BYTES", value_name = "MIB", value_parser = args::size(),
        help_heading = "Limits", hide_short_help = true
    )]
    pub max_result_bytes: Option<usize>,

    /// How many metrics one worker keeps until they are reset [default: 1024]
    #[arg(
        long,
        env = "DP_MAX_METRICS",
        value_name = "N",
        value_parser = args::count_or_none(),
        help_heading = "Limits",
        hide_short_help = true
    )]
    pub max_metrics: Option<usize>,

    /// How many threads methods that block may hold, over all workers [default: 1024]
    #[arg(
        long, env = "DP_MAX_THREADS", value_name = "N", value_parser = args::count(),
        help_heading = "Limits", hide_short_help = true
    )]
    pub max_threads: Option<usize>,
}

impl ClientArgs {
    /// A client builder with these settings, for a program that drives the client itself.
    pub fn builder<W: DistributedWorker>(&self) -> ClientBuilder<W> {
        let mut settings = Settings {
            server: self.server.clone(),
            #[cfg(feature = "nats")]
            engine: self.nats.settings(),
            #[cfg(not(feature = "nats"))]
            engine: std::env::var_os("DP_ENGINE").is_some_and(|engine| !engine.is_empty()),
            id: self.id.clone(),
            ranked: true,
            workers: self.workers,
            connect_for: self.connect_for,
            after_loss: match self.exit_on_disconnect {
                true => AfterLoss::Exit,
                false => AfterLoss::Reconnect(self.reconnect_for),
            },
            security: self.security(),
            ..Settings::default()
        };
        let limits = &mut settings.limits;
        if let Some(timeout) = self.handshake_timeout {
            limits.handshake_timeout = timeout;
        }
        for (limit, given) in [
            (&mut limits.max_message, self.max_message),
            (&mut limits.max_queue, self.max_queue),
            (&mut limits.max_queued_bytes, self.max_queued),
            (&mut limits.max_results, self.max_results),
            (&mut limits.max_result_bytes, self.max_result_bytes),
            (&mut limits.max_metrics, self.max_metrics),
            (&mut limits.max_threads, self.max_threads),
        ] {
            if let Some(given) = given {
                *limit = given;
            }
        }
        ClientBuilder::new(settings)
    }

    fn security(&self) -> Security {
        let token = match &self.token_file {
            Some(path) => Some(TokenSource::File(path.clone())),
            None => Some(TokenSource::Environment),
        };
        Security {
            token,
            tls_ca: self.tls_ca.clone(),
            identity: self.tls_cert.clone().zip(self.tls_key.clone()),
            tls_name: self.tls_name.clone(),
            users: self.allow_uid.clone(),
        }
    }

    /// [`main`] with options that have been read already.
    ///
    /// # Errors
    /// None, as with [`main`]: it prints one line and ends the process. A program that has something
    /// left to do then uses the [`builder`](Self::builder).
    pub fn run<W: DistributedWorker>(
        self,
        constructor: impl Fn(&WorkerInfo) -> W + Send + Sync + 'static,
    ) -> anyhow::Result<()> {
        if let Err(error) = self.serve(constructor) {
            // Returned from `main`, it would come with a backtrace of no use wherever that is turned on.
            eprintln!("error: {error}");
            std::process::exit(1);
        }
        Ok(())
    }

    fn serve<W: DistributedWorker>(
        self,
        constructor: impl Fn(&WorkerInfo) -> W + Send + Sync + 'static,
    ) -> anyhow::Result<()> {
        #[cfg(feature = "otel")]
        let telemetry = Telemetry::from_env(&program_name(&W::contract().worker))?;
        start_logging(
            self.verbose,
            #[cfg(feature = "otel")]
            telemetry.as_ref(),
        );
        // Its methods may open many connections of their own.
        files::raise_limit();
        // The runtime panics where it cannot start its threads.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        files::check_room(FILES, cores + THREADS)
            .map_err(|error| anyhow!("cannot start: {error}"))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| anyhow!("cannot start threads: {error}"))?;
        let client = self.builder::<W>().worker(constructor);
        let outcome = runtime.block_on(async {
            tokio::select! {
                outcome = client.run() => {
                    // On one line, however it is printed: an error with sources takes several.
                    outcome.map_err(|error| anyhow!("{}", chain::message(&error)))
                }
                () = end_of_input(), if self.exit_on_stdin_eof => {
                    Err(anyhow!("standard input has ended (--exit-on-stdin-eof)"))
                }
            }
        });
        // Not dropped: that would wait for a method that blocks its thread.
        runtime.shutdown_background();
        outcome
    }
}

/// Completes at the end of standard input. What comes before it is of no interest.
async fn end_of_input() {
    let (ended, end) = tokio::sync::oneshot::channel();
    // A thread of its own: a read under way would keep the runtime from ending.
    let watching = std::thread::Builder::new().spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _ = ended.send(());
    });
    if let Err(error) = watching {
        tracing::warn!("the system has no thread left to watch standard input: {error}");
        return std::future::pending().await;
    }
    let _ = end.await;
}

/// The client program of worker `W`: reads the command line and the environment, joins the server,
/// and does what it says until it says quit. `constructor` makes the workers.
///
/// ```no_run
/// # use dp_core::distributed_worker;
/// # #[derive(Default)]
/// # struct Greeter;
/// # #[distributed_worker]
/// # impl Greeter {
/// #     #[remote]
/// #     fn greet(&self, name: &str) -> String { format!("hello {name}") }
/// # }
/// fn main() -> anyhow::Result<()> {
///     dp_client::main(|_info| Greeter::default())
/// }
/// ```
///
/// `--help` lists the options, see [`ClientArgs`]. Logs go to standard error.
///
/// # Errors
/// None: `main` returns only when the server said quit. Where the server refused this client, or could not be reached in time, it prints one line and ends the process with status 1, as
/// wrong options end it with status 2. A returned error would be printed with a backtrace wherever
/// `RUST_BACKTRACE` is set.
pub fn main<W: DistributedWorker>(
    constructor: impl Fn(&WorkerInfo) -> W + Send + Sync + 'static,
) -> anyhow::Result<()> {
    let contract = W::contract();
    let matches = command(&contract.worker, contract.version).get_matches();
    let args = ClientArgs::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    args.run(constructor)
}

/// What a client program is called after its worker; a generic one without its parameters.
fn program_name(worker: &str) -> String {
    format!("{}-client", worker.split('<').next().unwrap_or_default().to_lowercase())
}

/// The command line of a client program.
fn command(worker: &str, version: &'static str) -> Command {
    let name = program_name(worker);
    let worker = worker.split('<').next().unwrap_or_default();
    let version = if version.is_empty() { "(no version)" } else { version };
    // The options first: what clap derives for them includes having no description.
    ClientArgs::augment_args(Command::new(name))
        .version(version)
        .about(format!("Hosts {worker} workers and does what their server says"))
        .long_about(format!(
            "Hosts {worker} workers and does what their server says.\n\n\
             It joins the server, and keeps trying until that is there; when the server is lost, it \
             comes back, its workers with their state and results as they were. It ends with status \
             0 when the server says quit, and with an error when the server refuses it.\n\n\
             Logs go to standard error."
        ))
        .after_help("More, with the limits: --help")
        .after_long_help(EXAMPLES.replace("{client}", &program()))
}

const EXAMPLES: &str = "\
Examples:
  One worker, for a server on this machine:
      {client}
  Sixteen workers for a server on another one:
      {client} --server lab.example --workers 16
  For a server on this machine that listens at a Unix socket:
      {client} --server unix:/tmp/lab.sock
  For a server that asks for a secret, which has stood in a file there:
      {client} --server lab.example --token-file token
  For one with TLS that asks for certificates, made by `SERVER certs keys --client c1`:
      {client} --server lab.example --tls-ca keys/ca.pem \\
          --tls-cert keys/client-c1.pem --tls-key keys/client-c1-key.pem
  Sixteen workers by environment variables, in a container for one:
      DP_SERVER=lab.example DP_CLIENT_WORKERS=16 {client}";

/// What to type to start this program, for the examples.
fn program() -> String {
    let path = std::env::args_os().next().map(PathBuf::from);
    let name =
        path.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| "client".to_owned())
}

/// Logs to standard error. A program that has its own logging keeps it.
fn start_logging(verbose: u8, #[cfg(feature = "otel")] telemetry: Option<&Telemetry>) {
    let filter = match verbose {
        // An empty variable is as good as none, in a compose file for one.
        0 => match std::env::var("RUST_LOG") {
            Ok(directives) if !directives.trim().is_empty() => {
                EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new("info"))
            }
            // The NATS client tells at every step what is told here where it matters.
            _ => EnvFilter::new("info,async_nats=error"),
        },
        1 => EnvFilter::new("debug"),
        _ => EnvFilter::new("trace"),
    };
    let colors = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let written = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(colors)
        .with_target(false);
    let logging =
        tracing_subscriber::registry().with(written.with_filter(filter)).with(crate::log_layer());
    #[cfg(feature = "otel")]
    let logging = logging.with(telemetry.map(Telemetry::layer));
    // The error says that there is one already.
    let _ = logging.try_init();
}

/// How many workers the server waits for, as the number of those here: fit for one client.
fn workers_of_server() -> String {
    let number = std::env::var("DP_WORKERS").ok();
    let number = number.filter(|workers| workers != "auto" && !workers.trim().is_empty());
    number.unwrap_or_else(|| "1".to_owned())
}

/// The server's address, from the launcher if it is to be.
fn server(text: &str) -> Result<String, String> {
    let address = match launch::is_auto(text) {
        Some(port) => launch::server_address(port).map_err(|error| error.to_string())?,
        None => text.to_owned(),
    };
    address.parse::<Address>().map(|_| address).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn parsed(arguments: &[&str]) -> Result<ClientArgs, clap::Error> {
        let arguments = [&["client"], arguments].concat();
        let matches = command("Greeter", "1.2.3").try_get_matches_from(arguments)?;
        ClientArgs::from_arg_matches(&matches)
    }

    #[test]
    fn the_command_line_is_sound() {
        command("Greeter", "1.2.3").debug_assert();
    }

    #[test]
    fn options_are_understood() {
        let args = parsed(&[
            "--server",
            "lab:1",
            "--id",
            "c1",
            "--workers",
            "4",
            "--connect-for",
            "0.5",
            "-v",
            "--max-threads",
            "8",
        ])
        .unwrap();
        assert_eq!((args.server.as_str(), args.id.as_deref()), ("lab:1", Some("c1")));
        assert_eq!((args.workers, args.verbose, args.max_threads), (4, 1, Some(8)));
        assert_eq!(args.connect_for, Some(Duration::from_millis(500)));
    }

    #[test]
    fn values_that_make_no_sense_are_refused_with_a_remedy() {
        for (option, value, remedy) in [
            ("--workers", "0", "above 0"),
            ("--workers", "many", "above 0"),
            ("--workers", "-1", "from 1 to 1048576"),
            ("--workers", "100000000", "from 1 to 1048576"),
            ("--max-queue", "0", "from 1 to 4294967295"),
            ("--server", "http://lab", "write `lab`"),
            ("--connect-for", "1e-320", "from 0.001 to 1000000000"),
            ("--server", "lab:http", "`http`, is no number"),
            ("--server", "unix:", "lacks the path"),
            ("--connect-for", "nan", "such as 2.5"),
            ("--max-message", "0", "such as 256"),
        ] {
            let error = parsed(&[&format!("{option}={value}")]).unwrap_err().to_string();
            assert!(error.contains(remedy), "{error}");
        }
    }

    #[test]
    fn help_and_version_name_the_worker() {
        let version = parsed(&["--version"]).unwrap_err().to_string();
        assert_eq!(version.trim_end(), "greeter-client 1.2.3");
        let help = parsed(&["--help"]).unwrap_err().to_string();
        for part in ["Hosts Greeter workers", "DP_SERVER", "Examples:", "--max-threads"] {
            assert!(help.contains(part), "{part} is missing in\n{help}");
        }
    }

    #[test]
    fn a_program_that_flattens_the_options_keeps_its_own_description() {
        /// Keeps files.
        #[derive(Debug, Parser)]
        struct Options {
            #[command(flatten)]
            client: ClientArgs,
        }
        use clap::CommandFactory as _;
        Options::command().debug_assert();
        let about = Options::command().get_about().map(ToString::to_string);
        assert_eq!(about.as_deref(), Some("Keeps files"));
        let options = Options::parse_from(["keep", "--workers", "3"]);
        assert_eq!(options.client.workers, 3);
    }
}
