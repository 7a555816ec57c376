//! A call as its caller holds it: not sent, in flight, or over.

use std::sync::Arc;
use std::task::{Poll, Waker};

use super::FleetRef;
use super::in_flight::InFlight;
use super::request::Request;
use super::roster::Audience;
use crate::proto::gather::RawOutcome;

/// Sends its request when it is first polled. Dropped while in flight, it cancels the call on the
/// workers.
#[derive(Debug)]
pub(crate) struct Pending {
    fleet: FleetRef,
    request: Request,
    call: Option<Arc<InFlight>>,
    over: bool,
}

impl Pending {
    pub(crate) fn new(fleet: FleetRef, request: Request) -> Self {
        Self { fleet, request, call: None, over: false }
    }

    /// What will be sent. Changing it once it is in flight changes nothing.
    pub(crate) fn request_mut(&mut self) -> &mut Request {
        &mut self.request
    }

    pub(crate) fn request(&self) -> &Request {
        &self.request
    }

    pub(crate) fn audience(&self) -> &Audience {
        &self.request.audience
    }

    /// Every outcome, in order of position.
    pub(crate) fn poll_complete(&mut self, waker: &Waker) -> Poll<Vec<RawOutcome>> {
        let complete = self.start().poll_complete(waker);
        match complete {
            Some(outcomes) => {
                self.over = true;
                Poll::Ready(outcomes)
            }
            None => Poll::Pending,
        }
    }

    /// The next outcome that has come, with its position.
    pub(crate) fn poll_arrived(&mut self, waker: &Waker) -> Poll<Option<(usize, RawOutcome)>> {
        match self.start().poll_arrived(waker) {
            Some(arrived) => {
                self.over = arrived.is_none();
                Poll::Ready(arrived)
            }
            None => Poll::Pending,
        }
    }

    /// Sends it when there is room, and lets it go.
    pub(crate) async fn detach(mut self) {
        let fleet = self.fleet.clone();
        fleet.room_for(&self.request.audience).await;
        self.request.detached = true;
        self.start();
        self.over = true;
    }

    /// Sends it, and lets it go: whatever becomes of it, nobody hears.
    pub(crate) fn send_and_forget(mut self) {
        self.start();
        self.over = true;
    }

    fn start(&mut self) -> Arc<InFlight> {
        self.call.get_or_insert_with(|| self.fleet.send(&self.request)).clone()
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let (Some(call), false) = (&self.call, self.over) {
            self.fleet.give_up(call);
        }
    }
}
