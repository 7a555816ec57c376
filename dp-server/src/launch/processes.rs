//! The processes that were launched, each with those that it starts itself: its group.

use std::future::pending;
use std::io;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use dp_core::engine;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, test_kill_process_group,
    waitid,
};
use tokio::sync::watch;

use super::ends::{self, End};
use super::guard::Guard;
use super::{Launch, NOT_FOR_CLIENTS, Part, Reached, failed, output, server_address};
use crate::start::StartError;
use crate::time;

/// How long those that were told to quit may take to end by themselves.
const QUITTING: Duration = Duration::from_secs(2);
/// How long they may then take to do what SIGTERM says.
const TERMINATING: Duration = Duration::from_secs(5);
/// How long what they said last may take to be forwarded.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How often to look whether they have ended.
const LOOK: Duration = Duration::from_millis(10);

/// How often to look whether those that they have started have ended.
const LOOK_FOR_OTHERS: Duration = Duration::from_millis(250);

/// Those that a signal has to end with the server.
static GROUPS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// Processes that were launched. Dropping it ends them, without waiting for that.
#[derive(Debug)]
pub(crate) struct Launched {
    processes: Vec<Process>,
    ending: Arc<AtomicBool>,
    /// Those that have ended.
    ends: watch::Sender<Vec<End>>,
    /// Ends them where this process is killed.
    guard: Option<Guard>,
}

#[derive(Debug)]
struct Process {
    name: String,
    /// Its standard input stays open for as long as this server lives.
    child: Child,
    group: Pid,
    /// Held by the threads that forward what it says.
    speaking: Arc<()>,
}

impl Launched {
    /// Starts them, for a server of workers of the type `worker`.
    pub(crate) async fn start(
        launch: &Launch,
        worker: &str,
        reached: Reached<'_>,
    ) -> Result<Self, StartError> {
        let server = server_address(reached.addresses).await;
        let id = std::env::var("DP_ID").ok().filter(|id| !id.is_empty());
        let ending = Arc::new(AtomicBool::new(false));
        let ends = watch::Sender::default();
        let guard = Guard::start().map_err(|source| failed(launch, source))?;
        let mut launched = Self {
            processes: Vec::new(),
            ending: ending.clone(),
            ends: ends.clone(),
            guard: Some(guard),
        };
        for part in launch.parts(worker, id.as_deref()) {
            let environment = launch.environment(&part, &server, &reached);
            let process = Process::start(&launch.command, part, environment, &ending, &ends);
            let process = process.map_err(|source| failed(launch, source))?;
            let watched =
                launched.guard.as_mut().map_or(Ok(()), |guard| guard.watch(process.group));
            launched.processes.push(process);
            watched.map_err(|source| failed(launch, source))?;
        }
        let (count, command) = (launch.clients, &launch.command);
        tracing::info!("launched {count} of `{command}`, which find this server at {server}");
        Ok(launched)
    }

    /// From now on it is no news when one ends.
    pub(crate) fn is_ending(&self) {
        self.ending.store(true, Ordering::Release);
    }

    /// Completes when all have ended, with whatever they have started, and says how. Those that ended
    /// well are not enough where `patient`.
    pub(crate) async fn all_ended(&self, patient: bool) -> String {
        let mut ended = self.ends.subscribe();
        let all = match ended.wait_for(|ended| ended.len() >= self.processes.len()).await {
            Ok(all) => all.clone(),
            Err(_) => return pending().await,
        };
        if patient && all.iter().all(|end| end.well) {
            return pending().await;
        }
        while all.iter().any(|end| ends::lives(end.group)) {
            time::sleep(LOOK_FOR_OTHERS).await;
        }
        ends::words(&all)
    }

    /// Waits until all have ended, who know that they are to, and makes them.
    pub(crate) async fn end(mut self) {
        self.is_ending();
        let ended = engine::io().spawn_blocking(move || self.end_now());
        // It panics nowhere, and the I/O runtime lives as long as the process.
        let _ = ended.await;
    }

    fn end_now(&mut self) {
        let mut processes = std::mem::take(&mut self.processes);
        if !gone_within(&mut processes, QUITTING) {
            signal(&processes, Signal::TERM);
        }
        if !gone_within(&mut processes, TERMINATING) {
            for process in processes.iter_mut().filter_map(Process::still_there) {
                let name = &process.name;
                tracing::warn!(
                    "launched {name} has not ended {TERMINATING:?} after SIGTERM: killed"
                );
            }
            signal(&processes, Signal::KILL);
            gone_within(&mut processes, LAST_WORDS);
        }
        within(LAST_WORDS, || processes.iter().all(|process| !process.speaks()));
        forget(&processes);
        if let Some(guard) = self.guard.take() {
            guard.over();
        }
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        self.is_ending();
        let processes = std::mem::take(&mut self.processes);
        signal(&processes, Signal::TERM);
        forget(&processes);
    }
}

/// Tells all that were launched to end, where this process ends at once.
pub(crate) fn end_at_once() {
    for group in groups().iter() {
        let _ = kill_process_group(*group, Signal::TERM);
    }
}

impl Process {
    fn start(
        command: &str,
        part: Part,
        environment: Vec<(&'static str, String)>,
        ending: &Arc<AtomicBool>,
        ends: &watch::Sender<Vec<End>>,
    ) -> io::Result<Self> {
        let mut shell = Command::new("sh");
        for name in NOT_FOR_CLIENTS {
            shell.env_remove(name);
        }
        let mut child = shell
            .args(["-c", command])
            .envs(environment)
            // Ctrl-C at the console is not meant for it.
            .process_group(0)
            // It ends when this process does, however that ends: a sign to who looks for it.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let group = Pid::from_child(&child);
        groups().push(group);
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        let process = Self { name: part.name, child, group, speaking: Arc::default() };
        if let Some(stream) = output {
            process.forward(stream)?;
        }
        if let Some(stream) = errors {
            process.forward(stream)?;
        }
        process.watch(ending.clone(), ends.clone())?;
        Ok(process)
    }

    fn forward(&self, stream: impl io::Read + Send + 'static) -> io::Result<()> {
        let (name, speaking) = (self.name.clone(), self.speaking.clone());
        spawn(move || {
            output::forward(&name, stream);
            drop(speaking);
        })
    }

    /// Says so when it ends too early. It is not waited for as a parent does: its number stays taken,
    /// and that of its group, in which others may still be.
    fn watch(&self, ending: Arc<AtomicBool>, ends: watch::Sender<Vec<End>>) -> io::Result<()> {
        let (name, group) = (self.name.clone(), self.group);
        let speaking = Arc::downgrade(&self.speaking);
        spawn(move || {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            let Ok(Some(status)) = waitid(WaitId::Pid(group), options) else { return };
            // What it said last is why.
            within(LAST_WORDS, || ending.load(Ordering::Acquire) || speaking.strong_count() <= 1);
            if ending.load(Ordering::Acquire) {
                return;
            }
            let (said, well) = (said(&status), status.exit_status() == Some(0));
            match well {
                true => tracing::info!("launched {name} has ended: {said}"),
                false => tracing::warn!("launched {name} has ended: {said}"),
            }
            ends.send_modify(|ends| ends.push(End { name, group, said, well }));
        })
    }

    fn speaks(&self) -> bool {
        Arc::strong_count(&self.speaking) > 1
    }

    /// Whether it has ended, and everything that it started in its group.
    fn is_gone(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None)) && test_kill_process_group(self.group).is_err()
    }

    fn still_there(&mut self) -> Option<&mut Self> {
        if self.is_gone() { None } else { Some(self) }
    }
}

pub(super) fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let work = move || {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            tracing::error!("what looks after a launched process panicked, which is a bug in dp");
        }
    };
    thread::Builder::new().name("dp-launched".to_owned()).spawn(work).map(drop)
}

fn said(status: &WaitIdStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(127), _) => "exit status 127, as where the command is not found".to_owned(),
        (Some(status), _) => format!("exit status {status}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "without a status".to_owned(),
    }
}

fn signal(processes: &[Process], signal: Signal) {
    for process in processes {
        // Those that are not there any more need none.
        let _ = kill_process_group(process.group, signal);
    }
}

fn gone_within(processes: &mut [Process], time: Duration) -> bool {
    within(time, || processes.iter_mut().all(Process::is_gone))
}

/// Whether it came `true` within that time.
fn within(time: Duration, mut it: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + time;
    loop {
        if it() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(LOOK);
    }
}

fn forget(processes: &[Process]) {
    groups().retain(|group| processes.iter().all(|process| process.group != *group));
}

fn groups() -> MutexGuard<'static, Vec<Pid>> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}
