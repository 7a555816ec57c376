//! The live page in a real browser, with a real server and real clients. It takes Chromium and its
//! driver, Debian's chromium-driver: `cargo test -p dp-tests --test it page:: -- --ignored`.
//!
//! Pictures of what there was to see are kept in `target/page`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use dp_tests::{Browser, Client, Server};

use crate::{CLIENT, SERVER};

fn pictures() -> PathBuf {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let pictures = target.parent().unwrap_or(&target).join("page");
    std::fs::create_dir_all(&pictures).unwrap();
    pictures
}

/// A server with the page, and where that is.
fn start(workers: usize, run: &str, args: &[&str]) -> (Server, String) {
    let args = [&["--page", "127.0.0.1:0"], args].concat();
    let mut server = Server::start(SERVER, workers, run, &args);
    let line = server.error_line("page at ");
    let url = line.split("page at ").nth(1).unwrap().trim().to_owned();
    (server, url)
}

#[test]
#[ignore = "needs chromedriver"]
fn a_run_is_started_watched_and_cancelled_at_the_page_and_a_lost_worker_is_marked() {
    let (mut server, url) = start(8, "work", &[]);
    let browser = Browser::start();
    browser.open(&url);
    browser.until("document.body.dataset.state === 'waiting'");
    assert_eq!(browser.text("#state"), "waiting for workers: 0 of 8");

    let lab = Client::start(CLIENT, &server.address, "lab", 6);
    let mut spare = Client::start(CLIENT, &server.address, "spare", 2);
    server.ready(8);
    browser.until("document.body.dataset.state === 'ready'");
    browser.until("document.querySelectorAll('#grid .cell.s0').length === 8");

    // What is seen only for a moment is noted in the page itself: this machine may be busy.
    browser.script(
        "window.awaited = ''; new MutationObserver(() => { \
             const text = document.querySelector('#barriers').innerText; \
             if (text.includes('lab/1 (in work)')) window.awaited = text; \
         }).observe(document.querySelector('#barriers'), { childList: true, subtree: true })",
    );

    // A run: workers become busy, the charts move, and who waits for whom is shown.
    browser.click("#run");
    assert_eq!(server.program.line(), "run started from the page");
    browser.until("document.querySelectorAll('#grid .cell.s1').length === 8");
    assert!(browser.text("#grid").contains("work"));
    browser.until("Number(document.querySelector('#latency').dataset.points) >= 2");
    assert_eq!(browser.text("#metric option:checked"), "fetch");
    let early = browser.script("return document.querySelector('#latency').toDataURL()");
    browser.until("Number(document.querySelector('#latency').dataset.points) >= 3");
    let later = browser.script("return document.querySelector('#latency').toDataURL()");
    assert!(early != later, "the chart does not move");
    browser.until("window.awaited.includes('lab/1 (in work)')");
    browser.picture(&pictures().join("running.png"));

    // Its end: the results, as they are and folded, and never as markup.
    browser.until("document.body.dataset.state === 'ready'");
    assert_eq!(server.program.line(), "run from the page: ok");
    browser.until("document.querySelector('#results').innerText.includes('met the others')");
    let folded = browser.text("#results");
    assert!(folded.contains("lab/[1-6],spare/[1-2]\t8\tmet the others"), "{folded}");
    assert!(folded.contains("part 0 of <b>3</b> is done"), "{folded}");
    browser.types("#filter", "met");
    browser.until("document.querySelectorAll('#results tbody tr').length === 1");
    browser.click("#fold");
    browser.until("document.querySelectorAll('#results tbody tr').length === 8");
    assert!(browser.text("#past").contains("ok"));

    // Cancelled.
    browser.click("#run");
    browser.until("document.querySelectorAll('#grid .cell.s1').length === 8");
    browser.click("#cancel");
    browser.until("document.querySelector('#past').innerText.includes('cancelled')");
    browser.until("!document.querySelector('#comparison').hidden");

    // Lost in the middle of a run.
    browser.click("#run");
    browser.until("document.querySelectorAll('#grid .cell.s1').length === 8");
    spare.0.kill();
    browser.until("document.querySelectorAll('#grid .cell.s2').length === 2");
    browser.until("document.querySelector('#past').innerText.includes('failed')");
    browser.until("document.querySelector('#failures').innerText.includes('spare/[1-2] lost')");
    assert_eq!(browser.text("#n-lost"), "2");
    assert_eq!(browser.text("#state"), "waiting for workers: 6 of 8");
    browser.picture(&pictures().join("lost.png"));

    assert_eq!(browser.complaints(), <[String; 0]>::default());
    server.program.type_line("/quit");
    assert!(server.program.wait().success());
    lab.ends_well();
}

#[test]
#[ignore = "needs chromedriver"]
fn what_clients_log_is_shown_where_the_server_asks_for_it_and_never_as_markup() {
    let (mut server, url) = start(1, "greet", &["--forward-logs", "warn"]);
    let lab = Client::start(CLIENT, &server.address, "lab", 1);
    server.ready(1);
    let browser = Browser::start();
    browser.open(&url);
    browser.until("document.body.dataset.state === 'ready'");
    browser.until("document.querySelector('#logs-section').hidden");
    server.program.type_line("/call say \"<b>hot</b>\" 1");
    browser.until("document.querySelector('#logs').innerText.includes('lab: <b>hot</b> times=1')");
    assert_eq!(browser.text("#logs tbody td:nth-child(2)"), "warn");
    browser.picture(&pictures().join("logs.png"));
    assert_eq!(browser.complaints(), <[String; 0]>::default());
    server.program.type_line("/quit");
    assert!(server.program.wait().success());
    lab.ends_well();
}

#[test]
#[ignore = "needs chromedriver"]
fn a_method_is_called_from_its_form_by_keyboard_and_on_a_phone() {
    let (mut server, url) = start(3, "greet", &[]);
    let lab = Client::start(CLIENT, &server.address, "lab", 3);
    server.ready(3);
    let browser = Browser::start();
    browser.resize(390, 844);
    browser.open(&url);
    browser.until("document.body.dataset.state === 'ready'");
    let wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth";
    assert_eq!(browser.script(&format!("return {wide}")), false);

    // Arrow keys move in the grid, and say what each worker is doing.
    browser.script("document.querySelector('#grid [tabindex=\"0\"]').focus()");
    browser.types("#grid .cell:first-child", "\u{e014}");
    browser.until("document.activeElement.dataset.id === 'lab/2'");
    browser.until("document.querySelector('#detail').innerText.startsWith('lab/2 idle')");

    // From a letter to a form, and Enter.
    browser.types("#method", "greet");
    browser.until("document.querySelector('#docs').innerText.includes('greet(name: &str)')");
    browser.types("#argument-0", "Ada \"L\" <i>\u{e007}");
    browser.until("document.querySelectorAll('#outcomes tbody tr').length === 3");
    let outcomes = browser.text("#outcomes");
    assert!(outcomes.contains(r#""lab/2: hello Ada \"L\" <i>""#), "{outcomes}");
    browser.script("document.querySelector('#call').scrollIntoView()");
    browser.picture(&pictures().join("phone.png"));

    // What the console does, the page knows, and the other way round.
    server.program.type_line("/freq 2.5");
    browser.until("document.querySelector('#frequency').value === '2.5'");
    browser.click("#theme");
    browser.click("#theme");
    assert_eq!(browser.script("return document.documentElement.dataset.theme"), "dark");
    assert_eq!(browser.complaints(), <[String; 0]>::default());
    drop(browser);
    server.quit();
    lab.ends_well();
}

#[test]
#[ignore = "needs chromedriver"]
fn two_thousand_workers_are_shown_and_run() {
    let (mut server, url) = start(2_000, "work", &[]);
    let clients: Vec<_> =
        (1..=4).map(|n| Client::start(CLIENT, &server.address, &format!("c{n}"), 500)).collect();
    server.ready(2_000);
    let browser = Browser::start();
    browser.open(&url);
    browser.until("document.querySelectorAll('#grid .cell.s0').length === 2000");
    browser.click("#run");
    browser.until("document.querySelectorAll('#grid .cell.s1').length === 2000");
    browser.until("Number(document.querySelector('#latency').dataset.points) >= 2");
    browser.click("#theme");
    browser.click("#theme");
    browser.script("document.querySelector('#workers-title').scrollIntoView({block: 'center'})");
    browser.picture(&pictures().join("many.png"));
    browser.until("document.querySelector('#past').innerText.includes('ok')");
    browser.until("document.querySelectorAll('#grid .cell.s0').length === 2000");
    assert_eq!(browser.complaints(), <[String; 0]>::default());
    drop(browser);
    server.quit();
    for client in clients {
        client.ends_well();
    }
}

#[test]
#[ignore = "needs chromedriver"]
fn a_server_with_a_token_asks_for_it_and_strangers_get_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "a secret that nobody guesses\n").unwrap();
    let token = token.to_str().unwrap();
    let (server, url) = start(0, "greet", &["--token-file", token]);
    let browser = Browser::start();
    browser.open(&url);
    browser.until("document.querySelector('#login').open");
    browser.types("#token", "wrong\u{e007}");
    browser.until(
        "document.querySelector('#login').open && !document.querySelector('#login-wrong').hidden",
    );
    assert_eq!(browser.text("#worker"), "dp");
    browser.types("#token", "a secret that nobody guesses\u{e007}");
    browser.until("document.querySelector('#worker').innerText === 'Subject'");
    drop(browser);

    let address = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let status = |request: String| {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[9..]).into_owned()
    };
    let post = "POST /api/run HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n";
    assert_eq!(status(format!("{post}Host: {address}\r\n\r\n{{}}")), "401");
    assert_eq!(
        status(format!("{post}Host: {address}\r\nOrigin: http://evil.example\r\n\r\n{{}}")),
        "403"
    );
    server.quit();
}
