//! Barriers in a simulated cluster with virtual time: messages that take a random time, and a
//! worker that dies at a random moment. The same seed gives the same course.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::barrier::{Arrival, BarrierVerdict, Barriers};
use crate::chaos::Random;

const PERIOD: Duration = Duration::from_millis(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A worker's arrival reaches the master.
    Arrives { worker: usize, round: u64 },
    /// A release reaches its worker.
    Released { worker: usize, round: u64, lost: bool },
    /// A worker dies; the master learns of it at once.
    Dies { worker: usize },
}

struct Course {
    /// How many barriers each worker passed.
    passed: Vec<u64>,
    /// Which workers were told that the dead one is missing.
    told: Vec<bool>,
    events: usize,
}

/// `workers` workers come to `rounds` barriers each; worker `dies.0` dies at `dies.1`.
fn simulate(seed: u64, workers: usize, rounds: u64, dies: Option<(usize, Duration)>) -> Course {
    let mut random = Random::new(seed);
    let mut barriers: Barriers<(usize, u64)> = Barriers::new(workers);
    let mut queue = BinaryHeap::new();
    let mut sequence = 0;
    let start = Instant::now();
    let mut at = |queue: &mut BinaryHeap<_>, time: Instant, event: Event| {
        sequence += 1;
        queue.push(Reverse((time, sequence, event)));
    };
    for worker in 0..workers {
        at(&mut queue, start + random.latency(), Event::Arrives { worker, round: 0 });
    }
    if let Some((worker, when)) = dies {
        at(&mut queue, start + when, Event::Dies { worker });
    }
    let mut dead = vec![false; workers];
    let mut course = Course { passed: vec![0; workers], told: vec![false; workers], events: 0 };
    let mut last_arrival: HashMap<u64, Instant> = HashMap::new();
    while let Some(Reverse((now, _, event))) = queue.pop() {
        course.events += 1;
        match event {
            Event::Arrives { worker, .. } if dead[worker] => {}
            Event::Arrives { worker, round } => {
                last_arrival.insert(round, now);
                let who = Arrival {
                    key: (worker, round),
                    position: worker,
                    staggered: false,
                    survivors: false,
                    deadline: None,
                };
                barriers.handle_arrive("round", who, now, PERIOD);
            }
            Event::Released { worker, .. } if dead[worker] => {}
            Event::Released { worker, round, lost: false } => {
                // Nobody passes before the last has come.
                assert!(now > last_arrival[&round], "seed {seed}: round {round}");
                course.passed[worker] += 1;
                if round + 1 < rounds {
                    let event = Event::Arrives { worker, round: round + 1 };
                    at(&mut queue, now + random.latency(), event);
                }
            }
            Event::Released { worker, lost: true, .. } => course.told[worker] = true,
            Event::Dies { worker } => {
                dead[worker] = true;
                barriers.handle_gone(worker, "killed".to_owned(), now, PERIOD);
            }
        }
        while let Some(release) = barriers.poll_release() {
            let (worker, round) = release.key;
            let lost = match release.verdict {
                BarrierVerdict::Met { missing } => {
                    assert!(missing.named.is_empty(), "seed {seed}: met without {missing:?}");
                    false
                }
                BarrierVerdict::Lost { missing } => {
                    let expected: Vec<usize> = dies.iter().map(|(worker, _)| *worker).collect();
                    assert_eq!(*missing.named, *expected, "seed {seed}");
                    true
                }
                BarrierVerdict::TimedOut { .. } => panic!("seed {seed}: nobody set a time"),
            };
            at(&mut queue, now + random.latency(), Event::Released { worker, round, lost });
        }
    }
    course
}

#[test]
fn workers_512_meet_100_times() {
    let course = simulate(1, 512, 100, None);
    assert!(course.passed.iter().all(|passed| *passed == 100));
}

#[test]
fn whoever_waits_for_a_dead_worker_is_told_and_nobody_hangs() {
    const ROUNDS: u64 = 100;
    let mut interrupted = 0;
    for seed in 0..2_000 {
        let mut random = Random::new(seed + 77);
        let workers = 2 + random.below(14) as usize;
        let victim = random.below(workers as u64) as usize;
        // A round takes about 2 ms; some seeds kill after the end, or before the first barrier.
        let when = Duration::from_micros(random.below(250_000));
        let course = simulate(seed, workers, ROUNDS, Some((victim, when)));
        for worker in (0..workers).filter(|worker| *worker != victim) {
            let done = course.passed[worker] == ROUNDS;
            // Either it passed every barrier, or it was told why it does not: never neither.
            assert!(done != course.told[worker], "seed {seed}: worker {worker} hangs");
        }
        interrupted += usize::from(course.told.contains(&true));
        assert!(course.events > 0);
    }
    assert!(interrupted > 500, "only {interrupted} seeds killed a worker that was waited for");
}

#[test]
fn workers_512_one_killed_at_a_random_moment() {
    for seed in 0..5 {
        let when = Duration::from_micros(Random::new(seed).below(150_000));
        let course = simulate(seed, 512, 100, Some((seed as usize * 100, when)));
        let left = (0..512).filter(|worker| *worker != seed as usize * 100);
        for worker in left {
            assert!((course.passed[worker] == 100) != course.told[worker], "seed {seed}");
        }
    }
}
