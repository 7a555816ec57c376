//! `/save`.

use dp_core::DistributedWorker;
use tokio::io::{AsyncRead, AsyncWrite};

use super::output::Line;
use super::watch::{Cancelling, Waited};
use super::{Console, ConsoleError, Next};
use crate::chain;
use crate::export::ReportFile;

impl<W, I, O> Console<'_, W, I, O>
where
    W: DistributedWorker,
    I: AsyncRead + Unpin,
    O: AsyncWrite + Unpin,
{
    pub(super) async fn save(&mut self, name: String) -> Result<Next, ConsoleError> {
        let file = match ReportFile::new(&name) {
            Ok(file) => file,
            Err(error) => return self.refuse(&error.to_string()).await,
        };
        let Some(report) = self.server.runs.last() else {
            return self.refuse("there is no report yet: `/run` makes one").await;
        };
        // Disks may be slow.
        let writing = self.server.runtime.spawn_blocking(move || file.write(&report));
        let waited = self.meanwhile(writing, Cancelling::Drops).await?;
        match &waited {
            Waited::Done(Ok(Ok(()))) => self.print(Line::Saved(&name)).await?,
            Waited::Done(Ok(Err(error))) => self.print(Line::Error(&chain::message(error))).await?,
            Waited::Done(Err(error)) if error.is_panic() => {
                let text = format!("cannot write {name}, which is a bug in dp: {error}");
                self.print(Line::Error(&text)).await?;
            }
            // The program's runtime is shutting down.
            Waited::Done(Err(_)) | Waited::Cancelled | Waited::Quit => {}
        }
        self.left(&waited).await
    }

    async fn refuse(&mut self, why: &str) -> Result<Next, ConsoleError> {
        self.print(Line::Error(why)).await?;
        Ok(Next::Command)
    }
}
