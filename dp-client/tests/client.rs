//! Clients and their servers, over real connections.

use std::time::Duration;

use dp_client::{Client, ClientError};
use dp_core::{Context, WorkerInfo, distributed_worker};
use dp_server::Server;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    let long = Duration::from_secs(20);
    tokio::time::timeout(long, work).await.unwrap_or_else(|_| panic!("{what}: not in {long:?}"))
}

#[derive(Debug, Default)]
struct Greeter {
    name: String,
}

#[distributed_worker]
impl Greeter {
    #[remote]
    async fn greet(&mut self, ctx: &Context<Self>, name: &str) -> String {
        format!("{} of {} greets {name}", ctx.worker().id(), self.name)
    }

    #[remote]
    fn fail(&mut self) {
        self.name.clear();
        panic!("on purpose");
    }
}

async fn server(workers: usize) -> Server<Greeter> {
    Server::<Greeter>::builder().bind("127.0.0.1:0").workers(workers).start().await.unwrap()
}

#[tokio::test]
async fn it_runs_until_the_server_says_quit() {
    let server = server(1).await;
    let address = server.local_addr().to_string();
    let client = tokio::spawn(Client::<Greeter>::builder().server(address).id("c1").run());
    let master = soon("ready", server.ready()).await.unwrap();
    assert_eq!(master.greet("Ada").await.unwrap().into_values(), ["c1 of  greets Ada"]);
    server.shutdown().await.unwrap();
    soon("the end of the client", client).await.unwrap().unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn it_comes_over_a_unix_socket_also_where_nothing_else_is_listened_to() {
    let path = std::env::temp_dir().join(format!("dp-client-{}.sock", std::process::id()));
    let address = format!("unix:{}", path.display());
    let server = Server::<Greeter>::builder().bind(&address).start().await.unwrap();
    assert_eq!((server.local_addr().port(), server.addresses().len()), (0, 1));
    assert_eq!(server.addresses()[0].to_string(), address);
    let client = tokio::spawn(Client::<Greeter>::builder().server(&address).id("c1").run());
    let master = soon("ready", server.ready()).await.unwrap();
    assert_eq!(master.greet("Ada").await.unwrap().into_values(), ["c1 of  greets Ada"]);
    server.shutdown().await.unwrap();
    soon("the end of the client", client).await.unwrap().unwrap();
    assert!(!path.exists());
    let second = Server::<Greeter>::builder().bind("127.0.0.1:0").bind_also(&address).start().await;
    assert_eq!(second.unwrap().addresses().len(), 2);
}

#[tokio::test]
async fn several_workers_share_a_connection_and_a_constructor() {
    let server = server(3).await;
    let client = Client::<Greeter>::builder()
        .server(server.local_addr().to_string())
        .id("c1")
        .workers(3)
        .worker(|info| Greeter { name: format!("host {}", info.client()) })
        .build()
        .unwrap();
    assert_eq!((client.id().as_str(), client.workers()), ("c1", 3));
    let client = tokio::spawn(client.run());
    let master = soon("ready", server.ready()).await.unwrap();
    let expected: Vec<_> = (1..=3).map(|n| format!("c1/{n} of host c1 greets Ada")).collect();
    assert_eq!(master.greet("Ada").await.unwrap().into_values(), expected);
    // A worker that panicked is made anew, by the same constructor.
    assert!(master.fail().await.is_err());
    assert_eq!(master.greet("Ada").await.unwrap().into_values(), expected);
    server.shutdown().await.unwrap();
    client.await.unwrap().unwrap();
}

#[tokio::test]
async fn it_may_be_started_before_its_server() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let address = address.to_string();
    let client = Client::<Greeter>::builder().server(&*address).id("c1").run();
    let client = tokio::spawn(client);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let server = Server::<Greeter>::builder().bind(address).start().await.unwrap();
    soon("ready", server.ready()).await.unwrap();
    server.shutdown().await.unwrap();
    client.await.unwrap().unwrap();
}

#[tokio::test]
async fn it_gives_up_after_the_time_that_it_is_given() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = Client::<Greeter>::builder()
        .server(address.to_string())
        .connect_for(Duration::from_millis(300));
    let error = soon("giving up", client.run()).await.unwrap_err();
    assert!(matches!(error, ClientError::NotReached { .. }), "{error:?}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn an_id_that_is_taken_is_refused() {
    let server = server(1).await;
    let address = server.local_addr().to_string();
    let _first = tokio::spawn(Client::<Greeter>::builder().server(&*address).id("c1").run());
    soon("ready", server.ready()).await.unwrap();
    let second = Client::<Greeter>::builder().server(address).id("c1").run();
    let error = soon("a refusal", second).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains("c1"), "{error}");
}

/// Carries one connection to `server`, until it is told to fall silent, of which nobody else is told:
/// as when a machine is gone.
struct Carrier {
    address: String,
    silence: tokio::sync::oneshot::Sender<()>,
    carrying: tokio::task::JoinHandle<(TcpStream, TcpStream)>,
}

impl Carrier {
    async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (silence, silent) = tokio::sync::oneshot::channel();
        let carrying = tokio::spawn(async move {
            let (mut near, _) = listener.accept().await.unwrap();
            let mut far = TcpStream::connect(server).await.unwrap();
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                _ = silent => {}
            }
            (near, far)
        });
        Self { address, silence, carrying }
    }

    /// What is to be kept so that nobody notices.
    async fn silence(self) -> (TcpStream, TcpStream) {
        self.silence.send(()).unwrap();
        self.carrying.await.unwrap()
    }
}

#[tokio::test]
async fn a_client_takes_the_place_of_one_that_vanished_and_whose_id_it_has() {
    let server = Server::<Greeter>::builder()
        .bind("127.0.0.1:0")
        .heartbeat_interval(Duration::from_millis(200))
        .heartbeat_timeout(Duration::from_secs(1))
        .start()
        .await
        .unwrap();
    let address = server.local_addr().to_string();
    let carrier = Carrier::to(address.clone()).await;
    let first = Client::<Greeter>::builder().server(&*carrier.address).id("c1");
    let first = tokio::spawn(first.run());
    soon("ready", server.ready()).await.unwrap();
    let _open = carrier.silence().await;
    first.abort();
    let second = Client::<Greeter>::builder().server(address).id("c1");
    let second = tokio::spawn(second.worker(|_| Greeter { name: "the second".to_owned() }).run());
    soon("the second", async {
        loop {
            let greeting = server.master().greet("Ada").await.map(|all| all.into_values());
            match greeting {
                Ok(values) if values == ["c1 of the second greets Ada"] => return,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    })
    .await;
    server.shutdown().await.unwrap();
    soon("the end of the client", second).await.unwrap().unwrap();
}

#[tokio::test]
async fn settings_that_make_no_sense_are_errors_that_say_so() {
    for bad in ["", "a b", "a,b", "a[1]", "a\n", &"x".repeat(256)] {
        let error = Client::<Greeter>::builder().id(bad).run().await.unwrap_err();
        assert!(matches!(error, ClientError::InvalidId(_)), "{bad:?}: {error}");
    }
    let error = Client::<Greeter>::builder().workers(0).run().await.unwrap_err();
    assert!(matches!(error, ClientError::NoWorkers), "{error}");
}

#[test]
fn a_client_outside_of_a_runtime_is_an_error() {
    let error = Client::<Greeter>::builder().build().unwrap_err();
    assert!(matches!(error, ClientError::NoRuntime), "{error}");
}

#[tokio::test]
async fn without_an_id_it_has_one_that_tells_host_and_process() {
    let client = Client::<Greeter>::builder().build().unwrap();
    assert!(client.id().as_str().contains(&format!("-{}", std::process::id())));
}

#[tokio::test]
async fn a_server_that_vanishes_is_lost() {
    let server = server(1).await;
    let address = server.local_addr().to_string();
    let client = Client::<Greeter>::builder().server(&*address).id("c1").exit_on_disconnect();
    let client = tokio::spawn(client.run());
    soon("ready", server.ready()).await.unwrap();
    drop(server);
    let error = soon("the loss", client).await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Lost { .. }), "{error:?}");
    assert!(error.to_string().contains(&address), "{error}");
}

#[tokio::test]
async fn a_client_comes_back_to_a_server_that_was_started_again() {
    let server = server(1).await;
    let address = server.local_addr().to_string();
    let client = tokio::spawn(Client::<Greeter>::builder().server(&*address).id("c1").run());
    soon("ready", server.ready()).await.unwrap();
    drop(server);
    let again = soon("the port", async {
        loop {
            match Server::<Greeter>::builder().bind(&*address).start().await {
                Ok(server) => break server,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    })
    .await;
    soon("ready again", again.ready()).await.unwrap();
    soon("shutdown", again.shutdown()).await.unwrap();
    soon("the end of the client", client).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_may_not_come_back_for_ever_gives_up() {
    let server = server(1).await;
    let address = server.local_addr().to_string();
    let client = Client::<Greeter>::builder().server(&*address).id("c1");
    let client = tokio::spawn(client.reconnect_for(Duration::from_millis(300)).run());
    soon("ready", server.ready()).await.unwrap();
    drop(server);
    let error = soon("giving up", client).await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::NotReached { .. }), "{error:?}");
}

#[tokio::test]
async fn a_dropped_client_is_gone_for_the_server() {
    let server = server(1).await;
    let address = server.local_addr().to_string();
    let client = tokio::spawn(Client::<Greeter>::builder().server(address).id("c1").run());
    soon("ready", server.ready()).await.unwrap();
    client.abort();
    soon("the departure", async {
        while !server.master().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_no_dp_server_is_not_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let web = tokio::spawn(async move {
        let (mut peer, _) = listener.accept().await.unwrap();
        peer.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        // Kept open: the client has to judge by the bytes.
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(peer);
    });
    let client = Client::<Greeter>::builder().server(address).id("c1").run();
    let error = soon("an error", client).await.unwrap_err();
    assert!(matches!(error, ClientError::Protocol { .. }), "{error:?}");
    web.abort();
}

#[tokio::test]
async fn a_server_that_hangs_up_during_the_handshake_is_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let client = tokio::spawn(Client::<Greeter>::builder().server(address).id("c1").run());
    for _ in 0..3 {
        let (peer, _) = soon("another attempt", listener.accept()).await.unwrap();
        drop(peer);
    }
    client.abort();
}

/// `main` and `run` find the worker's type in the constructor.
#[allow(dead_code, reason = "it is here to be compiled")]
fn the_type_of_the_worker_is_inferred() -> anyhow::Result<()> {
    dp_client::main(|_info| Greeter::default())?;
    dp_client::main(|info: &WorkerInfo| Greeter { name: info.client().to_owned() })
}
