//! How far a command is, in one line, for a terminal.

use std::collections::BTreeMap;
use std::future::pending;
use std::time::{Duration, Instant};

use crate::terminal::Screen;
use dp_core::engine::{MapStatus, WorkerStatus};

/// How often it is looked at.
const PERIOD: Duration = Duration::from_millis(500);

/// The longest list of methods.
const METHODS: usize = 4;

/// How long to wait at the most before the log says it again.
const LONGEST: Duration = Duration::from_secs(30);

/// Keeps the line up to date until it is dropped, or says it in the log now and then.
#[derive(Debug)]
pub(super) struct Progress {
    /// The log where there is none.
    screen: Option<Screen>,
    begun: Instant,
    next: Instant,
    period: Duration,
}

impl Progress {
    /// A command that is done before the first period is over is not worth a line.
    pub(super) fn start(screen: Option<&Screen>, logged: bool) -> Option<Self> {
        let period = match screen {
            Some(_) => PERIOD,
            None if logged => 2 * PERIOD,
            None => return None,
        };
        let begun = Instant::now();
        Some(Self { screen: screen.cloned(), begun, next: begun + period, period })
    }

    /// When it is time to look again; never where nobody watches. Cancel safe.
    pub(super) async fn tick(watched: &mut Option<Self>) {
        match watched {
            Some(watched) => tokio::time::sleep_until(watched.next.into()).await,
            None => pending().await,
        }
    }

    pub(super) fn show(&mut self, workers: &[WorkerStatus], maps: &[MapStatus]) {
        let workers = workers.iter().map(|status| Doing {
            worker: status.info.id().as_str(),
            running: status
                .running
                .as_ref()
                .map(|running| (running.method.as_str(), running.since)),
            postponed: status.postponed.is_some(),
        });
        let line = line(self.begun.elapsed(), workers, maps);
        match &self.screen {
            Some(screen) => screen.progress(Some(line)),
            None => {
                tracing::info!("{line}");
                self.period = (2 * self.period).min(LONGEST);
            }
        }
        self.next = Instant::now() + self.period;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(screen) = &self.screen {
            screen.progress(None);
        }
    }
}

/// What a worker is doing.
#[derive(Debug, Clone, Copy)]
struct Doing<'a> {
    worker: &'a str,
    running: Option<(&'a str, Duration)>,
    /// Whether its turn in a postponed call is still to come.
    postponed: bool,
}

fn line<'a>(
    elapsed: Duration,
    workers: impl Iterator<Item = Doing<'a>>,
    maps: &[MapStatus],
) -> String {
    let (mut all, mut done, mut waiting) = (0, 0, 0);
    let mut methods: BTreeMap<&str, usize> = BTreeMap::new();
    let mut slowest: Option<(&str, &str, Duration)> = None;
    for Doing { worker, running, postponed } in workers {
        all += 1;
        let Some((method, since)) = running else {
            *if postponed { &mut waiting } else { &mut done } += 1;
            continue;
        };
        *methods.entry(method).or_default() += 1;
        if slowest.is_none_or(|(_, _, most)| since > most) {
            slowest = Some((worker, method, since));
        }
    }
    let mut parts = vec![clock(elapsed)];
    parts.extend(maps.iter().map(|map| items(map.done, map.items, map.since)));
    parts.push(format!("{done} of {all} workers done"));
    if !methods.is_empty() {
        parts.push(in_methods(methods));
    }
    if waiting > 0 {
        parts.push(format!("{waiting} waiting for their turn"));
    }
    if let Some((worker, method, since)) = slowest {
        parts.push(format!("slowest {worker}, {} in {method}", clock(since)));
    }
    parts.join(" | ")
}

/// The methods that most workers are in first.
fn in_methods(methods: BTreeMap<&str, usize>) -> String {
    let mut methods: Vec<(&str, usize)> = methods.into_iter().collect();
    methods.sort_by_key(|&(_, workers)| std::cmp::Reverse(workers));
    let more = methods.len().saturating_sub(METHODS);
    let mut texts: Vec<String> = methods
        .iter()
        .take(METHODS)
        .map(|(method, workers)| format!("{workers} in {method}"))
        .collect();
    if more > 0 {
        texts.push(format!("{more} more methods"));
    }
    texts.join(", ")
}

/// How many items of a map are done, and about how long the others will take: as long for each as those
/// have taken.
fn items(done: usize, items: Option<usize>, since: Duration) -> String {
    match items {
        None => format!("{done} items"),
        Some(items) => {
            let left = (done > 0 && items >= done)
                .then(|| since.mul_f64((items - done) as f64 / done as f64));
            let left = left.map(|left| format!(", about {} left", clock(left))).unwrap_or_default();
            format!("{done} of {items} items{left}")
        }
    }
}

/// `4.2 s`, `1:07`, `2:05:09`.
pub(super) fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, _) => format!("{:.1} s", duration.as_secs_f64()),
        (0, minutes, seconds) => format!("{minutes}:{seconds:02}"),
        (hours, minutes, seconds) => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(workers: &[(&str, Option<(&str, u64)>)]) -> String {
        let workers = workers.iter().map(|&(worker, running)| Doing {
            worker,
            running: running.map(|(method, seconds)| (method, Duration::from_secs(seconds))),
            postponed: worker == "postponed",
        });
        line(Duration::from_millis(4250), workers, &[])
    }

    #[test]
    fn the_line_says_who_is_done_where_the_others_are_and_who_is_slowest() {
        assert_eq!(
            said(&[
                ("w1", None),
                ("w2", Some(("fetch", 2))),
                ("w3", Some(("fetch", 67))),
                ("w4", Some(("check", 1))),
            ]),
            "4.2 s | 1 of 4 workers done | 2 in fetch, 1 in check | slowest w3, 1:07 in fetch"
        );
        assert_eq!(said(&[("w1", None)]), "4.2 s | 1 of 1 workers done");
        assert_eq!(
            said(&[("w1", None), ("postponed", None)]),
            "4.2 s | 1 of 2 workers done | 1 waiting for their turn"
        );
    }

    #[test]
    fn many_methods_are_not_all_listed() {
        let names = ["a", "b", "c", "d", "e", "f"];
        let workers: Vec<_> = names.iter().map(|name| (*name, Some((*name, 1)))).collect();
        assert!(said(&workers).contains("1 in a, 1 in b, 1 in c, 1 in d, 2 more methods"));
    }

    #[test]
    fn the_items_that_are_left_take_as_long_as_those_that_are_done() {
        let after = Duration::from_secs(30);
        assert_eq!(items(0, Some(90), after), "0 of 90 items");
        assert_eq!(items(10, Some(90), after), "10 of 90 items, about 4:00 left");
        assert_eq!(items(60, Some(90), after), "60 of 90 items, about 15.0 s left");
        assert_eq!(items(90, Some(90), after), "90 of 90 items, about 0.0 s left");
        // The iterator does not know, or said too little.
        assert_eq!(items(7, None, after), "7 items");
        assert_eq!(items(91, Some(90), after), "91 of 90 items");
    }

    #[test]
    fn times_are_as_long_as_they_have_to_be() {
        let said = [0, 59, 61, 7509].map(|seconds| clock(Duration::from_secs(seconds)));
        assert_eq!(said, ["0.0 s", "59.0 s", "1:01", "2:05:09"]);
    }
}
