//! When everything is whole again: is everybody there, and nothing left behind?

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::callers::{all_differ, process_of};
use super::file;
use super::subject::Subject;
use super::world::{HANG, World};
use crate::MasterWorker;
use crate::fleet::KEPT_OUT;
use crate::sync::lock;

/// Long enough for everybody to notice what was lost, and to come back.
const QUIET: Duration = Duration::from_secs(5);
/// Long enough for what nobody waits for to come to its end.
const AT_REST: Duration = Duration::from_secs(2);

pub(super) async fn reach(world: &Arc<World>) {
    if !world.has_server() {
        world.start_server(0);
    }
    lock(&world.clients).iter_mut().for_each(|client| client.heal());
    if world.kicked.load(Ordering::Relaxed) {
        // Who was kicked is started again, and not let in before.
        sleep(KEPT_OUT).await;
    }
    sleep(QUIET).await;
    if timeout(HANG * 2, look(world)).await.is_err() {
        world.ledger.violation("the end hangs");
    }
}

async fn look(world: &Arc<World>) {
    let ledger = &world.ledger;
    let Some((server, fleet, mut callers)) = world.take_callers() else { return };
    world.end_callers(&mut callers).await;
    sleep(AT_REST).await;

    let master = fleet.master();
    everybody_is_there(world, &master);
    for status in fleet.status() {
        if let Some(running) = status.running {
            let id = status.info.id();
            ledger.violation(format!("{id} seems busy with {running:?}, {}", status.waiting));
        }
    }
    for left in fleet.leftovers() {
        ledger.violation(format!("left behind in the server: {left}"));
    }
    let hosts: Vec<_> = lock(&world.processes)
        .iter()
        .map(|(number, process)| (*number, process.host.clone()))
        .collect();
    for (number, host) in hosts {
        for left in host.leftovers() {
            ledger.violation(format!("left behind in process {number}: {left}"));
        }
    }

    let call = ledger.next_call();
    let probe = timeout(HANG, master.work(call, 0)).await;
    if !matches!(&probe, Ok(Ok(answers)) if answers.len() == master.len()) {
        ledger.violation(format!("somebody does not answer: {probe:?}"));
    }
    if let Some(file) = world.file() {
        file.store(ledger, &master).await;
    }
    records_are_whole(world, server, &master).await;
    if let Err(error) = master.reset_results().await {
        ledger.violation(format!("the records can't be dropped: {error}"));
    }
    let left = (master.results().await.map(|lines| lines.len()), master.results_of_lost().len());
    if !matches!(left, (Ok(0), 0)) {
        ledger.violation(format!("there are results behind a reset: {left:?}"));
    }

    if fleet.kept_bytes() > 0 {
        let bytes = fleet.kept_bytes();
        ledger.violation(format!("{bytes} bytes of records are kept behind a reset"));
    }

    let still = fleet.quit(Duration::from_secs(5)).await;
    if !still.is_empty() {
        ledger.violation(format!("{still:?} did not quit"));
    }
}

fn everybody_is_there(world: &World, master: &MasterWorker<Subject>) {
    let mut expected: Vec<String> = Vec::new();
    for client in &*lock(&world.clients) {
        match client.workers {
            1 => expected.push(client.name.clone()),
            many => expected.extend((1..=many).map(|number| format!("{}/{number}", client.name))),
        }
    }
    let there: Vec<String> =
        master.workers().iter().map(|worker| worker.info().id().to_string()).collect();
    if there != expected {
        world.ledger.violation(format!("{there:?} are there, not {expected:?}"));
    }
}

/// No line is missing, and none is there twice.
async fn records_are_whole(world: &World, server: u64, master: &MasterWorker<Subject>) {
    let ledger = &world.ledger;
    let mut kept: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for outcome in master.gather_results().outcomes().await {
        let worker = outcome.worker.id().to_string();
        let lines: Vec<String> = match outcome.result {
            Ok(lines) => lines.into_iter().map(|line| line.message).collect(),
            Err(error) => return ledger.violation(format!("no results of {worker}: {error}")),
        };
        let process = lines.first().and_then(|line| process_of(line)).unwrap_or_default();
        let recorded = ledger.recorded(process, &worker);
        if lines != recorded {
            ledger.violation(format!("{worker} gives {lines:?} and has recorded {recorded:?}"));
        }
        kept.insert(worker, lines);
    }
    for line in master.results_of_lost() {
        let worker = line.worker.to_string();
        let process = process_of(&line.message).unwrap_or_default();
        if !ledger.recorded(process, &worker).contains(&line.message) {
            ledger.violation(format!("{worker} never recorded {}", line.message));
        }
        kept.entry(worker).or_default().push(line.message);
    }
    for (worker, lines) in &kept {
        if !all_differ(lines) {
            ledger.violation(format!("lines of {worker} are there twice: {lines:?}"));
        }
    }
    file::look_at(ledger, &kept);
    for (of, worker, line) in ledger.answered() {
        let there = kept.get(&worker).is_some_and(|lines| lines.contains(&line));
        if of == server && !there {
            ledger.violation(format!("{line} of {worker} is lost; the server had been told"));
        }
    }
}
