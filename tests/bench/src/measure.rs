//! Time, processor time and memory.

use std::fmt;
use std::fs;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result};

/// Processor time that a process has had, in ns.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage(u64);

impl Usage {
    /// That of all threads that the process has, and has had; counted in ticks of 10 ms.
    pub fn of(process: &str) -> Result<Self> {
        const TICK: u64 = 10_000_000;
        let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
        // The name, in parentheses, is the only field that may hold a space.
        let fields = text.rsplit_once(')').context("no name in stat")?.1;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        Ok(Self(ticks.sum::<Result<u64, _>>()? * TICK))
    }
}

/// Memory of a process that is in use, in bytes.
pub fn resident(process: &str) -> Result<usize> {
    const PAGE: usize = 4096;
    let text = fs::read_to_string(format!("/proc/{process}/statm"))?;
    Ok(text.split(' ').nth(1).context("no figure in statm")?.parse::<usize>()? * PAGE)
}

const CONGESTION: &str = "/proc/sys/net/ipv4/tcp_congestion_control";

/// Lets new connections use cubic, for as long as it is there, where that is allowed: other ways to
/// avoid congestion halve what the loopback device carries.
pub struct Cubic(Option<String>);

impl Cubic {
    pub fn set() -> Self {
        let before = fs::read_to_string(CONGESTION).ok();
        Self(before.filter(|_| fs::write(CONGESTION, "cubic").is_ok()))
    }

    pub fn in_force(&self) -> String {
        fs::read_to_string(CONGESTION).unwrap_or_default().trim().to_owned()
    }
}

impl Drop for Cubic {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = fs::write(CONGESTION, before);
        }
    }
}

/// What was measured, for one time of the work.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// The median, in ns.
    pub time: f64,
    /// Processor time of both sides, in ns.
    pub master: f64,
    pub host: f64,
    /// The master's, in bytes for each worker.
    pub memory: f64,
}

impl Figures {
    pub fn new(
        mut times: Vec<Duration>,
        before: [Usage; 2],
        after: [Usage; 2],
        memory: usize,
    ) -> Self {
        times.sort_unstable();
        let [master, host] =
            [0, 1].map(|at| (after[at].0 - before[at].0) as f64 / times.len() as f64);
        let time = times[times.len() / 2].as_nanos() as f64;
        Self { time, master, host, memory: memory as f64 }
    }

    pub fn processor(&self) -> f64 {
        self.master + self.host
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { time, master, host, memory } = self;
        if f.alternate() {
            return write!(f, "{time} {master} {host} {memory}");
        }
        let micros = [time, master, host].map(|ns| ns / 1e3);
        let [time, master, host] = micros;
        write!(f, "{time:11.1} us, processor {master:11.1} + {host:11.1} us, {memory:8.0} B")
    }
}

impl FromStr for Figures {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let numbers: Vec<f64> =
            text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let [time, master, host, memory] = numbers[..] else { anyhow::bail!("not four: {text}") };
        Ok(Self { time, master, host, memory })
    }
}
