//! Who is let in, and who is not.

use std::path::{Path, PathBuf};
use std::process::Command;

use dp_tests::{Client, Program, Server};
use tempfile::TempDir;

use crate::{CLIENT, SERVER};

/// Secrets, certificates and keys.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "open sesame, please\n").unwrap();
        std::fs::write(dir.path().join("other"), "open barley, please\n").unwrap();
        for folder in ["keys", "others"] {
            let made = Command::new(SERVER)
                .args(["certs", folder, "--client", "c1", "--client", "c2"])
                .current_dir(dir.path())
                .output();
            assert!(made.unwrap().status.success());
        }
        Self(dir)
    }

    /// Options in which each word with a `/` in front is one of the files.
    fn options(&self, text: &str) -> Vec<String> {
        let file = |name: &str| -> PathBuf { self.0.path().join(name) };
        let whole = |word: &str| match word.strip_prefix('/') {
            Some(name) => file(name).display().to_string(),
            None => word.to_owned(),
        };
        text.split_whitespace().map(whole).collect()
    }
}

fn server(files: &Files, options: &str) -> Server {
    let options = files.options(options);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    Server::start(SERVER, 1, "greet", &options)
}

fn client(files: &Files, server: &Server, options: &str) -> Program {
    let options = files.options(options);
    let mut all = vec!["--server", &server.address];
    all.extend(options.iter().map(String::as_str));
    Program::start(Path::new(CLIENT), &all, &[])
}

#[cfg(unix)]
#[test]
fn a_secret_that_others_can_read_is_warned_of_once() {
    use std::os::unix::fs::PermissionsExt as _;
    let files = Files::new();
    let open = |name: &str, mode: u32| {
        let path = files.0.path().join(name);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let options = format!("--token-file /token {TLS} --page 127.0.0.1:0");
    for (mode, warned) in [(0o600, 0), (0o644, 1)] {
        open("token", mode);
        open("keys/server-key.pem", mode);
        let mut server = server(&files, &options);
        server.error_line("page at");
        let said = server.all_errors();
        for what in ["the token in", "the key in"] {
            let what = format!("others than its owner can read {what}");
            assert_eq!(said.matches(&what).count(), warned, "{said}");
        }
        server.quit();
    }
}

const TLS: &str = "--tls-cert /keys/server.pem --tls-key /keys/server-key.pem";
const C1: &str = "--tls-cert /keys/client-c1.pem --tls-key /keys/client-c1-key.pem";

#[test]
fn who_proves_itself_is_let_in_and_runs() {
    let files = Files::new();
    for (of_server, of_client) in [
        ("--token-file /token".to_owned(), "--id c1 --token-file /token".to_owned()),
        (TLS.to_owned(), "--id c1 --tls-ca /keys/ca.pem".to_owned()),
        (
            format!("{TLS} --tls-client-ca /keys/ca.pem --token-file /token -vv"),
            // Its id is the name in its certificate.
            format!("--tls-ca /keys/ca.pem {C1} --token-file /token -vv"),
        ),
    ] {
        let mut server = server(&files, &of_server);
        let mut client = client(&files, &server, &of_client);
        server.ready(1);
        let (lines, ok) = server.run();
        assert!(ok && lines.iter().all(|line| line.starts_with("c1\t")), "{lines:?}");
        server.type_line("/quit");
        assert!(client.wait().success(), "{}", client.all_errors());
        assert!(server.wait().success());
        // With everything said that can be said.
        for said in [server.all_errors(), client.all_errors()] {
            assert!(!said.contains("sesame") && !said.contains("PRIVATE KEY"), "{said}");
        }
    }
}

#[test]
fn who_does_not_is_refused_and_both_sides_say_why() {
    let files = Files::new();
    let mutual = format!("{TLS} --tls-client-ca /keys/ca.pem");
    for (of_server, of_client, why, why_there) in [
        ("--token-file /token", "--id c1", "asks for a token", "has no token"),
        ("--token-file /token", "--id c1 --token-file /other", "another token", "another token"),
        ("", "--id c1 --token-file /token", "server has no token", "asks for a token"),
        (TLS, "--id c1", "speaks TLS", "use TLS?"),
        (TLS, "--id c1 --token-file /token", "speaks TLS", "use TLS?"),
        ("", "--id c1 --tls-ca /keys/ca.pem", "use TLS?", "speaks TLS"),
        (TLS, "--id c1 --tls-ca /others/ca.pem", "another CA", "does not know the CA"),
        (TLS, "--id c1 --tls-ca /keys/ca.pem --tls-name lab", "--tls-name", "BadCertificate"),
        (&mutual, "--id c1 --tls-ca /keys/ca.pem", "give this client a cert", "needs a cert"),
        (
            &mutual,
            "--tls-ca /keys/ca.pem --tls-cert /others/client-c1.pem --tls-key /others/client-c1-key.pem",
            "does not know the CA",
            "another CA",
        ),
        (
            &mutual,
            &format!("--tls-ca /keys/ca.pem {C1} --id c2"),
            "its certificate is for c1",
            "its certificate is for c1",
        ),
    ] {
        let mut server = server(&files, of_server);
        let mut client = client(&files, &server, of_client);
        let said = format!("{of_server:?} met {of_client:?}");
        assert!(!client.wait().success(), "{said}");
        let line = client.error_line("error: ");
        assert!(line.contains(why), "{said}: {line}");
        let line = server.error_line("refused: ");
        assert!(line.contains(why_there), "{said}: {line}");
        // Nobody has arrived, and it serves on.
        server.type_line("/workers");
        server.type_line("/help");
        assert!(server.line().contains("/"), "{said}");
        server.quit();
    }
}

#[test]
fn a_server_that_others_reach_needs_a_proof_or_says_that_it_does_not() {
    let files = Files::new();
    let mut refused = Program::start(Path::new(SERVER), &["--bind", "0.0.0.0:0"], &[]);
    assert_eq!(refused.wait().code(), Some(1));
    let error = refused.error_line("error: ");
    assert!(error.contains("--token-file") && error.contains("--insecure"), "{error}");
    for options in ["--insecure", "--token-file /token", TLS] {
        server(&files, &format!("--bind 0.0.0.0:0 {options}")).quit();
    }
}

#[test]
fn the_secret_may_stand_in_the_environment_and_is_not_shown() {
    let env = [("DP_TOKEN", "open sesame, please")];
    let args = ["--bind", "127.0.0.1:0"];
    let mut server = Program::start(Path::new(SERVER), &args, &env);
    let line = server.error_line("listening on ");
    let address = line.split("listening on ").nth(1).unwrap_or_default().trim();
    let mut stranger = Client::start(CLIENT, address, "c2", 1);
    assert!(!stranger.0.wait().success());
    let mut client = Program::start(Path::new(CLIENT), &["--server", address], &env);
    assert_eq!(server.line(), "new worker arrived");
    server.type_line("/quit");
    assert!(client.wait().success());
    for program in [SERVER, CLIENT] {
        let help = Command::new(program).arg("--help").envs(env).output().unwrap();
        assert!(!String::from_utf8_lossy(&help.stdout).contains("sesame"));
    }
}

#[test]
fn a_secret_of_white_space_is_an_error_and_not_none() {
    for program in [SERVER, CLIENT] {
        let mut program = Program::start(Path::new(program), &[], &[("DP_TOKEN", " ")]);
        assert!(!program.wait().success());
        program.error_line("DP_TOKEN has no token in it");
    }
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let files = Files::new();
    for (options, culprit) in [
        ("--token-file /nowhere", "nowhere"),
        ("--tls-cert /nowhere --tls-key /keys/server-key.pem", "nowhere"),
        ("--tls-cert /token --tls-key /keys/server-key.pem", "token has no certificate"),
        ("--tls-cert /keys/server.pem --tls-key /token", "token has no key"),
        ("--tls-cert /keys/server.pem --tls-key /others/server-key.pem", "server-key.pem"),
        ("--tls-cert /keys/server.pem", "--tls-key"),
    ] {
        let options = files.options(&format!("--bind 127.0.0.1:0 {options}"));
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let mut server = Program::start(Path::new(SERVER), &options, &[]);
        assert!(!server.wait().success(), "{options:?}");
        server.error_line(culprit);
        assert!(!server.all_errors().contains("sesame"));
    }
}
