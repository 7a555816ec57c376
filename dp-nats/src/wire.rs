//! What stands in front of the bytes of every message, and how a client joins. All integers are little
//! endian.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// How many bytes a [`Head`] has.
pub(crate) const HEAD: usize = 40;
/// The first bytes of what is said about joining, the version behind the name.
const MAGIC: [u8; 6] = *b"\xd5dpn\x01\x00";
const JOIN: u8 = 0;
const PROBE: u8 = 1;
/// The longest address that a client gives.
const MAX_ADDRESS: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Numbered: bytes of the stream.
    Bytes,
    /// Numbered: the stream's end.
    End,
    /// Not numbered: what is in its head is all.
    Credit,
    /// The same, and one of that kind is to come back.
    Ask,
}

/// The head of a message of one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    /// How many bytes wait here for the other side's permission.
    pub(crate) waiting: u32,
    /// From 1, without gaps. Where the message is not numbered, the last number before it.
    pub(crate) number: u64,
    /// The number of the last message from the other side that has come.
    pub(crate) received: u64,
    /// So many bytes may the other side send on this link in all, heads included.
    pub(crate) limit: u64,
    /// From the server: how many messages to all it had sent before this one.
    pub(crate) around: u64,
}

impl Head {
    pub(crate) fn put(self, message: &mut BytesMut) {
        let kind = match self.kind {
            Kind::Bytes => 0,
            Kind::End => 1,
            Kind::Credit => 2,
            Kind::Ask => 3,
        };
        message.put_u32_le(kind);
        message.put_u32_le(self.waiting);
        for field in [self.number, self.received, self.limit, self.around] {
            message.put_u64_le(field);
        }
    }

    /// Splits a message. `None` if it is none of ours.
    pub(crate) fn split(mut message: Bytes) -> Option<(Self, Bytes)> {
        if message.len() < HEAD {
            return None;
        }
        let kind = match message.get_u32_le() {
            0 => Kind::Bytes,
            1 => Kind::End,
            2 => Kind::Credit,
            3 => Kind::Ask,
            _ => return None,
        };
        let waiting = message.get_u32_le();
        let (number, received) = (message.get_u64_le(), message.get_u64_le());
        let (limit, around) = (message.get_u64_le(), message.get_u64_le());
        Some((Self { kind, waiting, number, received, limit, around }, message))
    }
}

/// A message to all links of a server but some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Around {
    /// From 1, without gaps.
    pub(crate) number: u64,
    /// The links that it is not for, in order.
    pub(crate) except: Vec<u32>,
    pub(crate) bytes: Bytes,
}

impl Around {
    pub(crate) fn message(number: u64, except: &[u32], parts: &[Bytes]) -> Bytes {
        let length: usize = parts.iter().map(Bytes::len).sum();
        let mut message = BytesMut::with_capacity(12 + 4 * except.len() + length);
        message.put_u64_le(number);
        message.put_u32_le(u32::try_from(except.len()).unwrap_or(u32::MAX));
        except.iter().for_each(|link| message.put_u32_le(*link));
        parts.iter().for_each(|part| message.put_slice(part));
        message.freeze()
    }

    pub(crate) fn split(mut message: Bytes) -> Option<Self> {
        if message.len() < 12 {
            return None;
        }
        let (number, count) = (message.get_u64_le(), message.get_u32_le() as usize);
        if message.len() / 4 < count {
            return None;
        }
        let except = (0..count).map(|_| message.get_u32_le()).collect();
        Some(Self { number, except, bytes: message })
    }
}

/// What is asked where clients join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    /// Of a client, which gives its own address as its NATS server knows it, and how many bytes it may
    /// be sent at first.
    Join { address: String, limit: u64 },
    /// Of a server: whether there is one already.
    Probe { server: Id },
}

impl Request {
    pub(crate) fn message(&self) -> Bytes {
        let mut message = BytesMut::from(&MAGIC[..]);
        match self {
            Self::Join { address, limit } => {
                message.put_u8(JOIN);
                message.put_u64_le(*limit);
                // Which of the client's network cards it is at says nothing to others.
                let address = address.split('%').next().unwrap_or_default();
                message.put_slice(&address.as_bytes()[..address.len().min(MAX_ADDRESS)]);
            }
            Self::Probe { server } => {
                message.put_u8(PROBE);
                message.put_slice(server);
            }
        }
        message.freeze()
    }

    pub(crate) fn parse(message: &[u8]) -> Option<Self> {
        let message = message.strip_prefix(&MAGIC)?;
        let (kind, mut message) = message.split_first()?;
        match *kind {
            JOIN if message.len() >= 8 && message.len() <= 8 + MAX_ADDRESS => {
                let limit = message.get_u64_le();
                // It goes into logs: an IP address, or nothing.
                let plain = |c: char| c.is_ascii_hexdigit() || c == '.' || c == ':';
                let address = str::from_utf8(message).ok().filter(|text| text.chars().all(plain));
                Some(Self::Join { address: address.unwrap_or_default().to_owned(), limit })
            }
            PROBE => Some(Self::Probe { server: message.try_into().ok()? }),
            _ => None,
        }
    }
}

/// What a client that joins is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Names the server, in the subject of what is for all.
    pub(crate) server: Id,
    /// Names the link, in its two subjects.
    pub(crate) link: Id,
    /// Stands for the link in what is for all.
    pub(crate) number: u32,
    /// How many bytes the client may send at first.
    pub(crate) limit: u64,
}

/// 96 random bits, which stand in a subject as text.
pub(crate) type Id = [u8; 12];

pub(crate) fn text(id: &Id) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Answer {
    pub(crate) fn message(&self) -> Bytes {
        let mut message = BytesMut::from(&MAGIC[..]);
        message.put_slice(&self.server);
        message.put_slice(&self.link);
        message.put_u32_le(self.number);
        message.put_u64_le(self.limit);
        message.freeze()
    }

    pub(crate) fn parse(message: &[u8]) -> Option<Self> {
        let mut message = message.strip_prefix(&MAGIC)?;
        if message.len() != 36 {
            return None;
        }
        let (mut server, mut link) = (Id::default(), Id::default());
        message.copy_to_slice(&mut server);
        message.copy_to_slice(&mut link);
        Some(Self { server, link, number: message.get_u32_le(), limit: message.get_u64_le() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_comes_back_as_it_was() {
        let head = Head {
            kind: Kind::End,
            waiting: 1,
            number: 2,
            received: 3,
            limit: u64::MAX,
            around: 5,
        };
        let mut message = BytesMut::new();
        head.put(&mut message);
        assert_eq!(message.len(), HEAD);
        message.put_slice(b"behind");
        assert_eq!(Head::split(message.freeze()), Some((head, Bytes::from_static(b"behind"))));

        let parts = [Bytes::from_static(b"he"), Bytes::from_static(b"llo")];
        let around = Around { number: 7, except: vec![1, 9], bytes: Bytes::from_static(b"hello") };
        assert_eq!(Around::split(Around::message(7, &[1, 9], &parts)), Some(around));

        for request in [
            Request::Join { address: "192.0.2.1".to_owned(), limit: 9 },
            Request::Join { address: String::new(), limit: 0 },
            Request::Probe { server: [3; 12] },
        ] {
            assert_eq!(Request::parse(&request.message()), Some(request));
        }
        let answer = Answer { server: [1; 12], link: [2; 12], number: 3, limit: 4 };
        assert_eq!(Answer::parse(&answer.message()), Some(answer));
        assert_eq!(text(&[0xab; 12]), "abababababababababababab");
    }

    #[test]
    fn of_an_address_that_is_none_nothing_is_taken_over() {
        for (address, taken) in [("a\u{1b}[2J", ""), ("lab", ""), ("fe80::1%eth0", "fe80::1")] {
            let join = Request::Join { address: address.to_owned(), limit: 9 };
            let expected = Request::Join { address: taken.to_owned(), limit: 9 };
            assert_eq!(Request::parse(&join.message()), Some(expected));
        }
    }

    proptest! {
        #[test]
        fn garbage_is_nothing(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Head::split(bytes.clone().into());
            let _ = Around::split(bytes.clone().into());
            prop_assert_eq!(Answer::parse(&bytes), None);
            prop_assert_eq!(Request::parse(&bytes), None);
        }
    }
}
