//! A report as rows, for spreadsheets and data frames: RFC 4180, UTF-8, durations in seconds.

use std::borrow::Cow;
use std::io::{self, Write};

use serde_json::Value;

use super::json::{ended, metric_value};
use crate::report::Report;

/// The figures of a metric, in this order.
const FIGURES: [&str; 10] =
    ["count", "min", "mean", "p50", "p90", "p95", "p99", "p99.9", "max", "rate"];

pub(super) fn write(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let mut row = |cells: [&str; 5]| {
        let cells = cells.map(quoted);
        write!(out, "{}\r\n", cells.join(","))
    };
    row(["kind", "name", "field", "value", "time"])?;
    let started = report.started().to_string();
    row([
        "run",
        report.worker(),
        "seconds",
        &report.elapsed().as_secs_f64().to_string(),
        &started,
    ])?;
    let end = match (report.is_ok(), report.is_cancelled()) {
        (true, _) => "ok",
        (false, true) => "cancelled",
        (false, false) => "failed",
    };
    row(["run", report.worker(), "end", end, &started])?;
    for failure in report.failures() {
        row(["failure", report.worker(), "message", failure, ""])?;
    }
    for outcome in report.outcomes() {
        let (end, reason) = ended(&outcome.end);
        row(["worker", outcome.worker.id().as_str(), end, &reason.unwrap_or_default(), ""])?;
    }
    for metric in report.metrics() {
        let value = metric_value(metric);
        for figure in FIGURES {
            row(["metric", metric.name(), figure, &number(&value[figure]), ""])?;
        }
    }
    for line in report.results() {
        row(["result", line.worker.as_str(), "message", &line.message, &line.time.to_string()])?;
    }
    Ok(())
}

fn number(value: &Value) -> String {
    value.to_string()
}

/// In quotes where it takes them.
fn quoted(cell: &str) -> Cow<'_, str> {
    match cell.contains(['"', ',', '\r', '\n']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")).into(),
        false => cell.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example;

    #[test]
    fn every_fact_is_a_row_and_what_would_break_it_is_quoted() {
        let mut bytes = Vec::new();
        write(&mut bytes, &example()).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(
            text.starts_with("kind,name,field,value,time\r\nrun,Greeter,seconds,1.5,"),
            "{text}"
        );
        for row in [
            "worker,w1,stayed,,\r\n",
            "worker,w2,lost,connection reset,\r\n",
            "metric,fetch,count,1000,\r\n",
            "metric,fetch,p95,0.950271,\r\n",
            "result,w1,message,\"greeted \"\"Ada\"\", <b>&\nnext\",1970-01-01T00:00:01Z\r\n",
        ] {
            assert!(text.contains(row), "{row:?} is missing in\n{text}");
        }
    }
}
