//! The file that results are stored in: `--results FILE`.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use dp_core::engine::{StoredLines, WorkerRecord};
use dp_core::{ResultLine, WorkerId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::json_text::json_text;
use crate::private;

/// A file of JSON lines that results are appended to, each once.
///
/// Each line says of which record it is and where it stands in it: a server that is started again knows
/// by that what is stored already, also of workers that are lost. It is acknowledged to the workers, too,
/// so that a server that stores elsewhere does not store it a second time.
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
    /// What is in it.
    stored: StoredLines,
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct StoredLine<'a> {
    #[serde(borrow)]
    worker: Cow<'a, str>,
    #[serde(default, skip_deserializing)]
    time: String,
    #[serde(default, skip_deserializing)]
    message: &'a str,
    /// The record's id, in hexadecimal digits.
    #[serde(borrow, default)]
    record: Cow<'a, str>,
    /// Which line of the record, from 0. `None` for what a server says of lines that are missing.
    #[serde(default)]
    line: Option<usize>,
}

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
        let stored = read_back(&mut file)?;
        Ok(Self::of(path, file, stored))
    }

    fn of(path: &Path, file: File, stored: StoredLines) -> Self {
        let state = Mutex::new(State { file, stored });
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
        let unstored = self.stored.unstored(records);
        let mut text = Vec::new();
        for news in &unstored {
            let (_, record) = &records[news.record];
            let mut add = |line: &ResultLine, number: Option<usize>| {
                let line = StoredLine {
                    worker: line.worker.as_str().into(),
                    time: line.time.to_string(),
                    message: &line.message,
                    record: format!("{:016x}", record.id).into(),
                    line: number,
                };
                text.extend_from_slice(json_text(&line).as_bytes());
                text.push(b'\n');
                io::Result::Ok(())
            };
            for number in news.lines.clone() {
                add(&record.lines[number], Some(number))?;
            }
            if let Some(notice) = record.notice.as_ref().filter(|_| news.notice) {
                add(notice, None)?;
            }
        }
        if !text.is_empty() {
            self.append(&text)?;
        }
        self.stored.handle_stored(records, &unstored);
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

/// What is in the file, of records that may be there still.
fn read_back(file: &mut File) -> io::Result<StoredLines> {
    let mut stored = StoredLines::default();
    if !file.metadata()?.is_file() {
        return Ok(stored);
    }
    file.seek(SeekFrom::Start(0))?;
    let (mut lines, mut line) = (BufReader::with_capacity(1 << 20, file), Vec::new());
    while lines.read_until(b'\n', &mut line)? > 0 {
        // Anything else is a line that was cut off, an older server's, or not a server's.
        if let Ok(line) = serde_json::from_slice::<StoredLine<'_>>(&line)
            && let Ok(worker) = WorkerId::new(line.worker.as_ref())
            && let Ok(record) = u64::from_str_radix(&line.record, 16)
        {
            match line.line {
                Some(number) => stored.note(&worker, record, number),
                None => stored.note_notice(&worker, record),
            }
        }
        line.clear();
    }
    Ok(stored)
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
        Store::of(
            path,
            File::options().read(true).append(true).open(path).unwrap(),
            StoredLines::default(),
        )
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

    #[tokio::test]
    async fn a_server_that_is_started_again_knows_what_is_in_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results");
        let strange = ["1", "a \"quote\", \\ and \u{1f600}"];
        let store = Store::open(&path).unwrap();
        store.store(vec![record("a", &strange, 0), record("b", &["1"], 0)]).await.unwrap();
        drop(store);
        // Killed in the middle of another line.
        let text = std::fs::read(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 20]).unwrap();
        let store = Store::open(&path).unwrap();
        let told = [&strange[..], &["3"]].concat();
        let mut lost = record("a", &told, 0);
        lost.1.notice = Some(lost.1.lines[0].clone());
        for _ in 0..2 {
            store.store(vec![lost.clone(), record("b", &["1"], 0)]).await.unwrap();
        }
        drop(store);
        Store::open(&path).unwrap().store(vec![lost]).await.unwrap();
        let whole = std::fs::read_to_string(&path).unwrap();
        let parsed: Vec<String> = whole
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .map(|line| {
                format!(
                    "{} {}",
                    line["worker"].as_str().unwrap(),
                    line["message"].as_str().unwrap()
                )
            })
            .collect();
        let expected = ["a 1", &format!("a {}", strange[1]), "a 3", "a 1", "b 1"];
        assert_eq!(parsed, expected);
        assert_eq!(whole.lines().count(), 6, "and the line that was cut off");
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
