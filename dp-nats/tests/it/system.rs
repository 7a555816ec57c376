//! Servers and clients over a nats-server that is killed, restarted, limited and told whom to let in;
//! workers in processes that are killed and stopped.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{NatsServer, free_port};
use clap::Parser;
use dp_client::{Client, ClientArgs, ClientError};
use dp_core::{CallError, Context, MasterWorker, distributed_worker};
use dp_nats::{Listener, NatsError, Settings};
use dp_server::{Server, StartError};
use futures_util::{FutureExt, StreamExt};
use tokio::task::JoinHandle;

#[derive(Default)]
struct Worker {
    noted: Vec<u32>,
}

#[distributed_worker]
impl Worker {
    #[remote]
    fn note(&mut self, number: u32) {
        self.noted.push(number);
    }

    #[remote]
    fn noted(&self) -> Vec<u32> {
        self.noted.clone()
    }

    #[remote]
    fn name(&self, ctx: &Context<Self>) -> String {
        ctx.result("named");
        ctx.worker().id().to_string()
    }

    #[remote]
    fn length(&self, data: &[u8]) -> usize {
        data.len()
    }

    #[remote]
    fn block(&self, bytes: usize) -> Vec<u8> {
        (0..bytes).map(|n| n as u8).collect()
    }

    #[remote]
    async fn wait(&self) {
        std::future::pending().await
    }

    #[schedule]
    async fn run(&self) -> anyhow::Result<()> {
        self.name().await?;
        self.each(|worker| worker.name()).await?;
        Ok(())
    }
}

fn settings(url: &str, job: &str) -> Settings {
    Settings::new(url).unwrap().job(job.parse().unwrap())
}

/// A server that notices soon when somebody is gone.
async fn server(settings: &Settings) -> Result<Server<Worker>, StartError> {
    Server::<Worker>::builder()
        .engine(settings.clone())
        .insecure()
        .heartbeat_interval(Duration::from_millis(100))
        .heartbeat_timeout(Duration::from_millis(1_000))
        .start()
        .await
}

/// A client in this process.
fn client(settings: &Settings, id: &str) -> JoinHandle<Result<(), ClientError>> {
    let client = Client::<Worker>::builder().engine(settings.clone()).id(id);
    tokio::spawn(async move { client.run().await })
}

/// A client in a process of its own, which is this program again. Dropped, it is killed.
struct Process(Child);

impl Process {
    fn client(url: &str, job: &str, id: &str) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "system::a_client_of_its_own"])
            .envs([("DP_ENGINE", url), ("DP_JOB", job), ("DP_ID", id)])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn signal(&self, signal: &str) {
        let killed = Command::new("kill").args([signal, &self.0.id().to_string()]).status();
        assert!(killed.unwrap().success());
    }

    /// Waits until it has ended by itself: whether well.
    fn ended(mut self) -> bool {
        self.0.wait().unwrap().success()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// No test: what the processes of the tests run.
#[test]
#[ignore = "a client for the other tests"]
fn a_client_of_its_own() {
    let args = ClientArgs2::parse_from(["client"]);
    args.client.run::<Worker>(|_| Worker::default()).unwrap();
}

#[derive(Parser)]
struct ClientArgs2 {
    #[command(flatten)]
    client: ClientArgs,
}

/// Waits for workers, with a bound that only a hang reaches.
async fn until_there(server: &Server<Worker>, workers: usize) -> MasterWorker<Worker> {
    let start = Instant::now();
    while server.master().len() != workers {
        assert!(start.elapsed() < Duration::from_secs(30), "{} are there", server.master().len());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.master()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_the_same_over_nats_and_jobs_never_meet() {
    if !NatsServer::is_installed() {
        return;
    }
    let nats = NatsServer::start("");
    let (day, night) = (settings(&nats.url(), "day"), settings(&nats.url(), "night"));
    // They are there before their servers.
    let clients = [client(&day, "a.b>"), client(&day, "*"), client(&night, "c")];
    let (of_day, of_night) = (server(&day).await.unwrap(), server(&night).await.unwrap());
    let master = until_there(&of_day, 2).await;
    assert_eq!(of_day.addresses()[0].to_string(), format!("{} (job day)", nats.url()));
    assert_eq!(of_day.addresses().len(), 1);
    let report = of_day.run().await.unwrap().into_result().unwrap();
    assert_eq!(report.results().len(), 4);
    assert_eq!(master.name().await.unwrap().into_values(), ["*", "a.b>"]);
    assert_eq!(until_there(&of_night, 1).await.name().await.unwrap().into_values(), ["c"]);

    // A job has one server.
    let error = server(&day).await.unwrap_err();
    assert!(matches!(error, StartError::Engine(NatsError::JobTaken { .. })), "{error}");

    of_day.shutdown().await.unwrap();
    of_night.shutdown().await.unwrap();
    for client in clients {
        client.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_is_lost_and_a_stopped_one_holds_back_nobody() {
    if !NatsServer::is_installed() {
        return;
    }
    let nats = NatsServer::start("");
    let settings = settings(&nats.url(), "dp");
    let server = server(&settings).await.unwrap();
    let here = client(&settings, "here");
    let [killed, stopped] = ["killed", "stopped"].map(|id| Process::client(&nats.url(), "dp", id));
    let master = until_there(&server, 3).await;

    stopped.signal("-STOP");
    drop(killed);
    let broadcast = tokio::spawn(master.name().outcomes());
    // As long as the stopped one counts as there, the other answers as ever.
    let start = Instant::now();
    let healthy = master.get(&"here".parse().unwrap()).unwrap();
    while server.master().len() == 3 {
        let data = vec![7; 100_000];
        assert_eq!(healthy.length(&data).await.unwrap(), 100_000);
        assert!(start.elapsed() < Duration::from_secs(20));
    }
    let outcomes = broadcast.await.unwrap();
    let lost = |outcome: &dp_core::Outcome<String>| match &outcome.result {
        Err(CallError::Lost { reason }) => reason.contains("heartbeat_timeout"),
        _ => false,
    };
    assert_eq!(outcomes.iter().filter(|outcome| lost(outcome)).count(), 2, "{outcomes}");

    // It learns that it was given up, and comes back.
    until_there(&server, 1).await;
    stopped.signal("-CONT");
    let master = until_there(&server, 2).await;
    assert_eq!(master.name().await.unwrap().into_values(), ["here", "stopped"]);
    server.shutdown().await.unwrap();
    assert!(stopped.ended());
    here.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_for_all_is_sent_once_and_comes_in_its_place() {
    if !NatsServer::is_installed() {
        return;
    }
    const WORKERS: usize = 12;
    let nats = NatsServer::start("");
    let settings = settings(&nats.url(), "dp");
    let listener = async_nats::connect(nats.url()).await.unwrap();
    let mut to_all = listener.subscribe("dp.dp.all.*").await.unwrap();
    listener.flush().await.unwrap();
    let server = server(&settings).await.unwrap();
    let clients: Vec<_> = (0..WORKERS).map(|n| client(&settings, &format!("c{n}"))).collect();
    let master = until_there(&server, WORKERS).await;
    // Each alone, and all at once, faster than anybody answers.
    for number in 0..600 {
        match number % 3 {
            0 => {
                master
                    .select(|info| info.index() == number as usize % 5)
                    .note(number)
                    .detach()
                    .await
            }
            1 => master.each(|worker| worker.note(number)).detach().await,
            _ => master.note(number).detach().await,
        }
    }
    master.synchro("noted").await.unwrap();
    for (index, noted) in master.noted().await.unwrap().into_values().into_iter().enumerate() {
        let of_it = |number: &u32| !number.is_multiple_of(3) || *number as usize % 5 == index;
        assert_eq!(noted, (0..600).filter(of_it).collect::<Vec<u32>>(), "{index}");
    }
    // One after another, each takes one message, but for those that meet a heartbeat.
    let count = |to_all: &mut async_nats::Subscriber| {
        std::iter::from_fn(|| to_all.next().now_or_never().flatten()).count()
    };
    for _ in 0..100 {
        master.name().await.unwrap();
    }
    listener.flush().await.unwrap();
    let sent = count(&mut to_all);
    assert!(sent > 50, "{sent} messages to all");
    server.shutdown().await.unwrap();
    for client in clients {
        client.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_come_back_when_the_nats_server_does() {
    if !NatsServer::is_installed() {
        return;
    }
    let mut nats = NatsServer::start("");
    let settings = settings(&nats.url(), "dp");
    let server = server(&settings).await.unwrap();
    let clients = ["a", "b"].map(|id| client(&settings, id));
    let master = until_there(&server, 2).await;
    let waiting = tokio::spawn(master.wait().outcomes());
    nats.kill();
    let outcomes = waiting.await.unwrap();
    assert_eq!(outcomes.failures().count(), 2, "{outcomes}");
    until_there(&server, 0).await;
    nats.restart();
    let master = until_there(&server, 2).await;
    assert_eq!(master.name().await.unwrap().into_values(), ["a", "b"]);
    server.shutdown().await.unwrap();
    for client in clients {
        client.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_longer_than_a_message_may_be_travels_in_several() {
    if !NatsServer::is_installed() {
        return;
    }
    let nats = NatsServer::start("max_payload: 4096");
    let settings = settings(&nats.url(), "dp");
    let server = server(&settings).await.unwrap();
    let clients = ["a", "b", "c"].map(|id| client(&settings, id));
    let master = until_there(&server, 3).await;
    let data = vec![1; 3 << 20];
    assert_eq!(master.length(&data).await.unwrap().into_values(), [3 << 20; 3]);
    let expected: Vec<u8> = (0..2 << 20).map(|n: usize| n as u8).collect();
    for block in master.block(2 << 20).await.unwrap().into_values() {
        assert!(block == expected);
    }
    server.shutdown().await.unwrap();
    for client in clients {
        client.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_nats_server_drops_is_reported_as_a_loss() {
    if !NatsServer::is_installed() {
        return;
    }
    // Much less than a client may be sent: it drops a client that does not read.
    let nats = NatsServer::start("max_payload: 65536\nmax_pending: 65536\nwrite_deadline: \"1s\"");
    let settings = settings(&nats.url(), "dp");
    let server = Server::<Worker>::builder()
        .engine(settings.clone())
        .insecure()
        .heartbeat_interval(Duration::from_millis(100))
        .heartbeat_timeout(Duration::from_secs(5))
        .start()
        .await
        .unwrap();
    let slow = Process::client(&nats.url(), "dp", "slow");
    let master = until_there(&server, 1).await;
    slow.signal("-STOP");
    let data = vec![0; 2 << 20];
    let calls = (0..4).map(|_| tokio::spawn(master.length(&data).outcomes()));
    let calls: Vec<_> = calls.collect();
    while !nats.log().contains("Slow Consumer") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    slow.signal("-CONT");
    for call in calls {
        let outcomes = call.await.unwrap();
        let (_, error) = outcomes.failures().next().unwrap();
        assert!(matches!(error, CallError::Lost { .. } | CallError::NotSent { .. }), "{error}");
    }
    // It has come back by itself.
    let master = until_there(&server, 1).await;
    assert_eq!(master.name().await.unwrap().into_values(), ["slow"]);
    server.shutdown().await.unwrap();
    assert!(slow.ended());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_of_a_cluster_are_as_good_as_one() {
    if !NatsServer::is_installed() {
        return;
    }
    let [first, second] = [free_port(), free_port()];
    let config = |own, other| {
        format!(
            "cluster {{ name: c, listen: 127.0.0.1:{own}, routes: [\"nats://127.0.0.1:{other}\"] }}"
        )
    };
    let one = NatsServer::start(&config(first, second));
    let two = NatsServer::start(&config(second, first));
    let here = settings(&one.url(), "dp");
    let server = server(&here).await.unwrap();
    let clients: Vec<_> = (0..8)
        .map(|n| {
            let at = if n % 2 == 0 { &one } else { &two };
            client(&settings(&at.url(), "dp"), &format!("c{n}"))
        })
        .collect();
    let master = until_there(&server, 8).await;
    for number in 0..300 {
        match number % 2 {
            0 => master.note(number).detach().await,
            _ => master.each(|worker| worker.note(number)).detach().await,
        }
    }
    master.synchro("noted").await.unwrap();
    for noted in master.noted().await.unwrap().into_values() {
        assert_eq!(noted, (0..300).collect::<Vec<u32>>());
    }
    server.shutdown().await.unwrap();
    for client in clients {
        client.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_of_its_own_is_a_leaf_node() {
    if !NatsServer::is_installed() {
        return;
    }
    let port = free_port();
    let hub = NatsServer::start(&format!("leafnodes {{ listen: 127.0.0.1:{port} }}"));
    let leaf = NatsServer::start(&format!(
        "leafnodes {{ remotes: [ {{ url: \"nats-leaf://127.0.0.1:{port}\" }} ] }}"
    ));
    let of_hub = settings(&hub.url(), "dp");
    let server = server(&of_hub).await.unwrap();
    let clients = [client(&of_hub, "near"), client(&settings(&leaf.url(), "dp"), "far")];
    let master = until_there(&server, 2).await;
    for _ in 0..50 {
        assert_eq!(master.name().await.unwrap().into_values(), ["far", "near"]);
    }
    assert_eq!(master.length(&vec![0; 9 << 20]).await.unwrap().into_values(), [9 << 20; 2]);
    server.shutdown().await.unwrap();
    for client in clients {
        client.await.unwrap().unwrap();
    }
}

/// A NATS server with one of the guide's configurations, on other ports.
fn guide(name: &str, leaf_port: u16) -> NatsServer {
    let path = format!("{}/../docs/launch/nats/{name}.conf", env!("CARGO_MANIFEST_DIR"));
    let config = fs::read_to_string(path).unwrap();
    let config = config.replace("port: 4222", "").replace("hub.example", "127.0.0.1");
    let listen = format!("listen: 127.0.0.1:{leaf_port}");
    let config = config.replace("port: 7422", &listen).replace("7422", &leaf_port.to_string());
    NatsServer::start(&config.replace("SITE_PASSWORD@", "SITE@"))
}

fn known(nats: &NatsServer, who: &str, job: &str) -> Settings {
    settings(&nats.url().replace("nats://", &format!("nats://{who}@")), job)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guides_configurations_let_in_whom_they_should() {
    if !NatsServer::is_installed() {
        return;
    }
    let leaf_port = free_port();
    let hub = guide("hub", leaf_port);
    let site = guide("site", leaf_port);
    let server = server(&known(&hub, "master:MASTER", "nightly")).await.unwrap();
    let clients = [
        client(&known(&hub, "worker:WORKER", "nightly"), "near"),
        client(&known(&site, "worker:WORKER", "nightly"), "far"),
    ];
    let master = until_there(&server, 2).await;
    for _ in 0..50 {
        assert_eq!(master.name().await.unwrap().into_values(), ["far", "near"]);
    }
    // A worker may not be a server, nor listen in.
    let options =
        async_nats::ConnectOptions::with_user_and_password("worker".into(), "WORKER".into());
    let listener = options.connect(hub.url()).await.unwrap();
    let mut heard = listener.subscribe("dp.nightly.from.*").await.unwrap();
    listener.flush().await.unwrap();
    master.name().await.unwrap();
    listener.flush().await.unwrap();
    assert!(heard.next().now_or_never().flatten().is_none());
    server.shutdown().await.unwrap();
    for client in clients {
        client.await.unwrap().unwrap();
    }
}

const KEYS: &str = "
authorization {
  users: [
    { user: master, password: m }
    { nkey: UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4 }
  ]
}
";

#[tokio::test(flavor = "multi_thread")]
async fn whoever_the_nats_server_does_not_know_is_told_so_at_once() {
    if !NatsServer::is_installed() {
        return;
    }
    let nats = NatsServer::start(KEYS);
    let server = server(&known(&nats, "master:m", "dp")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    let seed = files.path().join("seed");
    fs::write(&seed, "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY\n").unwrap();
    let by_key = client(&Settings::new(&nats.url()).unwrap().nkey(&seed), "b");
    until_there(&server, 1).await;
    for stranger in [known(&nats, "worker:wrong", "dp"), Settings::new(&nats.url()).unwrap()] {
        let error = client(&stranger, "c").await.unwrap().unwrap_err();
        let ClientError::Untrusted { reason, .. } = error else { panic!("{error}") };
        assert!(reason.contains("--nats-creds") && !reason.contains("wrong"), "{reason}");
    }
    let nowhere = Settings::new(&nats.url()).unwrap().credentials(files.path().join("none"));
    let error = client(&nowhere, "c").await.unwrap().unwrap_err().to_string();
    assert!(error.contains("cannot use") && error.contains("none"), "{error}");
    server.shutdown().await.unwrap();
    by_key.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nats_server_proves_itself_by_tls_and_dp_by_a_token_through_it() {
    if !NatsServer::is_installed() {
        return;
    }
    let files = tempfile::tempdir().unwrap();
    let path = |name: &str| files.path().join(name);
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs::write(path("cert"), certified.cert.pem()).unwrap();
    fs::write(path("key"), certified.signing_key.serialize_pem()).unwrap();
    let nats = NatsServer::start(&format!(
        "tls {{ cert_file: {:?}, key_file: {:?} }}",
        path("cert"),
        path("key")
    ));
    let url = nats.url().replace("127.0.0.1", "localhost");
    let trusting = Settings::new(&url).unwrap().ca(path("cert"));
    let token = |text: &str| dp_server::Token::new(text).unwrap();
    let server = Server::<Worker>::builder().engine(trusting.clone()).token(token("secret one"));
    let server = server.start().await.unwrap();
    let with_token = |text: &str| {
        let client =
            Client::<Worker>::builder().engine(trusting.clone()).id("a").token(token(text));
        tokio::spawn(async move { client.run().await })
    };
    let error = with_token("another").await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Untrusted { .. }), "{error}");
    let knowing = with_token("secret one");
    let master = until_there(&server, 1).await;
    assert_eq!(master.name().await.unwrap().into_values(), ["a"]);
    server.shutdown().await.unwrap();
    knowing.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn dps_own_tls_goes_through_it() {
    if !NatsServer::is_installed() {
        return;
    }
    let files = tempfile::tempdir().unwrap();
    let path = |name: &str| files.path().join(name);
    let certified = rcgen::generate_simple_self_signed(vec!["nightly".to_owned()]).unwrap();
    fs::write(path("cert"), certified.cert.pem()).unwrap();
    fs::write(path("key"), certified.signing_key.serialize_pem()).unwrap();
    let nats = NatsServer::start("");
    let settings = settings(&nats.url(), "nightly");
    let server = Server::<Worker>::builder().engine(settings.clone());
    let server = server.tls(path("cert"), path("key")).start().await.unwrap();
    let join = |id: &str| {
        let client =
            Client::<Worker>::builder().engine(settings.clone()).id(id).tls_ca(path("cert"));
        tokio::spawn(async move { client.run().await })
    };
    // The certificate is for the job, unless something else is asked for.
    let builder = Client::<Worker>::builder().engine(settings.clone()).tls_ca(path("cert"));
    let error = builder.tls_name("127.0.0.1").run().await.unwrap_err();
    assert!(matches!(error, ClientError::Untrusted { .. }), "{error}");
    let clients = [join("a"), join("b")];
    let master = until_there(&server, 2).await;
    assert_eq!(master.name().await.unwrap().into_values(), ["a", "b"]);
    let data = vec![0; 1 << 20];
    assert_eq!(master.length(&data).await.unwrap().into_values(), [1 << 20; 2]);
    server.shutdown().await.unwrap();
    for client in clients {
        client.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_has_to_ask_for_a_proof_wherever_the_nats_server_is() {
    for engine in ["nats://192.0.2.1", "nats://127.0.0.1", "nats://user:password@192.0.2.1"] {
        let builder = Server::<Worker>::builder().engine(Settings::new(engine).unwrap());
        let error = builder.start().await.unwrap_err();
        assert!(matches!(error, StartError::EngineExposed { .. }), "{error}");
        assert!(!error.to_string().contains("password@"), "{error}");
    }
    let nowhere = Settings::new(&format!("nats://127.0.0.1:{}", free_port())).unwrap();
    let error = server(&nowhere).await.unwrap_err();
    assert!(matches!(error, StartError::Engine(NatsError::Unreachable { .. })), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_the_nats_servers_stands_before_the_host() {
    if !NatsServer::is_installed() {
        return;
    }
    let nats = NatsServer::start("authorization { token: \"s3:cret\" }");
    let known = |token: &str| {
        Settings::new(&nats.url().replace("nats://", &format!("nats://{token}@"))).unwrap()
    };
    let server = server(&known("s3%3Acret")).await.unwrap();
    let knowing = client(&known("s3%3Acret"), "a");
    until_there(&server, 1).await;
    let error = client(&known("another"), "b").await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Untrusted { .. }), "{error}");
    server.shutdown().await.unwrap();
    knowing.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_are_gone_before_they_are_answered_hold_back_nobody() {
    if !NatsServer::is_installed() {
        return;
    }
    let nats = NatsServer::start("");
    let settings = settings(&nats.url(), "dp");
    let builder = Server::<Worker>::builder().engine(settings.clone()).insecure();
    // Each of them would have that one place for ten seconds.
    let server = builder.max_handshakes(1).start().await.unwrap();
    let gone = async_nats::connect(nats.url()).await.unwrap();
    let mut join = b"\xd5dpn\x01\x00\x00".to_vec();
    join.extend((4_u64 << 20).to_le_bytes());
    for message in [join, b"garbage".to_vec()] {
        for _ in 0..1_000 {
            let (subject, reply) = ("dp.dp.join", "_INBOX.nobody");
            gone.publish_with_reply(subject, reply, message.clone().into()).await.unwrap();
        }
    }
    gone.flush().await.unwrap();
    let clients = ["a", "b", "c"].map(|id| client(&settings, id));
    let master = until_there(&server, 3).await;
    assert_eq!(master.name().await.unwrap().into_values(), ["a", "b", "c"]);
    server.shutdown().await.unwrap();
    for client in clients {
        client.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_servers_that_start_at_once_one_gets_the_job() {
    if !NatsServer::is_installed() {
        return;
    }
    let nats = NatsServer::start("");
    let jobs: Vec<_> = (0..10).map(|job| settings(&nats.url(), &format!("job{job}"))).collect();
    let starting = jobs.iter().map(|job| async {
        let (a, b, c) = tokio::join!(Listener::open(job), Listener::open(job), Listener::open(job));
        let taken = |opened: &Result<_, _>| matches!(opened, Err(NatsError::JobTaken { .. }));
        let opened = [a, b, c];
        let (got, lost): (Vec<_>, Vec<_>) = opened.into_iter().partition(Result::is_ok);
        assert_eq!((got.len(), lost.iter().filter(|lost| taken(lost)).count()), (1, 2), "{lost:?}");
        // As long as it is there, nobody else does.
        let late = Listener::open(job).await;
        assert!(taken(&late), "{late:?}");
        drop(got);
        Listener::open(job).await.unwrap();
    });
    futures_util::future::join_all(starting).await;
}
