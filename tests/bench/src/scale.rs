//! How far one server goes: the same as in the items, with as many clients and workers as fit here.

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::measure::resident;
use crate::ours::Ours;
use crate::{Hosting, Master, has_room_for, report};

/// Clients, and workers of each. The others are compared with the first.
const SIZES: [(usize, usize); 4] = [(512, 1), (2048, 1), (10_000, 1), (100, 1000)];

/// Measures each size in processes of its own, and prints the table.
pub fn all(out: Option<&Path>) -> Result<()> {
    let mut table = "| clients x workers | ready | broadcast | for each worker | barrier | quit | \
                     memory for each worker: server | clients |\n| --- |"
        .to_owned();
    table += &" ---: |".repeat(7);
    table += "\n";
    for (clients, workers) in SIZES {
        if !has_room_for(clients, &format!("{clients} x {workers}")) {
            continue;
        }
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["scale", &clients.to_string(), &workers.to_string()]);
        let output = command.stderr(Stdio::inherit()).output()?;
        if !output.status.success() {
            bail!("{clients} x {workers} ended with {}", output.status);
        }
        table += &String::from_utf8(output.stdout)?;
    }
    println!("{table}");
    match out {
        Some(out) => report::replace(&out.join("BENCHMARKS.md"), "scale", &table),
        None => Ok(()),
    }
}

/// The server's process: prints a row.
pub fn one(clients: usize, workers: usize) -> Result<()> {
    let (all, before, begun) = ((clients * workers) as u32, resident("self")?, Instant::now());
    let mut hosting = None;
    let mut server = Ours::start(clients * workers, None, |address| {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["host", "dp", &address.to_string()]);
        command.args([clients.to_string(), workers.to_string()]);
        hosting = Some(Hosting(command.spawn()?));
        Ok(())
    })?;
    let ready = begun.elapsed();
    let mut host = hosting.context("nothing was started")?;
    let memory = [resident("self")?.saturating_sub(before), resident(&host.0.id().to_string())?];
    let broadcast = median(|| server.broadcast(&[7; 32]).map(drop))?;
    let barrier = median(|| server.barrier())?;
    let begun = Instant::now();
    server.quit()?;
    host.0.wait()?;
    let quit = begun.elapsed();

    let mut row = format!("| {clients} x {workers} |");
    for time in [ready, broadcast, broadcast / all, barrier, quit] {
        let _ = write!(row, " {} |", report::duration(time.as_nanos() as f64));
    }
    for bytes in memory {
        let _ = write!(row, " {:.1} KiB |", bytes as f64 / 1024.0 / f64::from(all));
    }
    println!("{row}");
    Ok(())
}

/// Of what is done for two seconds.
fn median(mut work: impl FnMut() -> Result<()>) -> Result<Duration> {
    work()?;
    let (begun, mut times) = (Instant::now(), Vec::new());
    while begun.elapsed() < Duration::from_secs(2) || times.len() < 3 {
        let start = Instant::now();
        work()?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
}
