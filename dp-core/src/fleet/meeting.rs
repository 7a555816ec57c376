//! Barriers, on the server: the workers of one call meet.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::MethodNames;
use super::conn::{Conn, Waiting};
use super::in_flight::InFlight;
use super::todo::Todo;
use crate::bound::cut;
use crate::proto::barrier::{Arrival, BarrierVerdict, Barriers, Missing};
use crate::sync::lock;
use crate::wire::{Arrive, MissingWorker, Release, Verdict};

/// Who waits: its position among those addressed, and the number that its client gave the wait.
pub(crate) type WaitKey = (usize, u64);

/// The barriers of one call.
#[derive(Debug)]
pub(crate) struct Meetings {
    barriers: Barriers<WaitKey>,
    /// Those whose turn is still to come, and when it does.
    turns: BTreeMap<WaitKey, (Instant, BarrierVerdict)>,
    /// Turns that were entered among the deadlines and will not come.
    dropped: Vec<(Instant, WaitKey)>,
    /// When the barriers are to be looked at again: entered among the deadlines once.
    armed: Option<Instant>,
}

/// So many bytes of those missing are told of in one release at most, and so many waits are in it: with
/// both it is shorter than the shortest frame that a client may insist on.
const MAX_TOLD: usize = 32 << 10;
const MAX_WAITS: usize = 2_048;
/// So many bytes of why a worker is gone are kept.
const MAX_WHY: usize = 256;

/// What a step leaves to be done at a later time.
#[derive(Debug, Default)]
pub(crate) struct Later {
    pub(crate) turns: Vec<(Instant, WaitKey)>,
    /// Turns that will not come.
    pub(crate) dropped: Vec<(Instant, WaitKey)>,
    /// A change of when the barriers are to be looked at again: from, to.
    pub(crate) rearm: Option<(Option<Instant>, Option<Instant>)>,
}

impl Meetings {
    pub(crate) fn new(members: usize) -> Self {
        let (turns, dropped) = (BTreeMap::new(), Vec::new());
        Self { barriers: Barriers::new(members), turns, dropped, armed: None }
    }

    /// The barriers at which somebody waits, by token: who has come, and who has not and may yet.
    pub(crate) fn snapshot(&self, members: usize) -> Vec<(String, Vec<usize>, Vec<usize>)> {
        let of = |(token, arrived): (&str, Vec<usize>)| {
            // Both are in order.
            let absent = |at: &usize| arrived.binary_search(at).is_err();
            let awaited =
                (0..members).filter(absent).filter(|at| self.barriers.gone(*at).is_none());
            let awaited = awaited.collect();
            (token.to_owned(), arrived, awaited)
        };
        self.barriers.arrived().into_iter().map(of).collect()
    }

    pub(crate) fn handle_arrive(
        &mut self,
        position: usize,
        arrive: &Arrive,
        now: Instant,
        period: Duration,
    ) {
        // A deadline too far away for the clock is none.
        let timeout = arrive.timeout.map(Duration::from_micros);
        let deadline = timeout.and_then(|timeout| now.checked_add(timeout));
        let arrival = Arrival {
            key: (position, arrive.wait),
            position,
            staggered: arrive.staggered,
            survivors: arrive.survivors,
            deadline,
        };
        self.barriers.handle_arrive(&arrive.token, arrival, now, period);
    }

    pub(crate) fn handle_gone(
        &mut self,
        position: usize,
        mut why: String,
        now: Instant,
        period: Duration,
    ) {
        cut(&mut why, MAX_WHY);
        self.barriers.handle_gone(position, why, now, period);
    }

    pub(crate) fn handle_withdraw(&mut self, key: WaitKey) {
        let turn = self.turns.remove(&key);
        self.dropped.extend(turn.map(|(at, _)| (at, key)));
        self.barriers.handle_withdraw(&key);
    }

    pub(crate) fn handle_time(&mut self, now: Instant) {
        self.armed = None;
        self.barriers.handle_time(now);
    }

    /// The turn of `key` has come.
    pub(crate) fn handle_turn(
        &mut self,
        key: WaitKey,
        call: &InFlight,
        names: &MethodNames,
        todo: &mut Todo,
    ) {
        if let Some((_, verdict)) = self.turns.remove(&key) {
            self.release(vec![(key, verdict)], call, names, todo);
        }
    }

    /// All turns have come.
    pub(crate) fn release_turns(&mut self, call: &InFlight, names: &MethodNames, todo: &mut Todo) {
        let turns = std::mem::take(&mut self.turns);
        self.dropped.extend(turns.iter().map(|(key, (at, _))| (*at, *key)));
        let turns = turns.into_iter().map(|(key, (_, verdict))| (key, verdict)).collect();
        self.release(turns, call, names, todo);
    }

    /// Sends whoever can go on, and says whose turn comes later.
    pub(crate) fn flush(
        &mut self,
        call: &InFlight,
        names: &MethodNames,
        now: Instant,
        todo: &mut Todo,
    ) -> Later {
        let (mut at_once, mut later) = (Vec::new(), Later::default());
        while let Some(release) = self.barriers.poll_release() {
            match release.at {
                Some(at) if at > now => {
                    self.turns.insert(release.key, (at, release.verdict));
                    later.turns.push((at, release.key));
                }
                _ => at_once.push((release.key, release.verdict)),
            }
        }
        self.release(at_once, call, names, todo);
        let next = self.barriers.next_deadline();
        if next != self.armed {
            later.rearm = Some((self.armed, next));
            self.armed = next;
        }
        later.dropped = std::mem::take(&mut self.dropped);
        later
    }

    /// One frame for each connection and verdict.
    fn release(
        &self,
        releases: Vec<(WaitKey, BarrierVerdict)>,
        call: &InFlight,
        names: &MethodNames,
        todo: &mut Todo,
    ) {
        let mut frames: Vec<(Arc<Conn>, BarrierVerdict, Vec<u64>)> = Vec::new();
        let mut frame_of: HashMap<u64, usize> = HashMap::new();
        for ((position, wait), verdict) in releases {
            let Some(member) = call.audience.members().get(position) else { continue };
            let conn = &member.conn;
            lock(&conn.waits).remove(&wait);
            match frame_of.get(&conn.key).map(|at| &mut frames[*at]) {
                Some((_, same, waits)) if *same == verdict && waits.len() < MAX_WAITS => {
                    waits.push(wait);
                }
                _ => {
                    frame_of.insert(conn.key, frames.len());
                    frames.push((conn.clone(), verdict, vec![wait]));
                }
            }
        }
        for (conn, verdict, waits) in frames {
            let verdict = self.told(verdict, call, names);
            todo.release(conn, Release { waits, verdict });
        }
    }

    /// The verdict as the workers are told it.
    fn told(&self, verdict: BarrierVerdict, call: &InFlight, names: &MethodNames) -> Verdict {
        let named = |missing: Missing| self.named(&missing, call, names);
        match verdict {
            BarrierVerdict::Met { missing } => Verdict::Met { missing: named(missing) },
            BarrierVerdict::Lost { missing } => Verdict::Lost { missing: named(missing) },
            BarrierVerdict::TimedOut { missing } => Verdict::TimedOut { missing: named(missing) },
        }
    }

    /// Those missing, by name; in the last one's state, how many there are beside these.
    fn named(&self, missing: &Missing, call: &InFlight, names: &MethodNames) -> Vec<MissingWorker> {
        let (mut named, mut bytes) = (Vec::new(), 0);
        let mut more = missing.more;
        for &position in &*missing.named {
            let Some(worker) = self.missing(position, call, names) else { continue };
            bytes += worker.worker.len() + worker.method.len() + worker.state.len();
            match bytes <= MAX_TOLD {
                true => named.push(worker),
                false => more += 1,
            }
        }
        if let (Some(last), true) = (named.last_mut(), more > 0) {
            last.state += &format!(" (and {more} more workers)");
        }
        named
    }

    fn missing(
        &self,
        position: usize,
        call: &InFlight,
        names: &MethodNames,
    ) -> Option<MissingWorker> {
        let member = call.audience.members().get(position)?;
        let state = match self.barriers.gone(position) {
            Some(why) => why.to_owned(),
            None if !call.is_sent(position) => "waiting for its turn".to_owned(),
            None => format!("in it for {:.1?}", call.since(position)),
        };
        let method = names.name(call.method(position)).to_owned();
        Some(MissingWorker { worker: member.info.id().to_string(), method, state })
    }
}

/// Notes that a worker waits at a barrier; `false` if it may not.
pub(crate) fn note_wait(conn: &Conn, arrive: &Arrive, position: usize, max: usize) -> bool {
    conn.wait(arrive.wait, Waiting::Barrier { call: arrive.call, position }, max)
}
