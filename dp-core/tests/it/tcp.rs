//! The suite over TCP.

#[path = "suite/mod.rs"]
mod suite;

mod transport {
    use dp_core::engine::{Peer, io};
    use tokio::net::{TcpListener, TcpStream};

    pub(crate) type ServerEnd = TcpStream;
    pub(crate) type ClientEnd = TcpStream;

    pub(crate) fn is_here() -> bool {
        true
    }

    pub(crate) async fn connection() -> (ServerEnd, Peer, ClientEnd) {
        // A socket belongs to the runtime in which it was made.
        let made = io().spawn(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let client_end = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (server_end, peer) = listener.accept().await.unwrap();
            server_end.set_nodelay(true).unwrap();
            client_end.set_nodelay(true).unwrap();
            (server_end, Peer::new(peer.to_string()), client_end)
        });
        made.await.unwrap()
    }
}
