//! One worker: its state, what it has recorded, and the calls that wait for it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::sync::RwLock;

use super::task::{Ended, Task};
use super::uplink::Uplink;
use crate::engine::Limits;
use crate::executor::STALL;
use crate::id::WorkerInfo;
use crate::record::Recorder;
use crate::sync::lock;
use crate::wire::Record;
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
    pub(super) recorder: Arc<Recorder>,
    info: Mutex<WorkerInfo>,
    queue: Mutex<Queue<W>>,
}

struct Queue<W: DistributedWorker> {
    waiting: VecDeque<Arc<Task<W>>>,
    running: Vec<Arc<Task<W>>>,
    /// Which start is under way, and since when.
    starting: Option<(u64, Instant)>,
    starts: u64,
}

impl<W: DistributedWorker> Slot<W> {
    pub(super) fn new(index: usize, info: WorkerInfo, limits: &Limits) -> Self {
        let (waiting, running) = (VecDeque::new(), Vec::new());
        Self {
            index,
            worker: Arc::new(RwLock::new(None)),
            recorder: Arc::new(Recorder::new(limits)),
            info: Mutex::new(info),
            queue: Mutex::new(Queue { waiting, running, starting: None, starts: 0 }),
        }
    }

    pub(super) fn info(&self) -> WorkerInfo {
        lock(&self.info).clone()
    }

    pub(super) fn set_info(&self, change: impl FnOnce(&WorkerInfo) -> WorkerInfo) {
        let mut info = lock(&self.info);
        *info = change(&info);
    }

    /// Tells the server what was recorded since it was last told.
    pub(super) fn tell_news(&self, link: &Uplink) {
        while let Some((resets, lines)) = self.recorder.take_news() {
            let record = Record { worker: self.index as u32, resets, lines };
            let frame = record.to_frame();
            // One line that the server would not take: its gathering will say so.
            if frame.len() <= link.peer_max_message() {
                link.push([frame]);
            }
        }
    }

    /// Puts a call at the end of the queue; `false` if there are `max` already.
    pub(super) fn enqueue(&self, task: Arc<Task<W>>, max: usize) -> bool {
        let mut queue = lock(&self.queue);
        if queue.waiting.len() >= max {
            return false;
        }
        queue.waiting.push_back(task);
        true
    }

    /// Starts what may start. `flush`: whether replies are to be sent at once.
    pub(super) fn pump(&self, flush: bool) {
        loop {
            let Some((start, task)) = lock(&self.queue).next_start() else { return };
            task.start(flush);
            let mut queue = lock(&self.queue);
            match queue.starting {
                Some((current, _)) if current == start => queue.starting = None,
                // It took so long that another thread goes on from here.
                _ => return,
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

    /// The call has ended and been answered.
    pub(super) fn handle_end(&self, task: &Arc<Task<W>>) {
        let idle_start = {
            let mut queue = lock(&self.queue);
            queue.running.retain(|running| !Arc::ptr_eq(running, task));
            queue.starting.is_none() && !queue.waiting.is_empty()
        };
        if idle_start {
            self.pump(true);
        }
    }

    /// Ends a call before its time; `link`: only if it came over this one.
    pub(super) fn cancel(&self, link: Option<&Arc<Uplink>>, call: u64, why: Ended) {
        let found = |task: &Arc<Task<W>>| {
            task.call() == call && link.is_none_or(|link| task.came_over(link))
        };
        let mut queue = lock(&self.queue);
        if let Some(at) = queue.waiting.iter().position(found) {
            let task = queue.waiting.remove(at);
            drop(queue);
            if let Some(task) = task {
                task.handle_never_started(why);
            }
            // What stood behind it may be able to start now.
            self.pump(true);
            return;
        }
        let task = queue.running.iter().find(|task| found(task)).cloned();
        drop(queue);
        if let Some(task) = task {
            task.end(why);
        }
    }

    /// Ends every call that came over `link`, which is gone.
    pub(super) fn cancel_all(&self, link: &Arc<Uplink>) {
        let (never_started, running) = {
            let mut queue = lock(&self.queue);
            let (gone, kept): (VecDeque<_>, VecDeque<_>) =
                queue.waiting.drain(..).partition(|task| task.came_over(link));
            queue.waiting = kept;
            let running = queue.running.iter().filter(|task| task.came_over(link));
            (gone, running.cloned().collect::<Vec<_>>())
        };
        for task in running {
            task.end(Ended::Cancelled);
        }
        drop(never_started);
    }
}

impl<W: DistributedWorker> Queue<W> {
    /// Takes the next call if it may start now, with the number of this start.
    fn next_start(&mut self) -> Option<(u64, Arc<Task<W>>)> {
        let next = self.waiting.front()?;
        let alone = self.running.iter().any(|running| running.exclusive());
        if self.starting.is_some() || alone || (next.exclusive() && !self.running.is_empty()) {
            return None;
        }
        let task = self.waiting.pop_front()?;
        self.running.push(task.clone());
        self.starts += 1;
        self.starting = Some((self.starts, Instant::now()));
        Some((self.starts, task))
    }
}
