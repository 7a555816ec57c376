//! Everything that can be set, by the builder or the command line.

use std::path::PathBuf;
use std::time::Duration;

use dp_core::engine::Limits;
use dp_core::net::{SecretError, ServerGate, ServerTls, Token};
use tracing::Level;

use crate::console::OutputFormat;
use crate::export::ReportFile;
use crate::launch::Launch;

/// Everything that can be set, but for the state.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// `None` is the default address, or none with an engine.
    pub(crate) bind: Option<Vec<String>>,
    pub(crate) bind_also: Vec<String>,
    /// An engine is asked for, which this program was built without.
    #[cfg(not(feature = "nats"))]
    pub(crate) engine: bool,
    #[cfg(feature = "nats")]
    pub(crate) engine: Result<Option<dp_nats::Settings>, dp_nats::SettingsError>,
    pub(crate) workers: usize,
    /// How long to wait for them; `None` is for ever.
    pub(crate) wait_for: Option<Duration>,
    pub(crate) frequency: Option<f64>,
    pub(crate) output: OutputFormat,
    pub(crate) metrics_table: bool,
    pub(crate) results_file: Option<PathBuf>,
    pub(crate) gather_timeout: Duration,
    pub(crate) quit_timeout: Duration,
    pub(crate) security: Security,
    pub(crate) reports: Vec<ReportFile>,
    pub(crate) forward_logs: Option<Level>,
    pub(crate) launch: Option<Launch>,
    #[cfg(feature = "page")]
    pub(crate) page: Option<String>,
    #[cfg(feature = "page")]
    pub(crate) metrics: Option<String>,
    pub(crate) limits: Limits,
}

/// Who may join.
#[derive(Debug, Clone, Default)]
pub(crate) struct Security {
    pub(crate) token: Option<TokenSource>,
    pub(crate) tls: Option<TlsFiles>,
    /// Strangers may join from other machines.
    pub(crate) insecure: bool,
    /// Users of this machine whose processes may join over a Unix socket.
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

/// The files that TLS needs.
#[derive(Debug, Clone)]
pub(crate) struct TlsFiles {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) client_ca: Option<PathBuf>,
}

impl Security {
    /// Reads the files.
    pub(crate) fn gate(&self) -> Result<ServerGate, SecretError> {
        let token = match &self.token {
            None => None,
            Some(TokenSource::Given(token)) => Some(token.clone()),
            Some(TokenSource::File(path)) => {
                Some(Token::read(path).map_err(|error| error.of("--token-file or DP_TOKEN_FILE"))?)
            }
            Some(TokenSource::Environment) => Token::from_env()?,
        };
        let read =
            |files: &TlsFiles| ServerTls::read(&files.cert, &files.key, files.client_ca.as_deref());
        Ok(ServerGate { token, tls: self.tls.as_ref().map(read).transpose()? })
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bind: None,
            bind_also: Vec::new(),
            #[cfg(feature = "nats")]
            engine: Ok(None),
            #[cfg(not(feature = "nats"))]
            engine: false,
            workers: 1,
            wait_for: None,
            frequency: None,
            output: OutputFormat::Text,
            metrics_table: false,
            results_file: None,
            gather_timeout: Duration::from_secs(30),
            quit_timeout: Duration::from_secs(10),
            security: Security::default(),
            reports: Vec::new(),
            forward_logs: None,
            launch: None,
            #[cfg(feature = "page")]
            page: None,
            #[cfg(feature = "page")]
            metrics: None,
            limits: Limits::default(),
        }
    }
}
