//! `/run`, `/results` and `/reset`.

use dp_core::engine::WorkerStatus;
use dp_core::{DistributedWorker, Metric, ResultLine, fold_ids};
use tokio::io::{AsyncRead, AsyncWrite};

use super::output::Line;
use super::watch::{Cancelling, Waited};
use super::{Console, ConsoleError, Next};
use crate::chain;
use crate::gather::Gathering;
use crate::report::CANCELLED;
use crate::time::timeout;

impl<W, I, O> Console<'_, W, I, O>
where
    W: DistributedWorker,
    I: AsyncRead + Unpin,
    O: AsyncWrite + Unpin,
{
    pub(super) async fn run(&mut self) -> Result<Next, ConsoleError> {
        let server = self.server;
        match self.meanwhile(server.run(), Cancelling::TellsTheRun).await? {
            Waited::Done(Ok(report)) => {
                let failures = report.failures();
                // That it was cancelled is the last failure, and comes after what there is.
                let before = failures.len() - usize::from(report.is_cancelled());
                let (before, after) = failures.split_at(before);
                self.print_failures(before).await?;
                self.print_recorded(report.results(), report.metrics()).await?;
                self.print_failures(after).await?;
                self.print_failures(report.unwritten()).await?;
                self.print(Line::Done { ok: report.is_ok() }).await?;
                Ok(Next::Command)
            }
            Waited::Done(Err(error)) => {
                self.print(Line::Error(&chain::message(&error))).await?;
                Ok(Next::Command)
            }
            left @ (Waited::Cancelled | Waited::Quit) => {
                let next = self.left(&left).await?;
                self.print(Line::Done { ok: false }).await?;
                Ok(next)
            }
        }
    }

    pub(super) async fn results(&mut self) -> Result<Next, ConsoleError> {
        let within = self.server.settings.gather_timeout;
        let mut gathering = Gathering::<W>::new(self.server.master());
        let waited = self.meanwhile(gathering.proceed(within), Cancelling::Drops).await?;
        let unsaved = gathering.store(self.server.store.as_deref(), within).await;
        let gathered = gathering.finish();
        self.print_failures(&gathered.failures()).await?;
        self.print_failures(unsaved.as_slice()).await?;
        self.print_recorded(&gathered.results, &gathered.metrics).await?;
        self.left(&waited).await
    }

    pub(super) async fn reset(&mut self) -> Result<Next, ConsoleError> {
        if self.server.turns.is_taken() {
            self.print(Line::Error("a run is under way: what it records is not to be flushed"))
                .await?;
            return Ok(Next::Command);
        }
        let (within, master) = (self.server.settings.gather_timeout, self.server.master());
        let reset = timeout(within, master.reset_results());
        let waited = self.meanwhile(reset, Cancelling::Drops).await?;
        match &waited {
            Waited::Done(Some(Err(error))) => {
                self.print(Line::Error(&chain::message(error))).await?;
            }
            Waited::Done(None) => {
                let status = self.server.fleet.status();
                let busy = |status: &&WorkerStatus| status.running.is_some();
                let busy = fold_ids(status.iter().filter(busy).map(|status| status.info.id()));
                let text = format!("not everybody answered within {within:?}; busy are {busy}");
                self.print(Line::Error(&text)).await?;
            }
            Waited::Done(Some(Ok(()))) | Waited::Cancelled | Waited::Quit => {}
        }
        self.left(&waited).await
    }

    /// Says so where the work was not waited for.
    pub(super) async fn left<T>(&mut self, waited: &Waited<T>) -> Result<Next, ConsoleError> {
        if !matches!(waited, Waited::Done(_)) {
            self.print(Line::Error(CANCELLED)).await?;
        }
        Ok(if matches!(waited, Waited::Quit) { Next::End } else { Next::Command })
    }

    async fn print_failures(&mut self, failures: &[String]) -> Result<(), ConsoleError> {
        for failure in failures {
            self.print(Line::Error(failure)).await?;
        }
        Ok(())
    }

    async fn print_recorded(
        &mut self,
        results: &[ResultLine],
        metrics: &[Metric],
    ) -> Result<(), ConsoleError> {
        for result in results {
            self.print(Line::Result(result)).await?;
        }
        self.announcer.printer.metrics(metrics, self.server.settings.metrics_table).await
    }
}
