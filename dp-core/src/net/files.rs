//! How many files this process may have open: each connection is one. And who else can read a secret one.

use std::io;
use std::path::Path;
use std::sync::{Arc, RwLock};
use std::thread;

#[cfg(unix)]
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lets this process have as many files open as the system allows it to have, and gives that number;
/// `None` where there is no such limit. What it starts from now on inherits that.
///
/// It is for programs that are nothing but a server or a client: what waits by `select` cannot deal with
/// more than 1,024.
pub fn raise_limit() -> Option<u64> {
    #[cfg(unix)]
    {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        // Some systems do not allow what they say that they allow: then it stays as it is.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
    limit()
}

/// How many this process may have open now; `None` where there is no such limit.
pub fn limit() -> Option<u64> {
    #[cfg(unix)]
    return getrlimit(Resource::Nofile).current;
    #[cfg(not(unix))]
    None
}

/// What to do about an error that says that too many are open.
pub fn remedy(error: &io::Error) -> Option<String> {
    #[cfg(unix)]
    if error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) {
        let limit = limit()?;
        return Some(format!("this process may have {limit}; `ulimit -n` in its shell sets that"));
    }
    #[cfg(not(unix))]
    let _ = error;
    None
}

/// `error`, with the remedy in its text where it says that too many files are open.
pub fn explained(error: io::Error) -> io::Error {
    match remedy(&error) {
        Some(remedy) => io::Error::new(error.kind(), format!("{error}: {remedy}")),
        None => error,
    }
}

/// Checks that this process can open `files` more files and start `threads` more threads, before it
/// begins what would break off in the middle.
///
/// # Errors
/// One line, with the remedy.
pub fn check_room(files: usize, threads: usize) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd as _;
        let (error, mut opened) = (io::stderr(), Vec::new());
        for _ in 0..files {
            match error.as_fd().try_clone_to_owned() {
                Ok(file) => opened.push(file),
                Err(error) => {
                    let Some(limit) = limit().filter(|_| remedy(&error).is_some()) else { break };
                    let needed = limit.saturating_add((files - opened.len()) as u64);
                    return Err(io::Error::new(
                        error.kind(),
                        format!(
                            "this process may have {limit} files open, and that is too few: start it \
                             after `ulimit -n {}`",
                            needed.max(256)
                        ),
                    ));
                }
            }
        }
    }
    #[cfg(not(unix))]
    let _ = files;
    let (hold, mut started) = (Arc::new(RwLock::new(())), Vec::new());
    let held = hold.write();
    let mut outcome = Ok(());
    for _ in 0..threads {
        let waiting = Arc::clone(&hold);
        let thread = thread::Builder::new().name("dp-probe".to_owned());
        match thread.spawn(move || drop(waiting.read())) {
            Ok(thread) => started.push(thread),
            Err(error) => {
                outcome = Err(io::Error::new(
                    error.kind(),
                    format!(
                        "the system has no room for the {threads} threads that this process needs \
                         ({error}): see `ulimit -u`, `ulimit -v` and the limits of its container"
                    ),
                ));
                break;
            }
        }
    }
    drop(held);
    for thread in started {
        let _ = thread.join();
    }
    outcome
}

/// Says so in the log, once for each file, where others than its owner can read the `what` in it.
pub fn warn_if_others_can_read(path: &Path, what: &str) {
    #[cfg(unix)]
    {
        use std::collections::HashSet;
        use std::path::PathBuf;
        use std::sync::Mutex;

        use crate::sync::lock;

        static SAID: Mutex<Option<HashSet<PathBuf>>> = Mutex::new(None);
        let others = others_can_read(path);
        if others && lock(&SAID).get_or_insert_default().insert(path.to_owned()) {
            tracing::warn!(
                "others than its owner can read the {what} in {0}: `chmod 600 {0}` keeps it secret",
                path.display()
            );
        }
    }
    #[cfg(not(unix))]
    let _ = (path, what);
}

#[cfg(unix)]
fn others_can_read(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    // A pipe, as of `--token-file <(..)`, or a device is no file that somebody finds.
    std::fs::metadata(path).is_ok_and(|of| of.is_file() && of.permissions().mode() & 0o044 != 0)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_secret_file_that_group_or_others_can_read_is_noticed() {
        use std::os::unix::fs::PermissionsExt as _;
        let path = std::env::temp_dir().join(format!("dp-secret-{}", std::process::id()));
        std::fs::write(&path, "x").unwrap();
        let noticed = [0o600, 0o400, 0o640, 0o604, 0o644].map(|mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            others_can_read(&path)
        });
        std::fs::remove_file(&path).unwrap();
        assert_eq!(noticed, [false, false, true, true, true]);
        assert!(!others_can_read(Path::new("/dev/null")));
    }

    #[test]
    fn too_many_open_files_have_a_remedy() {
        let many = io::Error::from(rustix::io::Errno::MFILE);
        let limit = limit().unwrap();
        assert!(remedy(&many).unwrap().starts_with(&format!("this process may have {limit}; ")));
        assert_eq!(remedy(&io::Error::from(rustix::io::Errno::PIPE)), None);
    }
}
