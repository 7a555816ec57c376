//! The file that results are stored in: `--results FILE`.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use dp_core::WorkerId;
use dp_core::engine::WorkerRecord;
use serde_json::json;
use thiserror::Error;

use crate::json_text::json_text;
use crate::private;

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
    /// How many lines of which record are in it, by the record's id. Those of long ago are forgotten.
    known: HashMap<u64, usize>,
}

/// So many records are remembered beside those that are being stored.
const REMEMBERED: usize = 1 << 16;

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
    ///
    /// # Errors
    /// When that fails, it is no regular file, or another server has it open: one that fails to append cuts off what it has
    /// written, which would be the other's.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        // Asked before it is opened: that waits for a reader where it is a pipe.
        match std::fs::metadata(path) {
            Ok(there) => regular(there.is_file())?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut file = private::options().read(true).append(true).create(true).open(path)?;
        regular(file.metadata()?.is_file())?;
        lock(&file)?;
        end_line(&mut file)?;
        Ok(Self::of(path, file))
    }

    fn of(path: &Path, file: File) -> Self {
        let state = Mutex::new(State { file, known: HashMap::new() });
        Self(Arc::new(Inner { path: path.to_owned(), state }))
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
        let mut now: HashMap<u64, usize> = HashMap::new();
        for (_, record) in records {
            // Of one that was lost meanwhile there are two accounts.
            let known = now.get(&record.id).or_else(|| self.known.get(&record.id));
            let stored = known.copied().unwrap_or(0).max(record.stored);
            for line in record.lines.iter().skip(stored) {
                // A map with text for keys cannot fail to be written to memory.
                let line = json!({
                    "worker": line.worker.as_str(),
                    "time": line.time.to_string(),
                    "message": line.message,
                });
                text.extend_from_slice(json_text(&line).as_bytes());
                text.push(b'\n');
            }
            now.insert(record.id, stored.max(record.lines.len()));
        }
        if !text.is_empty() {
            self.append(&text)?;
        }
        if self.known.len() > REMEMBERED {
            self.known.clear();
        }
        self.known.extend(now);
        Ok(())
    }

    fn append(&mut self, text: &[u8]) -> io::Result<()> {
        let metadata = self.file.metadata()?;
        let written = self.file.write_all(text).and_then(|()| self.file.sync_data());
        if written.is_err() && metadata.is_file() {
            // Else the next attempt would continue a line that was cut off.
            self.file.set_len(metadata.len())?;
        }
        written
    }
}

/// What is stored in a pipe or a device is not there afterwards.
fn regular(is: bool) -> io::Result<()> {
    let text = "it is not a regular file, so that nothing would be kept: name a file";
    if is { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidInput, text)) }
}

/// Keeps other servers away for as long as the file is open. Where the file system knows no locks,
/// there is none.
fn lock(file: &File) -> io::Result<()> {
    #[cfg(unix)]
    if file.metadata()?.is_file() {
        use rustix::fs::{FlockOperation, flock};
        if flock(file, FlockOperation::NonBlockingLockExclusive) == Err(rustix::io::Errno::AGAIN) {
            let text = "another server stores its results there: give each a file of its own";
            return Err(io::Error::new(io::ErrorKind::WouldBlock, text));
        }
    }
    let _ = file;
    Ok(())
}

/// Ends a last line that a server was killed in the middle of: what follows must not continue it.
fn end_line(file: &mut File) -> io::Result<()> {
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() == 0 {
        return Ok(());
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    if last == *b"\n" { Ok(()) } else { file.write_all(b"\n") }
}

#[cfg(test)]
mod tests {
    use dp_core::ResultLine;
    use jiff::Timestamp;

    use super::*;

    /// Records of one id are the same one unless they begin otherwise.
    fn record(id: &str, messages: &[&str], stored: usize) -> (WorkerId, WorkerRecord) {
        let worker = WorkerId::new(id).unwrap();
        let first = messages.first().map_or(0, |first| u64::from(first.as_bytes()[0]));
        let record = u64::from(id.as_bytes()[0]) << 8 | first;
        let line = |(at, message): (usize, &&str)| {
            let time = Timestamp::from_second(at as i64).unwrap();
            ResultLine::new(worker.clone(), time, *message)
        };
        let lines = messages.iter().enumerate().map(line).collect();
        (worker.clone(), WorkerRecord::new(record, lines, stored))
    }

    /// A store on a disk that has no room.
    #[cfg(target_os = "linux")]
    fn full() -> Store {
        let path = Path::new("/dev/full");
        Store::of(path, File::options().read(true).append(true).open(path).unwrap())
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_regular_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [&*pipe, Path::new("/dev/null"), dir.path()] {
            let error = Store::open(path).unwrap_err().to_string();
            assert!(error.contains("not a regular file"), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_new_file_is_its_owners_alone_and_one_that_is_there_stays_as_it_is() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let (new, old) = (dir.path().join("new"), dir.path().join("old"));
        std::fs::write(&old, "").unwrap();
        std::fs::set_permissions(&old, std::fs::Permissions::from_mode(0o640)).unwrap();
        for path in [&new, &old] {
            Store::open(path).unwrap();
        }
        assert_eq!((mode(&new), mode(&old)), (0o600, 0o640));
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

    #[cfg(unix)]
    #[test]
    fn two_servers_do_not_share_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results");
        let first = Store::open(&path).unwrap();
        let error = Store::open(&path).unwrap_err().to_string();
        assert!(error.contains("another server"), "{error}");
        drop(first);
        Store::open(&path).unwrap();
    }

    #[tokio::test]
    async fn records_of_several_processes_of_one_id_are_kept_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results");
        let store = Store::open(&path).unwrap();
        // The second was stored first, while the first was known from what it had told.
        store.store(vec![record("a", &["x"], 0), record("a", &["1", "2", "3"], 0)]).await.unwrap();
        // Of one that is lost less may be known than was stored; and both accounts may come at once.
        let told = record("a", &["1", "2"], 0);
        store.store(vec![record("a", &["x"], 0), told.clone()]).await.unwrap();
        store.store(vec![told, record("a", &["1", "2", "3", "4"], 0)]).await.unwrap();
        assert_eq!(messages(&path), ["a x", "a 1", "a 2", "a 3", "a 4"]);
    }

    #[tokio::test]
    async fn a_line_that_was_cut_off_is_not_continued() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results");
        std::fs::write(&path, "{\"worker\":\"a\",\"mess").unwrap();
        let store = Store::open(&path).unwrap();
        store.store(vec![record("a", &["1"], 0)]).await.unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.lines().nth(1).unwrap().ends_with('}'), "{text}");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_full_disk_is_an_error_that_says_so() {
        let store = full();
        for _ in 0..2 {
            let error = store.store(vec![record("a", &["1"], 0)]).await.unwrap_err().to_string();
            assert!(error.contains("/dev/full") && error.contains("No space left"), "{error}");
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn nothing_is_written_where_there_is_nothing_new() {
        let store = full();
        store.store(vec![record("a", &["1"], 1), record("b", &[], 0)]).await.unwrap();
    }
}
