//! The runs of a server: the one under way, and those that are over.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::report::Report;

/// So many past runs are kept to compare with, all but the last without their result lines.
const KEPT: usize = 20;

/// Who began a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The console, or the program itself.
    Program,
    /// Somebody at the live page.
    #[cfg_attr(not(feature = "page"), allow(dead_code))]
    Page,
}

/// The runs of a server. Cheap to clone; whoever wants to know is told of changes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runs(watch::Sender<RunState>);

#[derive(Debug, Default)]
#[cfg_attr(not(feature = "page"), allow(dead_code))]
pub(crate) struct RunState {
    /// How many have begun.
    pub(crate) begun: u64,
    pub(crate) current: Option<Current>,
    /// The last one last.
    pub(crate) past: VecDeque<Arc<Past>>,
    /// How many ended well, failed, and were cancelled.
    pub(crate) ended: [u64; 3],
}

/// The run under way.
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "page"), allow(dead_code))]
pub(crate) struct Current {
    pub(crate) number: u64,
    pub(crate) origin: Origin,
    pub(crate) started: Timestamp,
    pub(crate) since: Instant,
    /// The workers have been told to begin with an empty record.
    pub(crate) under_way: bool,
    /// The run itself is over, and its results are on their way.
    pub(crate) gathering: bool,
}

/// A run that is over.
#[derive(Debug)]
#[cfg_attr(not(feature = "page"), allow(dead_code))]
pub(crate) struct Past {
    pub(crate) number: u64,
    pub(crate) origin: Origin,
    pub(crate) report: Report,
    /// How many lines it had.
    pub(crate) results: usize,
}

/// A run that is entered as the one under way, until this is dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    runs: Runs,
    number: u64,
    origin: Origin,
}

impl Runs {
    pub(crate) fn begin(&self, origin: Origin, started: Timestamp) -> Entry {
        let mut number = 0;
        self.0.send_modify(|state| {
            state.begun += 1;
            number = state.begun;
            let since = Instant::now();
            let (under_way, gathering) = (false, false);
            state.current = Some(Current { number, origin, started, since, under_way, gathering });
        });
        Entry { runs: self.clone(), number, origin }
    }

    /// Changes what is known of the run of this number, if it is the one under way.
    fn change(&self, number: u64, change: impl FnOnce(&mut Current)) {
        self.0.send_if_modified(|state| {
            let current = state.current.as_mut().filter(|current| current.number == number);
            current.map(change).is_some()
        });
    }

    /// The report of the last run.
    pub(crate) fn last(&self) -> Option<Report> {
        self.0.borrow().past.back().map(|past| past.report.clone())
    }

    /// Tells of every change from now on, or of the latest.
    pub(crate) fn watch(&self) -> watch::Receiver<RunState> {
        self.0.subscribe()
    }
}

impl Entry {
    /// Which run it is, from 1.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// `run`, which tells the workers to begin with an empty record when it is first polled.
    pub(crate) fn under_way<T>(
        &self,
        run: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + Send + 'static {
        let (runs, number, mut run) = (self.runs.clone(), self.number, Box::pin(run));
        let mut told = false;
        poll_fn(move |cx| {
            let polled = run.as_mut().poll(cx);
            if !std::mem::replace(&mut told, true) {
                runs.change(number, |current| current.under_way = true);
            }
            polled
        })
    }

    pub(crate) fn gathering(&self) {
        self.runs.change(self.number, |current| current.gathering = true);
    }

    /// The run is over.
    pub(crate) fn end(self, report: Report) {
        let (number, origin, results) = (self.number, self.origin, report.results().len());
        self.runs.0.send_modify(|state| {
            // The next one may have begun already.
            if state.current.as_ref().is_some_and(|run| run.number == number) {
                state.current = None;
            }
            let ended = match (report.is_ok(), report.is_cancelled()) {
                (true, _) => 0,
                (false, false) => 1,
                (false, true) => 2,
            };
            state.ended[ended] += 1;
            if let Some(before) = state.past.pop_back() {
                let report = before.report.without_results();
                let Past { number, origin, results, .. } = *before;
                state.past.push_back(Arc::new(Past { number, origin, report, results }));
            }
            while state.past.len() >= KEPT {
                state.past.pop_front();
            }
            state.past.push_back(Arc::new(Past { number, origin, report, results }));
        });
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // Where it was given up before its end.
        self.runs.0.send_if_modified(|state| {
            let ours = state.current.as_ref().is_some_and(|run| run.number == self.number);
            if ours {
                state.current = None;
            }
            ours
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example;

    #[test]
    fn the_last_run_keeps_its_results_and_those_before_their_number() {
        let runs = Runs::default();
        for _ in 0..KEPT + 3 {
            runs.begin(Origin::Program, Timestamp::UNIX_EPOCH).end(example());
        }
        let state = runs.watch();
        let state = state.borrow();
        assert_eq!((state.past.len(), state.begun), (KEPT, 23));
        assert!(state.current.is_none());
        let lines: Vec<_> = state.past.iter().map(|past| past.report.results().len()).collect();
        assert_eq!((lines[KEPT - 1], lines[..KEPT - 1].iter().sum::<usize>()), (1, 0));
        assert!(state.past.iter().all(|past| past.results == 1));
        assert_eq!(runs.last().unwrap().results().len(), 1);
    }

    #[test]
    fn a_run_that_is_given_up_is_under_way_no_longer() {
        let runs = Runs::default();
        let entry = runs.begin(Origin::Page, Timestamp::UNIX_EPOCH);
        assert!(runs.watch().borrow().current.is_some());
        drop(entry);
        assert!(runs.watch().borrow().current.is_none() && runs.last().is_none());
    }
}
