//! One worker: its state, what it has recorded, and the calls that wait for it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::time::Instant;

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
    /// Whether the worker is there.
    pub(super) built: AtomicBool,
    pub(super) recorder: Arc<Recorder>,
    info: Mutex<WorkerInfo>,
    queue: Mutex<Queue<W>>,
}

struct Queue<W: DistributedWorker> {
    waiting: VecDeque<Arc<Task<W>>>,
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
        Self {
            index,
            worker: Arc::new(RwLock::new(None)),
            built: AtomicBool::new(false),
            recorder: Arc::new(Recorder::new(limits)),
            info: Mutex::new(info),
            queue: Mutex::new(Queue { waiting, running, alone: false, starting: None, starts: 0 }),
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
        if link.is_closed() {
            // It would count as told.
            return;
        }
        while let Some((record, resets, lines)) = self.recorder.take_news(link.peer_max_message()) {
            let record = Record { worker: self.index as u32, resets, record, lines };
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

    /// Starts what may start, on a thread of the executor. Whether to go on in a new job: this one
    /// has run for so long that nobody would notice if it blocked now.
    ///
    /// Whoever calls this flushes `link` behind it; answers that go elsewhere leave at once.
    pub(super) fn pump(&self, link: &Arc<Uplink>) -> bool {
        let began = Instant::now();
        loop {
            let next = {
                let mut queue = lock(&self.queue);
                queue.next_start(self.built.load(Ordering::Acquire))
            };
            let Some((start, task)) = next else { return false };
            task.start(!task.came_over(link));
            let mut queue = lock(&self.queue);
            match queue.starting {
                Some((current, _)) if current == start => queue.starting = None,
                // It took so long that another thread goes on from here.
                _ => return false,
            }
            if began.elapsed() >= STALL {
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
        queue.running.retain(|running| !Arc::ptr_eq(running, task));
        queue.alone &= !queue.running.is_empty();
        queue.starting.is_none() && !queue.waiting.is_empty()
    }

    /// A call that need not be alone has built the worker. Whether others may be started beside it
    /// now, and nobody is about to.
    pub(super) fn handle_built(&self) -> bool {
        let mut queue = lock(&self.queue);
        queue.alone = false;
        queue.starting.is_none() && !queue.waiting.is_empty()
    }

    /// Ends a call that came over the connection `link` before its time. Whether others may be
    /// started now, which stood behind it.
    pub(super) fn cancel(&self, link: u64, call: u64, why: Ended) -> bool {
        let found = |task: &Arc<Task<W>>| task.is_call(link, call);
        let mut queue = lock(&self.queue);
        if let Some(at) = queue.waiting.iter().position(found) {
            let task = queue.waiting.remove(at);
            drop(queue);
            if let Some(task) = task {
                task.handle_never_started(why);
            }
            return true;
        }
        let task = queue.running.iter().find(|task| found(task)).cloned();
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
            .then(|| format!("{waiting} calls wait in {}, {running} run", self.info().id()))
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
        never_started.iter().for_each(|task| task.forget_deadline());
    }
}

impl<W: DistributedWorker> Queue<W> {
    /// Takes the next call if it may start now, with the number of this start.
    fn next_start(&mut self, built: bool) -> Option<(u64, Arc<Task<W>>)> {
        // Whatever it is, the first call of a worker that is not built builds it.
        let alone = self.waiting.front()?.exclusive() || !built;
        if self.starting.is_some() || self.alone || (alone && !self.running.is_empty()) {
            return None;
        }
        self.alone = alone;
        let task = self.waiting.pop_front()?;
        self.running.push(task.clone());
        self.starts += 1;
        self.starting = Some((self.starts, Instant::now()));
        Some((self.starts, task))
    }
}
