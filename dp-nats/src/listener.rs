//! The server's side: lets clients of a job join, and hands each what comes from it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::future::poll_fn;
use std::hash::{BuildHasher, RandomState};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_nats::message::OutboundMessage;
use async_nats::{Client, Message, RequestErrorKind, Subject, Subscriber};
use bytes::Bytes;
use dp_core::engine::{FanLink, FanOut, Peer};
use futures_util::{Sink, StreamExt};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::watch;
use tokio::task::{JoinHandle, coop};
use tokio::time::timeout;

use crate::link::{Link, POOL, Pool};
use crate::settings::{again, chain, chunk};
use crate::stream::NatsStream;
use crate::wire::{Answer, Around, HEAD, Id, Request, text};
use crate::{Connection, NatsError, Settings};

/// How long another server of the job may take to say that it is there.
const PROBE: Duration = Duration::from_millis(500);

/// A server of a job: clients join here.
pub struct Listener {
    settings: Settings,
    client: Client,
    joining: Subscriber,
    server: Id,
    hub: Arc<Hub>,
    pool: Arc<Pool>,
    receiving: Arc<Receiving>,
}

/// The links that there are, and the way to all of them.
struct Hub {
    links: Mutex<Links>,
    /// How many messages to all were sent.
    around: Arc<AtomicU64>,
    /// Whoever has it locked sends the next one.
    sender: Mutex<Client>,
    to: Subject,
    /// The longest message to all, without what stands before it.
    longest: usize,
}

#[derive(Default)]
struct Links {
    /// By the text in the subject.
    by_text: HashMap<String, Arc<Link>>,
    by_number: BTreeMap<u32, Arc<Link>>,
    last: u32,
}

/// A message to all is not for so many at the most: they are named in it, and it goes to them, too.
const MOST_EXCEPT: usize = 128;

impl Hub {
    fn new(client: &Client, to: Subject) -> Self {
        let longest = (chunk(client) - HEAD).saturating_sub(4 * MOST_EXCEPT);
        let (links, around, sender) =
            (Mutex::default(), Arc::default(), Mutex::new(client.clone()));
        Self { links, around, sender, to, longest }
    }

    fn links(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether there is room for one message here and now.
fn is_ready(sender: &mut Client) -> bool {
    // The budget of the caller's task is for its own work.
    let ready = coop::unconstrained(poll_fn(|cx| Pin::new(&mut *sender).poll_ready(cx)));
    let mut cx = Context::from_waker(Waker::noop());
    matches!(pin!(ready).poll(&mut cx), Poll::Ready(Ok(())))
}

impl FanOut for Hub {
    fn send(&self, frame: &[Bytes], links: &[u64]) -> Vec<u64> {
        let length = frame.iter().map(Bytes::len).sum();
        let wanted: HashSet<u64> = links.iter().copied().collect();
        let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.links();
        let can = |(number, link): &(&u32, &Arc<Link>)| {
            wanted.contains(&u64::from(**number)) && link.is_caught_up(length)
        };
        let able = known.by_number.iter().filter(can).count();
        let others = known.by_number.len() - able;
        let worth_it = length <= self.longest && able > others && others <= MOST_EXCEPT;
        if !worth_it || !is_ready(&mut sender) {
            return Vec::new();
        }
        let number = self.around.load(Ordering::Relaxed) + 1;
        let (mut joined, mut except) = (HashSet::new(), Vec::new());
        for (link_number, link) in &known.by_number {
            let wanted = wanted.contains(&u64::from(*link_number));
            match wanted && link.joins_around(number, length) {
                true => _ = joined.insert(u64::from(*link_number)),
                false => except.push(*link_number),
            }
        }
        // Known before it is sent: who joins from now on, and is told, waits for it.
        self.around.store(number, Ordering::Release);
        let payload = Around::message(number, &except, frame);
        let subject = self.to.clone();
        let message = OutboundMessage { subject, reply: None, payload, headers: None };
        if Pin::new(&mut *sender).start_send(message).is_err() {
            // The connection to the NATS server was closed for good, and so are all links.
            tracing::error!("cannot send to the NATS server any more");
        }
        links.iter().filter(|link| joined.contains(link)).copied().collect()
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("to", &self.to).finish_non_exhaustive()
    }
}

/// What comes is handed out until the listener and all its links are gone.
struct Receiving(JoinHandle<()>);

impl Drop for Receiving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A link that is known, until this is dropped.
struct Known(Arc<Hub>, String, #[allow(dead_code)] Arc<Receiving>);

impl Drop for Known {
    fn drop(&mut self) {
        let mut links = self.0.links();
        if let Some(link) = links.by_text.remove(&self.1) {
            links.by_number.remove(&link.number());
        }
    }
}

impl Listener {
    /// Takes the job. Belongs on [`engine::io`].
    ///
    /// # Errors
    /// [`NatsError`]: the NATS server cannot be reached or does not let us in, or the job has a server.
    ///
    /// [`engine::io`]: dp_core::engine::io
    pub async fn open(settings: &Settings) -> Result<Self, NatsError> {
        let (client, connected) = settings.connect("server").await?;
        let engine = settings.engine();
        let join = settings.subject("join");
        let probe = client.request(join.clone(), Request::Probe.message());
        match timeout(PROBE, probe).await {
            Ok(Ok(_)) => {
                let job = settings.job_name().to_owned();
                return Err(NatsError::JobTaken { job, engine });
            }
            Ok(Err(error)) if error.kind() != RequestErrorKind::NoResponders => {
                return Err(NatsError::Unreachable { engine, reason: chain(&error) });
            }
            // Whoever had it is gone, or does not answer.
            Ok(Err(_)) | Err(_) => {}
        }
        let unreachable = |error: &dyn std::error::Error| NatsError::Unreachable {
            engine: settings.engine(),
            reason: chain(error),
        };
        let from = client.subscribe(settings.subject("from.*"));
        let from = from.await.map_err(|error| unreachable(&error))?;
        let joining = client.subscribe(join).await.map_err(|error| unreachable(&error))?;
        // Who is told that this server is there finds it.
        client.flush().await.map_err(|error| unreachable(&error))?;
        let server = random();
        let all = Subject::from(settings.subject(&format!("all.{}", text(&server))));
        let hub = Arc::new(Hub::new(&client, all));
        Ok(Self {
            settings: settings.clone(),
            client,
            joining,
            server,
            receiving: Arc::new(Receiving(tokio::spawn(receive(hub.clone(), from, connected)))),
            hub,
            pool: Arc::new(Pool::new(POOL)),
        })
    }

    /// The next client that joins. `None` when the connection to the NATS server was closed for good.
    ///
    /// # Cancel safety
    /// Dropped, it has taken no client.
    pub async fn accept(&mut self) -> Option<(NatsStream, Peer)> {
        loop {
            let Message { reply, payload, .. } = self.joining.next().await?;
            let (Some(reply), Some(request)) = (reply, Request::parse(&payload)) else {
                tracing::warn!("a message on {} is none of a dp client's", self.joining_subject());
                continue;
            };
            match request {
                Request::Probe => self.answer(reply, &[]),
                Request::Join { address, limit } => return Some(self.join(reply, &address, limit)),
            }
        }
    }

    fn joining_subject(&self) -> String {
        self.settings.subject("join")
    }

    fn join(&self, reply: Subject, address: &str, limit: u64) -> (NatsStream, Peer) {
        let id = random();
        let name = text(&id);
        let (link, known) = {
            let mut links = self.hub.links();
            // Never used again: 4 billion clients are more than any server sees.
            links.last = links.last.wrapping_add(1);
            let chunk = chunk(&self.client) - HEAD;
            let link = Arc::new(Link::server(links.last, limit, chunk, self.pool.clone()));
            links.by_text.insert(name.clone(), link.clone());
            links.by_number.insert(link.number(), link.clone());
            (link, Known(self.hub.clone(), name.clone(), self.receiving.clone()))
        };
        let number = link.number();
        let answer = Answer { server: self.server, link: id, number, limit: Link::SERVER_LIMIT };
        self.answer(reply, &answer.message());
        let to = Subject::from(self.settings.subject(&format!("to.{name}")));
        let stream = NatsStream::new(link, to, &self.client, self.hub.around.clone(), known);
        let fan_out = FanLink { fan_out: self.hub.clone(), link: number.into() };
        let peer = Peer::new(if address.is_empty() { "nats" } else { address });
        let peer = peer.with_fan_out(Some(fan_out));
        (stream, peer)
    }

    /// Answers where there is room; whoever gets no answer asks again.
    fn answer(&self, reply: Subject, message: &[u8]) {
        let (client, message) = (self.client.clone(), message.to_vec());
        tokio::spawn(async move { client.publish(reply, message.into()).await });
    }

    /// The connection to the NATS server, which is to be closed when all is done.
    pub fn connection(&self) -> Connection {
        Connection(self.client.clone())
    }
}

/// Hands what comes to the link that it is for.
async fn receive(hub: Arc<Hub>, mut from: Subscriber, mut connected: watch::Receiver<u32>) {
    loop {
        let message = tokio::select! {
            message = from.next() => message,
            // It was away for a while.
            Ok(()) = connected.changed() => {
                if again(&mut connected) {
                    hub.links().by_text.values().for_each(|link| link.check());
                }
                continue;
            }
        };
        let Some(message) = message else { break };
        let name = message.subject.rsplit('.').next().unwrap_or_default();
        let link = hub.links().by_text.get(name).cloned();
        // That of a client that this server has given up: it will hear nothing more, and notice.
        if let Some(link) = link {
            link.deliver(message.payload);
        }
    }
    let links = std::mem::take(&mut *hub.links()).by_text;
    links.values().for_each(|link| link.fail("the connection to the NATS server was closed"));
}

/// Nobody can guess it.
fn random() -> Id {
    let mut id = Id::default();
    if SystemRandom::new().fill(&mut id).is_err() {
        // A system without random numbers: then at least no two are the same.
        let hash = RandomState::new().hash_one(std::time::Instant::now());
        id[..8].copy_from_slice(&hash.to_le_bytes());
    }
    id
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("settings", &self.settings).finish_non_exhaustive()
    }
}
