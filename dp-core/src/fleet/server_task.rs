//! A worker's call to the server, on the server.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use tracing::field::Empty;

use super::Core;
use super::conn::{Conn, Waiting};
use crate::__private::Invoked;
use crate::codec::Encoded;
use crate::error::panic_text;
use crate::executor::{Job, Turn};
use crate::id::WorkerInfo;
use crate::logs;
use crate::sync::lock;
use crate::trace::{Parent, TraceContext, Traced};
use crate::wire::{FRAME_HEAD, Failure, ServerCallHead, ServerReplyHead};

/// One call of an `#[on_server]` function, until it has been answered.
pub(crate) struct ServerTask {
    core: Arc<Core>,
    conn: Arc<Conn>,
    wait: u64,
    /// How many bytes of arguments it came with.
    bytes: usize,
    turn: Turn,
    future: Mutex<Option<Invoked>>,
    withdrawn: AtomicBool,
}

impl Core {
    /// A worker calls the server.
    pub(super) fn handle_server_call(
        self: &Arc<Self>,
        conn: &Arc<Conn>,
        head: &ServerCallHead,
        arguments: Bytes,
        from: Option<TraceContext>,
    ) {
        let Some(caller) = self.worker_behind(conn, head.worker) else {
            let reason = format!("this client has no worker of number {}", head.worker);
            return answer(conn, head.wait, Err(Failure::NotStarted { reason }));
        };
        let bytes = arguments.len();
        let max_bytes = self.limits.frame_limit();
        if conn.server_call_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > max_bytes {
            conn.server_call_bytes.fetch_sub(bytes, Ordering::Relaxed);
            let reason = format!(
                "the arguments of the calls to the server that this client has under way would \
                 exceed {max_bytes} bytes (max_message of the server)"
            );
            return answer(conn, head.wait, Err(Failure::NotStarted { reason }));
        }
        let traced = self.traced_function(head.method, &caller, from);
        let function = (self.dispatch_server)(head.method, arguments, caller);
        let function = match traced {
            None => function,
            Some(traced) => traced.within(function),
        };
        let task = Arc::new(ServerTask {
            core: self.clone(),
            conn: conn.clone(),
            wait: head.wait,
            bytes,
            turn: Turn::queued(),
            future: Mutex::new(Some(function)),
            withdrawn: AtomicBool::new(false),
        });
        let max = self.limits.max_server_calls;
        if conn.wait(head.wait, Waiting::ServerCall(task.clone()), max) {
            self.executor.push(task);
        } else {
            let reason = format!(
                "the workers of this client have {max} calls to the server under way already \
                 (max_server_calls)"
            );
            answer(conn, head.wait, Err(Failure::NotStarted { reason }));
        }
    }

    /// The span in which the function runs, if anybody looks at it.
    fn traced_function(
        &self,
        method: u16,
        caller: &WorkerInfo,
        from: Option<TraceContext>,
    ) -> Option<Traced> {
        let function = self.contract.server_methods.get(usize::from(method));
        let function = function.map_or("on_server", |function| function.name);
        let span = tracing::debug_span!(
            target: logs::CALL, "on_server",
            function = %function,
            caller = %caller.id(),
            trace_id = Empty,
            otel.name = Empty,
        );
        Traced::begin(span, || format!("{function} for {}", caller.id()), Parent::Remote(from))
    }

    /// A worker as the roster has it now.
    fn worker_behind(&self, conn: &Conn, slot: u32) -> Option<WorkerInfo> {
        let roster = self.snapshot();
        let position = roster.part(conn.key)?.position(slot)?;
        Some(roster.members[position].info.clone())
    }
}

impl ServerTask {
    /// Nobody waits for it any more: it is dropped where it awaits something.
    pub(crate) fn withdraw(self: &Arc<Self>) {
        self.withdrawn.store(true, Ordering::SeqCst);
        self.wake_up();
    }

    fn wake_up(self: &Arc<Self>) {
        if self.turn.wake() {
            self.core.executor.push(self.clone());
        }
    }

    fn poll(self: &Arc<Self>) -> Option<Result<Encoded, Failure>> {
        let mut future = lock(&self.future).take()?;
        if self.withdrawn.load(Ordering::SeqCst) {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(future)));
            return Some(Err(Failure::Cancelled));
        }
        let waker = Waker::from(self.clone());
        let mut cx = Context::from_waker(&waker);
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut cx)));
        let result = match polled {
            Ok(Poll::Pending) => {
                *lock(&self.future) = Some(future);
                return None;
            }
            Ok(Poll::Ready(result)) => result.map(|reply| reply.0).map_err(|failure| failure.0),
            Err(panic) => Err(Failure::Panicked { message: panic_text(panic) }),
        };
        let _ = catch_unwind(AssertUnwindSafe(|| drop(future)));
        Some(result)
    }
}

/// Answers a call to the server; an answer that the client would not take is replaced by an error.
fn answer(conn: &Conn, wait: u64, result: Result<Encoded, Failure>) {
    let (failure, value) = match result {
        Ok(value) => (None, value),
        Err(failure) => (Some(failure.bounded()), Encoded::default()),
    };
    let frame = ServerReplyHead { wait, failure }.to_frame(value);
    let size = frame.iter().map(Bytes::len).sum::<usize>() - (FRAME_HEAD - 1);
    let limit = conn.outbox.peer_max_message();
    if size <= limit {
        conn.outbox.push_answer(frame);
    } else {
        let failure = Some(Failure::TooLarge { size: size as u64, limit: limit as u64 });
        conn.outbox.push_answer(ServerReplyHead { wait, failure }.to_frame(Bytes::new()));
    }
}

impl Job for ServerTask {
    /// Each client has its turn.
    fn lane(&self) -> Option<u64> {
        Some(self.conn.key)
    }

    fn run(self: Arc<Self>) {
        self.turn.begin();
        if let Some(result) = self.poll() {
            self.turn.end();
            // It counts towards what the client may have under way until here, also where nobody
            // waits for it any more.
            let waited = lock(&self.conn.waits).remove(&self.wait).is_some();
            if waited && !self.withdrawn.load(Ordering::SeqCst) {
                answer(&self.conn, self.wait, result);
            }
        } else if self.turn.pause() {
            self.core.executor.push(self.clone());
        }
    }
}

impl Wake for ServerTask {
    fn wake(self: Arc<Self>) {
        self.wake_up();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_up();
    }
}

impl Drop for ServerTask {
    fn drop(&mut self) {
        self.conn.server_call_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl fmt::Debug for ServerTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTask").field("wait", &self.wait).finish_non_exhaustive()
    }
}
