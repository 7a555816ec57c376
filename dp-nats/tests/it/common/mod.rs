//! A nats-server of a test's own.
#![allow(dead_code)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A nats-server on ports that were free. Dropped, it is killed.
pub(crate) struct NatsServer {
    child: Option<Child>,
    directory: TempDir,
    pub(crate) port: u16,
}

impl NatsServer {
    /// Whether there is one to start. If not, the test is left out.
    pub(crate) fn is_installed() -> bool {
        dp_tests::have(&["nats-server"])
    }

    /// One with `more` in its configuration.
    pub(crate) fn start(more: &str) -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut server = Self { child: None, directory, port: free_port() };
        server.write_config(more);
        server.restart();
        server
    }

    fn write_config(&self, more: &str) {
        let mut config = std::fs::File::create(self.config()).unwrap();
        writeln!(config, "host: 127.0.0.1\nport: {}\n{more}", self.port).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join("nats.conf")
    }

    /// Starts it again, on the same port.
    pub(crate) fn restart(&mut self) {
        let log = std::fs::File::create(self.directory.path().join("log")).unwrap();
        // It goes with this process, however that ends: then the pipe is closed.
        let child = Command::new("sh")
            .args(["-c", r#""$0" -c "$1" & read -r _; kill -9 $!; wait"#])
            .arg(program())
            .arg(self.config())
            .envs(["MASTER", "WORKER", "SITE"].map(|who| (format!("{who}_PASSWORD"), who)))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start nats-server: {error}"));
        self.child = Some(child);
        let start = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(start.elapsed() < Duration::from_secs(30), "{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Closes the pipe.
            let _ = child.wait();
        }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that nobody listens on at the moment.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Programs for administrators are not on everybody's PATH.
fn program() -> PathBuf {
    let installed = Path::new("/usr/sbin/nats-server");
    if installed.exists() { installed.to_owned() } else { "nats-server".into() }
}
