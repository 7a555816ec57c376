//! Every worker that is there, in worker order.

use std::ops::Range;
use std::sync::Arc;

use super::conn::Conn;
use crate::id::WorkerId;

/// Sorted by id. A client's workers come and go together, and where they stand is found without a
/// pass over all others: with ten thousand clients that pass would be most of what a join costs.
#[derive(Debug, Default)]
pub(super) struct Workers(Vec<Worker>);

/// A worker, and the connection and slot by which it is reached.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) id: WorkerId,
    pub(super) conn: Arc<Conn>,
    pub(super) slot: u32,
}

impl Workers {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &Worker> {
        self.0.iter()
    }

    /// The connection that leads to the worker `id`.
    pub(super) fn get(&self, id: &WorkerId) -> Option<&Arc<Conn>> {
        Some(&self.0[self.find(id).ok()?].conn)
    }

    /// The first of these ids that is there, and the connection that leads to it.
    pub(super) fn first_of<'a>(&self, ids: &'a [WorkerId]) -> Option<(&'a WorkerId, &Arc<Conn>)> {
        if self.gap(ids).is_some() {
            return None;
        }
        ids.iter().find_map(|id| Some((id, self.get(id)?)))
    }

    /// Where the workers of a connection stand, by slot; 0 for those that are not there.
    pub(super) fn positions(&self, conn: &Conn) -> Vec<usize> {
        match self.block(conn) {
            Some(block) => block.collect(),
            None => conn.workers.iter().map(|id| self.find(id).unwrap_or_default()).collect(),
        }
    }

    /// Takes in the workers of a connection, of whose ids none is there.
    pub(super) fn insert(&mut self, conn: &Arc<Conn>) {
        let worker = |(slot, id): (usize, &WorkerId)| Worker {
            id: id.clone(),
            conn: conn.clone(),
            slot: slot as u32,
        };
        let new = conn.workers.iter().enumerate().map(worker);
        match self.gap(&conn.workers) {
            Some(at) => drop(self.0.splice(at..at, new)),
            None => {
                self.0.extend(new);
                self.0.sort_by(|a, b| a.id.cmp(&b.id));
            }
        }
    }

    /// Lets the workers of a connection go.
    pub(super) fn remove(&mut self, conn: &Conn) {
        match self.block(conn) {
            Some(block) => drop(self.0.drain(block)),
            None => self.0.retain(|worker| worker.conn.key != conn.key),
        }
    }

    /// Where these ids go, if they are in order, and that is between two neighbours: as a client's
    /// are, `lab/1` to `lab/8`.
    fn gap(&self, ids: &[WorkerId]) -> Option<usize> {
        let at = self.find(ids.first()?).err()?;
        let fits = self.0.get(at).is_none_or(|next| ids.last() < Some(&next.id));
        (fits && ids.is_sorted()).then_some(at)
    }

    /// Where the workers of a connection stand, if they do so side by side, in order.
    fn block(&self, conn: &Conn) -> Option<Range<usize>> {
        let first = self.find(conn.workers.first()?).ok()?;
        let behind = first + conn.workers.len();
        // There are as many between the two ends as it has: where the ends are its own, all are.
        let together = self.0.get(behind - 1).map(|worker| &worker.id) == conn.workers.last();
        (together && conn.workers.is_sorted()).then_some(first..behind)
    }

    fn find(&self, id: &WorkerId) -> Result<usize, usize> {
        self.0.binary_search_by(|worker| worker.id.cmp(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{Outbox, Watched};
    use crate::wire::Hello;

    fn conn(key: u64, ids: &[&str]) -> Arc<Conn> {
        let hello = Hello {
            worker: String::new(),
            version: String::new(),
            methods: Vec::new(),
            server_methods: Vec::new(),
            client: key.to_string(),
            incarnation: 0,
            prefix: String::new(),
            workers: 1,
            max_message: 0,
        };
        let ids = ids.iter().map(|id| WorkerId::new(*id).expect("valid")).collect();
        let activity = Watched::new(tokio::io::empty()).activity();
        Arc::new(Conn::new(key, &hello, String::new(), "".into(), ids, Outbox::new(0), activity))
    }

    fn order(workers: &Workers) -> Vec<&str> {
        workers.iter().map(|worker| worker.id.as_str()).collect()
    }

    #[test]
    fn workers_stand_in_natural_order_however_they_come_and_go() {
        let lab = conn(1, &["lab/1", "lab/2", "lab/10"]);
        let (one, ten) = (conn(2, &["c1"]), conn(3, &["c10"]));
        // Not in order themselves, and between the others.
        let between = conn(4, &["lab/3", "c2"]);
        let mut workers = Workers::default();
        for conn in [&ten, &lab, &one, &between] {
            workers.insert(conn);
        }
        assert_eq!(order(&workers), ["c1", "c2", "c10", "lab/1", "lab/2", "lab/3", "lab/10"]);
        assert_eq!(workers.positions(&lab), [3, 4, 6]);
        assert_eq!(workers.positions(&between), [5, 1]);
        assert_eq!(workers.positions(&ten), [2]);
        let taken = |ids: &Arc<Conn>| {
            workers.first_of(&ids.workers).map(|(id, conn)| (id.to_string(), conn.key))
        };
        assert_eq!(taken(&conn(5, &["lab/0", "lab/3", "lab/4"])), Some(("lab/3".to_owned(), 4)));
        assert_eq!(taken(&conn(5, &["lab/4", "lab/5"])), None);
        assert_eq!(taken(&conn(5, &["lab/0", "lab/4"])), None);
        assert_eq!(workers.get(&between.workers[1]).map(|conn| conn.key), Some(4));

        // Another's stands among them.
        workers.remove(&lab);
        assert_eq!(order(&workers), ["c1", "c2", "c10", "lab/3"]);
        assert_eq!(workers.get(&lab.workers[0]).map(|conn| conn.key), None);
        workers.remove(&lab);
        workers.insert(&lab);
        workers.remove(&between);
        workers.remove(&lab);
        workers.remove(&one);
        assert_eq!((order(&workers), workers.len()), (vec!["c10"], 1));
    }
}
