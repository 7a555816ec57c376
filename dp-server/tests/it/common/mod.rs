//! Workers, clients and a console's other end, for the tests of this folder.
#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]

use std::time::Duration;

use dp_client::{Client, ClientError};
use dp_core::{Context, DistributedWorker, distributed_worker};
use dp_server::{ConsoleError, Server};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines, duplex};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Nothing in these tests takes that long.
pub const LONG: Duration = Duration::from_secs(20);

pub async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    timeout(LONG, work).await.unwrap_or_else(|_| panic!("{what}: nothing within {LONG:?}"))
}

/// Greets on every worker.
#[derive(Debug, Default)]
pub struct Greeter {
    greeted: u64,
}

#[distributed_worker]
impl Greeter {
    #[remote]
    pub fn greet(&mut self, ctx: &Context<Self>, name: &str) -> u64 {
        self.greeted += 1;
        ctx.result(format!("greeted {name}"));
        self.greeted
    }

    #[remote]
    pub async fn linger(&self, ctx: &Context<Self>, milliseconds: u64) {
        ctx.result("lingering");
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }

    #[schedule]
    pub async fn run(&self) -> anyhow::Result<()> {
        self.greet("Ada").await?;
        Ok(())
    }
}

/// Its run takes until the test lets it go.
#[derive(Debug, Default)]
pub struct Sleeper;

#[distributed_worker]
impl Sleeper {
    #[remote]
    pub async fn sleep(&self, ctx: &Context<Self>) {
        ctx.result("asleep");
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }

    #[schedule]
    pub async fn run(&self) -> anyhow::Result<()> {
        self.sleep().await?;
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cannot set up")]
pub struct SetupError(#[source] std::io::Error);

/// Its run fails, and has recorded something before.
#[derive(Debug, Default)]
pub struct Failing;

#[distributed_worker]
impl Failing {
    #[remote]
    pub fn note(&self, ctx: &Context<Self>) {
        ctx.result("got this far");
    }

    #[schedule]
    pub async fn run(&self) -> Result<(), SetupError> {
        let _ = self.note().await;
        Err(SetupError(std::io::Error::other("disk full")))
    }
}

/// Its run panics.
#[derive(Debug, Default)]
pub struct Panicking;

#[distributed_worker]
impl Panicking {
    #[remote]
    pub fn note(&self, ctx: &Context<Self>) {
        ctx.result("got this far");
    }

    #[schedule]
    pub async fn run(&self) {
        let _ = self.note().await;
        panic!("out of {}", "luck");
    }
}

/// Has nothing to run.
#[derive(Debug, Default)]
pub struct Idle;

#[distributed_worker]
impl Idle {
    #[remote]
    pub fn nothing(&self) {}
}

/// Every worker drives itself, and the second one badly.
#[derive(Debug, Default)]
pub struct SelfDriven;

#[distributed_worker]
impl SelfDriven {
    #[remote]
    pub fn run(&self, ctx: &Context<Self>) -> Result<(), String> {
        ctx.result("ran");
        if ctx.worker().index() == 1 { Err("disk full".to_owned()) } else { Ok(()) }
    }
}

/// Its run does not end by itself.
#[derive(Debug, Default)]
pub struct Endless;

#[distributed_worker]
impl Endless {
    #[remote]
    pub async fn wait(&self, ctx: &Context<Self>) {
        ctx.result("began");
        ctx.record("begin", Duration::from_millis(5));
        std::future::pending().await
    }

    #[schedule]
    pub async fn run(&self) -> anyhow::Result<()> {
        self.wait().await?;
        Ok(())
    }
}

/// Its schedule does not mind whom it loses.
#[derive(Debug, Default)]
pub struct Coping;

#[distributed_worker]
impl Coping {
    #[remote]
    pub fn prepare(&self, ctx: &Context<Self>) {
        ctx.result("prepared");
    }

    #[remote]
    pub async fn sleep(&self) {
        tokio::time::sleep(Duration::from_millis(1000)).await;
    }

    #[schedule]
    pub async fn run(&self) {
        self.prepare().outcomes().await;
        self.sleep().outcomes().await;
    }
}

/// Measures.
#[derive(Debug, Default)]
pub struct Measuring;

#[distributed_worker]
impl Measuring {
    #[remote]
    pub fn measure(&self, ctx: &Context<Self>) {
        let slower = ctx.worker().index() as u64 * 500;
        for millis in 1..=500 {
            ctx.record("fetch", Duration::from_millis(millis + slower));
        }
        ctx.record("a\nb", Duration::from_micros(7));
        ctx.result("measured");
    }

    #[schedule]
    pub async fn run(&self) -> anyhow::Result<()> {
        self.measure().await?;
        Ok(())
    }
}

/// To be called by hand.
#[derive(Debug, Default)]
pub struct Toolbox;

#[distributed_worker]
impl Toolbox {
    /// Says hello.
    ///
    /// As often as it is asked to.
    #[remote]
    pub fn hello(&self, name: &str, times: u8) -> Vec<String> {
        vec![format!("hello {name}"); times.into()]
    }

    #[remote]
    pub fn is_first(&self, ctx: &Context<Self>) -> bool {
        ctx.worker().index() == 0
    }

    /// Fails on the second worker.
    #[remote]
    pub fn delicate(&self, ctx: &Context<Self>) -> Result<u8, String> {
        if ctx.worker().index() == 1 { Err("disk full".to_owned()) } else { Ok(7) }
    }

    #[remote]
    pub async fn linger(&self, milliseconds: u64) {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }

    /// Takes long on all workers but the first.
    #[remote]
    pub async fn uneven(&self, ctx: &Context<Self>) {
        if ctx.worker().index() > 0 {
            std::future::pending().await
        }
    }
}

/// A client under way, of the id and with as many workers.
pub fn client<W: DistributedWorker + Default>(
    server: &Server<W>,
    id: &str,
    workers: usize,
) -> JoinHandle<Result<(), ClientError>> {
    let address = server.local_addr().to_string();
    let client = Client::<W>::builder().server(address).id(id).workers(workers);
    tokio::spawn(client.exit_on_disconnect().run())
}

/// A server on a free port that waits for as many workers.
pub async fn server<W: DistributedWorker<Server = ()>>(workers: usize) -> Server<W> {
    Server::<W>::builder().bind("127.0.0.1:0").workers(workers).start().await.unwrap()
}

/// The person at a console.
pub struct Typist {
    input: Option<DuplexStream>,
    output: Lines<BufReader<DuplexStream>>,
    console: JoinHandle<Result<(), ConsoleError>>,
}

impl Typist {
    /// Sits down at the console of `server`, which is shut down when the console ends.
    pub fn at<W: DistributedWorker>(server: Server<W>) -> Self {
        let (input, from_us) = duplex(256 * 1024);
        let (to_us, output) = duplex(64 * 1024);
        let console = tokio::spawn(async move {
            let outcome = server.console(from_us, to_us).await;
            server.shutdown().await.unwrap();
            outcome
        });
        Self { input: Some(input), output: BufReader::new(output).lines(), console }
    }

    pub async fn types(&mut self, text: impl AsRef<[u8]>) {
        self.input.as_mut().unwrap().write_all(text.as_ref()).await.unwrap();
    }

    /// The next line, or `None` at the end.
    pub async fn reads(&mut self) -> Option<String> {
        soon("a line of the console", self.output.next_line()).await.unwrap()
    }

    pub async fn expects(&mut self, lines: &[&str]) {
        for line in lines {
            assert_eq!(self.reads().await.as_deref(), Some(*line));
        }
    }

    pub async fn until(&mut self, last: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.reads().await.unwrap_or_else(|| panic!("no {last} after {lines:?}"));
            if line == last {
                return lines;
            }
            lines.push(line);
        }
    }

    /// Ends the input. What the console still says, and how it ended.
    pub async fn leaves(mut self) -> (Vec<String>, Result<(), ConsoleError>) {
        drop(self.input.take());
        let mut rest = Vec::new();
        while let Some(line) = self.reads().await {
            rest.push(line);
        }
        (rest, soon("the end of the console", self.console).await.unwrap())
    }

    /// Stops listening to what the console says.
    pub fn turns_away(self) -> (DuplexStream, JoinHandle<Result<(), ConsoleError>>) {
        (self.input.unwrap(), self.console)
    }
}

/// The columns of a result line, after a check of its time.
pub fn columns(line: &str) -> (&str, &str) {
    let fields: Vec<_> = line.splitn(3, '\t').collect();
    let [id, time, message] = fields[..] else { panic!("{line:?} is no result line") };
    let is_time = time.len() == 15
        && time
            .chars()
            .enumerate()
            .all(|(i, c)| if i == 8 { c == '-' } else { c.is_ascii_digit() });
    assert!(is_time, "{time:?} is no YYYYMMDD-HHMMSS");
    (id, message)
}
