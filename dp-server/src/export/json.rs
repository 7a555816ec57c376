//! A report as one JSON object.

use std::io::{self, Write};

use dp_core::Metric;
use serde_json::{Value, json};

use crate::console::PERCENTILES;
use crate::json_text::write_json;
use crate::report::{Report, WorkerEnd};

pub(super) fn write(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let workers: Vec<Value> = report
        .outcomes()
        .iter()
        .map(|outcome| {
            let worker = &outcome.worker;
            let (end, reason) = ended(&outcome.end);
            json!({
                "id": worker.id().as_str(),
                "client": worker.client(),
                "address": worker.address(),
                "end": end,
                "reason": reason,
            })
        })
        .collect();
    let results: Vec<Value> = report
        .results()
        .iter()
        .map(|line| {
            json!({
                "worker": line.worker.as_str(),
                "time": line.time.to_string(),
                "message": line.message,
            })
        })
        .collect();
    let metrics: Vec<Value> = report
        .metrics()
        .iter()
        .map(|metric| {
            let mut value = metric_value(metric);
            let buckets =
                metric.buckets().map(|(up_to, count)| json!([up_to.as_secs_f64(), count]));
            value["buckets"] = buckets.collect();
            value
        })
        .collect();
    write_json(
        &mut *out,
        &json!({
            "run": report.worker(),
            "started": report.started().to_string(),
            "seconds": report.elapsed().as_secs_f64(),
            "ok": report.is_ok(),
            "cancelled": report.is_cancelled(),
            "error": report.error(),
            "failures": report.failures(),
            "workers": workers,
            "results": results,
            "metrics": metrics,
        }),
    )?;
    out.write_all(b"\n")
}

/// How a run ended for a worker, in one word, and why.
pub(super) fn ended(end: &WorkerEnd) -> (&'static str, Option<String>) {
    match end {
        WorkerEnd::Stayed => ("stayed", None),
        WorkerEnd::Failed(error) => ("failed", Some(error.to_string())),
        WorkerEnd::Lost { reason } => ("lost", Some(reason.clone())),
        WorkerEnd::Silent { reason } => ("silent", Some(reason.clone())),
    }
}

/// A metric's figures, durations in seconds.
pub(crate) fn metric_value(metric: &Metric) -> Value {
    let mut object = json!({
        "name": metric.name(),
        "count": metric.count(),
        "min": metric.min().as_secs_f64(),
        "mean": metric.mean().as_secs_f64(),
        "max": metric.max().as_secs_f64(),
        "rate": metric.rate(),
    });
    for (name, percent) in PERCENTILES {
        object[name] = metric.percentile(percent).as_secs_f64().into();
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example;

    #[test]
    fn everything_is_in_it() {
        let mut bytes = Vec::new();
        write(&mut bytes, &example()).unwrap();
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["ok"], false);
        assert_eq!(value["workers"][1]["end"], "lost");
        assert_eq!(value["results"][0]["message"], "greeted \"Ada\", <b>&\nnext");
        assert_eq!(value["metrics"][0]["name"], "fetch");
        assert_eq!(value["metrics"][0]["count"], 1000);
        let counts = value["metrics"][0]["buckets"].as_array().unwrap().iter();
        assert_eq!(counts.map(|bucket| bucket[1].as_u64().unwrap()).sum::<u64>(), 1000);
    }
}
