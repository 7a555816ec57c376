//! Workers as a table for people.

use std::collections::BTreeMap;
use std::time::Duration;

use dp_core::engine::WorkerStatus;
use dp_core::fold_ids;

use super::output::one_line;
use super::table::span;

/// More workers than these are folded: nobody reads so many lines.
const ONE_BY_ONE: usize = 24;

/// A line for each worker, or for all that do the same.
pub(super) fn table(workers: &[WorkerStatus]) -> Vec<String> {
    if workers.len() > ONE_BY_ONE {
        return folded(workers);
    }
    let rows = workers.iter().map(|status| {
        let address = status.info.address().to_string();
        [status.info.id().to_string(), address, one_line(&status.version).into(), state(status)]
    });
    align(rows.collect())
}

fn state(status: &WorkerStatus) -> String {
    match &status.running {
        None => "idle".to_owned(),
        Some(running) => format!("running {} for {}", running.method, span(running.since)),
    }
}

fn folded(workers: &[WorkerStatus]) -> Vec<String> {
    let mut groups: BTreeMap<(&str, Option<&str>), Vec<&WorkerStatus>> = BTreeMap::new();
    for status in workers {
        let method = status.running.as_ref().map(|running| running.method.as_str());
        groups.entry((&status.version, method)).or_default().push(status);
    }
    let rows = groups.into_iter().map(|((version, method), workers)| {
        let ids = fold_ids(workers.iter().map(|status| status.info.id()));
        let since = workers.iter().filter_map(|status| Some(status.running.as_ref()?.since));
        let state = match (method, since.clone().min(), since.max()) {
            (Some(method), Some(least), Some(most)) => running(method, least, most),
            _ => "idle".to_owned(),
        };
        [ids, workers.len().to_string(), one_line(version).into(), state]
    });
    align(rows.collect())
}

fn running(method: &str, least: Duration, most: Duration) -> String {
    match (span(least), span(most)) {
        (least, most) if least == most => format!("running {method} for {least}"),
        (least, most) => format!("running {method} for {least} to {most}"),
    }
}

/// All columns to the left.
fn align(rows: Vec<[String; 4]>) -> Vec<String> {
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 4] = std::array::from_fn(width);
    let line = |[a, b, c, d]: &[String; 4]| {
        let [wa, wb, wc, _] = widths;
        format!("{a:<wa$}  {b:<wb$}  {c:<wc$}  {d}")
    };
    rows.iter().map(line).collect()
}
