//! What was recorded, for the page.

use std::collections::HashMap;

use dp_core::{DistributedWorker, ResultLine, fold_ids};
use serde_json::{Value, json};

use crate::export::ReportFile;
use crate::gather::Gathering;
use crate::run::Runner;

/// So many lines go to a browser, and so many different messages.
const MOST_LINES: usize = 20_000;
const MOST_FOLDED: usize = 5_000;

/// The results of the last run, or, `live`, what is recorded so far.
pub(super) async fn results<W: DistributedWorker>(runner: &Runner<W>, live: bool) -> Value {
    if live {
        let mut gathering = Gathering::<W>::new(runner.fleet.master());
        gathering.proceed(runner.settings.gather_timeout).await;
        let gathered = gathering.finish();
        let failures = gathered.failures();
        return table(&gathered.results, &failures);
    }
    match runner.runs.last() {
        Some(report) => table(report.results(), report.failures()),
        None => table(&[], &[]),
    }
}

fn table(results: &[ResultLine], failures: &[String]) -> Value {
    let lines: Vec<Value> = results
        .iter()
        .take(MOST_LINES)
        .map(|line| json!([line.worker.as_str(), line.time.as_millisecond(), line.message]))
        .collect();
    json!({
        "total": results.len(),
        "lines": lines,
        "folded": folded(results),
        "failures": failures,
    })
}

/// Equal messages as one: who recorded it, how often, and what.
fn folded(results: &[ResultLine]) -> Vec<Value> {
    let mut groups: Vec<(&str, u64, Vec<&str>)> = Vec::new();
    let mut known: HashMap<&str, usize> = HashMap::new();
    for line in results {
        let at = *known.entry(&line.message).or_insert_with(|| {
            groups.push((&line.message, 0, Vec::new()));
            groups.len() - 1
        });
        let (_, count, workers) = &mut groups[at];
        *count += 1;
        // The lines of a worker stand together.
        if workers.last() != Some(&line.worker.as_str()) {
            workers.push(line.worker.as_str());
        }
    }
    let group = |(message, count, workers): (&str, u64, Vec<&str>)| {
        json!([fold_ids(workers), count, message])
    };
    groups.into_iter().take(MOST_FOLDED).map(group).collect()
}

/// The report of the last run as a file, in the format of the extension that is asked for.
pub(super) fn report<W: DistributedWorker>(
    runner: &Runner<W>,
    extension: Option<&str>,
) -> Result<(&'static str, Vec<u8>), String> {
    let extension = extension.unwrap_or("html");
    let file = ReportFile::new(format!("report.{extension}")).map_err(|error| error.to_string())?;
    let report = runner.runs.last().ok_or("there is no report yet: no run has ended")?;
    let kind = match extension {
        "json" => "application/json",
        "csv" => "text/csv; charset=utf-8",
        "html" => "text/html; charset=utf-8",
        _ => "text/plain; charset=utf-8",
    };
    let mut bytes = Vec::new();
    file.write_to(&mut bytes, &report).map_err(|error| error.to_string())?;
    Ok((kind, bytes))
}
