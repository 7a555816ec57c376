use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use tokio::io::ReadBuf;

use super::*;

/// Both sides of a link, and what is under way between them: to one alone, and to all.
struct Pair {
    server: Link,
    client: Link,
    to_server: VecDeque<Bytes>,
    to_client: VecDeque<Bytes>,
    to_all: VecDeque<Bytes>,
    around: u64,
    pool: Arc<Pool>,
}

fn message(head: Head, bytes: &[u8]) -> Bytes {
    let mut message = BytesMut::new();
    head.put(&mut message);
    message.extend_from_slice(bytes);
    message.freeze()
}

fn read(link: &Link, most: usize) -> Result<Vec<u8>, String> {
    let mut memory = vec![0; most];
    let mut buffer = ReadBuf::new(&mut memory);
    match link.poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer) {
        Poll::Ready(Err(error)) => Err(error.to_string()),
        _ => Ok(buffer.filled().to_vec()),
    }
}

impl Pair {
    fn new() -> Self {
        let pool = Arc::new(Pool::new(POOL));
        let server = Link::server(7, Link::CLIENT_LIMIT, 1 << 16, pool.clone());
        let client = Link::client(7, Link::SERVER_LIMIT, 1 << 16);
        let (to_server, to_client, to_all) = Default::default();
        Self { server, client, to_server, to_client, to_all, around: 0, pool }
    }

    /// How many of the bytes one side could send.
    fn write(&mut self, from_server: bool, bytes: &[u8]) -> usize {
        let link = if from_server { &self.server } else { &self.client };
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(Ok(room)) = link.poll_room(&mut cx, bytes.len()) else {
            self.tell(from_server);
            return 0;
        };
        let head = link.bytes_head(room, bytes.len() - room, self.around * u64::from(from_server));
        let message = message(head, &bytes[..room]);
        match from_server {
            true => self.to_client.push_back(message),
            false => self.to_server.push_back(message),
        }
        room
    }

    fn write_around(&mut self, bytes: &[u8]) -> bool {
        self.around += 1;
        let joins = self.server.joins_around(self.around, bytes.len());
        let except: &[u32] = if joins { &[3] } else { &[3, 7] };
        let message = Around::message(self.around, except, &[Bytes::copy_from_slice(bytes)]);
        self.to_all.push_back(message);
        joins
    }

    /// Tells what is owed.
    fn tell(&mut self, from_server: bool) {
        let link = if from_server { &self.server } else { &self.client };
        if link.owed() != Owed::Nothing {
            let message = message(link.credit_head(), &[]);
            match from_server {
                true => self.to_client.push_back(message),
                false => self.to_server.push_back(message),
            }
        }
    }

    /// Takes one message off its way: to the server, to the client, or to all.
    fn deliver(&mut self, way: u8) {
        match way % 3 {
            0 => self.to_server.pop_front().into_iter().for_each(|it| self.server.deliver(it)),
            1 => self.to_client.pop_front().into_iter().for_each(|it| self.client.deliver(it)),
            _ => self.to_all.pop_front().into_iter().for_each(|it| self.client.deliver_around(it)),
        }
    }

    fn deliver_all(&mut self) {
        while !(self.to_server.is_empty() && self.to_client.is_empty() && self.to_all.is_empty()) {
            (0..3).for_each(|way| self.deliver(way));
        }
    }
}

#[test]
fn what_was_lost_ends_the_link_and_is_named() {
    let mut pair = Pair::new();
    for text in ["one", "two", "three", "four"] {
        pair.write(false, text.as_bytes());
    }
    pair.deliver(0);
    pair.to_server.drain(..2);
    pair.deliver(0);
    // What came before it is still there.
    assert_eq!(read(&pair.server, 100).unwrap(), b"one");
    let error = read(&pair.server, 100).unwrap_err();
    assert_eq!(error, "2 messages were lost on the way: NATS delivers at most once");
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(pair.server.poll_room(&mut cx, 1), Poll::Ready(Err(_))));
}

#[test]
fn what_was_lost_last_is_noticed_when_that_is_asked_for() {
    let mut pair = Pair::new();
    pair.write(true, b"welcome");
    pair.to_client.clear();
    pair.client.check();
    pair.tell(false);
    pair.deliver_all();
    assert_eq!(pair.server.owed(), Owed::Now);
    pair.tell(true);
    pair.deliver_all();
    assert!(read(&pair.client, 1).unwrap_err().starts_with("1 message was lost"));
}

#[test]
fn a_lost_message_to_all_ends_the_link_whomever_it_was_for() {
    let mut pair = Pair::new();
    pair.write(true, b"welcome");
    pair.deliver_all();
    assert!(!pair.write_around(b"not for this one, which has not said yet that it is there"));
    pair.to_all.clear();
    pair.write_around(b"next");
    pair.deliver_all();
    assert_eq!(read(&pair.client, 100).unwrap(), b"welcome");
    assert!(read(&pair.client, 100).unwrap_err().starts_with("1 message was lost"));
}

#[test]
fn a_message_that_came_twice_or_is_garbage_ends_the_link() {
    let mut pair = Pair::new();
    pair.write(false, b"once");
    let again = pair.to_server[0].clone();
    pair.deliver_all();
    pair.server.deliver(again);
    assert_eq!(read(&pair.server, 100).unwrap(), b"once");
    assert!(read(&pair.server, 100).unwrap_err().contains("came twice"));
    pair.client.deliver(Bytes::from_static(b"GET / HTTP/1.1"));
    assert!(read(&pair.client, 100).unwrap_err().contains("none of dp's"));
}

#[test]
fn nobody_sends_more_than_the_other_has_permitted() {
    let mut pair = Pair::new();
    let block = vec![1; 1 << 20];
    let mut sent = 0;
    while let room @ 1.. = pair.write(false, &block) {
        sent += room;
    }
    assert!(sent as u64 <= Link::SERVER_LIMIT);
    // The server permits more only to who has more, and once it reads.
    pair.deliver_all();
    assert_eq!(pair.write(false, &block), 0);
    assert_eq!(read(&pair.server, 1 << 20).unwrap().len(), sent);
    pair.tell(true);
    pair.deliver_all();
    let room: usize =
        std::iter::from_fn(|| Some(pair.write(false, &block)).filter(|n| *n > 0)).sum();
    assert!(room > sent, "{room}");

    let cheat = Head { kind: Kind::Bytes, waiting: 0, number: 1, received: 0, limit: 0, around: 0 };
    let pair = Pair::new();
    pair.server.deliver(message(cheat, &vec![0; 1 << 20]));
    assert!(read(&pair.server, 1).unwrap_err().contains("more than it may"));
}

#[test]
fn what_links_have_of_the_pool_comes_back() {
    let mut pair = Pair::new();
    let block = vec![1; 1 << 20];
    for _ in 0..50 {
        while pair.write(false, &block) > 0 {}
        pair.deliver_all();
        read(&pair.server, 8 << 20).unwrap();
        pair.tell(true);
        pair.deliver_all();
    }
    assert!(pair.pool.0.load(Ordering::Relaxed) < POOL);
    let pool = pair.pool.clone();
    drop(pair);
    assert_eq!(pool.0.load(Ordering::Relaxed), POOL);
}

/// Numbers at the edges, and others.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..4_u64, Just(u64::MAX), Just(u64::MAX - 1), any::<u64>()]
}

proptest! {
    /// Whatever somebody sends who is no dp: a link may end, and nothing else happens.
    #[test]
    fn no_message_makes_it_panic(
        messages in prop::collection::vec(
            (0..5_u32, any::<u32>(), [(); 4].map(|()| number()), 0..9_usize), 1..20
        ),
    ) {
        let mut pair = Pair::new();
        for (kind, waiting, [number, received, limit, around], length) in messages {
            let bytes = vec![7; length];
            let mut message = BytesMut::new();
            message.extend_from_slice(&kind.to_le_bytes());
            message.extend_from_slice(&waiting.to_le_bytes());
            for field in [number, received, limit, around] {
                message.extend_from_slice(&field.to_le_bytes());
            }
            message.extend_from_slice(&bytes);
            let message = message.freeze();
            pair.server.deliver(message.clone());
            pair.client.deliver(message);
            let to_all = Around::message(number, &[waiting], &[bytes.into()]);
            pair.client.deliver_around(to_all);
            let _ = (read(&pair.server, 5), read(&pair.client, 5));
            let _ = (pair.write(true, b"x"), pair.write(false, b"x"));
            pair.write_around(b"x");
            pair.tell(true);
            pair.tell(false);
        }
    }

    /// Whatever overtakes what, as long as messages to one alone, and to all, come in order each.
    #[test]
    fn there_is_one_order(steps in prop::collection::vec((0..8_u8, 0..3000_usize), 1..400)) {
        let mut pair = Pair::new();
        let (mut sent, mut came) = (Vec::<u8>::new(), Vec::<u8>::new());
        let (mut sent_back, mut came_back) = (Vec::<u8>::new(), Vec::<u8>::new());
        let mut waits = false;
        for (n, (step, length)) in steps.into_iter().enumerate() {
            let bytes = vec![n as u8; length.max(1)];
            match step {
                0 => {
                    let room = pair.write(true, &bytes);
                    sent.extend(&bytes[..room]);
                    waits = room < bytes.len();
                }
                // Only where nothing of a frame waits, as the engine does.
                1 if !waits => {
                    let joined = pair.write_around(&bytes);
                    sent.extend(bytes.iter().filter(|_| joined));
                }
                2 => {
                    let room = pair.write(false, &bytes);
                    sent_back.extend(&bytes[..room]);
                }
                3 => {
                    came.extend(read(&pair.client, length).unwrap());
                    pair.tell(false);
                }
                4 => {
                    came_back.extend(read(&pair.server, length).unwrap());
                    pair.tell(true);
                }
                way => pair.deliver(way),
            }
        }
        for _ in 0..3 {
            pair.deliver_all();
            came.extend(read(&pair.client, 8 << 20).unwrap());
            came_back.extend(read(&pair.server, 8 << 20).unwrap());
            pair.tell(false);
            pair.tell(true);
        }
        prop_assert_eq!(sent, came);
        prop_assert_eq!(sent_back, came_back);
    }
}
