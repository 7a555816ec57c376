//! The guides in docs/launch: their files are run as they are, by the launchers that they are for.

mod kubernetes;
mod mpirun;
mod slurm;
mod ssh;
mod systemd;

use std::path::Path;
use std::time::{Duration, Instant};

use dp_tests::{Program, have, search_path};
use tempfile::TempDir;

/// Nothing here takes so long, but for a hang.
const HANG: Duration = Duration::from_secs(60);

/// A folder of its own, the guides' files, and the programs under the names that those use.
struct Lab {
    dir: TempDir,
    path: String,
}

impl Lab {
    /// With the files of one guide.
    fn new(guide: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        for (name, program) in [
            ("greeter-server", env!("CARGO_BIN_EXE_dp-tests-server")),
            ("greeter-client", env!("CARGO_BIN_EXE_dp-tests-client")),
        ] {
            std::os::unix::fs::symlink(program, bin.join(name)).unwrap();
        }
        let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/launch").join(guide);
        for file in std::fs::read_dir(files).unwrap() {
            let file = file.unwrap();
            // With its permissions.
            std::fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
        }
        let path = search_path(Some(&bin));
        Self { dir, path }
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.file(name), text).unwrap();
        self.file(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap_or_default()
    }

    /// Starts a command of the shell here.
    fn start(&self, command: &str, env: &[(&str, &str)]) -> Program {
        let command = format!("cd '{}' && exec {command}", self.dir.path().display());
        let env = [&[("PATH", self.path.as_str())], env].concat();
        Program::start(Path::new("/bin/sh"), &["-c", &command], &env)
    }
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn until(what: &str, mut it: impl FnMut() -> bool) {
    let deadline = Instant::now() + HANG;
    while !it() {
        assert!(Instant::now() < deadline, "{what}: not in {HANG:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The processes whose environment has this in it, and that have not ended.
fn processes_with(variable: &str) -> Vec<u32> {
    let all = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    all.filter(|process: &u32| {
        let environment = std::fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|set| set == variable.as_bytes())
    })
    .collect()
}

/// The results of a run, each with who it is of.
fn greeted(lines: &[String]) -> Vec<&str> {
    let mut ids: Vec<&str> = lines
        .iter()
        .filter(|line| line.ends_with("\tgreeted Ada"))
        .filter_map(|line| line.split('\t').next())
        .collect();
    ids.sort_unstable();
    ids
}
