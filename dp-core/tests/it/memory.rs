//! The suite over pipes in memory.

#[path = "suite/mod.rs"]
mod suite;

mod transport {
    use dp_core::engine::Peer;
    use tokio::io::DuplexStream;

    pub(crate) type ServerEnd = DuplexStream;
    pub(crate) type ClientEnd = DuplexStream;

    pub(crate) fn is_here() -> bool {
        true
    }

    pub(crate) async fn connection() -> (ServerEnd, Peer, ClientEnd) {
        let (server_end, client_end) = tokio::io::duplex(64 << 10);
        (server_end, Peer::new("memory"), client_end)
    }
}
