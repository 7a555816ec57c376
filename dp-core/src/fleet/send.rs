//! Sending calls: to everybody at once, or to one after another.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};
use tracing::field::Empty;

use super::calls::check_length;
use super::conn::Conn;
use super::core::Core;
use super::in_flight::InFlight;
use super::request::{MethodCall, Payload, Request};
use super::roster::{Audience, Member, Part};
use crate::CallError;
use crate::link::{CallFrame, CallTargets};
use crate::logs;
use crate::supervise::keep_up;
use crate::system;
use crate::trace::{Parent, Traced};
use crate::wire::{CallHead, Cancel, Targets, Trace};

/// How many unwritten bytes a connection may have before [`detach`](crate::Broadcast::detach)
/// waits.
const ROOM: usize = 8 << 20;

impl Core {
    /// Sends a call to everybody it addresses, or settles what can't be sent.
    pub(crate) fn send(self: &Arc<Self>, request: &Request) -> Arc<InFlight> {
        if request.begins_run {
            // Before the call on each connection: the client drops the records when it reads this.
            self.send(&request.as_reset());
        }
        // Counted before it can be settled, also by a connection that ends right now.
        for member in request.audience.members() {
            member.conn.handle_sent(member.slot);
        }
        let traced = self.traced(request);
        let call =
            self.with_calls(|calls, todo| calls.insert(request, traced, Instant::now(), todo));
        if let Some(traced) = &call.traced {
            traced.record("call", call.id);
        }
        if matches!(&request.payload, Payload::Same(call) if call.method == system::RESET_RESULTS) {
            self.handle_reset(&call.audience);
        }
        match &call.audience {
            _ if request.postponed => self.send_one_by_one(&call, request),
            Audience::One(..) => self.send_member(&call, request, 0),
            Audience::All(roster) => {
                let mut shared = None;
                let sent = self.send_around(&call, request, roster, &mut shared);
                let left = |part: &&Part| sent.binary_search(&part.conn.key).is_err();
                let mut members = Vec::new();
                for part in roster.parts.iter().filter(left) {
                    let to = (roster.epoch, &*part.indexes, &*part.conn);
                    let member = |position: usize| (position, roster.members[position].slot);
                    members.clear();
                    members.extend(part.positions().map(member));
                    self.send_to(to, &call, request, &members, &mut shared);
                }
            }
        }
        call
    }

    /// The span of a call, if anybody looks at it.
    fn traced(&self, request: &Request) -> Option<Box<Traced>> {
        let method = match &request.payload {
            Payload::Same(call) => call.method,
            Payload::Each(calls) => calls.first()?.method,
        };
        if system::is_system(method) || !Traced::is_wanted() {
            return None;
        }
        let span = tracing::debug_span!(
            target: logs::CALL, "broadcast",
            method = %self.names.name(method),
            workers = request.audience.len(),
            call = Empty,
            trace_id = Empty,
            otel.name = Empty,
        );
        let name = || format!("call {}", self.names.name(method));
        Traced::begin(span, name, Parent::Here).map(Box::new)
    }

    /// Sends to one worker after another, in worker order, at the frequency of this moment.
    fn send_one_by_one(self: &Arc<Self>, call: &Arc<InFlight>, request: &Request) {
        let (core, call, request) = (Arc::downgrade(self), call.clone(), request.clone());
        let next = Arc::new(AtomicUsize::new(0));
        let send = move || {
            let (core, call) = (core.clone(), call.clone());
            let (request, next) = (request.clone(), next.clone());
            async move {
                loop {
                    // One at which it panicked is not tried again: it may have been sent.
                    let position = next.fetch_add(1, Ordering::Relaxed);
                    if position >= call.audience.len() || call.is_settled() {
                        return;
                    }
                    sleep_until(call.turn(position)).await;
                    let Some(core) = core.upgrade() else { return };
                    core.send_in_turn(&call, &request, position);
                }
            }
        };
        crate::engine::io_runtime().spawn(keep_up("the task that sends postponed calls", send));
    }

    fn send_in_turn(&self, call: &InFlight, request: &Request, position: usize) {
        if call.handle_turn(position) {
            self.send_member(call, request, position);
        } else {
            // Given up before its turn: the worker never hears of it.
            let error = CallError::NotSent { reason: "given up before its turn".to_owned() };
            self.with_calls(|calls, todo| {
                calls.handle_not_sent(call, [position], &error, todo);
            });
        }
        if !call.is_open(position)
            && let Some(Member { conn, slot, .. }) = call.audience.members().get(position)
        {
            // Given up just now: then the cancel may have gone before the call.
            let cancel = Cancel { call: call.id, targets: Targets::Some(vec![*slot]) };
            conn.outbox.push([cancel.to_frame()]);
        }
    }

    fn send_member(&self, call: &InFlight, request: &Request, position: usize) {
        let (Audience::All(roster) | Audience::One(roster, _)) = &call.audience;
        let Some(member) = call.audience.members().get(position) else { return };
        let indexes = roster.part(member.conn.key).map(|part| &*part.indexes);
        let to = (roster.epoch, indexes.unwrap_or_default(), &*member.conn);
        self.send_to(to, call, request, &[(position, member.slot)], &mut None);
    }

    /// Sends what a call has for the workers behind one connection. A frame that is for all behind
    /// each of several connections is encoded once, and `shared`.
    fn send_to(
        &self,
        (epoch, indexes, conn): (u64, &[u32], &Conn),
        call: &InFlight,
        request: &Request,
        members: &[(usize, u32)],
        shared: &mut Option<[Bytes; 2]>,
    ) {
        let positions = || members.iter().map(|(position, _)| *position);
        let queued = conn.outbox.unwritten();
        let mut frame = |method: &MethodCall, targets, whom| {
            let arguments = method.arguments.as_ref().map_err(Clone::clone)?;
            // The server counts on a reset once it has been asked for: it arrives in any case.
            let reset = method.method == system::RESET_RESULTS;
            if queued > self.limits.max_queued_bytes && !reset {
                return Err(full(conn, queued, self.limits.max_queued_bytes));
            }
            let mut parts = match (&mut *shared, &targets) {
                (Some(parts), Targets::All) => parts.clone(),
                (shared, Targets::All) => {
                    let head = head(call, request, method, targets);
                    shared.insert(head.to_frame(arguments.clone())).clone()
                }
                _ => head(call, request, method, targets).to_frame(arguments.clone()),
            };
            check_length(&conn.outbox, &parts)?;
            if let Some(traced) = &call.traced {
                go_behind(&mut parts, call.id, traced);
            }
            Ok(CallFrame { targets: (!reset).then_some(whom), parts })
        };
        let mut not_sent: Vec<(Vec<usize>, CallError)> = Vec::new();
        let pushed = match &request.payload {
            Payload::Same(method) => {
                let targets = match members.len() == conn.workers.len() {
                    true => Targets::All,
                    false => Targets::Some(members.iter().map(|(_, slot)| *slot).collect()),
                };
                let whom = match members {
                    [(_, slot)] => CallTargets::One(*slot),
                    members => CallTargets::All(members.len()),
                };
                match frame(method, targets, whom) {
                    Ok(frame) => conn.send_call(epoch, indexes, call.id, members.len(), [frame]),
                    Err(error) => {
                        not_sent.push((positions().collect(), error));
                        true
                    }
                }
            }
            Payload::Each(methods) => {
                let mut frames = Vec::new();
                for (position, slot) in members {
                    let targets = Targets::Some(vec![*slot]);
                    match frame(&methods[*position], targets, CallTargets::One(*slot)) {
                        Ok(frame) => frames.push(frame),
                        Err(error) => not_sent.push((vec![*position], error)),
                    }
                }
                frames.is_empty() || conn.send_call(epoch, indexes, call.id, members.len(), frames)
            }
        };
        if !pushed {
            let reason = format!("client {} is gone", conn.client);
            not_sent.push((positions().collect(), CallError::NotSent { reason }));
        }
        if !not_sent.is_empty() {
            self.with_calls(|calls, todo| {
                for (positions, error) in not_sent {
                    calls.handle_not_sent(call, positions, &error, todo);
                }
            });
        }
    }

    /// Completes when everybody addressed has room for one more call.
    pub(crate) async fn room_for(&self, audience: &Audience) {
        let has_room = |member: &Member| {
            // To one that is gone there is nothing to wait for: the call will say so.
            member.conn.outbox.is_closed()
                || (member.conn.in_flight(member.slot) < self.limits.in_flight
                    && member.conn.outbox.unwritten() < ROOM)
        };
        loop {
            let changed = self.room.notified();
            tokio::pin!(changed);
            // Registered before looking: what changes in between is not missed.
            changed.as_mut().enable();
            if audience.members().iter().all(has_room) {
                return;
            }
            changed.await;
        }
    }
}

/// Puts the frame `parts` of a call behind that which says whose trace it belongs to.
pub(super) fn go_behind(parts: &mut [Bytes; 2], call: u64, traced: &Traced) {
    if let Some(from) = traced.context() {
        parts[0] = Trace::ahead(&Trace::new(call, &from).to_client(), &parts[0]);
    }
}

pub(super) fn head(
    call: &InFlight,
    request: &Request,
    method: &MethodCall,
    targets: Targets,
) -> CallHead {
    // What is sent later has less time left.
    let left = request.timeout.map(|all| all.saturating_sub(call.started.elapsed()));
    CallHead {
        call: call.id,
        method: method.method,
        timed: request.timed,
        timeout: shorter(left, method.timeout).map(micros),
        targets,
    }
}

/// Why a call is not sent to a client that does not keep up.
fn full(conn: &Conn, queued: usize, max: usize) -> CallError {
    let client = &conn.client;
    let reason = format!(
        "{queued} bytes wait to be written to client {client} already, which is more than {max} \
         (max_queued_bytes of the server)"
    );
    CallError::NotSent { reason }
}

fn shorter(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
