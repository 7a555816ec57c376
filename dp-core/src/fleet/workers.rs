//! Every worker that is there, in worker order.

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

    /// Where the workers of a connection stand, by slot; 0 for those that are not there.
    pub(super) fn positions(&self, conn: &Conn) -> Vec<usize> {
        conn.workers.iter().map(|id| self.find(id).unwrap_or_default()).collect()
    }

    /// Takes in the workers of a connection, of whose ids none is there.
    pub(super) fn insert(&mut self, conn: &Arc<Conn>) {
        let worker = |(slot, id): (usize, &WorkerId)| Worker {
            id: id.clone(),
            conn: conn.clone(),
            slot: slot as u32,
        };
        let new = conn.workers.iter().enumerate().map(worker);
        match self.gap(conn) {
            Some(at) => drop(self.0.splice(at..at, new)),
            None => {
                self.0.extend(new);
                self.0.sort_by(|a, b| a.id.cmp(&b.id));
            }
        }
    }

    /// Where the workers of a connection go, if that is between two neighbours: theirs are ids like
    /// `lab/1` to `lab/8`, in this order.
    fn gap(&self, conn: &Conn) -> Option<usize> {
        let at = self.find(conn.workers.first()?).err()?;
        let fits = self.0.get(at).is_none_or(|next| conn.workers.last() < Some(&next.id));
        (fits && conn.workers.is_sorted()).then_some(at)
    }

    /// Lets the workers of a connection go.
    pub(super) fn remove(&mut self, conn: &Conn) {
        let first = conn.workers.first().and_then(|id| self.find(id).ok());
        let Some(first) = first else { return };
        let behind = first + conn.workers.len();
        // Between these two are as many as it has: where both are its own, so are all, in order.
        let together = self.0.get(behind - 1).map(|worker| &worker.id) == conn.workers.last();
        if together && conn.workers.is_sorted() {
            self.0.drain(first..behind);
        } else {
            self.0.retain(|worker| worker.conn.key != conn.key);
        }
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
