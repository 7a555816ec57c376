//! Charts as SVG, which takes its colours from the page around it.

use std::fmt::Write as _;
use std::time::Duration;

use dp_core::Metric;

use super::html::escaped;
use crate::console::span;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 240.0;
/// The room for labels: left, right, top, bottom.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 28.0;

/// The percentiles along the axis: each step is ten times as rare.
const STEPS: [(&str, f64); 6] = [
    ("min", 0.0),
    ("p90", 90.0),
    ("p99", 99.0),
    ("p99.9", 99.9),
    ("p99.99", 99.99),
    ("p99.999", 99.999),
];

/// Durations by percentile, the rarer ones drawn out.
pub(super) fn percentiles(metric: &Metric) -> String {
    // As far as there are values that differ.
    let steps = STEPS
        .iter()
        .take_while(|(_, percent)| metric.count() as f64 * (100.0 - percent) / 100.0 >= 1.0);
    let steps: Vec<_> = steps.copied().collect();
    let span_x = (steps.len().max(2) - 1) as f64;
    let top = metric.max().as_secs_f64().max(1e-6) * 1.05;
    let x = |nines: f64| LEFT + nines / span_x * (WIDTH - LEFT - RIGHT);
    let y = |seconds: f64| HEIGHT - BOTTOM - seconds / top * (HEIGHT - TOP - BOTTOM);

    let mut svg = open(&format!("{}: duration by percentile", metric.name()));
    levels(&mut svg, top, y);
    for (at, (name, _)) in steps.iter().enumerate() {
        label(&mut svg, x(at as f64), name);
    }
    let mut points = String::new();
    for at in 0..=100 {
        let nines = f64::from(at) / 100.0 * span_x;
        let percent = 100.0 * (1.0 - 10_f64.powf(-nines));
        let seconds = metric.percentile(percent).as_secs_f64();
        let _ = write!(points, "{:.1},{:.1} ", x(nines), y(seconds));
    }
    let _ = write!(svg, "<polyline class=\"line\" points=\"{}\"/></svg>", points.trim_end());
    svg
}

/// How many durations there are of each length, on a logarithmic scale.
pub(super) fn distribution(metric: &Metric) -> String {
    const BARS: usize = 48;
    let low = metric.min().as_secs_f64().max(1e-6).ln();
    let high = (metric.max().as_secs_f64().max(1e-6) * 1.001).ln().max(low + 0.02);
    let mut bars = [0_u64; BARS];
    for (value, count) in metric.buckets() {
        let share = (value.as_secs_f64().max(1e-6).ln() - low) / (high - low);
        let at = (share.clamp(0.0, 1.0) * BARS as f64) as usize;
        bars[at.min(BARS - 1)] += count;
    }
    let top = bars.iter().copied().max().unwrap_or(0).max(1) as f64;
    let width = (WIDTH - LEFT - RIGHT) / BARS as f64;

    let mut svg = open(&format!("{}: how many durations of each length", metric.name()));
    for (at, count) in bars.iter().enumerate().filter(|(_, count)| **count > 0) {
        let height = (*count as f64 / top * (HEIGHT - TOP - BOTTOM)).max(1.0);
        let (x, y) = (LEFT + at as f64 * width, HEIGHT - BOTTOM - height);
        let from = (low + (high - low) * at as f64 / BARS as f64).exp();
        let _ = write!(
            svg,
            "<rect class=\"bar\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\">\
             <title>{count} from {}</title></rect>",
            width - 1.0,
            duration(from),
        );
    }
    for fifth in 0..=4 {
        let share = f64::from(fifth) / 4.0;
        let seconds = (low + (high - low) * share).exp();
        label(&mut svg, LEFT + share * (WIDTH - LEFT - RIGHT), &duration(seconds));
    }
    let _ = write!(
        svg,
        "<text class=\"tick\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{top}</text></svg>",
        LEFT - 6.0,
        TOP + 8.0
    );
    svg
}

fn open(title: &str) -> String {
    let title = escaped(title);
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\"><title>{title}</title>\
         <path class=\"axis\" d=\"M{LEFT} {} H{}\"/>",
        HEIGHT - BOTTOM,
        WIDTH - RIGHT
    )
}

/// Lines across, with what they stand for.
fn levels(svg: &mut String, top: f64, y: impl Fn(f64) -> f64) {
    for quarter in 1..=4 {
        let seconds = top * f64::from(quarter) / 4.0;
        let at = y(seconds);
        let _ = write!(
            svg,
            "<path class=\"grid\" d=\"M{LEFT} {at:.1} H{}\"/>\
             <text class=\"tick\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0,
            duration(seconds)
        );
    }
}

fn label(svg: &mut String, x: f64, text: &str) {
    let anchor = if x > WIDTH - 2.0 * RIGHT { "end" } else { "middle" };
    let _ = write!(
        svg,
        "<text class=\"tick\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
        HEIGHT - 8.0,
        escaped(text)
    );
}

fn duration(seconds: f64) -> String {
    span(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example;

    #[test]
    fn charts_are_drawn_of_any_metric() {
        for metric in example().metrics() {
            for svg in [percentiles(metric), distribution(metric)] {
                assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>"), "{svg}");
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            }
        }
    }
}
