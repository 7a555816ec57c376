//! Those who call, in every way that there is, and look at what comes back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::file::File;
use super::subject::{Answer, Ledger, Subject, line};
use super::world::HANG;
use super::{below, millis, one_in};
use crate::engine::Fleet;
use crate::{Broadcast, CallError, Executed, MasterWorker, Outcome};

/// A deadline is met when the call ends so soon behind it.
const SOON: Duration = Duration::from_millis(5);

/// Calls again and again.
pub(super) async fn call(ledger: Arc<Ledger>, server: u64, fleet: Fleet<Subject>, file: Arc<File>) {
    let mut master = fleet.master();
    for _ in 0..3 + below(8) {
        sleep(millis(0, 300)).await;
        // Now and then somebody calls by an old roster.
        if !one_in(4) {
            master = fleet.master();
        }
        let caller = Caller { ledger: &ledger, server, master: &master, file: &file };
        if timeout(HANG, caller.call()).await.is_err() {
            ledger.violation("a call does not end");
        }
    }
}

struct Caller<'a> {
    ledger: &'a Ledger,
    server: u64,
    master: &'a MasterWorker<Subject>,
    file: &'a File,
}

impl Caller<'_> {
    async fn call(&self) {
        let (call, short) = (self.ledger.next_call(), below(60));
        let master = self.master;
        let kind = below(20);
        self.ledger.tell(format!("call {call} of kind {kind} to {} workers", master.len()));
        match kind {
            0 => self.outcomes(call, master.work(call, short)).await,
            1 => self.in_time(call, master.work(call, 500), millis(0, 600)).await,
            2 => self.in_time(call, master.endless(call), millis(1, 2_000)).await,
            3 => self.stream(call, master.work(call, short)).await,
            4 => self.outcomes(call, master.each(|worker| worker.change(call, short))).await,
            5 => self.in_time(call, master.change(call, 40), millis(1, 100)).await,
            6 => self.one(call, short).await,
            7 => {
                // Dropped under way.
                let _ = timeout(millis(0, 100), master.tidy(call, 1_000).outcomes()).await;
            }
            8 => {
                let _ = timeout(millis(0, 100), master.endless(call).outcomes()).await;
            }
            9 => self.detached(call, short).await,
            10 | 11 => {
                let (rounds, survivors) = (1 + below(5) as u32, one_in(2));
                let limit = one_in(2).then(|| below(400));
                let meeting = master.meet(call, rounds, survivors, limit);
                match one_in(3) {
                    true => self.in_time(call, meeting, millis(1, 60)).await,
                    false => self.outcomes(call, meeting).await,
                }
            }
            12 => self.outcomes(call, master.ask(call)).await,
            13 => self.outcomes(call, master.boom(call)).await,
            14 => self.map(short).await,
            15 => self.outcomes(call, master.work(call, short).postpone()).await,
            16 => self.gather().await,
            _ => self.file.store(self.ledger, self.master).await,
        }
    }

    async fn outcomes(&self, call: u64, broadcast: Broadcast<Answer>) {
        let outcomes = broadcast.outcomes().await.into_iter().collect::<Vec<_>>();
        self.look_at(call, &outcomes);
    }

    async fn in_time(&self, call: u64, broadcast: Broadcast<Answer>, limit: Duration) {
        let start = Instant::now();
        self.outcomes(call, broadcast.timeout(limit)).await;
        if start.elapsed() > limit + SOON {
            let after = start.elapsed();
            self.ledger.violation(format!("call {call} ends after {after:?}, not {limit:?}"));
        }
    }

    async fn stream(&self, call: u64, broadcast: Broadcast<Answer>) {
        let mut stream = broadcast.stream();
        let mut outcomes = Vec::new();
        while let Some(outcome) = stream.next().await {
            outcomes.push(outcome);
        }
        outcomes.sort_by_key(|outcome| outcome.worker.index());
        self.look_at(call, &outcomes);
    }

    async fn one(&self, call: u64, short: u64) {
        let workers = self.master.workers();
        if workers.is_empty() {
            return;
        }
        let worker = &workers[below(workers.len() as u64) as usize];
        let result = worker.change(call, short).await;
        self.look_at_one(call, worker.info().id().as_str(), worker.info().index(), &result);
    }

    async fn detached(&self, call: u64, short: u64) {
        self.master.work(call, short).detach().await;
        for _ in 0..below(12) {
            self.master.work(self.ledger.next_call(), below(20)).detach().await;
        }
        let _ = self.master.synchro("all is done").await;
    }

    async fn map(&self, short: u64) {
        let items: Vec<u64> = (0..1 + below(9)).map(|_| self.ledger.next_call()).collect();
        let work = |worker: &crate::RemoteWorker<Subject>, call| worker.work(call, short);
        let mapped = self.master.map(items.iter().copied(), work).await;
        if let Ok(answers) = mapped {
            let done: Vec<u64> = answers.iter().map(|(call, ..)| *call).collect();
            if done != items {
                self.ledger.violation(format!("a map of {items:?} gives {done:?}"));
            }
        }
    }

    /// What a worker gives as its record is all that it has recorded.
    async fn gather(&self) {
        for outcome in self.master.gather_results().outcomes().await {
            let Ok(lines) = outcome.result else { continue };
            let worker = outcome.worker.id().as_str();
            let lines: Vec<String> = lines.into_iter().map(|line| line.message).collect();
            let Some(process) = lines.first().and_then(|first| process_of(first)) else { continue };
            if !self.ledger.recorded(process, worker).starts_with(&lines) {
                self.ledger.violation(format!("{worker} has recorded something else: {lines:?}"));
            }
        }
    }

    fn look_at(&self, call: u64, outcomes: &[Outcome<Answer>]) {
        let asked = self.master.workers().iter().map(|worker| worker.info().id());
        if !asked.eq(outcomes.iter().map(|outcome| outcome.worker.id())) {
            let told: Vec<_> = outcomes.iter().map(|outcome| outcome.worker.id()).collect();
            self.ledger.violation(format!("call {call} has the outcomes of {told:?}"));
        }
        for outcome in outcomes {
            let (worker, index) = (outcome.worker.id().as_str(), outcome.worker.index());
            self.look_at_one(call, worker, index, &outcome.result);
        }
    }

    fn look_at_one(
        &self,
        call: u64,
        worker: &str,
        index: usize,
        result: &Result<Answer, CallError>,
    ) {
        let on = self.ledger.executions(call, worker);
        self.ledger.tell(format!("call {call} on {worker}: {result:?}"));
        let executed = match result {
            Ok((of, at, process)) => {
                if (*of, *at, &[*process][..]) != (call, index, &on[..]) {
                    let answer = result.as_ref().ok();
                    self.ledger.violation(format!(
                        "call {call} to {worker} at {index} gives {answer:?}, executed on {on:?}"
                    ));
                }
                Executed::Yes
            }
            Err(error) => {
                if error.to_string().contains("the worker is being built") {
                    self.ledger.violation(format!("call {call} finds {worker} in use: {error}"));
                }
                self.ledger.failures.fetch_add(1, Ordering::Relaxed);
                error.executed()
            }
        };
        match (executed, on.first()) {
            (Executed::Yes, Some(process)) => {
                let line = line(call, *process);
                self.ledger.handle_answered(self.server, worker, line);
            }
            (Executed::Yes, None) => {
                self.ledger.violation(format!("call {call} was not executed by {worker}"));
            }
            (Executed::No, _) => self.ledger.handle_never(call, worker),
            (Executed::Maybe, _) => {}
        }
    }
}

/// The process that recorded a line.
pub(super) fn process_of(line: &str) -> Option<u64> {
    line.rsplit(' ').next()?.parse().ok()
}

/// Whether all of these differ.
pub(super) fn all_differ(lines: &[String]) -> bool {
    lines.iter().collect::<BTreeSet<_>>().len() == lines.len()
}
