//! The worker that is called, and the book in which everything that happens is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::file::Line;
use crate::sync::lock;
use crate::{BarrierError, Context, WorkerInfo, distributed_worker};

/// Everything that happens, whoever sees it.
#[derive(Debug)]
pub(super) struct Ledger {
    start: Instant,
    events: Mutex<(DefaultHasher, Vec<String>)>,
    violations: Mutex<Vec<String>>,
    /// On which processes a call was executed, by its number and the worker.
    executions: Mutex<BTreeMap<(u64, String), Vec<u64>>>,
    /// What each worker of each process has recorded.
    records: Mutex<BTreeMap<(u64, String), Vec<String>>>,
    /// Lines of which the server must know: the call that recorded them was answered to it.
    answered: Mutex<BTreeSet<(u64, String, String)>>,
    /// Calls that were not executed, as their callers were told.
    never: Mutex<BTreeSet<(u64, String)>>,
    /// What servers have stored.
    pub(super) file: Mutex<Vec<Line>>,
    next_call: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) rejoined: AtomicU64,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            events: Mutex::default(),
            violations: Mutex::default(),
            executions: Mutex::default(),
            records: Mutex::default(),
            answered: Mutex::default(),
            never: Mutex::default(),
            file: Mutex::default(),
            next_call: AtomicU64::new(1),
            failures: AtomicU64::new(0),
            rejoined: AtomicU64::new(0),
        }
    }

    /// Something happened.
    pub(super) fn tell(&self, event: impl Into<String>) {
        let event = format!("{:>12.6} {}", self.start.elapsed().as_secs_f64(), event.into());
        let mut events = lock(&self.events);
        event.hash(&mut events.0);
        events.1.push(event);
    }

    /// Something happened that must not.
    pub(super) fn violation(&self, what: impl Into<String>) {
        let what = what.into();
        self.tell(format!("VIOLATION {what}"));
        lock(&self.violations).push(what);
    }

    pub(super) fn next_call(&self) -> u64 {
        self.next_call.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn calls(&self) -> u64 {
        self.next_call.load(Ordering::Relaxed) - 1
    }

    /// The processes on which a worker executed a call.
    pub(super) fn executions(&self, call: u64, worker: &str) -> Vec<u64> {
        lock(&self.executions).get(&(call, worker.to_owned())).cloned().unwrap_or_default()
    }

    /// The server at `server` has the answer to a call that recorded a line.
    pub(super) fn handle_answered(&self, server: u64, worker: &str, line: String) {
        lock(&self.answered).insert((server, worker.to_owned(), line));
    }

    /// The caller is told that the call was not executed, and never will be.
    pub(super) fn handle_never(&self, call: u64, worker: &str) {
        lock(&self.never).insert((call, worker.to_owned()));
        if !self.executions(call, worker).is_empty() {
            self.violation(format!("call {call} counts as not executed by {worker}"));
        }
    }

    pub(super) fn answered(&self) -> BTreeSet<(u64, String, String)> {
        lock(&self.answered).clone()
    }

    pub(super) fn recorded(&self, process: u64, worker: &str) -> Vec<String> {
        lock(&self.records).get(&(process, worker.to_owned())).cloned().unwrap_or_default()
    }

    /// The fingerprint of the course, its events, and what was wrong.
    pub(super) fn close(&self) -> (u64, Vec<String>, Vec<String>) {
        let (hasher, told) = std::mem::take(&mut *lock(&self.events));
        (hasher.finish(), told, std::mem::take(&mut *lock(&self.violations)))
    }

    fn execute(&self, call: u64, process: u64, worker: &str) {
        self.tell(format!("{worker} of process {process} executes {call}"));
        if lock(&self.never).contains(&(call, worker.to_owned())) {
            self.violation(format!("{worker} executes call {call}, which counts as not executed"));
        }
        let mut executions = lock(&self.executions);
        let of = executions.entry((call, worker.to_owned())).or_default();
        of.push(process);
        if of.len() > 1 {
            let on = of.clone();
            drop(executions);
            self.violation(format!("{worker} executes call {call} again: on processes {on:?}"));
        }
    }

    fn record(&self, ctx: &Context<Subject>, call: u64, process: u64) {
        let worker = ctx.worker().id().to_string();
        let line = line(call, process);
        lock(&self.records).entry((process, worker)).or_default().push(line.clone());
        ctx.result(line);
    }
}

/// What a call records.
pub(super) fn line(call: u64, process: u64) -> String {
    format!("{call} on {process}")
}

/// What a call is answered, and on which process.
pub(super) type Answer = (u64, usize, u64);

/// What the server keeps.
#[derive(Debug)]
pub(super) struct Shared {
    ledger: Arc<Ledger>,
    next: AtomicU64,
}

impl Shared {
    pub(super) fn new(ledger: &Arc<Ledger>) -> Self {
        Self { ledger: ledger.clone(), next: AtomicU64::new(0) }
    }
}

#[derive(Debug)]
pub(super) struct Subject {
    ledger: Arc<Ledger>,
    process: u64,
    /// Whether the process is connected, or about to be.
    connected: Arc<AtomicBool>,
    alone: AtomicBool,
}

impl Subject {
    pub(super) fn new(ledger: &Arc<Ledger>, process: u64, connected: &Arc<AtomicBool>) -> Self {
        let (ledger, connected) = (ledger.clone(), connected.clone());
        Self { ledger, process, connected, alone: AtomicBool::new(true) }
    }

    fn begin(&self, ctx: &Context<Self>, call: u64) -> Answer {
        let worker = ctx.worker().id();
        self.ledger.execute(call, self.process, worker.as_str());
        if !self.connected.load(Ordering::SeqCst) {
            self.ledger.violation(format!("{worker} begins {call} when its connection has ended"));
        }
        self.ledger.record(ctx, call, self.process);
        (call, ctx.worker().index(), self.process)
    }
}

#[distributed_worker(server = Shared)]
impl Subject {
    /// Beside others.
    #[remote]
    pub(super) async fn work(&self, ctx: &Context<Self>, call: u64, millis: u64) -> Answer {
        let answer = self.begin(ctx, call);
        if millis > 0 {
            sleep(Duration::from_millis(millis)).await;
        }
        answer
    }

    /// Alone.
    #[remote]
    pub(super) async fn change(&mut self, ctx: &Context<Self>, call: u64, millis: u64) -> Answer {
        let answer = self.begin(ctx, call);
        if !self.alone.swap(false, Ordering::SeqCst) {
            self.ledger.violation(format!("call {call} is not alone on {}", ctx.worker().id()));
        }
        let alone = Alone(&self.alone);
        sleep(Duration::from_millis(millis)).await;
        drop(alone);
        answer
    }

    /// Sees to its own end when it is cancelled.
    #[remote]
    pub(super) async fn tidy(&self, ctx: &Context<Self>, call: u64, millis: u64) -> Answer {
        let answer = self.begin(ctx, call);
        tokio::select! {
            biased;
            () = ctx.cancelled() => sleep(Duration::from_millis(3)).await,
            () = sleep(Duration::from_millis(millis)) => {}
        }
        answer
    }

    #[remote]
    pub(super) async fn endless(&self, ctx: &Context<Self>, call: u64) -> Answer {
        self.begin(ctx, call);
        std::future::pending().await
    }

    /// Quietly: the message of a panic would stand in the tests' output.
    #[remote]
    pub(super) fn boom(&mut self, ctx: &Context<Self>, call: u64) -> Answer {
        self.begin(ctx, call);
        std::panic::resume_unwind(Box::new("on purpose"))
    }

    #[remote]
    pub(super) async fn meet(
        &self,
        ctx: &Context<Self>,
        call: u64,
        rounds: u32,
        survivors: bool,
        limit: Option<u64>,
    ) -> Result<Answer, BarrierError> {
        let answer = self.begin(ctx, call);
        for round in 0..rounds {
            let mut barrier = match round % 3 {
                2 => ctx.delay("delay"),
                _ => ctx.synchro("round"),
            };
            if survivors {
                barrier = barrier.survivors();
            }
            if let Some(limit) = limit {
                barrier = barrier.timeout(Duration::from_millis(limit));
            }
            barrier.await?;
        }
        Ok(answer)
    }

    #[remote]
    pub(super) async fn ask(&self, ctx: &Context<Self>, call: u64) -> anyhow::Result<Answer> {
        let answer = self.begin(ctx, call);
        for _ in 0..3 {
            ctx.server().next(call).timeout(Duration::from_secs(3)).await?;
        }
        Ok(answer)
    }

    #[on_server]
    async fn next(shared: &Shared, caller: &WorkerInfo, call: u64) -> u64 {
        shared.ledger.tell(format!("{} asks within {call}", caller.id()));
        sleep(Duration::from_millis(call % 40)).await;
        shared.next.fetch_add(1, Ordering::Relaxed)
    }
}

struct Alone<'a>(&'a AtomicBool);

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
