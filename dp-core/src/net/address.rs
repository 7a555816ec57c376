//! Addresses as a person writes them.

use std::net::{IpAddr, SocketAddr};

/// Where a server listens, and where a client looks for it, unless they are told another.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:8147";
const DEFAULT_HOST: &str = "127.0.0.1";
const DEFAULT_PORT: u16 = 8147;

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
    use super::{complete, host};

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
