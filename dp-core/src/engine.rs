//! For runtimes: the two engines that dp-server and dp-client are built on.
//!
//! A program that only has workers and calls them needs nothing of this.

use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};

use crate::{Broadcast, CallError, DistributedWorker, Group, Metric, WorkerId, WorkerInfo};

pub use crate::buckets::Buckets;
pub use crate::fleet::{
    Admitted, Awaited, BarrierStatus, CallStatistics, DURATION_BOUNDS, Departure, Fleet,
    FleetEvent, ForwardedLine, ForwardedLogs, FrequencyError, GivenUp, MapStatus, Peer, Running,
    ServeError, WorkerStatus,
};
pub use crate::host::{Host, HostError};
#[doc(hidden)]
pub use crate::in_process::in_process_over;
pub use crate::limits::{Limits, OutOfRange};
pub use crate::link::{FanLink, FanOut, Transport};
pub use crate::record::WorkerRecord;
pub use crate::stored::{StoredLines, Unstored};
pub use crate::supervise::{keep_up, keep_up_thread};

/// The context of calls, across programs: for what collects spans.
///
/// A call of the master's is a span of the target [`CALL`](logs::CALL) at the debug level, if a subscriber
/// looks at it. Then those who are called learn which trace and span that is, and the span in which the
/// method runs has it for its parent. Otherwise nothing is sent.
pub mod trace {
    pub use crate::trace::{Parent, TraceContext, Traced, Tracer, install};
}

/// What others say, made fit to be shown.
///
/// Text of a peer reaches an error, a log or a terminal as a [`PeerText`](text::PeerText), or escaped by
/// one of these functions.
pub mod text {
    pub use crate::text::{PeerText, escaped, escaped_but_tabs, is_plain};
}

/// Spans for OpenTelemetry: see [`Telemetry::from_env`](otel::Telemetry::from_env).
#[cfg(feature = "otel")]
pub mod otel {
    pub use crate::otel::{Telemetry, TelemetryError};
}

/// What client programs log, on its way to a server that asks for it.
///
/// This crate does not listen to what is logged: a layer of the program's subscriber does, that of
/// dp-client for one, and gives it to [`forward`](logs::forward) as far as somebody
/// [wants](logs::wanted) it. Within a method's call the layer finds a span of the target
/// [`CALL`](logs::CALL), whose field `worker` is the worker's id.
pub mod logs {
    pub use crate::logs::{
        CALL, FORWARDED, MAX_LINE, MAX_WAITING, Origin, attach, forward, wanted,
    };
}

/// Gathers what the workers have recorded, as [`Group::gather_results`] does, with how much of it some
/// server has stored for good.
///
/// [`Group::gather_results`]: crate::Group::gather_results
pub fn gather_records<W: DistributedWorker>(group: &Group<W>) -> Broadcast<WorkerRecord> {
    group.gather_records()
}

/// What workers that are gone had told of their records, each on its own: see
/// [`Group::results_of_lost`].
///
/// [`Group::results_of_lost`]: crate::Group::results_of_lost
pub fn records_of_lost<W: DistributedWorker>(group: &Group<W>) -> Vec<(WorkerId, WorkerRecord)> {
    group.records_of_lost()
}

/// Gathers what the workers have measured, as [`Group::gather_metrics`] does, and what workers that are
/// gone had, also where `group` is not everybody.
///
/// [`Group::gather_metrics`]: crate::Group::gather_metrics
pub async fn gather_metrics<W: DistributedWorker>(
    group: &Group<W>,
    timeout: Duration,
) -> (Vec<Metric>, Vec<(WorkerInfo, CallError)>) {
    group.metrics_within(timeout, true).await
}

/// Tells each worker of `group`, by its position in it, of which record how many lines have been stored
/// for good: the next server that gathers them learns that, and stores the others alone. A worker whose
/// record is another one by now takes no notice.
pub fn acknowledge<W: DistributedWorker>(group: &Group<W>, stored: &[(u64, u64)]) -> Broadcast<()> {
    group.acknowledge(stored)
}

/// How many durations of each length a metric has.
pub fn buckets(metric: &Metric) -> &Buckets {
    metric.counts()
}

/// The same as [`io`]; in a simulation, which has one thread, that of the simulation.
pub(crate) fn io_runtime() -> Handle {
    #[cfg(test)]
    if crate::chaos::is_simulated() {
        return Handle::current();
    }
    io().clone()
}

/// The name of the I/O thread.
pub(crate) const IO_THREAD: &str = "dp-io";

/// The runtime of the process's I/O thread: where connections are served.
///
/// It is one thread, apart from the threads on which methods, schedules and everything else of the
/// user's run: nothing that those do can delay a connection. It is started by the first call.
///
/// # Panics
/// When the operating system has no thread or no event queue left for it.
pub fn io() -> &'static Handle {
    static IO: OnceLock<Handle> = OnceLock::new();
    IO.get_or_init(|| {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap_or_else(|error| panic!("can't start the I/O runtime: {error}"));
        let handle = runtime.handle().clone();
        thread::Builder::new()
            .name(IO_THREAD.to_owned())
            .spawn(move || runtime.block_on(std::future::pending::<()>()))
            .unwrap_or_else(|error| panic!("can't start the I/O thread: {error}"));
        handle
    })
}
