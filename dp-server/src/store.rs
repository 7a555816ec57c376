//! The file that results are stored in: `--results FILE`.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use dp_core::engine::WorkerRecord;
use dp_core::{ResultLine, WorkerId};
use serde_json::json;
use thiserror::Error;

/// A file of JSON lines that results are appended to, each once.
///
/// What has been stored is acknowledged to the workers, so that a server that is started again does
/// not store it a second time. Should the server be killed between the two, the file has it twice:
/// never is a line missing.
#[derive(Debug, Clone)]
pub(crate) struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    /// Of each worker id, the records that this server has stored a part of.
    known: HashMap<WorkerId, Vec<Known>>,
}

/// The first lines of a record, which have been stored. A record only grows until it is dropped, and
/// no two records begin alike: their lines have times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    count: usize,
    hash: u64,
}

/// So many records of one id are remembered: those of processes that have come one after another.
const REMEMBERED: usize = 16;

/// Results could not be stored. They stay where they were.
#[derive(Debug, Error)]
#[error(
    "the results are not stored: cannot write to {}: {source}; they stay on the workers: \
     make room, then gather them again (/results)",
    path.display()
)]
pub(crate) struct StoreError {
    path: PathBuf,
    source: io::Error,
}

impl Store {
    /// Opens the file, or makes it.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        let state = Mutex::new(State { file, known: HashMap::new() });
        Ok(Self(Arc::new(Inner { path: path.to_owned(), state })))
    }

    /// Appends what has not been stored yet, and waits until the disk has it.
    ///
    /// # Errors
    /// When that is not so; then nothing of it is in the file, and all of it can be tried again.
    pub(crate) async fn store(
        &self,
        records: Vec<(WorkerId, WorkerRecord)>,
    ) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.0);
        // A disk may take its time, and a schedule may need this thread.
        let stored = tokio::task::spawn_blocking(move || {
            let mut state = inner.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.store(&records)
        });
        let stored = stored.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        stored.map_err(|source| StoreError { path: self.0.path.clone(), source })
    }
}

impl State {
    fn store(&mut self, records: &[(WorkerId, WorkerRecord)]) -> io::Result<()> {
        let mut text = Vec::new();
        let mut news = Vec::new();
        for (worker, record) in records {
            let known = self.known.get(worker).map_or(&[][..], Vec::as_slice);
            let before = longest(known, &record.lines);
            let stored = before.map_or(0, |known| known.count).max(record.stored);
            for line in record.lines.iter().skip(stored) {
                // A map with text for keys cannot fail to be written to memory.
                let line = json!({
                    "worker": line.worker.as_str(),
                    "time": line.time.to_string(),
                    "message": line.message,
                });
                text.extend_from_slice(line.to_string().as_bytes());
                text.push(b'\n');
            }
            if let Some(now) = Known::all(&record.lines) {
                news.push((worker, before, now));
            }
        }
        if !text.is_empty() {
            self.append(&text)?;
        }
        for (worker, before, now) in news {
            let known = self.known.entry(worker.clone()).or_default();
            known.retain(|known| Some(*known) != before && *known != now);
            known.push(now);
            if known.len() > REMEMBERED {
                known.remove(0);
            }
        }
        Ok(())
    }

    fn append(&mut self, text: &[u8]) -> io::Result<()> {
        let metadata = self.file.metadata()?;
        let written = self.file.write_all(text).and_then(|()| {
            // What is no file, a pipe say, cannot be synced.
            if metadata.is_file() { self.file.sync_data() } else { Ok(()) }
        });
        if written.is_err() && metadata.is_file() {
            // Else the next attempt would continue a line that was cut off.
            self.file.set_len(metadata.len())?;
        }
        written
    }
}

impl Known {
    fn all(lines: &[ResultLine]) -> Option<Self> {
        prefixes(lines).last()
    }
}

/// Every beginning of a record, the shortest first.
fn prefixes(lines: &[ResultLine]) -> impl Iterator<Item = Known> {
    let mut hasher = DefaultHasher::new();
    lines.iter().enumerate().map(move |(at, line)| {
        (line.time, &line.message).hash(&mut hasher);
        Known { count: at + 1, hash: hasher.finish() }
    })
}

/// The longest of `known` that the record begins with.
fn longest(known: &[Known], lines: &[ResultLine]) -> Option<Known> {
    if known.is_empty() {
        return None;
    }
    prefixes(lines).filter(|prefix| known.contains(prefix)).last()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn record(id: &str, messages: &[&str], stored: usize) -> (WorkerId, WorkerRecord) {
        let worker = WorkerId::new(id).unwrap();
        let line = |(at, message): (usize, &&str)| {
            let time = Timestamp::from_second(at as i64).unwrap();
            ResultLine::new(worker.clone(), time, *message)
        };
        let lines = messages.iter().enumerate().map(line).collect();
        (worker.clone(), WorkerRecord::new(lines, stored))
    }

    fn messages(path: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap();
        let message = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            format!("{} {}", line["worker"].as_str().unwrap(), line["message"].as_str().unwrap())
        };
        text.lines().map(message).collect()
    }

    #[tokio::test]
    async fn each_line_is_stored_once_however_often_it_is_gathered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results");
        let store = Store::open(&path).unwrap();
        store.store(vec![record("a", &["1", "2"], 0), record("b", &["1"], 0)]).await.unwrap();
        store.store(vec![record("a", &["1", "2", "3"], 0), record("b", &["1"], 1)]).await.unwrap();
        // Another run: the record begins anew.
        store.store(vec![record("a", &["x"], 0)]).await.unwrap();
        // What had been told by one that was lost, and the rest when it is back.
        store.store(vec![record("a", &["x", "y"], 0)]).await.unwrap();
        assert_eq!(messages(&path), ["a 1", "a 2", "b 1", "a 3", "a x", "a y"]);
    }

    #[tokio::test]
    async fn what_another_server_has_stored_is_not_stored_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results");
        std::fs::write(&path, "{\"worker\":\"a\",\"message\":\"1\"}\n").unwrap();
        let store = Store::open(&path).unwrap();
        store.store(vec![record("a", &["1", "2"], 1)]).await.unwrap();
        assert_eq!(messages(&path), ["a 1", "a 2"]);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_full_disk_is_an_error_that_says_so() {
        let store = Store::open(Path::new("/dev/full")).unwrap();
        for _ in 0..2 {
            let error = store.store(vec![record("a", &["1"], 0)]).await.unwrap_err().to_string();
            assert!(error.contains("/dev/full") && error.contains("No space left"), "{error}");
        }
    }

    #[tokio::test]
    async fn nothing_is_written_where_there_is_nothing_new() {
        let store = Store::open(Path::new("/dev/full")).unwrap();
        store.store(vec![record("a", &["1"], 1), record("b", &[], 0)]).await.unwrap();
    }
}
