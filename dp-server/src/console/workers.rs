//! Workers as a table for people.

use std::collections::BTreeMap;
use std::time::Duration;

use dp_core::engine::WorkerStatus;
use dp_core::engine::text::escaped;
use dp_core::{WorkerId, fold_ids};

use super::table::span;
use super::width::{pad, width};

/// More workers than these are folded: nobody reads so many lines.
const ONE_BY_ONE: usize = 24;

/// What is shown of a worker.
struct Shown<'a> {
    id: &'a WorkerId,
    address: &'a str,
    version: &'a str,
    /// The method that it is in, and for how long.
    running: Option<(&'a str, Duration)>,
    /// The method that it will be in when its turn comes.
    postponed: Option<&'a str>,
}

impl Shown<'_> {
    /// What it does where it is in no method.
    fn rests(&self) -> String {
        self.postponed
            .map_or_else(|| "idle".to_owned(), |method| format!("waiting for its turn in {method}"))
    }
}

/// A line for each worker, or for all that do the same.
pub(super) fn table(workers: &[WorkerStatus]) -> Vec<String> {
    let shown = workers.iter().map(|status| Shown {
        id: status.info.id(),
        address: status.info.address(),
        version: &status.version,
        running: status.running.as_ref().map(|running| (running.method.as_str(), running.since)),
        postponed: status.postponed.as_deref(),
    });
    rows(&shown.collect::<Vec<_>>())
}

fn rows(workers: &[Shown<'_>]) -> Vec<String> {
    if workers.len() > ONE_BY_ONE {
        return folded(workers);
    }
    let rows = workers.iter().map(|shown| {
        let state = match shown.running {
            None => shown.rests(),
            Some((method, since)) => running(method, since, since),
        };
        [shown.id.to_string(), escaped(shown.address).into(), escaped(shown.version).into(), state]
    });
    align(rows.collect())
}

fn folded(workers: &[Shown<'_>]) -> Vec<String> {
    type Same<'a> = (&'a str, Option<&'a str>, Option<&'a str>);
    let mut groups: BTreeMap<Same<'_>, Vec<&Shown<'_>>> = BTreeMap::new();
    for shown in workers {
        let method = shown.running.map(|(method, _)| method);
        let postponed = shown.postponed.filter(|_| method.is_none());
        groups.entry((shown.version, method, postponed)).or_default().push(shown);
    }
    let rows = groups.into_iter().map(|((version, method, _), workers)| {
        let ids = fold_ids(workers.iter().map(|shown| shown.id));
        let since = workers.iter().filter_map(|shown| Some(shown.running?.1));
        let state = match (method, since.clone().min(), since.max()) {
            (Some(method), Some(least), Some(most)) => running(method, least, most),
            _ => workers.first().map(|shown| shown.rests()).unwrap_or_default(),
        };
        [ids, workers.len().to_string(), escaped(version).into(), state]
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
    let widest = |column: usize| rows.iter().map(|row| width(&row[column])).max().unwrap_or(0);
    let widths: [usize; 4] = std::array::from_fn(widest);
    let line = |[a, b, c, d]: &[String; 4]| {
        let [wa, wb, wc, _] = widths;
        format!("{}  {}  {}  {d}", pad(a, wa), pad(b, wb), pad(c, wc))
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those from here on wait for their turn in a postponed call.
    const POSTPONED: usize = 45;

    fn lines(
        workers: usize,
        running: impl Fn(usize) -> Option<(&'static str, u64)>,
    ) -> Vec<String> {
        let ids: Vec<_> = (1..=workers).map(|n| WorkerId::new(format!("w{n}")).unwrap()).collect();
        let shown = ids.iter().enumerate().map(|(at, id)| {
            let running = running(at + 1);
            let running = running.map(|(method, seconds)| (method, Duration::from_secs(seconds)));
            let postponed = (at >= POSTPONED).then_some("fetch");
            Shown { id, address: "192.0.2.7:1", version: "1.0", running, postponed }
        });
        rows(&shown.collect::<Vec<_>>())
    }

    #[test]
    fn a_few_workers_have_a_line_each() {
        let all = lines(24, |n| (n == 2).then_some(("fetch", 3)));
        assert_eq!(all.len(), 24);
        assert_eq!(all[0], "w1   192.0.2.7:1  1.0  idle");
        assert_eq!(all[1], "w2   192.0.2.7:1  1.0  running fetch for 3.00 s");
    }

    #[test]
    fn columns_are_aligned_by_what_they_take_on_a_terminal() {
        let ids = ["語", "e\u{301}", "w10"].map(|id| WorkerId::new(id).unwrap());
        let shown = ids.iter().map(|id| Shown {
            id,
            address: "a",
            version: "1",
            running: None,
            postponed: None,
        });
        let lines = rows(&shown.collect::<Vec<_>>());
        assert_eq!(lines, ["語   a  1  idle", "e\u{301}    a  1  idle", "w10  a  1  idle"]);
    }

    #[test]
    fn more_than_24_are_folded_into_those_that_do_the_same() {
        let doing = |n| match n {
            1..=30 => Some(("fetch", n as u64)),
            31 => Some(("parse", 5)),
            _ => None,
        };
        let expected = [
            "w[32-40]  9   1.0  idle",
            "w[1-30]   30  1.0  running fetch for 1.00 s to 30.0 s",
            "w31       1   1.0  running parse for 5.00 s",
        ];
        assert_eq!(lines(40, doing), expected);
        assert_eq!(lines(25, |_| None), ["w[1-25]  25  1.0  idle"]);
    }

    #[test]
    fn who_waits_for_its_turn_is_neither_idle_nor_running() {
        assert_eq!(
            lines(50, |n| (n > 48).then_some(("fetch", 1))),
            [
                "w[1-45]   45  1.0  idle",
                "w[46-48]  3   1.0  waiting for its turn in fetch",
                "w[49-50]  2   1.0  running fetch for 1.00 s",
            ]
        );
    }
}
