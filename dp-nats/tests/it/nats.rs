//! The suite over NATS, with a nats-server of its own.

#[path = "../../../dp-core/tests/it/suite/mod.rs"]
mod suite;

mod transport {
    use dp_core::engine::{Peer, io};
    use dp_nats::{Listener, NatsStream, Settings, connect};
    use tokio::sync::{Mutex, OnceCell};

    use crate::common::NatsServer;

    pub(crate) type ServerEnd = NatsStream;
    pub(crate) type ClientEnd = NatsStream;

    /// One job for all tests, so that they are in each other's way if they can be.
    static JOB: OnceCell<(NatsServer, Settings, Mutex<Listener>)> = OnceCell::const_new();

    async fn job() -> (NatsServer, Settings, Mutex<Listener>) {
        let server = NatsServer::start("");
        let settings = Settings::new(&server.url()).unwrap();
        let listener = Listener::open(&settings).await.unwrap();
        (server, settings, Mutex::new(listener))
    }

    pub(crate) fn is_here() -> bool {
        NatsServer::is_installed()
    }

    pub(crate) async fn connection() -> (ServerEnd, Peer, ClientEnd) {
        let made = io().spawn(async {
            let (_, settings, listener) = JOB.get_or_init(job).await;
            let mut listener = listener.lock().await;
            let (joined, accepted) = tokio::join!(connect(settings), listener.accept());
            let (server_end, peer) = accepted.unwrap();
            (server_end, peer, joined.unwrap().0)
        });
        made.await.unwrap()
    }
}
