//! One run, and nothing else, for batch jobs.

use std::pin::pin;
use std::time::{Duration, Instant};

use dp_core::{DistributedWorker, MasterWorker};
use tokio::io::{AsyncRead, AsyncWrite};

use super::run::Ran;
use super::watch::{Cancelling, Waited};
use super::{Console, ConsoleError};
use crate::server::{ReadyError, Server, have_joined};
use crate::time::sleep;

/// How often to say how many have joined, at the most.
const SAID: Duration = Duration::from_secs(1);

impl<W, I, O> Console<'_, W, I, O>
where
    W: DistributedWorker,
    I: AsyncRead + Unpin,
    O: AsyncWrite + Unpin,
{
    /// Waits until enough workers are there, runs, and ends. The log says how far it is.
    pub(crate) async fn once(mut self) -> Result<Ran, ConsoleError> {
        self.announcer.take_roll(self.server, &mut self.printer);
        self.under.begin("--once");
        let ran = match self.meanwhile(joined(self.server), Cancelling::Drops).await? {
            Waited::Done(Ok(master)) => {
                tracing::info!("the run begins, with {}", count(master.len()));
                let begun = Instant::now();
                self.progress_is_logged = true;
                let ran = self.run().await?;
                let after = super::progress::clock(begun.elapsed());
                match &ran {
                    Ran::NotRun(_) => {}
                    Ran::Ok | Ran::Incomplete(_) => {
                        tracing::info!("the run is over after {after}: ok")
                    }
                    Ran::Failed => tracing::info!("the run is over after {after}: failed"),
                }
                ran
            }
            Waited::Done(Err(error)) => Ran::NotRun(error.to_string()),
            Waited::Cancelled | Waited::Quit => Ran::NotRun("it was told to end".to_owned()),
        };
        self.end().await?;
        Ok(ran)
    }
}

/// Waits until enough workers are there, and says how many are.
async fn joined<W: DistributedWorker>(server: &Server<W>) -> Result<MasterWorker<W>, ReadyError> {
    let mut ready = pin!(server.ready());
    let mut said = None;
    loop {
        let (here, needed) = (server.fleet.len(), server.settings.workers);
        if said != Some(here) && here < needed {
            tracing::info!("{}", have_joined(here, needed));
            said = Some(here);
        }
        tokio::select! {
            biased;
            ready = &mut ready => return ready,
            () = sleep(SAID) => {}
        }
    }
}

fn count(workers: usize) -> String {
    format!("{workers} {}", if workers == 1 { "worker" } else { "workers" })
}
