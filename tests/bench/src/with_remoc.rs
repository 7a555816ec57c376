//! remoc, by a remote trait: a connection for each worker, `join_all` for a broadcast.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use futures_util::{StreamExt, stream};
use remoc::prelude::*;
use remoc::rtc::CallError;
use serde_bytes::ByteBuf;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::{Master, listen};

#[rtc::remote]
pub trait Bench {
    async fn call(&self, body: ByteBuf) -> Result<u64, CallError>;
    async fn echo(&self, body: ByteBuf) -> Result<ByteBuf, CallError>;
}

struct Worker;

impl Bench for Worker {
    async fn call(&self, body: ByteBuf) -> Result<u64, CallError> {
        Ok(body.len() as u64)
    }

    async fn echo(&self, body: ByteBuf) -> Result<ByteBuf, CallError> {
        Ok(body)
    }
}

pub fn host(address: SocketAddr, connections: usize) -> Result<()> {
    Runtime::new()?.block_on(async {
        let workers = (0..connections).map(|_| {
            tokio::spawn(async move {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                let (read, write) = stream.into_split();
                let (server, client) =
                    BenchServerShared::<_, remoc::codec::Default>::new(Arc::new(Worker));
                remoc::Connect::io(remoc::Cfg::default(), read, write).provide(client).await?;
                // How it ends is the master's business.
                let _ = server.serve().await;
                anyhow::Ok(())
            })
        });
        for worker in workers.collect::<Vec<_>>() {
            worker.await??;
        }
        Ok(())
    })
}

pub struct Remoc {
    runtime: Runtime,
    workers: Vec<BenchClient>,
}

impl Remoc {
    pub fn start(connections: usize, host: impl FnOnce(SocketAddr) -> Result<()>) -> Result<Self> {
        let runtime = Runtime::new()?;
        let workers = runtime.block_on(async {
            let listener = listen()?;
            host(listener.local_addr()?)?;
            let mut workers = Vec::new();
            for _ in 0..connections {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let (read, write) = stream.into_split();
                workers.push(tokio::spawn(async move {
                    let connect = remoc::Connect::io(remoc::Cfg::default(), read, write);
                    let worker: BenchClient = connect.consume().await?;
                    anyhow::Ok(worker)
                }));
            }
            let workers = try_join_all(workers).await?;
            workers.into_iter().collect::<Result<Vec<_>>>()
        })?;
        Ok(Self { runtime, workers })
    }
}

impl Master for Remoc {
    fn broadcast(&mut self, body: &[u8]) -> Result<u64> {
        let calls = self.workers.iter().map(|worker| worker.call(ByteBuf::from(body)));
        Ok(self.runtime.block_on(try_join_all(calls))?.into_iter().sum())
    }

    fn call(&mut self, body: &[u8]) -> Result<u64> {
        Ok(self.runtime.block_on(self.workers[0].call(ByteBuf::from(body)))?)
    }

    fn pipeline(&mut self, body: &[u8], width: usize, calls: usize) -> Result<u64> {
        let calls = (0..calls).map(|_| self.workers[0].call(ByteBuf::from(body)));
        let calls = stream::iter(calls).buffer_unordered(width);
        self.runtime.block_on(crate::sum(calls.map(|call| Ok(call?))))
    }

    fn echo(&mut self, body: &[u8]) -> Result<()> {
        let back = self.runtime.block_on(self.workers[0].echo(ByteBuf::from(body)))?;
        ensure!(back.len() == body.len(), "another echo");
        Ok(())
    }
}
