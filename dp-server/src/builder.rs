//! What a server is told before it starts.

use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::time::Duration;

use dp_core::DistributedWorker;
use dp_core::net::Token;
use tracing::Level;

use crate::console::OutputFormat;
use crate::export::ReportFile;
use crate::launch::Launch;
#[cfg(doc)]
use crate::server::Server;
use crate::settings::{Settings, TlsFiles, TokenSource};

/// Settings of a [`Server`] that is about to start; made by [`Server::builder`].
///
/// `S` says whether the state that the workers' `#[on_server]` functions get has been given, so that
/// a server without it does not compile.
#[must_use = "a builder does nothing before `start()`"]
pub struct ServerBuilder<W, S = NoState> {
    pub(crate) state: S,
    pub(crate) settings: Settings,
    worker: PhantomData<fn() -> W>,
}

/// No state has been given (yet).
#[derive(Debug, Clone, Copy)]
pub struct NoState;

/// The state has been given.
pub struct Given<T>(T);

impl<T> fmt::Debug for Given<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Given")
    }
}

/// What a server has whose workers need no state there: `()`.
#[diagnostic::on_unimplemented(
    message = "the server's state, a `{Self}`, is missing",
    label = "this worker says `#[distributed_worker(server = {Self})]`",
    note = "give it to the builder with `.state(..)` before `.start()`",
    note = "in a program, write `dp_server::main_with::<YourWorker>(state)` in place of `main`"
)]
pub trait Stateless: Sized {
    /// The state of a server that has none.
    fn stateless() -> Self;
}

impl Stateless for () {
    fn stateless() -> Self {}
}

/// Whether a builder has the state that worker `W` asks for: it was given, or none is needed.
pub trait StateGiven<W: DistributedWorker>: sealed::Sealed {
    #[doc(hidden)]
    fn into_state(self) -> W::Server;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::NoState {}
    impl<T> Sealed for super::Given<T> {}
}

impl<W: DistributedWorker> StateGiven<W> for NoState
where
    W::Server: Stateless,
{
    fn into_state(self) -> W::Server {
        W::Server::stateless()
    }
}

impl<W: DistributedWorker<Server = T>, T> StateGiven<W> for Given<T> {
    fn into_state(self) -> T {
        self.0
    }
}

impl<W: DistributedWorker> ServerBuilder<W> {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { state: NoState, settings, worker: PhantomData }
    }

    /// The state that the worker's `#[on_server]` functions and its schedules get: needed where the
    /// worker says `#[distributed_worker(server = ..)]`, and nowhere else.
    pub fn state(self, state: W::Server) -> ServerBuilder<W, Given<W::Server>> {
        ServerBuilder { state: Given(state), settings: self.settings, worker: PhantomData }
    }
}

/// Settings. Each is also an option and an environment variable of the program, see
/// [`ServerArgs`](crate::ServerArgs).
impl<W: DistributedWorker, S> ServerBuilder<W, S> {
    /// Where to listen: `HOST:PORT`; default `127.0.0.1:8147`. What is left out (`:0`, `lab`) is
    /// taken from the default. Port 0 is a free one that the system picks, see
    /// [`Server::local_addr`]. A name is listened to on every address that it stands for.
    ///
    /// `unix:PATH` is a Unix socket, for clients on this machine that belong to the same user, or to
    /// root, or to one that [`allow_uid`](Self::allow_uid) names. Its file is readable by them alone,
    /// replaces one that a server has left which was killed, and is removed when the server stops to
    /// listen. TLS is not used there; a [`token`](Self::token) is.
    ///
    /// It takes the place of what was given before; [`bind_also`](Self::bind_also) adds to it.
    pub fn bind(mut self, address: impl Into<String>) -> Self {
        self.settings.bind = Some(vec![address.into()]);
        self.settings.bind_also.clear();
        self
    }

    /// One more address to listen on, as for [`bind`](Self::bind), beside those given before, or the
    /// default where no engine takes its place.
    pub fn bind_also(mut self, address: impl Into<String>) -> Self {
        self.settings.bind_also.push(address.into());
        self
    }

    /// A NATS server that carries the connections of clients which are given the same: there, and not at
    /// [`bind`](Self::bind)'s default address. Addresses that were given are listened at, too.
    #[cfg(feature = "nats")]
    pub fn engine(mut self, engine: dp_nats::Settings) -> Self {
        self.settings.engine = Ok(Some(engine));
        self
    }

    /// A user, by number, whose processes may connect to the Unix sockets that are
    /// [listened](Self::bind) at; may be given several times. Default: only those of the server's own
    /// user, and of root.
    pub fn allow_uid(mut self, user: u32) -> Self {
        self.settings.security.users.push(user);
        self
    }

    /// A secret that clients have to share; default: none. It is proven, and never sent. Without it,
    /// and without TLS, a server listens on the addresses of this machine alone, see
    /// [`insecure`](Self::insecure).
    pub fn token(mut self, token: Token) -> Self {
        self.settings.security.token = Some(TokenSource::Given(token));
        self
    }

    /// The same, read from a file when the server starts.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.settings.security.token = Some(TokenSource::File(path.into()));
        self
    }

    /// TLS 1.3, with the server's certificate (and those between it and its CA) and its key, PEM files
    /// that are read when the server starts; default: none. `SERVER certs DIR` makes such files.
    pub fn tls(mut self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        let client_ca = self.settings.security.tls.and_then(|files| files.client_ca);
        let (cert, key) = (cert.into(), key.into());
        self.settings.security.tls = Some(TlsFiles { cert, key, client_ca });
        self
    }

    /// The CA, a PEM file, that has to have signed a certificate of every client; that certificate's
    /// name is the client's id. Only with [`tls`](Self::tls), which is to be called first; default:
    /// clients need no certificate.
    ///
    /// # Panics
    /// Without [`tls`](Self::tls).
    pub fn tls_client_ca(mut self, ca: impl Into<PathBuf>) -> Self {
        let files = self.settings.security.tls.as_mut();
        files.expect("call `tls` before `tls_client_ca`").client_ca = Some(ca.into());
        self
    }

    /// Listens also on addresses that others than this machine reach, and over an engine, without asking
    /// anybody for a proof: whoever reaches the port, or the NATS server, can join. Default: that is
    /// [an error](crate::StartError::Exposed).
    pub fn insecure(mut self) -> Self {
        self.settings.security.insecure = true;
        self
    }

    /// A command that starts the clients once the server listens: a client, which is started `clients`
    /// times, or, `clients` being 1, a launcher that starts them, such as `mpirun -n 8 ./client`.
    /// Default: none. [`workers`](Self::workers) is not changed by it.
    ///
    /// It is run by `sh -c`, as a process group of its own, with this in its environment:
    ///
    /// | variable | value |
    /// | --- | --- |
    /// | `DP_SERVER` | where the server is reached: by its host name where it listens on every address, else from other machines, else at a Unix socket, else on loopback |
    /// | `DP_ENGINE`, `DP_JOB` | where the connections are carried by an engine, in place of that |
    /// | `DP_TOKEN` | the [`token`](Self::token). Where there is none, and not [`insecure`](Self::insecure), one that is made for this server, so that nobody else joins |
    /// | `DP_RANK`, `DP_SIZE` | where `clients` is above 1: which of them it is, from 0, and how many they are. A client has its rank in its id |
    /// | `DP_CONNECT_FOR`, `DP_RECONNECT_FOR` | 60 and 10 seconds, unless they are set: a server that was killed ends no process, but its clients do not look for it for ever |
    ///
    /// What it writes goes to standard error line by line, with its name in front; what clients log comes
    /// twice where the server has them forward it, too. That it has ended
    /// is said in the log. With the server it ends, too: after [`shutdown`](Server::shutdown) has told
    /// the clients to quit, what is still there in 2 s gets SIGTERM, and SIGKILL 5 s later; where the
    /// server is dropped, SIGTERM. Its standard input has nothing in it, and ends when this process
    /// does. Only on Unix.
    ///
    /// # Panics
    /// When `clients` is 0.
    pub fn launch(mut self, command: impl Into<String>, clients: usize) -> Self {
        assert!(clients > 0, "`launch` starts at least one client");
        self.settings.launch = Some(Launch { command: command.into(), clients });
        self
    }

    /// How many workers make it ready to run; default 1. More may join, then or later.
    pub fn workers(mut self, workers: usize) -> Self {
        self.settings.workers = workers;
        self
    }

    /// How long [`Server::ready`] waits until so many [workers](Self::workers) have joined; default: for
    /// ever. What was [launched](Self::launch) is not waited for that long once it has ended with an
    /// error.
    pub fn wait_for(mut self, time: Duration) -> Self {
        self.settings.wait_for = Some(time);
        self
    }

    /// Calls per second for `postpone` and `delay`: from 0.000001 to 1,000,000,000; default 1.
    pub fn frequency(mut self, hz: f64) -> Self {
        self.settings.frequency = Some(hz);
        self
    }

    /// How [`Server::console`] writes; default [`OutputFormat::Text`].
    pub fn output(mut self, format: OutputFormat) -> Self {
        self.settings.output = format;
        self
    }

    /// Whether the text of [`Server::console`] has a table of the metrics after the results of a run:
    /// for people, since it is no lines for programs. Default: no; the programs say yes where standard
    /// output is a terminal.
    pub fn metrics_table(mut self, table: bool) -> Self {
        self.settings.metrics_table = table;
        self
    }

    /// A file that every result line is appended to when it is gathered, after a run and by `/results`,
    /// as a JSON object with `worker`, `time` (RFC 3339) and `message`; default: none. A run is ok only
    /// once the disk has them. Where they cannot be written they stay on the workers, no run begins that
    /// would drop them, and gathering again stores them. Each line is stored once, also when the server
    /// is started again. It has to be a regular file; a new one is its owner's alone (mode 0600).
    ///
    /// What calls that are still under way record at the very moment at which a run begins belongs to
    /// no run, and is dropped.
    pub fn results_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.settings.results_file = Some(path.into());
        self
    }

    /// How long workers may take to give what they have recorded, after a run and when they are asked
    /// for it; those that have not answered by then are named, and the others' is kept. Default 30 s.
    pub fn gather_timeout(mut self, timeout: Duration) -> Self {
        self.settings.gather_timeout = timeout;
        self
    }

    /// How long [`Server::shutdown`] waits for the clients to quit before it cuts them off;
    /// default 10 s.
    pub fn quit_timeout(mut self, timeout: Duration) -> Self {
        self.settings.quit_timeout = timeout;
        self
    }

    /// A file that the report of every run is written to, in place of that of the run before; may be
    /// given several times. Where it could not be written, [`Report::unwritten`] says so.
    ///
    /// [`Report::unwritten`]: crate::Report::unwritten
    pub fn report(mut self, file: ReportFile) -> Self {
        self.settings.reports.push(file);
        self
    }

    /// Shows what the clients' programs log, of `level` and those before it, in the log of this one: as
    /// events of the target `dp::forwarded`, such as `w[1-40]: cannot load`. Equal lines are shown once,
    /// with all workers that have said so within a quarter of a second. Default: no; then the clients
    /// send nothing.
    ///
    /// Of each client [`max_log_lines`](Self::max_log_lines) a second; what is above is counted, which
    /// is said.
    pub fn forward_logs(mut self, level: Level) -> Self {
        self.settings.forward_logs = Some(level);
        self
    }

    /// How many lines a second one client forwards of its log, see [`forward_logs`](Self::forward_logs);
    /// default 1,000. A line has 4 KiB at the most, and in a client wait 1 MiB of them at the most.
    pub fn max_log_lines(mut self, lines: usize) -> Self {
        self.settings.limits.max_log_lines = lines;
        self
    }

    /// Where to serve the live page, to be opened in a browser: `HOST:PORT`; default: nowhere. What is
    /// left out is taken from `127.0.0.1:8148`; port 0 is a free one, see [`Server::page_addr`].
    ///
    /// Other machines can reach it only where there is a [`token`](Self::token), which it then asks
    /// for. With [`tls`](Self::tls) it is served by HTTPS, with the same certificate.
    #[cfg(feature = "page")]
    pub fn page(mut self, address: impl Into<String>) -> Self {
        self.settings.page = Some(address.into());
        self
    }

    /// Where to serve metrics for Prometheus, at `/metrics`: `HOST:PORT`; default: nowhere. What is
    /// left out is taken from `127.0.0.1:8148`, and it may be the address of the [`page`](Self::page).
    /// Who can reach it is the same; Prometheus gives the token as `authorization: credentials`.
    #[cfg(feature = "page")]
    pub fn metrics(mut self, address: impl Into<String>) -> Self {
        self.settings.metrics = Some(address.into());
        self
    }

    /// The longest message to or from a client, in bytes; default 256 MiB. Both sides have this
    /// limit: raise it at the clients too.
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.settings.limits.max_message = bytes;
        self
    }

    /// The longest first message of somebody who connects, in bytes, before it is known whether it
    /// is a client at all.
    pub fn max_handshake(mut self, bytes: usize) -> Self {
        self.settings.limits.max_handshake = bytes;
        self
    }

    /// How long somebody who has connected may take to introduce themselves; default 10 s.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.settings.limits.handshake_timeout = timeout;
        self
    }

    /// How many connections may be in the handshake at a time, with nothing proven yet; default 1,024.
    /// The others wait to be accepted.
    pub fn max_handshakes(mut self, connections: usize) -> Self {
        self.settings.limits.max_handshakes = connections;
        self
    }

    /// After how long without anything else to send each side of a connection sends a heartbeat;
    /// default 2 s. Clients do as the server does.
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.settings.limits.heartbeat_interval = interval;
        self
    }

    /// After how long a silence each side of a connection takes the other for gone; default 10 s.
    /// Clients do as the server does. A method that takes long is no silence.
    pub fn heartbeat_timeout(mut self, timeout: Duration) -> Self {
        self.settings.limits.heartbeat_timeout = timeout;
        self
    }

    /// How many clients may be connected at a time; default 65,536.
    pub fn max_clients(mut self, clients: usize) -> Self {
        self.settings.limits.max_clients = clients;
        self
    }

    /// How many workers all clients together may host; default 1,048,576.
    pub fn max_workers(mut self, workers: usize) -> Self {
        self.settings.limits.max_workers = workers;
        self
    }

    /// How many workers one client may host; default 65,536.
    pub fn max_workers_per_client(mut self, workers: usize) -> Self {
        self.settings.limits.max_workers_per_client = workers;
        self
    }

    /// How many calls may be under way to one worker before `detach` waits; default 1,024.
    pub fn in_flight(mut self, calls: usize) -> Self {
        self.settings.limits.in_flight = calls;
        self
    }

    /// How many bytes may wait to be written to one client that does not keep up, before calls to it
    /// fail with [`CallError::NotSent`](dp_core::CallError::NotSent); default 512 MiB. What callers no
    /// longer wait for is taken back and does not count.
    pub fn max_queued_bytes(mut self, bytes: usize) -> Self {
        self.settings.limits.max_queued_bytes = bytes;
        self
    }

    /// How many calls to the server, and arrivals at barriers, the workers of one client may have
    /// unanswered before more are refused; default 65,536.
    pub fn max_server_calls(mut self, calls: usize) -> Self {
        self.settings.limits.max_server_calls = calls;
        self
    }

    /// How many threads `#[on_server]` functions that block may hold at a time; default 1,024.
    pub fn max_threads(mut self, threads: usize) -> Self {
        self.settings.limits.max_threads = threads;
        self
    }

    /// How many result lines of one worker the server takes, and keeps if the worker is lost; default
    /// 1,000,000. Of more, another line tells. What one worker keeps is a setting of its client.
    pub fn max_results(mut self, lines: usize) -> Self {
        self.settings.limits.max_results = lines;
        self
    }

    /// How many bytes of result lines of one worker the server takes, each line counted with 64 bytes
    /// more; default 512 MiB. Of more, another line tells. What one worker keeps is a setting of its
    /// client.
    pub fn max_result_bytes(mut self, bytes: usize) -> Self {
        self.settings.limits.max_result_bytes = bytes;
        self
    }

    /// How many bytes of what the workers of one client have recorded the server keeps for the case that
    /// they are lost, each line counted with 64 bytes more; default 1 GiB. Of more, a line tells if they
    /// are.
    pub fn max_kept_bytes_per_client(mut self, bytes: usize) -> Self {
        self.settings.limits.max_kept_bytes_per_client = bytes;
        self
    }

    /// The same for the workers of all clients together, those included that are lost; default 2 GiB.
    /// Also how many bytes of results the server takes of all workers at a time.
    pub fn max_kept_bytes(mut self, bytes: usize) -> Self {
        self.settings.limits.max_kept_bytes = bytes;
        self
    }
}

impl<W, S> fmt::Debug for ServerBuilder<W, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder").field("settings", &self.settings).finish_non_exhaustive()
    }
}
