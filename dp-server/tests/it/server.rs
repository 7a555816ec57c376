//! A server without its console: start, run, stop, and peers that are no clients.

use std::time::Duration;

use crate::common::{Failing, Greeter, Idle, Sleeper, client, server, soon};
use dp_client::ClientError;
use dp_core::{Context, WorkerInfo, distributed_worker};
use dp_server::{RunError, Server, StartError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_run_needs_enough_workers() {
    let server = server::<Greeter>(2).await;
    let _client = client(&server, "c1", 1);
    while server.master().is_empty() {
        tokio::task::yield_now().await;
    }
    let error = server.run().await.unwrap_err();
    assert!(matches!(error, RunError::NotReady { present: 1, needed: 2 }), "{error}");
}

#[tokio::test]
async fn a_report_has_everything_that_came_of_a_run() {
    let server = server::<Greeter>(2).await;
    let _client = client(&server, "c1", 2);
    let master = soon("ready", server.ready()).await.unwrap();
    assert_eq!(master.len(), 2);
    let before = jiff::Timestamp::now();
    let report = server.run().await.unwrap();
    assert!(report.is_ok() && report.failure().is_none() && report.missing().next().is_none());
    assert!(report.started() >= before && report.elapsed() < Duration::from_secs(10));
    assert_eq!(report.roster().map(WorkerInfo::index).collect::<Vec<_>>(), [0, 1]);
    let report = report.into_result().unwrap();
    let results: Vec<_> =
        report.results().iter().map(|line| (line.worker.as_str(), &*line.message)).collect();
    assert_eq!(results, [("c1/1", "greeted Ada"), ("c1/2", "greeted Ada")]);
}

#[tokio::test]
async fn a_failed_run_has_a_report_too() {
    let server = server::<Failing>(1).await;
    let _client = client(&server, "c1", 1);
    soon("ready", server.ready()).await.unwrap();
    let report = server.run().await.unwrap();
    assert_eq!(report.failure(), Some("cannot set up: disk full"));
    assert_eq!(report.results().len(), 1);
    let error = report.into_result().unwrap_err();
    assert_eq!(error.to_string(), "the run failed: cannot set up: disk full");
}

#[tokio::test]
async fn a_second_run_at_the_same_time_is_refused() {
    let server = server::<Sleeper>(1).await;
    let _client = client(&server, "c1", 1);
    soon("ready", server.ready()).await.unwrap();
    let (first, second) = tokio::join!(server.run(), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.run().await
    });
    assert!(first.unwrap().is_ok());
    assert!(matches!(second, Err(RunError::Running)), "{second:?}");
    assert!(server.run().await.unwrap().is_ok());
}

#[tokio::test]
async fn a_dropped_run_leaves_the_server_free_for_another() {
    let server = server::<Sleeper>(1).await;
    let _client = client(&server, "c1", 1);
    soon("ready", server.ready()).await.unwrap();
    let cut = tokio::time::timeout(Duration::from_millis(50), server.run()).await;
    assert!(cut.is_err());
    assert!(soon("a run", server.run()).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_worker_without_run_is_an_error() {
    let server = server::<Idle>(1).await;
    let _client = client(&server, "c1", 1);
    soon("ready", server.ready()).await.unwrap();
    assert!(matches!(server.run().await, Err(RunError::NoRun(_))));
}

#[tokio::test]
async fn a_taken_port_is_an_error_with_address_and_remedy() {
    let first = server::<Greeter>(1).await;
    let address = first.local_addr();
    let error = Server::<Greeter>::builder().bind(address.to_string()).start().await.unwrap_err();
    assert!(matches!(error, StartError::PortTaken { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&address.to_string()) && text.contains("--bind"), "{text}");
}

#[tokio::test]
async fn a_frequency_that_makes_no_sense_is_an_error() {
    let builder = Server::<Greeter>::builder().bind("127.0.0.1:0").frequency(f64::NAN);
    assert!(matches!(builder.start().await, Err(StartError::Frequency(_))));
}

#[tokio::test]
async fn shutdown_tells_clients_to_quit_and_frees_the_port() {
    let server = server::<Greeter>(3).await;
    let address = server.local_addr();
    let clients = [client(&server, "c1", 1), client(&server, "c2", 2)];
    soon("ready", server.ready()).await.unwrap();
    soon("shutdown", server.shutdown()).await.unwrap();
    for client in clients {
        soon("the end of a client", client).await.unwrap().unwrap();
    }
    let again = Server::<Greeter>::builder().bind(address.to_string()).start().await;
    assert_eq!(again.unwrap().local_addr(), address);
}

#[cfg(unix)]
#[tokio::test]
async fn dropping_a_server_ends_what_it_has_launched() {
    let dir = tempfile::tempdir().unwrap();
    let command = format!(
        "echo $$ > '{0}/new'; mv '{0}/new' '{0}/process'; exec sleep 1000",
        dir.path().display()
    );
    let builder = Server::<Greeter>::builder().bind("127.0.0.1:0").launch(command, 1);
    let server = builder.start().await.unwrap();
    let process = soon("the process", async {
        loop {
            match std::fs::read_to_string(dir.path().join("process")) {
                Ok(process) => break process.trim().to_owned(),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    });
    let process = process.await;
    drop(server);
    soon("its end", async {
        let stat = || std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        // Ended, and not waited for yet.
        while !stat().is_empty() && !stat().contains(") Z ") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn dropping_a_server_disconnects_the_clients_and_frees_the_port() {
    let server = server::<Greeter>(1).await;
    let address = server.local_addr();
    let client = client(&server, "c1", 1);
    soon("ready", server.ready()).await.unwrap();
    drop(server);
    let outcome = soon("the end of the client", client).await.unwrap();
    assert!(matches!(outcome, Err(ClientError::Lost { .. })), "{outcome:?}");
    soon("a free port", async {
        while Server::<Greeter>::builder().bind(address.to_string()).start().await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn peers_that_are_no_clients_are_cut_off_and_disturb_nobody() {
    let server = Server::<Greeter>::builder()
        .bind("127.0.0.1:0")
        .handshake_timeout(Duration::from_millis(200))
        .start()
        .await
        .unwrap();
    let _client = client(&server, "c1", 1);
    soon("ready", server.ready()).await.unwrap();
    let random: Vec<u8> =
        (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for bytes in [b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n".to_vec(), random, vec![0xff; 64], vec![]] {
        let mut peer = TcpStream::connect(server.local_addr()).await.unwrap();
        // The server may have cut us off while we were still writing.
        let _ = peer.write_all(&bytes).await;
        let mut answer = Vec::new();
        let _ = soon("the end of the connection", peer.read_to_end(&mut answer)).await;
    }
    assert!(server.run().await.unwrap().is_ok());
    assert_eq!(server.master().len(), 1);
}

#[tokio::test]
async fn clients_above_the_cap_are_refused() {
    let server =
        Server::<Greeter>::builder().bind("127.0.0.1:0").max_clients(1).start().await.unwrap();
    let _client = client(&server, "c1", 1);
    soon("ready", server.ready()).await.unwrap();
    let outcome = soon("a refusal", client(&server, "c2", 1)).await.unwrap();
    let Err(error @ ClientError::Refused { .. }) = outcome else { panic!("{outcome:?}") };
    assert!(error.to_string().contains("max_clients"), "{error}");
}

#[tokio::test]
async fn a_name_is_good_for_clients_of_every_kind_of_address() {
    let server = Server::<Greeter>::builder().bind("localhost:0").start().await.unwrap();
    let port = server.local_addr().port();
    let address = format!("localhost:{port}");
    let client = dp_client::Client::<Greeter>::builder().server(address).id("c1").run();
    let client = tokio::spawn(client);
    soon("ready", server.ready()).await.unwrap();
    server.shutdown().await.unwrap();
    client.await.unwrap().unwrap();
}

#[test]
fn a_server_works_in_a_runtime_of_one_thread_without_timers() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let server = server::<Greeter>(2).await;
        let client = client(&server, "c1", 2);
        server.ready().await.unwrap();
        assert_eq!(server.run().await.unwrap().results().len(), 2);
        server.shutdown().await.unwrap();
        client.await.unwrap().unwrap();
    });
}

/// State on the server, which a schedule counts runs in.
#[derive(Debug, Default)]
struct Tally(std::sync::atomic::AtomicU64);

#[derive(Debug, Default)]
struct Counted;

#[distributed_worker(server = Tally)]
impl Counted {
    #[remote]
    fn note(&self, ctx: &Context<Self>, run: u64) {
        ctx.result(format!("run {run}"));
    }

    #[schedule]
    async fn run(&self) -> anyhow::Result<()> {
        let run = self.server().0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.note(run).await?;
        Ok(())
    }
}

#[tokio::test]
async fn state_lives_from_run_to_run() {
    let server = Server::<Counted>::builder()
        .state(Tally::default())
        .bind("127.0.0.1:0")
        .start()
        .await
        .unwrap();
    let _client = client(&server, "c1", 1);
    soon("ready", server.ready()).await.unwrap();
    for run in 0..2 {
        let report = server.run().await.unwrap();
        assert_eq!(report.results()[0].message, format!("run {run}"));
    }
}
