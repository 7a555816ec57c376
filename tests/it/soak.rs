//! Ten minutes of everything at once, by hand:
//! `cargo test --release -p dp-tests --test it soak:: -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use dp_tests::{Client, Network, Server, Tally};

use crate::{CLIENT, SERVER};

const MACHINES: usize = 10;
const CLIENTS: usize = 25;
const WORKERS_EACH: &str = "8";
const WORKERS: usize = 200;

struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }
}

/// What is broken now, and until when.
enum Broken {
    Killed(usize),
    Stopped(usize),
    Cut(usize),
}

struct Site {
    server: Server,
    clients: Vec<Option<Client>>,
    /// Dropped behind what runs in it.
    network: Network,
    broken: Vec<(Instant, Broken)>,
    chance: Chance,
    kills: u64,
    stops: u64,
    cuts: u64,
}

impl Site {
    fn start_client(&self, client: usize) -> Client {
        let machine = self.network.client(client % MACHINES);
        let args = ["--workers", WORKERS_EACH];
        Client::start_on(machine, CLIENT, &self.server, &format!("c{client}"), &args)
    }

    fn is_whole(&self, client: usize) -> bool {
        self.broken.iter().all(|(_, broken)| match broken {
            Broken::Killed(of) | Broken::Stopped(of) => *of != client,
            Broken::Cut(_) => true,
        })
    }

    fn break_something(&mut self) {
        let client = self.chance.below(CLIENTS);
        let until = Instant::now() + Duration::from_millis(300 + self.chance.below(7_000) as u64);
        match self.chance.below(3) {
            0 if self.is_whole(client) => {
                self.clients[client] = None;
                self.kills += 1;
                self.broken.push((until, Broken::Killed(client)));
            }
            1 if self.is_whole(client) => {
                if let Some(stopped) = &self.clients[client] {
                    stopped.0.signal("STOP");
                    self.stops += 1;
                    self.broken.push((until, Broken::Stopped(client)));
                }
            }
            2 => {
                let machine = self.chance.below(MACHINES);
                let cut =
                    |(_, broken): &(_, Broken)| matches!(broken, Broken::Cut(of) if *of == machine);
                if !self.broken.iter().any(cut) {
                    self.network.cut(machine);
                    self.cuts += 1;
                    self.broken.push((until, Broken::Cut(machine)));
                }
            }
            _ => {}
        }
    }

    fn mend(&mut self, all: bool) {
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut self.broken)
            .into_iter()
            .partition(|(until, _)| all || *until <= now);
        self.broken = later;
        for (_, broken) in due {
            match broken {
                Broken::Killed(client) => self.clients[client] = Some(self.start_client(client)),
                Broken::Stopped(client) => {
                    if let Some(stopped) = &self.clients[client] {
                        stopped.0.signal("CONT");
                    }
                }
                Broken::Cut(machine) => self.network.mend(machine),
            }
        }
    }

    /// How many workers the server has, and how many of them are busy.
    fn workers(&mut self) -> (usize, usize) {
        self.server.type_line("/workers");
        self.server.type_line("/freq");
        let mut lines = Vec::new();
        loop {
            match self.server.line() {
                line if line == "1" => break,
                line if line.starts_with('c') => lines.push(line),
                _ => {}
            }
        }
        (lines.len(), lines.iter().filter(|line| !line.contains("idle")).count())
    }
}

#[test]
#[ignore = "takes ten minutes"]
fn workers_200_of_which_some_are_always_killed_stopped_or_cut_off() {
    let setting = |name| std::env::var(name).ok().and_then(|value: String| value.parse().ok());
    let length = Duration::from_secs(setting("DP_SOAK_SECONDS").unwrap_or(600));
    let seed = setting("DP_SOAK_SEED").unwrap_or_else(|| u64::from(std::process::id())) | 1;
    println!("seed {seed}, for {length:?}");
    let Some(network) = Network::new(MACHINES) else { return };
    let settings = [
        "--heartbeat-interval",
        "0.5",
        "--heartbeat-timeout",
        "2",
        "--gather-timeout",
        "5", //
    ];
    let server = Server::start_on(network.server(), SERVER, "soak", &settings);
    let mut site = Site {
        network,
        server,
        clients: Vec::new(),
        broken: Vec::new(),
        chance: Chance(seed),
        kills: 0,
        stops: 0,
        cuts: 0,
    };
    site.clients = (0..CLIENTS).map(|client| Some(site.start_client(client))).collect();
    while site.workers().0 < WORKERS {
        std::thread::sleep(Duration::from_millis(50));
    }

    let (mut tally, mut runs, mut failed, mut arrived) = (Tally::default(), 0, 0, 0);
    let (start, mut shown) = (Instant::now(), Instant::now());
    println!("{:>4} s: {} KiB", 0, site.server.resident_kib());
    while start.elapsed() < length {
        site.server.type_line("/run");
        let began = Instant::now();
        // Breaks something about twice a second, while the run goes on.
        loop {
            match site.server.line_within(Duration::from_millis(400)) {
                Some(line) if line == "ok" => break,
                Some(line) if line == "failed" => {
                    failed += 1;
                    break;
                }
                Some(line) if line == "new worker arrived" => arrived += 1,
                Some(line) => {
                    if let Some(counts) = line.strip_prefix("tally: ") {
                        tally.add(&counts.parse().unwrap());
                    }
                }
                None => {
                    site.mend(false);
                    site.break_something();
                }
            }
            assert!(began.elapsed() < Duration::from_secs(120), "a run hangs");
        }
        site.mend(false);
        site.break_something();
        runs += 1;
        if shown.elapsed() > Duration::from_secs(60) {
            shown = Instant::now();
            let (at, memory) = (start.elapsed().as_secs(), site.server.resident_kib());
            println!("{at:>4} s: {memory} KiB, {runs} runs, {failed} failed; {tally}");
        }
    }

    site.mend(true);
    let calm = Instant::now();
    while site.workers() != (WORKERS, 0) {
        assert!(calm.elapsed() < Duration::from_secs(60), "they do not all come back to rest");
        std::thread::sleep(Duration::from_millis(100));
    }
    let back = calm.elapsed();
    let (lines, ok) = site.server.run();
    println!("{runs} runs, {failed} failed; {tally}");
    println!(
        "{} kills, {} stops, {} cuts; {arrived} workers came back during runs",
        site.kills, site.stops, site.cuts
    );
    println!("all are back after {back:?}; server: {} KiB", site.server.resident_kib());
    assert!(ok, "{:?}", lines.iter().filter(|line| line.starts_with("error")).collect::<Vec<_>>());
    assert_eq!((tally.of("hangs"), tally.of("other")), (0, 0));
    let Site { network: _network, server, clients, .. } = site;
    server.quit();
    clients.into_iter().flatten().for_each(Client::ends_well);
}
