//! What is measured.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::Master;

/// Whose time is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    Limit,
    Tokio,
    Tarpc,
    Tonic,
    Remoc,
    Ours,
}

impl Who {
    pub const ALL: [Self; 6] =
        [Self::Limit, Self::Tokio, Self::Tarpc, Self::Tonic, Self::Remoc, Self::Ours];

    pub fn name(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Tokio => "tokio",
            Self::Tarpc => "tarpc",
            Self::Tonic => "tonic",
            Self::Remoc => "remoc",
            Self::Ours => "dp",
        }
    }

    pub fn named(name: &str) -> Result<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|who| who.name() == name).with_context(|| format!("there is no {name}"))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    /// A call of 32 bytes to all.
    Broadcast,
    /// One of 1 MiB to all.
    Bulk,
    /// One of 32 bytes to one.
    Call,
    /// Many of those, so many at a time.
    Pipeline,
    /// 1 MiB to one, and back.
    Echo,
    Barrier,
    /// A call in which all workers wait for each other.
    Meet,
    /// From the start of the workers' process until all have joined, and answered a first call.
    Connect,
}

/// Something that is measured.
#[derive(Debug)]
pub struct Item {
    pub name: &'static str,
    /// The limit's item that it is compared with, and whether for each worker.
    pub against: &'static str,
    work: Work,
    pub connections: usize,
    /// Workers behind each connection: others than dp have one.
    pub workers_each: usize,
    pub pinned: bool,
    pub tls: bool,
    /// Only dp has it.
    ours: bool,
}

const fn item(name: &'static str, work: Work, connections: usize) -> Item {
    Item {
        name,
        against: name,
        work,
        connections,
        workers_each: 1,
        pinned: false,
        tls: false,
        ours: false,
    }
}

const fn ours(item: Item, workers_each: usize, against: &'static str) -> Item {
    Item { ours: true, workers_each, against, ..item }
}

pub const ITEMS: &[Item] = &[
    item("broadcast 4", Work::Broadcast, 4),
    item("broadcast 64", Work::Broadcast, 64),
    item("broadcast 512", Work::Broadcast, 512),
    item("broadcast 2048", Work::Broadcast, 2048),
    ours(item("broadcast 8 x 64", Work::Broadcast, 8), 64, "broadcast 512"),
    ours(item("broadcast 8 x 512", Work::Broadcast, 8), 512, "broadcast 512"),
    Item {
        tls: true,
        ..ours(item("broadcast 512, TLS", Work::Broadcast, 512), 1, "broadcast 512")
    },
    ours(item("barrier 512", Work::Barrier, 512), 1, "broadcast 512"),
    item("1 MiB to 16", Work::Bulk, 16),
    item("1 MiB to 64", Work::Bulk, 64),
    ours(item("1 MiB to 8 x 8", Work::Bulk, 8), 8, "1 MiB to 64"),
    item("connect 2048", Work::Connect, 2048),
    Item { pinned: true, ..item("one call, pinned", Work::Call, 1) },
    item("64 in flight", Work::Pipeline, 1),
    item("1 MiB echo", Work::Echo, 1),
];

const SMALL: usize = 32;
const LARGE: usize = 1 << 20;
const IN_FLIGHT: usize = 64;
/// Calls that are made in one go with so many in flight.
const PIPELINED: usize = 20_000;

impl Item {
    pub fn named(name: &str) -> Result<&'static Self> {
        let mut items = ITEMS.iter();
        let known = items.find(|item| item.name == name).or_else(|| Self::of_model(name));
        known.with_context(|| format!("there is no item {name}"))
    }

    /// `model broadcast 8 x 64`: anything of a model's shape, which lives as long as the program.
    fn of_model(name: &str) -> Option<&'static Self> {
        let (work, shape) = name.strip_prefix("model ")?.split_once(' ')?;
        let work = match work {
            "broadcast" => Work::Broadcast,
            "meeting" => Work::Meet,
            _ => return None,
        };
        let (connections, workers_each) = shape.split_once(" x ")?;
        let name: &'static str = name.to_owned().leak();
        let item = item(name, work, connections.parse().ok()?);
        Some(Box::leak(Box::new(ours(item, workers_each.parse().ok()?, name))))
    }

    pub fn is_for(&self, who: Who) -> bool {
        !self.ours || who == Who::Ours
    }

    pub fn workers(&self) -> usize {
        self.connections * self.workers_each
    }

    /// What a time is divided by: calls in one go; or workers, where the item it is compared with has
    /// another number of them.
    pub fn scale(&self) -> f64 {
        match self.work {
            Work::Pipeline => PIPELINED as f64,
            _ => self.workers() as f64,
        }
    }

    /// Whether it is over when the workers have answered once.
    pub fn is_start(&self) -> bool {
        self.work == Work::Connect
    }

    /// Does it again and again for so long, and at least so often; the times that it took.
    pub fn run(
        &self,
        master: &mut dyn Master,
        at_least: usize,
        within: Duration,
    ) -> Result<Vec<Duration>> {
        let length = if matches!(self.work, Work::Bulk | Work::Echo) { LARGE } else { SMALL };
        let body = vec![7; length];
        let (begun, mut times) = (Instant::now(), Vec::new());
        while begun.elapsed() < within || times.len() < at_least {
            let start = Instant::now();
            let expected = match self.work {
                Work::Broadcast | Work::Bulk | Work::Connect => {
                    (master.broadcast(&body)?, (length * self.workers()) as u64)
                }
                Work::Call => (master.call(&body)?, length as u64),
                Work::Pipeline => {
                    let sum = master.pipeline(&body, IN_FLIGHT, PIPELINED)?;
                    (sum, (length * PIPELINED) as u64)
                }
                Work::Echo => (master.echo(&body).map(|()| 0)?, 0),
                Work::Barrier => (master.barrier().map(|()| 0)?, 0),
                Work::Meet => (master.meet().map(|()| 0)?, 0),
            };
            times.push(start.elapsed());
            ensure!(expected.0 == expected.1, "the answers' sum is {expected:?}");
        }
        Ok(times)
    }
}
