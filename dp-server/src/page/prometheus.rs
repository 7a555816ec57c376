//! Metrics for Prometheus.

use std::io;
use std::time::Duration;

use dp_core::engine::text::escaped;
use dp_core::engine::{DURATION_BOUNDS, WorkerStatus};
use dp_core::{DistributedWorker, Metric};
use hyper::Response;
use ic_metrics_encoder::MetricsEncoder;

use super::body::Reply;
use super::http::reply;
use super::hub::Hub;
use crate::run::Runner;

/// How long the workers may take to give their metrics; who does not is left out.
const ANSWER: Duration = Duration::from_secs(2);
/// So many of the workers' metrics are given.
const MOST_METRICS: usize = 100;
pub(super) async fn respond<W: DistributedWorker>(
    runner: &Runner<W>,
    hub: &Hub,
) -> Response<Reply> {
    let (measured, _) = runner.fleet.master().gather_metrics(ANSWER).await;
    let mut text = Vec::new();
    // Written to memory, with names that are valid: it cannot fail.
    let _ = write(&mut text, runner, hub, &measured);
    reply("text/plain; version=0.0.4; charset=utf-8", text)
}

fn write<W: DistributedWorker>(
    text: &mut Vec<u8>,
    runner: &Runner<W>,
    hub: &Hub,
    measured: &[Metric],
) -> io::Result<()> {
    let now = jiff::Timestamp::now().as_millisecond();
    let mut out = MetricsEncoder::new(text, now);
    workers(&mut out, runner)?;
    calls(&mut out, runner)?;
    let (received, sent) = runner.traffic.bytes();
    let help = "Bytes that came from clients, those of TLS included.";
    out.encode_counter("dp_received_bytes_total", received as f64, help)?;
    let help = "Bytes that were sent to clients, those of TLS included.";
    out.encode_counter("dp_sent_bytes_total", sent as f64, help)?;
    let (arrivals, reconnects, departures) = hub.comings();
    let help = "Clients that have joined, those that came back included.";
    out.encode_counter("dp_client_arrivals_total", arrivals as f64, help)?;
    let help = "Clients that came back after they had been lost.";
    out.encode_counter("dp_client_reconnects_total", reconnects as f64, help)?;
    let help = "Clients that have left, or were lost.";
    out.encode_counter("dp_client_departures_total", departures as f64, help)?;
    runs(&mut out, runner)?;
    out.encode_gauge("dp_page_watchers", hub.watchers() as f64, "Browsers that watch the page.")?;
    recorded(&mut out, measured)
}

fn workers<W: DistributedWorker>(
    out: &mut MetricsEncoder<&mut Vec<u8>>,
    runner: &Runner<W>,
) -> io::Result<()> {
    let status = runner.fleet.status();
    let own = W::contract().methods;
    let busy = |method: &str| {
        let in_it = |worker: &&WorkerStatus| {
            worker.running.as_ref().is_some_and(|running| running.method == method)
        };
        status.iter().filter(in_it).count() as f64
    };
    let waiting: usize = status.iter().map(|worker| worker.waiting).sum();
    out.encode_gauge("dp_workers", status.len() as f64, "Workers that are there.")?;
    let needed = runner.settings.workers as f64;
    out.encode_gauge("dp_workers_needed", needed, "Workers that make the server ready to run.")?;
    let mut vec = out.gauge_vec("dp_workers_busy", "Workers that are in a method.")?;
    for method in &own {
        vec = vec.value(&[("method", method.name)], busy(method.name))?;
    }
    let help = "Calls that wait in the queues of the workers, behind those under way.";
    out.encode_gauge("dp_calls_queued", waiting as f64, help)?;
    let barriers = runner.fleet.barriers();
    let arrived: usize = barriers.iter().map(|barrier| barrier.arrived.len()).sum();
    let awaited: usize = barriers.iter().map(|barrier| barrier.awaited.len()).sum();
    let help = "Barriers at which somebody waits.";
    out.encode_gauge("dp_barriers_open", barriers.len() as f64, help)?;
    let help = "Workers that wait at a barrier.";
    out.encode_gauge("dp_barrier_workers_arrived", arrived as f64, help)?;
    let help = "Workers that others wait for at a barrier.";
    out.encode_gauge("dp_barrier_workers_awaited", awaited as f64, help)
}

fn calls<W: DistributedWorker>(
    out: &mut MetricsEncoder<&mut Vec<u8>>,
    runner: &Runner<W>,
) -> io::Result<()> {
    let mut statistics = runner.fleet.statistics();
    // Not what the framework asks for itself, and for these metrics.
    let own = W::contract().methods;
    statistics.retain(|of| own.iter().any(|method| method.name == of.method));
    let mut vec = out.counter_vec("dp_calls_total", "Calls of one worker, by outcome.")?;
    for method in &statistics {
        for (outcome, count) in &method.outcomes {
            vec = vec.value(&[("method", method.method), ("outcome", outcome)], *count as f64)?;
        }
    }
    let help = "How long methods ran where they ran, of the calls that were answered.";
    let mut vec = out.histogram_vec("dp_call_duration_seconds", help)?;
    for method in &statistics {
        let bounds = DURATION_BOUNDS.into_iter().chain([f64::INFINITY]);
        let buckets = bounds.zip(method.buckets.iter().map(|count| *count as f64));
        let sum = method.total.as_secs_f64();
        vec = vec.histogram(&[("method", method.method)], buckets, sum)?;
    }
    Ok(())
}

fn runs<W: DistributedWorker>(
    out: &mut MetricsEncoder<&mut Vec<u8>>,
    runner: &Runner<W>,
) -> io::Result<()> {
    let runs = runner.runs.watch();
    let runs = runs.borrow();
    let under_way = f64::from(u8::from(runs.current.is_some()));
    out.encode_gauge("dp_run_under_way", under_way, "Whether a run is under way.")?;
    let mut vec = out.counter_vec("dp_runs_total", "Runs that are over, by how they ended.")?;
    for (end, count) in ["ok", "failed", "cancelled"].into_iter().zip(runs.ended) {
        vec = vec.value(&[("end", end)], count as f64)?;
    }
    if let Some(last) = runs.past.back() {
        let seconds = last.report.elapsed().as_secs_f64();
        out.encode_gauge("dp_last_run_duration_seconds", seconds, "How long the last run took.")?;
    }
    Ok(())
}

/// What the workers have recorded since the run began, merged over all of them.
fn recorded(out: &mut MetricsEncoder<&mut Vec<u8>>, measured: &[Metric]) -> io::Result<()> {
    let help = "Durations that workers recorded since the last run began, by metric.";
    let mut vec = out.histogram_vec("dp_recorded_duration_seconds", help)?;
    for metric in measured.iter().take(MOST_METRICS) {
        let mut counts = [0.0; DURATION_BOUNDS.len() + 1];
        for (value, count) in metric.buckets() {
            // The value is the highest of its bucket, which is less than a thousandth wide.
            let seconds = value.as_secs_f64() / 1.001;
            counts[DURATION_BOUNDS.partition_point(|bound| *bound < seconds)] += count as f64;
        }
        let bounds = DURATION_BOUNDS.into_iter().chain([f64::INFINITY]);
        let sum = metric.mean().as_secs_f64() * metric.count() as f64;
        // A line end is written as an escape of the format's own.
        let name: Vec<_> = metric.name().split('\n').map(escaped).collect();
        let name = name.join("\n");
        vec = vec.histogram(&[("metric", name.as_str())], bounds.zip(counts), sum)?;
    }
    Ok(())
}
