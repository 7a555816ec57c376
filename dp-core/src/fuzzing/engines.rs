//! The engines behind a right handshake, and then a peer that says whatever it likes.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context as TaskContext, Poll};

use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::{Builder, Runtime};

use crate::engine::{Fleet, Host, Limits, Peer};
use crate::sync::lock;
use crate::{BarrierError, Context, distributed_worker};

/// A peer that says something and closes its side, whatever it is told.
#[derive(Debug)]
pub(super) struct Script {
    says: Vec<u8>,
    at: usize,
    piece: usize,
    told: Arc<Mutex<Vec<u8>>>,
}

impl Script {
    pub(super) fn in_pieces(says: Vec<u8>, piece: usize) -> Self {
        Self { says, at: 0, piece, told: Arc::default() }
    }

    fn new(says: Vec<u8>) -> Self {
        Self::in_pieces(says, usize::MAX)
    }
}

impl AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut TaskContext<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = &self.says[self.at..];
        let piece = rest.len().min(self.piece).min(buffer.remaining());
        buffer.put_slice(&rest[..piece]);
        self.at += piece;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut TaskContext<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        lock(&self.told).extend(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

struct Subject;

#[distributed_worker(server = ())]
impl Subject {
    #[remote]
    fn greet(&self, ctx: &Context<Self>, name: &str) -> String {
        ctx.result(name);
        format!("hello {name}")
    }

    #[remote]
    async fn meet(&mut self, ctx: &Context<Self>) -> Result<u64, BarrierError> {
        ctx.synchro("here").await?;
        Ok(ctx.server().next(1).await.unwrap_or_default())
    }

    #[on_server]
    fn next(_state: &(), number: u64) -> u64 {
        number.wrapping_add(1)
    }
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap()
    })
}

fn limits() -> Limits {
    Limits { max_message: 64 << 10, max_threads: 4, ..Limits::default() }
}

fn fleet() -> Fleet<Subject> {
    Fleet::new(limits(), (), runtime().handle().clone())
}

fn host() -> Host<Subject> {
    Host::new("c".to_owned(), 2, limits(), runtime().handle().clone(), |_| Subject)
}

/// What a client says first.
fn hello() -> &'static [u8] {
    static HELLO: OnceLock<Vec<u8>> = OnceLock::new();
    HELLO.get_or_init(|| {
        let script = Script::new(Vec::new());
        let told = script.told.clone();
        let ended = runtime().block_on(host().serve(script, "script".to_owned()));
        assert!(ended.is_err(), "nobody answered");
        lock(&told).clone()
    })
}

/// What a server answers to that.
fn welcome() -> &'static [u8] {
    static WELCOME: OnceLock<Vec<u8>> = OnceLock::new();
    WELCOME.get_or_init(|| {
        let script = Script::new(hello().to_vec());
        let told = script.told.clone();
        let admitted = runtime().block_on(fleet().admit(script, &Peer::new("script")));
        assert!(admitted.is_ok(), "{admitted:?}");
        lock(&told).clone()
    })
}

/// A client that has joined says whatever it likes: its calls end, each once, and it is gone at the end.
pub fn server(bytes: &[u8]) {
    let script = Script::new([hello(), bytes].concat());
    runtime().block_on(async {
        let fleet = fleet();
        let admitted = fleet.admit(script, &Peer::new("script")).await.unwrap();
        let master = fleet.master();
        // Their numbers are 1 and 2.
        let mut greeting = Box::pin(master.greet("Ada").outcomes());
        let mut meeting = Box::pin(master.meet().outcomes());
        let early = (greeting.as_mut().now_or_never(), meeting.as_mut().now_or_never());
        assert!(matches!(early, (None, None)), "nobody has answered yet");
        let _ = admitted.serve().await;
        assert_eq!(greeting.as_mut().now_or_never().map(|all| all.len()), Some(2));
        assert_eq!(meeting.as_mut().now_or_never().map(|all| all.len()), Some(2));
        assert!(fleet.is_empty() && fleet.status().is_empty());
    });
}

/// A server that has welcomed its client says whatever it likes: the client comes to an end of it.
pub fn client(bytes: &[u8]) {
    let script = Script::new([welcome(), bytes].concat());
    let ended = runtime().block_on(host().serve(script, "script".to_owned()));
    let refused = matches!(ended, Err(crate::engine::HostError::Refused { .. }));
    let joined = ended.as_ref().err().is_none_or(|error| error.joined() || refused);
    assert!(joined, "the handshake is right: {ended:?}");
}
