//! Metrics as a table for people.

use std::borrow::Cow;
use std::time::Duration;

use dp_core::Metric;
use dp_core::engine::text::escaped;

use super::width::{pad, pad_left, width};

const HEAD: [&str; 11] =
    ["metric", "count", "min", "mean", "p50", "p90", "p95", "p99", "p99.9", "max", "rate"];

/// The percentiles that are shown.
pub(crate) const PERCENTILES: [(&str, f64); 5] =
    [("p50", 50.0), ("p90", 90.0), ("p95", 95.0), ("p99", 99.0), ("p99.9", 99.9)];

/// The lines of a table with a row for each metric; none where there is no metric.
pub(super) fn table(metrics: &[Metric]) -> Vec<String> {
    if metrics.is_empty() {
        return Vec::new();
    }
    let head = HEAD.map(Cow::Borrowed).to_vec();
    align(std::iter::once(head).chain(metrics.iter().map(row)).collect())
}

fn row(metric: &Metric) -> Vec<Cow<'_, str>> {
    let percentiles = PERCENTILES.map(|(_, percent)| metric.percentile(percent));
    let mut row = vec![escaped(metric.name()), metric.count().to_string().into()];
    let durations = [metric.min(), metric.mean()].into_iter().chain(percentiles);
    row.extend(durations.chain([metric.max()]).map(|duration| span(duration).into()));
    row.push(format!("{}/s", three_digits(metric.rate())).into());
    row
}

/// The first column to the left, the others to the right.
fn align(rows: Vec<Vec<Cow<'_, str>>>) -> Vec<String> {
    let widest = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| width(cell)).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEAD.len()).map(widest).collect();
    let cell = |(column, (cell, width)): (usize, (&Cow<'_, str>, &usize))| match column {
        0 => pad(cell, *width),
        _ => format!("  {}", pad_left(cell, *width)),
    };
    rows.iter().map(|row| row.iter().zip(&widths).enumerate().map(cell).collect()).collect()
}

/// A duration in the unit that it is best read in.
pub(crate) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    let (value, unit) = match seconds {
        _ if seconds < 999.5e-6 => (seconds * 1e6, "µs"),
        _ if seconds < 999.5e-3 => (seconds * 1e3, "ms"),
        _ => (seconds, "s"),
    };
    format!("{} {unit}", three_digits(value))
}

/// A number with three significant digits, or more where it is large.
pub(crate) fn three_digits(value: f64) -> String {
    let decimals = match value {
        _ if value < 9.995 => 2,
        _ if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits_and_a_sensible_unit() {
        for (micros, text) in [
            (0, "0.00 µs"),
            (1, "1.00 µs"),
            (999, "999 µs"),
            (1_000, "1.00 ms"),
            (12_345, "12.3 ms"),
            (999_400, "999 ms"),
            (999_600, "1.00 s"),
            (83_250_000, "83.2 s"),
            (3_600_000_000, "3600 s"),
        ] {
            assert_eq!(span(Duration::from_micros(micros)), text);
        }
    }

    #[test]
    fn columns_are_aligned_whatever_is_in_them() {
        let row = |name: &'static str, cell: &'static str| {
            let mut row = vec![Cow::Borrowed(name)];
            row.resize(HEAD.len(), Cow::Borrowed(cell));
            row
        };
        let names = ["metric", "µ", "long name", "語語", "e\u{301}"];
        let cells = ["p50", "1.00 µs", "9", "語", "1"];
        let lines =
            align(names.into_iter().zip(cells).map(|(name, cell)| row(name, cell)).collect());
        let widths: Vec<_> = lines.iter().map(|line| width(line)).collect();
        assert_eq!(widths, [9 + 10 * 9; 5]);
        assert!(lines[1].starts_with("µ          1.00 µs  1.00 µs"), "{lines:?}");
        assert!(table(&[]).is_empty());
    }
}
