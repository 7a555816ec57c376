//! tokio as one would use it: a task that reads and one that writes for each connection, and a
//! oneshot for each call.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use futures_util::{StreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use crate::{Master, listen};

/// Length of number, kind and body; number; kind.
const HEAD: usize = 13;

pub fn host(address: SocketAddr, connections: usize) -> Result<()> {
    Runtime::new()?.block_on(async {
        let mut tasks = Vec::new();
        for _ in 0..connections {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            tasks.push(tokio::spawn(answer(stream)));
        }
        for task in tasks {
            let _ = task.await?;
        }
        Ok(())
    })
}

async fn answer(stream: TcpStream) -> Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    loop {
        let frame = read_frame(&mut read).await?;
        let body = &frame[9..];
        let length = (body.len() as u64).to_le_bytes();
        let reply = if frame[8] == 0 { &length[..] } else { body };
        let mut answer = Vec::with_capacity(12 + reply.len());
        answer.extend_from_slice(&((8 + reply.len()) as u32).to_le_bytes());
        answer.extend_from_slice(&frame[..8]);
        answer.extend_from_slice(reply);
        write.write_all(&answer).await?;
    }
}

async fn read_frame(read: &mut BufReader<tokio::net::tcp::OwnedReadHalf>) -> Result<Vec<u8>> {
    let length = read.read_u32_le().await?;
    let mut frame = vec![0; length as usize];
    read.read_exact(&mut frame).await?;
    Ok(frame)
}

pub struct Plain {
    runtime: Runtime,
    workers: Vec<Arc<Worker>>,
}

struct Worker {
    frames: mpsc::UnboundedSender<(u64, u8, Arc<[u8]>)>,
    calls: Mutex<HashMap<u64, oneshot::Sender<Vec<u8>>>>,
    next: AtomicU64,
}

impl Worker {
    fn start(stream: TcpStream) -> Arc<Self> {
        let (read, mut write) = stream.into_split();
        let (frames, mut taken) = mpsc::unbounded_channel::<(u64, u8, Arc<[u8]>)>();
        let worker = Arc::new(Self { frames, calls: Mutex::default(), next: AtomicU64::new(0) });
        tokio::spawn(async move {
            while let Some((number, kind, body)) = taken.recv().await {
                let mut frame = Vec::with_capacity(HEAD + body.len());
                frame.extend_from_slice(&((9 + body.len()) as u32).to_le_bytes());
                frame.extend_from_slice(&number.to_le_bytes());
                frame.push(kind);
                frame.extend_from_slice(&body);
                write.write_all(&frame).await?;
            }
            anyhow::Ok(())
        });
        let reading = worker.clone();
        tokio::spawn(async move {
            let mut read = BufReader::new(read);
            loop {
                let frame = read_frame(&mut read).await?;
                let number = u64::from_le_bytes(frame[..8].try_into()?);
                let call = reading.calls.lock().ok().and_then(|mut calls| calls.remove(&number));
                if let Some(call) = call {
                    let _ = call.send(frame[8..].to_vec());
                }
            }
            #[allow(unreachable_code)]
            anyhow::Ok(())
        });
        worker
    }

    async fn call(&self, kind: u8, body: Arc<[u8]>) -> Result<Vec<u8>> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.calls.lock().ok().context("poisoned")?.insert(number, answer);
        self.frames.send((number, kind, body)).ok().context("gone")?;
        Ok(answered.await?)
    }

    async fn length(&self, body: Arc<[u8]>) -> Result<u64> {
        let answer = self.call(0, body).await?;
        Ok(u64::from_le_bytes(answer[..].try_into()?))
    }
}

impl Plain {
    pub fn start(connections: usize, host: impl FnOnce(SocketAddr) -> Result<()>) -> Result<Self> {
        let runtime = Runtime::new()?;
        let workers = runtime.block_on(async {
            let listener = listen()?;
            host(listener.local_addr()?)?;
            let mut workers = Vec::new();
            for _ in 0..connections {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                workers.push(Worker::start(stream));
            }
            anyhow::Ok(workers)
        })?;
        Ok(Self { runtime, workers })
    }
}

impl Master for Plain {
    fn broadcast(&mut self, body: &[u8]) -> Result<u64> {
        let body: Arc<[u8]> = body.into();
        let calls = self.workers.iter().map(|worker| worker.length(body.clone()));
        Ok(self.runtime.block_on(try_join_all(calls))?.into_iter().sum())
    }

    fn call(&mut self, body: &[u8]) -> Result<u64> {
        self.runtime.block_on(self.workers[0].length(body.into()))
    }

    fn pipeline(&mut self, body: &[u8], width: usize, calls: usize) -> Result<u64> {
        let body: Arc<[u8]> = body.into();
        let calls = (0..calls).map(|_| self.workers[0].length(body.clone()));
        self.runtime.block_on(crate::sum(stream::iter(calls).buffer_unordered(width)))
    }

    fn echo(&mut self, body: &[u8]) -> Result<()> {
        let back = self.runtime.block_on(self.workers[0].call(1, body.into()))?;
        ensure!(back.len() == body.len(), "another echo");
        Ok(())
    }
}
