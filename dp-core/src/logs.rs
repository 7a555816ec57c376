//! What client programs log, on its way to a server that asks for it.
//!
//! `engine::logs` is the public part of it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use tokio::sync::Notify;
use tracing::Level;
use tracing::level_filters::LevelFilter;

use crate::WorkerId;
use crate::proto::budget::Budget;
use crate::scope::Scope;
use crate::sync::lock;
use crate::wire::{LoggedLine, Logs};

/// The target of the span that a method is called in.
pub const CALL: &str = "dp::call";

/// The target by which a server logs what its clients have logged. It is never forwarded itself.
pub const FORWARDED: &str = "dp::forwarded";

/// The longest line, in bytes; what is longer is cut.
pub const MAX_LINE: usize = 4 << 10;

/// So many bytes of lines wait in a client at the most; those above are dropped, and counted.
pub const MAX_WAITING: usize = 1 << 20;

/// About so many bytes of lines share a message.
const TOGETHER: usize = 32 << 10;

/// Who wants what of a process.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// From error (1) to trace (5), the most that any server wants; 0: nothing.
    most: AtomicU8,
    /// Whether there is a layer that forwards.
    attached: AtomicBool,
    /// The connections whose servers have asked.
    asked: Mutex<Vec<Weak<LogQueue>>>,
}

/// Of this process, as what is logged is logged for all of it.
pub(crate) static WANTED: Wanted = Wanted::new();

/// What servers want of this process: lines of this level and those before it.
pub fn wanted() -> LevelFilter {
    filter(WANTED.most.load(Ordering::Relaxed))
}

/// Says that there is a layer that [forwards](forward): without one, servers that ask are told so.
pub fn attach() {
    WANTED.attached.store(true, Ordering::Relaxed);
}

/// Forwards a line: one from within a method's call, told by the id of its `worker`, to the server that
/// has called it, others to the first that has asked. `text` is not called where nobody wants it, or
/// its server has had as many this second as it takes.
///
/// What the I/O thread logs is not forwarded: forwarding may be what it is about.
pub fn forward(worker: Option<&str>, level: Level, text: impl FnOnce() -> String) {
    WANTED.forward(worker, level, text);
}

/// The call whose span is being made on this thread: a layer keeps it with the span.
#[derive(Debug, Clone)]
pub struct Origin(Scope);

thread_local! {
    static ORIGIN: RefCell<Option<Origin>> = const { RefCell::new(None) };
}

impl Origin {
    /// The call whose span is being made, in a layer that is told of a new span.
    pub fn of_new_span() -> Option<Self> {
        ORIGIN.with_borrow(Clone::clone)
    }

    /// Whether the call belongs to an earlier run than the worker's next one: what its method logs is
    /// not to be taken for that one's.
    pub fn is_over(&self) -> bool {
        self.0.is_reset()
    }
}

/// Makes the span of a call.
pub(crate) fn within<T>(scope: Scope, make: impl FnOnce() -> T) -> T {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            ORIGIN.set(None);
        }
    }
    ORIGIN.set(Some(Origin(scope)));
    let _leave = Leave;
    make()
}

impl Wanted {
    const fn new() -> Self {
        let (most, attached) = (AtomicU8::new(0), AtomicBool::new(false));
        Self { most, attached, asked: Mutex::new(Vec::new()) }
    }

    fn forward(&self, worker: Option<&str>, level: Level, text: impl FnOnce() -> String) {
        let number = number(level);
        if self.most.load(Ordering::Relaxed) < number
            || std::thread::current().name() == Some(crate::engine::IO_THREAD)
        {
            return;
        }
        // Not dropped under the lock: the last handle takes it, too.
        let queues: Vec<_> = lock(&self.asked).iter().filter_map(Weak::upgrade).collect();
        let found = match worker {
            None => queues.first().map(|queue| (queue, None)),
            Some(id) => queues.iter().find_map(|queue| {
                let slot = *queue.slots.get(id)?;
                Some((queue, Some(slot)))
            }),
        };
        if let Some((queue, slot)) = found
            && queue.level >= number
        {
            queue.push(slot, number, text);
        }
    }

    /// Somebody has begun to ask, or asks no longer.
    fn handle_change(&self) {
        let mut asked = lock(&self.asked);
        asked.retain(|queue| queue.strong_count() > 0);
        let queues: Vec<_> = asked.iter().filter_map(Weak::upgrade).collect();
        let most = queues.iter().map(|queue| queue.level).max().unwrap_or(0);
        let before = self.most.swap(most, Ordering::Relaxed);
        drop(asked);
        if before != most {
            // What nobody wanted was not even looked at until now.
            tracing::callsite::rebuild_interest_cache();
        }
    }
}

/// A level by its number on the wire, where one beyond the last is the last.
pub(crate) fn level(number: u8) -> Level {
    filter(number.max(1)).into_level().unwrap_or(Level::ERROR)
}

pub(crate) fn number(level: Level) -> u8 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

fn filter(number: u8) -> LevelFilter {
    match number {
        0 => LevelFilter::OFF,
        1 => LevelFilter::ERROR,
        2 => LevelFilter::WARN,
        3 => LevelFilter::INFO,
        4 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    }
}

/// As much of a line as is kept.
pub(crate) fn cut(mut text: String) -> String {
    if text.len() > MAX_LINE {
        let mut end = MAX_LINE - '…'.len_utf8();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

/// The lines that wait for one connection, whose server has asked for them.
pub(crate) struct LogQueue {
    /// The client's workers.
    slots: HashMap<String, u32>,
    level: u8,
    wanted: &'static Wanted,
    lines: Mutex<Lines>,
    /// There is a line.
    pub(crate) come: Notify,
}

struct Lines {
    waiting: Vec<LoggedLine>,
    bytes: usize,
    dropped: u64,
    budget: Budget,
}

impl LogQueue {
    /// From now on what is logged is kept for the server, until the queue is dropped.
    pub(crate) fn open(
        wanted: &'static Wanted,
        ids: impl Iterator<Item = WorkerId>,
        level: u8,
        per_second: u32,
    ) -> Arc<Self> {
        let budget = Budget::new(per_second);
        let queue = Arc::new(Self {
            slots: ids.map(|id| id.to_string()).zip(0..).collect(),
            level,
            wanted,
            lines: Mutex::new(Lines { waiting: Vec::new(), bytes: 0, dropped: 0, budget }),
            come: Notify::new(),
        });
        lock(&wanted.asked).push(Arc::downgrade(&queue));
        wanted.handle_change();
        if level > 0 && !wanted.attached.load(Ordering::Relaxed) {
            let text = "it forwards no logs: its program has a subscriber of its own, which needs \
                        the layer `dp_client::log_layer()`";
            queue.push(None, number(Level::WARN), || text.to_owned());
        }
        queue
    }

    fn push(&self, worker: Option<u32>, level: u8, text: impl FnOnce() -> String) {
        let room = {
            let mut lines = lock(&self.lines);
            let room = lines.bytes < MAX_WAITING && lines.budget.take(Instant::now());
            lines.dropped += u64::from(!room);
            room
        };
        if room {
            // Not under the lock: what is formatted may log something itself.
            let line = LoggedLine { worker, level, text: cut(text()) };
            let mut lines = lock(&self.lines);
            lines.bytes += line.size();
            lines.waiting.push(line);
        }
        self.come.notify_one();
    }

    /// Takes what waits, if anything does, in messages of which none is long.
    pub(crate) fn take(&self) -> Vec<Logs> {
        let (waiting, mut dropped) = {
            let mut lines = lock(&self.lines);
            lines.bytes = 0;
            (mem::take(&mut lines.waiting), mem::take(&mut lines.dropped))
        };
        let (mut all, mut bytes) = (Vec::<Logs>::new(), TOGETHER);
        for line in waiting {
            if bytes >= TOGETHER {
                all.push(Logs { dropped: mem::take(&mut dropped), lines: Vec::new() });
                bytes = 0;
            }
            bytes += line.size();
            if let Some(last) = all.last_mut() {
                last.lines.push(line);
            }
        }
        if dropped > 0 {
            all.push(Logs { dropped, lines: Vec::new() });
        }
        all
    }
}

impl LoggedLine {
    /// An upper bound of what it takes.
    fn size(&self) -> usize {
        self.text.len() + 24
    }
}

impl Drop for LogQueue {
    fn drop(&mut self) {
        self.wanted.handle_change();
    }
}

impl fmt::Debug for LogQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogQueue").field("level", &self.level).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[&str]) -> Vec<WorkerId> {
        ids.iter().map(|id| WorkerId::new(*id).unwrap()).collect()
    }

    #[test]
    fn lines_go_to_the_server_that_called_and_what_does_not_fit_is_counted() {
        let wanted: &'static Wanted = Box::leak(Box::new(Wanted::new()));
        wanted.attached.store(true, Ordering::Relaxed);
        let most = || wanted.most.load(Ordering::Relaxed);
        let say = |worker, level, text: &str| wanted.forward(worker, level, || text.to_owned());
        say(None, Level::ERROR, "nobody wants it");
        let one = LogQueue::open(wanted, ids(&["a/1", "a/2"]).into_iter(), 3, 3);
        let two = LogQueue::open(wanted, ids(&["b"]).into_iter(), 4, 100);
        assert_eq!(most(), 4);

        say(Some("a/2"), Level::INFO, "in a call");
        say(Some("a/2"), Level::DEBUG, "not wanted by that one");
        say(None, Level::WARN, "outside of calls");
        say(Some("b"), Level::DEBUG, "of the other");
        say(Some("c"), Level::ERROR, "of nobody");
        (0..4).for_each(|_| say(Some("a/1"), Level::ERROR, "more than three a second"));
        let taken = one.take();
        let text = |line: &LoggedLine| (line.worker, line.level, line.text.clone());
        let lines: Vec<_> = taken[0].lines.iter().map(text).collect();
        assert_eq!(lines[0], (Some(1), 3, "in a call".to_owned()));
        assert_eq!(lines[1], (None, 2, "outside of calls".to_owned()));
        assert_eq!((lines.len(), taken.iter().map(|logs| logs.dropped).sum::<u64>()), (3, 3));
        assert_eq!(two.take()[0].lines.len(), 1);
        assert!(one.take().is_empty());

        drop(two);
        assert_eq!(most(), 3);
        let full = LogQueue::open(wanted, ids(&["d"]).into_iter(), 5, u32::MAX);
        let long = "x".repeat(MAX_LINE + 1);
        (0..300).for_each(|_| say(Some("d"), Level::TRACE, &long));
        let taken = full.take();
        assert!(taken.iter().all(|logs| logs.to_frame().len() < TOGETHER + 2 * MAX_LINE));
        let lines: Vec<_> = taken.iter().flat_map(|logs| &logs.lines).collect();
        assert!(lines.iter().all(|line| line.text.len() == MAX_LINE && line.text.ends_with('…')));
        let dropped: u64 = taken.iter().map(|logs| logs.dropped).sum();
        assert_eq!((lines.len() as u64 + dropped, dropped > 40), (300, true));
        drop((one, full));
        assert_eq!(most(), 0);
    }

    #[test]
    fn a_line_is_cut_between_two_characters() {
        let text = cut("ü".repeat(MAX_LINE));
        assert!(text.len() <= MAX_LINE && text.ends_with("ü…"));
    }
}
