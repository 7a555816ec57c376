//! `/save`.

use dp_core::DistributedWorker;
use tokio::io::{AsyncRead, AsyncWrite};

use super::output::Line;
use super::watch::{Cancelling, Waited};
use super::{Console, ConsoleError};
use crate::chain;
use crate::export::ReportFile;

impl<W, I, O> Console<'_, W, I, O>
where
    W: DistributedWorker,
    I: AsyncRead + Unpin,
    O: AsyncWrite + Unpin,
{
    pub(super) async fn save(&mut self, name: String) -> Result<(), ConsoleError> {
        let file = match ReportFile::new(&name) {
            Ok(file) => file,
            Err(error) => {
                self.print(Line::Error(&error.to_string()));
                return Ok(());
            }
        };
        let Some(report) = self.server.runs.last() else {
            self.print(Line::Error("there is no report yet: `/run` makes one"));
            return Ok(());
        };
        // Disks may be slow.
        let writing = self.server.runtime.spawn_blocking(move || file.write(&report));
        let waited = self.meanwhile(writing, Cancelling::Drops).await?;
        match &waited {
            Waited::Done(Ok(Ok(()))) => self.print(Line::Saved(&name)),
            Waited::Done(Ok(Err(error))) => self.print(Line::Error(&chain::message(error))),
            Waited::Done(Err(error)) if error.is_panic() => {
                let text = format!("cannot write {name}, which is a bug in dp: {error}");
                self.print(Line::Error(&text));
            }
            // The program's runtime is shutting down.
            Waited::Done(Err(_)) | Waited::Cancelled | Waited::Quit => {}
        }
        self.say_if_left(&waited);
        Ok(())
    }
}
