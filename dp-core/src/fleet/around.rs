//! Sending a call to many connections at once, where their transport can.

use bytes::Bytes;

use super::core::Core;
use super::in_flight::InFlight;
use super::request::{Payload, Request};
use super::roster::Roster;
use super::send::{go_behind, head};
use crate::wire::Targets;

impl Core {
    /// Sends a call for all workers of many connections to as many of these as can be sent to at once.
    /// Their keys, ascending.
    pub(super) fn send_around(
        &self,
        call: &InFlight,
        request: &Request,
        roster: &Roster,
        shared: &mut Option<[Bytes; 2]>,
    ) -> Vec<u64> {
        let Payload::Same(method) = &request.payload else { return Vec::new() };
        let Some(first) = roster.parts.iter().find_map(|part| part.conn.fan_out.as_ref()) else {
            return Vec::new();
        };
        let Ok(arguments) = &method.arguments else { return Vec::new() };
        let frame = shared.get_or_insert_with(|| {
            head(call, request, method, Targets::All).to_frame(arguments.clone())
        });
        let mut frame = frame.clone();
        if let Some(traced) = &call.traced {
            go_behind(&mut frame, call.id, traced);
        }
        let length: usize = frame.iter().map(Bytes::len).sum();
        // Held until it is sent: then no other call comes in between. By key, as everybody does who holds
        // several.
        let mut held = Vec::new();
        for part in &roster.parts {
            if let Some(link) = &part.conn.fan_out
                && link.is_beside(first)
                && part.targets == Targets::All
                && length <= part.conn.outbox.peer_max_message()
                && let Some(idle) = part.conn.idle(roster.epoch, &part.indexes)
            {
                held.push((link.link, part.conn.key, idle));
            }
        }
        let links: Vec<u64> = held.iter().map(|(link, ..)| *link).collect();
        let sent = match links.len() {
            0 | 1 => Vec::new(),
            _ => first.fan_out.send(&frame[..], &links),
        };
        let mut sent = sent.into_iter().peekable();
        let mut keys = Vec::new();
        for (link, key, _) in &held {
            if sent.next_if_eq(link).is_some() {
                keys.push(*key);
            }
        }
        keys
    }
}
