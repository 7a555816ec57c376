//! Addresses as a person writes them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

/// Where a server listens, and where a client looks for it, unless they are told another.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:8147";
const DEFAULT_HOST: &str = "127.0.0.1";
const DEFAULT_PORT: u16 = 8147;

/// What the address of a Unix socket begins with.
const UNIX: &str = "unix:";

/// Where a server listens, or is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Address {
    /// Over TCP: `HOST:PORT`, with both parts.
    Tcp(String),
    /// At a Unix socket, on this machine alone: the path of its file.
    Unix(PathBuf),
    /// At a server that carries connections, for the job of this name. Nothing is parsed into this.
    Engine {
        /// Which server.
        engine: String,
        /// Which job there.
        job: String,
    },
}

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AddressError {
    /// What stands behind the colon is no port.
    #[error("`{address}` is no address: its port, `{port}`, is no number from 0 to 65535")]
    Port {
        /// The address, as it was given.
        address: String,
        /// What stands for the port in it.
        port: String,
    },
    /// The path of a Unix socket is missing.
    #[error("`unix:` is no address: it lacks the path of the socket, as in `unix:/run/lab.sock`")]
    NoPath,
    /// This system has no Unix sockets that could be used here.
    #[error("cannot use `{address}`: there are no Unix sockets on this system; give HOST:PORT")]
    NoUnixSockets {
        /// The address, as it was given.
        address: String,
    },
}

impl FromStr for Address {
    type Err = AddressError;

    /// `unix:PATH`, or `HOST:PORT`, of which what is left out is taken from the default address.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.strip_prefix(UNIX) {
            Some("") => Err(AddressError::NoPath),
            Some(path) if cfg!(unix) => {
                // Others, with another working directory, are told of it.
                let absolute = std::path::absolute(path);
                Ok(Self::Unix(absolute.unwrap_or_else(|_| PathBuf::from(path))))
            }
            Some(_) => Err(AddressError::NoUnixSockets { address: text.to_owned() }),
            None => {
                let whole = complete(text);
                match whole.rsplit_once(':') {
                    Some((_, port)) if port.parse::<u16>().is_err() => {
                        Err(AddressError::Port { address: text.to_owned(), port: port.to_owned() })
                    }
                    _ => Ok(Self::Tcp(whole)),
                }
            }
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(whole) => f.write_str(whole),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
            Self::Engine { engine, job } => write!(f, "{engine} (job {job})"),
        }
    }
}

/// The address `text` as `HOST:PORT`: what it leaves out is taken from the default address.
pub fn complete(text: &str) -> String {
    complete_with(text, DEFAULT_PORT)
}

/// The same with another default port.
pub fn complete_with(text: &str, port: u16) -> String {
    if let Ok(ip) = text.parse::<IpAddr>() {
        // Before anything else is cut at a colon: an IPv6 address without a port has several.
        return SocketAddr::new(ip, port).to_string();
    }
    match text.rsplit_once(':') {
        None if text.is_empty() => format!("{DEFAULT_HOST}:{port}"),
        None => format!("{text}:{port}"),
        Some(("", port)) => format!("{DEFAULT_HOST}:{port}"),
        Some((host, "")) => format!("{host}:{port}"),
        Some(_) if text.ends_with(']') => format!("{text}:{port}"),
        Some(_) => text.to_owned(),
    }
}

/// The name, or the IP address, in an address as a person writes it.
pub fn host(text: &str) -> String {
    let whole = complete(text);
    let host = whole.rsplit_once(':').map_or(whole.as_str(), |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']').to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Address, AddressError, complete, host};

    #[test]
    fn an_address_is_understood_or_its_culprit_is_named() {
        let parsed = |text: &str| text.parse::<Address>();
        assert_eq!(parsed(""), Ok(Address::Tcp("127.0.0.1:8147".to_owned())));
        assert_eq!(parsed("lab"), Ok(Address::Tcp("lab:8147".to_owned())));
        for (text, culprit) in
            [("lab:http", "`http`"), ("lab:70000", "`70000`"), ("[::1]:-1", "`-1`")]
        {
            let error = parsed(text).unwrap_err().to_string();
            assert!(error.contains(culprit) && error.contains(text), "{error}");
        }
        assert_eq!(parsed("unix:"), Err(AddressError::NoPath));
    }

    #[cfg(unix)]
    #[test]
    fn a_unix_socket_is_told_by_its_whole_path() {
        let parsed = |text: &str| text.parse::<Address>().unwrap().to_string();
        for text in ["unix:/run/lab.sock", "unix:///run/lab.sock"] {
            assert_eq!(parsed(text), "unix:/run/lab.sock");
        }
        let here = std::env::current_dir().unwrap();
        assert_eq!(parsed("unix:lab"), format!("unix:{}/lab", here.display()));
    }

    #[test]
    fn the_host_is_what_a_certificate_is_for() {
        for (text, name) in [
            ("", "127.0.0.1"),
            ("lab:9000", "lab"),
            ("lab", "lab"),
            ("[::1]:9000", "::1"),
            ("::1", "::1"),
        ] {
            assert_eq!(host(text), name, "{text:?}");
        }
    }

    #[test]
    fn what_is_left_out_is_the_default() {
        for (text, whole) in [
            ("", "127.0.0.1:8147"),
            (":0", "127.0.0.1:0"),
            ("0.0.0.0", "0.0.0.0:8147"),
            ("lab", "lab:8147"),
            ("lab:", "lab:8147"),
            ("lab:9000", "lab:9000"),
            ("::1", "[::1]:8147"),
            ("[::1]", "[::1]:8147"),
            ("[::1]:9000", "[::1]:9000"),
        ] {
            assert_eq!(complete(text), whole, "{text:?}");
        }
    }
}
