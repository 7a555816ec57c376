//! Shows what the clients log: equal lines once, with the workers that said them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use dp_core::engine::logs::FORWARDED;
use dp_core::engine::{self, Fleet, ForwardedLine, ForwardedLogs};
use dp_core::{DistributedWorker, WorkerId, fold_ids};
use jiff::Timestamp;
use tokio::sync::oneshot;
use tracing::Level;

/// How long a line waits for others that say the same.
const WINDOW: Duration = Duration::from_millis(250);
/// So many messages, and bytes of lines, of clients wait to be shown at the most, and so many bytes of
/// different lines are folded at a time.
const MAX_MESSAGES: usize = 1 << 12;
const MAX_WAITING: usize = 16 << 20;
const MAX_FOLDED: usize = 4 << 20;
/// Ids are named up to about so many characters.
const MAX_NAMES: usize = 160;
/// How long the last lines may take to be shown at the end.
const LAST: Duration = Duration::from_secs(1);

/// The lines that were shown last: so many, and of each so many characters.
const RECENT: usize = 50;
const RECENT_CHARS: usize = 500;

/// The lines that were shown last, for the page. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recent(Arc<Mutex<VecDeque<Recently>>>);

/// A line that was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recently {
    /// In milliseconds since the epoch.
    pub(crate) at: i64,
    pub(crate) level: Level,
    pub(crate) text: String,
}

impl Recent {
    fn push(&self, level: Level, text: &str) {
        let text = text.chars().take(RECENT_CHARS).collect();
        let at = Timestamp::now().as_millisecond();
        let mut lines = self.lock();
        if lines.len() >= RECENT {
            lines.pop_front();
        }
        lines.push_back(Recently { at, level, text });
    }

    /// Oldest first.
    #[cfg(feature = "page")]
    pub(crate) fn lines(&self) -> Vec<Recently> {
        self.lock().iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Recently>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the clients log is shown while this is there.
#[derive(Debug)]
pub(crate) struct Logs(SyncSender<Message>);

enum Message {
    Logs(ForwardedLogs),
    /// Nothing more is to be waited for.
    Flush(oneshot::Sender<()>),
}

impl Logs {
    /// Asks the clients of `fleet` for their logs from now on.
    pub(crate) fn start<W: DistributedWorker>(
        fleet: &Fleet<W>,
        level: Level,
        recent: Recent,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(MAX_MESSAGES);
        let waiting = Arc::new(AtomicUsize::new(0));
        let dropped = Arc::new(AtomicU64::new(0));
        let (shown, lost) = (waiting.clone(), dropped.clone());
        // Its own, since whoever reads standard error may not keep up.
        thread::Builder::new().name("dp-logs".to_owned()).spawn(move || {
            engine::keep_up_thread("what shows the clients' logs", || {
                show(&receiver, &shown, &lost, &recent);
            });
        })?;
        let logs = sender.clone();
        fleet.forward_logs(level, move |told| {
            let (bytes, lines) =
                (size(&told), told.dropped.saturating_add(told.lines.len() as u64));
            let room = waiting.fetch_add(bytes, Ordering::Relaxed) < MAX_WAITING;
            if !room || logs.try_send(Message::Logs(told)).is_err() {
                waiting.fetch_sub(bytes, Ordering::Relaxed);
                dropped.fetch_add(lines, Ordering::Relaxed);
            }
        });
        Ok(Self(sender))
    }

    /// Shows what has come so far.
    pub(crate) async fn flush(&self) {
        let (done, shown) = oneshot::channel();
        if self.0.try_send(Message::Flush(done)).is_ok() {
            // On the I/O runtime, since the caller's may have no timers.
            let _ = engine::io().spawn(tokio::time::timeout(LAST, shown)).await;
        }
    }
}

fn size(told: &ForwardedLogs) -> usize {
    told.lines.iter().map(|line| line.text.len() + 64).sum()
}

/// Shows lines as they come, until nobody can send any.
fn show(receiver: &Receiver<Message>, waiting: &AtomicUsize, dropped: &AtomicU64, recent: &Recent) {
    let mut folded = Folded::default();
    let mut since = None;
    loop {
        let left = since.map(|since: Instant| WINDOW.saturating_sub(since.elapsed()));
        let message = match left {
            Some(left) => receiver.recv_timeout(left),
            None => receiver.recv().map_err(RecvTimeoutError::from),
        };
        let mut flushed = None;
        match message {
            Ok(Message::Logs(told)) => {
                waiting.fetch_sub(size(&told), Ordering::Relaxed);
                folded.add(told);
                let since = *since.get_or_insert_with(Instant::now);
                if since.elapsed() < WINDOW && folded.bytes < MAX_FOLDED {
                    continue;
                }
            }
            Ok(Message::Flush(done)) => flushed = Some(done),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        for (level, text) in folded.take() {
            recent.push(level, &text);
            say(level, &text);
        }
        match dropped.swap(0, Ordering::Relaxed) {
            0 => {}
            lines => tracing::warn!(
                "{lines} lines of clients' logs were dropped: more than can be shown; ask for less \
                 with --forward-logs"
            ),
        }
        since = None;
        if let Some(done) = flushed {
            let _ = done.send(());
        }
    }
}

fn say(level: Level, text: &str) {
    match level {
        Level::ERROR => tracing::error!(target: FORWARDED, "{text}"),
        Level::WARN => tracing::warn!(target: FORWARDED, "{text}"),
        Level::INFO => tracing::info!(target: FORWARDED, "{text}"),
        Level::DEBUG => tracing::debug!(target: FORWARDED, "{text}"),
        Level::TRACE => tracing::trace!(target: FORWARDED, "{text}"),
    }
}

/// Lines that have come one shortly after another.
#[derive(Debug, Default)]
struct Folded {
    lines: Vec<Line>,
    known: HashMap<(Level, String), usize>,
    dropped: BTreeMap<String, u64>,
    bytes: usize,
}

#[derive(Debug)]
struct Line {
    level: Level,
    text: String,
    workers: BTreeSet<WorkerId>,
    times: usize,
}

impl Folded {
    fn add(&mut self, told: ForwardedLogs) {
        self.bytes += size(&told);
        for ForwardedLine { worker, level, text, .. } in told.lines {
            let key = (level, text);
            let at = match self.known.get(&key) {
                Some(&at) => at,
                None => {
                    let (workers, text) = (BTreeSet::new(), key.1.clone());
                    self.lines.push(Line { level, text, workers, times: 0 });
                    self.known.insert(key, self.lines.len() - 1);
                    self.lines.len() - 1
                }
            };
            self.lines[at].workers.insert(worker);
            self.lines[at].times += 1;
        }
        if told.dropped > 0 {
            let dropped = self.dropped.entry(told.client).or_default();
            *dropped = dropped.saturating_add(told.dropped);
        }
    }

    /// The lines in the order in which they first came, and at the end how many were dropped.
    fn take(&mut self) -> Vec<(Level, String)> {
        let Self { lines, dropped, .. } = std::mem::take(self);
        let mut said: Vec<_> = lines
            .into_iter()
            .map(|Line { level, text, workers, times }| {
                let many = match times > workers.len() {
                    true => format!(" ({times} times)"),
                    false => String::new(),
                };
                (level, format!("{}: {text}{many}", names(&workers)))
            })
            .collect();
        if !dropped.is_empty() {
            let lines: u64 = dropped.values().copied().fold(0, u64::saturating_add);
            let clients = dropped.keys().filter_map(|id| WorkerId::new(id.as_str()).ok()).collect();
            let were = if lines == 1 { "line was" } else { "lines were" };
            let why = "more than --max-log-lines allows a second, or than the connection takes";
            said.push((Level::WARN, format!("{}: {lines} {were} dropped: {why}", names(&clients))));
        }
        said
    }
}

/// Folded; and cut where ids have little in common.
fn names(workers: &BTreeSet<WorkerId>) -> String {
    let all = fold_ids(workers);
    if all.len() <= MAX_NAMES {
        return all;
    }
    let end = all.char_indices().take_while(|(at, _)| *at < MAX_NAMES).filter(|(_, c)| *c == ',');
    let end = end.last().map_or(0, |(at, _)| at);
    format!("{},… ({} workers)", &all[..end], workers.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(client: &str, dropped: u64, lines: &[(&str, Level, &str)]) -> ForwardedLogs {
        let lines = lines.iter().map(|(worker, level, text)| {
            ForwardedLine::new(WorkerId::new(*worker).unwrap(), *level, (*text).to_owned())
        });
        ForwardedLogs::new(client.to_owned(), dropped, lines.collect())
    }

    #[test]
    fn equal_lines_are_one_and_the_others_keep_their_order() {
        let mut folded = Folded::default();
        for client in (1..=40).rev() {
            let id = format!("w{client}");
            folded.add(told(&id, 0, &[(&id, Level::WARN, "disk is full")]));
        }
        folded.add(told("w7", 0, &[("w7", Level::INFO, "disk is full"), ("w7", Level::INFO, "a")]));
        folded.add(told("w7", 0, &[("w7", Level::INFO, "a"), ("w8", Level::INFO, "b")]));
        let lines = folded.take();
        let expected = [
            (Level::WARN, "w[1-40]: disk is full"),
            (Level::INFO, "w7: disk is full"),
            (Level::INFO, "w7: a (2 times)"),
            (Level::INFO, "w8: b"),
        ];
        assert_eq!(lines, expected.map(|(level, text)| (level, text.to_owned())));
        assert!(folded.take().is_empty() && folded.bytes == 0);
    }

    #[test]
    fn what_was_dropped_is_counted_and_said() {
        let mut folded = Folded::default();
        folded.add(told("c1", 3, &[]));
        folded.add(told("c2", 4, &[("c2/1", Level::INFO, "a")]));
        let lines = folded.take();
        assert_eq!(lines[0].1, "c2/1: a");
        assert!(lines[1].1.starts_with("c[1-2]: 7 lines were dropped: more than"), "{lines:?}");
    }

    #[test]
    fn many_ids_that_do_not_fold_are_counted() {
        let ids: BTreeSet<_> =
            (b'a'..=b'z').map(|c| WorkerId::new(format!("host-{}", c as char)).unwrap()).collect();
        let names = names(&ids);
        assert!(names.starts_with("host-a,host-b,"), "{names}");
        assert!(names.ends_with(",… (26 workers)") && names.len() < 190, "{names}");
    }
}
