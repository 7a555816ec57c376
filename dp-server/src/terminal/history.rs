//! The commands of earlier sessions.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

use crate::console::without_arguments;

/// How many lines are remembered.
pub(super) const KEPT: usize = 1000;

/// The longest line that is remembered, in bytes.
const LONGEST: usize = 4096;

/// The file with them: one line each, the oldest first.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
}

impl Store {
    /// That of the server program of `worker`; `None` where there is no place for it.
    pub(super) fn of(worker: &str) -> Option<Self> {
        let worker = worker.split('<').next().unwrap_or_default().to_lowercase();
        Some(Self { path: state_home()?.join("dp").join(format!("{worker}-server.history")) })
    }

    /// The lines of earlier sessions.
    pub(super) fn load(&self) -> Vec<String> {
        let bytes = fs::read(&self.path).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let kept = &lines[lines.len().saturating_sub(KEPT)..];
        if lines.len() > 2 * KEPT {
            let new = self.path.with_extension("new");
            let text = kept.iter().flat_map(|line| [line, "\n"]).collect::<String>();
            let written =
                self.open(&new, false).and_then(|mut file| file.write_all(text.as_bytes()));
            let renamed = written.and_then(|()| fs::rename(new, &self.path));
            if let Err(error) = renamed {
                tracing::debug!("cannot shorten {}: {error}", self.path.display());
            }
        }
        kept.iter().map(|&line| line.to_owned()).collect()
    }

    /// Remembers a line, if it is a command. What could be a secret is not: arguments of calls, and
    /// whatever was not meant for a console.
    pub(super) fn add(&mut self, line: &str) {
        let Some(line) = without_arguments(line).filter(|line| line.len() <= LONGEST) else {
            return;
        };
        let written = self
            .open(&self.path, true)
            .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
        if let Err(error) = written {
            tracing::debug!("cannot keep the history in {}: {error}", self.path.display());
        }
    }

    fn open(&self, path: &std::path::Path, append: bool) -> io::Result<fs::File> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let mut options = OpenOptions::new();
        options.create(true).append(append).write(true).truncate(!append);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        options.open(path)
    }
}

/// By the XDG base directory specification.
fn state_home() -> Option<PathBuf> {
    let given = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    given("XDG_STATE_HOME").or_else(|| Some(given("HOME")?.join(".local/state")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_kept_and_nothing_that_could_be_a_secret() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store { path: directory.path().join("dp").join("greeter.history") };
        assert!(store.load().is_empty());
        for line in [
            "/run",
            "/call login \"hunter2\"",
            "/call @w1 login \"hunter2\"",
            "hunter2",
            "/nonsense hunter2",
            "",
            "/freq 2.5",
        ] {
            store.add(line);
        }
        let kept = ["/run", "/call login", "/call @w1 login", "/freq 2.5"];
        assert_eq!(store.load(), kept);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(&store.path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_long_history_loses_its_oldest_lines() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store { path: directory.path().join("history") };
        let lines: String = (0..=2 * KEPT).map(|n| format!("/freq {n}\n")).collect();
        fs::write(&store.path, lines).unwrap();
        for _ in 0..2 {
            let lines = store.load();
            assert_eq!(lines.len(), KEPT);
            assert_eq!(lines.last(), Some(&format!("/freq {}", 2 * KEPT)));
        }
        assert_eq!(fs::read_to_string(&store.path).unwrap().lines().count(), KEPT);
    }
}
