//! What keeps strangers out: TLS and the shared secret, in front of the protocol itself. And what a
//! [launcher](launch) says of this process.
//!
//! A connection goes through both, where they are set up, before the first byte of the protocol is
//! read: nothing of a peer that has not proven itself is parsed but lengths that are fixed.

pub mod address;
pub mod chain;
pub mod files;
pub mod launch;
#[cfg(unix)]
mod peers;
#[cfg(test)]
mod relay;
mod socket;
mod stream;
mod tls;
mod token;

use std::io;
use std::path::{Path, PathBuf};

use crate::text::PeerText;
use rustls::pki_types::pem;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

#[cfg(unix)]
pub use peers::TrustedUsers;
pub use socket::{Carried, Socket};
pub use stream::Secured;
pub use tls::{ClientTls, ServerTls};
pub use token::Token;

/// Why a connection did not come to the protocol.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GateError {
    /// It ended, or broke: to try again may help.
    #[error("connection ended during {stage}: {}", crate::error::io_reason(.source))]
    Ended {
        /// What it was in.
        stage: &'static str,
        /// How it ended.
        source: io::Error,
    },
    /// One side does not trust the other, or has not what it takes: to try again does not help.
    #[error("{reason}")]
    Untrusted {
        /// What was wrong, and the remedy.
        reason: PeerText,
    },
}

/// Why a secret, a certificate or a key could not be used. No text has any part of a secret.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SecretError {
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is nothing in it but white space.
    #[error("{from} has no token in it: a token is a text that nobody can guess")]
    EmptyToken {
        /// The file, or the variable.
        from: String,
    },
    /// No token can be made.
    #[error("cannot make a token: the system has no randomness")]
    NoRandomness,
    /// A file is no PEM file, or has not in it what is looked for.
    #[error("{} has no {what} in PEM format: {reason}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is looked for.
        what: &'static str,
        /// What was found.
        reason: String,
    },
    /// A server's certificate cannot have that name.
    #[error(
        "`{name}` cannot be the name in a server's certificate (--tls-name): it is that of a host, or an \
         IP address"
    )]
    Name {
        /// What was given.
        name: String,
    },
    /// What is in the files does not go together, or cannot be used.
    #[error("cannot use {}: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// One of the others, of a file that this setting names.
    #[error("{source} ({setting})")]
    Setting {
        /// The option, and its environment variable.
        setting: &'static str,
        /// What is wrong with the file.
        source: Box<SecretError>,
    },
}

impl SecretError {
    /// Says which setting the file was named by.
    pub fn of(self, setting: &'static str) -> Self {
        match self {
            Self::Read { .. }
            | Self::EmptyToken { .. }
            | Self::Pem { .. }
            | Self::Unusable { .. } => Self::Setting { setting, source: Box::new(self) },
            error => error,
        }
    }

    fn pem(path: &Path, what: &'static str, error: pem::Error) -> Self {
        let path = path.to_owned();
        match error {
            pem::Error::Io(source) => Self::Read { path, source },
            error => Self::Pem { path, what, reason: error.to_string() },
        }
    }
}

/// What a server asks of everybody who connects.
///
/// Over a Unix socket TLS is not used, on either side: nobody is on the way there, and the system says
/// which user each side belongs to, which a server and a client check in its place.
#[derive(Debug, Clone, Default)]
pub struct ServerGate {
    /// TLS, if it is on.
    pub tls: Option<ServerTls>,
    /// The shared secret, if there is one.
    pub token: Option<Token>,
}

/// What a client asks of the server that it connects to.
///
/// Over a Unix socket TLS is not used, see [`ServerGate`].
#[derive(Debug, Clone, Default)]
pub struct ClientGate {
    /// TLS, if it is on.
    pub tls: Option<ClientTls>,
    /// The shared secret, if there is one.
    pub token: Option<Token>,
}

impl ServerGate {
    /// The same for those who come over a Unix socket.
    #[must_use]
    pub fn without_tls(&self) -> Self {
        Self { tls: None, token: self.token.clone() }
    }

    /// Lets a connection in. With it, where the client has shown a certificate, the names in that.
    ///
    /// # Errors
    /// [`GateError`], when it is to be closed.
    pub async fn admit<S>(&self, stream: S) -> Result<(Secured<S>, Option<Vec<String>>), GateError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (mut stream, names) = match &self.tls {
            None => (Secured::Plain(stream), None),
            Some(tls) => tls.accept(stream).await?,
        };
        if let Some(token) = &self.token {
            let binding = stream.binding();
            let admitted = token.admit(&mut stream, &binding).await;
            if admitted.is_err() {
                linger(&mut stream).await;
            }
            admitted?;
        }
        Ok((stream, names))
    }
}

impl ClientGate {
    /// The same for a server behind a Unix socket.
    #[must_use]
    pub fn without_tls(&self) -> Self {
        Self { tls: None, token: self.token.clone() }
    }

    /// Goes through the gate of the server `host`, a name or an address.
    ///
    /// # Errors
    /// [`GateError`], when the server is not the right one, or does not let this client in.
    pub async fn pass<S>(&self, stream: S, host: &str) -> Result<Secured<S>, GateError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut stream = match &self.tls {
            None => Secured::Plain(stream),
            Some(tls) => tls.connect(stream, host).await?,
        };
        if let Some(token) = &self.token {
            let binding = stream.binding();
            token.present(&mut stream, &binding).await?;
        }
        Ok(stream)
    }
}

/// Closes a connection so that what was written last arrives: closed with something unread, the
/// system would reset it.
async fn linger(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    use tokio::io::AsyncReadExt;
    const LONGEST: std::time::Duration = std::time::Duration::from_secs(1);
    const MOST: u64 = 1 << 20;
    let drained = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(MOST), &mut tokio::io::sink()).await
    };
    let _ = tokio::time::timeout(LONGEST, drained).await;
}
