//! Tests that need a program which is not installed: each says so in a line, and they are counted.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Returns whether all these programs are installed. If not, a line names the missing ones, and the test counts
/// as left out.
///
/// # Panics
/// When one is missing and `DP_TESTS_REQUIRE` is set, as the gate does.
pub fn have(programs: &[&str]) -> bool {
    let path = search_path(None);
    let is_here = |name: &&str| env::split_paths(&path).any(|dir| dir.join(name).is_file());
    let missing: Vec<&str> = programs.iter().filter(|name| !is_here(name)).copied().collect();
    if !missing.is_empty() {
        leave_out(&missing.join(", "));
    }
    missing.is_empty()
}

/// Counts this test as left out, for lack of what `missing` names, and says so in a line.
///
/// # Panics
/// When `DP_TESTS_REQUIRE` is set: then no test may be left out.
pub fn leave_out(missing: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("skipped: {test} needs {missing}");
    assert!(env::var_os("DP_TESTS_REQUIRE").is_none(), "{line}");
    // The test harness shows what a passing test prints to nobody, but for what is written this way.
    let _ = writeln!(std::io::stderr(), "{line}");
    let file = LeftOut::files().and_then(|files| {
        OpenOptions::new().create(true).append(true).open(files.join(LeftOut::name())).ok()
    });
    if let Some(mut file) = file {
        // In one write, so that lines of several processes do not mix.
        let _ = file.write_all(format!("{missing}\n").as_bytes());
    }
}

/// Returns the folders to look for programs in: `first`, `PATH`, and those of administrators.
///
/// # Panics
/// When a folder's name has the separator in it.
pub fn search_path(first: Option<&Path>) -> String {
    let path = env::var_os("PATH").unwrap_or_default();
    let also = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let all = first.map(Path::to_owned).into_iter().chain(env::split_paths(&path)).chain(also);
    env::join_paths(all).unwrap().to_string_lossy().into_owned()
}

/// How many tests of this `cargo test` were left out, by what they need.
#[derive(Debug, Default)]
pub struct LeftOut(pub BTreeMap<String, usize>);

impl LeftOut {
    /// Takes the count: what an earlier or a partial run of the tests has left is dropped.
    pub fn take() -> Self {
        let mut left_out = Self::default();
        let Some(files) = Self::files() else { return left_out };
        let text = fs::read_to_string(files.join(Self::name())).unwrap_or_default();
        for line in text.lines() {
            *left_out.0.entry(line.to_owned()).or_default() += 1;
        }
        let _ = fs::remove_dir_all(files);
        left_out
    }

    /// A folder beside the test programs.
    fn files() -> Option<PathBuf> {
        let files = env::current_exe().ok()?.parent()?.join("left-out");
        fs::create_dir_all(&files).ok()?;
        Some(files)
    }

    /// A file of this run: all test programs are started by the same cargo.
    fn name() -> String {
        #[cfg(unix)]
        let cargo = std::os::unix::process::parent_id();
        #[cfg(not(unix))]
        let cargo = 0;
        cargo.to_string()
    }
}
