//! Listens at a Unix socket: its file, and who may connect.

use std::fs::{self, File, Metadata, Permissions};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dp_core::net::{GateError, Socket, TrustedUsers};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio::time::sleep;

use crate::start::StartError;

/// Only processes of the server's own user, and root, may connect.
const OWN_USER: u32 = 0o600;
/// All may, and are looked at when they do.
const ANY_USER: u32 = 0o666;

/// How often another name is tried where one is taken.
const TRIES: usize = 8;
/// How long other servers may take to remove a socket that was left.
const LOCK: Duration = Duration::from_secs(1);

/// A Unix socket that is listened at. Its file is gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    // Before the file: who finds one expects somebody behind it.
    file: SocketFile,
    listener: UnixListener,
    users: TrustedUsers,
}

impl Listener {
    /// Listens at `path`, also where a server that was killed has left its file. Processes of the
    /// `users` may connect, too.
    pub(crate) async fn open(path: &Path, users: &[u32], backlog: u32) -> Result<Self, StartError> {
        let cannot = |source| StartError::Socket { path: path.to_owned(), source };
        // One that is longer nobody could connect to.
        SocketAddr::from_pathname(path).map_err(cannot)?;
        stale(path).await?;
        // What is at the path is listened at, and lets in those that it is to, from the first moment: so
        // nobody takes it for one that was left, and no client is sent away.
        let (beside, socket) = bind_beside(path).map_err(cannot)?;
        let mode = if users.is_empty() { OWN_USER } else { ANY_USER };
        fs::set_permissions(&beside.0, Permissions::from_mode(mode)).map_err(cannot)?;
        let listener = socket.listen(backlog).map_err(cannot)?;
        let users = TrustedUsers::new(users).map_err(cannot)?;
        let made = fs::symlink_metadata(&beside.0).map_err(cannot)?;
        while let Err(source) = fs::hard_link(&beside.0, path) {
            if source.kind() != io::ErrorKind::AlreadyExists {
                return Err(cannot(source));
            }
            remove_stale(path).await?;
        }
        Ok(Self { file: SocketFile { path: path.to_owned(), made }, listener, users })
    }

    /// The next connection, and who it is; or why that one is not let in.
    pub(crate) async fn accept(&self) -> io::Result<(Socket, Result<String, GateError>)> {
        let (stream, _) = self.listener.accept().await?;
        let who = self.users.check(&stream).map(|pid| match pid {
            Some(pid) => format!("unix pid {pid}"),
            None => "unix".to_owned(),
        });
        Ok((stream.into(), who))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.file.path
    }
}

/// A name of our own, which is gone when this is dropped.
struct Beside(PathBuf);

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A name in the folder of `path` that nobody has, no longer if that can be: the whole must be short.
fn beside(path: &Path) -> Beside {
    let own = path.file_name().map_or(0, |name| name.len());
    let random = RandomState::new().hash_one(path);
    let mut name = format!(".dp{random:016x}");
    name.truncate(own.max(8));
    Beside(path.with_file_name(name))
}

/// A socket in the folder of `path`.
fn bind_beside(path: &Path) -> io::Result<(Beside, UnixSocket)> {
    let mut tries = 0;
    loop {
        let socket = UnixSocket::new_stream()?;
        let beside = beside(path);
        match socket.bind(&beside.0) {
            Ok(()) => return Ok((beside, socket)),
            Err(error) => {
                // It is another's.
                std::mem::forget(beside);
                tries += 1;
                if error.kind() != io::ErrorKind::AddrInUse || tries > TRIES {
                    return Err(error);
                }
            }
        }
    }
}

/// The socket at `path`, if there is one that nobody listens at any more. One at which somebody does is an
/// error, and what is no socket.
async fn stale(path: &Path) -> Result<Option<Metadata>, StartError> {
    let path_of = || path.to_owned();
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StartError::Socket { path: path_of(), source }),
    };
    if !found.file_type().is_socket() {
        return Err(StartError::NotASocket { path: path_of() });
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
            Err(StartError::Socket { path: path_of(), source })
        }
        // Somebody does: one whose queue is full, or who speaks in another way, too.
        Ok(_) | Err(_) => Err(StartError::SocketTaken { path: path_of() }),
    }
}

/// Removes the file of a socket that nobody listens at any more.
async fn remove_stale(path: &Path) -> Result<(), StartError> {
    // Between the look at it and its removal nobody else puts another there: to do that, they have to
    // remove it, too.
    let _alone = alone(path).await;
    match stale(path).await? {
        Some(found) if is_same(path, &found) => match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StartError::Socket { path: path.to_owned(), source: error })
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Keeps other servers from removing sockets in the folder of `path`, until it is dropped. Only as long as
/// that is a matter of moments: others may lock a folder, too.
async fn alone(path: &Path) -> Option<File> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = File::open(folder.unwrap_or(Path::new("."))).ok()?;
    let until = Instant::now() + LOCK;
    while flock(&folder, FlockOperation::NonBlockingLockExclusive) == Err(Errno::AGAIN) {
        if Instant::now() > until {
            return None;
        }
        sleep(Duration::from_millis(1)).await;
    }
    Some(folder)
}

/// Whether nobody has replaced a file since.
fn is_same(path: &Path, found: &Metadata) -> bool {
    // Inodes' numbers are used again.
    let id = |file: &Metadata| (file.dev(), file.ino(), file.mtime(), file.mtime_nsec());
    fs::symlink_metadata(path).is_ok_and(|now| id(&now) == id(found))
}

/// The file of a socket. Removed when dropped.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    made: Metadata,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if is_same(&self.path, &self.made)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!("cannot remove the socket {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn open(path: &Path) -> Result<Listener, StartError> {
        Listener::open(path, &[], 16).await
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[tokio::test]
    async fn its_file_is_for_its_user_alone_and_goes_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lab.sock");
        let listener = open(&path).await.unwrap();
        assert_eq!(mode(&path), OWN_USER);
        let (accepted, connected) = tokio::join!(listener.accept(), UnixStream::connect(&path));
        connected.unwrap();
        assert!(accepted.unwrap().1.unwrap().starts_with("unix"));
        drop(listener);
        assert!(!path.exists());
        let listener = Listener::open(&path, &[65534], 16).await.unwrap();
        assert_eq!((mode(&path), listener.path()), (ANY_USER, path.as_path()));
    }

    #[tokio::test]
    async fn one_that_is_listened_at_is_left_alone_and_a_stale_one_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lab.sock");
        let listener = open(&path).await.unwrap();
        let error = open(&path).await.unwrap_err();
        assert!(matches!(error, StartError::SocketTaken { .. }), "{error}");
        assert!(error.to_string().contains("lab.sock"), "{error}");
        assert!(path.exists());
        drop(listener);
        // As a server leaves it that was killed.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        open(&path).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_several_servers_at_a_stale_one_one_gets_it_and_whoever_finds_it_gets_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lab.sock");
        for _ in 0..50 {
            drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
            let opening = (0..4).map(|_| {
                let path = path.clone();
                tokio::spawn(async move { Listener::open(&path, &[65534], 16).await })
            });
            let opening: Vec<_> = opening.collect();
            let mut open = Vec::new();
            for opened in opening {
                match opened.await.unwrap() {
                    Ok(listener) => open.push(listener),
                    Err(error) => {
                        assert!(matches!(error, StartError::SocketTaken { .. }), "{error}");
                    }
                }
            }
            assert_eq!(open.len(), 1);
            UnixStream::connect(&path).await.unwrap();
            assert_eq!(mode(&path), ANY_USER);
            // Nothing else is left.
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
            drop(open);
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        }
    }

    #[tokio::test]
    async fn what_is_no_socket_is_named_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("notes");
        fs::write(&file, "precious").unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path().join("nowhere"), &link).unwrap();
        for path in [dir.path(), &file, &link] {
            let error = open(path).await.unwrap_err();
            assert!(matches!(error, StartError::NotASocket { .. }), "{error}");
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
        for path in [dir.path().join("no/such/folder"), dir.path().join("x".repeat(200))] {
            let error = open(&path).await.unwrap_err();
            assert!(matches!(error, StartError::Socket { .. }), "{error}");
        }
    }

    #[tokio::test]
    async fn a_file_that_took_its_place_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lab.sock");
        let listener = open(&path).await.unwrap();
        fs::rename(&path, dir.path().join("moved")).unwrap();
        fs::write(&path, "another").unwrap();
        drop(listener);
        assert!(path.exists());
    }
}
