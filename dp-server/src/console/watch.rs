//! What the console looks out for while a command is under way.

use std::future::{Future, pending};
use std::pin::pin;

use dp_core::DistributedWorker;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::announce::Heard;
use super::{Console, ConsoleError};

/// What the operating system has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// To end in an orderly way.
    Terminate,
}

/// Where signals come from.
#[derive(Debug)]
pub(crate) struct Signals(Option<mpsc::Receiver<Signal>>);

impl Signals {
    /// None come.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// The next one. Cancel safe.
    pub(super) async fn next(&mut self) -> Signal {
        let next = match &mut self.0 {
            Some(receiver) => receiver.recv().await,
            None => None,
        };
        match next {
            Some(signal) => signal,
            None => pending().await,
        }
    }
}

impl From<mpsc::Receiver<Signal>> for Signals {
    fn from(receiver: mpsc::Receiver<Signal>) -> Self {
        Self(Some(receiver))
    }
}

/// How the wait for some work ended.
#[derive(Debug)]
pub(super) enum Waited<T> {
    Done(T),
    /// It was cancelled, and has been dropped.
    Cancelled,
    /// The console is to end, and the work has been dropped.
    Quit,
}

/// What cancelling does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cancelling {
    /// The work is dropped.
    Drops,
    /// The run under way is told, and has something left to do.
    TellsTheRun,
}

/// Something that happens during a command.
enum Happening {
    Heard(Heard),
    Cancel,
    Signal(Signal),
}

impl<W, I, O> Console<'_, W, I, O>
where
    W: DistributedWorker,
    I: AsyncRead + Unpin,
    O: AsyncWrite + Unpin,
{
    /// Waits for `work`, saying who comes and goes until it is done. `/cancel` or Ctrl-C cancels it,
    /// Ctrl-C after that leaves it.
    pub(super) async fn meanwhile<T>(
        &mut self,
        work: impl Future<Output = T>,
        cancelling: Cancelling,
    ) -> Result<Waited<T>, ConsoleError> {
        let mut work = pin!(work);
        let mut cancelled = false;
        let waited = loop {
            let happening = tokio::select! {
                // The work first: a run that has not begun could not be told that it is cancelled.
                biased;
                done = &mut work => break Waited::Done(done),
                happening = self.happening(!cancelled) => happening,
            };
            match happening {
                Happening::Heard(heard) => self.announcer.announce(heard, self.server).await?,
                Happening::Signal(Signal::Terminate) => break Waited::Quit,
                Happening::Signal(Signal::Interrupt) if cancelled => break Waited::Quit,
                Happening::Signal(Signal::Interrupt) | Happening::Cancel => {
                    cancelled = true;
                    match cancelling {
                        Cancelling::Drops => break Waited::Cancelled,
                        Cancelling::TellsTheRun => _ = self.server.cancel(),
                    }
                }
            }
        };
        self.announcer.catch_up(self.server).await?;
        Ok(waited)
    }

    /// Cancel safe.
    async fn happening(&mut self, can_cancel: bool) -> Happening {
        tokio::select! {
            heard = self.announcer.heard() => Happening::Heard(heard),
            signal = self.signals.next() => Happening::Signal(signal),
            () = self.input.cancel_comes_next(), if can_cancel => Happening::Cancel,
        }
    }
}
