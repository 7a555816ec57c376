//! Addresses as a person writes them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
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
    /// It is a URL.
    #[error("`{address}` is no address, but a URL: write {remedy}")]
    Url {
        /// The address, as it was given.
        address: String,
        /// What to write.
        remedy: String,
    },
    /// What stands for the host is neither a name nor an IP address.
    #[error("`{address}` is no address: its host, `{host}`, {reason}")]
    Host {
        /// The address, as it was given.
        address: String,
        /// What stands for the host in it.
        host: String,
        /// What is wrong with it, or how to write it.
        reason: &'static str,
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
            None => check_tcp(text).map(|()| Self::Tcp(complete(text))),
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
    if is_scoped(text) {
        return format!("[{text}]:{port}");
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

/// The name, or the IP address, in an address as a person writes it: what a certificate is for. The scope
/// of an IPv6 address is no part of it.
pub fn host(text: &str) -> String {
    let whole = complete(text);
    let (host, _) = parts(&whole);
    match host.split_once('%') {
        Some((ip, _)) if is_scoped(host) => ip.to_owned(),
        _ => host.to_owned(),
    }
}

/// Checks that `text` is the address of a host, as a person writes it.
///
/// # Errors
/// [`AddressError`], which says what to write instead.
pub fn check_tcp(text: &str) -> Result<(), AddressError> {
    if let Some((scheme, rest)) = text.split_once("://") {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let remedy = match scheme {
            "nats" | "tls" => format!("`--engine {scheme}://HOST:4222` for a NATS server"),
            _ if host.is_empty() || host.contains('@') => "`HOST:PORT`".to_owned(),
            _ => format!("`{host}`"),
        };
        let address = without_user(text);
        return Err(AddressError::Url { address, remedy });
    }
    let whole = complete(text);
    let (host, port) = parts(&whole);
    let wrong = |reason| {
        let (address, host) = (text.to_owned(), host.to_owned());
        Err(AddressError::Host { address, host, reason })
    };
    let bracketed = whole.starts_with('[');
    if port.parse::<u16>().is_err() {
        return Err(AddressError::Port { address: text.to_owned(), port: port.to_owned() });
    }
    if bracketed && !whole.contains("]:") {
        return wrong("lacks the closing bracket: write `[ADDRESS]:PORT`");
    }
    if bracketed && host.parse::<Ipv6Addr>().is_err() && !is_scoped(host) {
        return wrong("is no IPv6 address, which alone has brackets");
    }
    if !bracketed && host.contains(':') {
        return wrong("has a colon: write an IPv6 address with a port as `[ADDRESS]:PORT`");
    }
    if host.contains(|c: char| c.is_whitespace() || c.is_control() || "/@?#[],".contains(c)) {
        return wrong("is no name of a host: write `HOST:PORT`");
    }
    Ok(())
}

/// What a resolver takes of a whole address: the host without brackets, and the port.
///
/// The scope of an IPv6 address, `fe80::1%eth0`, is the name of an interface, which the system's
/// resolver knows.
pub fn host_and_port(whole: &str) -> (&str, u16) {
    let (host, port) = parts(whole);
    (host, port.parse().unwrap_or(DEFAULT_PORT))
}

/// The host, without brackets, and the port of a whole address.
fn parts(whole: &str) -> (&str, &str) {
    let (host, port) = whole.rsplit_once(':').unwrap_or((whole, ""));
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    (inner.unwrap_or(host), port)
}

/// Whether it is an IPv6 address with a scope, `fe80::1%eth0`.
fn is_scoped(text: &str) -> bool {
    text.split_once('%').is_some_and(|(ip, scope)| {
        ip.parse::<Ipv6Addr>().is_ok()
            && !scope.is_empty()
            && !scope.contains(|c: char| c.is_whitespace() || c.is_control() || "[]/%:".contains(c))
    })
}

/// A URL without what may be a password.
fn without_user(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 <= at => {
            format!("{}…{}", &url[..scheme + 3], &url[at..])
        }
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Address, AddressError, complete, host, host_and_port};

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

    #[test]
    fn what_is_no_host_is_refused_with_what_to_write() {
        for (text, remedy) in [
            ("http://lab", "write `lab`"),
            ("https://lab:8147/page", "write `lab:8147`"),
            ("tcp://", "write `HOST:PORT`"),
            ("nats://me:secret@lab", "`--engine nats://HOST:4222`"),
            ("lab/page", "`lab/page`, is no name of a host"),
            ("me@lab:1", "is no name of a host"),
            ("a lab", "is no name of a host"),
            ("a:b:80", "`[ADDRESS]:PORT`"),
            ("[::1:80", "`[ADDRESS]:PORT`"),
            ("[lab]:80", "is no IPv6 address"),
            ("[fe80::1%]:80", "is no IPv6 address"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(remedy) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn an_ipv6_address_may_have_a_scope() {
        for (text, whole) in [
            ("fe80::1%lo", "[fe80::1%lo]:8147"),
            ("[fe80::1%lo]", "[fe80::1%lo]:8147"),
            ("[fe80::1%lo]:9000", "[fe80::1%lo]:9000"),
            ("fe80::1%2", "[fe80::1%2]:8147"),
        ] {
            assert_eq!(text.parse(), Ok(Address::Tcp(whole.to_owned())), "{text:?}");
            assert_eq!(host(text), "fe80::1");
        }
        assert_eq!(host_and_port("[fe80::1%lo]:9000"), ("fe80::1%lo", 9000));
        assert_eq!(host_and_port("lab:9000"), ("lab", 9000));
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
