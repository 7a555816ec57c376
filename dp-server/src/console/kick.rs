//! `/kick`.

use std::time::Duration;

use dp_core::DistributedWorker;
use dp_core::engine::{Fleet, FleetEvent};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::output::Line;
use super::parse::Quoted;
use super::watch::{Cancelling, Waited};
use super::{Console, ConsoleError, Next};
use crate::time::timeout;

/// A client that takes longer to go is no longer waited for.
const LEAVING: Duration = Duration::from_secs(2);

impl<W, I, O> Console<'_, W, I, O>
where
    W: DistributedWorker,
    I: AsyncRead + Unpin,
    O: AsyncWrite + Unpin,
{
    pub(super) async fn kick(&mut self, name: &str) -> Result<Next, ConsoleError> {
        let fleet = &self.server.fleet;
        let events = fleet.events();
        let Some(client) = kick(fleet, name) else {
            let name = Quoted::new(name);
            let text = format!("there is no worker {name}: `/workers` lists those that there are");
            self.print(Line::Error(&text)).await?;
            return Ok(Next::Command);
        };
        let left = timeout(LEAVING, left(events, &client));
        let waited = self.meanwhile(left, Cancelling::Drops).await?;
        if let Waited::Done(None) = waited {
            let text = format!("client {client} was told to go, and is still connected");
            self.print(Line::Error(&text)).await?;
        }
        self.left(&waited).await
    }
}

/// Disconnects the client that has this name, or hosts the worker that has it.
fn kick<W: DistributedWorker>(fleet: &Fleet<W>, name: &str) -> Option<String> {
    let status = fleet.status();
    let named = status.iter().map(|status| &status.info);
    let meant = named.clone().find(|worker| worker.id().as_str() == name);
    let meant = meant.or_else(|| named.clone().find(|worker| worker.client() == name))?;
    fleet.kick(meant.id())
}

/// Completes when the client has left.
async fn left(mut events: Receiver<FleetEvent>, gone: &str) {
    loop {
        match events.recv().await {
            Ok(FleetEvent::Departed { client, .. }) if client == gone => return,
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}
