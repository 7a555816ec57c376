//! A server and four clients, as five real processes on this machine:
//!
//! ```sh
//! cargo run --example quickstart
//! ```
//!
//! They work out π together. The program starts itself again with a sub-command for each process,
//! types `/run` and `/quit` at the server's console through a pipe, and checks what comes back. On
//! several machines the same worker would have two programs of one line each: see `greeter`.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail, ensure};
use dp_client::Client;
use dp_core::{Context, distributed_worker};
use dp_server::Server;

/// How many clients, and so workers, take part.
const CLIENTS: usize = 4;
/// How many terms of the series are added up, over all workers.
const TERMS: u64 = 40_000_000;
/// The whole show is over by then, or it has failed.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// What the server process says before its address.
const LISTENING: &str = "listening on ";

// ---- the worker ----------------------------------------------------------------------------------

#[derive(Debug, Default)]
struct Pi;

#[distributed_worker]
impl Pi {
    /// Adds up the terms `from..to` of Leibniz's series for π: 4/1 − 4/3 + 4/5 − 4/7 …
    #[remote]
    fn sum(&self, ctx: &Context<Self>, from: u64, to: u64) -> f64 {
        let sum = leibniz(from, to);
        ctx.result(format!("the terms {from}..{to} add up to {sum:.12}"));
        sum
    }

    /// Takes note of what the workers found out together.
    #[remote]
    fn learn(&self, ctx: &Context<Self>, finding: &str) {
        ctx.result(finding);
    }

    /// What `/run` runs, on the server: a part of its own for each worker, then the same news for all.
    #[schedule]
    async fn run(&self) -> anyhow::Result<()> {
        let share = TERMS / self.len() as u64;
        let parts = self
            .each(|worker| {
                let from = worker.info().index() as u64 * share;
                worker.sum(from, from + share)
            })
            .await?;
        let pi: f64 = parts.into_values().into_iter().sum();
        self.learn(&format!("together: pi = {pi:.12}")).await?;
        Ok(())
    }
}

/// The terms `from..to` of the series, the small ones first to keep rounding errors small.
fn leibniz(from: u64, to: u64) -> f64 {
    let term = |k: u64| if k.is_multiple_of(2) { 4.0 } else { -4.0 } / (2 * k + 1) as f64;
    (from..to).rev().map(term).sum()
}

// ---- the three kinds of process ------------------------------------------------------------------

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => show(),
        ["server"] => server(),
        ["client", address, id] => client(address, id),
        _ => Err(anyhow!("it takes no arguments")),
    };
    if let Err(error) = result {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The server process: its console is its standard input and output.
fn server() -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let server = Server::<Pi>::builder().bind("127.0.0.1:0").workers(CLIENTS).start().await?;
        println!("{LISTENING}{}", server.local_addr());
        server.console(tokio::io::stdin(), tokio::io::stdout()).await?;
        server.shutdown().await?;
        Ok(())
    })
}

/// A client process: one worker, until the server says quit.
fn client(address: &str, id: &str) -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        Client::<Pi>::builder().server(address).id(id).run().await?;
        Ok(())
    })
}

/// The process that was started by hand: starts the others, and shows what they do.
fn show() -> anyhow::Result<()> {
    let deadline = Deadline(Instant::now() + TIME_LIMIT);
    let mut processes = Processes::default();

    println!("A server and {CLIENTS} clients, each a process of its own:\n");
    let (input, output) = processes.start_server()?;
    let mut console = Console::new(input, output, deadline);
    let first = console.line()?;
    let address = first.strip_prefix(LISTENING).context("the server did not say its address")?;
    println!("  server  process {}, at {address}", processes.last_id());
    for number in 1..=CLIENTS {
        processes.start_client(address, number)?;
        println!("  c{number}      process {}", processes.last_id());
    }

    println!("\nThe clients join, and the server's console says so:\n");
    console.until("ready to run")?;

    println!("\nEach worker adds up its part of a series for pi, the server the parts. We type:\n");
    console.say("/run")?;
    let lines = console.until("ok")?;
    let found = check(&lines)?;

    println!("\nThat is pi to within {:.0e}. We type:\n", (found - std::f64::consts::PI).abs());
    console.say("/quit")?;
    // Not only /quit, also the end of its input lets a server go: none stays behind.
    console.hang_up();
    processes.expect_success(deadline)?;
    println!("\nAll {} processes ended with status 0.", CLIENTS + 1);
    println!("Next: template is a project to begin with; README.md has the rest.");
    Ok(())
}

/// Whether the gathered results are all there and right; what the workers found.
fn check(lines: &[String]) -> anyhow::Result<f64> {
    let results: Vec<Vec<&str>> = lines
        .iter()
        .map(|line| line.split('\t').collect())
        .filter(|fields: &Vec<_>| fields.len() == 3)
        .collect();
    for number in 1..=CLIENTS {
        let id = format!("c{number}");
        let count = results.iter().filter(|fields| fields[0] == id).count();
        ensure!(count == 2, "{id} recorded {count} results instead of 2");
    }
    ensure!(results.len() == 2 * CLIENTS, "{} results instead of {}", results.len(), 2 * CLIENTS);
    let found = results
        .iter()
        .find_map(|fields| fields[2].strip_prefix("together: pi = "))
        .context("nobody says what pi is")?;
    let found: f64 = found.parse().with_context(|| format!("{found:?} is not a number"))?;
    ensure!((found - std::f64::consts::PI).abs() < 1e-6, "{found} is not pi");
    Ok(found)
}

// ---- processes, and a console at the other end of a pipe -----------------------------------------

/// When everything has to be over.
#[derive(Clone, Copy)]
struct Deadline(Instant);

impl Deadline {
    fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// The processes under way. Dropping them kills those that are left, so that a failure in the middle
/// leaves nothing behind.
#[derive(Default)]
struct Processes(Vec<(String, Child)>);

impl Processes {
    fn start_server(&mut self) -> anyhow::Result<(ChildStdin, ChildStdout)> {
        let mut command = itself()?;
        command.arg("server").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start the server")?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        self.0.push(("server".to_owned(), child));
        pipes.context("the server has no pipes")
    }

    fn start_client(&mut self, address: &str, number: usize) -> anyhow::Result<()> {
        let id = format!("c{number}");
        let mut command = itself()?;
        command.args(["client", address, &id]).stdin(Stdio::null());
        let child = command.spawn().with_context(|| format!("cannot start client {id}"))?;
        self.0.push((id, child));
        Ok(())
    }

    fn last_id(&self) -> u32 {
        self.0.last().map_or(0, |(_, child)| child.id())
    }

    /// Waits until every process has ended, and fails unless all ended well.
    fn expect_success(&mut self, deadline: Deadline) -> anyhow::Result<()> {
        for (name, child) in &mut self.0 {
            let status = loop {
                if let Some(status) = child.try_wait()? {
                    break status;
                }
                ensure!(deadline.remaining() > Duration::ZERO, "{name} did not end");
                std::thread::sleep(Duration::from_millis(5));
            };
            ensure!(status.success(), "{name} ended with {status}");
        }
        Ok(())
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        // The clients first: they would complain of a lost server.
        for (_, child) in self.0.iter_mut().rev() {
            // An error says that it has ended already, which is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn itself() -> anyhow::Result<Command> {
    Ok(Command::new(std::env::current_exe().context("cannot find this program")?))
}

/// The server's console, as somebody at a keyboard sees it.
struct Console {
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    deadline: Deadline,
}

impl Console {
    fn new(input: ChildStdin, output: ChildStdout, deadline: Deadline) -> Self {
        // A thread of its own reads, since a pipe has no reads with a time limit.
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { input: Some(input), lines, deadline }
    }

    fn say(&mut self, command: &str) -> anyhow::Result<()> {
        println!("  > {command}");
        let input = self.input.as_mut().context("the console is closed")?;
        writeln!(input, "{command}").context("the server does not listen any more")
    }

    fn line(&self) -> anyhow::Result<String> {
        let line = self.lines.recv_timeout(self.deadline.remaining());
        line.context("the server said nothing more")
    }

    /// Shows lines as they come, to the one that is `last`; an error is one that ends the show.
    fn until(&self, last: &str) -> anyhow::Result<Vec<String>> {
        let mut lines = Vec::new();
        loop {
            let line = self.line()?;
            println!("  {}", Columns(&line));
            if line == last {
                return Ok(lines);
            }
            if line == "failed" || line.starts_with("error: ") {
                bail!("the server said {line:?}");
            }
            lines.push(line);
        }
    }

    fn hang_up(&mut self) {
        self.input = None;
    }
}

/// A line of the console with its tabs shown as columns.
struct Columns<'a>(&'a str);

impl fmt::Display for Columns<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.replace('\t', "  "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dp_core::MasterWorker;

    #[test]
    fn parts_of_the_series_add_up_to_pi() {
        let pi = leibniz(0, 600_000) + leibniz(600_000, 1_000_000);
        assert!((pi - std::f64::consts::PI).abs() < 2e-6, "{pi}");
    }

    #[tokio::test]
    async fn a_run_leaves_two_results_on_each_worker() {
        let master = MasterWorker::<Pi>::in_process(CLIENTS, |_info| Pi);
        master.run().await.unwrap();
        assert_eq!(master.results().await.unwrap().len(), 2 * CLIENTS);
    }

    #[test]
    fn a_missing_or_wrong_result_is_noticed() {
        let result = |id: usize, text: &str| format!("c{id}\t20260102-030405\t{text}");
        let mut lines: Vec<String> = (1..=CLIENTS)
            .flat_map(|id| [result(id, "the terms"), result(id, "together: pi = 3.14159264")])
            .collect();
        assert!(check(&lines).is_ok());
        lines[1] = result(1, "together: pi = 3.2");
        assert!(check(&lines).unwrap_err().to_string().contains("3.2 is not pi"));
        lines.pop();
        assert!(check(&lines).unwrap_err().to_string().contains("c4 recorded 1"));
    }
}
