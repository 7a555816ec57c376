//! Listens at a Unix socket: its file, and who may connect.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use dp_core::net::{GateError, Socket, TrustedUsers};
use tokio::net::{UnixListener, UnixSocket, UnixStream};

use crate::builder::StartError;

/// Only processes of the server's own user, and root, may connect.
const OWN_USER: u32 = 0o600;
/// All may, and are looked at when they do.
const ANY_USER: u32 = 0o666;

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
        remove_stale(path).await?;
        let socket = UnixSocket::new_stream().map_err(cannot)?;
        socket.bind(path).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => StartError::SocketTaken { path: path.to_owned() },
            _ => cannot(source),
        })?;
        let file = SocketFile::new(path).map_err(cannot)?;
        // Nobody can connect before it is listened at.
        let mode = if users.is_empty() { OWN_USER } else { ANY_USER };
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(cannot)?;
        let listener = socket.listen(backlog).map_err(cannot)?;
        let users = TrustedUsers::new(users).map_err(cannot)?;
        Ok(Self { file, listener, users })
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

/// Removes the file of a socket that nobody listens at any more.
async fn remove_stale(path: &Path) -> Result<(), StartError> {
    let path_of = || path.to_owned();
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(StartError::Socket { path: path_of(), source }),
    };
    if !found.file_type().is_socket() {
        return Err(StartError::NotASocket { path: path_of() });
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
            return Err(StartError::Socket { path: path_of(), source });
        }
        // Somebody does: one whose queue is full, or who speaks in another way, too.
        Ok(_) | Err(_) => return Err(StartError::SocketTaken { path: path_of() }),
    }
    remove_if_same(path, &found).map_err(|source| StartError::Socket { path: path_of(), source })
}

/// Removes a file that nobody has replaced since.
fn remove_if_same(path: &Path, found: &Metadata) -> io::Result<()> {
    let same = |now: &Metadata| (now.dev(), now.ino()) == (found.dev(), found.ino());
    match fs::symlink_metadata(path) {
        Ok(now) if same(&now) => fs::remove_file(path),
        _ => Ok(()),
    }
}

/// The file of a socket. Removed when dropped.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    made: Metadata,
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), made: fs::symlink_metadata(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = remove_if_same(&self.path, &self.made) {
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
