//! What comes out, as a table.

use std::fmt;
use std::time::Duration;

use dp_core::{CallError, Metric};

use crate::Measured;

/// The percentiles that are shown.
const PERCENTILES: [(&str, f64); 4] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9)];
/// With more workers than that, the table of all of them is left out.
pub(crate) const SHOWN_WORKERS: usize = 32;

/// What all workers measured.
#[derive(Debug)]
pub struct Report {
    title: String,
    total: Measured,
    latency: Option<Metric>,
    workers: Vec<(String, Result<Share, CallError>)>,
}

/// What one worker measured.
#[derive(Debug)]
struct Share {
    measured: Measured,
    latency: Option<Metric>,
}

impl Report {
    /// A report of nothing yet; `title` says what was loaded.
    pub fn new(title: String) -> Self {
        Self { title, total: Measured::default(), latency: None, workers: Vec::new() }
    }

    /// Adds what one worker measured, or why it did not.
    pub fn add(&mut self, id: String, result: Result<(Measured, Option<Metric>), CallError>) {
        if let Ok((measured, _)) = &result {
            self.total.merge(measured);
        }
        self.workers.push((id, result.map(|(measured, latency)| Share { measured, latency })));
    }

    /// The latencies of all workers together.
    pub fn merged(mut self, latency: Option<Metric>) -> Self {
        self.latency = latency;
        self
    }

    /// Those latencies; `None` without an answer.
    pub fn latency(&self) -> Option<&Metric> {
        self.latency.as_ref()
    }

    /// What all of them counted, as one.
    pub fn total(&self) -> &Measured {
        &self.total
    }

    /// Whether every worker did its share, whatever the server answered.
    pub fn complete(&self) -> bool {
        self.workers.iter().all(|(_, result)| result.is_ok())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = &self.total;
        let answered = self.workers.iter().filter(|(_, result)| result.is_ok()).count();
        writeln!(f, "{}", self.title)?;
        writeln!(f)?;
        writeln!(f, "  workers      {answered} of {}", self.workers.len())?;
        writeln!(f, "  requests     {}", total.requests())?;
        writeln!(f, "  errors       {}", total.error_count())?;
        for (kind, count) in total.errors() {
            writeln!(f, "    {count:>8} {kind}")?;
        }
        writeln!(f, "  time         {:.3} s", total.elapsed().as_secs_f64())?;
        writeln!(f, "  throughput   {:.1} answers/s", total.throughput_hz())?;
        let rate_hz = self.latency.as_ref().map_or(0.0, Metric::rate);
        writeln!(f, "  rate         {rate_hz:.1} answers/s, the sum of the workers' own")?;
        let seconds = total.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
        let received = total.received_bytes() as f64;
        writeln!(f, "  received     {} ({}/s)", Size(received), Size(received / seconds))?;

        let latency = self.latency.as_ref();
        writeln!(f, "\n  latency of {} answers", latency.map_or(0, Metric::count))?;
        for (name, percent) in PERCENTILES {
            let latency = Latency(latency.map(|latency| latency.percentile(percent)));
            writeln!(f, "    {name:<6} {latency:>10}")?;
        }
        writeln!(f, "    {:<6} {:>10}", "max", Latency(latency.map(Metric::max)))?;

        if self.workers.len() <= SHOWN_WORKERS {
            writeln!(
                f,
                "\n  {:<16} {:>9} {:>8} {:>10} {:>10} {:>10} {:>10}",
                "worker", "requests", "errors", "answers/s", "p50", "p99", "max"
            )?;
            let answered = self.workers.iter().filter_map(|(id, it)| Some((id, it.as_ref().ok()?)));
            for (id, Share { measured, latency }) in answered {
                let latency = latency.as_ref();
                writeln!(
                    f,
                    "  {id:<16} {:>9} {:>8} {:>10.1} {:>10} {:>10} {:>10}",
                    measured.requests(),
                    measured.error_count(),
                    measured.throughput_hz(),
                    Latency(latency.map(|latency| latency.percentile(50.0))),
                    Latency(latency.map(|latency| latency.percentile(99.0))),
                    Latency(latency.map(Metric::max)),
                )?;
            }
        }
        for (id, result) in &self.workers {
            if let Err(error) = result {
                writeln!(f, "\n  not in the figures: {id}: {error}")?;
            }
        }
        Ok(())
    }
}

/// A latency with two decimals, in the unit that suits it.
struct Latency(Option<Duration>);

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(latency) => f.pad(&format!("{latency:.2?}")),
            None => f.pad("-"),
        }
    }
}

/// A number of bytes, in the unit that suits it.
struct Size(f64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut size = self.0;
        for unit in ["B", "KiB", "MiB", "GiB"] {
            if size < 1_024.0 {
                let decimals = if unit == "B" { 0 } else { 2 };
                return write!(f, "{size:.decimals$} {unit}");
            }
            size /= 1_024.0;
        }
        write!(f, "{size:.2} TiB")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dp_core::{Context, MasterWorker, distributed_worker};

    /// Records latencies of 1 ms to 1 s, as a load would.
    struct Recorder;

    #[distributed_worker]
    impl Recorder {
        #[remote]
        fn record(&self, ctx: &Context<Self>) {
            for millis in 1..=1_000 {
                ctx.record("latency", Duration::from_millis(millis));
            }
        }
    }

    #[tokio::test]
    async fn the_table_has_every_figure() {
        let master = MasterWorker::<Recorder>::in_process(1, |_info| Recorder);
        master.record().await.unwrap();
        let latency = master.metrics().await.unwrap().pop();
        let mut measured = Measured::default();
        for _ in 1..=1_000 {
            measured.response(2_048);
        }
        measured.error("HTTP 503 Service Unavailable");
        measured.took(Duration::from_secs(2));
        let mut report = Report::new("GET http://127.0.0.1/".to_owned());
        report.add("w1".to_owned(), Ok((measured, latency.clone())));
        let report = report.merged(latency);
        let table = report.to_string();
        for line in [
            "GET http://127.0.0.1/",
            "  workers      1 of 1",
            "  requests     1000",
            "  errors       1",
            "           1 HTTP 503 Service Unavailable",
            "  time         2.000 s",
            "  throughput   500.0 answers/s",
            "  received     1.95 MiB (1000.00 KiB/s)",
            "  latency of 1000 answers",
        ] {
            assert!(table.lines().any(|found| found == line), "no {line:?} in\n{table}");
        }
        for (name, millis) in [("p50", 500.0), ("p90", 900.0), ("p99", 990.0), ("max", 1_000.0)] {
            let line = table.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
            let value = line.split_whitespace().last().unwrap();
            let found = match value.strip_suffix("ms") {
                Some(millis) => millis.parse::<f64>().unwrap(),
                None => value.trim_end_matches('s').parse::<f64>().unwrap() * 1_000.0,
            };
            assert!((found - millis).abs() <= millis / 100.0, "{line}");
        }
    }

    #[test]
    fn sizes_have_fitting_units() {
        let sizes = [0.0, 1_023.0, 1_024.0, 5_000_000.0, 6e12].map(|size| Size(size).to_string());
        assert_eq!(sizes, ["0 B", "1023 B", "1.00 KiB", "4.77 MiB", "5.46 TiB"]);
    }
}
