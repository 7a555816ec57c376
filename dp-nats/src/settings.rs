//! Where the NATS server is, who we are to it, and which job is ours.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use dp_core::engine::text::PeerText;
use dp_core::net::files;
use percent_encoding::percent_decode_str;
use thiserror::Error;
use tokio::sync::watch;

/// How often the NATS server is asked whether it is there, when nothing else comes from it.
const PING: Duration = Duration::from_secs(5);
/// Messages that wait to be written to the NATS server before writers wait; for all links. Of the longest,
/// 64 MiB.
const QUEUE: usize = 256;
/// Messages of one subscription that wait here before one is dropped. What a link may have under way is
/// bounded in bytes, so this many are there only where tens of thousands of links have small ones.
const INBOX: usize = 1 << 20;
/// The longest message; a NATS server takes 1 MiB unless it is told otherwise.
const CHUNK: usize = 256 << 10;
/// A NATS server that takes no messages of so many bytes is of no use.
const SHORTEST_CHUNK: usize = 1 << 10;
/// The longest name of a job.
const MAX_JOB: usize = 64;

/// How to reach a NATS server, and which job on it is ours: what `--engine`, `--job` and the `--nats-…`
/// options say.
#[derive(Clone)]
pub struct Settings {
    /// As it was given.
    url: String,
    servers: Vec<ServerAddr>,
    job: Job,
    credentials: Option<PathBuf>,
    nkey: Option<PathBuf>,
    ca: Option<PathBuf>,
    identity: Option<(PathBuf, PathBuf)>,
}

/// Who we are, as an engine's address says it.
#[derive(PartialEq, Eq)]
enum User {
    Named(String, String),
    Token(String),
}

/// The name of a job, which stands in subjects: 1 to 64 letters, digits, `-` and `_`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job(String);

impl Default for Job {
    fn default() -> Self {
        Self("dp".to_owned())
    }
}

impl FromStr for Job {
    type Err = SettingsError;

    fn from_str(job: &str) -> Result<Self, SettingsError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        match !job.is_empty() && job.len() <= MAX_JOB && job.chars().all(allowed) {
            true => Ok(Self(job.to_owned())),
            false => Err(SettingsError::Job { job: job.to_owned() }),
        }
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Settings {
    type Err = SettingsError;

    /// As [`Settings::new`].
    fn from_str(engine: &str) -> Result<Self, SettingsError> {
        Self::new(engine)
    }
}

/// Why settings cannot be used. No text has any part of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The engine's address is none.
    #[error("cannot use {engine} as an engine: {reason}; write nats://HOST:4222")]
    Engine {
        /// What was given, without a password.
        engine: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A job's name stands in subjects.
    #[error(
        "cannot use {job:?} as the name of a job: 1 to {MAX_JOB} letters, digits, `-` and `_` make one"
    )]
    Job {
        /// What was given.
        job: String,
    },
}

/// What went wrong at a NATS server.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NatsError {
    /// It cannot be reached, or went away.
    #[error("cannot reach the NATS server at {engine}: {reason}")]
    Unreachable {
        /// Where it was looked for.
        engine: String,
        /// What was met.
        reason: PeerText,
    },
    /// It does not let us in: to try again does not help.
    #[error(
        "the NATS server at {engine} does not let us in: {reason}; give credentials with \
         --nats-creds, --nats-nkey, nats://USER:PASSWORD@HOST or nats://TOKEN@HOST"
    )]
    Refused {
        /// Where it is.
        engine: String,
        /// What it said.
        reason: PeerText,
    },
    /// A file of ours cannot be used.
    #[error("cannot use {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Nobody answers for the job: its server is not there yet, or not any more.
    #[error("no server of the job {job} is at {engine}: {reason}")]
    NoServer {
        /// The job.
        job: String,
        /// Where it was looked for.
        engine: String,
        /// What was met.
        reason: PeerText,
    },
    /// Another server has the job.
    #[error(
        "there is a server of the job {job} at {engine} already: give each its own --job, and its \
         clients the same"
    )]
    JobTaken {
        /// The job.
        job: String,
        /// Where it is.
        engine: String,
    },
    /// What answered is no dp server, or one of another version.
    #[error("what answers for the job {job} at {engine} is no dp server of this version")]
    Protocol {
        /// The job.
        job: String,
        /// Where it is.
        engine: String,
    },
}

impl NatsError {
    /// Whether to try again is of no use.
    pub fn is_lasting(&self) -> bool {
        !matches!(self, Self::Unreachable { .. } | Self::NoServer { .. })
    }
}

impl Settings {
    /// The job named `dp` on a NATS server: `nats://HOST:4222`, `tls://HOST:4222`, with
    /// `USER:PASSWORD@`, or `TOKEN@`, in front of the host where it asks for that; several servers of
    /// one cluster are separated by commas.
    ///
    /// # Errors
    /// [`SettingsError::Engine`] where that is not what `engine` says.
    pub fn new(engine: &str) -> Result<Self, SettingsError> {
        let servers: Result<Vec<ServerAddr>, SettingsError> =
            engine.split(',').map(str::trim).map(server).collect();
        Ok(Self {
            url: engine.to_owned(),
            servers: servers?,
            job: Job::default(),
            credentials: None,
            nkey: None,
            ca: None,
            identity: None,
        })
    }

    /// The job's name; jobs of different names on one NATS server never meet. Default: `dp`.
    pub fn job(mut self, job: Job) -> Self {
        self.job = job;
        self
    }

    /// The credentials file (`.creds`: a JWT and its seed) by which the NATS server knows this side.
    pub fn credentials(mut self, file: impl Into<PathBuf>) -> Self {
        self.credentials = Some(file.into());
        self
    }

    /// The file with the seed of the NKey by which the NATS server knows this side.
    pub fn nkey(mut self, file: impl Into<PathBuf>) -> Self {
        self.nkey = Some(file.into());
        self
    }

    /// TLS to the NATS server, and the CA of its certificate, a PEM file. Without it, `tls://` takes the
    /// system's CAs.
    pub fn ca(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca = Some(file.into());
        self
    }

    /// A certificate of our own for the NATS server, and its key, PEM files.
    pub fn identity(mut self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.identity = Some((cert.into(), key.into()));
        self
    }

    /// The name of the job.
    pub fn job_name(&self) -> &str {
        &self.job.0
    }

    /// The variables that tell a program the same, `DP_ENGINE` and others. They are secret: a password may
    /// be in them.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let (cert, key) = self.identity.as_ref().map(|(cert, key)| (cert, key)).unzip();
        let files = [
            ("DP_NATS_CREDS", self.credentials.as_ref()),
            ("DP_NATS_NKEY", self.nkey.as_ref()),
            ("DP_NATS_CA", self.ca.as_ref()),
            ("DP_NATS_CERT", cert),
            ("DP_NATS_KEY", key),
        ];
        let named = |(name, file): (_, Option<&PathBuf>)| Some((name, file?.display().to_string()));
        let mut variables = vec![("DP_ENGINE", self.url.clone()), ("DP_JOB", self.job.to_string())];
        variables.extend(files.into_iter().filter_map(named));
        variables
    }

    /// What the NATS server is told of who we are; of one cluster, all know the same users.
    fn user(&self) -> Option<User> {
        let server = self.servers.iter().find(|server| server.username().is_some())?;
        let user = decoded(server.username()?);
        Some(match server.password() {
            Some(password) => User::Named(user, decoded(password)),
            None => User::Token(user),
        })
    }

    /// Where the NATS servers are, without passwords.
    pub fn engine(&self) -> String {
        let names: Vec<String> = self.servers.iter().map(name).collect();
        names.join(",")
    }

    /// A subject of the job.
    pub(crate) fn subject(&self, rest: &str) -> String {
        format!("dp.{}.{rest}", self.job)
    }

    /// A connection to the NATS server, and how often there has been one so far: it may come and go.
    pub(crate) async fn connect(
        &self,
        who: &str,
    ) -> Result<(Client, watch::Receiver<u32>), NatsError> {
        let engine = self.engine();
        let at = engine.clone();
        let (count, connected) = watch::channel(0);
        let mut options = ConnectOptions::new()
            .name(format!("dp {who} of the job {}", self.job))
            .ping_interval(PING)
            .client_capacity(QUEUE)
            .subscription_capacity(INBOX)
            .event_callback(move |event| {
                log(&at, &event);
                if matches!(event, Event::Connected) {
                    count.send_modify(|count| *count += 1);
                }
                std::future::ready(())
            });
        options = match self.user() {
            Some(User::Named(user, password)) => options.user_and_password(user, password),
            Some(User::Token(token)) => options.token(token),
            None => options,
        };
        if let Some(path) = &self.credentials {
            let text = read(path)?;
            options = options.credentials(&text).map_err(|error| unusable(path, error))?;
        }
        if let Some(path) = &self.nkey {
            options = options.nkey(read(path)?.trim().to_owned());
        }
        if let Some(path) = &self.ca {
            read(path)?;
            options = options.add_root_certificates(path.clone()).require_tls(true);
        }
        if let Some((cert, key)) = &self.identity {
            read(cert)?;
            read(key)?;
            options = options.add_client_certificate(cert.clone(), key.clone()).require_tls(true);
        }
        // Without passwords, since the library logs where it connects to.
        let names: Result<Vec<ServerAddr>, _> =
            self.servers.iter().map(|server| name(server).parse()).collect();
        let names = names.unwrap_or_else(|_| self.servers.clone());
        let client = options.connect(&names[..]).await.map_err(|error| {
            use async_nats::ConnectErrorKind::{Authentication, AuthorizationViolation};
            let (engine, reason) = (engine.clone(), PeerText::new(chain(&error)));
            match error.kind() {
                Authentication | AuthorizationViolation => NatsError::Refused { engine, reason },
                _ => NatsError::Unreachable { engine, reason },
            }
        })?;
        if chunk(&client) < SHORTEST_CHUNK {
            let reason = format!("its max_payload is below {SHORTEST_CHUNK} bytes").into();
            return Err(NatsError::Refused { engine, reason });
        }
        Ok((client, connected))
    }
}

/// Whether there was a connection before the present one.
pub(crate) fn again(connected: &mut watch::Receiver<u32>) -> bool {
    *connected.borrow_and_update() > 1
}

/// How long a message may be at this NATS server.
pub(crate) fn chunk(client: &Client) -> usize {
    client.server_info().max_payload.min(CHUNK)
}

fn server(text: &str) -> Result<ServerAddr, SettingsError> {
    let error = |reason: &str| SettingsError::Engine {
        engine: without_password(text),
        reason: reason.to_owned(),
    };
    let bracketed = text.split_once('[').and_then(|(_, behind)| behind.split(']').next());
    if bracketed.is_some_and(|host| host.contains('%')) {
        return Err(error(
            "an IPv6 address with a scope (`%`) cannot be used for NATS: give another address of it, or \
             a name",
        ));
    }
    let address: ServerAddr = text.parse().map_err(|_| error("it is no address"))?;
    match address.scheme() {
        _ if !text.contains("://") => Err(error("it does not say which engine")),
        "nats" | "tls" if !address.host().is_empty() => Ok(address),
        "nats" | "tls" => Err(error("it names no host")),
        _ => Err(error("only nats:// and tls:// are known")),
    }
}

fn without_password(text: &str) -> String {
    match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 <= at => {
            format!("{}…{}", &text[..scheme + 3], &text[at..])
        }
        (None, Some(at)) => format!("…{}", &text[at..]),
        _ => text.to_owned(),
    }
}

/// A part of a URL, in which some characters stand as `%2F`.
fn decoded(part: &str) -> String {
    percent_decode_str(part).decode_utf8_lossy().into_owned()
}

fn name(server: &ServerAddr) -> String {
    let (scheme, host, port) = (server.scheme(), server.host(), server.port());
    match host.contains(':') && !host.starts_with('[') {
        true => format!("{scheme}://[{host}]:{port}"),
        false => format!("{scheme}://{host}:{port}"),
    }
}

fn read(path: &Path) -> Result<String, NatsError> {
    let text = std::fs::read_to_string(path).map_err(|error| unusable(path, error))?;
    files::warn_if_others_can_read(path, "secret");
    Ok(text)
}

fn unusable(path: &Path, error: io::Error) -> NatsError {
    NatsError::File { path: path.to_owned(), reason: error.to_string() }
}

/// An error and its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

fn log(engine: &str, event: &Event) {
    match event {
        Event::Connected => tracing::debug!("connected to the NATS server at {engine}"),
        Event::Disconnected => {
            tracing::warn!("lost the NATS server at {engine}; trying to come back");
        }
        Event::SlowConsumer(_) => {
            tracing::warn!(
                "messages from the NATS server at {engine} came faster than they are read"
            );
        }
        Event::ServerError(error) => {
            tracing::warn!(
                "the NATS server at {engine} says: {}",
                PeerText::new(error.to_string())
            );
        }
        event => {
            let event = PeerText::new(event.to_string());
            tracing::debug!("the NATS server at {engine}: {event}");
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("engine", &self.engine())
            .field("job", &self.job)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_program_can_be_told_the_same() {
        let settings = Settings::new("nats://user:secret@lab").unwrap().nkey("seed").ca("ca.pem");
        let expected = [
            ("DP_ENGINE", "nats://user:secret@lab"),
            ("DP_JOB", "dp"),
            ("DP_NATS_NKEY", "seed"),
            ("DP_NATS_CA", "ca.pem"),
        ];
        let told = settings.identity("cert", "key").environment();
        assert_eq!(told[..4], expected.map(|(name, value)| (name, value.to_owned())));
        assert_eq!((told[4].0, told[5].0, told.len()), ("DP_NATS_CERT", "DP_NATS_KEY", 6));
    }

    #[test]
    fn an_engine_is_named_without_its_password() {
        let settings = Settings::new("nats://user:secret@lab:4223, tls://lab2").unwrap();
        assert_eq!(settings.engine(), "nats://lab:4223,tls://lab2:4222");
        assert!(!format!("{settings:?}").contains("secret"));
        for engine in ["http://user:secret@lab", "nats://user:secret@lab:port", "user:secret@lab"] {
            let error = Settings::new(engine).unwrap_err().to_string();
            assert!(error.contains("lab") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn an_engine_that_is_none_is_refused_with_the_remedy() {
        for (engine, reason) in [
            ("", "it"),
            ("lab:4222", "it does not say which engine"),
            ("ws://lab", "only nats:// and tls:// are known"),
            ("nats://", "it"),
            ("nats://[fe80::1%lo]:4222", "an IPv6 address with a scope"),
        ] {
            let error = Settings::new(engine).unwrap_err().to_string();
            assert!(error.contains(reason) && error.ends_with("write nats://HOST:4222"), "{error}");
        }
    }

    #[test]
    fn a_jobs_name_is_safe_in_a_subject() {
        let settings = Settings::new("nats://lab").unwrap();
        let job: Job = "nightly-2_b".parse().unwrap();
        assert_eq!(settings.job(job).subject("join"), "dp.nightly-2_b.join");
        for job in ["", "a.b", "a b", ">", "*", "ä", &"x".repeat(65)] {
            assert!(job.parse::<Job>().is_err(), "{job:?}");
        }
    }

    #[test]
    fn what_stands_alone_before_the_host_is_a_token() {
        let user = |engine: &str| Settings::new(engine).unwrap().user();
        let named = |user: &str| Some(User::Named(user.to_owned(), "se/cret".to_owned()));
        assert!(user("nats://lab").is_none());
        assert!(user("nats://lab,nats://me:se%2Fcret@lab2") == named("me"));
        assert!(user("nats://s3%40cret@lab") == Some(User::Token("s3@cret".to_owned())));
        let settings = Settings::new("nats://s3cret@[::1]:4223").unwrap();
        assert_eq!(settings.engine(), "nats://[::1]:4223");
        assert!(!format!("{settings:?}").contains("s3cret"));
    }
}
