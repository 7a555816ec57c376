//! Says who comes and goes.

use std::future::pending;

use dp_core::DistributedWorker;
use dp_core::engine::FleetEvent;
use tokio::io::AsyncWrite;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::watch;

use super::output::Line;
use super::printer::Printer;
use super::roll::Roll;
use crate::runs::{Origin, RunState};
use crate::server::Server;

/// The part of the console that says who comes and goes.
pub(super) struct Announcer {
    events: Receiver<FleetEvent>,
    runs: watch::Receiver<RunState>,
    /// The last run that was said to have begun, and the last that was said to have ended.
    said: (u64, u64),
    roll: Roll,
}

/// What the fleet's events had for us.
pub(super) enum Heard {
    Event(FleetEvent),
    /// More than the channel holds: what there was is lost, and the roll has to be taken anew.
    TooMany,
    /// A run has begun or ended.
    Runs,
}

impl Announcer {
    pub(super) fn new<W: DistributedWorker>(server: &Server<W>) -> Self {
        Self {
            // Before the roll is first taken: who joins in between is in both, and announced once.
            events: server.fleet.events(),
            runs: server.runs.watch(),
            said: (0, 0),
            roll: Roll::new(server.settings.workers),
        }
    }

    /// The next event. Cancel safe.
    pub(super) async fn heard(&mut self) -> Heard {
        tokio::select! {
            event = self.events.recv() => match event {
                Ok(event) => Heard::Event(event),
                Err(RecvError::Lagged(_)) => Heard::TooMany,
                // The fleet is closed: nobody will come or go any more.
                Err(RecvError::Closed) => pending().await,
            },
            changed = self.runs.changed() => match changed {
                Ok(()) => Heard::Runs,
                Err(_) => pending().await,
            },
        }
    }

    /// Says what has happened so far.
    pub(super) fn catch_up<W: DistributedWorker, O: AsyncWrite + Unpin>(
        &mut self,
        server: &Server<W>,
        printer: &mut Printer<O>,
    ) {
        loop {
            let heard = match self.events.try_recv() {
                Ok(event) => Heard::Event(event),
                Err(TryRecvError::Lagged(_)) => Heard::TooMany,
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            };
            self.announce(heard, server, printer);
        }
        self.say_runs(printer);
    }

    pub(super) fn announce<W: DistributedWorker, O: AsyncWrite + Unpin>(
        &mut self,
        heard: Heard,
        server: &Server<W>,
        printer: &mut Printer<O>,
    ) {
        match heard {
            Heard::Event(FleetEvent::Arrived { workers, .. }) => {
                self.roll.arrived(workers.iter().map(|worker| worker.id()));
            }
            Heard::Event(FleetEvent::Departed { workers, reason, .. }) => {
                self.roll.departed(workers.iter().map(|worker| worker.id()), &reason);
            }
            // An event that a later dp-core has and this console does not know.
            Heard::Event(_) => {}
            Heard::TooMany => return self.take_roll(server, printer),
            Heard::Runs => return self.say_runs(printer),
        }
        self.say(printer);
    }

    /// Compares what has been announced with who is there, and says what is new.
    pub(super) fn take_roll<W: DistributedWorker, O: AsyncWrite + Unpin>(
        &mut self,
        server: &Server<W>,
        printer: &mut Printer<O>,
    ) {
        let status = server.fleet.status();
        self.roll.taken(status.iter().map(|worker| worker.info.id()));
        self.say(printer);
    }

    /// Says which runs somebody else has started, and how they ended.
    fn say_runs<O: AsyncWrite + Unpin>(&mut self, printer: &mut Printer<O>) {
        let mut lines = Vec::new();
        {
            let state = self.runs.borrow_and_update();
            let (begun, ended) = &mut self.said;
            let ends = state.past.iter().filter(|past| past.origin == Origin::Page);
            let before = *ended;
            for past in ends.filter(|past| past.number > before) {
                if past.number > *begun {
                    lines.push(Line::RunStarted { run: past.number });
                }
                lines.push(Line::RunEnded { run: past.number, ok: past.report.is_ok() });
                (*begun, *ended) = (past.number.max(*begun), past.number);
            }
            let current = state.current.as_ref().filter(|run| run.origin == Origin::Page);
            if let Some(run) = current.filter(|run| run.number > *begun) {
                lines.push(Line::RunStarted { run: run.number });
                *begun = run.number;
            }
        }
        for line in lines {
            printer.print(line);
        }
    }

    fn say<O: AsyncWrite + Unpin>(&mut self, printer: &mut Printer<O>) {
        for news in self.roll.news() {
            printer.print(Line::News(&news));
        }
    }
}
