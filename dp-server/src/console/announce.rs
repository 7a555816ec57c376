//! Says who comes and goes.

use std::future::pending;

use dp_core::DistributedWorker;
use dp_core::engine::FleetEvent;
use tokio::io::AsyncWrite;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::ConsoleError;
use super::output::{Line, Printer};
use super::roll::Roll;
use crate::server::Server;

/// The part of the console that says who comes and goes, and holds its output.
pub(super) struct Announcer<O> {
    events: Receiver<FleetEvent>,
    roll: Roll,
    pub(super) printer: Printer<O>,
}

/// What the fleet's events had for us.
pub(super) enum Heard {
    Event(FleetEvent),
    /// More than the channel holds: what there was is lost, and the roll has to be taken anew.
    TooMany,
}

impl<O: AsyncWrite + Unpin> Announcer<O> {
    pub(super) fn new<W: DistributedWorker>(server: &Server<W>, output: O) -> Self {
        Self {
            // Before the roll is first taken: who joins in between is in both, and announced once.
            events: server.fleet.events(),
            roll: Roll::new(server.settings.workers),
            printer: Printer::new(output, server.settings.output),
        }
    }

    /// The next event. Cancel safe.
    pub(super) async fn heard(&mut self) -> Heard {
        match self.events.recv().await {
            Ok(event) => Heard::Event(event),
            Err(RecvError::Lagged(_)) => Heard::TooMany,
            // The fleet is closed: nobody will come or go any more.
            Err(RecvError::Closed) => pending().await,
        }
    }

    /// Says what has happened so far.
    pub(super) async fn catch_up<W: DistributedWorker>(
        &mut self,
        server: &Server<W>,
    ) -> Result<(), ConsoleError> {
        loop {
            let heard = match self.events.try_recv() {
                Ok(event) => Heard::Event(event),
                Err(TryRecvError::Lagged(_)) => Heard::TooMany,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return Ok(()),
            };
            self.announce(heard, server).await?;
        }
    }

    pub(super) async fn announce<W: DistributedWorker>(
        &mut self,
        heard: Heard,
        server: &Server<W>,
    ) -> Result<(), ConsoleError> {
        match heard {
            Heard::Event(FleetEvent::Arrived { workers, .. }) => {
                self.roll.arrived(workers.iter().map(|worker| worker.id()));
            }
            Heard::Event(FleetEvent::Departed { workers, reason, .. }) => {
                self.roll.departed(workers.iter().map(|worker| worker.id()), &reason);
            }
            // An event that a later dp-core has and this console does not know.
            Heard::Event(_) => {}
            Heard::TooMany => return self.take_roll(server).await,
        }
        self.say().await
    }

    /// Compares what has been announced with who is there, and says what is new.
    pub(super) async fn take_roll<W: DistributedWorker>(
        &mut self,
        server: &Server<W>,
    ) -> Result<(), ConsoleError> {
        let status = server.fleet.status();
        self.roll.taken(status.iter().map(|worker| worker.info.id()));
        self.say().await
    }

    async fn say(&mut self) -> Result<(), ConsoleError> {
        for news in self.roll.news() {
            self.printer.print(Line::News(&news)).await?;
        }
        self.printer.flush().await
    }
}
