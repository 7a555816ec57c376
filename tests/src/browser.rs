//! A browser, driven through chromedriver: the little of the WebDriver protocol that it takes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};

use crate::Program;

/// Nothing that a page is waited for takes so long, but for a hang.
const HANG: Duration = Duration::from_secs(30);

/// So that it does nothing but what it is told, and asks no other machine for anything.
const ARGUMENTS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    "--hide-scrollbars",
    "--window-size=1280,1000",
];

/// A browser with one window. It is closed when this is dropped.
#[derive(Debug)]
pub struct Browser {
    port: u16,
    session: String,
    driver: Program,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts Chromium.
    ///
    /// # Panics
    /// When there is no `chromedriver`, or it cannot start the browser.
    pub fn start() -> Self {
        let mut driver = Program::start(Path::new("chromedriver"), &["--port=0"], &[]);
        let port = loop {
            let line = driver.line();
            if let Some((_, port)) = line.split_once("successfully on port ") {
                break port.trim_end_matches('.').parse().expect("a port");
            }
        };
        let profile = tempfile::tempdir().expect("a directory");
        let own = format!("--user-data-dir={}", profile.path().display());
        let arguments: Vec<&str> = ARGUMENTS.iter().copied().chain([own.as_str()]).collect();
        let options = json!({ "args": arguments });
        let wanted = json!({
            "capabilities": { "alwaysMatch": {
                "goog:chromeOptions": options,
                "goog:loggingPrefs": { "browser": "ALL" },
            } }
        });
        let session = request(port, "POST", "/session", Some(&wanted)).expect("a session");
        let session = session["sessionId"].as_str().expect("an id").to_owned();
        Self { port, session, driver, _profile: profile }
    }

    fn command(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, String> {
        request(self.port, method, &format!("/session/{}{path}", self.session), body)
    }

    /// Goes to `url`.
    ///
    /// # Panics
    /// When nothing is there.
    pub fn open(&self, url: &str) {
        self.command("POST", "/url", Some(&json!({ "url": url }))).expect("the page is there");
    }

    /// Runs `script` in the page, and gives what it returns.
    ///
    /// # Panics
    /// When it throws.
    pub fn script(&self, script: &str) -> Value {
        let body = json!({ "script": script, "args": [] });
        let value = self.command("POST", "/execute/sync", Some(&body));
        value.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Clicks what `selector` selects, as a person does with a mouse.
    ///
    /// # Panics
    /// When it is not there to be clicked.
    pub fn click(&self, selector: &str) {
        let path = format!("/element/{}/click", self.element(selector));
        let clicked = self.command("POST", &path, Some(&json!({})));
        clicked.unwrap_or_else(|error| panic!("{selector}: {error}"));
    }

    /// Types into what `selector` selects.
    ///
    /// # Panics
    /// When nothing can be typed there.
    pub fn types(&self, selector: &str, text: &str) {
        let path = format!("/element/{}/value", self.element(selector));
        let typed = self.command("POST", &path, Some(&json!({ "text": text })));
        typed.unwrap_or_else(|error| panic!("{selector}: {error}"));
    }

    fn element(&self, selector: &str) -> String {
        let body = json!({ "using": "css selector", "value": selector });
        let found = self.command("POST", "/element", Some(&body));
        let found = found.unwrap_or_else(|error| panic!("{selector}: {error}"));
        let id = found.as_object().and_then(|object| object.values().next());
        id.and_then(Value::as_str).expect("an element has an id").to_owned()
    }

    /// The text that is seen of what `selector` selects.
    pub fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({selector:?})?.innerText ?? ''");
        self.script(&script).as_str().unwrap_or_default().to_owned()
    }

    /// Waits until `condition`, an expression, holds in the page.
    ///
    /// # Panics
    /// When it never does.
    pub fn until(&self, condition: &str) {
        let deadline = Instant::now() + HANG;
        while self.script(&format!("return Boolean({condition})")) != true {
            if Instant::now() > deadline {
                panic!("never {condition}:\n{}\n{:?}", self.text("body"), self.complaints());
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// What the browser has to complain about: errors of scripts, requests that were refused.
    ///
    /// # Panics
    /// When it cannot be asked.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.command("POST", "/se/log", Some(&json!({ "type": "browser" })));
        let log = log.expect("it keeps a log");
        let bad = log.as_array().into_iter().flatten().filter(|entry| entry["level"] == "SEVERE");
        bad.map(|entry| entry["message"].to_string()).collect()
    }

    /// Makes the window so large.
    ///
    /// # Panics
    /// When it cannot be.
    pub fn resize(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height });
        self.command("POST", "/window/rect", Some(&size)).expect("it can be resized");
    }

    /// Keeps a picture of the window.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn picture(&self, path: &Path) {
        let picture = self.command("GET", "/screenshot", None).expect("a picture");
        let picture = picture.as_str().unwrap_or_default();
        let bytes = base64::engine::general_purpose::STANDARD.decode(picture).expect("base64");
        std::fs::write(path, bytes).expect("it can be written");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser ends with its session, and not with the driver.
        let _ = self.command("DELETE", "", None);
        let _ = &self.driver;
    }
}

/// One request to the driver: the value that it answers with, or its error.
fn request(port: u16, method: &str, path: &str, body: Option<&Value>) -> Result<Value, String> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let exchange = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(HANG * 2))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        // It does not close the connection: how long the answer is stands in its head.
        let mut stream = BufReader::new(stream);
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head)? > 0 {
            let line = head.lines().last().unwrap_or_default().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        Ok(head + &String::from_utf8_lossy(&body))
    };
    let answer = exchange().map_err(|error| format!("chromedriver: {error}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer of chromedriver")?;
    let value: Value = serde_json::from_str(body).map_err(|error| format!("{error}: {body}"))?;
    match head.split(' ').nth(1) {
        Some("200") => Ok(value["value"].clone()),
        _ => Err(value["value"]["message"].to_string()),
    }
}
