//! tonic, with messages as protobuf's compiler writes them: an HTTP/2 connection for each worker,
//! `join_all` for a broadcast. Here, too, it is the workers that connect.

use std::net::SocketAddr;
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use futures_util::{StreamExt, stream};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status};

use crate::{Master, listen};

#[derive(Clone, PartialEq, prost::Message)]
pub struct Body {
    #[prost(bytes = "vec", tag = "1")]
    pub body: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Length {
    #[prost(uint64, tag = "1")]
    pub length: u64,
}

include!(concat!(env!("OUT_DIR"), "/bench.Bench.rs"));
use bench_client::BenchClient;
use bench_server::{Bench, BenchServer};

struct Worker;

#[tonic::async_trait]
impl Bench for Worker {
    async fn call(&self, request: Request<Body>) -> Result<Response<Length>, Status> {
        Ok(Response::new(Length { length: request.into_inner().body.len() as u64 }))
    }

    async fn echo(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        Ok(Response::new(request.into_inner()))
    }
}

pub fn host(address: SocketAddr, connections: usize) -> Result<()> {
    Runtime::new()?.block_on(async {
        let incoming = stream::iter(0..connections).then(|_| async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok::<_, std::io::Error>(stream)
        });
        // It would end when there are no more to come.
        let incoming = incoming.chain(stream::pending());
        Server::builder()
            .add_service(BenchServer::new(Worker))
            .serve_with_incoming(incoming)
            .await?;
        Ok(())
    })
}

pub struct Tonic {
    runtime: Runtime,
    workers: Vec<BenchClient<tonic::transport::Channel>>,
}

impl Tonic {
    pub fn start(connections: usize, host: impl FnOnce(SocketAddr) -> Result<()>) -> Result<Self> {
        let runtime = Runtime::new()?;
        let workers = runtime.block_on(async {
            let listener = listen()?;
            host(listener.local_addr()?)?;
            let mut workers = Vec::new();
            for _ in 0..connections {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let stream = Mutex::new(Some(TokioIo::new(stream)));
                let connector = tower::service_fn(move |_| {
                    let stream = stream.lock().ok().and_then(|mut stream| stream.take());
                    async { stream.context("it was connected before") }
                });
                let endpoint = Endpoint::from_static("http://worker");
                workers.push(BenchClient::new(endpoint.connect_with_connector(connector).await?));
            }
            anyhow::Ok(workers)
        })?;
        Ok(Self { runtime, workers })
    }
}

async fn length(mut worker: BenchClient<tonic::transport::Channel>, body: Vec<u8>) -> Result<u64> {
    Ok(worker.call(Body { body }).await?.into_inner().length)
}

impl Master for Tonic {
    fn broadcast(&mut self, body: &[u8]) -> Result<u64> {
        let calls = self.workers.iter().map(|worker| length(worker.clone(), body.to_vec()));
        Ok(self.runtime.block_on(try_join_all(calls))?.into_iter().sum())
    }

    fn call(&mut self, body: &[u8]) -> Result<u64> {
        self.runtime.block_on(length(self.workers[0].clone(), body.to_vec()))
    }

    fn pipeline(&mut self, body: &[u8], width: usize, calls: usize) -> Result<u64> {
        let calls = (0..calls).map(|_| length(self.workers[0].clone(), body.to_vec()));
        self.runtime.block_on(crate::sum(stream::iter(calls).buffer_unordered(width)))
    }

    fn echo(&mut self, body: &[u8]) -> Result<()> {
        let call = self.workers[0].echo(Body { body: body.to_vec() });
        let back = self.runtime.block_on(call)?.into_inner().body;
        ensure!(back.len() == body.len(), "another echo");
        Ok(())
    }
}
