//! Hosts over ssh, which here are all this one: a server of ssh, with keys of its own, on a free port.

use dp_tests::Program;

use super::{Lab, free_port, greeted, have, processes_with, until};

/// Clients on two hosts.
struct Hosts {
    lab: Lab,
    // Ends with the test.
    _sshd: Program,
    ssh: String,
    mark: String,
}

impl Hosts {
    fn new() -> Option<Self> {
        if !have(&["sshd", "ssh", "ssh-keygen"]) {
            return None;
        }
        let lab = Lab::new("ssh");
        for key in ["host_key", "user_key"] {
            let make = format!("ssh-keygen -q -t ed25519 -N '' -f {key}");
            assert!(lab.start(&make, &[]).wait().success());
        }
        // It asks for this folder when it is root.
        let _ = std::fs::create_dir_all("/run/sshd");
        let port = free_port();
        let mark = format!("DP_TESTS_MARK={port}");
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\n\
             StrictModes no\nUsePAM no\nPidFile none\nSetEnv {mark}\n",
            lab.file("host_key"),
            lab.file("user_key.pub"),
        );
        let config = lab.write("sshd_config", &config);
        // It wants to be started by its whole path.
        let command = format!("\"$(command -v sshd)\" -D -e -f '{config}'");
        let mut sshd = lab.start(&command, &[]);
        sshd.error_line("Server listening");
        let ssh = format!(
            "ssh -p {port} -i {} -o UserKnownHostsFile={} -o StrictHostKeyChecking=accept-new \
             -o LogLevel=ERROR",
            lab.file("user_key"),
            lab.file("known"),
        );
        lab.write("hosts", "# here, twice\n127.0.0.1 2\n\nlocalhost\n");
        Some(Self { lab, _sshd: sshd, ssh, mark })
    }

    fn server(&self) -> Program {
        let client = self.lab.file("bin/greeter-client");
        let env =
            [("DP_SSH", self.ssh.as_str()), ("DP_CLIENT", &client), ("DP_TESTS_RUN", "greet")];
        let command = "greeter-server --bind 127.0.0.1:0 --workers 3 \
                       --launch './clients.sh hosts'";
        self.lab.start(command, &env)
    }
}

#[test]
fn clients_are_started_over_ssh_and_end_with_the_run() {
    let Some(hosts) = Hosts::new() else { return };
    let mut server = hosts.server();
    server.lines_until("ready to run");
    server.type_line("/run");
    let lines = server.lines_until("ok");
    assert_eq!(greeted(&lines), ["127.0.0.1-0/1", "127.0.0.1-0/2", "localhost-1"]);
    server.type_line("/quit");
    assert!(server.wait().success());
    // By themselves, and well.
    let errors = server.all_errors();
    assert!(!errors.contains("has not ended") && errors.contains("said quit"), "{errors}");
    until("the clients' end", || processes_with(&hosts.mark).is_empty());
}

#[test]
fn clients_over_ssh_end_with_a_server_that_is_killed() {
    let Some(hosts) = Hosts::new() else { return };
    let mut server = hosts.server();
    server.lines_until("ready to run");
    assert!(!processes_with(&hosts.mark).is_empty());
    server.kill();
    until("the clients' end", || processes_with(&hosts.mark).is_empty());
}
