//! The limit: what the same work costs a program that does nothing else. One thread, one loop over
//! epoll, arguments encoded once, one `send` and one `recv` for each worker.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Socket, Type};

use crate::Master;

/// What a frame asks for: its length, or itself.
const CALL: u8 = 0;
const ECHO: u8 = 1;
/// A length, then what it asks for; an answer is a length and what is asked.
const HEAD: usize = 5;
/// Answers are looked for after so many frames that were sent.
const BURST: usize = 128;
/// So many frames at a time that are longer than a `SCRATCH` are under way.
const LARGE: usize = 3;
const SCRATCH: usize = 64 << 10;

struct Conn {
    stream: TcpStream,
    /// A frame of which only a part has come, how much of it, and how long it is.
    input: Vec<u8>,
    filled: usize,
    need: usize,
    /// An answer that the socket had no room for, and how much of it was written.
    output: Vec<u8>,
    written: usize,
    /// How much of the frame for everybody was written.
    sent: usize,
}

struct Loop {
    poll: Poll,
    events: Events,
    conns: Vec<Conn>,
    scratch: Vec<u8>,
    /// Memory for parts of frames, still in the processor's cache.
    spare: Vec<Vec<u8>>,
}

impl Loop {
    fn new() -> Result<Self> {
        let (poll, events) = (Poll::new()?, Events::with_capacity(4096));
        Ok(Self { poll, events, conns: Vec::new(), scratch: vec![0; SCRATCH], spare: Vec::new() })
    }

    fn add(&mut self, mut stream: TcpStream) -> Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(self.conns.len()), both)?;
        let (input, output) = (Vec::new(), Vec::new());
        self.conns.push(Conn { stream, input, filled: 0, need: 0, output, written: 0, sent: 0 });
        Ok(())
    }
}

impl Conn {
    /// Reads what is there, and hands over each whole frame, its length included. `true` at the end
    /// of the connection.
    fn read(
        &mut self,
        scratch: &mut [u8],
        spare: &mut Vec<Vec<u8>>,
        mut frame: impl FnMut(&mut [u8]),
    ) -> Result<bool> {
        loop {
            let partial = self.filled > 0;
            let target = match partial {
                true => &mut self.input[self.filled..self.need],
                false => &mut *scratch,
            };
            let room = target.len();
            let count = match self.stream.read(target) {
                Ok(0) => return Ok(true),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(true),
                Err(error) => return Err(error.into()),
            };
            if partial {
                self.filled += count;
                if self.filled == 4 && self.need == 4 {
                    self.room(length(&self.input));
                } else if self.filled == self.need {
                    frame(&mut self.input[..self.need]);
                    self.filled = 0;
                    spare.push(std::mem::take(&mut self.input));
                }
            } else {
                let mut rest = &mut scratch[..count];
                while rest.len() >= 4 && rest.len() >= length(rest) {
                    let (whole, behind) = rest.split_at_mut(length(rest));
                    frame(whole);
                    rest = behind;
                }
                if !rest.is_empty() {
                    self.input = spare.pop().unwrap_or_default();
                    self.room(if rest.len() < 4 { 4 } else { length(rest) });
                    self.input[..rest.len()].copy_from_slice(rest);
                    self.filled = rest.len();
                }
            }
            // Nothing more is there: no need to be told so.
            if count < room {
                return Ok(false);
            }
        }
    }

    fn room(&mut self, need: usize) {
        self.need = need;
        if self.input.len() < need {
            self.input.resize(need, 0);
        }
    }

    /// Writes what waits. What the socket has no room for stays.
    fn write(&mut self) -> Result<()> {
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        self.output.clear();
        self.written = 0;
        Ok(())
    }

    /// Writes what is left of the frame for everybody; whether that was all.
    fn send(&mut self, frame: &[u8]) -> Result<bool> {
        while self.sent < frame.len() {
            match self.stream.write(&frame[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}

fn length(frame: &[u8]) -> usize {
    4 + u32::from_le_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = ((body.len() + 1) as u32).to_le_bytes().to_vec();
    frame.push(kind);
    frame.extend_from_slice(body);
    frame
}

/// The workers' side: answers until every connection has ended.
pub fn host(address: SocketAddr, connections: usize) -> Result<()> {
    let mut this = Loop::new()?;
    for _ in 0..connections {
        let stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        this.add(TcpStream::from_std(stream))?;
    }
    let mut open = connections;
    while open > 0 {
        this.poll.poll(&mut this.events, None)?;
        for event in &this.events {
            let conn = &mut this.conns[event.token().0];
            if event.is_writable() {
                conn.write()?;
            }
            if event.is_readable() {
                let mut output = std::mem::take(&mut conn.output);
                let ended = conn
                    .read(&mut this.scratch, &mut this.spare, |frame| answer(frame, &mut output))?;
                conn.output = output;
                if ended {
                    this.poll.registry().deregister(&mut conn.stream)?;
                    open -= 1;
                } else {
                    conn.write()?;
                }
            }
        }
    }
    Ok(())
}

fn answer(frame: &mut [u8], output: &mut Vec<u8>) {
    let body = &frame[HEAD..];
    match frame[4] {
        CALL => {
            output.extend_from_slice(&8_u32.to_le_bytes());
            output.extend_from_slice(&(body.len() as u64).to_le_bytes());
        }
        _ => {
            output.extend_from_slice(&(body.len() as u32).to_le_bytes());
            output.extend_from_slice(body);
        }
    }
}

/// The master's side.
pub struct Limit {
    this: Loop,
    frame: Vec<u8>,
    body: usize,
}

impl Limit {
    pub fn start(connections: usize, host: impl FnOnce(SocketAddr) -> Result<()>) -> Result<Self> {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        listener.listen(4096)?;
        let listener = std::net::TcpListener::from(listener);
        host(listener.local_addr()?)?;
        let mut this = Loop::new()?;
        for _ in 0..connections {
            let (stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            this.add(TcpStream::from_std(stream))?;
        }
        Ok(Self { this, frame: Vec::new(), body: 0 })
    }

    /// Waits for what comes, or only looks; calls `answer` for each answer.
    fn poll(&mut self, wait: bool, mut answer: impl FnMut(&[u8])) -> Result<()> {
        let timeout = (!wait).then_some(std::time::Duration::ZERO);
        self.this.poll.poll(&mut self.this.events, timeout)?;
        for event in &self.this.events {
            let conn = &mut self.this.conns[event.token().0];
            if event.is_writable() && conn.sent > 0 {
                conn.send(&self.frame)?;
            }
            if event.is_readable()
                && conn.read(&mut self.this.scratch, &mut self.this.spare, |frame| {
                    answer(&frame[4..])
                })?
            {
                bail!("the host is gone");
            }
        }
        Ok(())
    }

    fn encode(&mut self, kind: u8, body: &[u8]) {
        if self.frame.get(4) != Some(&kind) || self.body != body.len() {
            self.body = body.len();
            self.frame = frame(kind, body);
        } else {
            self.frame[HEAD..].copy_from_slice(body);
        }
        self.this.conns.iter_mut().for_each(|conn| conn.sent = 0);
    }
}

impl Master for Limit {
    fn broadcast(&mut self, body: &[u8]) -> Result<u64> {
        self.encode(CALL, body);
        let (all, mut got, mut sum) = (self.this.conns.len(), 0, 0);
        for at in 0..all {
            // One that has sent nothing yet is passed over when there is room in its socket again.
            self.this.conns[at].send(&self.frame)?;
            if at % BURST == BURST - 1 {
                self.poll(false, |answer| {
                    got += 1;
                    sum += value(answer);
                })?;
            }
            // Back and forth: what is under way is still in the processor's cache when it is read.
            while body.len() > SCRATCH && at + 1 - got >= LARGE {
                self.poll(true, |answer| {
                    got += 1;
                    sum += value(answer);
                })?;
            }
        }
        while got < all {
            self.poll(true, |answer| {
                got += 1;
                sum += value(answer);
            })?;
        }
        Ok(sum)
    }

    fn call(&mut self, body: &[u8]) -> Result<u64> {
        self.broadcast(body)
    }

    fn pipeline(&mut self, body: &[u8], width: usize, calls: usize) -> Result<u64> {
        let frame = frame(CALL, body);
        let (mut sent, mut got, mut sum) = (width.min(calls), 0, 0);
        let conn = &mut self.this.conns[0];
        conn.output = frame.repeat(sent);
        conn.write()?;
        while got < calls {
            let before = got;
            self.poll(true, |answer| {
                got += 1;
                sum += value(answer);
            })?;
            let more = (got - before).min(calls - sent);
            sent += more;
            let conn = &mut self.this.conns[0];
            for _ in 0..more {
                conn.output.extend_from_slice(&frame);
            }
            conn.write()?;
        }
        Ok(sum)
    }

    fn echo(&mut self, body: &[u8]) -> Result<()> {
        self.encode(ECHO, body);
        self.this.conns[0].send(&self.frame)?;
        let mut length = None;
        while length.is_none() {
            self.poll(true, |answer| length = Some(answer.len()))?;
        }
        anyhow::ensure!(length.context("no answer")? == body.len(), "another echo");
        Ok(())
    }
}

fn value(answer: &[u8]) -> u64 {
    answer.try_into().map_or(0, u64::from_le_bytes)
}
