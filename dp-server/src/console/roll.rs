//! Who is there, as far as the console has said so.

use std::collections::BTreeSet;

use dp_core::WorkerId;

/// Something to announce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    Arrived(WorkerId),
    Departed {
        worker: WorkerId,
        /// Empty where it is not known any more.
        reason: String,
    },
    /// Enough workers are there; so many.
    Ready(usize),
}

/// The workers that have been announced. It takes what happens, in any mixture of single events and
/// whole rosters, and makes each difference news once.
#[derive(Debug)]
pub(crate) struct Roll {
    here: BTreeSet<WorkerId>,
    needed: usize,
    ready: bool,
    news: Vec<News>,
}

impl Roll {
    pub(crate) fn new(needed: usize) -> Self {
        Self { here: BTreeSet::new(), needed, ready: false, news: Vec::new() }
    }

    pub(crate) fn arrived<'a>(&mut self, workers: impl IntoIterator<Item = &'a WorkerId>) {
        for worker in workers {
            if self.here.insert(worker.clone()) {
                self.news.push(News::Arrived(worker.clone()));
            }
        }
        self.weigh();
    }

    pub(crate) fn departed<'a>(
        &mut self,
        workers: impl IntoIterator<Item = &'a WorkerId>,
        reason: &str,
    ) {
        for worker in workers {
            if self.here.remove(worker) {
                let reason = reason.to_owned();
                self.news.push(News::Departed { worker: worker.clone(), reason });
            }
        }
        self.weigh();
    }

    /// Everyone who is there now.
    pub(crate) fn taken<'a>(&mut self, workers: impl IntoIterator<Item = &'a WorkerId>) {
        let now: BTreeSet<WorkerId> = workers.into_iter().cloned().collect();
        let gone: Vec<WorkerId> = self.here.difference(&now).cloned().collect();
        self.departed(&gone, "");
        self.arrived(&now);
    }

    /// What has not been said yet, in order.
    pub(crate) fn news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    fn weigh(&mut self) {
        let enough = self.here.len() >= self.needed;
        if enough && !self.ready {
            self.news.push(News::Ready(self.here.len()));
        }
        self.ready = enough;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(names: &[&str]) -> Vec<WorkerId> {
        names.iter().map(|&name| WorkerId::new(name).unwrap()).collect()
    }

    /// The news in short: `+w1`, `-w1`, `ready`.
    fn short(roll: &mut Roll) -> Vec<String> {
        let one = |news| match news {
            News::Arrived(worker) => format!("+{worker}"),
            News::Departed { worker, .. } => format!("-{worker}"),
            News::Ready(_) => "ready".to_owned(),
        };
        roll.news().into_iter().map(one).collect()
    }

    #[test]
    fn ready_is_said_when_enough_have_joined_and_not_again_when_more_do() {
        let mut roll = Roll::new(2);
        roll.arrived(&ids(&["w1"]));
        roll.arrived(&ids(&["w2"]));
        roll.arrived(&ids(&["w3"]));
        assert_eq!(short(&mut roll), ["+w1", "+w2", "ready", "+w3"]);
    }

    #[test]
    fn ready_is_said_again_after_there_were_too_few() {
        let mut roll = Roll::new(2);
        roll.arrived(&ids(&["w1", "w2"]));
        roll.departed(&ids(&["w1"]), "lost");
        roll.arrived(&ids(&["w1"]));
        assert_eq!(short(&mut roll), ["+w1", "+w2", "ready", "-w1", "+w1", "ready"]);
    }

    #[test]
    fn every_worker_of_a_client_comes_before_ready() {
        let mut roll = Roll::new(2);
        roll.arrived(&ids(&["c/1", "c/2", "c/3", "c/4"]));
        assert_eq!(short(&mut roll), ["+c/1", "+c/2", "+c/3", "+c/4", "ready"]);
    }

    #[test]
    fn who_is_in_the_roster_and_in_an_event_is_announced_once() {
        let mut roll = Roll::new(9);
        roll.taken(&ids(&["w1"]));
        roll.arrived(&ids(&["w1"]));
        roll.departed(&ids(&["w2"]), "left before the roll was taken");
        assert_eq!(short(&mut roll), ["+w1"]);
    }

    #[test]
    fn a_roster_makes_up_for_events_that_were_missed() {
        let mut roll = Roll::new(1);
        roll.taken(&ids(&["w1", "w2"]));
        assert_eq!(short(&mut roll), ["+w1", "+w2", "ready"]);
        roll.taken(&ids(&["w2", "w3"]));
        assert_eq!(short(&mut roll), ["-w1", "+w3"]);
    }

    #[test]
    fn nobody_is_enough_where_nobody_is_needed() {
        let mut roll = Roll::new(0);
        roll.taken(&[]);
        assert_eq!(short(&mut roll), ["ready"]);
    }
}
