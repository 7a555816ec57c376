//! Clients on the server's own machine, over a Unix socket.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use dp_tests::{Client, Program, Server};
use tempfile::TempDir;

use crate::{CLIENT, SERVER};

/// A folder with a socket in it.
struct Place {
    dir: TempDir,
    path: PathBuf,
    address: String,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lab.sock");
        let address = format!("unix:{}", path.display());
        Self { dir, path, address }
    }

    fn is_socket(&self) -> bool {
        self.path.symlink_metadata().is_ok_and(|found| found.file_type().is_socket())
    }
}

#[test]
fn clients_come_over_a_unix_socket_and_over_tcp_at_once() {
    let place = Place::new();
    let args = ["--bind", &place.address, "--bind", "127.0.0.1:0"];
    let mut server = Server::start(SERVER, 3, "greet", &args);
    // Each address is said.
    assert_eq!(server.address, place.address);
    let line = server.error_line("listening on 127.0.0.1:");
    let tcp = line.split("listening on ").nth(1).unwrap().trim().to_owned();
    let near = Client::start(CLIENT, &place.address, "near", 2);
    let far = Client::start(CLIENT, &tcp, "far", 1);
    server.ready(3);
    server.type_line("/workers");
    let lines: Vec<String> = (0..3).map(|_| server.line()).collect();
    let pid = near.0.id();
    assert!(lines[0].starts_with("far\t127.0.0.1:"), "{lines:?}");
    assert!(lines[1].starts_with(&format!("near/1\tunix pid {pid}\t")), "{lines:?}");
    let (lines, ok) = server.run();
    assert!(ok && lines.len() == 6, "{lines:?}");
    assert!(place.is_socket());
    server.quit();
    assert!(!place.path.exists());
    near.ends_well();
    far.ends_well();
}

#[test]
fn the_addresses_may_stand_in_the_environment() {
    let place = Place::new();
    let bind = format!("127.0.0.1:0,{}", place.address);
    let mut server = Program::start(Path::new(SERVER), &[], &[("DP_BIND", &bind)]);
    server.error_line(&format!("listening on {}", place.address));
    let env = [("DP_SERVER", place.address.as_str())];
    let mut client = Program::start(Path::new(CLIENT), &[], &env);
    server.lines_until("ready to run");
    server.type_line("/quit");
    assert!(client.wait().success() && server.wait().success());
}

#[test]
fn a_killed_server_leaves_a_socket_that_the_next_one_replaces_and_clients_come_back() {
    let place = Place::new();
    let args = ["--bind", &place.address];
    // Before the server is there.
    let client = Client::start(CLIENT, &place.address, "c1", 1);
    let mut server = Server::start(SERVER, 1, "greet", &args);
    server.ready(1);
    server.kill();
    assert!(place.is_socket());
    let mut server = Server::start(SERVER, 1, "greet", &args);
    server.ready(1);
    let (lines, ok) = server.run();
    assert!(ok, "{lines:?}");
    // A second one leaves it alone.
    let mut second = Program::start(Path::new(SERVER), &args, &[]);
    assert_eq!(second.wait().code(), Some(1));
    let error = second.error_line("error: ");
    assert!(error.contains(&place.address) && error.contains("another program"), "{error}");
    let (lines, ok) = server.run();
    assert!(ok, "{lines:?}");
    server.quit();
    client.ends_well();
}

#[test]
fn what_cannot_be_a_socket_is_named_and_left_alone() {
    let place = Place::new();
    std::fs::write(&place.path, "precious").unwrap();
    let nowhere = format!("unix:{}/no/where", place.dir.path().display());
    let long = format!("{}{}", place.address, "x".repeat(100));
    for (bind, why) in [
        (place.address.as_str(), "a file of another kind"),
        (&nowhere, "No such file or directory"),
        (&long, "SUN_LEN"),
        ("unix:", "lacks the path"),
        ("lab:http", "`http`"),
    ] {
        let args = ["--bind", "127.0.0.1:0", "--bind", bind];
        let mut server = Program::start(Path::new(SERVER), &args, &[]);
        assert!(!server.wait().success(), "{bind}");
        let line = server.error_line("error: ");
        assert!(line.contains(why), "{line}");
    }
    assert_eq!(std::fs::read_to_string(&place.path).unwrap(), "precious");
}

#[test]
fn a_token_is_asked_for_over_it_and_tls_is_not_used() {
    let place = Place::new();
    let file = |name: &str| place.dir.path().join(name).display().to_string();
    std::fs::write(file("token"), "open sesame, please\n").unwrap();
    let folder = file("keys");
    let mut certs = Program::start(Path::new(SERVER), &["certs", &folder], &[]);
    assert!(certs.wait().success());
    let (token, ca) = (file("token"), file("keys/ca.pem"));
    let (cert, key) = (file("keys/server.pem"), file("keys/server-key.pem"));
    let tls = ["--tls-cert", &cert, "--tls-key", &key, "--tls-client-ca", &ca];
    let args = [&["--bind", &place.address, "--token-file", &token], &tls[..]].concat();
    let mut server = Server::start(SERVER, 1, "greet", &args);
    let mut stranger = Client::start(CLIENT, &place.address, "c1", 1);
    assert!(!stranger.0.wait().success());
    stranger.0.error_line("asks for a token");
    // The CA is for servers elsewhere.
    let more = ["--token-file", &token, "--tls-ca", &ca];
    let client = Client::start_with(CLIENT, &place.address, "c2", 1, &more);
    server.ready(1);
    server.quit();
    client.ends_well();
}

/// Programs that everybody may run, or `None` where this process is not root.
struct Users(Place);

impl Users {
    const NOBODY: &str = "65534";

    fn new() -> Option<Self> {
        let place = Place::new();
        std::fs::set_permissions(place.dir.path(), PermissionsExt::from_mode(0o777)).unwrap();
        for program in [SERVER, CLIENT] {
            let copy = place.dir.path().join(Path::new(program).file_name().unwrap());
            std::fs::copy(program, copy).unwrap();
        }
        let users = Self(place);
        let mut test = users.start(Self::NOBODY, "/bin/true", &[]);
        if !test.wait().success() {
            dp_tests::leave_out("root, and `setpriv`");
            return None;
        }
        Some(users)
    }

    fn start(&self, user: &str, program: &str, args: &[&str]) -> Program {
        let copy = self.0.dir.path().join(Path::new(program).file_name().unwrap());
        let program = if copy.exists() { copy.display().to_string() } else { program.to_owned() };
        let setpriv = ["--reuid", user, "--clear-groups", &program];
        Program::start(Path::new("setpriv"), &[&setpriv, args].concat(), &[])
    }

    fn server(&self, user: &str, more: &[&str]) -> Program {
        let args = [&["--bind", &self.0.address], more].concat();
        let mut server = self.start(user, SERVER, &args);
        server.error_line("listening on ");
        server
    }

    fn client(&self, user: &str, more: &[&str]) -> Program {
        self.start(user, CLIENT, &[&["--server", &self.0.address], more].concat())
    }
}

#[test]
fn another_user_is_kept_out_on_either_side_unless_allowed() {
    let Some(users) = Users::new() else { return };
    let mut server = users.server("0", &[]);
    let mut client = users.client(Users::NOBODY, &[]);
    assert!(!client.wait().success());
    assert!(client.error_line("error: ").contains("for another user"));
    server.type_line("/quit");
    assert!(server.wait().success());

    // Whom the file lets in who is not the one that is allowed.
    let mut server = users.server("0", &["--allow-uid", "65533"]);
    let mut client = users.client(Users::NOBODY, &["--connect-for", "0.1"]);
    let refused = server.error_line("refused: ");
    assert!(refused.contains("user 65534") && refused.contains("--allow-uid 65534"), "{refused}");
    assert!(!client.wait().success());
    server.type_line("/quit");
    assert!(server.wait().success());

    let mut server = users.server(Users::NOBODY, &[]);
    let mut client = users.client("0", &[]);
    assert!(!client.wait().success());
    assert!(client.error_line("error: ").contains("--allow-uid 65534"));
    let mut client = users.client("0", &["--allow-uid", Users::NOBODY]);
    server.lines_until("ready to run");
    server.type_line("/quit");
    assert!(client.wait().success() && server.wait().success());

    let mut server = users.server("0", &["--allow-uid", Users::NOBODY]);
    let mut client = users.client(Users::NOBODY, &[]);
    server.lines_until("ready to run");
    server.type_line("/quit");
    assert!(client.wait().success() && server.wait().success());
}
