//! Starts the clients of a server, or the launcher that starts them, and ends them with it.
#![cfg_attr(not(unix), allow(dead_code, reason = "nothing can be launched there"))]

#[cfg(unix)]
mod ends;
#[cfg(unix)]
mod guard;
#[cfg(unix)]
mod output;
#[cfg(unix)]
mod processes;

use std::io;
use std::net::SocketAddr;

use dp_core::net::address::Address;
use dp_core::net::{ServerGate, Token};

#[cfg(unix)]
pub(crate) use self::processes::{Launched, end_at_once};
use crate::settings::Settings;
use crate::start::StartError;

/// How long clients that were launched look for their server, and then for one that was lost, unless
/// the environment says something else: they end by themselves where it was killed.
const LOOK_FOR: [(&str, &str); 2] = [("DP_CONNECT_FOR", "60"), ("DP_RECONNECT_FOR", "10")];

/// What in this process's environment is meant for the server, and would be misunderstood, or is given
/// in another way.
const NOT_FOR_CLIENTS: [&str; 5] =
    ["DP_WORKERS", "DP_TOKEN_FILE", "DP_BIND", "DP_LAUNCH", "DP_LAUNCH_CLIENTS"];

/// What to start.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    /// For `sh -c`.
    pub(crate) command: String,
    /// How often.
    pub(crate) clients: usize,
}

/// Who may join: with clients that are launched, those that have a token which nobody else has, unless
/// everybody may or they have one already.
pub(crate) fn gate(settings: &Settings) -> Result<ServerGate, StartError> {
    let mut gate = settings.security.gate()?;
    if settings.launch.is_some() && gate.token.is_none() && !settings.security.insecure {
        gate.token = Some(Token::random()?);
    }
    Ok(gate)
}

/// One process that is to be started.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    /// What people know it by.
    name: String,
    /// Its number, where there are several.
    rank: Option<usize>,
}

/// How clients reach the server, and prove themselves.
pub(crate) struct Reached<'a> {
    pub(crate) addresses: &'a [Address],
    /// What tells of the engine that carries the connections, if there is one.
    pub(crate) engine: Vec<(&'static str, String)>,
    pub(crate) token: Option<&'a Token>,
}

impl Launch {
    /// The processes, of workers of the type `worker`. Where there is one, it may be a launcher that
    /// gives ranks itself.
    fn parts(&self, worker: &str, id: Option<&str>) -> Vec<Part> {
        if self.clients == 1 {
            return vec![Part { name: program(&self.command), rank: None }];
        }
        let worker = worker.split('<').next().unwrap_or_default().to_lowercase();
        let name = id.unwrap_or(&worker);
        (0..self.clients)
            .map(|rank| Part { name: format!("{name}-{rank}"), rank: Some(rank) })
            .collect()
    }

    /// What is added to the environment of a part.
    fn environment(
        &self,
        part: &Part,
        server: &Address,
        reached: &Reached<'_>,
    ) -> Vec<(&'static str, String)> {
        let unset = |name: &str| std::env::var_os(name).is_none_or(|value| value.is_empty());
        let mut variables = match server {
            Address::Engine { .. } => {
                // What is set already may be the clients' own credentials.
                let told = |(name, _): &&(&'static str, String)| *name == "DP_JOB" || unset(name);
                reached.engine.iter().filter(told).cloned().collect()
            }
            address => vec![("DP_SERVER", address.to_string())],
        };
        if let Some(token) = reached.token {
            variables.push(("DP_TOKEN", token.reveal().to_owned()));
        }
        if let Some(rank) = part.rank {
            variables
                .extend([("DP_RANK", rank.to_string()), ("DP_SIZE", self.clients.to_string())]);
        }
        let looks = LOOK_FOR.iter().filter(|(name, _)| unset(name));
        variables.extend(looks.map(|(name, seconds)| (*name, (*seconds).to_owned())));
        variables
    }
}

/// The program that a command of the shell runs first.
fn program(command: &str) -> String {
    let mut words = command.split_whitespace().filter(|word| {
        let assigned = word.split_once('=').is_some_and(|(name, _)| !name.contains('/'));
        !assigned && !matches!(*word, "exec" | "env" | "nice" | "nohup" | "time")
    });
    let word = words.next().unwrap_or("sh");
    let name = word.rsplit('/').next().unwrap_or(word).trim_matches(['"', '\'', ';']);
    if name.is_empty() { "sh".to_owned() } else { name.to_owned() }
}

/// The one of `addresses` that the most clients can reach: over an engine, of other machines, else of
/// this one. In place of every address of this machine it has the name `host`.
fn best(addresses: &[Address], host: &str) -> Address {
    let first = |is: fn(&Address) -> bool| addresses.iter().find(|address| is(address)).cloned();
    if let Some(engine) = first(|address| matches!(address, Address::Engine { .. })) {
        return engine;
    }
    let tcp = |address: &Address| match address {
        Address::Tcp(text) => text.parse::<SocketAddr>().ok(),
        _ => None,
    };
    let reached = addresses.iter().filter_map(tcp).find(|address| !address.ip().is_loopback());
    if let Some(address) = reached {
        return Address::Tcp(match address.ip().is_unspecified() {
            true => format!("{host}:{}", address.port()),
            false => address.to_string(),
        });
    }
    let unix = first(|address| matches!(address, Address::Unix(_)));
    // A server listens on one at least.
    unix.or_else(|| addresses.first().cloned()).unwrap_or_else(|| Address::Tcp(host.to_owned()))
}

/// Where clients reach this server.
#[cfg(unix)]
async fn server_address(addresses: &[Address]) -> Address {
    const HERE: &str = "127.0.0.1";
    /// How long a name may take to be looked up.
    const LOOK_UP: std::time::Duration = std::time::Duration::from_secs(2);
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let known = dp_core::engine::io().spawn(async move {
        let looking = tokio::net::lookup_host((name.as_str(), 0));
        let found = tokio::time::timeout(LOOK_UP, looking).await;
        let found = found.is_ok_and(|found| found.is_ok_and(|mut all| all.next().is_some()));
        found.then_some(name)
    });
    let name = known.await.ok().flatten();
    best(addresses, name.as_deref().unwrap_or(HERE))
}

/// Nothing can be launched here.
#[cfg(not(unix))]
#[derive(Debug)]
pub(crate) struct Launched;

#[cfg(not(unix))]
impl Launched {
    pub(crate) async fn start(
        launch: &Launch,
        _worker: &str,
        _reached: Reached<'_>,
    ) -> Result<Self, StartError> {
        let source = io::Error::from(io::ErrorKind::Unsupported);
        Err(StartError::Launch { command: launch.command.clone(), source })
    }

    pub(crate) fn is_ending(&self) {}

    pub(crate) async fn all_ended(&self, _patient: bool) -> String {
        std::future::pending().await
    }

    pub(crate) async fn end(self) {}
}

/// What cannot be started.
#[cfg(unix)]
fn failed(launch: &Launch, source: io::Error) -> StartError {
    StartError::Launch { command: launch.command.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(command: &str, clients: usize) -> Launch {
        Launch { command: command.to_owned(), clients }
    }

    #[test]
    fn several_clients_have_ranks_and_one_may_be_a_launcher() {
        let names = |launch: Launch, id| -> Vec<String> {
            launch.parts("Sorter<u64>", id).into_iter().map(|part| part.name).collect()
        };
        assert_eq!(names(launch("./client", 2), None), ["sorter-0", "sorter-1"]);
        assert_eq!(names(launch("./client", 2), Some("lab")), ["lab-0", "lab-1"]);
        assert_eq!(names(launch("mpirun -n 8 ./client", 1), Some("lab")), ["mpirun"]);
        for (command, name) in [
            ("exec ./target/release/client --id a/b", "client"),
            ("RUST_LOG=debug /opt/a=b/client", "client"),
            ("'./my' client", "my"),
            ("", "sh"),
        ] {
            assert_eq!(program(command), name, "{command}");
        }
    }

    #[test]
    fn clients_are_told_where_the_server_is_and_what_proves_them() {
        let token = Token::random().unwrap();
        let launch = launch("./client", 3);
        let part = &launch.parts("Greeter", None)[2];
        let server = Address::Tcp("lab:1".to_owned());
        let mut reached = Reached { addresses: &[], engine: Vec::new(), token: Some(&token) };
        let told = launch.environment(part, &server, &reached);
        let of = |name| told.iter().find(|(variable, _)| *variable == name).map(|(_, is)| &**is);
        assert_eq!((of("DP_SERVER"), of("DP_RANK")), (Some("lab:1"), Some("2")));
        assert_eq!((of("DP_SIZE"), of("DP_RECONNECT_FOR")), (Some("3"), Some("10")));
        assert!(token.matches(of("DP_TOKEN").unwrap()));
        let engine = Address::Engine { engine: "nats://lab:4222".to_owned(), job: "j".to_owned() };
        reached.engine =
            vec![("DP_ENGINE", "nats://user:password@lab".to_owned()), ("DP_JOB", "j".to_owned())];
        let told = launch.environment(part, &best(&[server, engine], "lab"), &reached);
        assert!(told.contains(&("DP_ENGINE", "nats://user:password@lab".to_owned())));
        assert!(told.contains(&("DP_JOB", "j".to_owned())));
        assert!(told.iter().all(|(variable, _)| *variable != "DP_SERVER"));
    }

    #[test]
    fn the_address_is_the_one_that_the_most_can_reach() {
        let best = |addresses: &[&str]| {
            let parsed: Vec<Address> = addresses.iter().map(|text| text.parse().unwrap()).collect();
            best(&parsed, "lab").to_string()
        };
        assert_eq!(best(&["127.0.0.1:1"]), "127.0.0.1:1");
        assert_eq!(best(&["127.0.0.1:1", "192.0.2.1:2"]), "192.0.2.1:2");
        assert_eq!(best(&["0.0.0.0:3"]), "lab:3");
        assert_eq!(best(&["[::]:3"]), "lab:3");
        #[cfg(unix)]
        {
            assert_eq!(best(&["127.0.0.1:1", "unix:/run/lab"]), "unix:/run/lab");
            assert_eq!(best(&["unix:/run/lab", "0.0.0.0:3"]), "lab:3");
        }
    }
}
