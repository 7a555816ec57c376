//! What somebody does to a server who speaks the protocol and means no good: raw bytes over real
//! sockets.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Departure, Fleet, ServeError};
use crate::engine::{Host, HostError, Limits};
use crate::error::CallError;
use crate::proto::barrier::MAX_WAITING;
use crate::proto::handshake::prints;
use crate::wire::{Arrive, Hello, MethodPrint, Preamble, ServerMessage, Verdict, Withdraw};
use crate::worker::DistributedWorker;
use crate::{Context, codec, distributed_worker};

struct Target;

#[distributed_worker(crate = crate)]
impl Target {
    #[remote]
    async fn meet(&self, _ctx: &Context<Self>) {}
}

/// Longer than anything that a refused client is answered.
const ANSWER: usize = 2 << 10;

struct Attacker {
    stream: TcpStream,
    served: JoinHandle<Result<Departure, ServeError>>,
}

impl Attacker {
    async fn connect(fleet: &Fleet<Target>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, peer) = listener.accept().await.unwrap();
        let fleet = fleet.clone();
        let served = tokio::spawn(async move { fleet.serve(accepted, peer.to_string()).await });
        let mut attacker = Self { stream, served };
        attacker.write(&Preamble::ours().to_bytes()).await;
        attacker
    }

    /// One that has joined.
    async fn join(fleet: &Fleet<Target>, workers: u32) -> Self {
        let mut attacker = Self::connect(fleet).await;
        attacker.write(&hello("evil", workers).to_frame()).await;
        attacker.skip_preamble().await;
        assert!(matches!(attacker.next().await, ServerMessage::Welcome(_)));
        fleet.joined(workers as usize).await;
        attacker
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    async fn frame(&mut self, kind: u8, body: &[u8]) {
        let length = (body.len() as u32 + 1).to_le_bytes();
        self.write(&[&length[..], &[kind]].concat()).await;
        // The server may be gone before it has read it all.
        let _ = self.stream.write_all(body).await;
    }

    async fn skip_preamble(&mut self) {
        self.stream.read_exact(&mut [0; Preamble::LENGTH]).await.unwrap();
    }

    /// The next message that is no heartbeat.
    async fn next(&mut self) -> ServerMessage {
        loop {
            let length = self.stream.read_u32_le().await.unwrap();
            let mut frame = vec![0; length as usize];
            self.stream.read_exact(&mut frame).await.unwrap();
            match ServerMessage::parse(Bytes::from(frame)).unwrap() {
                ServerMessage::Heartbeat | ServerMessage::Positions(_) => {}
                message => return message,
            }
        }
    }

    async fn call(&mut self) -> u64 {
        match self.next().await {
            ServerMessage::Call(head, _) => head.call,
            message => panic!("{message:?}"),
        }
    }

    /// All that the server answers, and how it ends.
    async fn refused(mut self) -> (Vec<u8>, String) {
        // It may be closed already.
        let _ = self.stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = self.stream.read_to_end(&mut answer).await;
        (answer, self.served.await.unwrap().unwrap_err().to_string())
    }

    async fn departed(self) -> String {
        self.served.await.unwrap().unwrap().reason.to_string()
    }
}

fn fleet(limits: Limits) -> Fleet<Target> {
    Fleet::new(limits, (), Handle::current())
}

fn hello(client: &str, workers: u32) -> Hello {
    Hello {
        worker: Target::contract().worker,
        version: String::new(),
        methods: prints(&Target::contract().methods),
        server_methods: Vec::new(),
        client: client.to_owned(),
        incarnation: 1,
        prefix: format!("{client}/"),
        workers,
        max_message: 1 << 30,
    }
}

fn arrive(wait: u64, worker: u32, call: u64) -> Arrive {
    let token = "token".to_owned();
    Arrive { wait, worker, call, token, staggered: false, survivors: false, timeout: None }
}

#[tokio::test]
async fn a_client_that_arrives_without_end_waits_no_more_often_than_it_may() {
    const ARRIVALS: u64 = 65_000;
    let fleet = fleet(Limits::default());
    let mut attacker = Attacker::join(&fleet, 2).await;
    let calling = tokio::spawn(fleet.master().meet().into_future());
    let call = attacker.call().await;
    let frames: Vec<Bytes> = (0..ARRIVALS).map(|wait| arrive(wait, 0, call).to_frame()).collect();
    attacker.write(&frames.concat()).await;
    let mut refused = Vec::new();
    while (refused.len() as u64) < ARRIVALS - MAX_WAITING as u64 {
        match attacker.next().await {
            ServerMessage::Release(release) => {
                assert!(matches!(release.verdict, Verdict::Lost { .. }));
                refused.extend(release.waits);
            }
            message => panic!("{message:?}"),
        }
    }
    assert!(refused.into_iter().eq(MAX_WAITING as u64..ARRIVALS));
    // All but two are withdrawn, the last first.
    let withdrawn = (2..MAX_WAITING as u64).rev().map(|wait| Withdraw { wait }.to_frame());
    attacker.write(&withdrawn.collect::<Vec<_>>().concat()).await;
    for round in 0..2 {
        attacker.write(&arrive(ARRIVALS + round, 1, call).to_frame()).await;
        match attacker.next().await {
            ServerMessage::Release(release) => {
                assert_eq!(release.waits, [round, ARRIVALS + round]);
                assert_eq!(release.verdict, Verdict::Met { missing: Vec::new() });
            }
            message => panic!("{message:?}"),
        }
    }
    drop(attacker);
    assert!(calling.await.unwrap().is_err());
}

#[tokio::test]
async fn a_token_longer_than_it_may_be_ends_the_connection() {
    let fleet = fleet(Limits::default());
    let mut attacker = Attacker::join(&fleet, 1).await;
    let _calling = tokio::spawn(fleet.master().meet().into_future());
    let call = attacker.call().await;
    let token = "t".repeat(1 << 20);
    attacker.write(&Arrive { token, ..arrive(1, 0, call) }.to_frame()).await;
    assert_eq!(attacker.departed().await, "peer broke the protocol: a token longer than it may be");
}

#[tokio::test]
async fn who_is_refused_is_answered_in_less_than_2_kib_however_much_differs() {
    let fleet = fleet(Limits::default());
    // More methods than there may be: none of them is looked at.
    let mut attacker = Attacker::connect(&fleet).await;
    let mut body = Vec::new();
    codec::encode(&("", "", 349_000_u64), &mut body).unwrap();
    body.resize(body.len() + 3 * 349_000, 0);
    attacker.frame(0x01, &body).await;
    let (answer, error) = attacker.refused().await;
    assert!(answer.len() < ANSWER, "{} bytes", answer.len());
    assert!(error.contains("349000 methods, where there may be 4096"), "{error}");

    // As many as there may be, with the longest names there are, of which most differ.
    let print = |name: String| MethodPrint { name, signature: String::new(), fingerprint: 7 };
    let mut strange = hello("evil", 1);
    strange
        .methods
        .extend((0..4_000).map(|n| print(format!("\u{202e}{n}{}", "\u{1}".repeat(100)))));
    let mut wrong_worker = hello("evil", 1);
    wrong_worker.worker = "\u{1b}".repeat(900_000);
    let mut wrong_id = hello("evil", 1);
    wrong_id.client = "\u{1b}".repeat(900_000);
    let mut wrong_prefix = hello("evil", 1);
    wrong_prefix.prefix = "\u{1b}".repeat(900_000);
    for strange in [strange, wrong_worker, wrong_id, wrong_prefix] {
        let mut attacker = Attacker::connect(&fleet).await;
        attacker.write(&strange.to_frame()).await;
        let (answer, error) = attacker.refused().await;
        assert!(answer.len() > Preamble::LENGTH && answer.len() < ANSWER, "{}", answer.len());
        assert!(error.len() < 2 * ANSWER && !error.contains('\u{1b}'), "{error}");
    }
}

#[tokio::test]
async fn a_client_has_no_more_workers_than_one_may_have() {
    let fleet = fleet(Limits { max_workers_per_client: 8, ..Limits::default() });
    let mut attacker = Attacker::connect(&fleet).await;
    attacker.write(&hello("evil", 9).to_frame()).await;
    let (_, error) = attacker.refused().await;
    assert!(error.contains("it has 9 workers, and one client may have 8"), "{error}");
    assert!(error.contains("max_workers_per_client of the server"), "{error}");
    let _joined = Attacker::join(&fleet, 8).await;
}

#[tokio::test]
async fn a_kicked_client_that_comes_back_is_not_let_in() {
    let fleet = fleet(Limits::default());
    let mut attacker = Attacker::join(&fleet, 1).await;
    let worker = fleet.status()[0].info.id().clone();
    assert_eq!(fleet.kick(&worker).as_deref(), Some("evil"));
    assert!(matches!(attacker.next().await, ServerMessage::Refused(_)));
    drop(attacker);
    for incarnation in [1, 2] {
        let mut again = Attacker::connect(&fleet).await;
        again.write(&Hello { incarnation, ..hello("evil", 1) }.to_frame()).await;
        let (_, error) = again.refused().await;
        assert!(error.contains("disconnected on purpose, and may come back in"), "{error}");
    }
    // Nobody else is kept out.
    let mut other = Attacker::connect(&fleet).await;
    other.write(&hello("good", 1).to_frame()).await;
    other.skip_preamble().await;
    assert!(matches!(other.next().await, ServerMessage::Welcome(_)));
}

/// A reply: worker 0 has failed at `call` with what is encoded in `failure`.
fn failed(call: u64, failure: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    codec::encode(&(call, 0_u32, 0_u64, 1_u32), &mut body).unwrap();
    [&body, failure].concat()
}

#[tokio::test]
async fn a_message_of_40_mib_is_cut_and_says_so() {
    let fleet = fleet(Limits::default());
    let mut attacker = Attacker::join(&fleet, 1).await;
    let calling = tokio::spawn(fleet.master().meet().into_future());
    let call = attacker.call().await;
    let mut failure = Vec::new();
    let causes = vec!["é".repeat(100_000); 100];
    codec::encode(&(0_u32, "x".repeat(40 << 20), causes), &mut failure).unwrap();
    attacker.frame(0x02, &failed(call, &failure)).await;
    let error = calling.await.unwrap().unwrap_err();
    let (_, error) = error.failures().next().unwrap();
    let CallError::Failed { message, chain } = error else { panic!("{error}") };
    assert!(message.len() <= 8 << 10 && message.ends_with(" bytes left out)"), "{message}");
    assert_eq!((chain.len(), chain[31].as_str()), (32, "… (69 causes left out)"));
    assert!(chain.iter().all(|cause| cause.len() <= 2 << 10 && cause.ends_with(" left out)")));
}

#[tokio::test]
async fn a_chain_of_a_million_causes_ends_the_connection() {
    let fleet = fleet(Limits::default());
    let mut attacker = Attacker::join(&fleet, 1).await;
    let calling = tokio::spawn(fleet.master().meet().into_future());
    let call = attacker.call().await;
    let mut failure = Vec::new();
    codec::encode(&(0_u32, "", 1_000_000_u64), &mut failure).unwrap();
    failure.resize(failure.len() + 1_000_000, 0);
    attacker.frame(0x02, &failed(call, &failure)).await;
    let reason = attacker.departed().await;
    assert!(reason.contains("a failure of more than 256 causes"), "{reason}");
    assert!(calling.await.unwrap().is_err());
}

#[tokio::test]
async fn what_the_gate_took_is_gone_from_the_time_for_the_handshake() {
    let limits = Limits { handshake_timeout: Duration::from_secs(3_600), ..Limits::default() };
    let host = Host::<Target>::new("c1".to_owned(), 1, limits, Handle::current(), |_| Target);
    let (_server, client) = tokio::io::duplex(1 << 10);
    let Some(begun) = Instant::now().checked_sub(Duration::from_secs(3_600)) else { return };
    let served = host.serve_begun(client, "memory".to_owned(), begun).await;
    assert!(matches!(served, Err(HostError::TimedOut { .. })), "{served:?}");
}
