//! `/run` and `/results`.

use dp_core::{DistributedWorker, ResultLine};
use tokio::io::{AsyncRead, AsyncWrite};

use super::output::Line;
use super::{Console, ConsoleError};
use crate::chain;
use crate::run::gather;

impl<W, I, O> Console<'_, W, I, O>
where
    W: DistributedWorker,
    I: AsyncRead + Unpin,
    O: AsyncWrite + Unpin,
{
    pub(super) async fn run(&mut self) -> Result<(), ConsoleError> {
        let server = self.server;
        match self.meanwhile(server.run()).await? {
            Ok(report) => {
                self.print_all(report.failures(), report.results()).await?;
                self.print(Line::Done { ok: report.is_ok() }).await
            }
            Err(error) => self.print(Line::Error(&chain::message(&error))).await,
        }
    }

    pub(super) async fn results(&mut self) -> Result<(), ConsoleError> {
        let master = self.server.master();
        let (results, missing) = self.meanwhile(gather::<W>(&master)).await?;
        let failures: Vec<_> = missing.messages().collect();
        self.print_all(&failures, &results).await
    }

    async fn print_all(
        &mut self,
        failures: &[String],
        results: &[ResultLine],
    ) -> Result<(), ConsoleError> {
        for failure in failures {
            self.print(Line::Error(failure)).await?;
        }
        for result in results {
            self.print(Line::Result(result)).await?;
        }
        Ok(())
    }
}
