//! A small HTTP server of our own: what is loaded when no URL is given.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// How long the one page is, in bytes.
pub const PAGE_BYTES: usize = 1_024;

/// A site on a port of this machine. It is gone when this is dropped.
#[derive(Debug)]
pub struct Site {
    address: SocketAddr,
    _serving: JoinSet<()>,
}

impl Site {
    /// Starts it on a free port of the loopback interface. It has one page, `/`; all else is `404`.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener));
        Ok(Self { address, _serving: serving })
    }

    /// The URL of its page.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

async fn serve(listener: TcpListener) {
    // Dropped with the task, and the connections with it.
    let mut connections = JoinSet::new();
    let page = Bytes::from(vec![b'.'; PAGE_BYTES]);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: some will come back.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let page = page.clone();
        connections.spawn(async move {
            let service = service_fn(|request| std::future::ready(answer(&page, &request)));
            // A client that goes away in the middle is its own business.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

fn answer(page: &Bytes, request: &Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(page.clone()));
    if request.uri().path() != "/" {
        *response.status_mut() = StatusCode::NOT_FOUND;
        *response.body_mut() = Full::default();
    }
    Ok(response)
}
