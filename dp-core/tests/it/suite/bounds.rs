//! What waits for a slow peer is bounded, on both sides, and nothing of it is lost silently.
#![allow(missing_docs, missing_debug_implementations)]

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use dp_core::engine::{Fleet, Host, Limits, io as io_runtime};
use dp_core::{CallError, Context, Executed, MasterWorker, distributed_worker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::super::transport::{ClientEnd, connection};
use super::serve;

struct Worker(Arc<Semaphore>);

#[distributed_worker]
impl Worker {
    /// Waits until it is let go on.
    #[remote]
    async fn hold(&mut self, ctx: &Context<Self>, data: &[u8]) -> usize {
        ctx.result("held");
        self.0.acquire().await.unwrap().forget();
        data.len()
    }
}

/// A connection from which nothing is read while `stuck` says so.
struct Stuck {
    stream: ClientEnd,
    stuck: Arc<AtomicBool>,
}

impl AsyncRead for Stuck {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.stuck.load(Ordering::SeqCst) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stuck {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// One client with one worker.
struct Pair {
    master: MasterWorker<Worker>,
    go_on: Arc<Semaphore>,
    stuck: Arc<AtomicBool>,
    fleet: Fleet<Worker>,
}

async fn pair(of_server: usize, of_client: usize) -> Pair {
    let limits = |max_queued_bytes| {
        let mut limits = Limits::default();
        limits.max_queued_bytes = max_queued_bytes;
        limits
    };
    let (server_end, peer, client_end) = connection().await;
    let (go_on, stuck) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicBool::new(false)));
    let of_worker = go_on.clone();
    let host = Host::new("c1".to_owned(), 1, limits(of_client), Handle::current(), move |_| {
        Worker(of_worker.clone())
    });
    let fleet = Fleet::new(limits(of_server), (), Handle::current());
    serve(&fleet, server_end, peer);
    let stream = Stuck { stream: client_end, stuck: stuck.clone() };
    io_runtime().spawn(async move { host.serve(stream, "memory".to_owned()).await });
    fleet.joined(1).await;
    Pair { master: fleet.master(), go_on, stuck, fleet }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.fleet.close();
    }
}

const MIB: usize = 1 << 20;

type Waiting = Pin<Box<dyn Future<Output = Result<usize, CallError>> + Send>>;

/// Calls again and again, in order, until a call is not made: those that wait, and why.
async fn until_refused(
    worker: &dp_core::RemoteWorker<Worker>,
    data: &[u8],
) -> (Vec<Waiting>, CallError) {
    let mut waiting: Vec<Waiting> = Vec::new();
    loop {
        assert!(waiting.len() < 20, "nothing bounds what waits");
        let mut call: Waiting = Box::pin(worker.hold(data).into_future());
        match tokio::time::timeout(Duration::from_millis(100), &mut call).await {
            Ok(Err(error)) => {
                // Where that took its time, those before it were refused, too.
                let mut cx = TaskContext::from_waker(Waker::noop());
                waiting.retain_mut(|call| call.as_mut().poll(&mut cx).is_pending());
                return (waiting, error);
            }
            Ok(Ok(_)) => panic!("nobody lets it go on"),
            Err(_) => waiting.push(call),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_holds_too_much_refuses_calls_and_takes_them_again_later() {
    needs_transport!();
    let pair = pair(usize::MAX, 2 * MIB).await;
    let worker = pair.master.workers()[0].clone();
    let data = vec![0; MIB];
    let (held, refused) = until_refused(&worker, &data).await;
    assert!(refused.to_string().contains("max_queued_bytes of the client"), "{refused}");
    assert_eq!(refused.executed(), Executed::No);
    pair.go_on.add_permits(10);
    assert_eq!(held.len(), 2);
    for held in held {
        assert_eq!(held.await.unwrap(), MIB);
    }
    assert_eq!(worker.hold(&data).await.unwrap(), MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_makes_no_calls_to_a_client_for_which_too_much_waits() {
    needs_transport!();
    let pair = pair(4 * MIB, usize::MAX).await;
    let worker = pair.master.workers()[0].clone();
    pair.stuck.store(true, Ordering::SeqCst);
    let data = vec![0; MIB];
    let (mut waiting, refused) = until_refused(&worker, &data).await;
    assert!(refused.to_string().contains("max_queued_bytes of the server"), "{refused}");
    assert_eq!(refused.executed(), Executed::No);

    // What nobody waits for is taken back, and there is room for others.
    waiting.truncate(2);
    let mut call: Waiting = Box::pin(worker.hold(&data).into_future());
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut call).await.is_err());
    pair.stuck.store(false, Ordering::SeqCst);
    pair.go_on.add_permits(10);
    for call in waiting.into_iter().chain([call]) {
        assert_eq!(call.await.unwrap(), MIB);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_arrives_also_where_nobody_waits_for_it() {
    needs_transport!();
    let pair = pair(2 * MIB, usize::MAX).await;
    let worker = pair.master.workers()[0].clone();
    pair.go_on.add_permits(100);
    worker.hold(b"x").await.unwrap();
    pair.stuck.store(true, Ordering::SeqCst);
    let data = vec![0; MIB];
    let (waiting, _) = until_refused(&worker, &data).await;
    // Neither refused nor taken back: the server counts on it from now on.
    let reset = pair.master.reset_results();
    assert!(tokio::time::timeout(Duration::from_millis(100), reset).await.is_err());
    pair.stuck.store(false, Ordering::SeqCst);
    for call in waiting {
        call.await.unwrap();
    }
    worker.hold(b"x").await.unwrap();
    let results = pair.master.results().await.unwrap();
    assert!(!results.is_empty());
    // What it records behind it is known here when it is lost.
    pair.fleet.kick(worker.info().id());
    while !pair.fleet.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(pair.fleet.master().results_of_lost(), results);
}
