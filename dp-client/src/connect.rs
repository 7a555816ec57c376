//! Reaches the server, however long that takes.

use std::future::pending;
use std::io;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use dp_core::engine::text::PeerText;
#[cfg(feature = "nats")]
use dp_core::net::Carried;
use dp_core::net::Socket;
use dp_core::net::address::{Address, host_and_port};
use dp_core::net::files;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{sleep, timeout};

use crate::builder::Settings;
use crate::client::ClientError;

/// How long an attempt may take when the time for trying is up.
const LAST_ATTEMPT: Duration = Duration::from_millis(200);
/// The pauses between attempts; a random part of the same length is added to each, so that clients
/// that were started together do not come back together.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Pauses start short again once a connection has held for so long.
const STEADY: Duration = Duration::from_secs(10);
/// An address that does not answer is given up for the next one after this long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the server is.
#[derive(Debug)]
pub(crate) enum Target {
    At(Address),
    #[cfg(feature = "nats")]
    Nats(Address, dp_nats::Settings),
}

impl Target {
    pub(crate) fn of(settings: &Settings) -> Result<Self, ClientError> {
        #[cfg(feature = "nats")]
        if let Some(engine) = settings.engine.clone()? {
            let job = engine.job_name().to_owned();
            let address = Address::Engine { engine: engine.engine(), job };
            return Ok(Self::Nats(address, engine.clone()));
        }
        #[cfg(not(feature = "nats"))]
        if settings.engine {
            return Err(ClientError::WithoutNats);
        }
        Ok(Self::At(settings.server.parse()?))
    }

    pub(crate) fn address(&self) -> &Address {
        match self {
            Self::At(address) => address,
            #[cfg(feature = "nats")]
            Self::Nats(address, _) => address,
        }
    }
}

/// A connection to the server.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) stream: Socket,
    /// Where it goes.
    pub(crate) address: String,
    pub(crate) carrier: Carrier,
}

/// What carries a connection, if it is anything of its own.
#[derive(Debug, Default)]
pub(crate) struct Carrier {
    #[cfg(feature = "nats")]
    nats: Option<dp_nats::Connection>,
}

impl Carrier {
    /// Lets what was written last arrive.
    pub(crate) async fn close(self) {
        #[cfg(feature = "nats")]
        if let Some(nats) = self.nats {
            nats.close().await;
        }
    }
}

impl Connected {
    fn to(stream: impl Into<Socket>, address: String) -> Self {
        Self { stream: stream.into(), address, carrier: Carrier::default() }
    }
}

/// A connection to `server`. Tries until it has one.
pub(crate) async fn connect(
    server: &Target,
    attempts: &mut Attempts,
) -> Result<Connected, ClientError> {
    loop {
        // The last attempt needs a moment, too.
        let limit = attempts.remaining().map(|remaining| remaining.max(LAST_ATTEMPT));
        match within(limit, try_once(server)).await {
            Ok(connected) => return Ok(connected),
            Err(error) => match lasting(server, &error) {
                Some(reason) => {
                    let server = server.address().to_string();
                    return Err(ClientError::Untrusted { server, reason: reason.into() });
                }
                None => attempts.failed(error).await?,
            },
        }
    }
}

/// What does not pass, with the remedy.
fn lasting(server: &Target, error: &io::Error) -> Option<String> {
    match server {
        // The system keeps this process from it.
        Target::At(Address::Unix(_)) if error.kind() == io::ErrorKind::PermissionDenied => {
            Some(format!(
                "{error}: its socket is for another user; run both as one user, or allow this one \
                 with --allow-uid of the server"
            ))
        }
        #[cfg(feature = "nats")]
        Target::Nats(..) => {
            let met = error.get_ref()?.downcast_ref::<dp_nats::NatsError>()?;
            met.is_lasting().then(|| met.to_string())
        }
        Target::At(_) => None,
    }
}

async fn try_once(server: &Target) -> io::Result<Connected> {
    match server {
        Target::At(Address::Tcp(whole)) => try_tcp(whole).await,
        #[cfg(unix)]
        Target::At(address @ Address::Unix(path)) => {
            let stream = tokio::net::UnixStream::connect(path).await?;
            Ok(Connected::to(stream, address.to_string()))
        }
        // Nothing is parsed into others.
        Target::At(_) => Err(io::ErrorKind::Unsupported.into()),
        #[cfg(feature = "nats")]
        Target::Nats(address, settings) => {
            let (stream, nats) = dp_nats::connect(settings).await.map_err(io::Error::other)?;
            let stream = Socket::Carried(Carried::new(stream));
            let carrier = Carrier { nats: Some(nats) };
            Ok(Connected { stream, address: address.to_string(), carrier })
        }
    }
}

/// Tries each address that `server` stands for.
async fn try_tcp(server: &str) -> io::Result<Connected> {
    let mut failure = None;
    for address in lookup_host(host_and_port(server)).await? {
        match within(Some(CONNECT_TIMEOUT), TcpStream::connect(address)).await {
            Ok(stream) => return Ok(Connected::to(stream, address.to_string())),
            Err(error) => {
                tracing::debug!("{address}: {error}");
                failure.get_or_insert(error);
            }
        }
    }
    Err(failure
        .unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
}

async fn within<T>(
    limit: Option<Duration>,
    work: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    match limit {
        None => work.await,
        Some(limit) => timeout(limit, work).await.unwrap_or_else(|_| {
            Err(io::Error::new(io::ErrorKind::TimedOut, "it did not answer in time"))
        }),
    }
}

/// The attempts to join, taken together: how long to pause, when to say that it goes on, and when to
/// give up.
#[derive(Debug)]
pub(crate) struct Attempts {
    server: String,
    limit: Option<Duration>,
    begun: Instant,
    pauses: ExponentialBackoff,
    reminders: Reminders,
}

impl Attempts {
    pub(crate) fn new(server: &str, limit: Option<Duration>, now: Instant) -> Self {
        let reminders = Reminders::default();
        Self { server: server.to_owned(), limit, begun: now, pauses: pauses(), reminders }
    }

    /// The server is lost that was joined at `joined`: from now on there is `limit` to come back.
    pub(crate) fn lost(&mut self, limit: Option<Duration>, joined: Instant, now: Instant) {
        let pauses = std::mem::replace(&mut self.pauses, pauses());
        if now.saturating_duration_since(joined) < STEADY {
            // It did not hold: were the pauses to start anew, this client would be back at once, again
            // and again.
            self.pauses = pauses;
        }
        (self.limit, self.begun, self.reminders) = (limit, now, Reminders::default());
    }

    /// How much time is left; `None` for any amount.
    fn remaining(&self) -> Option<Duration> {
        self.limit.map(|limit| limit.saturating_sub(self.begun.elapsed()))
    }

    /// Waits for as long as behind a failure.
    pub(crate) async fn pause(&mut self) {
        if let Some(pause) = self.pauses.next() {
            sleep(pause).await;
        }
    }

    /// Takes note of a failure, and returns when it is time for the next attempt.
    ///
    /// # Errors
    /// [`ClientError::NotReached`] when there is no time for another one.
    pub(crate) async fn failed(&mut self, error: io::Error) -> Result<(), ClientError> {
        let error = files::explained(error);
        if self.reminders.due(self.begun.elapsed()) {
            let met = PeerText::new(error.to_string());
            tracing::info!("cannot reach the server at {}: {met}; still trying", self.server);
        }
        let Some(pause) = self.pauses.next() else { pending().await };
        let remaining = self.remaining();
        if let (Some(limit), Some(Duration::ZERO)) = (self.limit, remaining) {
            let server = self.server.clone();
            return Err(ClientError::NotReached { server, limit, source: error });
        }
        // The last attempt is made when the time is up, not before.
        sleep(pause.min(remaining.unwrap_or(pause))).await;
        Ok(())
    }
}

fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_jitter()
        .without_max_times()
        .build()
}

/// Another client that has this one's id, as the server tells of it.
#[derive(Debug)]
pub(crate) struct Holder {
    /// When the server first told.
    first: Option<Instant>,
}

impl Holder {
    /// What a client that has vanished had sent before may arrive for so long.
    const UNDER_WAY: Duration = Duration::from_millis(500);

    pub(crate) fn new() -> Self {
        Self { first: None }
    }

    /// The server says that it has not heard of it for `silent`. Whether it has heard of it since it
    /// first said so: then it has not vanished.
    pub(crate) fn is_alive(&mut self, silent: Duration, now: Instant) -> bool {
        let first = *self.first.get_or_insert(now);
        now.saturating_duration_since(first) > silent.saturating_add(Self::UNDER_WAY)
    }
}

/// When to say that it goes on: at the first failure, after 10 seconds, and then after twice as long
/// each time, but at least once an hour.
#[derive(Debug, Default)]
struct Reminders {
    next: Duration,
    interval: Duration,
}

impl Reminders {
    const SHORTEST: Duration = Duration::from_secs(10);
    const LONGEST: Duration = Duration::from_secs(3600);

    fn due(&mut self, elapsed: Duration) -> bool {
        if elapsed < self.next {
            return false;
        }
        self.interval = (self.interval * 2).clamp(Self::SHORTEST, Self::LONGEST);
        self.next = elapsed + self.interval;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_that_it_goes_on_at_once_and_then_less_and_less_often() {
        let mut reminders = Reminders::default();
        let said: Vec<u64> =
            (0..1000).filter(|&second| reminders.due(Duration::from_secs(second))).collect();
        assert_eq!(said, [0, 10, 30, 70, 150, 310, 630]);
    }

    #[test]
    fn pauses_grow_to_their_limit_and_never_end() {
        let mut attempts = Attempts::new("lab", None, Instant::now());
        let pauses: Vec<Duration> = attempts.pauses.by_ref().take(100).collect();
        assert!(pauses[0] >= FIRST_PAUSE && pauses[0] <= 2 * FIRST_PAUSE);
        assert!(pauses[99] >= LONGEST_PAUSE && pauses[99] <= 2 * LONGEST_PAUSE);
    }

    #[test]
    fn pauses_start_anew_only_behind_a_connection_that_held() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut attempts = Attempts::new("lab", None, start);
        for flap in 0..20 {
            attempts.lost(None, at(flap), at(flap + 1));
            attempts.pauses.next();
        }
        assert!(attempts.pauses.next() >= Some(LONGEST_PAUSE));
        attempts.lost(None, at(100), at(110));
        assert!(attempts.pauses.next() <= Some(2 * FIRST_PAUSE));
    }

    #[test]
    fn a_client_heard_of_since_has_not_vanished() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let silent = Duration::from_millis;
        let mut holder = Holder::new();
        assert!(!holder.is_alive(silent(100), at(0)));
        assert!(!holder.is_alive(silent(5_100), at(5_000)), "not heard of since");
        assert!(!holder.is_alive(silent(4_700), at(5_000)), "that may have been under way");
        assert!(holder.is_alive(silent(1_000), at(5_000)));
    }

    #[tokio::test]
    async fn it_gives_up_when_the_time_is_up_and_says_what_it_met() {
        // Nobody listens on a port that was just given up.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let limit = Duration::from_millis(200);
        let mut attempts = Attempts::new("lab", Some(limit), Instant::now());
        let error =
            connect(&Target::At(Address::Tcp(free.to_string())), &mut attempts).await.unwrap_err();
        let ClientError::NotReached { source, .. } = error else { panic!("{error}") };
        assert_eq!(source.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn a_server_that_comes_up_later_is_found() {
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let connecting = tokio::spawn(async move {
            let mut attempts = Attempts::new("lab", None, Instant::now());
            connect(&Target::At(Address::Tcp(address.to_string())), &mut attempts)
                .await
                .map(|connected| connected.address)
        });
        sleep(Duration::from_millis(100)).await;
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        listener.accept().await.unwrap();
        assert_eq!(connecting.await.unwrap().unwrap(), address.to_string());
    }
}
