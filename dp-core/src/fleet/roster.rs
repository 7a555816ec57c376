//! A fixed snapshot of workers, and how they are reached.

use std::collections::HashMap;
use std::sync::Arc;

use super::conn::Conn;
use crate::id::WorkerInfo;
use crate::wire::Targets;

/// Workers in worker order, grouped by the connection that leads to them.
#[derive(Debug)]
pub(crate) struct Roster {
    pub(crate) members: Vec<Member>,
    /// One part for each connection, sorted by its key.
    pub(crate) parts: Vec<Part>,
    /// Which state of the whole roster this was taken from.
    pub(crate) epoch: u64,
    /// Whether it has everybody who was there.
    pub(crate) whole: bool,
}

/// A worker, and the connection and slot by which it is reached.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) info: WorkerInfo,
    pub(crate) conn: Arc<Conn>,
    pub(crate) slot: u32,
}

/// The members that are behind one connection.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) conn: Arc<Conn>,
    pub(crate) targets: Targets,
    /// The roster positions of all workers of the connection, by slot.
    pub(crate) indexes: Arc<[u32]>,
    /// The member at a slot, by slot.
    members: Vec<Option<u32>>,
}

impl Roster {
    /// A snapshot of everybody: member `i` is at index `i`.
    pub(crate) fn whole(members: Vec<Member>, epoch: u64) -> Self {
        let mut indexes: HashMap<u64, Vec<u32>> = HashMap::new();
        for (index, member) in members.iter().enumerate() {
            let of_conn = indexes
                .entry(member.conn.key)
                .or_insert_with(|| vec![0; member.conn.workers.len()]);
            if let Some(slot) = of_conn.get_mut(member.slot as usize) {
                *slot = index as u32;
            }
        }
        let indexes = indexes.into_iter().map(|(key, of_conn)| (key, of_conn.into())).collect();
        Self { whole: true, ..Self::build(members, epoch, &indexes) }
    }

    /// A snapshot of some of these.
    pub(crate) fn select(&self, mut keep: impl FnMut(&WorkerInfo) -> bool) -> Self {
        let members = self.members.iter().filter(|member| keep(&member.info)).cloned().collect();
        let indexes = self.parts.iter().map(|part| (part.conn.key, part.indexes.clone())).collect();
        Self::build(members, self.epoch, &indexes)
    }

    fn build(members: Vec<Member>, epoch: u64, indexes: &HashMap<u64, Arc<[u32]>>) -> Self {
        let mut parts: Vec<Part> = Vec::new();
        let mut part_of: HashMap<u64, usize> = HashMap::new();
        for (position, member) in members.iter().enumerate() {
            let at = *part_of.entry(member.conn.key).or_insert_with(|| {
                parts.push(Part {
                    conn: member.conn.clone(),
                    targets: Targets::All,
                    indexes: indexes.get(&member.conn.key).cloned().unwrap_or_default(),
                    members: vec![None; member.conn.workers.len()],
                });
                parts.len() - 1
            });
            if let Some(slot) = parts[at].members.get_mut(member.slot as usize) {
                *slot = Some(position as u32);
            }
        }
        for part in &mut parts {
            if part.members.iter().any(Option::is_none) {
                let slots = part.members.iter().enumerate();
                let slots = slots.filter(|(_, member)| member.is_some());
                part.targets = Targets::Some(slots.map(|(slot, _)| slot as u32).collect());
            }
        }
        parts.sort_by_key(|part| part.conn.key);
        Self { members, parts, epoch, whole: false }
    }

    pub(crate) fn part(&self, conn: u64) -> Option<&Part> {
        let at = self.parts.binary_search_by_key(&conn, |part| part.conn.key).ok()?;
        self.parts.get(at)
    }
}

impl Part {
    /// The positions in the roster of the members behind this connection.
    pub(crate) fn positions(&self) -> impl Iterator<Item = usize> {
        self.members.iter().flatten().map(|position| *position as usize)
    }

    /// The position in the roster of the member at `slot`.
    pub(crate) fn position(&self, slot: u32) -> Option<usize> {
        Some((*self.members.get(slot as usize)?)? as usize)
    }
}

/// Whom one call addresses.
#[derive(Debug, Clone)]
pub(crate) enum Audience {
    All(Arc<Roster>),
    One(Arc<Roster>, usize),
}

impl Audience {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::All(roster) => roster.members.len(),
            Self::One(..) => 1,
        }
    }

    /// Whether it is everybody who was there.
    pub(crate) fn is_everybody(&self) -> bool {
        matches!(self, Self::All(roster) if roster.whole)
    }

    pub(crate) fn members(&self) -> &[Member] {
        match self {
            Self::All(roster) => &roster.members,
            Self::One(roster, position) => &roster.members[*position..=*position],
        }
    }

    /// The position, among those addressed, of the worker at `slot` behind the connection `conn`.
    pub(crate) fn position(&self, conn: u64, slot: u32) -> Option<usize> {
        match self {
            Self::All(roster) => roster.part(conn)?.position(slot),
            Self::One(..) => {
                let member = self.members().first()?;
                (member.conn.key == conn && member.slot == slot).then_some(0)
            }
        }
    }

    /// The positions, among those addressed, of the workers behind the connection `conn`.
    pub(crate) fn positions_behind(&self, conn: u64) -> Vec<usize> {
        match self {
            Self::All(roster) => {
                roster.part(conn).map(|part| part.positions().collect()).unwrap_or_default()
            }
            Self::One(..) => {
                let behind = self.members().iter().filter(|member| member.conn.key == conn);
                behind.map(|_| 0).collect()
            }
        }
    }
}
