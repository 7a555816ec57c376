//! dp: a server as a program has it; its clients all in one process, which share their threads.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use dp_core::engine::{self, Host, Limits};
use dp_core::net::{ClientGate, ClientTls};
use dp_core::{Context, MasterWorker, distributed_worker};
use dp_server::Server;
use futures_util::{StreamExt, stream};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::Master;

#[derive(Default)]
pub struct Bench;

#[distributed_worker]
impl Bench {
    /// How long what was sent is.
    #[remote]
    pub fn call(&self, body: &[u8]) -> u64 {
        body.len() as u64
    }

    /// Waits until all others are in it, too.
    #[remote]
    pub async fn meet(&self, ctx: &Context<Self>) -> anyhow::Result<()> {
        ctx.synchro("here").await?;
        Ok(())
    }

    /// What was sent.
    #[remote]
    pub fn echo(&self, body: Vec<u8>) -> Vec<u8> {
        body
    }
}

pub fn host(
    address: SocketAddr,
    connections: usize,
    workers: usize,
    ca: Option<&Path>,
) -> Result<()> {
    let runtime = Runtime::new()?;
    let tls = ca.map(|ca| ClientTls::read(ca, None, None)).transpose()?;
    let gate = ClientGate { tls, token: None };
    let first = Host::<Bench>::new(
        "c".to_owned(),
        workers,
        Limits::default(),
        runtime.handle().clone(),
        |_| Bench,
    );
    let mut tasks = Vec::new();
    for n in 0..connections {
        let host = first.beside(format!("c{n}"), workers, |_| Bench);
        let gate = gate.clone();
        tasks.push(engine::io().spawn(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let stream = gate.pass(stream, "localhost").await?;
            host.serve(stream, address.to_string()).await?;
            anyhow::Ok(())
        }));
    }
    runtime.block_on(async {
        for task in tasks {
            // How it ends is the master's business.
            let _ = task.await?;
        }
        Ok(())
    })
}

pub struct Ours {
    runtime: Runtime,
    server: Server<Bench>,
    master: MasterWorker<Bench>,
}

impl Ours {
    pub fn start(
        workers: usize,
        tls: Option<(&Path, &Path)>,
        host: impl FnOnce(SocketAddr) -> Result<()>,
    ) -> Result<Self> {
        let runtime = Runtime::new()?;
        let mut builder = Server::<Bench>::builder().bind("127.0.0.1:0").workers(workers);
        if let Some((cert, key)) = tls {
            builder = builder.tls(cert, key);
        }
        let (server, master) = runtime.block_on(async {
            let server = builder.start().await?;
            host(server.local_addr())?;
            server.ready().await?;
            let master = server.master();
            anyhow::Ok((server, master))
        })?;
        Ok(Self { runtime, server, master })
    }

    pub fn quit(self) -> Result<()> {
        Ok(self.runtime.block_on(self.server.shutdown())?)
    }
}

impl Master for Ours {
    fn broadcast(&mut self, body: &[u8]) -> Result<u64> {
        let replies = self.runtime.block_on(self.master.call(body).into_future())?;
        Ok(replies.into_values().into_iter().sum())
    }

    fn call(&mut self, body: &[u8]) -> Result<u64> {
        let worker = self.master.workers().first().context("nobody is there")?;
        Ok(self.runtime.block_on(worker.call(body).into_future())?)
    }

    fn pipeline(&mut self, body: &[u8], width: usize, calls: usize) -> Result<u64> {
        let worker = self.master.workers().first().context("nobody is there")?;
        let calls = (0..calls).map(|_| worker.call(body));
        let calls = stream::iter(calls).buffer_unordered(width);
        self.runtime.block_on(crate::sum(calls.map(|call| Ok(call?))))
    }

    fn echo(&mut self, body: &[u8]) -> Result<()> {
        let worker = self.master.workers().first().context("nobody is there")?;
        let back = self.runtime.block_on(worker.echo(body.to_vec()).into_future())?;
        ensure!(back.len() == body.len(), "another echo");
        Ok(())
    }

    fn meet(&mut self) -> Result<()> {
        self.runtime.block_on(self.master.meet().into_future())?;
        Ok(())
    }

    fn barrier(&mut self) -> Result<()> {
        Ok(self.runtime.block_on(self.master.synchro("all"))?)
    }
}
