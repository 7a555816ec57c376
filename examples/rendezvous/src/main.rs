//! The program: with workers in this process, or as the server or a client of several machines.

use std::io::Write;
use std::num::{NonZeroU64, NonZeroUsize};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use clap::{Args, Parser, Subcommand};
use dp_client::ClientArgs;
use dp_core::{Group, MasterWorker, WorkerInfo};
use dp_server::ServerArgs;
use rendezvous::{Board, Searcher, longest_chain};

/// Each worker needs that much longer to get ready than the one before it: something to wait for.
const WARM_UP: Duration = Duration::from_millis(150);

/// Workers that drive themselves: they meet at barriers, share what the server hands out, and go on
/// one after another.
///
/// They look for the number with the longest Collatz chain. The exit status is 0 when what they find
/// is what one thread finds.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    here: Here,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// The console for workers on other machines: type /run
    Server {
        #[command(flatten)]
        server: Box<ServerArgs>,
        #[command(flatten)]
        search: SearchArgs,
    },
    /// Searches on this machine
    Client(Box<ClientArgs>),
}

#[derive(Debug, Args)]
struct Here {
    /// Workers in this process
    #[arg(long, value_name = "N", default_value = "4")]
    workers: NonZeroUsize,
    /// How many workers go on in a second after the delay
    #[arg(long, value_name = "HZ", default_value = "5")]
    frequency: f64,
    #[command(flatten)]
    search: SearchArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Search")]
struct SearchArgs {
    /// Search the numbers below that
    // The chains of larger numbers could outgrow 64 bits.
    #[arg(
        long, value_name = "N", default_value = "1000000",
        value_parser = clap::value_parser!(u64).range(2..=10_000_000_000)
    )]
    below: u64,
    /// In how many ranges they are handed out
    #[arg(long, value_name = "N", default_value = "40")]
    ranges: NonZeroU64,
}

impl SearchArgs {
    fn board(&self) -> Board {
        Board::new(self.below, self.ranges.get())
    }
}

fn searcher(info: &WorkerInfo) -> Searcher {
    Searcher { warm_up: WARM_UP * (info.index() % 8) as u32 }
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        // One line, with what caused it; `main`'s own way takes several.
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.role {
        None => tokio::runtime::Runtime::new()?.block_on(here(cli.here)),
        Some(Role::Server { server, search }) => server.run_with::<Searcher>(search.board()),
        Some(Role::Client(client)) => client.run(searcher),
    }
}

/// Everything in this process.
async fn here(args: Here) -> anyhow::Result<()> {
    let (workers, search) = (args.workers.get(), args.search);
    let master = MasterWorker::<Searcher>::in_process_with(search.board(), workers, searcher);
    master.set_frequency(args.frequency)?;

    let SearchArgs { below, ranges } = search;
    println!("{workers} workers search the numbers below {below}, in {ranges} ranges.\n");
    let searched = master.run().await?;
    show(&master).await?;
    ensure!(searched.values().sum::<u64>() == ranges.get(), "not every range was searched once");

    let found = master.server().longest();
    ensure!(found == longest_chain(1..below), "{found:?} is not what one thread finds");
    println!("\n{} takes {} steps; one thread finds the same.", found.start, found.steps);
    Ok(())
}

/// The journal, the recorded results, and the measured times.
async fn show(master: &Group<Searcher>) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "The server's journal:\n")?;
    let mut section = "";
    for entry in master.server().journal() {
        for (begin, means) in [
            ("starts", "all were ready: together, they"),
            ("signs off", "all was searched: one by one, they"),
        ] {
            if entry.what == begin && section != begin {
                writeln!(output, "  ----------- {means}")?;
                section = begin;
            }
        }
        writeln!(output, "  {:>7.3} s   {} {}", entry.at.as_secs_f64(), entry.worker, entry.what)?;
    }
    writeln!(output, "\nWhat each worker recorded:\n")?;
    for line in master.results().await? {
        writeln!(output, "  {}  {}", line.worker, line.message)?;
    }
    for metric in master.metrics().await? {
        writeln!(
            output,
            "\n{} of {} ranges: min {:.1?}, mean {:.1?}, p50 {:.1?}, p90 {:.1?}, max {:.1?}, {:.1}/s",
            metric.name(),
            metric.count(),
            metric.min(),
            metric.mean(),
            metric.percentile(50.0),
            metric.percentile(90.0),
            metric.max(),
            metric.rate(),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
