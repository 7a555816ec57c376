//! A report as rows, for spreadsheets and data frames: RFC 4180, UTF-8, durations in seconds.

use std::borrow::Cow;
use std::io::{self, Write};

use dp_core::engine::text::{escaped, is_plain};
use serde_json::Value;

use super::json::{ended, metric_value};
use crate::report::Report;

/// The figures of a metric, in this order.
const FIGURES: [&str; 10] =
    ["count", "min", "mean", "p50", "p90", "p95", "p99", "p99.9", "max", "rate"];

pub(super) fn write(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let mut row = |cells: [&str; 5]| {
        let cells = cells.map(|cell| quoted(&safe(cell)));
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

/// A cell that no spreadsheet takes for a formula, by OWASP's rule: one that begins like a formula gets
/// an apostrophe before it, plain numbers aside. What would make it look like another text is escaped.
fn safe(cell: &str) -> Cow<'_, str> {
    let plain = |c: char| is_plain(c) || matches!(c, '\t' | '\r' | '\n');
    let cell: Cow<'_, str> = match cell.chars().all(plain) {
        true => cell.into(),
        false => {
            let mut safe = String::with_capacity(cell.len() + 16);
            for c in cell.chars() {
                match plain(c) {
                    true => safe.push(c),
                    false => safe.push_str(&escaped(c.encode_utf8(&mut [0; 4]))),
                }
            }
            safe.into()
        }
    };
    // The last four are what some spreadsheets take for the first four.
    let formula = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];
    match cell.starts_with(formula) && !is_number(&cell) {
        true => format!("'{cell}").into(),
        false => cell,
    }
}

fn is_number(cell: &str) -> bool {
    let digits = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
    cell.chars().all(digits) && cell.parse::<f64>().is_ok()
}

/// In quotes where it takes them.
fn quoted(cell: &str) -> String {
    match cell.contains(['"', ',', '\r', '\n']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example;

    #[test]
    fn no_cell_is_a_formula_and_numbers_stay_numbers() {
        for (cell, expected) in [
            ("=1+1", "'=1+1"),
            ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
            ("-2+3", "'-2+3"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("\r=1", "'\r=1"),
            ("＝1", "'＝1"),
            ("-inf", "'-inf"),
            ("-1.5e-3", "-1.5e-3"),
            ("+7", "+7"),
            ("a=1", "a=1"),
            ("", ""),
            ("a\u{202e}b\u{2028}\u{1b}", "a\\u{202e}b\\u{2028}\\u{1b}"),
        ] {
            assert_eq!(safe(cell), expected, "{cell:?}");
        }
        assert_eq!(
            quoted(&safe("=HYPERLINK(\"a\",\"b\")")),
            "\"'=HYPERLINK(\"\"a\"\",\"\"b\"\")\""
        );
    }

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
