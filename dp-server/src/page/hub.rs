//! Takes snapshots while somebody watches, and gives each browser the latest one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use dp_core::engine::{self, FleetEvent};
use dp_core::{DistributedWorker, MasterWorker, Metric, WorkerId};
use hyper::body::Bytes;
use serde_json::{Map, Value, json};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::series::{Reading, Series};
use super::snapshot::{self, Cell, Snapshot};
use crate::report::Report;
use crate::run::Runner;

/// So many browsers may watch at a time.
const MAX_WATCHERS: usize = 64;
/// How often what the workers do is looked at, and how often they are asked for their metrics.
const LOOK: Duration = Duration::from_millis(500);
const ASK: Duration = Duration::from_millis(950);
/// How long they may take to give their metrics; who does not is left out of this point.
const ANSWER: Duration = Duration::from_millis(900);
/// So many of the workers that were lost are shown.
const MOST_LOST: usize = 4_096;

/// What browsers are given. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Hub {
    frames: watch::Receiver<Frame>,
    watchers: Arc<AtomicUsize>,
    wake: Arc<Notify>,
    comings: Arc<Comings>,
}

/// Who has come and gone: clients, since the server began.
#[derive(Debug, Default)]
struct Comings {
    arrivals: AtomicU64,
    reconnects: AtomicU64,
    departures: AtomicU64,
}

/// A snapshot, encoded once for all browsers: whole, and as the changes since the one before.
#[derive(Debug, Clone, Default)]
struct Frame {
    number: u64,
    whole: Bytes,
    changes: Bytes,
}

/// Somebody watches, until this is dropped.
struct Watching(Arc<AtomicUsize>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Hub {
    /// Starts it on this runtime, as one of `tasks`.
    pub(super) fn start<W: DistributedWorker>(runner: Runner<W>, tasks: &mut JoinSet<()>) -> Self {
        let (sender, frames) = watch::channel(Frame::default());
        let comings = Arc::new(Comings::default());
        let (watchers, wake) = (Arc::default(), Arc::default());
        let hub = Self { frames, watchers, wake, comings: comings.clone() };
        let (watchers, wake) = (hub.watchers.clone(), hub.wake.clone());
        // Before anybody can join: who does is heard of.
        let mut first = Some(runner.fleet.events());
        let sender = Arc::new(sender);
        tasks.spawn(engine::keep_up("what the live page shows", move || {
            let events = first.take().unwrap_or_else(|| runner.fleet.events());
            let scene = Scene::new(runner.clone(), events, sender.clone(), comings.clone());
            let (watchers, wake) = (watchers.clone(), wake.clone());
            async move { scene.play(&watchers, &wake).await }
        }));
        hub
    }

    /// How many browsers watch.
    pub(super) fn watchers(&self) -> usize {
        self.watchers.load(Ordering::Relaxed)
    }

    /// How many clients have joined, how many of them had been there before, and how many left.
    pub(super) fn comings(&self) -> (u64, u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Comings { arrivals, reconnects, departures } = &*self.comings;
        (count(arrivals), count(reconnects), count(departures))
    }

    /// Events for a browser, the first of which is all of it; `None` where there are too many
    /// already. One that is slow misses frames, and is given a whole one then.
    pub(super) fn watch(&self) -> Option<mpsc::Receiver<Bytes>> {
        let one_more = |watchers| (watchers < MAX_WATCHERS).then_some(watchers + 1);
        let counted = self.watchers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        counted.ok()?;
        let watching = Watching(self.watchers.clone());
        // One frame waits at the most: the next is fetched when that is written.
        let (sender, receiver) = mpsc::channel(1);
        let mut frames = self.frames.clone();
        frames.mark_unchanged();
        self.wake.notify_one();
        tokio::spawn(async move {
            let _watching = watching;
            let mut last = None;
            loop {
                tokio::select! {
                    changed = frames.changed() => if changed.is_err() { return },
                    () = sender.closed() => return,
                }
                let frame = frames.borrow_and_update().clone();
                let follows = last.is_some_and(|last: u64| last + 1 == frame.number);
                last = Some(frame.number);
                let bytes = if follows { frame.changes } else { frame.whole };
                if sender.send(bytes).await.is_err() {
                    return;
                }
            }
        });
        Some(receiver)
    }
}

/// What is shown, and how it changes.
struct Scene<W: DistributedWorker> {
    events: broadcast::Receiver<FleetEvent>,
    runner: Runner<W>,
    frames: Arc<watch::Sender<Frame>>,
    comings: Arc<Comings>,
    /// Clients that are gone.
    departed: BTreeSet<String>,
    shown: Snapshot,
    lost: BTreeMap<WorkerId, Cell>,
    past: Value,
    /// The number of the run that the charts are of.
    run: u64,
    series: Series,
    totals: Value,
    /// How many workers the totals are of, and how many there are: where that differs.
    partial: Value,
    /// Points that no frame had yet.
    points: Vec<Value>,
    fresh: bool,
    number: u64,
}

impl<W: DistributedWorker> Scene<W> {
    fn new(
        runner: Runner<W>,
        events: broadcast::Receiver<FleetEvent>,
        frames: Arc<watch::Sender<Frame>>,
        comings: Arc<Comings>,
    ) -> Self {
        // Nobody has the frame before the next: everybody is given a whole one.
        let number = frames.borrow().number + 1;
        Self {
            events,
            runner,
            frames,
            comings,
            departed: BTreeSet::new(),
            shown: Snapshot::default(),
            lost: BTreeMap::new(),
            past: json!([]),
            run: 0,
            series: Series::default(),
            totals: json!([]),
            partial: Value::Null,
            points: Vec::new(),
            fresh: false,
            number,
        }
    }

    async fn play(mut self, watchers: &AtomicUsize, wake: &Notify) {
        let mut runs = self.runner.runs.watch();
        runs.mark_changed();
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asking: JoinSet<Answers> = JoinSet::new();
        let mut asked: Option<Instant> = None;
        loop {
            let watched = watchers.load(Ordering::Relaxed) > 0;
            tokio::select! {
                event = self.events.recv() => match event {
                    Ok(event) => {
                        self.note(event);
                        continue;
                    }
                    Err(RecvError::Lagged(_)) => {
                        self.missed_events();
                        continue;
                    }
                    // The server is down.
                    Err(RecvError::Closed) => return,
                },
                changed = runs.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.turn_page(&runs.borrow_and_update());
                }
                Some(answer) = asking.join_next() => {
                    match answer {
                        Ok(answers) => self.measured(answers),
                        Err(error) => tracing::error!(
                            "metrics could not be had for the live page, which is a bug in dp: {error}"
                        ),
                    }
                }
                () = wake.notified() => {}
                _ = look.tick(), if watched => {}
            }
            if watchers.load(Ordering::Relaxed) == 0 {
                continue;
            }
            // Before the run is under way, workers have what they recorded before it.
            let current = runs.borrow().current.as_ref().filter(|run| run.under_way).cloned();
            let due = asked.is_none_or(|asked| asked.elapsed() >= ASK);
            if let Some(run) = current.filter(|run| !run.gathering)
                && due
                && asking.is_empty()
            {
                asked = Some(Instant::now());
                let (master, at) = (self.runner.fleet.master(), snapshot::seconds(run.since));
                asking.spawn(Answers::gather::<W>(master, run.number, at));
            }
            self.show();
        }
    }

    /// Who came, and who is lost.
    fn note(&mut self, event: FleetEvent) {
        match event {
            FleetEvent::Arrived { client, workers, .. } => {
                self.comings.arrivals.fetch_add(1, Ordering::Relaxed);
                if self.departed.remove(&client) {
                    self.comings.reconnects.fetch_add(1, Ordering::Relaxed);
                }
                for worker in workers {
                    self.lost.remove(worker.id());
                }
            }
            FleetEvent::Departed { client, workers, reason, .. } => {
                self.comings.departures.fetch_add(1, Ordering::Relaxed);
                if self.departed.len() < MOST_LOST {
                    self.departed.insert(client);
                }
                for worker in workers {
                    self.series.left(worker.id());
                    let known = self.shown.cell(worker.id());
                    let cell = snapshot::lost(&reason, worker.address(), known);
                    if self.lost.len() < MOST_LOST {
                        self.lost.insert(worker.id().clone(), cell);
                    }
                }
            }
            _ => {}
        }
    }

    /// More came and went than is kept.
    fn missed_events(&mut self) {
        let here = self.runner.fleet.master();
        for worker in here.workers() {
            self.series.left(worker.info().id());
        }
    }

    /// A run has begun, or is over.
    fn turn_page(&mut self, runs: &crate::runs::RunState) {
        self.past = snapshot::past(runs);
        match (&runs.current, runs.past.back()) {
            (Some(current), _) if current.number != self.run => {
                self.run = current.number;
                let here = self.runner.fleet.master();
                let here = here.workers().iter().map(|worker| worker.info().id().clone());
                self.series = Series::new(here.collect());
                (self.totals, self.partial) = (json!([]), Value::Null);
                self.points.clear();
                self.fresh = true;
                // Those that were lost before have no part in it.
                self.lost.clear();
            }
            (None, Some(last)) if last.number >= self.run => {
                let roster = || last.report.roster().map(|worker| worker.id().clone());
                if last.number > self.run {
                    self.run = last.number;
                    self.series = Series::new(roster().collect());
                    self.fresh = true;
                    self.lost.clear();
                }
                self.read(&of_all(&last.report));
            }
            _ => {}
        }
    }

    fn measured(&mut self, answers: Answers) {
        // Who left meanwhile may be back with another record.
        loop {
            match self.events.try_recv() {
                Ok(event) => self.note(event),
                Err(TryRecvError::Lagged(_)) => self.missed_events(),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        let current = self.runner.runs.watch().borrow().current.clone();
        let goes_on = current.is_some_and(|run| run.number == answers.run && !run.gathering);
        if goes_on && answers.run == self.run {
            let Answers { at, asked, answered, metrics, .. } = answers;
            self.read(&Reading { at, asked, answered, metrics: &metrics });
        }
    }

    fn read(&mut self, reading: &Reading<'_>) {
        self.points.extend(self.series.add(reading));
        self.totals = snapshot::totals(reading.metrics);
        let (answered, asked) = (reading.answered.len(), reading.asked.len());
        self.partial = if answered < asked { json!([answered, asked]) } else { Value::Null };
    }

    /// A frame of what there is now.
    fn show(&mut self) {
        let mut now =
            Snapshot::take(&self.runner, &self.lost, &self.shown, &self.past, &self.totals);
        now.insert("partial", self.partial.clone());
        let mut changes = now.changes(&self.shown);
        let points = std::mem::take(&mut self.points);
        if std::mem::take(&mut self.fresh) {
            // Of another run: all points are those of this one.
            changes.insert("series".to_owned(), self.series.points());
        } else if !points.is_empty() {
            changes.insert("points".to_owned(), points.into());
        }
        let mut whole = now.full(&self.runner);
        whole.insert("series".to_owned(), self.series.points());
        self.shown = now;
        self.number += 1;
        let (whole, changes) = (event(whole), event(changes));
        self.frames.send_replace(Frame { number: self.number, whole, changes });
    }
}

/// What the workers gave of their metrics.
struct Answers {
    run: u64,
    /// When they were asked, in seconds since the run began.
    at: f64,
    asked: BTreeSet<WorkerId>,
    answered: BTreeSet<WorkerId>,
    metrics: Vec<Metric>,
}

impl Answers {
    async fn gather<W: DistributedWorker>(master: MasterWorker<W>, run: u64, at: f64) -> Self {
        let (metrics, failures) = master.gather_metrics(ANSWER).await;
        let asked = master.workers().iter().map(|worker| worker.info().id().clone());
        let asked: BTreeSet<WorkerId> = asked.collect();
        let mut answered = asked.clone();
        failures.iter().for_each(|(worker, _)| _ = answered.remove(worker.id()));
        Self { run, at, asked, answered, metrics }
    }
}

/// What a run came to in the end.
fn of_all(report: &Report) -> Reading<'_> {
    let asked: BTreeSet<WorkerId> = report.roster().map(|worker| worker.id().clone()).collect();
    let mut answered = asked.clone();
    report.missing().for_each(|worker| _ = answered.remove(worker.id()));
    Reading { at: report.elapsed().as_secs_f64(), asked, answered, metrics: report.metrics() }
}

fn event(mut data: Map<String, Value>) -> Bytes {
    data.insert("now".to_owned(), json!(jiff::Timestamp::now().as_millisecond()));
    // JSON has no line ends of its own.
    format!("data: {}\n\n", Value::Object(data)).into()
}
