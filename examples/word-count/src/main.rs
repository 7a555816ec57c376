//! The program: with workers in this process, or as the server or a client of several machines.

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::{Arg, Args, Parser, Subcommand};
use dp_client::ClientArgs;
use dp_core::MasterWorker;
use dp_server::ServerArgs;
use word_count::{Counts, WordCounter, count, most_frequent};

/// A block is no larger than that, so that a worker's memory has a bound.
const MAX_BLOCK_BYTES: usize = 4 << 20;
/// So many blocks for each worker: few enough to be worth a message, and enough that nobody waits long
/// for the last.
const BLOCKS_EACH: usize = 8;
/// Real texts that most Debian machines have.
const LICENSES: &str = "/usr/share/common-licenses";

/// Counts the words of text files, split over workers, and checks the counts against its own.
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
    /// Waits for workers on other machines, has them count, prints the table, sends them home
    // There is no console, no log, and nothing that starts one after another.
    #[command(
        mut_arg("output", hidden),
        mut_arg("frequency", hidden),
        mut_arg("verbose", hidden),
        mut_arg("results", hidden)
    )]
    Server {
        #[command(flatten)]
        server: Box<ServerArgs>,
        #[command(flatten)]
        text: TextArgs,
    },
    /// Counts on this machine what the server sends it
    Client(Box<ClientArgs>),
}

#[derive(Debug, Args)]
struct Here {
    /// Workers in this process
    #[arg(long, value_name = "N", default_value = "4")]
    workers: NonZeroUsize,
    #[command(flatten)]
    text: TextArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Text")]
struct TextArgs {
    /// Text files, or folders of them [default: this machine's license texts, else this
    /// repository's documents]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How many words to show, the most frequent first
    #[arg(long, value_name = "N", default_value = "20")]
    top: usize,
}

fn hidden(argument: Arg) -> Arg {
    argument.hide(true)
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
        None => block_on(here(cli.here)),
        Some(Role::Server { server, text }) => block_on(lead(*server, text)),
        Some(Role::Client(client)) => client.run(|_info| WordCounter),
    }
}

fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()?.block_on(work)
}

/// Everything in this process.
async fn here(here: Here) -> anyhow::Result<()> {
    let workers = here.workers.get();
    let master = MasterWorker::<WordCounter>::in_process(workers, |_info| WordCounter);
    count_with(&master, &here.text).await
}

/// The master of workers on other machines.
async fn lead(server: ServerArgs, text: TextArgs) -> anyhow::Result<()> {
    let server = server.builder::<WordCounter>().start().await?;
    eprintln!("waiting for workers at {}", server.local_addr());
    let master = server.ready().await?;
    let counted = count_with(&master, &text).await;
    // The workers are sent home even if the counting failed.
    server.shutdown().await?;
    counted
}

async fn count_with(master: &MasterWorker<WordCounter>, args: &TextArgs) -> anyhow::Result<()> {
    let files = files(&args.files)?;
    let text = read(&files)?;
    let blocks = master.len().max(1) * BLOCKS_EACH;
    let block_bytes = text.len().div_ceil(blocks).min(MAX_BLOCK_BYTES);

    let start = Instant::now();
    let counts = master.count_all(&text, block_bytes).await?;
    let elapsed = start.elapsed();

    let mut output = std::io::stdout().lock();
    writeln!(
        output,
        "{} files, {} bytes, counted by {} workers in {elapsed:.1?}\n",
        files.len(),
        text.len(),
        master.len(),
    )?;
    for (word, count) in most_frequent(&counts, args.top) {
        writeln!(output, "  {count:>8}  {word}")?;
    }
    check(&counts, &count(&text))?;
    writeln!(
        output,
        "\n{} words, {} different ones; counting on one thread gives the same",
        counts.values().sum::<u64>(),
        counts.len()
    )?;
    Ok(())
}

/// Fails, and names the first difference, unless the counts are the same.
fn check(counts: &Counts, expected: &Counts) -> anyhow::Result<()> {
    for word in counts.keys().chain(expected.keys()) {
        let (found, wanted) = (counts.get(word).copied(), expected.get(word).copied());
        ensure!(
            found == wanted,
            "the workers count {word:?} {} times, one thread {} times",
            found.unwrap_or(0),
            wanted.unwrap_or(0)
        );
    }
    Ok(())
}

/// The files to count: a folder stands for the files in it.
fn files(given: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    if given.is_empty() {
        files = folder(Path::new(LICENSES), |_| true).unwrap_or_default();
        if files.is_empty() {
            let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
            files = folder(&repository, |path| path.extension().is_some_and(|it| it == "md"))?;
        }
    }
    for path in given {
        if path.is_dir() {
            files.extend(folder(path, |_| true)?);
        } else {
            files.push(path.clone());
        }
    }
    ensure!(!files.is_empty(), "there are no files to count");
    Ok(files)
}

/// The wanted files of a folder, by name; links are left out, since they would be counted twice.
fn folder(path: &Path, wanted: impl Fn(&Path) -> bool) -> anyhow::Result<Vec<PathBuf>> {
    let problem = || format!("cannot list {}", path.display());
    let mut files = Vec::new();
    for entry in path.read_dir().with_context(problem)? {
        let entry = entry.with_context(problem)?;
        if entry.file_type().with_context(problem)?.is_file() && wanted(&entry.path()) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// All files as one text. A line end between them keeps the last word of one off the next one's first.
fn read(files: &[PathBuf]) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    for file in files {
        let bytes =
            std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        text.extend_from_slice(&bytes);
        text.push(b'\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn words_of_two_files_do_not_run_together() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("b"), "second").unwrap();
        std::fs::write(folder.path().join("a"), "first").unwrap();
        let files = files(&[folder.path().to_owned()]).unwrap();
        assert_eq!(read(&files).unwrap(), b"first\nsecond\n");
    }

    #[test]
    fn a_missing_file_is_named() {
        let missing = [PathBuf::from("/nowhere/at/all")];
        let error = read(&files(&missing).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "cannot read /nowhere/at/all");
    }

    #[test]
    fn a_difference_is_named() {
        let (ours, theirs) = (count(b"a b b"), count(b"a b"));
        let error = check(&ours, &theirs).unwrap_err().to_string();
        assert_eq!(error, r#"the workers count "b" 2 times, one thread 1 times"#);
        assert!(check(&ours, &ours).is_ok());
        assert!(check(&theirs, &count(b"a b c")).unwrap_err().to_string().contains('c'));
    }
}
