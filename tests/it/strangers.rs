//! Whoever is not a client of this server: refused in one line, and nobody else is disturbed.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use dp_tests::{Client, Server};

use crate::{CLIENT, SERVER};

/// The preamble of version 1.
const PREAMBLE: &[u8] = b"\xd5dp\n\x01\0\x01\0";

fn send(address: &str, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // The server may close before all is written.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

/// Bytes that look random, the same in every run.
fn garbage(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn strangers_are_refused_in_one_line_and_disturb_nobody() {
    let mut server = Server::start(SERVER, 1, "greet", &["--handshake-timeout", "1"]);
    let client = Client::start(CLIENT, &server.address, "c1", 1);
    server.ready(1);
    let address = server.address.clone();

    assert_eq!(send(&address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), b"");
    server.error_line("does not speak dp: it sent \"GET / HT");
    assert_eq!(send(&address, &PREAMBLE[..5]), b"");
    server.error_line("during the handshake");
    let oversized = [PREAMBLE, b"\xff\xff\xff\x7f\x01"].concat();
    assert_eq!(send(&address, &oversized), PREAMBLE);
    server.error_line("the limit is 1048576");
    assert_eq!(send(&address, &[PREAMBLE, b"\x02\0\0\0\x01\xff"].concat()), PREAMBLE);
    server.error_line("malformed hello");
    let other_version = b"\xd5dp\n\x63\0\x01\0";
    assert_eq!(send(&address, other_version), PREAMBLE);
    server.error_line("version 99");
    // Half a handshake, and then silence.
    let mut silent = TcpStream::connect(&address).unwrap();
    silent.write_all(PREAMBLE).unwrap();
    server.error_line("no handshake within 1s");

    let before = server.resident_kib();
    for seed in 0..200 {
        send(&address, &garbage(seed, 10_000));
        send(&address, &[PREAMBLE, &garbage(seed, 10_000)].concat());
    }
    let grown = server.resident_kib().saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} KiB more");

    let (lines, ok) = server.run();
    assert!(ok && lines.len() == 2, "{lines:?}");
    server.quit();
    client.ends_well();
}
