//! `/run`, `/results` and `/reset`.

use dp_core::engine::WorkerStatus;
use dp_core::{DistributedWorker, Metric, ResultLine, fold_ids};
use tokio::io::{AsyncRead, AsyncWrite};

use super::output::Line;
use super::watch::{Cancelling, Waited};
use super::{Console, ConsoleError};
use crate::chain;
use crate::gather::Gathering;
use crate::report::CANCELLED;
use crate::time::timeout;

/// What came of a run, for a program that does nothing else.
#[derive(Debug)]
pub(crate) enum Ran {
    /// It succeeded, and everything is printed.
    Ok,
    Failed,
    /// It succeeded, and not everything could be printed or written: what could not.
    Incomplete(String),
    /// It did not begin.
    NotRun(String),
}

impl<W, I, O> Console<'_, W, I, O>
where
    W: DistributedWorker,
    I: AsyncRead + Unpin,
    O: AsyncWrite + Unpin,
{
    pub(super) async fn run(&mut self) -> Result<Ran, ConsoleError> {
        let server = self.server;
        let report = match self.meanwhile(server.run(), Cancelling::TellsTheRun).await? {
            Waited::Done(Ok(report)) => report,
            Waited::Done(Err(error)) => {
                let text = chain::message(&error);
                self.print(Line::Error(&text));
                return Ok(Ran::NotRun(text));
            }
            left @ (Waited::Cancelled | Waited::Quit) => {
                self.say_if_left(&left);
                self.print(Line::Done { ok: false });
                return Ok(Ran::Failed);
            }
        };
        let failures = report.failures();
        // That it was cancelled is the last failure, and comes after what there is.
        let before = failures.len() - usize::from(report.is_cancelled());
        let (before, after) = failures.split_at(before);
        self.print_failures(before);
        let complete = self.print_recorded(report.results(), report.metrics()).await?;
        self.print_failures(after);
        if report.is_cancelled() {
            self.say_what_goes_on().await?;
        }
        self.print_failures(report.unwritten());
        self.print(Line::Done { ok: report.is_ok() && complete });
        self.printer.keep();
        Ok(match report.unwritten() {
            _ if !report.is_ok() => Ran::Failed,
            _ if !complete => Ran::Incomplete("its results were not all printed".to_owned()),
            [] => Ran::Ok,
            unwritten => Ran::Incomplete(unwritten.join("; ")),
        })
    }

    pub(super) async fn results(&mut self) -> Result<(), ConsoleError> {
        let within = self.server.settings.gather_timeout;
        let mut gathering = Gathering::<W>::new(self.server.master());
        let waited = self.meanwhile(gathering.proceed(within), Cancelling::Drops).await?;
        let unsaved = gathering.store(self.server.store.as_deref(), within).await;
        let gathered = gathering.finish();
        self.print_failures(&gathered.failures());
        self.print_failures(unsaved.as_slice());
        self.print_recorded(&gathered.results, &gathered.metrics).await?;
        self.say_if_left(&waited);
        Ok(())
    }

    pub(super) async fn reset(&mut self) -> Result<(), ConsoleError> {
        if self.server.turns.is_taken() {
            self.print(Line::Error("a run is under way: what it records is not to be flushed"));
            return Ok(());
        }
        let (within, master) = (self.server.settings.gather_timeout, self.server.master());
        let reset = timeout(within, master.reset_results());
        let waited = self.meanwhile(reset, Cancelling::Drops).await?;
        match &waited {
            Waited::Done(Some(Err(error))) => {
                self.print(Line::Error(&chain::message(error)));
            }
            Waited::Done(None) => {
                let status = self.server.fleet.status();
                let busy = |status: &&WorkerStatus| status.running.is_some();
                let busy = fold_ids(status.iter().filter(busy).map(|status| status.info.id()));
                let text = format!("not everybody answered within {within:?}; busy are {busy}");
                self.print(Line::Error(&text));
            }
            Waited::Done(Some(Ok(()))) | Waited::Cancelled | Waited::Quit => {}
        }
        self.say_if_left(&waited);
        Ok(())
    }

    /// Says so where the work was not waited for.
    pub(super) fn say_if_left<T>(&mut self, waited: &Waited<T>) {
        if !matches!(waited, Waited::Done(_)) {
            self.print(Line::Error(CANCELLED));
        }
    }

    fn print_failures(&mut self, failures: &[String]) {
        for failure in failures {
            self.print(Line::Error(failure));
        }
    }

    /// Whether all of it was printed.
    async fn print_recorded(
        &mut self,
        results: &[ResultLine],
        metrics: &[Metric],
    ) -> Result<bool, ConsoleError> {
        for (at, result) in results.iter().enumerate() {
            if !self.written(false).await? {
                return Ok(!self.leave_out(results.len() - at));
            }
            self.print(Line::Result(result));
        }
        self.printer.metrics(metrics, self.server.settings.metrics_table);
        Ok(self.written(true).await? || !self.leave_out(0))
    }
}
