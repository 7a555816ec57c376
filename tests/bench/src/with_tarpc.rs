//! tarpc, over bincode: a client for each connection, `join_all` for a broadcast.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use futures_util::{StreamExt, stream};
use serde_bytes::ByteBuf;
use tarpc::context::{self, Context};
use tarpc::server::{BaseChannel, Channel};
use tarpc::tokio_serde::formats::Bincode;
use tarpc::tokio_util::codec::{Framed, LengthDelimitedCodec};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::{Master, listen};

#[tarpc::service]
trait Bench {
    async fn call(body: ByteBuf) -> u64;
    async fn echo(body: ByteBuf) -> ByteBuf;
}

#[derive(Clone)]
struct Worker;

impl Bench for Worker {
    async fn call(self, _: Context, body: ByteBuf) -> u64 {
        body.len() as u64
    }

    async fn echo(self, _: Context, body: ByteBuf) -> ByteBuf {
        body
    }
}

fn framed(stream: TcpStream) -> Result<Framed<TcpStream, LengthDelimitedCodec>> {
    stream.set_nodelay(true)?;
    Ok(Framed::new(stream, LengthDelimitedCodec::new()))
}

pub fn host(address: SocketAddr, connections: usize) -> Result<()> {
    Runtime::new()?.block_on(async {
        let mut tasks = Vec::new();
        for _ in 0..connections {
            let framed = framed(TcpStream::connect(address).await?)?;
            let transport = tarpc::serde_transport::new(framed, Bincode::default());
            let channel = BaseChannel::with_defaults(transport).execute(Worker.serve());
            tasks.push(tokio::spawn(channel.for_each(|call| async {
                tokio::spawn(call);
            })));
        }
        for task in tasks {
            task.await?;
        }
        Ok(())
    })
}

pub struct Tarpc {
    runtime: Runtime,
    workers: Vec<BenchClient>,
}

impl Tarpc {
    pub fn start(connections: usize, host: impl FnOnce(SocketAddr) -> Result<()>) -> Result<Self> {
        let runtime = Runtime::new()?;
        let workers = runtime.block_on(async {
            let listener = listen()?;
            host(listener.local_addr()?)?;
            let mut workers = Vec::new();
            for _ in 0..connections {
                let framed = framed(listener.accept().await?.0)?;
                let transport = tarpc::serde_transport::new(framed, Bincode::default());
                workers.push(BenchClient::new(Default::default(), transport).spawn());
            }
            anyhow::Ok(workers)
        })?;
        Ok(Self { runtime, workers })
    }
}

impl Master for Tarpc {
    fn broadcast(&mut self, body: &[u8]) -> Result<u64> {
        let calls =
            self.workers.iter().map(|worker| worker.call(context::current(), ByteBuf::from(body)));
        Ok(self.runtime.block_on(try_join_all(calls))?.into_iter().sum())
    }

    fn call(&mut self, body: &[u8]) -> Result<u64> {
        let call = self.workers[0].call(context::current(), ByteBuf::from(body));
        Ok(self.runtime.block_on(call)?)
    }

    fn pipeline(&mut self, body: &[u8], width: usize, calls: usize) -> Result<u64> {
        let calls =
            (0..calls).map(|_| self.workers[0].call(context::current(), ByteBuf::from(body)));
        let calls = stream::iter(calls).buffer_unordered(width);
        self.runtime.block_on(crate::sum(calls.map(|call| Ok(call?))))
    }

    fn echo(&mut self, body: &[u8]) -> Result<()> {
        let call = self.workers[0].echo(context::current(), ByteBuf::from(body));
        ensure!(self.runtime.block_on(call)?.len() == body.len(), "another echo");
        Ok(())
    }
}
