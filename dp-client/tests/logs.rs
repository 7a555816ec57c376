//! A program whose subscriber has no layer that forwards.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use dp_client::Client;
use dp_core::distributed_worker;
use dp_server::Server;
use tracing_subscriber::fmt::MakeWriter;

#[derive(Default)]
struct Subject;

#[distributed_worker]
impl Subject {
    #[remote]
    fn nothing(&self) {}
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_a_program_without_the_layer_is_told_so() {
    let log = Log::default();
    tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).init();
    let server =
        Server::<Subject>::builder().bind("127.0.0.1:0").forward_logs(tracing::Level::WARN);
    let server = server.start().await.unwrap();
    let address = server.local_addr().to_string();
    let client = tokio::spawn(Client::<Subject>::builder().server(address).id("c").run());
    server.ready().await.unwrap().nothing().await.unwrap();
    server.shutdown().await.unwrap();
    tokio::time::timeout(Duration::from_secs(60), client).await.unwrap().unwrap().unwrap();
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("dp::forwarded: c: it forwards no logs: "), "{log}");
    assert!(log.contains("dp_client::log_layer()"), "{log}");
}
