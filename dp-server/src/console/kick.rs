//! `/kick`.

use std::time::Duration;

use dp_core::DistributedWorker;
use dp_core::engine::{self, Fleet, FleetEvent};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use super::output::Line;
use super::parse::Quoted;
use super::printer::Printer;
use super::watch::{Cancelling, Waited};
use super::{Console, ConsoleError};
use crate::time::timeout;

/// A client that takes longer to go is no longer waited for.
const LEAVING: Duration = Duration::from_secs(2);

impl<W, I, O> Console<'_, W, I, O>
where
    W: DistributedWorker,
    I: AsyncRead + Unpin,
    O: AsyncWrite + Unpin,
{
    /// Where nothing is under way: until the client has gone.
    pub(super) async fn kick(&mut self, name: &str) -> Result<(), ConsoleError> {
        let events = self.server.fleet.events();
        let Some(client) = self.kicked(name) else { return Ok(()) };
        let left = timeout(LEAVING, left(events, &client));
        let waited = self.meanwhile(left, Cancelling::Drops).await?;
        if let Waited::Done(None) = waited {
            Remaining(client).say(&mut self.printer, true);
        }
        self.say_if_left(&waited);
        Ok(())
    }

    /// While another command is under way, which goes on.
    pub(super) fn kick_now(&mut self, name: &str) {
        let events = self.server.fleet.events();
        if let Some(client) = self.kicked(name) {
            self.stubborn.watch(events, client);
        }
    }

    /// Disconnects it. The client; `None` where there is none, which is said.
    fn kicked(&mut self, name: &str) -> Option<String> {
        let client = kick(&self.server.fleet, name);
        if client.is_none() {
            let name = Quoted::new(name);
            let text = format!("there is no worker {name}: `/workers` lists those that there are");
            self.print(Line::Error(&text));
        }
        client
    }
}

/// Clients that were told to go while another command was under way, and have not.
#[derive(Debug)]
pub(super) struct Stubborn {
    /// Of which there are no more than lines of input.
    found: mpsc::UnboundedReceiver<Remaining>,
    tell: mpsc::UnboundedSender<Remaining>,
}

/// One of them, by its id.
#[derive(Debug)]
pub(super) struct Remaining(String);

impl Stubborn {
    pub(super) fn new() -> Self {
        let (tell, found) = mpsc::unbounded_channel();
        Self { found, tell }
    }

    fn watch(&self, events: Receiver<FleetEvent>, client: String) {
        let tell = self.tell.clone();
        engine::io().spawn(async move {
            if timeout(LEAVING, left(events, &client)).await.is_none() {
                let _ = tell.send(Remaining(client));
            }
        });
    }

    /// The next one. Cancel safe.
    pub(super) async fn next(&mut self) -> Remaining {
        match self.found.recv().await {
            Some(client) => client,
            // Not as long as this holds the other end.
            None => std::future::pending().await,
        }
    }
}

impl Remaining {
    /// Says so, as the answer to the command under way or to another.
    pub(super) fn say<O: AsyncWrite + Unpin>(self, printer: &mut Printer<O>, under_way: bool) {
        let text = format!("client {} was told to go, and is still connected", self.0);
        printer.answering((!under_way).then(|| "/kick".to_owned()));
        printer.print(Line::Error(&text));
        printer.answering(None);
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
