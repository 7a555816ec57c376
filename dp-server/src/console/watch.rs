//! What the console looks out for while a command is under way.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Poll;

use dp_core::DistributedWorker;
use tokio::io::{AsyncRead, AsyncWrite};

use super::progress::Progress;
use super::signal::Signal;
use super::{Console, ConsoleError};

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

impl<W, I, O> Console<'_, W, I, O>
where
    W: DistributedWorker,
    I: AsyncRead + Unpin,
    O: AsyncWrite + Unpin,
{
    /// Waits for `work`, and says meanwhile who comes and goes. `/cancel` and Ctrl-C cancel it, also
    /// while what is said cannot be written; another Ctrl-C after that leaves it.
    pub(super) async fn meanwhile<T>(
        &mut self,
        work: impl Future<Output = T>,
        cancelling: Cancelling,
    ) -> Result<Waited<T>, ConsoleError> {
        let Self { server, input, announcer, signals, screen } = self;
        let mut watched = screen.clone().map(Progress::start);
        let writing = AtomicBool::new(false);
        let waited = {
            let mut work = pin!(work);
            let mut announcing = pin!(async {
                loop {
                    let heard = announcer.heard().await;
                    writing.store(true, Relaxed);
                    if let Err(error) = announcer.announce(heard, server).await {
                        return error;
                    }
                    writing.store(false, Relaxed);
                }
            });
            let mut cancelled = false;
            let waited = loop {
                let quit = tokio::select! {
                    // The work first: a run that has not begun could not be told to be cancelled.
                    biased;
                    done = &mut work => break Waited::Done(done),
                    error = &mut announcing => return Err(error),
                    signal = signals.next() => signal != Signal::Interrupt || cancelled,
                    () = input.cancel_comes(), if !cancelled => false,
                    () = Progress::tick(&mut watched) => {
                        if let Some(watched) = &watched {
                            watched.show(&server.fleet.status(), &server.fleet.maps());
                        }
                        continue;
                    }
                };
                if quit {
                    break Waited::Quit;
                }
                cancelled = true;
                match cancelling {
                    Cancelling::Drops => break Waited::Cancelled,
                    Cancelling::TellsTheRun => _ = server.cancel(),
                }
            };
            // A line that has been begun is finished, but for one that would keep it from ending.
            if !matches!(waited, Waited::Quit) {
                let finished = poll_fn(|context| match announcing.as_mut().poll(context) {
                    Poll::Ready(error) => Poll::Ready(Err(error)),
                    Poll::Pending if writing.load(Relaxed) => Poll::Pending,
                    Poll::Pending => Poll::Ready(Ok(())),
                });
                finished.await?;
            }
            waited
        };
        if writing.load(Relaxed) {
            announcer.printer.give_up();
        }
        announcer.catch_up(server).await?;
        Ok(waited)
    }
}
