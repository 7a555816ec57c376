//! The server program of a worker crate.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::anyhow;
#[cfg(feature = "page")]
use clap::error::ErrorKind;
use clap::{Args, Command, FromArgMatches};
use dp_core::DistributedWorker;
use dp_core::engine::logs::FORWARDED;
#[cfg(feature = "otel")]
use dp_core::engine::otel::Telemetry;
use dp_core::net::files;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::args::ServerArgs;
use crate::builder::Stateless;
use crate::certs::CertsArgs;
use crate::chain;
use crate::console::{self, Console, Ran};
use crate::signals;
use crate::terminal::{self, Choices, Terminal};

impl ServerArgs {
    /// [`main`] with options that have been read already.
    ///
    /// # Errors
    /// None, as with [`main`]: it prints one line and ends the process. A program that has something
    /// left to do then uses the [`builder`](Self::builder).
    pub fn run<W: DistributedWorker>(self) -> anyhow::Result<()>
    where
        W::Server: Stateless,
    {
        self.run_with::<W>(Stateless::stateless())
    }

    /// [`main_with`] with options that have been read already.
    ///
    /// # Errors
    /// Those of [`run`](Self::run).
    pub fn run_with<W: DistributedWorker>(self, state: W::Server) -> anyhow::Result<()> {
        if let Err(error) = self.serve::<W>(state) {
            // Returned from `main`, it would come with a backtrace of no use wherever that is turned on.
            eprintln!("error: {error}");
            std::process::exit(1);
        }
        Ok(())
    }

    fn serve<W: DistributedWorker>(self, state: W::Server) -> anyhow::Result<()> {
        #[cfg(feature = "otel")]
        let telemetry = Telemetry::from_env(&program_name(&W::contract().worker))?;
        start_logging(
            self.verbose,
            self.forward_logs.is_some(),
            #[cfg(feature = "otel")]
            telemetry.as_ref(),
        );
        // The runtime panics where it cannot start its threads.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        files::raise_limit();
        files::check_room(FILES, cores + THREADS)
            .map_err(|error| anyhow!("cannot start: {error}"))?;
        raise_file_limit(self.workers);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| anyhow!("cannot start threads: {error}"))?;
        let outcome = runtime.block_on(async {
            let table = io::stdout().is_terminal();
            // Before anything is launched that would outlive this process.
            let (sender, mut signals) = console::Signals::channel();
            signals::listen(sender.clone()).await?;
            let server = tokio::select! {
                server = self.builder::<W>().state(state).metrics_table(table || self.once).start() => server?,
                () = signals.any() => return Err(anyhow!("it ended by a signal before it had started")),
            };
            let choices = Choices { history: !self.no_history, output: self.output };
            let terminal = if self.once { None } else { Terminal::open(&server, choices, sender) };
            let mut ran = Ran::Ok;
            let console = match terminal {
                _ if self.once => {
                    let (input, output) = (tokio::io::empty(), tokio::io::stdout());
                    let once = Console::new(&server, input, output, signals, None).once().await;
                    once.map(|came| ran = came)
                }
                Some(terminal) => {
                    let (input, output, screen, showing) = terminal.into_parts();
                    let console = server.console_with(input, output, signals, Some(screen)).await;
                    Terminal::close(&showing);
                    console
                }
                None => {
                    let (input, output) = (console::stdin(), tokio::io::stdout());
                    server.console_with(input, output, signals, None).await
                }
            };
            // Also when the console broke: its clients have nobody else to tell them.
            let shutdown = server.shutdown().await;
            console?;
            shutdown?;
            match ran {
                Ran::Ok => anyhow::Ok(()),
                Ran::Failed => Err(anyhow!("the run failed (--once)")),
                Ran::Incomplete(why) => Err(anyhow!("the run is ok (--once), but {why}")),
                Ran::NotRun(why) => Err(anyhow!("it ended before it could run (--once): {why}")),
            }
        });
        // Not dropped: that would wait for a schedule that blocks its thread.
        runtime.shutdown_background();
        // On one line, however it is printed: an `anyhow::Error` with sources takes several.
        outcome.map_err(|error| anyhow!("{}", chain::message(&*error)))
    }
}

/// The files that a server program opens before any client connects, and the threads that it starts
/// beside those for its cores.
const FILES: usize = 32;
const THREADS: usize = 8;

/// Lets as many clients connect as the system allows, and warns where that may be too few.
fn raise_file_limit(workers: usize) {
    /// Files that are no connections.
    const OTHERS: u64 = 64;
    let needed = (workers as u64).saturating_add(OTHERS);
    if let Some(limit) = files::raise_limit()
        && limit < needed
    {
        tracing::warn!(
            "--workers {workers}: each client takes one open file, and this process may have {limit}: \
             start it after `ulimit -n {needed}`, or let clients host several workers each"
        );
    }
}

/// The server program of worker `W`: reads the command line and the environment, listens, and serves
/// the [`console`](crate::console) on standard input and output until `/quit` or the end of the
/// input.
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
///     dp_server::main::<Greeter>()
/// }
/// ```
///
/// `--help` lists the options, see [`ServerArgs`]. Logs go to standard error, among them
/// `listening on ADDRESS`; standard output belongs to the console. Ctrl-C, SIGTERM and SIGHUP are described
/// [there](crate::console#cancelling), too.
///
/// # Errors
/// None: `main` returns only when all went well. Where the server could not start, standard input or
/// output failed, or clients did not quit, it prints one line and ends the process with status 1, as
/// wrong options end it with status 2. A returned error would be printed with a backtrace wherever
/// `RUST_BACKTRACE` is set.
pub fn main<W: DistributedWorker>() -> anyhow::Result<()>
where
    W::Server: Stateless,
{
    main_with::<W>(Stateless::stateless())
}

/// [`main`] for a worker with state on the server, `#[distributed_worker(server = ..)]`, given that
/// state:
///
/// ```no_run
/// # use dp_core::distributed_worker;
/// # #[derive(Default)]
/// # struct UrlFeed;
/// # struct Crawler;
/// # #[distributed_worker(server = UrlFeed)]
/// # impl Crawler {
/// #     #[remote]
/// #     fn crawl(&self) {}
/// # }
/// fn main() -> anyhow::Result<()> {
///     dp_server::main_with::<Crawler>(UrlFeed::default())
/// }
/// ```
///
/// # Errors
/// None, as with [`main`].
pub fn main_with<W: DistributedWorker>(state: W::Server) -> anyhow::Result<()> {
    let contract = W::contract();
    let matches = command(&contract.worker, contract.version).get_matches();
    if let Some(("certs", matches)) = matches.subcommand() {
        let args = CertsArgs::from_arg_matches(matches).unwrap_or_else(|error| error.exit());
        if let Err(error) = args.run(&mut io::stdout()) {
            eprintln!("error: {}", chain::message(&*error));
            std::process::exit(1);
        }
        return Ok(());
    }
    let args = ServerArgs::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    #[cfg(feature = "page")]
    if let Some(option) = takes_a_subcommand(&args) {
        let text = format!(
            "`{option} certs`: `certs` is a subcommand, and not an address; write it first, as in \
             `certs DIR`. A host of that name is `{option} certs:8148`\n"
        );
        command(&contract.worker, contract.version).error(ErrorKind::InvalidValue, text).exit();
    }
    args.run_with::<W>(state)
}

/// The option, whose address may be left out, that has the subcommand's name for one.
#[cfg(feature = "page")]
fn takes_a_subcommand(args: &ServerArgs) -> Option<&'static str> {
    let is_one = |address: &Option<String>| address.as_deref() == Some("certs");
    [("--page", &args.page), ("--metrics", &args.metrics)]
        .into_iter()
        .find_map(|(option, address)| is_one(address).then_some(option))
}

/// What a server program is called after its worker; a generic one without its parameters.
fn program_name(worker: &str) -> String {
    format!("{}-server", worker.split('<').next().unwrap_or_default().to_lowercase())
}

/// The command line of a server program.
fn command(worker: &str, version: &'static str) -> Command {
    let name = program_name(worker);
    let worker = worker.split('<').next().unwrap_or_default();
    let version = if version.is_empty() { "(no version)" } else { version };
    // The options first: what clap derives for them includes having no description.
    ServerArgs::augment_args(Command::new(name))
        .version(version)
        .about(format!("The server that {worker} workers join"))
        .long_about(format!(
            "The server that {worker} workers join.\n\n\
             Clients connect to it with their workers. Once enough have joined, `/run` on standard \
             input runs them all, and prints what they recorded; `/help` lists the commands. \
             `/quit`, or the end of the input, ends the clients and then the server.\n\n\
             Ctrl-C cancels what is under way; a second one quits. When nothing is under way it \
             takes two within 3 s. SIGTERM and SIGHUP quit at once.\n\n\
             The console's lines go to standard output, logs to standard error."
        ))
        .subcommand(CertsArgs::augment_args(Command::new("certs")))
        .after_help("More, with the limits: --help")
        .after_long_help(EXAMPLES.replace("{server}", &program()))
}

const EXAMPLES: &str = "\
Examples:
  Wait for four workers on this machine:
      {server} --workers 4
  Start four clients, which end with the server; or have a launcher start them:
      {server} --workers 4 --launch ./client --launch-clients 4
      {server} --workers 4 --launch 'mpirun -n 4 ./client'
  In a batch job: run once they are there, quit, and fail where the run did:
      {server} --workers 4 --once --wait-for 300 --report run.json
  Listen at a Unix socket, for clients of the same user, and for this machine over TCP:
      {server} --bind unix:/tmp/lab.sock --bind 127.0.0.1
  Let clients on other machines join that have the same secret:
      openssl rand -hex 32 > token
      {server} --bind 0.0.0.0 --workers 40 --token-file token
  The same in TLS, with certificates for both sides:
      {server} certs keys --name lab.example --client c1 --client c2
      {server} --bind 0.0.0.0 --workers 2 --tls-cert keys/server.pem \\
          --tls-key keys/server-key.pem --tls-client-ca keys/ca.pem
  Talk JSON with a program, which writes /run when it reads `ready to run`:
      {server} --bind :0 --output json
  At the console, call a method with arguments in JSON, of all workers or of one:
      /call greet \"Ada\"
      /call @lab/2 greet \"Ada\"

DP_WORKERS is read by clients too: how many each hosts. Where one shell starts both, use the option,
or set DP_CLIENT_WORKERS for the clients, which they prefer.";

/// What to type to start this program, for the examples.
fn program() -> String {
    let path = std::env::args_os().next().map(PathBuf::from);
    let name =
        path.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| "server".to_owned())
}

/// Logs to standard error. A program that has its own logging keeps it.
fn start_logging(
    verbose: u8,
    forwarded: bool,
    #[cfg(feature = "otel")] telemetry: Option<&Telemetry>,
) {
    let mut filter = match verbose {
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
    if forwarded && let Ok(all) = format!("{FORWARDED}=trace").parse() {
        // The clients send no more than was asked for.
        filter = filter.add_directive(all);
    }
    let colors = io::stderr().is_terminal() && terminal::colors_wanted();
    let written = tracing_subscriber::fmt::layer()
        .with_writer(terminal::log_writer)
        .with_ansi(colors)
        .with_target(false);
    let logging = tracing_subscriber::registry().with(written.with_filter(filter));
    #[cfg(feature = "otel")]
    let logging = logging.with(telemetry.map(Telemetry::layer));
    // The error says that there is one already.
    let _ = logging.try_init();
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::console::OutputFormat;

    fn parsed(arguments: &[&str]) -> Result<ServerArgs, clap::Error> {
        let arguments = [&["server"], arguments].concat();
        let matches = command("Greeter", "1.2.3").try_get_matches_from(arguments)?;
        ServerArgs::from_arg_matches(&matches)
    }

    #[test]
    fn the_command_line_is_sound() {
        command("Greeter", "1.2.3").debug_assert();
    }

    #[test]
    fn options_are_understood() {
        let args = parsed(&[
            "--bind",
            ":0",
            "--workers",
            "4",
            "--frequency",
            "2.5",
            "--output",
            "json",
            "-vv",
            "--max-message",
            "2",
            "--handshake-timeout",
            "0.5",
        ])
        .unwrap();
        assert_eq!((args.bind, args.workers), (vec![":0".to_owned()], 4));
        assert_eq!((args.frequency, args.output), (Some(2.5), OutputFormat::Json));
        assert_eq!((args.verbose, args.max_message), (2, Some(2 << 20)));
        assert_eq!(args.handshake_timeout, Some(Duration::from_millis(500)));
    }

    #[test]
    fn values_that_make_no_sense_are_refused_with_an_example() {
        for (option, value, remedy) in [
            ("--frequency", "0", "such as 2.5"),
            ("--frequency", "nan", "such as 2.5"),
            ("--frequency", "1e-320", "from 0.000001 to 1000000000"),
            ("--frequency", "-1", "from 0.000001 to 1000000000"),
            ("--workers", "-1", "from 0 to 4294967295"),
            ("--max-clients", "0", "from 1 to 4294967295"),
            ("--gather-timeout", "1e18", "from 0.001 to 1000000000"),
            ("--bind", "http://0.0.0.0:8147", "write `0.0.0.0:8147`"),
            ("--page", "http://lab", "write `lab`"),
            ("--metrics", "lab:metrics", "`metrics`, is no number"),
            ("--quit-timeout", "-1", "such as 2.5"),
            ("--quit-timeout", "inf", "such as 2.5"),
            ("--max-message", "0", "such as 256"),
            ("--max-message", "99999999999999999", "such as 256"),
            ("--output", "xml", "text, json"),
            ("--bind", "lab:http", "`http`, is no number"),
            ("--bind", "127.0.0.1:0,unix:", "lacks the path"),
            ("--forward-logs", "2", "info, debug or trace"),
            ("--launch-clients", "0", "above 0"),
            ("--report", "run.xlsx", "use one of .json, .csv, .html, .hlog"),
        ] {
            let error = parsed(&[&format!("{option}={value}")]).unwrap_err().to_string();
            assert!(error.contains(remedy), "{error}");
        }
    }

    #[test]
    fn help_and_version_name_the_worker() {
        let version = parsed(&["--version"]).unwrap_err().to_string();
        assert_eq!(version.trim_end(), "greeter-server 1.2.3");
        let help = parsed(&["--help"]).unwrap_err().to_string();
        for part in
            ["The server that Greeter workers join", "DP_BIND", "Examples:", "--max-clients"]
        {
            assert!(help.contains(part), "{part} is missing in\n{help}");
        }
        let generic = command("Sorter<alloc::string::String>", "");
        assert_eq!(generic.get_name(), "sorter-server");
    }

    #[test]
    fn a_program_that_flattens_the_options_keeps_its_own_description() {
        /// Loads a web site.
        #[derive(Debug, Parser)]
        struct Options {
            #[command(flatten)]
            server: ServerArgs,
            /// The site to load.
            #[arg(long)]
            url: String,
        }
        use clap::CommandFactory as _;
        Options::command().debug_assert();
        let about = Options::command().get_about().map(ToString::to_string);
        assert_eq!(about.as_deref(), Some("Loads a web site"));
        let options = Options::parse_from(["load", "--url", "http://localhost", "--workers", "3"]);
        assert_eq!((options.server.workers, options.url.as_str()), (3, "http://localhost"));
    }
}
