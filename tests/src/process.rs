//! Programs as their user meets them: started with arguments, spoken to through pipes.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::Machine;

/// Nothing in these tests takes so long, but for a hang.
const HANG: Duration = Duration::from_secs(60);

/// A program under way. Killed when dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<String>,
    errors: Receiver<String>,
    seen_errors: Vec<String>,
}

fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

impl Program {
    /// Starts `program`.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn start(program: &Path, args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program);
        // What the tests' own environment says must not reach the programs.
        for (name, _) in std::env::vars() {
            if name.starts_with("DP_") || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        let mut child = command
            .args(args)
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let output = lines(child.stdout.take().expect("piped"));
        let errors = lines(child.stderr.take().expect("piped"));
        let input = child.stdin.take();
        Self { child, input, output, errors, seen_errors: Vec::new() }
    }

    /// Types a line.
    ///
    /// # Panics
    /// When the program does not read any more.
    pub fn type_line(&mut self, line: &str) {
        self.type_text(&format!("{line}\n"));
    }

    /// Types text as it is.
    ///
    /// # Panics
    /// When the program does not read any more.
    pub fn type_text(&mut self, text: &str) {
        let input = self.input.as_mut().expect("the input is still open");
        input.write_all(text.as_bytes()).expect("the program reads");
    }

    /// Ends the input.
    pub fn end_input(&mut self) {
        self.input = None;
    }

    /// The next line of standard output.
    ///
    /// # Panics
    /// When none comes.
    pub fn line(&mut self) -> String {
        match self.output.recv_timeout(HANG) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("no line in time; {}", self.all_errors()),
            Err(RecvTimeoutError::Disconnected) => panic!("no more lines; {}", self.all_errors()),
        }
    }

    /// The next line of standard output, if one comes within that time.
    ///
    /// # Panics
    /// When the program has ended.
    pub fn line_within(&mut self, time: Duration) -> Option<String> {
        match self.output.recv_timeout(time) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("no more lines; {}", self.all_errors()),
        }
    }

    /// The lines of standard output up to the one that is `last`.
    pub fn lines_until(&mut self, last: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            lines.push(self.line());
            if lines.last().is_some_and(|line| line == last) {
                return lines;
            }
        }
    }

    /// The lines of standard output that are left, once it has ended.
    pub fn rest(&mut self) -> Vec<String> {
        self.output.iter().collect()
    }

    /// Waits for a line of standard error that contains `text`.
    ///
    /// # Panics
    /// When none comes.
    pub fn error_line(&mut self, text: &str) -> String {
        if let Some(seen) = self.seen_errors.iter().find(|line| line.contains(text)) {
            return seen.clone();
        }
        let deadline = Instant::now() + HANG;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.errors.recv_timeout(left) {
                Ok(line) => {
                    self.seen_errors.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(_) => panic!("no line with {text:?} on standard error: {}", self.all_errors()),
            }
        }
    }

    /// Whether standard error has had a line that contains `text`.
    pub fn error_line_now(&mut self, text: &str) -> bool {
        self.all_errors().contains(text)
    }

    /// All of standard error so far.
    pub fn all_errors(&mut self) -> String {
        self.seen_errors.extend(self.errors.try_iter());
        self.seen_errors.join("\n")
    }

    /// Waits until the program has ended.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + HANG;
        loop {
            if let Some(status) = self.child.try_wait().expect("waiting works") {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end: {}", self.all_errors());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills it, as by `kill -9`.
    ///
    /// # Panics
    /// When that is not possible.
    pub fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("waiting works");
    }

    /// Sends it a signal by name, such as `STOP`.
    ///
    /// # Panics
    /// When that is not possible.
    pub fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -s {name} {id}");
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The memory that it occupies, in KiB.
    ///
    /// # Panics
    /// When it has ended.
    pub fn resident_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.id());
        let status = std::fs::read_to_string(path).expect("it is running");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it has memory");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server program of the tests, listening on a free port.
#[derive(Debug)]
pub struct Server {
    /// The program.
    pub program: Program,
    /// Where it listens.
    pub address: String,
}

impl std::ops::Deref for Server {
    type Target = Program;

    fn deref(&self) -> &Program {
        &self.program
    }
}

impl std::ops::DerefMut for Server {
    fn deref_mut(&mut self) -> &mut Program {
        &mut self.program
    }
}

impl Server {
    /// Starts it for `workers` workers, with more arguments; `run` is what `/run` does.
    pub fn start(program: &str, workers: usize, run: &str, args: &[&str]) -> Self {
        let start =
            |args: &[&str], env: &[(&str, &str)]| Program::start(program.as_ref(), args, env);
        Self::start_by(start, workers, run, args)
    }

    /// The same on a machine of its own, where it is reached at every address.
    pub fn start_on(machine: &Machine, program: &str, run: &str, args: &[&str]) -> Self {
        let start = |args: &[&str], env: &[(&str, &str)]| machine.start(program, args, env);
        // Nobody else reaches that network.
        let args = [&["--insecure"], args].concat();
        let args = match args.contains(&"--bind") {
            true => args,
            false => [&["--bind", "0.0.0.0:0"], &args[..]].concat(),
        };
        Self::start_by(start, 1, run, &args)
    }

    fn start_by(
        start: impl FnOnce(&[&str], &[(&str, &str)]) -> Program,
        workers: usize,
        run: &str,
        args: &[&str],
    ) -> Self {
        let workers = workers.to_string();
        let mut all = vec!["--workers", &workers];
        if !args.contains(&"--bind") {
            all.extend(["--bind", "127.0.0.1:0"]);
        }
        all.extend(args);
        let mut program = start(&all, &[("DP_TESTS_RUN", run)]);
        let line = program.error_line("listening on ");
        let address = line.split("listening on ").nth(1).unwrap_or_default().trim().to_owned();
        Self { program, address }
    }

    /// The port that it listens on.
    pub fn port(&self) -> &str {
        self.address.rsplit(':').next().unwrap_or_default()
    }

    /// Waits until `workers` have arrived and it is ready to run.
    ///
    /// # Panics
    /// When it says something else.
    pub fn ready(&mut self, workers: usize) {
        let mut expected = vec!["new worker arrived"; workers];
        expected.push("ready to run");
        assert_eq!(self.program.lines_until("ready to run"), expected);
    }

    /// Types `/run`, and gives the lines that it prints, up to and without the last, `ok` or
    /// `failed`, and whether that was `ok`.
    pub fn run(&mut self) -> (Vec<String>, bool) {
        self.program.type_line("/run");
        let mut lines = Vec::new();
        loop {
            match self.program.line() {
                line if line == "ok" => return (lines, true),
                line if line == "failed" => return (lines, false),
                line => lines.push(line),
            }
        }
    }

    /// Types `/quit`, and waits for the end of the program.
    ///
    /// # Panics
    /// When it does not end well.
    pub fn quit(mut self) {
        self.program.type_line("/quit");
        let status = self.program.wait();
        assert!(status.success(), "{status}: {}", self.program.all_errors());
    }
}

/// The client program of the tests.
#[derive(Debug)]
pub struct Client(pub Program);

impl Client {
    /// Starts it with the id `id` and so many workers.
    pub fn start(program: &str, server: &str, id: &str, workers: usize) -> Self {
        Self::start_with(program, server, id, workers, &[])
    }

    /// The same with more arguments.
    pub fn start_with(
        program: &str,
        server: &str,
        id: &str,
        workers: usize,
        args: &[&str],
    ) -> Self {
        let workers = workers.to_string();
        let mut all = vec!["--server", server, "--id", id, "--workers", &workers];
        all.extend(args);
        Self(Program::start(program.as_ref(), &all, &[]))
    }

    /// Starts it on a machine of its own.
    pub fn start_on(
        machine: &Machine,
        program: &str,
        server: &Server,
        id: &str,
        args: &[&str],
    ) -> Self {
        let server = machine.server(server.port());
        let all = [&["--server", &server, "--id", id], args].concat();
        Self(machine.start(program, &all, &[]))
    }

    /// Waits for its end, which must be a good one.
    ///
    /// # Panics
    /// When it is not.
    pub fn ends_well(mut self) {
        let status = self.0.wait();
        assert!(status.success(), "{status}: {}", self.0.all_errors());
    }
}
