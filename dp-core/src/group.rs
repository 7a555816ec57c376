//! Workers as one: [`Group`], and the stub for one of them, [`Stub`].

use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::codec::Encoded;
use crate::error::{CallError, Decoded};
use crate::fleet::FleetRef;
use crate::fleet::calls::DetachedFailure;
use crate::fleet::left::MeasuredOfLost;
use crate::fleet::maps::MapCount;
use crate::fleet::pending::Pending;
use crate::fleet::request::{MethodCall, Payload, Request};
use crate::fleet::roster::{Audience, Roster};
use crate::id::{WorkerId, WorkerInfo};
use crate::json::JsonCallError;
use crate::map::Map;
use crate::metrics::{Merging, Metric, WorkerMetrics};
use crate::outcome::{DecodeAnswer, Outcome, decode_answer, fold};
use crate::record::{ResultLine, WorkerRecord};
use crate::worker::{DistributedWorker, RemoteWorker};
use crate::{
    Broadcast, BroadcastError, Call, FrequencyError, MasterWorker, WorkerCall, codec, gathered,
    system,
};

/// A group of workers: what every [`MasterWorker`] dereferences to.
///
/// Its roster is fixed: whoever joins later is not in it, and the calls to whoever leaves end in
/// [`CallError::Lost`] or [`CallError::NotSent`]. Cheap to clone.
pub struct Group<W: DistributedWorker>(Arc<Inner<W>>);

struct Inner<W: DistributedWorker> {
    fleet: FleetRef,
    roster: Arc<Roster>,
    state: Arc<W::Server>,
    /// Made when they are first asked for: many groups are only broadcast to.
    workers: OnceLock<Vec<RemoteWorker<W>>>,
}

/// The stub for one worker: what every [`RemoteWorker`] dereferences to.
pub struct Stub<W> {
    fleet: FleetRef,
    roster: Arc<Roster>,
    position: usize,
    worker: PhantomData<fn() -> W>,
}

/// Why a [`synchro`](Group::synchro) found that not everything went well.
///
/// Its message names each call that failed and the workers that it failed on, folded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}", describe(.failures))]
#[non_exhaustive]
pub struct SynchroError {
    /// The detached calls that failed since the last synchro, and the synchro itself where a worker
    /// could not be waited for.
    pub failures: Vec<DetachedFailure>,
}

fn describe(failures: &[DetachedFailure]) -> String {
    let entry = |failure: &'_ DetachedFailure| format!("{} {}", failure.method, failure.error);
    let entries = failures.iter().map(|failure| (failure.worker.id(), entry(failure)));
    let folded: Vec<String> =
        fold(entries).into_iter().map(|(ids, text)| format!("{ids} {text}")).collect();
    format!("{} calls failed: {}", failures.len(), folded.join("; "))
}

impl<W: DistributedWorker> Group<W> {
    /// Of so many items, as an iterator says of itself.
    pub(crate) fn begin_map(&self, size: (usize, Option<usize>)) -> Arc<MapCount> {
        self.0.fleet.maps.begin(size)
    }

    pub(crate) fn new(fleet: FleetRef, roster: Arc<Roster>, state: Arc<W::Server>) -> Self {
        Self(Arc::new(Inner { fleet, roster, state, workers: OnceLock::new() }))
    }

    /// Returns the group itself.
    ///
    /// A `#[remote]` or `#[schedule]` method may have the name of a method of the group. On the
    /// [`MasterWorker`] the name then means the worker's method; the group's is
    /// `master.group().map(..)`.
    pub fn group(&self) -> &Self {
        self
    }

    /// How many workers there are.
    pub fn len(&self) -> usize {
        self.0.roster.members.len()
    }

    /// Whether there are none. Calls to nobody succeed at once.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The workers, in natural order of their ids.
    pub fn workers(&self) -> &[RemoteWorker<W>] {
        self.0.workers.get_or_init(|| {
            let stub = |position| Stub {
                fleet: self.0.fleet.clone(),
                roster: self.0.roster.clone(),
                position,
                worker: PhantomData,
            };
            (0..self.len()).map(|position| stub(position).into()).collect()
        })
    }

    /// The worker `id`, if it is in this group.
    pub fn get(&self, id: &WorkerId) -> Option<&RemoteWorker<W>> {
        let members = &self.0.roster.members;
        let position = members.binary_search_by(|member| member.info.id().cmp(id)).ok()?;
        self.workers().get(position)
    }

    /// Some of the workers: those for which `keep` is true.
    pub fn select(&self, keep: impl FnMut(&WorkerInfo) -> bool) -> MasterWorker<W> {
        let roster = Arc::new(self.0.roster.select(keep));
        Self::new(self.0.fleet.clone(), roster, self.0.state.clone()).into()
    }

    /// A call with arguments of its own for each worker: `call` is asked for each of them, when
    /// this is called, and must call the worker that it is given.
    ///
    /// ```
    /// # use dp_core::{MasterWorker, distributed_worker};
    /// # struct Sum;
    /// # #[distributed_worker]
    /// # impl Sum { #[remote] fn add(&self, a: usize, b: usize) -> usize { a + b } }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let master = MasterWorker::<Sum>::in_process(3, |_info| Sum);
    /// let sums = master.each(|worker| worker.add(worker.info().index(), 10)).await.unwrap();
    /// assert_eq!(sums.into_values(), [10, 11, 12]);
    /// # });
    /// ```
    pub fn each<T, C>(&self, mut call: impl FnMut(&RemoteWorker<W>) -> C) -> Broadcast<T>
    where
        C: WorkerCall<Value = T>,
    {
        let mut decode = None;
        let calls = self.workers().iter().map(|worker| {
            let call = call(worker).into_call();
            let meant = call.worker().id() == worker.info().id();
            let (mut call, decode_answer) = call.into_parts();
            decode = Some(decode_answer);
            if !meant {
                let reason = "the closure given to `each` called another worker".to_owned();
                call.arguments = Err(CallError::NotSent { reason });
            }
            call
        });
        let payload = Payload::Each(calls.collect());
        Broadcast::new(self.pending(payload), decode)
    }

    /// The first success of calls to all workers, made as by [`each`](Self::each); the others are
    /// cancelled.
    ///
    /// # Errors
    /// When no worker succeeded. When there is none, too.
    pub async fn any<T, C>(
        &self,
        call: impl FnMut(&RemoteWorker<W>) -> C,
    ) -> Result<T, BroadcastError>
    where
        C: WorkerCall<Value = T>,
    {
        self.each(call).first().await
    }

    /// Gives each item to the next worker that is free: `call` is asked for a call to the worker
    /// with the item when the worker takes it up.
    ///
    /// ```
    /// # use dp_core::{MasterWorker, distributed_worker};
    /// # struct Square;
    /// # #[distributed_worker]
    /// # impl Square { #[remote] fn square(&self, n: u64) -> u64 { n * n } }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let master = MasterWorker::<Square>::in_process(3, |_info| Square);
    /// let squares = master.map(1..=10, |worker, n| worker.square(n)).await.unwrap();
    /// assert_eq!(squares, [1, 4, 9, 16, 25, 36, 49, 64, 81, 100]);
    /// # });
    /// ```
    pub fn map<I, F, C, T>(&self, items: I, call: F) -> Map<W, I::IntoIter, F, T>
    where
        I: IntoIterator,
        F: FnMut(&RemoteWorker<W>, I::Item) -> C,
        C: WorkerCall<Value = T>,
    {
        Map::new(self.clone(), items.into_iter(), call)
    }

    /// Calls the method named `method` of every worker, with arguments in JSON; the values come
    /// back as JSON.
    ///
    /// # Errors
    /// [`JsonCallError`] when there is no such method, or the arguments are not those of its
    /// signature.
    pub fn call_json(
        &self,
        method: &str,
        arguments: Vec<serde_json::Value>,
    ) -> Result<Broadcast<serde_json::Value>, JsonCallError> {
        let contract = W::contract();
        let found = contract.methods.iter().enumerate().find(|(_, known)| known.name == method);
        let Some((number, known)) = found else {
            let (method, known) = (method.to_owned(), contract.methods.iter().map(|m| m.name));
            return Err(JsonCallError::NoSuchMethod { method, known: known.collect() });
        };
        let arguments = known
            .json
            .encode(arguments)
            .map_err(|reason| JsonCallError::Arguments { signature: known.signature, reason })?;
        let call = MethodCall { method: number as u16, arguments, timeout: None };
        Ok(Broadcast::decoded_by(self.pending(Payload::Same(call)), known.json.answer()))
    }

    /// Whether the connection to the worker at `position` has ended.
    pub(crate) fn is_gone(&self, position: usize) -> bool {
        self.0.roster.members.get(position).is_none_or(|member| member.conn.outbox.is_closed())
    }

    /// Waits until every worker has done all that was sent to it before. `token` names the place
    /// in logs.
    ///
    /// # Errors
    /// [`SynchroError`] names the detached calls that failed on these workers since the last one,
    /// and the workers that could not be waited for.
    pub async fn synchro(&self, token: impl fmt::Display) -> Result<(), SynchroError> {
        tracing::debug!(%token, "synchro");
        let outcomes = self.system::<()>(system::SYNCHRO).outcomes().await;
        let roster = &self.0.roster;
        let here = |worker: &WorkerInfo| {
            roster.members.binary_search_by(|member| member.info.id().cmp(worker.id())).is_ok()
        };
        let mut failures = self.0.fleet.with_calls(|calls, _| calls.take_failures(here));
        failures.extend(outcomes.failures().map(|(worker, error)| DetachedFailure {
            worker: worker.clone(),
            method: system::name(system::SYNCHRO).to_owned(),
            error: error.clone(),
        }));
        if failures.is_empty() { Ok(()) } else { Err(SynchroError { failures }) }
    }

    /// Calls per second for staggered starts. 1 unless it was set.
    pub fn frequency(&self) -> f64 {
        self.0.fleet.frequency.hz()
    }

    /// Sets the calls per second for staggered starts, for everybody on this server.
    ///
    /// # Errors
    /// [`FrequencyError`] when `hz` is not a number from 0.000001 to 1000000000.
    pub fn set_frequency(&self, hz: f64) -> Result<(), FrequencyError> {
        self.0.fleet.frequency.set(hz)
    }

    /// The server's state, of the type that `#[distributed_worker(server = ..)]` names.
    pub fn server(&self) -> &W::Server {
        &self.0.state
    }

    /// Gathers what the workers have recorded, in worker order, each worker's lines in the order in
    /// which it recorded them.
    ///
    /// They stay recorded until [`reset_results`](Self::reset_results), or until `run` is called:
    /// a run starts with an empty record, so that its results are its own.
    ///
    /// # Errors
    /// When a worker's results could not be had. [`gather_results`](Self::gather_results) gives
    /// those of the others.
    pub async fn results(&self) -> Result<Vec<ResultLine>, BroadcastError> {
        Ok(self.gather_results().await?.into_values().into_iter().flatten().collect())
    }

    /// Gathers what the workers have recorded, as a broadcast: each worker's lines on their own,
    /// also where another's could not be had.
    pub fn gather_results(&self) -> Broadcast<Vec<ResultLine>> {
        let decode = |worker: &WorkerInfo, answer: Bytes| {
            gathered::decode(worker, answer).map(WorkerRecord::into_lines)
        };
        Broadcast::decoded_by(self.record_call(), decode)
    }

    /// The same, with how much of it has been stored for good.
    pub(crate) fn gather_records(&self) -> Broadcast<WorkerRecord> {
        Broadcast::new(self.record_call(), Some(gathered::decode))
    }

    /// What workers that are gone had told of their records.
    pub(crate) fn records_of_lost(&self) -> Vec<(WorkerId, WorkerRecord)> {
        self.0.fleet.records_of_lost()
    }

    /// Tells each worker, by position, of which record how many lines have been stored for good.
    pub(crate) fn acknowledge(&self, stored: &[(u64, u64)]) -> Broadcast<()> {
        let call = |stored: &(u64, u64)| {
            let arguments = codec::encoded(*stored).map_err(|reason| CallError::NotSent { reason });
            MethodCall { method: system::ACKNOWLEDGE, arguments, timeout: None }
        };
        let stored = stored.iter().chain(std::iter::repeat(&(0, 0))).take(self.len());
        let payload = Payload::Each(stored.map(call).collect());
        Broadcast::new(self.pending(payload), Some(decode_answer::<()>))
    }

    /// What workers that are gone had recorded, in worker order, as far as the server had been told:
    /// each worker tells with every answer, and every half second. Dropped when a run begins, or by
    /// [`reset_results`](Self::reset_results), on a group of everybody.
    pub fn results_of_lost(&self) -> Vec<ResultLine> {
        self.0.fleet.results_of_lost()
    }

    /// Gathers what the workers have measured, merged over all of them, by the names of the
    /// metrics. They stay recorded as long as results do. On a group of everybody, what workers that
    /// are gone had measured is among it, as far as the server had been told.
    ///
    /// # Errors
    /// When a worker's metrics could not be had; [`gather_metrics`](Self::gather_metrics) merges
    /// those of the others.
    pub async fn metrics(&self) -> Result<Vec<Metric>, BroadcastError> {
        let (metrics, failures, outcomes) = self.measured(None, self.0.roster.whole).await;
        if failures.is_empty() { Ok(metrics) } else { Err(BroadcastError::new(outcomes, None)) }
    }

    /// Gathers what the workers have measured, merged over those that answered within `timeout`;
    /// and who did not, with the reason.
    pub async fn gather_metrics(
        &self,
        timeout: Duration,
    ) -> (Vec<Metric>, Vec<(WorkerInfo, CallError)>) {
        self.metrics_within(timeout, self.0.roster.whole).await
    }

    /// The same; `with_lost`, what workers that are gone had measured is among it.
    pub(crate) async fn metrics_within(
        &self,
        timeout: Duration,
        with_lost: bool,
    ) -> (Vec<Metric>, Vec<(WorkerInfo, CallError)>) {
        let (metrics, failures, _) = self.measured(Some(timeout), with_lost).await;
        (metrics, failures)
    }

    /// What the workers have measured, who did not answer, and all answers.
    async fn measured(
        &self,
        timeout: Option<Duration>,
        with_lost: bool,
    ) -> (Vec<Metric>, Vec<(WorkerInfo, CallError)>, Vec<Outcome<Bytes>>) {
        // Before anybody is asked: a worker that is gone by now does not answer as well.
        let gone = self.measured_of_lost(with_lost);
        let mut call = self.system_call(system::METRICS);
        call.request_mut().payload = Payload::Same(MethodCall {
            method: system::METRICS,
            arguments: codec::encoded(system::WITH_AGES)
                .map_err(|reason| CallError::NotSent { reason }),
            timeout: None,
        });
        call.request_mut().timeout = timeout;
        // Ages count from when an answer comes: so that is noted first, and the rest is done later.
        let stamp: DecodeAnswer<_> = |_, answer| Ok((Instant::now(), answer));
        let mut stream = Broadcast::decoded_by(call, stamp).stream();
        let (mut came, mut merging) = (Vec::new(), Merging::new());
        while let Some(outcome) = stream.next().await {
            came.push(outcome);
        }
        came.sort_by_key(|outcome| outcome.worker.index());
        let (mut failures, mut outcomes) = (Vec::new(), Vec::new());
        for Outcome { worker, elapsed, result } in came {
            let result = result.and_then(|(at, answer)| {
                let decoded =
                    WorkerMetrics::decode(answer.clone(), self.0.fleet.limits.max_metrics);
                let decoded = decoded.map_err(|message| {
                    let message = format!("its metrics: {message}");
                    CallError::Decode { what: Decoded::Answer, message }
                })?;
                merging.add(at, decoded);
                Ok(answer)
            });
            if let Err(error) = &result {
                failures.push((worker.clone(), error.clone()));
            }
            outcomes.push(Outcome { worker, elapsed, result });
        }
        // The workers that have gone meanwhile, without an answer.
        let known: HashSet<u64> = gone.iter().map(|gone| gone.record).collect();
        let failed: HashSet<&WorkerId> = failures.iter().map(|(worker, _)| worker.id()).collect();
        let mut now = self.measured_of_lost(with_lost && !failures.is_empty());
        now.retain(|lost| failed.contains(&lost.worker) && !known.contains(&lost.record));
        for lost in gone.into_iter().chain(now) {
            merging.add(lost.told_at, lost.measured);
        }
        (merging.finish(), failures, outcomes)
    }

    fn measured_of_lost(&self, wanted: bool) -> Vec<MeasuredOfLost> {
        if wanted { self.0.fleet.measured_of_lost() } else { Vec::new() }
    }

    /// Flushes the recorded results, and metrics, of every worker.
    ///
    /// # Errors
    /// When a worker could not be told.
    pub async fn reset_results(&self) -> Result<(), BroadcastError> {
        self.system::<()>(system::RESET_RESULTS).await.map(drop)
    }

    /// Drops what was recorded before the run that begins now.
    pub(crate) fn begin_run(&self) {
        self.system_call(system::RESET_RESULTS).send_and_forget();
    }

    pub(crate) fn call_all<T: DeserializeOwned + 'static>(
        &self,
        method: u16,
        arguments: Result<Encoded, CallError>,
    ) -> Broadcast<T> {
        let payload = Payload::Same(MethodCall { method, arguments, timeout: None });
        Broadcast::new(self.pending(payload), Some(decode_answer::<T>))
    }

    fn system<T: DeserializeOwned + 'static>(&self, method: u16) -> Broadcast<T> {
        Broadcast::new(self.system_call(method), Some(decode_answer::<T>))
    }

    fn system_call(&self, method: u16) -> Pending {
        let arguments = Ok(Encoded::default());
        self.pending(Payload::Same(MethodCall { method, arguments, timeout: None }))
    }

    /// Asks for records, in parts where they are long.
    fn record_call(&self) -> Pending {
        let arguments = codec::encoded(true).map_err(|reason| CallError::NotSent { reason });
        self.pending(Payload::Same(MethodCall {
            method: system::RESULTS,
            arguments,
            timeout: None,
        }))
    }

    fn pending(&self, payload: Payload) -> Pending {
        let audience = Audience::All(self.0.roster.clone());
        Pending::new(self.0.fleet.clone(), request(audience, payload))
    }
}

fn request(audience: Audience, payload: Payload) -> Request {
    Request {
        audience,
        payload,
        timeout: None,
        timed: false,
        postponed: false,
        begins_run: false,
        detached: false,
    }
}

impl<W: DistributedWorker> Stub<W> {
    /// Returns the stub itself: `worker.stub().info()` where a `#[remote]` method is named `info`.
    pub fn stub(&self) -> &Self {
        self
    }

    /// Who this worker is.
    pub fn info(&self) -> &WorkerInfo {
        &self.roster.members[self.position].info
    }

    pub(crate) fn call<T: DeserializeOwned + 'static>(
        &self,
        method: u16,
        arguments: Result<Encoded, CallError>,
    ) -> Call<T> {
        let payload = Payload::Same(MethodCall { method, arguments, timeout: None });
        let audience = Audience::One(self.roster.clone(), self.position);
        let pending = Pending::new(self.fleet.clone(), request(audience, payload));
        Call::new(pending, decode_answer::<T> as DecodeAnswer<T>)
    }

    /// A call to this worker of what was to be called on another.
    pub(crate) fn call_again<T>(&self, call: MethodCall, decode: DecodeAnswer<T>) -> Call<T> {
        let timeout = call.timeout;
        let audience = Audience::One(self.roster.clone(), self.position);
        let mut request = request(audience, Payload::Same(MethodCall { timeout: None, ..call }));
        request.timeout = timeout;
        Call::new(Pending::new(self.fleet.clone(), request), decode)
    }
}

impl<W: DistributedWorker> Clone for Group<W> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<W> Clone for Stub<W> {
    fn clone(&self) -> Self {
        Self {
            fleet: self.fleet.clone(),
            roster: self.roster.clone(),
            position: self.position,
            worker: PhantomData,
        }
    }
}

impl<W: DistributedWorker> fmt::Debug for Group<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.0.roster.members.iter().map(|member| member.info.id());
        write!(f, "Group({})", crate::fold_ids(ids))
    }
}

impl<W: DistributedWorker> fmt::Debug for Stub<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stub({})", self.info().id())
    }
}
