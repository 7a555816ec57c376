//! Clients that the server starts, and that end with it.

use std::path::Path;
use std::time::{Duration, Instant};

use dp_tests::{Client, Program, Server};

use crate::{CLIENT, SERVER};

/// Nothing here takes so long, but for a hang.
const HANG: Duration = Duration::from_secs(30);

fn server(workers: usize, command: &str, args: &[&str]) -> Server {
    Server::start(SERVER, workers, "greet", &[&["--launch", command], args].concat())
}

fn workers(server: &mut Server, count: usize) -> Vec<String> {
    server.type_line("/workers");
    (0..count).map(|_| server.line()).collect()
}

fn is_alive(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // Behind the name, which is in parentheses: nobody may be there who takes note of its end.
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !matches!(rest.trim_start().chars().next(), None | Some('Z')))
}

fn all_end(processes: &[u32]) {
    let deadline = Instant::now() + HANG;
    while processes.iter().any(|process| is_alive(*process)) {
        assert!(Instant::now() < deadline, "{processes:?} live on");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The process that a command of this name says with `echo $$`.
fn said(server: &mut Program, name: &str) -> u32 {
    said_behind(server, &format!("{name}: "))
}

fn said_behind(server: &mut Program, text: &str) -> u32 {
    let line = server.error_line(text);
    line.rsplit(' ').next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{line}"))
}

#[test]
fn clients_are_launched_with_ranks_and_a_token_of_their_own_and_end_with_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}", dir.path().join("lab.sock").display());
    let mut server = server(3, CLIENT, &["--launch-clients", "3", "--bind", &socket]);
    server.ready(3);
    let lines = workers(&mut server, 3);
    for (rank, line) in lines.iter().enumerate() {
        assert!(line.starts_with(&format!("subject-{rank}\tunix pid ")), "{line}");
    }
    let pids: Vec<u32> = lines
        .iter()
        .map(|line| line.split("pid ").nth(1).unwrap().split('\t').next().unwrap().parse().unwrap())
        .collect();
    assert!(pids.iter().all(|pid| is_alive(*pid)), "{lines:?}");
    // Nobody else has it.
    let mut stranger = Client::start(CLIENT, &socket, "c1", 1);
    assert!(!stranger.0.wait().success());
    stranger.0.error_line("asks for a token");
    let (lines, ok) = server.run();
    assert!(ok && lines.len() == 6, "{lines:?}");
    server.type_line("/quit");
    assert!(server.wait().success());
    assert!(!pids.iter().any(|pid| is_alive(*pid)));
    // What they say is told, with who says it, and that they end is no news then.
    let line = server.error_line("subject-1: ");
    assert!(line.contains("said quit"), "{line}");
    assert!(!server.all_errors().contains("has ended"), "{}", server.all_errors());
    assert!(server.rest().is_empty());
}

#[test]
fn a_launcher_is_told_as_much_and_the_token_that_there_is() {
    let command = format!("for rank in 4 5; do DP_RANK=$rank '{CLIENT}' --id lab & done; wait");
    let args = ["--workers", "2", "--bind", "127.0.0.1:0", "--launch", &command];
    // Clients would host so many workers each.
    let env = [("DP_TOKEN", "open sesame, please"), ("DP_WORKERS", "7")];
    let mut server = Program::start(Path::new(SERVER), &args, &env);
    let line = server.error_line("listening on ");
    let address = line.split("listening on ").nth(1).unwrap().trim().to_owned();
    server.lines_until("ready to run");
    server.type_line("/workers");
    assert!(server.line().starts_with("lab-4\t") && server.line().starts_with("lab-5\t"));
    let mut known = Program::start(Path::new(CLIENT), &["--server", &address], &env[..1]);
    assert_eq!(server.line(), "new worker arrived");
    server.type_line("/quit");
    assert!(server.wait().success() && known.wait().success());
    assert!(!server.all_errors().contains("sesame"));
}

#[test]
fn an_early_end_is_said_with_its_status_and_behind_what_was_said_last() {
    for (command, words, end) in [
        ("no-such-client --id lab", "no-such-client: sh: ", "exit status 127"),
        ("echo hello; echo there >&2; exit 3", "echo: there", "exit status 3"),
        ("kill -9 $$", "", "signal 9"),
    ] {
        let mut server = server(1, command, &[]);
        let line = server.error_line("has ended: ");
        assert!(line.contains(end), "{line}");
        let errors = server.all_errors();
        let (said, ended) = (errors.find(words).unwrap(), errors.find("has ended").unwrap());
        assert!(said <= ended, "{errors}");
        // The console is for its own lines.
        server.type_line("/quit");
        assert!(server.wait().success());
        assert!(server.rest().is_empty());
    }
}

#[test]
fn clients_of_a_killed_server_end_by_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}", dir.path().join("lab.sock").display());
    let args = ["--launch", &format!("echo $$; exec '{CLIENT}'"), "--bind", &socket];
    let env = [("DP_RECONNECT_FOR", "0.2"), ("DP_CONNECT_FOR", "0.2")];
    let mut server = Program::start(Path::new(SERVER), &args, &env);
    let client = said(&mut server, "echo");
    server.lines_until("ready to run");
    assert!(is_alive(client));
    server.kill();
    all_end(&[client]);
    // One that waits for the end of its input, as over ssh, too.
    let command = format!("echo $$; exec '{CLIENT}' --exit-on-stdin-eof --server 127.0.0.1:1");
    let args = ["--launch", &command, "--bind", "127.0.0.1:0"];
    let mut server = Program::start(Path::new(SERVER), &args, &[]);
    let client = said(&mut server, "echo");
    server.error_line("still trying");
    server.kill();
    all_end(&[client]);
}

#[test]
fn whatever_was_launched_ends_with_a_server_that_was_killed() {
    // Clients that would look for it for long, below a launcher; and one that does not do what it is told.
    let clients = format!("for n in 1 2; do '{CLIENT}' --id c$n & echo is $n $!; done; wait");
    let stubborn = "trap '' TERM; echo is 1 $$; while :; do sleep 1; done";
    for (command, count) in [(clients.as_str(), 2), (stubborn, 1)] {
        let args = ["--launch", command, "--bind", "127.0.0.1:0", "--workers", "2"];
        let env = [("DP_RECONNECT_FOR", "600"), ("DP_CONNECT_FOR", "600")];
        let mut server = Program::start(Path::new(SERVER), &args, &env);
        let processes: Vec<u32> =
            (1..=count).map(|n| said_behind(&mut server, &format!(": is {n} "))).collect();
        if count == 2 {
            server.lines_until("ready to run");
        }
        assert!(processes.iter().all(|process| is_alive(*process)));
        server.kill();
        all_end(&processes);
    }
}

#[test]
fn whatever_a_command_has_started_ends_with_the_server_also_when_that_is_interrupted() {
    // Together, since each waits for those who might quit by themselves.
    let ways = [None, Some("INT"), Some("TERM"), Some("HUP")];
    let mut servers: Vec<_> = ways
        .map(|way| {
            let mut server = server(1, "sleep 1000 & echo $!; exit 0", &[]);
            let sleeping = said(&mut server, "sleep");
            (way, server, sleeping)
        })
        .into();
    for (way, server, sleeping) in &mut servers {
        server.error_line("has ended: exit status 0");
        assert!(is_alive(*sleeping));
        match way {
            Some("INT") => {
                // The first one only asks.
                server.signal("INT");
                server.error_line("SIGINT while nothing is under way");
                server.signal("INT");
            }
            Some(signal) => server.signal(signal),
            None => server.end_input(),
        }
    }
    for (_, mut server, sleeping) in servers {
        assert!(server.wait().success());
        assert!(!is_alive(sleeping));
    }
}

#[test]
fn who_does_not_end_is_killed_and_named() {
    let command = "trap '' TERM; echo $$; while :; do sleep 1; done";
    let mut server = server(1, command, &[]);
    let stubborn = said(&mut server, "trap");
    server.type_line("/quit");
    assert!(server.wait().success());
    assert!(!is_alive(stubborn));
    server.error_line("launched trap has not ended");
}

#[test]
fn a_server_that_ends_at_once_takes_them_along() {
    let command = format!("echo $$; exec '{CLIENT}'");
    let mut server = server(1, &command, &[]);
    let client = said(&mut server, "echo");
    server.lines_until("ready to run");
    // It cannot do what it is told, so it is waited for, until somebody loses patience.
    let stop = |signal: &str| {
        let args = ["-s", signal, &client.to_string()].map(str::to_owned);
        assert!(std::process::Command::new("kill").args(args).status().unwrap().success());
    };
    stop("STOP");
    server.type_line("/quit");
    let impatient = Instant::now();
    let status = loop {
        server.signal("TERM");
        std::thread::sleep(Duration::from_millis(50));
        if server.error_line_now("ending at once") {
            break server.wait();
        }
        assert!(impatient.elapsed() < HANG);
    };
    assert_eq!(status.code(), Some(143));
    stop("CONT");
    all_end(&[client]);
}

#[test]
fn a_server_that_does_not_wait_for_all_that_it_launches_says_so() {
    let mut server = server(1, CLIENT, &["--launch-clients", "2"]);
    server.error_line("2 clients are launched, and 1 of their workers make it ready");
    server.lines_until("ready to run");
    server.type_line("/quit");
    assert!(server.wait().success());
}

#[test]
fn a_batch_job_runs_once_and_its_status_is_that_of_the_run() {
    for (run, word, code) in [("greet", "ok", 0), ("fail", "failed", 1)] {
        let args = ["--once", "--launch-clients", "2"];
        let mut server =
            Server::start(SERVER, 2, run, &[&["--launch", CLIENT], &args[..]].concat());
        // Nothing is typed.
        assert_eq!(server.wait().code(), Some(code), "{run}");
        assert_eq!(server.rest().last().map(String::as_str), Some(word));
    }
    let mut server = Server::start(SERVER, 1, "greet", &["--once"]);
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(1));
    server.error_line("it ended ");
}

#[test]
fn what_is_no_command_or_number_is_refused() {
    for (args, why) in
        [(["--launch-clients", "0"], "above 0"), (["--launch-clients", "many"], "above 0")]
    {
        let mut server = Program::start(Path::new(SERVER), &args, &[]);
        assert_eq!(server.wait().code(), Some(2));
        server.error_line(why);
    }
    // An empty one is none.
    let mut server = Server::start(SERVER, 1, "greet", &["--launch", " "]);
    assert!(!server.all_errors().contains("launched"));
    server.quit();
}
