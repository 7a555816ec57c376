//! Measures dp beside the least that the same work can cost, and beside others.
//!
//! ```sh
//! cargo run --release -- --out ../..       # everything, and into BENCHMARKS.md
//! cargo run --release -- --rounds 1 512    # once, the items whose name contains 512
//! cargo run --release -- scale --out ../.. # dp alone, with as many workers as fit
//! cargo run --release -- model 3 ../..     # three times, what docs/scale.md has
//! ```
//!
//! Master and workers are two processes, over TCP on the loopback device. The implementations take
//! turns, in several rounds; what is told is the median.

mod item;
mod limit;
mod measure;
mod model;
mod ours;
mod plain;
mod report;
mod scale;
mod with_remoc;
mod with_tarpc;
mod with_tonic;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::{Stream, TryStreamExt};
use tokio::net::{TcpListener, TcpSocket};

use item::{ITEMS, Item, Who};
use measure::{Figures, Usage, resident};
use report::Results;

/// What an implementation's master can do.
pub trait Master {
    /// Asks every worker how long `body` is; the sum of the answers.
    fn broadcast(&mut self, body: &[u8]) -> Result<u64>;
    /// Asks the first worker.
    fn call(&mut self, body: &[u8]) -> Result<u64>;
    /// Asks the first worker `calls` times, `width` at a time; the sum.
    fn pipeline(&mut self, body: &[u8], width: usize, calls: usize) -> Result<u64>;
    /// Has the first worker send `body` back.
    fn echo(&mut self, body: &[u8]) -> Result<()>;
    /// Has all workers wait for each other.
    fn meet(&mut self) -> Result<()> {
        bail!("its workers cannot wait for each other")
    }
    /// Waits until every worker has come.
    fn barrier(&mut self) -> Result<()> {
        bail!("it has no barrier")
    }
}

/// What every worker connects to, all at once.
fn listen() -> Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.bind("127.0.0.1:0".parse()?)?;
    Ok(socket.listen(4096)?)
}

async fn sum(values: impl Stream<Item = Result<u64>>) -> Result<u64> {
    values.try_fold(0, |sum, value| async move { Ok(sum + value) }).await
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["scale"] => scale::all(None),
        ["scale", "--out", out] => scale::all(Some(Path::new(out))),
        ["scale", clients, workers] => scale::one(clients.parse()?, workers.parse()?),
        ["master", who, item] => master(Who::named(who)?, Item::named(item)?),
        ["host", who, address, connections, workers] => {
            host(who, address.parse()?, connections.parse()?, workers.parse()?, None)
        }
        ["host", who, address, connections, workers, ca] => {
            host(who, address.parse()?, connections.parse()?, workers.parse()?, Some(ca.into()))
        }
        ["model", rounds, out] => {
            let text = model::report(rounds.parse()?, |item| in_own_process(Who::Ours, item))?;
            println!("{text}");
            report::replace(&PathBuf::from(out).join("docs/scale.md"), "model", &text)
        }
        _ => everything(&arguments),
    }
}

/// Runs the items that are asked for, each in processes of its own, and writes the report.
fn everything(arguments: &[&str]) -> Result<()> {
    let (mut rounds, mut wanted, mut at) = (5, Vec::new(), arguments.iter());
    let (mut out, mut only) = (None, None);
    while let Some(argument) = at.next() {
        match *argument {
            "--rounds" => rounds = at.next().context("--rounds takes a number")?.parse()?,
            "--out" => out = Some(PathBuf::from(at.next().context("--out takes a directory")?)),
            "--only" => only = Some(Who::named(at.next().context("--only takes a name")?)?),
            option if option.starts_with('-') => bail!(
                "there is no option {option}: only --rounds N, --out DIRECTORY, --only NAME, and \
                 parts of items' names"
            ),
            part => wanted.push(part),
        }
    }
    let congestion = measure::Cubic::set();
    let items = ITEMS.iter();
    let items: Vec<&Item> = items
        .filter(|item| wanted.is_empty() || wanted.iter().any(|part| item.name.contains(part)))
        .collect();
    let mut results = Results::new(rounds, congestion.in_force());
    for round in 1..=rounds {
        for item in &items {
            if !has_room_for(item.connections, item.name) {
                continue;
            }
            for who in Who::ALL {
                if item.is_for(who) && only.is_none_or(|only| only == who) {
                    let figures = in_own_process(who, item)
                        .with_context(|| format!("{} of {}", item.name, who.name()))?;
                    eprintln!("{round}/{rounds} {:20} {:6} {figures}", item.name, who.name());
                    results.add(item, who, figures);
                }
            }
        }
    }
    println!("{}", results.markdown());
    if let Some(out) = out {
        report::replace(&out.join("BENCHMARKS.md"), "results", &results.markdown())?;
        std::fs::write(out.join("docs/benchmarks.svg"), results.plot())?;
    }
    Ok(())
}

/// Whether a process may have so many connections, which the processes that measure inherit.
fn has_room_for(connections: usize, what: &str) -> bool {
    let files = connections as u64 + 100;
    let fits = dp_core::net::files::raise_limit().is_none_or(|limit| files <= limit);
    if !fits {
        eprintln!("{what}: left out, it needs `ulimit -n {files}`");
    }
    fits
}

fn in_own_process(who: Who, item: &Item) -> Result<Figures> {
    let this = std::env::current_exe()?;
    let mut command = match item.pinned {
        true => Command::new("taskset"),
        false => Command::new(&this),
    };
    if item.pinned {
        command.args(["-c", "0"]).arg(&this);
    }
    let output = command
        .args(["master", who.name(), item.name])
        .stderr(std::process::Stdio::inherit())
        .output()?;
    if !output.status.success() {
        bail!("the master ended with {}", output.status);
    }
    String::from_utf8(output.stdout)?.parse()
}

/// The master's process: starts the workers' one, and measures.
fn master(who: Who, item: &Item) -> Result<()> {
    let certs = item.tls.then(certificates).transpose()?;
    let mut hosting: Option<Hosting> = None;
    let (memory, begun) = (resident("self")?, Instant::now());
    let started = Usage::of("self")?;
    let start = |address: SocketAddr| {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["host", who.name(), &address.to_string()]);
        command.args([item.connections.to_string(), item.workers_each.to_string()]);
        if let Some(certs) = &certs {
            command.arg(certs.path().join("ca.pem"));
        }
        hosting = Some(Hosting(command.spawn()?));
        Ok(())
    };
    let mut master: Box<dyn Master> = match who {
        Who::Limit => Box::new(limit::Limit::start(item.connections, start)?),
        Who::Tokio => Box::new(plain::Plain::start(item.connections, start)?),
        Who::Tarpc => Box::new(with_tarpc::Tarpc::start(item.connections, start)?),
        Who::Tonic => Box::new(with_tonic::Tonic::start(item.connections, start)?),
        Who::Remoc => Box::new(with_remoc::Remoc::start(item.connections, start)?),
        Who::Ours => {
            let files = certs.as_ref().map(|certs| certs.path());
            let files = files.map(|at| (at.join("cert.pem"), at.join("key.pem")));
            let files = files.as_ref().map(|(cert, key)| (cert.as_path(), key.as_path()));
            Box::new(ours::Ours::start(item.workers(), files, start)?)
        }
    };
    let memory = resident("self")?.saturating_sub(memory);
    let host = hosting.context("nothing was started")?;
    let usage = || anyhow::Ok([Usage::of("self")?, Usage::of(&host.0.id().to_string())?]);
    let (before, times) = if item.is_start() {
        item.run(&mut *master, 1, Duration::ZERO)?;
        ([started, Usage::default()], vec![begun.elapsed()])
    } else {
        item.run(&mut *master, 1, Duration::from_millis(200))?;
        (usage()?, item.run(&mut *master, 3, Duration::from_millis(800))?)
    };
    let figures = Figures::new(times, before, usage()?, memory / item.workers());
    println!("{figures:#}");
    drop(host);
    // Whatever threads there are: there is nothing to wait for.
    std::process::exit(0);
}

/// The workers' process, which ends with its master's.
struct Hosting(Child);

impl Drop for Hosting {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn host(
    who: &str,
    address: SocketAddr,
    connections: usize,
    workers: usize,
    ca: Option<PathBuf>,
) -> Result<()> {
    match Who::named(who)? {
        Who::Limit => limit::host(address, connections),
        Who::Tokio => plain::host(address, connections),
        Who::Tarpc => with_tarpc::host(address, connections),
        Who::Tonic => with_tonic::host(address, connections),
        Who::Remoc => with_remoc::host(address, connections),
        Who::Ours => ours::host(address, connections, workers, ca.as_deref()),
    }
}

/// A CA, and a certificate for this machine, in a directory that goes with it.
fn certificates() -> Result<tempfile::TempDir> {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let directory = tempfile::tempdir()?;
    let (ca_key, key) = (KeyPair::generate()?, KeyPair::generate()?);
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_cert = ca.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca, ca_key);
    let cert = CertificateParams::new(vec!["localhost".to_owned()])?.signed_by(&key, &issuer)?;
    let write = |name: &str, text: String| std::fs::write(directory.path().join(name), text);
    write("ca.pem", ca_cert.pem())?;
    write("cert.pem", cert.pem())?;
    write("key.pem", key.serialize_pem())?;
    Ok(directory)
}
