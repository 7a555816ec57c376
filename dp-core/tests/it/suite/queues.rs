//! What went wrong once in the queues of workers, and must not again.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dp_core::{BarrierError, Context, MasterWorker, distributed_worker};

use super::group;

#[derive(Default)]
struct Shared {
    threads: Mutex<Vec<String>>,
    dropped: AtomicUsize,
    stopped: AtomicBool,
}

struct Worker(Arc<Shared>);

#[distributed_worker]
impl Worker {
    #[remote]
    async fn wait(&self, millis: u64) {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    #[remote]
    async fn wait_alone(&mut self, millis: u64) {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    #[remote]
    fn block(&self, millis: u64) {
        self.note_thread();
        std::thread::sleep(Duration::from_millis(millis));
    }

    #[remote]
    fn note(&self) {
        self.note_thread();
    }

    /// Blocks until `stop` was called, or for long.
    #[remote]
    fn until_stopped(&self) -> bool {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(20) {
            if self.0.stopped.load(Ordering::SeqCst) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        false
    }

    #[remote]
    fn stop(&self) {
        self.0.stopped.store(true, Ordering::SeqCst);
    }

    /// The first worker never comes, the others come late.
    #[remote]
    async fn late(&self, ctx: &Context<Self>, survivors: bool) -> Result<usize, BarrierError> {
        if ctx.worker().index() == 0 {
            return Ok(0);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let barrier = ctx.synchro("late");
        let met = if survivors { barrier.survivors().await? } else { barrier.await? };
        Ok(met.missing().len())
    }

    /// Leaves a task behind that comes to a barrier of a call that is over.
    #[remote]
    async fn leave_a_task(&self, ctx: &Context<Self>) {
        let (ctx, shared) = (ctx.clone(), self.0.clone());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert!(matches!(ctx.synchro("over").await, Err(BarrierError::Lost { .. })));
            shared.threads.lock().unwrap().push("told".to_owned());
        });
    }

    fn note_thread(&self) {
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        self.0.threads.lock().unwrap().push(name);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.note_thread();
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
        if !std::thread::panicking() {
            panic!("an expected panic in drop");
        }
    }
}

fn workers(workers: usize) -> (MasterWorker<Worker>, Arc<Shared>) {
    let shared = Arc::<Shared>::default();
    let of_workers = shared.clone();
    (group::<Worker>(workers, move |_| Worker(of_workers.clone())), shared)
}

const HANG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn who_ended_before_the_first_came_to_the_barrier_is_missed() {
    needs_transport!();
    let (master, _) = workers(3);
    let error = tokio::time::timeout(HANG, master.late(false)).await.expect("no hang").unwrap_err();
    assert_eq!(
        error.to_string(),
        "2 of 3 workers failed: w[2-3] failed: barrier `late`: missing w1 in late: it has ended"
    );
    let met = tokio::time::timeout(HANG, master.late(true)).await.expect("no hang").unwrap();
    assert_eq!(met.into_values(), [0, 1, 1]);
}

#[tokio::test]
async fn whoever_comes_to_a_barrier_of_a_call_that_is_over_is_told() {
    needs_transport!();
    let (master, shared) = workers(2);
    master.leave_a_task().await.unwrap();
    until(|| shared.threads.lock().unwrap().iter().filter(|line| *line == "told").count() == 2)
        .await;
}

#[tokio::test]
async fn no_method_runs_on_the_io_thread() {
    needs_transport!();
    let (master, shared) = workers(1);
    let worker = master.workers()[0].clone();
    let first = tokio::spawn(worker.wait(300));
    tokio::time::sleep(Duration::from_millis(50)).await;
    // A call that must run alone waits for the first; behind it stands one that need not wait.
    let second = tokio::spawn(worker.wait_alone(1).timeout(Duration::from_millis(50)));
    tokio::time::sleep(Duration::from_millis(10)).await;
    worker.note().await.unwrap();
    assert!(second.await.unwrap().is_err());
    first.await.unwrap().unwrap();
    assert_eq!(*shared.threads.lock().unwrap(), ["dp-worker"]);
}

#[tokio::test]
async fn a_call_that_blocks_behind_others_does_not_hold_up_those_behind_it() {
    needs_transport!();
    let (master, _) = workers(1);
    let worker = master.workers()[0].clone();
    let start = Instant::now();
    let first = tokio::spawn(worker.wait_alone(50));
    tokio::time::sleep(Duration::from_millis(10)).await;
    let blocking = tokio::spawn(worker.block(3_000));
    tokio::time::sleep(Duration::from_millis(10)).await;
    worker.note().await.unwrap();
    assert!(start.elapsed() < Duration::from_millis(2_500), "{:?}", start.elapsed());
    first.await.unwrap().unwrap();
    blocking.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_call_that_blocks_at_any_moment_of_its_job_is_noticed() {
    needs_transport!();
    for round in 0..20_u64 {
        let (master, _) = workers(1);
        master.block(round % 6).detach().await;
        let running = tokio::spawn(master.workers()[0].until_stopped());
        tokio::task::yield_now().await;
        master.stop().detach().await;
        assert!(running.await.unwrap().unwrap(), "round {round}");
    }
}

#[tokio::test]
async fn a_call_that_built_the_worker_does_not_keep_it_to_itself() {
    needs_transport!();
    struct Late(Arc<Shared>);
    #[distributed_worker]
    impl Late {
        #[remote]
        fn until_stopped(&self) {
            while !self.0.stopped.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        #[remote]
        fn stop(&self) {
            self.0.stopped.store(true, Ordering::SeqCst);
        }
    }
    let (shared, built) = (Arc::<Shared>::default(), AtomicUsize::new(0));
    let master = group::<Late>(1, move |_| {
        assert!(built.fetch_add(1, Ordering::SeqCst) > 0, "an expected panic");
        // Longer than a start may take before the queue is handed over.
        std::thread::sleep(Duration::from_millis(30));
        Late(shared.clone())
    });
    master.until_stopped().detach().await;
    let stop = tokio::time::timeout(HANG, master.stop());
    stop.await.expect("it starts beside the one that built the worker").unwrap();
    master.synchro("stopped").await.unwrap();
}

#[tokio::test]
async fn the_answer_of_a_call_that_blocked_does_not_wait_for_the_next() {
    needs_transport!();
    let (master, _) = workers(1);
    let worker = master.workers()[0].clone();
    let start = Instant::now();
    let first = tokio::spawn(worker.block(50));
    tokio::time::sleep(Duration::from_millis(5)).await;
    let second = tokio::spawn(worker.block(3_000));
    first.await.unwrap().unwrap();
    assert!(start.elapsed() < Duration::from_millis(1_500), "{:?}", start.elapsed());
    second.await.unwrap().unwrap();
}

#[tokio::test]
async fn workers_that_panic_when_they_are_dropped_are_all_dropped_and_not_on_the_io_thread() {
    needs_transport!();
    let (master, shared) = workers(5);
    master.note().await.unwrap();
    drop(master);
    until(|| shared.dropped.load(Ordering::SeqCst) == 5).await;
    let threads = shared.threads.lock().unwrap().clone();
    assert!(threads.iter().all(|name| name == "dp-worker" || name == "dp-drop"), "{threads:?}");
}

#[tokio::test]
async fn a_map_may_borrow_its_items_and_what_its_closure_needs() {
    needs_transport!();
    let (master, _) = workers(2);
    let (items, offset) = (vec![1, 2, 3], 1);
    let map = master.map(&items, |worker, item| worker.wait(*item + offset));
    assert_eq!(map.await.unwrap().len(), 3);
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
