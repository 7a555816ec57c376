//! A report as a page that needs nothing else.

use std::io::{self, Write};

use dp_core::engine::text::{self, is_plain};
use dp_core::{Metric, fold_ids};
use jiff::tz::TimeZone;

use super::json::ended;
use super::svg;
use crate::console::{PERCENTILES, span, three_digits};
use crate::report::{Report, WorkerEnd};

/// So many result lines are shown: a browser has to bear them all at once.
const MOST_RESULTS: usize = 10_000;

const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");

pub(super) fn write(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let started = report
        .started()
        .to_zoned_datetime(TimeZone::system())
        .strftime("%Y-%m-%d %H:%M:%S %Z")
        .to_string();
    let name = escaped(report.worker());
    let (class, end) = match (report.is_ok(), report.is_cancelled()) {
        (true, _) => ("good", "ok"),
        (false, true) => ("bad", "cancelled"),
        (false, false) => ("bad", "failed"),
    };
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n\
         <title>{name}: run of {started}</title>\n<style>\n{STYLE}</style>\n\
         <header><h1>{name}</h1><span class=\"badge {class}\">{end}</span></header>\n<main>\n\
         <dl class=\"facts\"><div><dt>started</dt><dd>{started}</dd></div>\
         <div><dt>took</dt><dd>{}</dd></div><div><dt>workers</dt><dd>{}</dd></div>\
         <div><dt>results</dt><dd>{}</dd></div></dl>\n",
        span(report.elapsed()),
        report.outcomes().len(),
        report.results().len(),
    )?;
    failures(out, report)?;
    metrics(out, report.metrics())?;
    workers(out, report)?;
    results(out, report)?;
    writeln!(out, "</main>\n<script>\n{SCRIPT}</script>\n</html>")
}

fn failures(out: &mut impl Write, report: &Report) -> io::Result<()> {
    if report.failures().is_empty() {
        return Ok(());
    }
    write!(out, "<section><h2>What went wrong</h2><ul class=\"failures\">")?;
    for failure in report.failures() {
        write!(out, "<li>{}</li>", escaped(failure))?;
    }
    writeln!(out, "</ul></section>")
}

fn metrics(out: &mut impl Write, metrics: &[Metric]) -> io::Result<()> {
    if metrics.is_empty() {
        return Ok(());
    }
    write!(
        out,
        "<section><h2>Metrics</h2><div class=\"wide\"><table class=\"figures\"><thead><tr>\
         <th>metric</th><th>count</th><th>rate</th><th>min</th><th>mean</th>"
    )?;
    for (name, _) in PERCENTILES {
        write!(out, "<th>{name}</th>")?;
    }
    write!(out, "<th>max</th></tr></thead><tbody>")?;
    for metric in metrics {
        write!(
            out,
            "<tr><th>{}</th><td>{}</td><td>{}/s</td><td>{}</td><td>{}</td>",
            escaped(metric.name()),
            metric.count(),
            three_digits(metric.rate()),
            span(metric.min()),
            span(metric.mean()),
        )?;
        for (_, percent) in PERCENTILES {
            write!(out, "<td>{}</td>", span(metric.percentile(percent)))?;
        }
        write!(out, "<td>{}</td></tr>", span(metric.max()))?;
    }
    writeln!(out, "</tbody></table></div>")?;
    for metric in metrics {
        writeln!(
            out,
            "<h3>{}</h3><div class=\"charts\"><figure>{}<figcaption>duration by percentile\
             </figcaption></figure><figure>{}<figcaption>how many of each length</figcaption>\
             </figure></div>",
            escaped(metric.name()),
            svg::percentiles(metric),
            svg::distribution(metric),
        )?;
    }
    writeln!(out, "</section>")
}

fn workers(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let stayed = report.outcomes().iter().filter(|outcome| outcome.end == WorkerEnd::Stayed);
    let stayed = fold_ids(stayed.map(|outcome| outcome.worker.id()));
    write!(out, "<section><h2>Workers</h2>")?;
    if !stayed.is_empty() {
        write!(out, "<p><b>there until the end:</b> <code>{}</code></p>", escaped(&stayed))?;
    }
    let others = report.outcomes().iter().filter(|outcome| outcome.end != WorkerEnd::Stayed);
    let rows: Vec<_> = others.collect();
    if !rows.is_empty() {
        write!(
            out,
            "<div class=\"wide\"><table><thead><tr><th>worker</th><th>address</th><th>end</th><th>why</th></tr></thead><tbody>"
        )?;
        for outcome in rows {
            let (end, reason) = ended(&outcome.end);
            write!(
                out,
                "<tr><th>{}</th><td>{}</td><td class=\"bad\">{end}</td><td>{}</td></tr>",
                escaped(outcome.worker.id().as_str()),
                escaped(outcome.worker.address()),
                escaped(&reason.unwrap_or_default()),
            )?;
        }
        write!(out, "</tbody></table></div>")?;
    }
    writeln!(out, "</section>")
}

fn results(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let results = report.results();
    if results.is_empty() {
        return Ok(());
    }
    write!(
        out,
        "<section><h2>Results</h2><label>Filter <input id=\"filter\" type=\"search\"></label> \
         <span id=\"matching\" aria-live=\"polite\"></span>"
    )?;
    if results.len() > MOST_RESULTS {
        write!(
            out,
            "<p>The first {MOST_RESULTS} of {} lines; a report as .json or .csv has all.</p>",
            results.len()
        )?;
    }
    write!(
        out,
        "<div class=\"wide\"><table><thead><tr><th>worker</th><th>time</th><th>result</th></tr></thead><tbody id=\"results\">"
    )?;
    for line in results.iter().take(MOST_RESULTS) {
        let time = line.time.to_zoned_datetime(TimeZone::system());
        writeln!(
            out,
            "<tr><th>{}</th><td>{}</td><td>{}</td></tr>",
            escaped(line.worker.as_str()),
            time.strftime("%H:%M:%S%.3f"),
            escaped(&line.message),
        )?;
    }
    writeln!(out, "</tbody></table></div></section>")
}

/// Text that is no markup.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // No character of HTML, or one that makes text look like other text.
            c if !is_plain(c) && !matches!(c, '\n' | '\t') => {
                safe.push_str(&text::escaped(c.encode_utf8(&mut [0; 4])));
            }
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example;

    #[test]
    fn what_workers_say_is_no_markup() {
        let mut bytes = Vec::new();
        write(&mut bytes, &example()).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains("greeted &quot;Ada&quot;, &lt;b&gt;&amp;\nnext"), "{text}");
        assert!(!text.contains("<b>&"), "{text}");
        assert_eq!(text.matches("<svg ").count(), 4);
        for host in ["http://", "https://", "src=", "url("] {
            assert!(!text.contains(host), "{host} in\n{text}");
        }
        assert_eq!(escaped("\u{0}\u{1b}[2J"), "\\0\\u{1b}[2J");
        assert_eq!(escaped("\u{202e}\u{2028}"), "\\u{202e}\\u{2028}");
    }
}
