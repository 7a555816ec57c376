//! Whether the other side of a connection is still there.
//!
//! Both sides send a heartbeat whenever they have sent nothing else for an interval. Whatever comes
//! in is a sign of life, each byte of a long message too: so neither a transfer of minutes nor a
//! method that blocks makes anybody look dead, and no connection of its own is needed.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, sleep};

use super::Outbox;

/// How often to send, and after how long a silence the other side counts as gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heartbeat {
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
}

/// When something last came in.
#[derive(Debug, Clone)]
pub(crate) struct Activity(Arc<LastRead>);

#[derive(Debug)]
struct LastRead {
    start: Instant,
    /// Milliseconds from `start`.
    at: AtomicU64,
}

/// A reader that notes when something comes in.
#[derive(Debug)]
pub(crate) struct Watched<R> {
    read: R,
    activity: Activity,
}

/// After a silence that is too long, how long to wait for what may have come in while this process
/// itself was stopped.
const GRACE: Duration = Duration::from_millis(200);

impl Activity {
    fn new() -> Self {
        Self(Arc::new(LastRead { start: Instant::now(), at: AtomicU64::new(0) }))
    }

    /// The other side has shown that it is there.
    pub(crate) fn note(&self) {
        let now = u64::try_from(self.0.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.at.store(now, Ordering::Relaxed);
    }

    /// For how long nothing has come in.
    pub(crate) fn silence(&self) -> Duration {
        let at = Duration::from_millis(self.0.at.load(Ordering::Relaxed));
        self.0.start.elapsed().saturating_sub(at)
    }
}

impl<R> Watched<R> {
    pub(crate) fn new(read: R) -> Self {
        Self { read, activity: Activity::new() }
    }

    pub(crate) fn activity(&self) -> Activity {
        self.activity.clone()
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Watched<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.read).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.activity.note();
        }
        polled
    }
}

/// Sends `frame` in every interval in which nothing else waits to be sent. Completes when the other
/// side has been silent for too long: how it ended.
pub(crate) async fn keep_alive(
    outbox: &Outbox,
    activity: &Activity,
    heartbeat: Heartbeat,
    frame: &Bytes,
) -> String {
    let Heartbeat { interval, timeout } = heartbeat;
    loop {
        sleep(interval.min(timeout / 2)).await;
        if activity.silence() >= timeout {
            sleep(GRACE).await;
            if activity.silence() >= timeout {
                return format!("no sign of life for {timeout:?} (heartbeat_timeout)");
            }
        }
        match outbox.unwritten() {
            0 => _ = outbox.push([frame.clone()]),
            // What waits is a sign of life itself, if it can be written at all. It may wait only for
            // a word from somebody who is held up.
            _ => outbox.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    const HEARTBEAT: Heartbeat =
        Heartbeat { interval: Duration::from_secs(2), timeout: Duration::from_secs(10) };

    #[tokio::test(start_paused = true)]
    async fn silence_is_noticed_after_the_timeout_and_not_before() {
        let (watched, outbox) = (Watched::new(&b""[..]), Outbox::new(100));
        let start = Instant::now();
        let frame = Bytes::from_static(b"beat");
        let reason = keep_alive(&outbox, &watched.activity(), HEARTBEAT, &frame).await;
        assert_eq!(reason, "no sign of life for 10s (heartbeat_timeout)");
        assert!(start.elapsed() >= HEARTBEAT.timeout);
        assert!(start.elapsed() < HEARTBEAT.timeout + Duration::from_secs(3));
        // Nobody wrote the first, so there is no second.
        assert_eq!(outbox.unwritten(), frame.len());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_that_nobody_has_flushed_is_written_in_place_of_a_heartbeat() {
        let (mut far, near) = tokio::io::duplex(64);
        let (watched, outbox) = (Watched::new(&b""[..]), Outbox::new(1 << 20));
        let result = Ok(Bytes::new().into());
        let reply = crate::wire::Reply { call: 1, worker: 0, elapsed: 0, result };
        let activity = watched.activity();
        let frame = Bytes::from_static(b"beat");
        tokio::select! {
            written = crate::link::write_frames(near, &outbox, || ()) => panic!("{written:?}"),
            reason = keep_alive(&outbox, &activity, HEARTBEAT, &frame) => panic!("{reason}"),
            read = async {
                // Behind the writer's first look.
                tokio::task::yield_now().await;
                outbox.push_reply(reply, false);
                far.read_u8().await
            } => assert!(read.is_ok()),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_byte_is_a_sign_of_life() {
        let (mut far, near) = tokio::io::duplex(64);
        let mut watched = Watched::new(near);
        let (activity, outbox) = (watched.activity(), Outbox::new(100));
        let trickle = async {
            for _ in 0..20 {
                sleep(Duration::from_secs(9)).await;
                tokio::io::AsyncWriteExt::write_all(&mut far, b"x").await.unwrap();
                watched.read_u8().await.unwrap();
            }
        };
        let frame = Bytes::from_static(b"beat");
        tokio::select! {
            reason = keep_alive(&outbox, &activity, HEARTBEAT, &frame) => panic!("{reason}"),
            () = trickle => {}
        }
    }
}
