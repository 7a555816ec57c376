//! What workers ask of the server, over the connection by which they are called.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use bytes::Bytes;

use crate::link::Outbox;
use crate::sync::lock;
use crate::wire::{Failure, Release, ServerReplyHead, Verdict, Withdraw};

/// The client's side of one connection: what goes out, and who waits for what comes back.
#[derive(Debug)]
pub(crate) struct Uplink {
    /// Tells it from the client's other connections.
    number: u64,
    outbox: Outbox,
    waits: Mutex<Waits>,
}

#[derive(Debug, Default)]
struct Waits {
    next: u64,
    waiting: BTreeMap<u64, Arc<Wait>>,
    closed: bool,
}

/// Somebody waits for one answer.
#[derive(Debug, Default)]
struct Wait(Mutex<WaitState>);

#[derive(Debug, Default)]
struct WaitState {
    answer: Option<Answer>,
    waker: Option<Waker>,
}

/// What the server says.
#[derive(Debug)]
pub(crate) enum Answer {
    Reply(Result<Bytes, Failure>),
    Released(Verdict),
    /// The connection has ended.
    Lost,
}

impl Deref for Uplink {
    type Target = Outbox;

    fn deref(&self) -> &Outbox {
        &self.outbox
    }
}

impl Uplink {
    pub(crate) fn new(number: u64, peer_max_message: usize) -> Self {
        Self { number, outbox: Outbox::new(peer_max_message), waits: Mutex::default() }
    }

    /// Tells it from the client's other connections.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Asks something of the server: `frame` makes what is sent of the number by which the answer
    /// will be known. `None` if the connection has ended.
    pub(crate) fn ask<F: IntoIterator<Item = Bytes>>(
        self: &Arc<Self>,
        frame: impl FnOnce(u64) -> F,
    ) -> Option<Asked> {
        let wait = Arc::new(Wait::default());
        let number = {
            let mut waits = lock(&self.waits);
            if waits.closed {
                return None;
            }
            waits.next += 1;
            let number = waits.next;
            waits.waiting.insert(number, wait.clone());
            number
        };
        let asked = Asked { uplink: self.clone(), number, wait };
        self.outbox.push(frame(number)).then_some(asked)
    }

    pub(crate) fn handle_reply(&self, head: ServerReplyHead, value: Bytes) {
        let result = match head.failure {
            None => Ok(value),
            Some(failure) => Err(failure),
        };
        self.answer(head.wait, Answer::Reply(result));
    }

    pub(crate) fn handle_release(&self, release: &Release) {
        for wait in &release.waits {
            self.answer(*wait, Answer::Released(release.verdict.clone()));
        }
    }

    /// The connection has ended: nobody is answered any more.
    pub(crate) fn end(&self) {
        self.outbox.close();
        let waiting = {
            let mut waits = lock(&self.waits);
            waits.closed = true;
            std::mem::take(&mut waits.waiting)
        };
        for wait in waiting.into_values() {
            wait.answer(Answer::Lost);
        }
    }

    /// An answer to something that nobody waits for any more is dropped.
    fn answer(&self, number: u64, answer: Answer) {
        let wait = lock(&self.waits).waiting.remove(&number);
        if let Some(wait) = wait {
            wait.answer(answer);
        }
    }
}

impl Wait {
    fn answer(&self, answer: Answer) {
        let waker = {
            let mut state = lock(&self.0);
            state.answer = Some(answer);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Something that was asked of the server. Dropped before the answer, it is withdrawn.
#[derive(Debug)]
pub(crate) struct Asked {
    uplink: Arc<Uplink>,
    number: u64,
    wait: Arc<Wait>,
}

impl Asked {
    pub(crate) fn poll(&mut self, waker: &Waker) -> Poll<Answer> {
        let mut state = lock(&self.wait.0);
        match state.answer.take() {
            Some(answer) => Poll::Ready(answer),
            None => {
                state.waker = Some(waker.clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let unanswered = lock(&self.uplink.waits).waiting.remove(&self.number).is_some();
        if unanswered {
            self.uplink.outbox.push([Withdraw { wait: self.number }.to_frame()]);
        }
    }
}

/// One worker's way to the server, within one call.
#[derive(Debug, Clone)]
pub(crate) struct WorkerLink {
    pub(crate) uplink: Arc<Uplink>,
    pub(crate) worker: u32,
    pub(crate) call: u64,
}
