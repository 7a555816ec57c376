//! The threads on which the user's methods run, a worker's as well as the server's.
//!
//! A method may block its thread for minutes. On tokio's own threads that would stop everything
//! else that runs there, so methods are polled on threads of their own, as many as there are
//! processors; a thread that does not come back from a poll is counted as blocked, and another one
//! takes its place, up to a bound. In these threads tokio's context is entered: methods spawn
//! tasks, sleep and use sockets as anywhere.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::supervise::keep_up_thread;
use crate::sync::lock;
use crate::turns::Turns;

/// A poll that takes longer than this counts as blocked. Long enough that a method that computes
/// a little does not cost a thread, short enough that nobody notices the wait behind one.
pub(crate) const STALL: Duration = Duration::from_millis(5);

/// How often a job is told, a tick apart, that it takes long.
pub(crate) const TOLD: u8 = 3;

/// Threads without work end after this long.
const IDLE: Duration = Duration::from_secs(10);

/// Something to run.
pub(crate) trait Job: Send + Sync + 'static {
    fn run(self: Arc<Self>);

    /// Those of one lane take turns with those of others, and hold no more than a part of the threads.
    fn lane(&self) -> Option<u64> {
        None
    }

    /// Called, [`TOLD`] times for each run, when the run takes longer than [`STALL`]: what it was
    /// to do next should be handed to another thread. The first time, what it does at the moment may
    /// have begun just now; by the second, it has not.
    fn stalled(self: Arc<Self>) {}
}

/// Whose turn it is to poll one future: one thread at a time, and again after each wake.
#[derive(Debug)]
pub(crate) struct Turn(AtomicU8);

impl Turn {
    /// Nobody polls: the future waits to be woken.
    const IDLE: u8 = 0;
    /// The executor will, when the job's turn comes.
    const QUEUED: u8 = 1;
    /// A thread polls right now.
    const RUNNING: u8 = 2;
    /// A thread polls right now, and the future was woken meanwhile.
    const WOKEN: u8 = 3;
    /// Nobody ever will: it is over.
    const OVER: u8 = 4;

    /// The future waits for the executor, or for whoever made it, to poll it first.
    pub(crate) fn queued() -> Self {
        Self(AtomicU8::new(Self::QUEUED))
    }

    /// The future was woken. Whether it must be queued now.
    pub(crate) fn wake(&self) -> bool {
        let mut now = self.0.load(Ordering::SeqCst);
        loop {
            let next = match now {
                Self::IDLE => Self::QUEUED,
                Self::RUNNING => Self::WOKEN,
                _ => return false,
            };
            match self.0.compare_exchange(now, next, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return next == Self::QUEUED,
                Err(changed) => now = changed,
            }
        }
    }

    /// The calling thread polls now.
    pub(crate) fn begin(&self) {
        self.0.store(Self::RUNNING, Ordering::SeqCst);
    }

    /// The poll gave nothing. Whether the future was woken meanwhile, and must be queued again.
    pub(crate) fn pause(&self) -> bool {
        let (running, idle) = (Self::RUNNING, Self::IDLE);
        let paused = self.0.compare_exchange(running, idle, Ordering::SeqCst, Ordering::SeqCst);
        if paused.is_err() {
            self.0.store(Self::QUEUED, Ordering::SeqCst);
        }
        paused.is_err()
    }

    /// The future is over.
    pub(crate) fn end(&self) {
        self.0.store(Self::OVER, Ordering::SeqCst);
    }
}

/// Runs jobs in the order in which they were pushed, those of several lanes in turn. Ends its threads when dropped.
pub(crate) struct Executor(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    work: Condvar,
    monitor: Condvar,
    runtime: Handle,
    /// How many jobs run at a time while none of them blocks.
    parallelism: usize,
    max_threads: usize,
}

#[derive(Default)]
struct State {
    queue: Turns<Arc<dyn Job>>,
    /// What each thread runs, by the thread's place; places of threads that have ended are taken again.
    running: Vec<Option<RunningJob>>,
    /// Places that no thread has.
    free: Vec<usize>,
    threads: usize,
    idle: usize,
    /// One of those that are idle has been woken, and is about to look at the queue.
    woken: bool,
    blocked: usize,
    /// How often the system has refused a thread since it last gave one.
    refused: u64,
    monitor: Monitor,
    closed: bool,
}

#[derive(Default, Clone, Copy, PartialEq)]
enum Monitor {
    #[default]
    None,
    Watching,
    Parked,
}

struct RunningJob {
    job: Arc<dyn Job>,
    since: Instant,
    blocked: bool,
    told: u8,
}

impl Executor {
    /// An executor whose threads enter `runtime`, and whose blocking jobs may hold `max_threads`.
    pub(crate) fn new(runtime: Handle, max_threads: usize) -> Self {
        let parallelism = thread::available_parallelism().map_or(2, Into::into);
        // One lane leaves a part of the threads to the others, also where all it runs blocks.
        let queue = Turns::with_share((max_threads / 4).saturating_mul(3).max(1));
        Self(Arc::new(Shared {
            state: Mutex::new(State { queue, ..State::default() }),
            work: Condvar::new(),
            monitor: Condvar::new(),
            runtime,
            parallelism,
            max_threads: max_threads.max(1),
        }))
    }

    /// How many jobs run at a time while none of them blocks.
    pub(crate) fn parallelism(&self) -> usize {
        self.0.parallelism
    }

    pub(crate) fn push(&self, job: Arc<dyn Job>) {
        #[cfg(test)]
        if crate::chaos::is_simulated() {
            return self.push_simulated(job);
        }
        let mut state = lock(&self.0.state);
        if state.closed {
            return;
        }
        state.queue.push(job.lane(), job);
        let woken = self.0.summon(&mut state);
        let watching = self.0.watch(&mut state);
        // Without the lock: who wakes up needs it at once.
        drop(state);
        if woken {
            self.0.work.notify_one();
        }
        if watching {
            self.0.monitor.notify_one();
        }
    }
}

#[cfg(test)]
impl Executor {
    /// In a simulation there is one thread, which runs a job in its turn or a little later.
    fn push_simulated(&self, job: Arc<dyn Job>) {
        let shared = Arc::downgrade(&self.0);
        Handle::current().spawn(async move {
            crate::chaos::dawdle().await;
            let open = shared.upgrade().is_some_and(|shared| !lock(&shared.state).closed);
            if open {
                job.run();
            }
        });
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.closed = true;
        let queue = std::mem::take(&mut state.queue);
        drop(state);
        self.0.work.notify_all();
        self.0.monitor.notify_all();
        // Dropped without the lock: a job's drop may be the user's.
        drop(queue);
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.0.state);
        f.debug_struct("Executor")
            .field("threads", &state.threads)
            .field("blocked", &state.blocked)
            .field("queued", &state.queue.ready())
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn spawn(self: &Arc<Self>, state: &mut State) {
        if state.threads >= self.max_threads {
            return;
        }
        let shared = self.clone();
        let spawned =
            thread::Builder::new().name("dp-worker".to_owned()).spawn(move || shared.work());
        match spawned {
            Ok(_) => {
                state.threads += 1;
                let refused = std::mem::take(&mut state.refused);
                if refused > 1 {
                    tracing::warn!(
                        "there is a thread for methods again, after {refused} attempts to start one"
                    );
                }
            }
            // The threads that are there go on with what is queued.
            Err(error) => {
                state.refused += 1;
                if state.refused == 1 {
                    tracing::warn!(
                        "cannot start another thread for methods: {error}; calls wait for the {} that \
                         are there (see `ulimit -u`, or the container's limit of processes; said once)",
                        state.threads
                    );
                }
            }
        }
    }

    /// Sees to it that the monitor looks at what is running. Whether the caller has to wake it, once
    /// `state` is unlocked.
    fn watch(self: &Arc<Self>, state: &mut State) -> bool {
        match state.monitor {
            Monitor::Watching => false,
            Monitor::Parked => {
                state.monitor = Monitor::Watching;
                true
            }
            Monitor::None => {
                let shared = self.clone();
                let name = "dp-monitor".to_owned();
                let monitor = move || {
                    keep_up_thread("the monitor of blocked methods", || shared.clone().monitor());
                };
                if thread::Builder::new().name(name).spawn(monitor).is_ok() {
                    state.monitor = Monitor::Watching;
                }
                false
            }
        }
    }

    /// Sees to it that somebody takes what is queued. Whether the caller has to wake a thread, once
    /// `state` is unlocked.
    ///
    /// One thread is woken at a time, and wakes the next if it finds more than it takes: jobs that come
    /// one after another, and take less than waking a thread does, are all for the first.
    fn summon(self: &Arc<Self>, state: &mut State) -> bool {
        if state.woken {
            return false;
        }
        state.woken = state.idle > 0;
        if !state.woken && state.threads - state.blocked < self.parallelism {
            self.spawn(state);
        }
        state.woken
    }

    fn work(self: Arc<Self>) {
        let _context = self.runtime.enter();
        let mut state = lock(&self.state);
        let place = state.free.pop().unwrap_or(state.running.len());
        if place == state.running.len() {
            state.running.push(None);
        }
        let mut ended = None;
        loop {
            if let Some(job) = state.queue.pop() {
                let lane = job.lane();
                let woken = state.queue.ready() > 0 && self.summon(&mut state);
                let since = Instant::now();
                state.running[place] =
                    Some(RunningJob { job: job.clone(), since, blocked: false, told: 0 });
                drop(state);
                if woken {
                    self.work.notify_one();
                }
                drop_job(&mut ended);
                // Jobs catch what user code throws; this keeps the count right even if one did not.
                let _ = catch_unwind(AssertUnwindSafe(|| job.run()));
                state = lock(&self.state);
                state.queue.handle_end(lane);
                ended = state.running[place].take();
                if ended.as_ref().is_some_and(|running| running.blocked) {
                    state.blocked -= 1;
                    // Threads that stood in for this one may now be too many.
                    let too_many = state.threads - state.blocked > self.parallelism;
                    if too_many && state.queue.ready() == 0 {
                        break;
                    }
                }
            } else if ended.is_some() {
                drop(state);
                // Without the lock: this may be the last handle of the job, and of all that it
                // holds, the user's worker and this executor among it.
                drop_job(&mut ended);
                state = lock(&self.state);
            } else if state.closed {
                break;
            } else {
                state.idle += 1;
                let (woken, timeout) =
                    self.work.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
                state = woken;
                state.idle -= 1;
                state.woken = false;
                if timeout.timed_out() && state.queue.ready() == 0 {
                    break;
                }
            }
        }
        state.free.push(place);
        state.threads -= 1;
        drop(state);
        drop_job(&mut ended);
    }

    fn monitor(self: Arc<Self>) {
        let mut state = lock(&self.state);
        while !state.closed {
            let watched = state.running.iter().flatten().any(|running| running.told < TOLD);
            if !watched && state.queue.ready() == 0 {
                state.monitor = Monitor::Parked;
                state = self.park(state);
                continue;
            }
            let (woken, _) =
                self.monitor.wait_timeout(state, STALL).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            let stalled = state.mark_blocked();
            if !stalled.is_empty() {
                drop(state);
                stalled.into_iter().for_each(Job::stalled);
                state = lock(&self.state);
            }
            self.stand_in(&mut state);
        }
        state.monitor = Monitor::None;
    }

    fn park<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        while state.monitor == Monitor::Parked && !state.closed {
            state = self.monitor.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    /// Starts threads in place of those that are blocked, while there is something for them.
    fn stand_in(self: &Arc<Self>, state: &mut State) {
        let free = state.threads - state.blocked;
        // Where many block, many more will: the number doubles, so that hundreds of blocking
        // methods all run within a few ticks.
        let wanted = self.parallelism.max(state.blocked).saturating_sub(free);
        for _ in 0..wanted.min(state.queue.ready().saturating_sub(state.idle)) {
            self.spawn(state);
        }
    }
}

/// Drops what may be the last handle of a job, and of the user's values in it.
fn drop_job(ended: &mut Option<RunningJob>) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(ended.take())));
}

impl State {
    fn mark_blocked(&mut self) -> Vec<Arc<dyn Job>> {
        let mut stalled = Vec::new();
        for running in self.running.iter_mut().flatten() {
            if running.told < TOLD && running.since.elapsed() >= STALL {
                self.blocked += usize::from(!running.blocked);
                running.blocked = true;
                running.told += 1;
                stalled.push(running.job.clone());
            }
        }
        stalled
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::mpsc;

    use super::*;

    struct Closure<F>(F);

    impl<F: Fn() + Send + Sync + 'static> Job for Closure<F> {
        fn run(self: Arc<Self>) {
            (self.0)();
        }
    }

    fn executor() -> (tokio::runtime::Runtime, Executor) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let executor = Executor::new(runtime.handle().clone(), 1_000);
        (runtime, executor)
    }

    #[test]
    fn jobs_that_block_each_get_a_thread() {
        const JOBS: usize = 100;
        let (_runtime, executor) = executor();
        // Nobody passes the barrier before all have reached it.
        let barrier = Arc::new(Barrier::new(JOBS + 1));
        for _ in 0..JOBS {
            let barrier = barrier.clone();
            executor.push(Arc::new(Closure(move || {
                barrier.wait();
            })));
        }
        barrier.wait();
    }

    #[test]
    fn a_job_may_hold_the_last_handle_of_its_executor() {
        struct Holds(Mutex<Option<Arc<Executor>>>, mpsc::Sender<()>);
        impl Job for Holds {
            fn run(self: Arc<Self>) {}
        }
        impl Drop for Holds {
            fn drop(&mut self) {
                drop(lock(&self.0).take());
                self.1.send(()).unwrap();
            }
        }
        let (_runtime, executor) = executor();
        let executor = Arc::new(executor);
        let (dropped, wait) = mpsc::channel();
        executor.push(Arc::new(Holds(Mutex::new(Some(executor.clone())), dropped)));
        drop(executor);
        wait.recv_timeout(Duration::from_secs(30)).unwrap();
    }

    #[test]
    fn a_job_finds_the_runtime() {
        let (_runtime, executor) = executor();
        let (sender, receiver) = mpsc::channel();
        executor
            .push(Arc::new(Closure(move || sender.send(Handle::try_current().is_ok()).unwrap())));
        assert!(receiver.recv().unwrap());
    }

    #[test]
    fn a_job_that_panics_leaves_the_threads_usable() {
        let (_runtime, executor) = executor();
        let (sender, receiver) = mpsc::channel();
        for n in 0..20 {
            let sender = sender.clone();
            executor.push(Arc::new(Closure(move || {
                assert!(n % 2 == 0, "an expected panic");
                sender.send(n).unwrap();
            })));
        }
        drop(sender);
        assert_eq!(receiver.iter().take(10).count(), 10);
    }

    #[test]
    fn a_stalled_job_is_told_as_often_as_promised() {
        struct Stalls(mpsc::Sender<&'static str>, Mutex<mpsc::Receiver<()>>);
        impl Job for Stalls {
            fn run(self: Arc<Self>) {
                lock(&self.1).recv().unwrap();
                self.0.send("ran").unwrap();
            }
            fn stalled(self: Arc<Self>) {
                self.0.send("stalled").unwrap();
            }
        }
        let (_runtime, executor) = executor();
        let (events, seen) = mpsc::channel();
        let (go, wait) = mpsc::channel();
        executor.push(Arc::new(Stalls(events, Mutex::new(wait))));
        for _ in 0..TOLD {
            assert_eq!(seen.recv().unwrap(), "stalled");
        }
        go.send(()).unwrap();
        assert_eq!(seen.recv().unwrap(), "ran");
        assert!(seen.recv_timeout(STALL * 5).is_err());
    }

    #[test]
    fn a_lane_that_blocks_leaves_threads_to_the_others() {
        struct Blocks(u64, Arc<Barrier>);
        impl Job for Blocks {
            fn run(self: Arc<Self>) {
                self.1.wait();
            }
            fn lane(&self) -> Option<u64> {
                Some(self.0)
            }
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let executor = Executor::new(runtime.handle().clone(), 8);
        // Three times as many as there are threads, which wait until all are let go.
        let never = Arc::new(Barrier::new(1_000));
        (0..24).for_each(|_| executor.push(Arc::new(Blocks(1, never.clone()))));
        let met = Arc::new(Barrier::new(2));
        executor.push(Arc::new(Blocks(2, met.clone())));
        // It is passed only if the other lane's job runs.
        met.wait();
    }
}
