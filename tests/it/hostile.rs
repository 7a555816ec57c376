//! Peers that say what would spoil a terminal, a log or a line.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use dp_tests::{Client, Program, Server};

use crate::{CLIENT, SERVER};

/// The preamble of version 1.
const PREAMBLE: &[u8] = b"\xd5dp\n\x01\0\x01\0";

/// Colours, a title, another line, C1, bidirectional and invisible characters.
const HOSTILE: &str =
    "\u{1b}[31m\u{1b}]0;x\u{7}\r\nforged\u{9b}2J\u{202e}\u{2066}\u{200b}\u{e0041}\u{2028}";

fn text(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap();
    [&[252][..], &length.to_le_bytes(), text.as_bytes()].concat()
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 1).unwrap();
    [&length.to_le_bytes()[..], &[kind], body].concat()
}

/// Nothing of it is shown as it is.
fn is_harmless(shown: &str) {
    for c in HOSTILE.chars().filter(|c| !matches!(c, '\n' | ' '..='~')) {
        assert!(!shown.contains(c), "{c:?} in {shown:?}");
    }
    assert!(!shown.lines().any(|line| line.starts_with("forged")), "{shown:?}");
}

#[test]
fn what_a_stranger_says_in_place_of_a_server_is_shown_bounded_and_escaped() {
    for times in [1, (20 << 20) / HOSTILE.len()] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serving = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 8]).unwrap();
            let reason = [text(&HOSTILE.repeat(times)), vec![0]].concat();
            stream.write_all(PREAMBLE).unwrap();
            stream.write_all(&frame(0x82, &reason)).unwrap();
            // Until the client has read it and closes.
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let mut client = Program::start(Path::new(CLIENT), &["--server", &address], &[]);
        assert_eq!(client.wait().code(), Some(1));
        client.error_line("refused this client");
        let shown = client.all_errors();
        is_harmless(&shown);
        assert!(shown.contains("\\u{1b}[31m"), "{shown:?}");
        assert!(shown.len() < 16 << 10, "{} bytes", shown.len());
        serving.join().unwrap();
    }
}

#[test]
fn what_a_stranger_says_in_place_of_a_client_is_shown_bounded_and_escaped() {
    let mut server = Server::start(SERVER, 1, "greet", &[]);
    let client = Client::start(CLIENT, &server.address, "c1", 1);
    server.ready(1);
    let escape = "\\u{1b}[31m";
    for (worker, id, said) in [(HOSTILE, "c2", "its worker is `"), ("dp", HOSTILE, "client ")] {
        let hello =
            [text(worker), text(HOSTILE), vec![0, 0], text(id), vec![7], text(""), vec![1, 100]];
        let mut stream = TcpStream::connect(&server.address).unwrap();
        stream.write_all(&[PREAMBLE, &frame(0x01, &hello.concat())].concat()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(answer[12], 0x82);
        is_harmless(&String::from_utf8_lossy(&answer[16..]));
        server.error_line(&format!("{said}{escape}"));
    }
    let shown = server.all_errors();
    is_harmless(&shown);
    server.quit();
    client.ends_well();
}
