//! Calls that are over while their methods go on.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dp_core::{BarrierError, CallError, Context, MasterWorker, distributed_worker};
use futures_util::FutureExt as _;
use tokio::sync::mpsc;

#[derive(Default)]
struct Asked(Mutex<Vec<u32>>);

/// What a method that has outlived its call met with.
#[derive(Debug)]
struct Found {
    called: Result<(), CallError>,
    met: Result<(), BarrierError>,
}

/// How the test holds a method, and what the method says.
struct Held {
    begun: mpsc::UnboundedSender<()>,
    go: Mutex<Receiver<()>>,
    found: mpsc::UnboundedSender<Found>,
}

struct Stubborn(Arc<Held>);

#[distributed_worker(server = Asked)]
impl Stubborn {
    /// Blocks its thread until it may go on, whatever becomes of the call.
    #[remote]
    fn block(&self, ctx: &Context<Self>) {
        ctx.result("before");
        self.0.begun.send(()).unwrap();
        self.0.go.lock().unwrap().recv().unwrap();
        ctx.result("behind");
        ctx.record("metric", Duration::from_millis(1));
        let called =
            tokio::runtime::Handle::current().block_on(async { ctx.server().ask(1).await });
        let met = tokio::runtime::Handle::current().block_on(async { ctx.synchro("all").await });
        self.0.found.send(Found { called, met: met.map(drop) }).unwrap();
    }

    /// Sees to its own end.
    #[remote]
    async fn tidy(&self, ctx: &Context<Self>) {
        let mut cancelled = std::pin::pin!(ctx.cancelled());
        assert!(futures_util::poll!(cancelled.as_mut()).is_pending());
        self.0.begun.send(()).unwrap();
        cancelled.await;
        let called = ctx.server().ask(2).await;
        self.0.found.send(Found { called, met: Ok(()) }).unwrap();
    }

    #[remote]
    fn note(&self, ctx: &Context<Self>) {
        ctx.result("of the next run");
    }

    #[on_server]
    async fn ask(asked: &Asked, number: u32) {
        asked.0.lock().unwrap().push(number);
    }
}

struct Test {
    master: MasterWorker<Stubborn>,
    begun: mpsc::UnboundedReceiver<()>,
    go: Sender<()>,
    found: mpsc::UnboundedReceiver<Found>,
}

fn start() -> Test {
    let ((begun, has_begun), (go, may_go)) = (mpsc::unbounded_channel(), channel());
    let (found, finds) = mpsc::unbounded_channel();
    let held = Arc::new(Held { begun, go: Mutex::new(may_go), found });
    let build = move |_: &dp_core::WorkerInfo| Stubborn(held.clone());
    let master = MasterWorker::<Stubborn>::in_process_with(Asked::default(), 1, build);
    Test { master, begun: has_begun, go, found: finds }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_outlives_its_call_records_nothing_into_the_next_run() {
    let mut test = start();
    {
        let call = test.master.block().outcomes();
        tokio::select! {
            _ = call => panic!("it blocks"),
            begun = test.begun.recv() => begun.unwrap(),
        }
        // Dropped: that cancels it.
    }
    let lines = |lines: Vec<dp_core::ResultLine>| -> Vec<String> {
        lines.into_iter().map(|line| line.message).collect()
    };
    assert_eq!(lines(test.master.results().await.unwrap()), ["before"]);
    test.master.reset_results().await.unwrap();
    test.master.note().await.unwrap();
    test.go.send(()).unwrap();
    let found = test.found.recv().await.unwrap();
    assert_eq!(lines(test.master.results().await.unwrap()), ["of the next run"]);
    assert!(test.master.metrics().await.unwrap().is_empty());
    assert!(matches!(found.called, Err(CallError::Cancelled)), "{found:?}");
    assert!(matches!(&found.met, Err(BarrierError::Lost { missing }) if missing.is_empty()));
    assert!(test.master.server().0.lock().unwrap().is_empty(), "the server is not asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_is_cancelled_and_not_reset_adds_to_the_record_that_it_began_in() {
    let mut test = start();
    {
        let call = test.master.block().outcomes();
        tokio::select! {
            _ = call => panic!("it blocks"),
            begun = test.begun.recv() => begun.unwrap(),
        }
    }
    // Behind the cancel, as the connection is read in order.
    test.master.results().await.unwrap();
    test.go.send(()).unwrap();
    let found = test.found.recv().await.unwrap();
    assert_eq!(test.master.results().await.unwrap().len(), 2);
    assert!(matches!(found.called, Err(CallError::Cancelled)), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_sees_to_its_own_end_may_still_call_the_server() {
    let mut test = start();
    {
        let call = test.master.tidy().outcomes();
        tokio::select! {
            _ = call => panic!("it waits"),
            begun = test.begun.recv() => begun.unwrap(),
        }
    }
    let found = test.found.recv().await.unwrap();
    found.called.unwrap();
    assert_eq!(*test.master.server().0.lock().unwrap(), [2]);
    assert!(test.found.recv().now_or_never().is_none());
}
