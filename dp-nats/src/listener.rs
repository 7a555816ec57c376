//! The server's side: lets clients of a job join, and hands each what comes from it.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
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
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, coop};
use tokio::time::{Instant, timeout};

use crate::link::{Link, POOL, Pool};
use crate::settings::{again, chain, chunk};
use crate::stream::NatsStream;
use crate::wire::{Answer, Around, HEAD, Id, Request, text};
use crate::{Connection, NatsError, Settings};

/// How long another server of the job may take to say that it is there.
const PROBE: Duration = Duration::from_millis(500);
/// How long the first message of a client that was answered may take.
const FIRST_MESSAGE: Duration = Duration::from_secs(10);
/// So many were answered and have sent nothing yet, at the most, and so many have and wait to be let in.
const MOST_WAITING: usize = 16_384;

/// A server of a job: clients join here.
pub struct Listener {
    settings: Settings,
    client: Client,
    joined: mpsc::Receiver<Joined>,
    _joining: Receiving,
    hub: Arc<Hub>,
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
    answered: Answered,
    /// Of which something has come, by the text in the subject.
    by_text: HashMap<String, Arc<Link>>,
    /// That were let in: no others may be sent a message to all.
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
struct Known {
    hub: Arc<Hub>,
    name: String,
    receiving: Option<Arc<Receiving>>,
}

impl Drop for Known {
    fn drop(&mut self) {
        let mut links = self.hub.links();
        if let Some(link) = links.by_text.remove(&self.name) {
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
        let unreachable = |error: &dyn std::error::Error| NatsError::Unreachable {
            engine: settings.engine(),
            reason: chain(error).into(),
        };
        let from = client.subscribe(settings.subject("from.*"));
        let from = from.await.map_err(|error| unreachable(&error))?;
        let joining = client.subscribe(settings.subject("join"));
        let mut joining = joining.await.map_err(|error| unreachable(&error))?;
        let server = random();
        let held = claim(settings, &client, &mut joining, server).await?;

        let all = Subject::from(settings.subject(&format!("all.{}", text(&server))));
        let hub = Arc::new(Hub::new(&client, all));
        let (waiting, joined) = mpsc::channel(MOST_WAITING);
        let receiving = tokio::spawn(receive(hub.clone(), from, connected, waiting));
        let desk = Desk { client: client.clone(), server, hub: hub.clone() };
        let joining = Receiving(tokio::spawn(desk.serve(joining, held)));
        Ok(Self {
            settings: settings.clone(),
            client,
            joined,
            _joining: joining,
            hub,
            receiving: Arc::new(Receiving(receiving)),
        })
    }

    /// The next client of which something has come. `None` when the connection to the NATS server was
    /// closed for good.
    ///
    /// # Cancel safety
    /// Dropped, it has taken no client.
    pub async fn accept(&mut self) -> Option<(NatsStream, Peer)> {
        let Joined { mut known, link, address } = self.joined.recv().await?;
        known.receiving = Some(self.receiving.clone());
        let number = link.number();
        self.hub.links().by_number.insert(number, link.clone());
        let to = Subject::from(self.settings.subject(&format!("to.{}", known.name)));
        let stream = NatsStream::new(link, to, &self.client, self.hub.around.clone(), known);
        let fan_out = FanLink { fan_out: self.hub.clone(), link: number.into() };
        let peer = Peer::new(if address.is_empty() { "nats".to_owned() } else { address });
        Some((stream, peer.with_fan_out(Some(fan_out))))
    }

    /// The connection to the NATS server, which is to be closed when all is done.
    pub fn connection(&self) -> Connection {
        Connection(self.client.clone())
    }
}

/// Makes the job ours, unless another server has it. Of two that start at once one gets it: whoever draws
/// the smaller id. Returns the clients that have asked to join in the meantime.
async fn claim(
    settings: &Settings,
    client: &Client,
    joining: &mut Subscriber,
    server: Id,
) -> Result<Vec<Message>, NatsError> {
    let (job, engine) = (settings.job_name().to_owned(), settings.engine());
    let subject = settings.subject("join");
    let mut held = Vec::new();
    let probe = Request::Probe { server }.message();
    // Those that start at the same time have subscribed before they ask, too: one of two hears the other.
    let mut probing = pin!(timeout(PROBE, client.request(subject.clone(), probe)));
    loop {
        let message = tokio::select! {
            answer = &mut probing => match answer {
                Ok(Ok(_)) => return Err(NatsError::JobTaken { job, engine }),
                // We have subscribed ourselves.
                Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
                    let reason = format!("it does not let us subscribe to {subject}").into();
                    return Err(NatsError::Refused { engine, reason });
                }
                Ok(Err(error)) => {
                    return Err(NatsError::Unreachable { engine, reason: chain(&error).into() });
                }
                // Whoever had it is gone, or does not answer.
                Err(_) => return Ok(held),
            },
            message = joining.next() => message,
        };
        let Some(message) = message else {
            let reason = "the connection was closed".into();
            return Err(NatsError::Unreachable { engine, reason });
        };
        match (Request::parse(&message.payload), &message.reply) {
            (Some(Request::Probe { server: other }), _) if other == server => {}
            (Some(Request::Probe { server: other }), _) if other < server => {
                return Err(NatsError::JobTaken { job, engine });
            }
            (Some(Request::Probe { .. }), Some(reply)) => answer(client, reply.clone(), &[]),
            _ if held.len() < MOST_WAITING => held.push(message),
            _ => {}
        }
    }
}

/// Answers where there is room; whoever gets no answer asks again.
fn answer(client: &Client, reply: Subject, message: &[u8]) {
    let (client, message) = (client.clone(), message.to_vec());
    tokio::spawn(async move { client.publish(reply, message.into()).await });
}

/// Answers those that ask to join, at once: how many may shake hands is no matter of those of which
/// nothing has come yet, as they may be gone.
struct Desk {
    client: Client,
    server: Id,
    hub: Arc<Hub>,
}

impl Desk {
    async fn serve(self, mut joining: Subscriber, held: Vec<Message>) {
        let pool = Arc::new(Pool::new(POOL));
        let mut garbage = 0_u64;
        let mut held = held.into_iter();
        loop {
            let message = match held.next() {
                Some(message) => Some(message),
                None => joining.next().await,
            };
            let Some(message) = message else { return };
            let handle = AssertUnwindSafe(|| self.handle(message, &pool, &mut garbage));
            if catch_unwind(handle).is_err() {
                tracing::error!("a request to join caused a panic, which is a bug in dp");
            }
        }
    }

    fn handle(&self, message: Message, pool: &Arc<Pool>, garbage: &mut u64) {
        {
            let Message { subject, reply, payload, .. } = message;
            match (Request::parse(&payload), reply) {
                (Some(Request::Probe { .. }), Some(reply)) => answer(&self.client, reply, &[]),
                (Some(Request::Join { address, limit }), Some(reply)) => {
                    let answered = self.join(address, limit, pool);
                    answer(&self.client, reply, &answered);
                }
                _ if *garbage == 0 => {
                    *garbage += 1;
                    tracing::warn!(
                        "a message on {subject} is none of a dp program's; more of them are logged at \
                         debug"
                    );
                }
                _ => {
                    *garbage = garbage.saturating_add(1);
                    tracing::debug!("a message on {subject} is none of a dp program's: {garbage}");
                }
            }
        }
    }

    /// Makes a link, and the answer that tells of it.
    fn join(&self, address: String, limit: u64, pool: &Arc<Pool>) -> Bytes {
        let id = random();
        let chunk = chunk(&self.client) - HEAD;
        let mut links = self.hub.links();
        // Never used again: 4 billion clients are more than any server sees.
        links.last = links.last.wrapping_add(1);
        let number = links.last;
        let link = Arc::new(Link::server(number, limit, chunk, pool.clone()));
        links.answered.insert(text(&id), link, address, Instant::now());
        drop(links);
        Answer { server: self.server, link: id, number, limit: Link::SERVER_LIMIT }.message()
    }
}

/// The links of clients that were answered and of which nothing has come yet. Most that stay were of no
/// use to anybody: the client had given up, and has asked anew.
#[derive(Default)]
struct Answered {
    by_text: HashMap<String, (Arc<Link>, String)>,
    /// The oldest first; some are gone.
    order: VecDeque<(Instant, String)>,
}

impl Answered {
    fn insert(&mut self, name: String, link: Arc<Link>, address: String, now: Instant) {
        while let Some((since, oldest)) = self.order.front()
            && (self.order.len() >= MOST_WAITING
                || now.saturating_duration_since(*since) > FIRST_MESSAGE
                || !self.by_text.contains_key(oldest))
        {
            self.by_text.remove(oldest);
            self.order.pop_front();
        }
        self.by_text.insert(name.clone(), (link, address));
        self.order.push_back((now, name));
    }

    fn remove(&mut self, name: &str) -> Option<(Arc<Link>, String)> {
        self.by_text.remove(name)
    }
}

/// A client of which something has come.
struct Joined {
    known: Known,
    link: Arc<Link>,
    address: String,
}

impl Hub {
    /// The link that a message is for. The first one of a link hands it to whoever accepts.
    fn link_of(self: &Arc<Self>, name: &str, waiting: &mpsc::Sender<Joined>) -> Option<Arc<Link>> {
        let mut links = self.links();
        if let Some(link) = links.by_text.get(name) {
            return Some(link.clone());
        }
        let (link, address) = links.answered.remove(name)?;
        let place = waiting.try_reserve();
        let place = place.inspect_err(|error| {
            tracing::debug!("the client at {address} has to ask again: {error}");
        });
        let place = place.ok()?;
        links.by_text.insert(name.to_owned(), link.clone());
        drop(links);
        let known = Known { hub: self.clone(), name: name.to_owned(), receiving: None };
        place.send(Joined { known, link: link.clone(), address });
        Some(link)
    }
}

/// Hands what comes to the link that it is for.
async fn receive(
    hub: Arc<Hub>,
    mut from: Subscriber,
    mut connected: watch::Receiver<u32>,
    waiting: mpsc::Sender<Joined>,
) {
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
        // That of a client that this server has given up: it will hear nothing more, and notice.
        if let Some(link) = hub.link_of(name, &waiting) {
            let deliver = AssertUnwindSafe(|| link.deliver(message.payload));
            if catch_unwind(deliver).is_err() {
                // Of this link alone: the others go on.
                tracing::error!("a message over NATS caused a panic, which is a bug in dp");
                link.fail("a bug in dp");
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_that_are_gone_before_their_first_message_make_room() {
        let pool = Arc::new(Pool::new(POOL));
        let (mut answered, now) = (Answered::default(), Instant::now());
        let join = |answered: &mut Answered, name: usize, after: Duration| {
            let link = Arc::new(Link::server(0, 0, 1, pool.clone()));
            answered.insert(name.to_string(), link, String::new(), now + after);
        };
        for name in 0..MOST_WAITING + 5 {
            join(&mut answered, name, Duration::ZERO);
        }
        assert_eq!((answered.by_text.len(), answered.order.len()), (MOST_WAITING, MOST_WAITING));
        assert!(answered.remove("4").is_none());
        assert!(answered.remove("5").is_some());
        join(&mut answered, 0, FIRST_MESSAGE);
        assert_eq!(answered.by_text.len(), MOST_WAITING);
        join(&mut answered, 1, 2 * FIRST_MESSAGE);
        assert_eq!((answered.by_text.len(), answered.order.len()), (2, 2));
    }
}
