//! Broadcasts in a second, over TCP and over NATS: `ulimit -n 20000`, then
//! `cargo run --release -p dp-nats --example broadcasts -- 64 512 2048`.
//!
//! Each worker has a connection of its own; all are in one process, the master is in another, and the
//! nats-server is a third one. Every answer is checked.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use dp_core::distributed_worker;
use dp_core::engine::{Host, Limits, io};
use dp_nats::Settings;
use dp_server::Server;
use tokio::net::TcpStream;
use tokio::runtime::{Handle, Runtime};

#[derive(Default)]
struct Worker;

#[distributed_worker]
impl Worker {
    #[remote]
    fn length(&self, body: &[u8]) -> u64 {
        body.len() as u64
    }
}

/// How long each is measured.
const LASTING: Duration = Duration::from_secs(4);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["host", address, workers] = arguments[..] {
        return Runtime::new()?.block_on(host(address, workers.parse()?));
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let nats = Command::new("nats-server")
        .args(["-a", "127.0.0.1", "-p", &port.to_string()])
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start nats-server")?;
    let _nats = Ended(nats);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let url = format!("nats://127.0.0.1:{port}");
    for workers in arguments {
        let workers = workers.parse()?;
        for address in ["tcp", &url] {
            Runtime::new()?.block_on(measure(address, workers))?;
        }
    }
    Ok(())
}

async fn measure(engine: &str, workers: usize) -> Result<()> {
    let builder = Server::<Worker>::builder().workers(workers);
    let over = if engine == "tcp" { "TCP" } else { "NATS" };
    let server = match engine {
        "tcp" => builder.bind("127.0.0.1:0").start().await?,
        url => builder.engine(Settings::new(url)?).insecure().start().await?,
    };
    let address = if over == "TCP" { server.local_addr().to_string() } else { engine.to_owned() };
    let host = Command::new(std::env::current_exe()?)
        .args(["host", &address, &workers.to_string()])
        .spawn()?;
    let host = Ended(host);
    let master = server.ready().await?;
    for length in [32, 4096] {
        let body = vec![7; length];
        master.length(&body).await?;
        let (begun, busy, mut count) = (Instant::now(), busy()?, 0);
        while begun.elapsed() < LASTING {
            let sum: u64 = master.length(&body).await?.into_values().into_iter().sum();
            ensure!(sum == (length * workers) as u64, "the answers' sum is {sum}");
            count += 1;
        }
        let rate = f64::from(count) / begun.elapsed().as_secs_f64();
        let busy = (self::busy()? - busy) / count;
        println!(
            "{workers} workers, {length} bytes, {over}: {rate:.1} broadcasts/s, each {busy:.2?} of \
             the master's processor time"
        );
    }
    drop(host);
    Ok(())
}

async fn host(address: &str, workers: usize) -> Result<()> {
    let (runtime, limits) = (Handle::current(), Limits::default());
    let first = Host::new("c".to_owned(), 1, limits, runtime, |_| Worker);
    let settings = Arc::new(Settings::new(address).ok());
    let tasks: Vec<_> = (0..workers)
        .map(|n| {
            let host = first.beside(format!("c{n}"), 1, |_| Worker);
            let (settings, address) = (settings.clone(), address.to_owned());
            io().spawn(async move {
                match &*settings {
                    None => {
                        let stream = TcpStream::connect(&address).await?;
                        stream.set_nodelay(true)?;
                        host.serve(stream, address).await?;
                    }
                    Some(settings) => {
                        let (stream, _connection) = dp_nats::connect(settings).await?;
                        host.serve(stream, address).await?;
                    }
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for task in tasks {
        // How it ends is the master's business, but for one that never joined.
        if let Err(error) = task.await? {
            eprintln!("{error}");
        }
    }
    Ok(())
}

/// The processor time of this process so far.
fn busy() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').context("no name in /proc/self/stat")?;
    let fields = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    // In hundredths of a second, on every Linux of today.
    let hundredths: u64 = fields.sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(10 * hundredths))
}

/// A process that ends with this value.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
