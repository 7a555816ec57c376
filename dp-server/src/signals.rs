//! Ctrl-C, and being told to end.

use std::io;
use std::process;

use dp_core::engine;

use crate::console::{Signal, SignalSender};
use crate::terminal;

/// Listens, for the rest of the process's life, and tells the console. When that has ended the
/// server is shutting down: then a signal ends the process.
pub(crate) async fn listen(sender: SignalSender) -> io::Result<()> {
    // On the I/O runtime, which no schedule can block.
    let listening = engine::io().spawn(async move {
        let mut sources = Sources::new()?;
        tokio::spawn(async move {
            loop {
                if let Err(signal) = sender.send(sources.next().await) {
                    tracing::warn!("ending at once, without waiting for the clients");
                    #[cfg(unix)]
                    crate::launch::end_at_once();
                    terminal::restore();
                    process::exit(status(signal));
                }
            }
        });
        io::Result::Ok(())
    });
    listening.await.map_err(io::Error::other)?
}

/// What shells say of a program that ended by this signal.
fn status(signal: Signal) -> i32 {
    match signal {
        Signal::HangUp => 129,
        Signal::Interrupt => 130,
        Signal::Terminate => 143,
    }
}

#[cfg(unix)]
#[derive(Debug)]
struct Sources {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Sources {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        // Whoever starts a program with `nohup` wants it to outlive the terminal.
        let nohup = is_ignored(SignalKind::hangup().as_raw_value());
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: (!nohup).then(|| signal(SignalKind::hangup())).transpose()?,
        })
    }

    async fn next(&mut self) -> Signal {
        let hang_up = async {
            match &mut self.hang_up {
                Some(hang_up) => hang_up.recv().await,
                None => None,
            }
        };
        tokio::select! {
            Some(()) = self.interrupt.recv() => Signal::Interrupt,
            Some(()) = self.terminate.recv() => Signal::Terminate,
            Some(()) = hang_up => Signal::HangUp,
            else => std::future::pending().await,
        }
    }
}

/// Whether the process was started with this signal ignored. Asked of /proc, since asking the system
/// takes unsafe code; where there is none, the answer is no.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
}

#[cfg(not(unix))]
#[derive(Debug)]
struct Sources;

#[cfg(not(unix))]
impl Sources {
    #[allow(clippy::unnecessary_wraps, reason = "as on unix")]
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Signal {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Signal::Interrupt,
            Err(_) => std::future::pending().await,
        }
    }
}
