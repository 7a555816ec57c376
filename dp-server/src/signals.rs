//! Ctrl-C, and being told to end.

use std::io;
use std::process;

use dp_core::engine;
use tokio::sync::mpsc;

use crate::console::{Signal, Signals};

/// How many signals wait for the console; it needs two at the most.
const WAITING: usize = 8;

/// Listens, for the rest of the process's life, and tells the console. When that has ended the
/// server is shutting down: then a signal ends the process.
pub(crate) async fn listen() -> io::Result<Signals> {
    let (sender, receiver) = mpsc::channel(WAITING);
    // On the I/O runtime, which no schedule can block.
    let listening = engine::io().spawn(async move {
        let mut sources = Sources::new()?;
        tokio::spawn(async move {
            loop {
                let signal = sources.next().await;
                match sender.try_send(signal) {
                    // Where it is full the console has more to do than one signal could ask for.
                    Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => {}
                    Err(mpsc::error::TrySendError::Closed(signal)) => {
                        tracing::warn!("ending at once, without waiting for the clients");
                        process::exit(status(signal));
                    }
                }
            }
        });
        io::Result::Ok(())
    });
    listening.await.map_err(io::Error::other)??;
    Ok(Signals::from(receiver))
}

/// What shells say of a program that ended by this signal.
fn status(signal: Signal) -> i32 {
    match signal {
        Signal::Interrupt => 130,
        Signal::Terminate => 143,
    }
}

#[cfg(unix)]
#[derive(Debug)]
struct Sources {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Sources {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            Some(()) = self.interrupt.recv() => Signal::Interrupt,
            Some(()) = self.terminate.recv() => Signal::Terminate,
            else => std::future::pending().await,
        }
    }
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
