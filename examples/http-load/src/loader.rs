//! The worker: sends requests over keep-alive connections, and measures them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use dp_core::{Context, Metric, Outcome, distributed_worker};
use http_body_util::{BodyExt, Full};
use hyper::StatusCode;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::report::SHOWN_WORKERS;
use crate::{Feed, Measured, Plan, Report, Share, Target};

/// The metric of the latencies.
const LATENCY: &str = "latency";
/// How long workers may take to give their latencies once the load is over.
const GATHER: Duration = Duration::from_secs(30);
/// How many URLs a worker asks for at a time: so many that asking takes no time worth mentioning.
const URLS_AT_A_TIME: u64 = 2_000;

/// Loads an HTTP server from the machine that it lives on.
#[derive(Debug, Default)]
pub struct Loader;

#[distributed_worker(server = Feed)]
impl Loader {
    /// Sends this worker's share of the requests, and says what it counted; the latencies are recorded.
    #[remote]
    pub async fn load(&self, ctx: &Context<Self>, share: &Share) -> anyhow::Result<Measured> {
        let measured = load(ctx, share).await?;
        ctx.result(format!(
            "{} requests, {} errors in {:.3} s",
            measured.requests(),
            measured.error_count(),
            measured.elapsed().as_secs_f64()
        ));
        Ok(measured)
    }

    /// Hands out the next so many URLs.
    #[on_server]
    fn next_urls(feed: &Feed, count: u64) -> Vec<String> {
        feed.next(count.min(URLS_AT_A_TIME))
    }

    /// Carries out the whole plan: a share for each worker, and what they measured put together.
    #[schedule]
    pub async fn attack(&self, plan: &Plan) -> anyhow::Result<Report> {
        anyhow::ensure!(!self.is_empty(), "there are no workers");
        // Nothing of an earlier load. Who cannot be told cannot take part either, and says so below.
        let _ = self.reset_results().await;
        let workers = self.len();
        let shares = self.each(|worker| worker.load(&plan.share(worker.info().index(), workers)));
        // A worker that is lost in the middle costs its own share, not the report.
        let mut report = Report::new(format!("{} {}", plan.method, self.server()));
        let outcomes = shares.outcomes().await;
        let done = self.select(|info| outcomes[info.id()].result.is_ok());
        for Outcome { worker, result, .. } in outcomes {
            let latency = match workers <= SHOWN_WORKERS {
                true => self.select(|info| info.id() == worker.id()).latency().await,
                false => None,
            };
            report.add(worker.id().to_string(), result.map(|measured| (measured, latency)));
        }
        Ok(report.merged(done.latency().await))
    }

    /// The latencies of all these workers, but for those that are lost.
    #[schedule]
    async fn latency(&self) -> Option<Metric> {
        let (metrics, _lost) = self.gather_metrics(GATHER).await;
        metrics.into_iter().find(|metric| metric.name() == LATENCY)
    }
}

async fn load(ctx: &Context<Loader>, share: &Share) -> anyhow::Result<Measured> {
    let load = Arc::new(Load {
        ctx: ctx.clone(),
        plan: share.plan.clone(),
        tickets: Tickets::new(share),
        urls: tokio::sync::Mutex::default(),
        measured: Mutex::default(),
    });
    // Dropped with this call: a call that is cancelled stops sending.
    let mut connections = JoinSet::new();
    for _ in 0..share.connections {
        connections.spawn(send(load.clone()));
    }
    while let Some(ended) = connections.join_next().await {
        ended.context("a connection's task failed")??;
    }
    let mut measured = std::mem::take(&mut *lock(&load.measured));
    measured.took(load.tickets.start.elapsed());
    Ok(measured)
}

/// What the connections of one worker share.
struct Load {
    ctx: Context<Loader>,
    plan: Plan,
    tickets: Tickets,
    /// URLs that the server has handed out and that no request has gone to yet.
    urls: tokio::sync::Mutex<Urls>,
    measured: Mutex<Measured>,
}

#[derive(Default)]
struct Urls {
    left: VecDeque<String>,
    asked_for: u64,
}

impl Load {
    /// What the next request goes to, and when it may; `None` when there are no more.
    async fn next(&self) -> anyhow::Result<Option<(Ticket, Target)>> {
        let Some(number) = self.tickets.take() else { return Ok(None) };
        // Before the wait for its time, so that asking for URLs makes no request late.
        let url = self.next_url().await?;
        let target = Target::new(&url, &self.plan)?;
        Ok(Some((self.tickets.due(number).await, target)))
    }

    async fn next_url(&self) -> anyhow::Result<String> {
        let mut urls = self.urls.lock().await;
        if urls.left.is_empty() {
            // No more than there are requests for: each URL has its share of them.
            let count = self.tickets.requests.saturating_sub(urls.asked_for).min(URLS_AT_A_TIME);
            urls.left.extend(self.ctx.server().next_urls(count).await?);
            urls.asked_for += count;
        }
        urls.left.pop_front().context("the server has no URLs")
    }
}

/// Sends one request after another over one connection, which is opened anew when it is closed.
async fn send(load: Arc<Load>) -> anyhow::Result<()> {
    let mut open = None;
    while let Some((ticket, target)) = load.next().await? {
        let request = request(&target, &mut open, ticket);
        let answer = tokio::time::timeout(load.plan.timeout, request).await;
        let mut measured = lock(&load.measured);
        match answer {
            Ok(Ok(answer)) => {
                load.ctx.record(LATENCY, answer.latency);
                measured.response(answer.body_bytes);
                if !answer.status.is_success() {
                    measured.error(&format!("HTTP {}", answer.status));
                }
            }
            Ok(Err(kind)) => measured.failure(&kind),
            Err(_) => measured.failure("timed out"),
        }
    }
    Ok(())
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
    let kept = match open.take().filter(|connection| connection.leads_to(target)) {
        Some(mut connection) => connection.sender.ready().await.is_ok().then_some(connection),
        None => None,
    };
    let mut connection = match kept {
        Some(connection) => connection,
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
    host: String,
    port: u16,
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
        let (host, port) = target.address();
        Ok(Self { host: host.to_owned(), port, sender, _driver: driver })
    }

    fn leads_to(&self, target: &Target) -> bool {
        target.address() == (self.host.as_str(), self.port)
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

    /// The number of a request that is to be sent; `None` when there are no more.
    fn take(&self) -> Option<u64> {
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        (number < self.requests && self.in_time(number)).then_some(number)
    }

    fn in_time(&self, number: u64) -> bool {
        let due = self.due_at(number).unwrap_or_else(Instant::now);
        self.end.is_none_or(|end| due < end)
    }

    fn due_at(&self, number: u64) -> Option<Instant> {
        self.pace.map(|pace| self.start + pace.due(number))
    }

    /// Waits until a request is due.
    async fn due(&self, number: u64) -> Ticket {
        let now = Instant::now();
        match self.due_at(number) {
            // In time: the timer's own lateness is not the server's.
            Some(due) if due > now => {
                tokio::time::sleep_until(due.into()).await;
                Ticket { counts_from: None }
            }
            // All connections were busy when it was due: the wait is part of what a user would have
            // seen. Leaving it out would hide every stall (coordinated omission).
            Some(due) => Ticket { counts_from: Some(due) },
            None => Ticket { counts_from: None },
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

    fn loaders(workers: usize, url: impl Into<String>) -> MasterWorker<Loader> {
        MasterWorker::<Loader>::in_process_with(Feed::of(url), workers, |_info| Loader)
    }

    #[tokio::test]
    async fn every_request_is_sent_once_and_measured() {
        let site = Site::start().await.unwrap();
        let report = loaders(3, site.url()).attack(&Plan::example()).await.unwrap();
        let total = report.total();
        assert_eq!((total.requests(), total.responses(), total.error_count()), (100, 100, 0));
        assert_eq!(total.received_bytes(), 100 * PAGE_BYTES as u64);
        let latency = report.latency().unwrap();
        assert_eq!(latency.count(), 100);
        assert!(latency.percentile(50.0) <= latency.max() && latency.rate() > 0.0);
        assert!(report.complete());
    }

    #[tokio::test]
    async fn the_urls_of_a_list_are_loaded_alike() {
        let (one, other) = (Site::start().await.unwrap(), Site::start().await.unwrap());
        let list = format!("{0}\n{1}\n{0}nowhere\n{1}\n", one.url(), other.url());
        let feed = Feed::parse(&list, "list").unwrap();
        let master = MasterWorker::<Loader>::in_process_with(feed, 3, |_info| Loader);
        for _again in 0..2 {
            let report = master.attack(&Plan::example()).await.unwrap();
            let total = report.total();
            assert_eq!((total.responses(), total.error_count()), (100, 25));
            assert_eq!(report.latency().unwrap().count(), 100);
            assert!(report.to_string().starts_with("GET 4 URLs of list\n"));
        }
    }

    #[tokio::test]
    async fn an_error_status_is_counted_by_its_kind() {
        let site = Site::start().await.unwrap();
        let url = format!("{}nowhere", site.url());
        let report = loaders(2, url).attack(&Plan::example()).await.unwrap();
        assert_eq!(report.total().errors()["HTTP 404 Not Found"], 100);
        assert_eq!(report.total().responses(), 100);
    }

    #[tokio::test]
    async fn a_refused_connection_is_counted_not_fatal() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", closed.local_addr().unwrap());
        drop(closed);
        let report = loaders(2, &url).attack(&Plan::example()).await.unwrap();
        assert_eq!(report.total().errors()["connect: Connection refused"], 100);
        assert_eq!(report.total().responses(), 0);
        assert!(report.to_string().contains("connect: Connection refused"));
    }

    #[tokio::test]
    async fn a_server_that_never_answers_times_out() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", silent.local_addr().unwrap());
        let timeout = Duration::from_millis(50);
        let plan = Plan { requests: 4, timeout, ..Plan::example() };
        let report = loaders(1, &url).attack(&plan).await.unwrap();
        assert_eq!(report.total().errors()["timed out"], 4);
    }

    #[tokio::test]
    async fn a_connection_that_is_closed_each_time_is_opened_anew() {
        let site = Site::start().await.unwrap();
        let plan = Plan { headers: vec!["Connection: close".into()], ..Plan::example() };
        let report = loaders(2, site.url()).attack(&plan).await.unwrap();
        assert_eq!((report.total().requests(), report.total().error_count()), (100, 0));
    }

    #[tokio::test]
    async fn a_rate_spreads_the_requests_over_time() {
        let site = Site::start().await.unwrap();
        let plan = Plan { rate_hz: Some(500.0), ..Plan::example() };
        let report = loaders(2, site.url()).attack(&plan).await.unwrap();
        assert_eq!(report.total().requests(), 100);
        assert!(report.total().elapsed() >= Duration::from_millis(190));
    }

    #[tokio::test]
    async fn a_duration_ends_the_load() {
        let site = Site::start().await.unwrap();
        let duration = Some(Duration::from_millis(100));
        let plan = Plan { duration, ..Plan::example() };
        let report = loaders(2, site.url()).attack(&plan).await.unwrap();
        assert!(report.total().requests() > 0);
        assert!(report.total().elapsed() < Duration::from_secs(5));
    }
}
