//! The worker: sends requests over keep-alive connections, and measures them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use dp_core::{Context, distributed_worker};
use http_body_util::{BodyExt, Full};
use hyper::StatusCode;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::{Measured, Plan, Report, Share, Target};

/// Loads an HTTP server from the machine that it lives on.
#[derive(Debug, Default)]
pub struct Loader;

#[distributed_worker]
impl Loader {
    /// Sends this worker's share of the requests, and says what it measured.
    #[remote]
    pub async fn load(&self, ctx: &Context<Self>, share: &Share) -> anyhow::Result<Measured> {
        let measured = load(share).await?;
        ctx.result(format!(
            "{} requests, {} errors in {:.3} s",
            measured.requests(),
            measured.error_count(),
            measured.elapsed().as_secs_f64()
        ));
        Ok(measured)
    }

    /// Carries out the whole plan: a share for each worker, and what they measured put together.
    #[schedule]
    pub async fn attack(&self, plan: &Plan) -> anyhow::Result<Report> {
        anyhow::ensure!(!self.is_empty(), "there are no workers");
        let workers = self.len();
        let shares = self.each(|worker| worker.load(&plan.share(worker.info().index(), workers)));
        // A worker that is lost in the middle costs its own share, not the report.
        let mut report = Report::new(plan.clone());
        for outcome in shares.outcomes().await {
            report.add(outcome.worker.id().to_string(), outcome.result);
        }
        Ok(report)
    }
}

async fn load(share: &Share) -> anyhow::Result<Measured> {
    let target = Arc::new(Target::new(&share.plan)?);
    let tickets = Arc::new(Tickets::new(share));
    let measured = Arc::new(Mutex::new(Measured::default()));
    // Dropped with this call: a call that is cancelled stops sending.
    let mut connections = JoinSet::new();
    for _ in 0..share.connections {
        let (target, tickets, measured) = (target.clone(), tickets.clone(), measured.clone());
        connections.spawn(send(target, tickets, measured, share.plan.timeout));
    }
    while let Some(ended) = connections.join_next().await {
        ended.context("a connection's task failed")?;
    }
    let mut measured = std::mem::take(&mut *lock(&measured));
    measured.took(tickets.start.elapsed());
    Ok(measured)
}

/// Sends one request after another over one connection, which is opened anew when it is closed.
async fn send(
    target: Arc<Target>,
    tickets: Arc<Tickets>,
    measured: Arc<Mutex<Measured>>,
    timeout: Duration,
) {
    let mut open = None;
    while let Some(ticket) = tickets.next().await {
        let request = request(&target, &mut open, ticket);
        let answer = tokio::time::timeout(timeout, request).await;
        let mut measured = lock(&measured);
        match answer {
            Ok(Ok(answer)) => {
                measured.response(answer.latency, answer.body_bytes);
                if !answer.status.is_success() {
                    measured.error(&format!("HTTP {}", answer.status));
                }
            }
            Ok(Err(kind)) => measured.failure(&kind),
            Err(_) => measured.failure("timed out"),
        }
    }
}

struct Answer {
    status: StatusCode,
    body_bytes: u64,
    latency: Duration,
}

/// One request and its whole answer; `Err` is the kind of error.
///
/// The connection is put back when it can be used again, so that it is gone after an error and when
/// this future is dropped.
async fn request(
    target: &Target,
    open: &mut Option<Connection>,
    ticket: Ticket,
) -> Result<Answer, String> {
    // A server may close a connection between two requests (nginx after 1000): that is no error.
    let mut connection = match open.take() {
        Some(mut connection) => match connection.sender.ready().await {
            Ok(()) => connection,
            Err(_) => Connection::open(target).await?,
        },
        None => Connection::open(target).await?,
    };
    let start = ticket.counts_from.unwrap_or_else(Instant::now);
    let response = connection.sender.send_request(target.request()).await.map_err(kind)?;
    let status = response.status();
    let mut body = response.into_body();
    let mut body_bytes = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(kind)?;
        body_bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
    let latency = start.elapsed();
    *open = Some(connection);
    Ok(Answer { status, body_bytes, latency })
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    _driver: JoinSet<()>,
}

impl Connection {
    async fn open(target: &Target) -> Result<Self, String> {
        let stream = TcpStream::connect(target.address())
            .await
            .map_err(|error| format!("connect: {}", io_kind(&error)))?;
        let _ = stream.set_nodelay(true);
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(kind)?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // The request that it breaks reports the error.
            let _ = connection.await;
        });
        Ok(Self { sender, _driver: driver })
    }
}

/// The kind of an error, without what differs from one time to the next.
fn kind(error: hyper::Error) -> String {
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return io_kind(error);
        }
        cause = error.source();
    }
    error.to_string()
}

fn io_kind(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// Who sends the next request, and when: shared by the connections of one worker.
struct Tickets {
    start: Instant,
    end: Option<Instant>,
    requests: u64,
    taken: AtomicU64,
    pace: Option<crate::Pace>,
}

/// Leave to send one request.
struct Ticket {
    /// Since when the request counts as waiting; `None`: since it is sent.
    counts_from: Option<Instant>,
}

impl Tickets {
    fn new(share: &Share) -> Self {
        let start = Instant::now();
        let end = share.plan.duration.and_then(|duration| start.checked_add(duration));
        let (requests, pace) = (share.requests, share.pace);
        Self { start, end, requests, taken: AtomicU64::new(0), pace }
    }

    /// Waits until the next request is due; `None` when there are no more.
    async fn next(&self) -> Option<Ticket> {
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        if number >= self.requests {
            return None;
        }
        let now = Instant::now();
        let due = self.pace.map(|pace| self.start + pace.due(number));
        if self.end.is_some_and(|end| due.unwrap_or(now) >= end) {
            return None;
        }
        match due {
            // In time: the timer's own lateness is not the server's.
            Some(due) if due > now => {
                tokio::time::sleep_until(due.into()).await;
                Some(Ticket { counts_from: None })
            }
            // All connections were busy when it was due: the wait is part of what a user would have
            // seen. Leaving it out would hide every stall (coordinated omission).
            Some(due) => Some(Ticket { counts_from: Some(due) }),
            None => Some(Ticket { counts_from: None }),
        }
    }
}

fn lock(measured: &Mutex<Measured>) -> std::sync::MutexGuard<'_, Measured> {
    measured.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::{PAGE_BYTES, Site};
    use dp_core::MasterWorker;

    fn loaders(workers: usize) -> MasterWorker<Loader> {
        MasterWorker::<Loader>::in_process(workers, |_info| Loader)
    }

    #[tokio::test]
    async fn every_request_is_sent_once_and_measured() {
        let site = Site::start().await.unwrap();
        let report = loaders(3).attack(&Plan::example(&site.url())).await.unwrap();
        let total = report.total();
        assert_eq!((total.requests(), total.responses(), total.error_count()), (100, 100, 0));
        assert_eq!(total.received_bytes(), 100 * PAGE_BYTES as u64);
        assert!(total.percentile(50.0) <= total.longest());
        assert!(report.complete());
    }

    #[tokio::test]
    async fn an_error_status_is_counted_by_its_kind() {
        let site = Site::start().await.unwrap();
        let plan = Plan::example(&format!("{}nowhere", site.url()));
        let report = loaders(2).attack(&plan).await.unwrap();
        assert_eq!(report.total().errors()["HTTP 404 Not Found"], 100);
        assert_eq!(report.total().responses(), 100);
    }

    #[tokio::test]
    async fn a_refused_connection_is_counted_not_fatal() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", closed.local_addr().unwrap());
        drop(closed);
        let report = loaders(2).attack(&Plan::example(&url)).await.unwrap();
        assert_eq!(report.total().errors()["connect: Connection refused"], 100);
        assert_eq!(report.total().responses(), 0);
        assert!(report.to_string().contains("connect: Connection refused"));
    }

    #[tokio::test]
    async fn a_server_that_never_answers_times_out() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", silent.local_addr().unwrap());
        let timeout = Duration::from_millis(50);
        let plan = Plan { requests: 4, timeout, ..Plan::example(&url) };
        let report = loaders(1).attack(&plan).await.unwrap();
        assert_eq!(report.total().errors()["timed out"], 4);
    }

    #[tokio::test]
    async fn a_connection_that_is_closed_each_time_is_opened_anew() {
        let site = Site::start().await.unwrap();
        let plan = Plan { headers: vec!["Connection: close".into()], ..Plan::example(&site.url()) };
        let report = loaders(2).attack(&plan).await.unwrap();
        assert_eq!((report.total().requests(), report.total().error_count()), (100, 0));
    }

    #[tokio::test]
    async fn a_rate_spreads_the_requests_over_time() {
        let site = Site::start().await.unwrap();
        let plan = Plan { rate_hz: Some(500.0), ..Plan::example(&site.url()) };
        let report = loaders(2).attack(&plan).await.unwrap();
        assert_eq!(report.total().requests(), 100);
        assert!(report.total().elapsed() >= Duration::from_millis(190));
    }

    #[tokio::test]
    async fn a_duration_ends_the_load() {
        let site = Site::start().await.unwrap();
        let duration = Some(Duration::from_millis(100));
        let plan = Plan { duration, ..Plan::example(&site.url()) };
        let report = loaders(2).attack(&plan).await.unwrap();
        assert!(report.total().requests() > 0);
        assert!(report.total().elapsed() < Duration::from_secs(5));
    }
}
