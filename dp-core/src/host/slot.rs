//! One worker: its state, what it has recorded, and the calls that wait for it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::RwLock;
use tokio::time::Instant;

use super::Shared;
use super::call::{Call, Waiting};
use super::task::{Ended, Task, send_reply};
use super::uplink::Uplink;
use crate::engine::Limits;
use crate::executor::STALL;
use crate::id::WorkerInfo;
use crate::record::Recorder;
use crate::sync::lock;
use crate::wire::{MeasuredNews, Record};
use crate::worker::DistributedWorker;

/// A worker's place in its host.
///
/// Calls start in the order in which they came. An exclusive one (`&mut self`) runs alone; others
/// may overlap. To keep the order, one thread at a time starts calls, and polls each once before it
/// starts the next: unless that first poll blocks, when the rest is handed over to another thread.
pub(super) struct Slot<W: DistributedWorker> {
    /// Its number within the client.
    pub(super) index: usize,
    /// The worker itself: locked by the calls that run, which never wait for it since the queue
    /// lets only those run that may. `None` before it was built, and where building it panicked.
    pub(super) worker: Arc<RwLock<Option<W>>>,
    /// Whether the worker is there.
    pub(super) built: AtomicBool,
    pub(super) recorder: Arc<Recorder>,
    queue: Mutex<Queue<W>>,
}

/// What a thread that starts calls knows from one to the next.
pub(super) struct Pace<W: DistributedWorker> {
    /// The time, as of the end of the last one: clocks are read as often as needed, and no more.
    pub(super) now: Instant,
    /// One that has ended.
    spare: Option<Arc<Task<W>>>,
}

impl<W: DistributedWorker> Pace<W> {
    pub(super) fn new() -> Self {
        Self { now: Instant::now(), spare: None }
    }
}

struct Queue<W: DistributedWorker> {
    /// The worker as calls that come now mean it.
    info: WorkerInfo,
    waiting: VecDeque<Waiting>,
    running: Vec<Arc<Task<W>>>,
    /// Whether the one that is running must be the only one.
    alone: bool,
    /// Which start is under way, and since when.
    starting: Option<(u64, Instant)>,
    starts: u64,
}

impl<W: DistributedWorker> Slot<W> {
    pub(super) fn new(index: usize, info: WorkerInfo, limits: &Limits) -> Self {
        let (waiting, running) = (VecDeque::new(), Vec::new());
        let queue = Queue { info, waiting, running, alone: false, starting: None, starts: 0 };
        Self {
            index,
            worker: Arc::new(RwLock::new(None)),
            built: AtomicBool::new(false),
            recorder: Arc::new(Recorder::new(limits)),
            queue: Mutex::new(queue),
        }
    }

    pub(super) fn info(&self) -> WorkerInfo {
        lock(&self.queue).info.clone()
    }

    pub(super) fn set_info(&self, change: impl FnOnce(&WorkerInfo) -> WorkerInfo) {
        let mut queue = lock(&self.queue);
        queue.info = change(&queue.info);
    }

    /// Tells the server what was recorded since it was last told.
    pub(super) fn tell_news(&self, link: &Uplink) {
        // To one that is closed it would count as told.
        if !self.recorder.has_news() || link.is_closed() {
            return;
        }
        while let Some((record, resets, lines)) = self.recorder.take_news(link.peer_max_message()) {
            let record = Record { worker: self.index as u32, resets, record, lines };
            link.push([record.to_frame()]);
        }
    }

    /// Tells the server what was measured, if that has changed since it was last told.
    pub(super) fn tell_measured(&self, link: &Uplink) {
        if link.is_closed() {
            return;
        }
        if let Some((record, resets, metrics)) = self.recorder.take_measured() {
            let parts =
                MeasuredNews { worker: self.index as u32, resets, record }.to_frame(metrics);
            // What the server would not take, its gathering will say.
            if parts.iter().map(Bytes::len).sum::<usize>() <= link.peer_max_message() {
                link.push(parts);
            }
        }
    }

    /// Puts a call at the end of the queue; `false` if there are `max` already.
    pub(super) fn enqueue(&self, call: &Arc<Call>, arguments: Bytes, max: usize) -> bool {
        let mut queue = lock(&self.queue);
        if queue.waiting.len() >= max {
            return false;
        }
        let (call, info) = (call.clone(), queue.info.clone());
        let record = self.recorder.current();
        queue.waiting.push_back(Waiting { call, arguments, info, record });
        true
    }

    /// Starts what may start, on a thread of the executor. Whether to go on in a new job: this one
    /// has run for so long that nobody would notice if it blocked now.
    ///
    /// Whoever calls this flushes `link` behind it; answers that go elsewhere leave at once.
    pub(super) fn pump(
        self: &Arc<Self>,
        host: &Arc<Shared<W>>,
        link: &Arc<Uplink>,
        pace: &mut Pace<W>,
    ) -> bool {
        let until = pace.now + STALL;
        let mut queue = lock(&self.queue);
        loop {
            let built = self.built.load(Ordering::Acquire);
            let Some((start, waiting)) = queue.next_start(built, pace.now) else { return false };
            let task = Task::new(host, self, waiting, pace.now, pace.spare.take());
            queue.running.push(task.clone());
            drop(queue);
            let ended = task.start(!task.call().came_over(link));
            pace.now = ended.unwrap_or_else(Instant::now);
            queue = lock(&self.queue);
            if ended.is_some() {
                queue.handle_end(&task);
                pace.spare = Some(task);
            }
            match queue.starting {
                Some((current, _)) if current == start => queue.starting = None,
                // It took so long that another thread goes on from here; or has, and found the worker
                // taken.
                _ => return ended.is_some() && queue.is_left_waiting(),
            }
            if pace.now >= until {
                return true;
            }
        }
    }

    /// If a start has been under way for long, lets others be started beside it. Whether it was.
    pub(super) fn hand_over(&self) -> bool {
        let mut queue = lock(&self.queue);
        let long = queue.starting.is_some_and(|(_, since)| since.elapsed() >= STALL);
        if long {
            queue.starting = None;
        }
        long
    }

    /// The call has ended and been answered. Whether others may be started now, and nobody is
    /// about to.
    pub(super) fn handle_end(&self, task: &Arc<Task<W>>) -> bool {
        let mut queue = lock(&self.queue);
        queue.handle_end(task);
        queue.is_left_waiting()
    }

    /// A call that need not be alone has built the worker. Whether others may be started beside it
    /// now, and nobody is about to.
    pub(super) fn handle_built(&self) -> bool {
        let mut queue = lock(&self.queue);
        queue.alone = false;
        queue.is_left_waiting()
    }

    /// Ends a call that came over the connection `link` before its time. Whether others may be
    /// started now, which stood behind it.
    pub(super) fn cancel(&self, host: &Shared<W>, link: u64, call: u64, why: Ended) -> bool {
        let mut queue = lock(&self.queue);
        if let Some(at) = queue.waiting.iter().position(|waiting| waiting.call.is(link, call)) {
            let waiting = queue.waiting.remove(at);
            drop(queue);
            if let Some(Waiting { call, .. }) = waiting {
                call.forget_deadline(host, self.index);
                send_reply(&call.link, call.id, self.index, 0, Err(why.failure()), true);
            }
            return true;
        }
        let task = queue.running.iter().find(|task| task.call().is(link, call)).cloned();
        drop(queue);
        if let Some(task) = task {
            task.end(why);
        }
        false
    }

    #[cfg(test)]
    pub(super) fn leftovers(&self) -> Option<String> {
        let queue = lock(&self.queue);
        let (waiting, running) = (queue.waiting.len(), queue.running.len());
        (waiting + running > 0 || queue.alone || queue.starting.is_some())
            .then(|| format!("{waiting} calls wait in {}, {running} run", queue.info.id()))
    }

    /// Ends every call that came over `link`, which is gone.
    pub(super) fn cancel_all(&self, host: &Shared<W>, link: &Arc<Uplink>) {
        let (never_started, running) = {
            let mut queue = lock(&self.queue);
            let (gone, kept): (VecDeque<_>, VecDeque<_>) =
                queue.waiting.drain(..).partition(|waiting| waiting.call.came_over(link));
            queue.waiting = kept;
            let running = queue.running.iter().filter(|task| task.call().came_over(link));
            (gone, running.cloned().collect::<Vec<_>>())
        };
        for task in running {
            task.end(Ended::Cancelled);
        }
        never_started.iter().for_each(|waiting| waiting.call.forget_deadline(host, self.index));
    }
}

impl<W: DistributedWorker> Queue<W> {
    /// Takes the next call if it may start now, with the number of this start.
    fn next_start(&mut self, built: bool, now: Instant) -> Option<(u64, Waiting)> {
        // Whatever it is, the first call of a worker that is not built builds it.
        let alone = self.waiting.front()?.call.exclusive || !built;
        if self.starting.is_some() || self.alone || (alone && !self.running.is_empty()) {
            return None;
        }
        self.alone = alone;
        let waiting = self.waiting.pop_front()?;
        self.starts += 1;
        self.starting = Some((self.starts, now));
        Some((self.starts, waiting))
    }

    fn handle_end(&mut self, task: &Arc<Task<W>>) {
        self.running.retain(|running| !Arc::ptr_eq(running, task));
        self.alone &= !self.running.is_empty();
    }

    /// Whether calls wait that nobody is about to start.
    fn is_left_waiting(&self) -> bool {
        self.starting.is_none() && !self.waiting.is_empty()
    }
}
