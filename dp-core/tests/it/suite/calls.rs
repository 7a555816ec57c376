//! What calls and broadcasts do, in process: the same engines and the same bytes as over a network.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use dp_core::{CallError, Context, Executed, MasterWorker, Outcome, WorkerId, distributed_worker};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, Semaphore};

use super::group;

/// What the methods of all workers of a test have in common.
struct Shared {
    log: Mutex<Vec<String>>,
    built: AtomicUsize,
    dropped: AtomicUsize,
    started: Semaphore,
    go_on: Notify,
}

impl Shared {
    fn log(&self, line: impl Into<String>) {
        self.log.lock().unwrap().push(line.into());
    }

    fn logged(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

struct Subject {
    shared: Arc<Shared>,
    value: u64,
}

/// Counts how often it is dropped before its end.
struct OnDrop(Arc<Shared>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Point {
    x: i32,
    y: Option<String>,
}

#[derive(Debug, thiserror::Error)]
#[error("can't open the file")]
struct OpenError(#[source] std::io::Error);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Refusal {
    TooMany { max: u32 },
}

#[distributed_worker]
impl Subject {
    #[remote]
    fn add(&mut self, n: u64) -> u64 {
        self.value += n;
        self.value
    }

    #[remote]
    fn value(&self) -> u64 {
        self.value
    }

    #[remote]
    fn echo(
        &self,
        points: &[Point],
        name: &str,
        one: &Point,
        block: &[u8],
    ) -> (Vec<Point>, String, Point, usize) {
        (points.to_vec(), name.to_owned(), one.clone(), block.len())
    }

    #[remote]
    fn blocks(&self, a: Vec<u8>, b: &[u8]) -> Vec<u8> {
        [&a, b].concat()
    }

    #[remote]
    fn id(&self, ctx: &Context<Self>) -> (String, usize) {
        (ctx.worker().id().to_string(), ctx.worker().index())
    }

    #[remote]
    fn log(&self, line: u32) {
        self.shared.log(line.to_string());
    }

    #[remote]
    async fn log_later(&mut self, line: u32) {
        tokio::time::sleep(Duration::from_millis(u64::from(line % 3))).await;
        self.shared.log(line.to_string());
    }

    /// Ends when `go_on` is notified.
    #[remote]
    async fn wait(&self) -> u64 {
        let _on_drop = OnDrop(self.shared.clone());
        let go_on = self.shared.go_on.notified();
        self.shared.started.add_permits(1);
        go_on.await;
        std::mem::forget(_on_drop);
        self.value
    }

    #[remote]
    async fn wait_alone(&mut self) {
        let _on_drop = OnDrop(self.shared.clone());
        self.shared.started.add_permits(1);
        std::future::pending::<()>().await;
    }

    #[remote]
    async fn clean_up(&self, ctx: &Context<Self>) {
        self.shared.started.add_permits(1);
        ctx.cancelled().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.shared.log("cleaned up");
    }

    #[remote]
    fn block(&self, millis: u64) {
        self.shared.started.add_permits(1);
        std::thread::sleep(Duration::from_millis(millis));
    }

    #[remote]
    fn fail(&self, message: String) -> Result<u64, String> {
        Err(message)
    }

    #[remote]
    fn fail_on(&self, ctx: &Context<Self>, indexes: &[usize]) -> anyhow::Result<u64> {
        anyhow::ensure!(!indexes.contains(&ctx.worker().index()), "disk full");
        Ok(3)
    }

    #[remote]
    fn open(&self) -> Result<(), OpenError> {
        Err(OpenError(std::io::Error::other("no such disk")))
    }

    #[remote(typed_error)]
    fn typed(&self, max: u32) -> Result<u32, Refusal> {
        if max > 10 { Err(Refusal::TooMany { max: 10 }) } else { Ok(max) }
    }

    #[remote]
    fn panic_alone(&mut self, ctx: &Context<Self>) {
        self.value = 666;
        ctx.result("about to panic");
        panic!("an expected panic");
    }

    #[remote]
    fn panic_shared(&self) {
        panic!("an expected panic");
    }

    /// Where what it is lent lies.
    #[remote]
    fn address(&self, block: &[u8]) -> usize {
        block.as_ptr().addr()
    }

    #[remote]
    fn large(&self, bytes: usize) -> Vec<u8> {
        vec![7; bytes]
    }
}

fn subjects(workers: usize) -> (MasterWorker<Subject>, Arc<Shared>) {
    let shared = Arc::new(Shared {
        log: Mutex::default(),
        built: AtomicUsize::new(0),
        dropped: AtomicUsize::new(0),
        started: Semaphore::new(0),
        go_on: Notify::new(),
    });
    let of_workers = shared.clone();
    let master = group::<Subject>(workers, move |_info| {
        of_workers.built.fetch_add(1, Ordering::SeqCst);
        Subject { shared: of_workers.clone(), value: 0 }
    });
    (master, shared)
}

async fn started(shared: &Shared, calls: u32) {
    shared.started.acquire_many(calls).await.unwrap().forget();
}

fn id(text: &str) -> WorkerId {
    text.parse().unwrap()
}

#[tokio::test]
async fn every_kind_of_argument_arrives_as_it_was() {
    needs_transport!();
    let (master, _) = subjects(2);
    let point = |x| Point { x, y: Some("ß".to_owned()) };
    let points = [point(1), point(-2), Point { x: i32::MIN, y: None }];
    let replies = master.echo(&points, "näme", &points[0], &[1, 2, 3]).await.unwrap();
    let expected = (points.to_vec(), "näme".to_owned(), points[0].clone(), 3);
    assert_eq!(replies.into_values(), [expected.clone(), expected]);

    let one = &master.workers()[1];
    let block: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
    let both = one.blocks(block.clone(), &block).await.unwrap();
    assert_eq!(both, [block.clone(), block].concat());
}

#[tokio::test]
async fn a_call_borrows_nothing_and_can_be_awaited_elsewhere() {
    needs_transport!();
    let (master, _) = subjects(1);
    let call = {
        let name = String::from("gone before the call is sent");
        master.workers()[0].echo(&[], &name, &Point { x: 0, y: None }, &[])
    };
    let value = tokio::spawn(call).await.unwrap().unwrap();
    assert_eq!(value.1, "gone before the call is sent");
}

#[tokio::test]
async fn nothing_is_sent_before_it_is_awaited() {
    needs_transport!();
    let (master, _) = subjects(2);
    drop(master.add(1));
    let late = master.add(10);
    assert_eq!(master.value().await.unwrap().into_values(), [0, 0]);
    assert_eq!(late.await.unwrap().into_values(), [10, 10]);
}

#[tokio::test]
async fn the_roster_is_in_natural_order() {
    needs_transport!();
    let (master, _) = subjects(12);
    assert_eq!(master.len(), 12);
    let ids: Vec<_> = master.workers().iter().map(|w| w.info().id().to_string()).collect();
    assert_eq!(ids[..2], ["w1", "w2"]);
    assert_eq!(ids[9..], ["w10", "w11", "w12"]);
    assert_eq!(master.get(&id("w10")).unwrap().info().index(), 9);
    assert!(master.get(&id("w13")).is_none());
    let values = master.id().await.unwrap().into_values();
    for (position, (id, index)) in values.into_iter().enumerate() {
        assert_eq!((id, index), (ids[position].clone(), position));
    }
}

#[tokio::test]
async fn a_selection_is_a_master_of_its_own() {
    needs_transport!();
    let (master, _) = subjects(6);
    let odd = master.select(|worker| worker.index() % 2 == 1);
    assert_eq!(odd.len(), 3);
    odd.add(5).await.unwrap();
    assert_eq!(master.value().await.unwrap().into_values(), [0, 5, 0, 5, 0, 5]);
    let last = odd.select(|worker| *worker.id() == "w6");
    assert_eq!(last.value().await.unwrap()[&id("w6")], 5);
    let values = odd.each(|w| w.add(w.info().index() as u64)).await.unwrap().into_values();
    assert_eq!(values, [6, 8, 10]);
}

#[tokio::test]
async fn workers_of_one_client_are_lent_the_same_block() {
    needs_transport!();
    // So many have one connection.
    let (master, _) = subjects(20);
    for length in [10, 100_000] {
        let addresses = master.address(&vec![1; length]).await.unwrap().into_values();
        assert!(addresses.iter().all(|address| *address == addresses[0]), "{addresses:?}");
    }
}

#[tokio::test]
async fn nobody_answers_at_once_with_nothing() {
    needs_transport!();
    let (master, _) = subjects(2);
    let nobody = master.select(|_| false);
    assert!(nobody.is_empty());
    assert!(nobody.value().await.unwrap().is_empty());
    assert_eq!(nobody.value().outcomes().await.len(), 0);
    assert_eq!(nobody.value().stream().next().await, None);
    assert!(nobody.each(|w| w.value()).await.unwrap().is_empty());
    nobody.synchro("nobody").await.unwrap();
    nobody.log(1).detach().await;
    assert!(nobody.results().await.unwrap().is_empty());
    let (none, _) = subjects(0);
    assert!(none.value().await.unwrap().is_empty());
}

#[tokio::test]
async fn calls_start_in_the_order_in_which_they_were_sent() {
    needs_transport!();
    let (master, shared) = subjects(1);
    for line in 0..500 {
        if line % 5 == 0 {
            master.log_later(line).detach().await;
        } else {
            master.log(line).detach().await;
        }
    }
    master.synchro("all").await.unwrap();
    let expected: Vec<String> = (0..500).map(|line: u32| line.to_string()).collect();
    assert_eq!(shared.logged(), expected);
}

#[tokio::test]
async fn shared_calls_of_one_worker_overlap_and_exclusive_ones_wait() {
    needs_transport!();
    let (master, shared) = subjects(1);
    let worker = master.workers()[0].clone();
    let first = tokio::spawn(worker.wait());
    let second = tokio::spawn(worker.wait());
    started(&shared, 2).await;
    let alone = tokio::spawn(worker.add(1));
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert!(!alone.is_finished());
    shared.go_on.notify_waiters();
    assert_eq!(first.await.unwrap().unwrap(), 0);
    assert_eq!(second.await.unwrap().unwrap(), 0);
    assert_eq!(alone.await.unwrap().unwrap(), 1);
}

#[tokio::test]
async fn shared_calls_that_block_their_threads_overlap_too() {
    needs_transport!();
    struct Meeting(Barrier);
    #[distributed_worker]
    impl Meeting {
        #[remote]
        fn meet(&self) {
            self.0.wait();
        }
    }
    let master = group::<Meeting>(2, |_| Meeting(Barrier::new(3)));
    for _ in 0..3 {
        master.meet().detach().await;
    }
    master.synchro("met").await.unwrap();
}

#[tokio::test]
async fn a_method_that_blocks_its_thread_disturbs_nobody_else() {
    needs_transport!();
    let (master, shared) = subjects(64);
    let blocked = master.select(|worker| worker.index() < 63);
    let other = &master.workers()[63];
    let blocking = tokio::spawn(blocked.block(2_000).outcomes());
    started(&shared, 63).await;
    for n in 1..=20 {
        assert_eq!(other.add(1).await.unwrap(), n);
    }
    // A deadline and results are served too while all others block.
    let late = blocked.value().timeout(Duration::from_millis(50)).outcomes().await;
    assert_eq!(late.failures().count(), 0, "shared calls overlap with a blocking one");
    assert!(master.results().await.unwrap().is_empty());
    assert!(!blocking.is_finished());
    assert_eq!(blocking.await.unwrap().failures().count(), 0);
}

#[tokio::test]
async fn a_broadcast_gives_one_outcome_for_each_worker_in_order_or_as_they_come() {
    needs_transport!();
    let (master, _) = subjects(5);
    let outcomes = master.fail_on(&[1, 3]).outcomes().await;
    let failed: Vec<_> = outcomes.failures().map(|(w, _)| w.id().to_string()).collect();
    assert_eq!(failed, ["w2", "w4"]);
    assert_eq!(outcomes.to_string(), "w[1,3,5] → 3\nw[2,4] failed: disk full");
    assert_eq!(outcomes[&id("w1")].result, Ok(3));

    let mut stream = master.fail_on(&[0]).stream();
    let mut seen = HashSet::new();
    while let Some(Outcome { worker, result, .. }) = stream.next().await {
        assert_eq!(result.is_err(), worker.index() == 0);
        assert!(seen.insert(worker.id().clone()));
    }
    assert_eq!(seen.len(), 5);
}

#[tokio::test]
async fn a_failed_broadcast_holds_all_outcomes_and_names_who_failed() {
    needs_transport!();
    let (master, _) = subjects(40);
    let error = master.fail_on(&[6, 8, 11]).await.unwrap_err();
    assert_eq!(error.to_string(), "3 of 40 workers failed: w[7,9,12] failed: disk full");
    assert_eq!(error.outcomes::<u64>().successes().count(), 37);
    let replies = master.fail_on(&[]).await.unwrap();
    assert_eq!(replies.to_string(), "w[1-40] → 3");
}

#[tokio::test]
async fn an_error_arrives_with_its_whole_chain() {
    needs_transport!();
    let (master, _) = subjects(1);
    let worker = &master.workers()[0];
    let error = worker.open().await.unwrap_err();
    let (message, chain) = ("can't open the file".to_owned(), vec!["no such disk".to_owned()]);
    assert_eq!(error, CallError::Failed { message, chain });
    assert_eq!(error.executed(), Executed::Yes);
    let error = worker.fail("plain text".to_owned()).await.unwrap_err();
    assert_eq!(error.to_string(), "failed: plain text");
    assert_eq!(worker.typed(11).await.unwrap(), Err(Refusal::TooMany { max: 10 }));
    assert_eq!(worker.typed(10).await.unwrap(), Ok(10));
}

#[tokio::test]
async fn a_panic_costs_one_call() {
    needs_transport!();
    let (master, shared) = subjects(2);
    master.add(5).await.unwrap();
    let error = master.workers()[0].panic_shared().await.unwrap_err();
    assert_eq!(error, CallError::Panicked { message: "an expected panic".to_owned() });
    assert_eq!(error.executed(), Executed::Yes);
    assert_eq!(master.value().await.unwrap().into_values(), [5, 5]);
    assert_eq!(shared.built.load(Ordering::SeqCst), 2);

    // After a panic in `&mut self` the worker is new, and what it had recorded is still there.
    let outcomes = master.workers()[0].panic_alone().await;
    assert!(matches!(outcomes, Err(CallError::Panicked { .. })));
    assert_eq!(shared.built.load(Ordering::SeqCst), 3);
    assert_eq!(master.value().await.unwrap().into_values(), [0, 5]);
    let results = master.results().await.unwrap();
    assert_eq!(results.len(), 1);
    assert_eq!(results[0].message, "about to panic");
}

#[tokio::test]
async fn a_constructor_that_panics_is_tried_again_and_told() {
    needs_transport!();
    struct Picky;
    #[distributed_worker]
    impl Picky {
        #[remote]
        fn hello(&self) -> u8 {
            1
        }
    }
    let built = AtomicUsize::new(0);
    let master = group::<Picky>(1, move |_| {
        assert!(built.fetch_add(1, Ordering::SeqCst) >= 2, "an expected panic");
        Picky
    });
    let worker = &master.workers()[0];
    let error = worker.hello().await.unwrap_err();
    let reason = "the constructor panicked: an expected panic".to_owned();
    assert_eq!(error.executed(), Executed::No);
    assert_eq!(error, CallError::NotSent { reason });
    assert_eq!(worker.hello().await, Ok(1));
}

#[tokio::test]
async fn a_timeout_ends_the_call_and_cancels_the_worker() {
    needs_transport!();
    let (master, shared) = subjects(3);
    // On a busy machine the time may be over before the method has begun: then there is nothing to drop.
    let begun_are_dropped =
        || shared.dropped.load(Ordering::SeqCst) == shared.started.available_permits();
    let after = Duration::from_millis(40);
    let error = master.workers()[0].wait().timeout(after).await.unwrap_err();
    assert_eq!(error, CallError::TimedOut { after });
    assert_eq!(error.executed(), Executed::Maybe);
    until(begun_are_dropped).await;

    let error = master.wait_alone().timeout(after).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "3 of 3 workers failed: w[1-3] timed out after 40ms (maybe executed)"
    );
    // The workers are free again.
    master.add(1).await.unwrap();
    until(begun_are_dropped).await;
}

#[tokio::test]
async fn each_takes_the_deadlines_of_its_calls() {
    needs_transport!();
    let (master, shared) = subjects(3);
    let outcomes = master
        .each(|worker| match worker.info().index() {
            1 => worker.wait().timeout(Duration::from_millis(30)),
            _ => worker.wait(),
        })
        .outcomes();
    let outcomes = tokio::spawn(outcomes);
    started(&shared, 3).await;
    until(|| shared.dropped.load(Ordering::SeqCst) == 1).await;
    shared.go_on.notify_waiters();
    let outcomes = outcomes.await.unwrap();
    let after = Duration::from_millis(30);
    assert_eq!(outcomes[&id("w2")].result, Err(CallError::TimedOut { after }));
    assert_eq!(outcomes.successes().count(), 2);
}

#[tokio::test]
async fn each_refuses_a_call_to_another_worker() {
    needs_transport!();
    let (master, _) = subjects(2);
    let first = master.workers()[0].clone();
    let outcomes = master.each(|_| first.add(1)).outcomes().await;
    assert_eq!(outcomes[&id("w1")].result, Ok(1));
    let error = outcomes[&id("w2")].result.clone().unwrap_err();
    assert_eq!(error.executed(), Executed::No);
}

#[tokio::test]
async fn a_dropped_call_is_cancelled_on_the_workers() {
    needs_transport!();
    let (master, shared) = subjects(3);
    {
        let mut waiting = std::pin::pin!(master.wait_alone());
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        started(&shared, 3).await;
    }
    until(|| shared.dropped.load(Ordering::SeqCst) == 3).await;
    assert_eq!(master.add(1).await.unwrap().into_values(), [1, 1, 1]);
}

#[tokio::test]
async fn a_call_that_waits_in_the_queue_is_cancelled_before_it_starts() {
    needs_transport!();
    let (master, shared) = subjects(1);
    let worker = master.workers()[0].clone();
    let running = tokio::spawn(worker.wait());
    started(&shared, 1).await;
    let after = Duration::from_millis(20);
    let queued = worker.add(7).timeout(after).await;
    assert_eq!(queued, Err(CallError::TimedOut { after }));
    // What comes behind the cancel, on the one connection, is read after it.
    master.results().await.unwrap();
    shared.go_on.notify_waiters();
    running.await.unwrap().unwrap();
    assert_eq!(worker.value().await, Ok(0));
}

#[tokio::test]
async fn a_method_that_listens_for_its_cancellation_ends_by_itself() {
    needs_transport!();
    let (master, shared) = subjects(2);
    {
        let mut cleaning = std::pin::pin!(master.clean_up());
        assert!(futures_util::poll!(cleaning.as_mut()).is_pending());
        started(&shared, 2).await;
    }
    until(|| shared.logged() == ["cleaned up", "cleaned up"]).await;
}

#[tokio::test]
async fn synchro_waits_for_detached_calls_and_brings_out_what_failed() {
    needs_transport!();
    let (master, shared) = subjects(3);
    for line in 0..20 {
        master.log(line).detach().await;
    }
    master.fail_on(&[0, 2]).detach().await;
    master.workers()[1].add(1).await.unwrap();
    let error = master.synchro("first").await.unwrap_err();
    assert_eq!(error.to_string(), "2 calls failed: w[1,3] fail_on failed: disk full");
    assert_eq!(shared.logged().len(), 60);
    master.synchro("second").await.unwrap();
}

#[tokio::test]
async fn detach_waits_for_room_and_not_for_replies() {
    needs_transport!();
    let (master, shared) = subjects(1);
    let waiting = tokio::spawn(master.workers()[0].wait_alone());
    started(&shared, 1).await;
    let mut sent = 0;
    let flood = async {
        loop {
            master.add(1).detach().await;
            sent += 1;
        }
    };
    // It must stop by itself at the default of `in_flight`.
    let stopped = tokio::time::timeout(Duration::from_millis(500), flood).await;
    assert!(stopped.is_err());
    assert_eq!(sent, 1_023);
    waiting.abort();
    master.synchro("all").await.unwrap();
    assert_eq!(master.value().await.unwrap().into_values(), [1_023]);
}

#[tokio::test]
async fn timed_records_how_long_the_method_ran() {
    needs_transport!();
    let (master, _) = subjects(2);
    master.block(20).timed().await.unwrap();
    let results = master.results().await.unwrap();
    assert_eq!(results.len(), 2);
    for result in &results {
        let seconds = result.message.strip_prefix("Time for running block: ").unwrap();
        let seconds: f64 = seconds.strip_suffix(" seconds").unwrap().parse().unwrap();
        assert!((0.02..10.0).contains(&seconds), "{result}");
    }
    master.reset_results().await.unwrap();
    assert!(master.results().await.unwrap().is_empty());
}

#[tokio::test]
async fn elapsed_is_measured_where_the_method_ran() {
    needs_transport!();
    let (master, _) = subjects(1);
    let outcomes = master.block(30).outcomes().await;
    let elapsed = outcomes.into_iter().next().unwrap().elapsed;
    assert!(elapsed >= Duration::from_millis(30), "{elapsed:?}");
}

#[tokio::test]
async fn a_megabyte_to_each_and_back() {
    needs_transport!();
    let (master, _) = subjects(16);
    let block = vec![9; 1 << 20];
    let replies = master.blocks(block.clone(), &block).await.unwrap();
    assert!(replies.values().all(|reply| reply.len() == 2 << 20));
    assert_eq!(master.workers()[3].large(5 << 20).await.unwrap().len(), 5 << 20);
}

#[test]
fn the_caller_needs_no_tokio() {
    needs_transport!();
    let (master, _) = subjects(2);
    let replies = futures_executor(master.add(2).timeout(Duration::from_secs(30)));
    assert_eq!(replies.unwrap().into_values(), [2, 2]);
}

/// A block_on that knows nothing of tokio.
fn futures_executor<F: std::future::Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut cx = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut cx) {
            std::task::Poll::Ready(value) => return value,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

#[tokio::test]
async fn when_the_last_handle_is_dropped_the_workers_are_dropped_too() {
    needs_transport!();
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    #[distributed_worker]
    impl Counted {
        #[remote]
        fn hello(&self) {}
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let of_workers = dropped.clone();
    let master = group::<Counted>(3, move |_| Counted(of_workers.clone()));
    master.hello().await.unwrap();
    let last = master.workers()[0].clone();
    drop(master);
    last.hello().await.unwrap();
    drop(last);
    until(|| dropped.load(Ordering::SeqCst) == 3).await;
}

#[tokio::test]
async fn a_run_that_fails_fails_whatever_its_result_is_called() {
    needs_transport!();
    use dp_core::DistributedWorker;

    type Outcome = Result<u8, String>;
    struct Renamed;
    #[distributed_worker]
    impl Renamed {
        #[remote]
        fn hello(&self) {}
        #[schedule]
        async fn run(&self) -> Outcome {
            self.hello().await.map_err(|error| error.to_string())?;
            Err("no luck".to_owned())
        }
    }
    struct Plain;
    #[distributed_worker]
    impl Plain {
        #[schedule]
        fn run(&self) -> usize {
            self.len()
        }
    }
    let master = group::<Renamed>(1, |_| Renamed);
    let error = Renamed::run(&master).start().unwrap().await.unwrap_err();
    assert_eq!(error.to_string(), "no luck");
    let master = group::<Plain>(1, |_| Plain);
    Plain::run(&master).start().unwrap().await.unwrap();
}

/// Waits for something that must come, with a bound that only a hang reaches.
async fn until(condition: impl Fn() -> bool) {
    for _ in 0..3_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come");
}
