//! Machines that can be cut off: network namespaces, each with a cable to the server's.

use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::Program;

/// A server's machine, and the machines of its clients. Gone when dropped; drop what runs on them
/// before.
#[derive(Debug)]
pub struct Network {
    server: Machine,
    clients: Vec<Machine>,
}

/// One of them.
#[derive(Debug)]
pub struct Machine {
    namespace: String,
    /// The server's address as this one sees it; the end of its cable in the server's namespace.
    server: String,
    cable: String,
}

impl Network {
    /// A network with so many machines for clients; `None`, and a line that says so, where this process
    /// may not make one.
    ///
    /// # Panics
    /// When making it fails for another reason.
    pub fn new(clients: usize) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("dp-tests-{}-{number}", std::process::id());
        let server = Machine {
            namespace: format!("{prefix}-server"),
            server: "127.0.0.1".to_owned(),
            cable: "lo".to_owned(),
        };
        if let Err(error) = server.boot() {
            crate::leave_out(&format!("root, `ip netns` and network namespaces ({error})"));
            return None;
        }
        let mut network = Self { server, clients: Vec::new() };
        for client in 0..clients {
            let machine = Machine {
                namespace: format!("{prefix}-{client}"),
                server: format!("10.77.{client}.1"),
                cable: format!("client{client}"),
            };
            machine.boot().unwrap_or_else(|error| panic!("{error}"));
            network.clients.push(machine);
            network.plug(client);
        }
        Some(network)
    }

    /// The server's machine.
    pub fn server(&self) -> &Machine {
        &self.server
    }

    /// A client's.
    pub fn client(&self, client: usize) -> &Machine {
        &self.clients[client]
    }

    /// Cuts the cable of a client's machine: nothing arrives any more, and nobody is told.
    ///
    /// # Panics
    /// When that is not possible.
    pub fn cut(&self, client: usize) {
        self.clients[client].ip(&["link", "set", "eth0", "down"]);
    }

    /// Mends it.
    ///
    /// # Panics
    /// When that is not possible.
    pub fn mend(&self, client: usize) {
        self.clients[client].ip(&["link", "set", "eth0", "up"]);
    }

    /// A client's machine crashes and starts again: it knows nothing of its connections. Whatever ran on
    /// it has to be killed before.
    ///
    /// # Panics
    /// When that is not possible.
    pub fn reboot(&self, client: usize) {
        self.cut(client);
        self.clients[client].halt();
        self.clients[client].boot().unwrap_or_else(|error| panic!("{error}"));
        // The old cable goes with its other end, a little later.
        let cable = &self.clients[client].cable;
        let _ = ip(&["-n", &self.server.namespace, "link", "del", cable]);
        self.plug(client);
    }

    fn plug(&self, client: usize) {
        let Machine { namespace, server, cable } = &self.clients[client];
        let add =
            ["link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", namespace];
        self.server.ip(&add);
        self.server.ip(&["addr", "add", &format!("{server}/24"), "dev", cable]);
        self.server.ip(&["link", "set", cable, "up"]);
        let address = format!("10.77.{client}.2/24");
        self.clients[client].ip(&["addr", "add", &address, "dev", "eth0"]);
        self.mend(client);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.clients.iter().for_each(Machine::halt);
        self.server.halt();
    }
}

impl Machine {
    /// Starts a program on it.
    pub fn start(&self, program: &str, args: &[&str], env: &[(&str, &str)]) -> Program {
        let inside = ["netns", "exec", &self.namespace, program];
        Program::start(Path::new("ip"), &[&inside, args].concat(), env)
    }

    /// Where a server that listens on `port` is reached from it.
    pub fn server(&self, port: &str) -> String {
        format!("{}:{port}", self.server)
    }

    fn boot(&self) -> io::Result<()> {
        ip(&["netns", "add", &self.namespace])?;
        ip(&["-n", &self.namespace, "link", "set", "lo", "up"])
    }

    fn halt(&self) {
        let _ = ip(&["netns", "del", &self.namespace]);
    }

    fn ip(&self, args: &[&str]) {
        ip(&[&["-n", &self.namespace], args].concat()).unwrap_or_else(|error| panic!("{error}"));
    }
}

fn ip(args: &[&str]) -> io::Result<()> {
    let output = Command::new("ip").args(args).output()?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("ip {}: {}", args.join(" "), text.trim())))
}
