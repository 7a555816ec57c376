//! Taking a client into the roster, and letting it go.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::conn::{Conn, Waiting};
use super::core::Members;
use super::send::micros;
use super::{Core, FleetEvent, Peer};
use crate::id::{WorkerId, WorkerInfo};
use crate::link::{Activity, Outbox};
use crate::proto::handshake::{compare, printable, worker_ids};
use crate::sync::lock;
use crate::text::PeerText;
use crate::wire::{Hello, Welcome};

/// Why a client is not taken in.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) reason: String,
    /// Where another client stands in the way: for how long it has been silent.
    pub(super) silent: Option<Duration>,
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self { reason, silent: None }
    }
}

impl Core {
    /// Takes the client in, and gives what it is to be told; or says why not.
    ///
    /// It can be called from now on, behind the welcome; [`arrived`](Self::arrived) tells everybody
    /// once that is written.
    pub(super) fn join(
        &self,
        hello: &Hello,
        peer: &Peer,
        activity: &Activity,
    ) -> Result<(Arc<Conn>, Welcome), Refusal> {
        if let Some(names) = &peer.names
            && !names.contains(&hello.client)
        {
            let reason = format!(
                "its certificate is for {}, its id is {}: start it with the --id that its \
                 certificate is for, or none",
                names.join(" and "),
                printable(&hello.client)
            );
            return Err(reason.into());
        }
        if peer.names.is_some()
            && !hello.prefix.is_empty()
            && hello.prefix != format!("{}/", hello.client)
        {
            // The certificate would be worth nothing if its workers could be called like another's.
            let reason = format!("its workers' ids do not begin with its own, {}", hello.client);
            return Err(reason.into());
        }
        let address = &peer.address;
        compare(&self.contract, hello)?;
        if let Some(left) = self.kept_out.left(&hello.client, Instant::now()) {
            return Err(format!(
                "it was disconnected on purpose, and may come back in {:.0?}",
                left.max(Duration::from_secs(1))
            )
            .into());
        }
        let max_workers = self.limits.max_workers_per_client;
        if hello.workers as usize > max_workers {
            return Err(format!(
                "it has {} workers, and one client may have {max_workers} \
                 (max_workers_per_client of the server)",
                hello.workers
            )
            .into());
        }
        if hello.workers == 0 || (hello.prefix.is_empty() && hello.workers != 1) {
            let reason = format!("it can't host {} workers of such ids", hello.workers);
            return Err(reason.into());
        }
        if let Some(before) = self.connection_of(hello) {
            // The client knows sooner than this side that its connection has broken.
            self.leave(&before, "replaced by a new connection of the same client");
        }
        let ids = match (hello.workers as usize) <= self.limits.max_workers {
            true => worker_ids(hello).map_err(|error| error.to_string())?,
            false => Vec::new(),
        };
        let mut members = lock(&self.roster);
        // Under the lock: whoever closes everything sees this client, or this client sees that.
        if self.refusing.load(Ordering::Acquire) {
            return Err("the server is shutting down".to_owned().into());
        }
        let max_workers = self.limits.max_workers;
        if members.workers.len() + hello.workers as usize > max_workers {
            let reason = format!(
                "with its {} workers there would be more than {max_workers} (max_workers of the \
                 server)",
                hello.workers
            );
            return Err(reason.into());
        }
        if members.conns.len() >= self.limits.max_clients {
            let max = self.limits.max_clients;
            let reason = format!("there are {max} clients already (max_clients of the server)");
            return Err(reason.into());
        }
        if let Some(refusal) = members.taken(hello, &ids) {
            return Err(refusal);
        }

        members.next_conn += 1;
        members.epoch += 1;
        members.snapshot = None;
        // The peer says what it takes; the length field of a frame can't say more than this.
        let peer_max = usize::try_from(hello.max_message).unwrap_or(usize::MAX);
        let outbox = Outbox::new(peer_max.min(u32::MAX as usize));
        let version = PeerText::within(&hello.version, 64).into();
        let key = members.next_conn;
        let (address_here, activity) = (address.as_str().into(), activity.clone());
        let mut conn = Conn::new(key, hello, version, address_here, ids, outbox, activity);
        conn.fan_out = peer.fan_out.clone();
        let conn = Arc::new(conn);
        members.workers.insert(&conn);
        let positions = members.workers.positions(&conn).into_iter().map(|at| at as u32).collect();
        members.clients.insert(conn.client.clone(), key);
        members.conns.insert(key, conn.clone());

        let welcome = Welcome {
            max_message: self.limits.frame_limit() as u64,
            address: address.clone(),
            positions,
            heartbeat_interval: micros(self.limits.heartbeat_interval),
            heartbeat_timeout: micros(self.limits.heartbeat_timeout),
        };
        Ok((conn, welcome))
    }

    /// The connection by which the same client process is here already.
    fn connection_of(&self, hello: &Hello) -> Option<Arc<Conn>> {
        let members = lock(&self.roster);
        let conn = members.conns.get(members.clients.get(hello.client.as_str())?)?;
        (conn.incarnation == hello.incarnation).then(|| conn.clone())
    }

    /// The client knows that it has joined: now everybody else is told.
    pub(super) fn arrived(&self, conn: &Conn) {
        self.hand_records_back(conn);
        let mut members = lock(&self.roster);
        if !members.conns.contains_key(&conn.key) {
            // It has been replaced already: whoever hears of it would wait for its departure.
            return;
        }
        conn.announced.store(true, Ordering::Release);
        members.announced += conn.workers.len();
        // Under the lock, so that everybody hears of arrival and departure in this order. No
        // subscriber is no error.
        let (client, workers) = (conn.client.to_string(), infos(conn, &members));
        let _ = self.events.send(FleetEvent::Arrived { client, workers });
        self.count.send_replace(members.announced);
    }

    /// A worker waits no longer for what it asked for.
    pub(super) fn handle_withdraw(&self, conn: &Conn, wait: u64) {
        let waiting = lock(&conn.waits).get(&wait).cloned();
        match waiting {
            Some(Waiting::ServerCall(task)) => task.withdraw(),
            Some(Waiting::Barrier { call, position }) => {
                lock(&conn.waits).remove(&wait);
                self.with_calls(|calls, todo| calls.handle_withdraw(call, (position, wait), todo));
            }
            // Answered meanwhile.
            None => {}
        }
    }

    /// The client's connection has ended. Calling it again changes nothing.
    pub(super) fn leave(&self, conn: &Conn, reason: &str) {
        // Closed first: from here on no call is sent there; those that were are in the table.
        conn.outbox.close();
        self.keep_records(conn);
        {
            let mut members = lock(&self.roster);
            if !members.conns.contains_key(&conn.key) {
                return;
            }
            let workers = infos(conn, &members);
            members.conns.remove(&conn.key);
            members.clients.remove(&conn.client);
            members.workers.remove(conn);
            members.epoch += 1;
            members.snapshot = None;
            if conn.announced.load(Ordering::Acquire) {
                members.announced -= conn.workers.len();
                let (client, reason) = (conn.client.to_string(), reason.to_owned());
                let _ = self.events.send(FleetEvent::Departed { client, workers, reason });
                self.count.send_replace(members.announced);
            }
        }
        // Whoever learns from a lost call that a worker is gone finds it gone from the roster.
        self.with_calls(|calls, todo| calls.handle_lost(conn, reason, todo));
        self.room.notify_waiters();
        let waits = std::mem::take(&mut *lock(&conn.waits));
        for waiting in waits.into_values() {
            if let Waiting::ServerCall(task) = waiting {
                task.withdraw();
            }
        }
    }
}

impl Members {
    /// Whether another client has one of the ids already.
    fn taken(&self, hello: &Hello, ids: &[WorkerId]) -> Option<Refusal> {
        let client = self.clients.get(hello.client.as_str()).and_then(|key| self.conns.get(key));
        let (holder, reason) = match client {
            Some(holder) => {
                let id = &hello.client;
                (
                    holder,
                    format!("there is a client with the id {id} already: give each its own --id"),
                )
            }
            None => {
                let (id, holder) = self.workers.first_of(ids)?;
                let reason = format!(
                    "there is a worker with the id {id} already: give each client its own --id"
                );
                (holder, reason)
            }
        };
        Some(Refusal { reason, silent: Some(holder.activity.silence()) })
    }
}

/// The workers of a client as they stand in the roster now.
fn infos(conn: &Conn, members: &Members) -> Vec<WorkerInfo> {
    let info = |(id, index): (&WorkerId, usize)| {
        WorkerInfo::new(id.clone(), index, conn.client.clone(), conn.address.clone())
    };
    conn.workers.iter().zip(members.workers.positions(conn)).map(info).collect()
}

#[cfg(test)]
mod tests {
    use crate::engine::{Fleet, Host, Limits, Peer};
    use crate::{Context, distributed_worker};

    struct Subject;

    #[distributed_worker(crate = crate)]
    impl Subject {
        #[remote]
        fn nothing(&self, _ctx: &Context<Self>) {}
    }

    #[tokio::test]
    async fn a_certificate_is_good_for_no_other_clients_workers() {
        let runtime = tokio::runtime::Handle::current;
        for (prefix, workers, taken) in
            [("lab1/", 2, true), ("", 1, true), ("lab2/", 2, false), ("lab", 1, false)]
        {
            let fleet = Fleet::<Subject>::new(Limits::default(), (), runtime());
            let (client_end, server_end) = tokio::io::duplex(1 << 20);
            let (client, prefix) = ("lab1".to_owned(), prefix.to_owned());
            let limits = Limits::default();
            let host = Host::with_prefix(client, prefix, workers, limits, runtime(), |_| Subject);
            tokio::spawn(async move { host.serve(client_end, "memory".to_owned()).await });
            let peer = Peer::new("memory").with_names(Some(vec!["lab1".to_owned()]));
            assert_eq!(fleet.admit(server_end, &peer).await.is_ok(), taken);
        }
    }
}
