//! The file that results are stored in.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use dp_tests::{Client, Server};

use crate::{CLIENT, SERVER};

/// How often each worker has stored each message, and how many lines there are in all.
fn stored(path: &Path) -> (BTreeMap<String, usize>, usize) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with("}\n"), "{text:?}");
    let mut counts = BTreeMap::new();
    for line in text.lines() {
        assert!(line.starts_with("{\"") && line.contains("\"time\":\"20"), "{line}");
        let field = |name: &str| {
            let rest = line.split(&format!("\"{name}\":\"")).nth(1).unwrap();
            rest.split('"').next().unwrap().to_owned()
        };
        *counts.entry(format!("{} {}", field("worker"), field("message"))).or_default() += 1;
    }
    (counts, text.lines().count())
}

#[cfg(unix)]
#[test]
fn a_pipe_is_refused_at_once_and_a_new_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let args = ["--bind", "127.0.0.1:0", "--results", pipe.to_str().unwrap()];
    let mut server = dp_tests::Program::start(Path::new(SERVER), &args, &[]);
    assert!(!server.wait().success());
    server.error_line("not a regular file");
    let path = dir.path().join("results.jsonl");
    let server = Server::start(SERVER, 1, "greet", &["--results", path.to_str().unwrap()]);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    server.quit();
}

#[test]
fn each_result_is_stored_once_also_by_a_server_that_takes_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("results.jsonl");
    let options = ["--results", path.to_str().unwrap()];
    let mut server = Server::start(SERVER, 2, "greet", &options);
    let client = Client::start(CLIENT, &server.address, "c1", 2);
    server.ready(2);
    for run in 1..=2 {
        let (lines, ok) = server.run();
        assert!(ok, "{lines:?}");
        // It was synced before `ok`.
        assert_eq!(stored(&path).1, 4 * run);
    }
    server.type_line("/results");
    (0..4).for_each(|_| drop(server.line()));
    // Recorded, and not gathered when the server is killed.
    server.type_line("/call greet \"Eve\"");
    (0..2).for_each(|_| drop(server.line()));
    server.kill();

    let address = server.address.clone();
    let options = ["--bind", &address, "--results", path.to_str().unwrap()];
    let mut server = Server::start(SERVER, 2, "greet", &options);
    server.ready(2);
    // Before the run drops them, what the workers have still is stored.
    let (lines, ok) = server.run();
    assert!(ok, "{lines:?}");
    let (counts, all) = stored(&path);
    assert_eq!(all, 3 * 4 + 2);
    assert_eq!(counts["c1/1 greeted Ada"], 3);
    assert_eq!((counts["c1/1 greeted Eve"], counts["c1/2 greeted Eve"]), (1, 1));
    server.quit();
    client.ends_well();
}

#[test]
fn what_a_killed_client_had_recorded_is_stored_as_far_as_it_was_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("results.jsonl");
    let options = ["--results", path.to_str().unwrap()];
    let mut server = Server::start(SERVER, 2, "greet", &options);
    let kept = Client::start(CLIENT, &server.address, "c1", 1);
    let mut killed = Client::start(CLIENT, &server.address, "c2", 1);
    server.ready(2);
    server.type_line("/call greet \"Eve\"");
    (0..2).for_each(|_| drop(server.line()));
    killed.0.kill();
    assert_eq!(server.line(), "worker departed");
    for _ in 0..2 {
        server.type_line("/results");
        (0..2).for_each(|_| drop(server.line()));
    }
    let (counts, all) = stored(&path);
    assert_eq!((counts["c1 greeted Eve"], counts["c2 greeted Eve"], all), (1, 1, 2));
    server.quit();
    kept.ends_well();
}

#[test]
fn a_restarted_server_does_not_store_again_what_a_lost_worker_had_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("results.jsonl");
    let options = ["--results", path.to_str().unwrap()];
    let mut server = Server::start(SERVER, 1, "greet", &options);
    let mut client = Client::start(CLIENT, &server.address, "c1", 1);
    server.ready(1);
    let (lines, ok) = server.run();
    assert!(ok, "{lines:?}");
    let (before, all) = stored(&path);
    server.kill();

    let address = server.address.clone();
    let options = ["--bind", &address, "--results", path.to_str().unwrap()];
    let mut server = Server::start(SERVER, 1, "greet", &options);
    server.ready(1);
    // Known with the answer, as everything before it: and stored by nobody.
    server.type_line("/call greet \"Eve\"");
    drop(server.line());
    client.0.kill();
    assert_eq!(server.line(), "worker departed");
    for _ in 0..2 {
        server.type_line("/results");
        (0..all + 1).for_each(|_| drop(server.line()));
    }
    let (mut counts, now) = stored(&path);
    assert_eq!(counts.remove("c1 greeted Eve"), Some(1));
    assert_eq!((counts, now), (before, all + 1));
    server.quit();
}

#[test]
fn a_file_that_cannot_be_written_is_an_error_before_anybody_joins() {
    let options = ["--results", "/nowhere/results", "--bind", "127.0.0.1:0"];
    let mut server = dp_tests::Program::start(Path::new(SERVER), &options, &[]);
    assert_eq!(server.wait().code(), Some(1));
    server.error_line("/nowhere/results");
}

/// A file system of a few pages, unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where this user may not mount.
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mount = ["-t", "tmpfs", "-o", "size=64k", "none"];
        let status = Command::new("mount").args(mount).arg(dir.path()).output();
        status.is_ok_and(|output| output.status.success()).then(|| Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn on_a_full_disk_results_stay_on_the_workers_until_there_is_room() {
    let Some(disk) = SmallDisk::new() else {
        dp_tests::leave_out("the right to mount a file system");
        return;
    };
    let (path, ballast) = (disk.0.path().join("results"), disk.0.path().join("ballast"));
    let options = ["--results", path.to_str().unwrap()];
    let mut server = Server::start(SERVER, 1, "greet", &options);
    let client = Client::start(CLIENT, &server.address, "c1", 1);
    server.ready(1);
    // As much as there is room for.
    let _ = std::fs::write(&ballast, vec![0; 1 << 20]);

    let (lines, ok) = server.run();
    assert!(!ok);
    let said = lines.iter().find(|line| line.contains("not stored")).unwrap();
    assert!(said.contains(path.to_str().unwrap()) && said.contains("No space left"), "{said}");
    // The results themselves are printed, and no run drops them.
    assert_eq!(lines.iter().filter(|line| line.starts_with("c1\t")).count(), 2, "{lines:?}");
    server.type_line("/run");
    let refused = server.line();
    assert!(refused.starts_with("error: ") && refused.contains("/reset"), "{refused}");

    std::fs::remove_file(&ballast).unwrap();
    server.type_line("/results");
    (0..2).for_each(|_| drop(server.line()));
    let (lines, ok) = server.run();
    assert!(ok, "{lines:?}");
    let (counts, all) = stored(&path);
    assert_eq!((counts["c1 greeted Ada"], all), (2, 4));
    server.quit();
    client.ends_well();
}
