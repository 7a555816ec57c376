//! The whole system in one thread, under virtual time, while connections are cut and processes are
//! killed: the real engines, over a network in memory, with every chance taken from one seed. The same
//! seed takes the same course.
//!
//! `DP_CHAOS_SEED=17 cargo test -p dp-core chaos` replays one seed and tells its course;
//! `DP_CHAOS_SEEDS=100000` takes so many.

mod callers;
mod file;
mod network;
mod processes;
mod random;
mod subject;
mod verdict;
mod world;

use std::cell::RefCell;
use std::time::Duration;

pub(crate) use random::Random;

thread_local! {
    /// The chance of the simulation that this thread runs.
    static CHANCE: RefCell<Option<Random>> = const { RefCell::new(None) };
}

/// Whether this thread runs a simulation.
pub(crate) fn is_simulated() -> bool {
    CHANCE.with_borrow(Option::is_some)
}

/// A number from 0 to `bound` − 1; outside of a simulation 0.
fn below(bound: u64) -> u64 {
    CHANCE.with_borrow_mut(|chance| chance.as_mut().map_or(0, |chance| chance.below(bound)))
}

fn one_in(bound: u64) -> bool {
    below(bound) == 0
}

fn millis(from: u64, to: u64) -> Duration {
    Duration::from_micros(from * 1_000 + below((to - from) * 1_000 + 1))
}

/// As long as a thread may take to come to something.
pub(crate) async fn dawdle() {
    match below(8) {
        0 => tokio::time::sleep(Duration::from_micros(below(3_000))).await,
        1 => tokio::task::yield_now().await,
        _ => {}
    }
}

/// What a seed came to.
#[derive(Debug, PartialEq, Eq)]
struct Course {
    /// A hash over every event and its time.
    fingerprint: u64,
    told: Vec<String>,
    violations: Vec<String>,
    calls: u64,
    failures: u64,
    rejoined: u64,
    stored: u64,
}

fn simulate(seed: u64) -> Course {
    struct Chance;
    impl Drop for Chance {
        fn drop(&mut self) {
            CHANCE.set(None);
        }
    }
    CHANCE.set(Some(Random::new(seed)));
    let _chance = Chance;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(world::World::run())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Instant;

    use super::*;
    use crate::sync::lock;

    /// How many seeds are taken each time.
    const SEEDS: u64 = 3_000;
    /// On a busy machine it takes fewer, as many as fit into this.
    const LONG_ENOUGH: Duration = Duration::from_secs(30);

    fn setting(name: &str) -> Option<u64> {
        let value = std::env::var(name).ok()?;
        Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
    }

    fn report(seed: u64, course: &Course) -> String {
        format!(
            "seed {seed}:\n{}\n{}\nthe same again: DP_CHAOS_SEED={seed} cargo test -p dp-core chaos",
            course.told.join("\n"),
            course.violations.join("\n"),
        )
    }

    #[test]
    fn whatever_breaks_every_call_ends_once_and_everybody_finds_back() {
        if let Some(seed) = setting("DP_CHAOS_SEED") {
            let course = simulate(seed);
            let report = report(seed, &course);
            assert!(course.violations.is_empty(), "{report}");
            println!("{report}\nnothing is wrong");
            return;
        }
        let asked = setting("DP_CHAOS_SEEDS");
        let (start, next) = (Instant::now(), AtomicU64::new(0));
        let over = |seed| match asked {
            Some(seeds) => seed >= seeds,
            None => seed >= SEEDS || start.elapsed() > LONG_ENOUGH,
        };
        let taken = AtomicU64::new(0);
        let failed = Mutex::new(Vec::new());
        let (calls, failures, rejoined) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        let stored = AtomicU64::new(0);
        let threads = std::thread::available_parallelism().map_or(2, Into::into);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while lock(&failed).len() < 5 {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if over(seed) {
                            break;
                        }
                        taken.fetch_add(1, Ordering::Relaxed);
                        let course = simulate(seed);
                        calls.fetch_add(course.calls, Ordering::Relaxed);
                        failures.fetch_add(course.failures, Ordering::Relaxed);
                        rejoined.fetch_add(course.rejoined, Ordering::Relaxed);
                        stored.fetch_add(course.stored, Ordering::Relaxed);
                        if !course.violations.is_empty() {
                            lock(&failed).push(report(seed, &course));
                        }
                    }
                });
            }
        });
        let failed = failed.into_inner().unwrap();
        assert!(failed.is_empty(), "{}", failed.join("\n\n"));
        let [seeds, calls, failures, rejoined, stored] =
            [taken, calls, failures, rejoined, stored].map(AtomicU64::into_inner);
        println!(
            "{seeds} seeds: {calls} calls, {failures} failed, {rejoined} came back, {stored} lines stored"
        );
        // Otherwise nothing would have been put to the test.
        assert!(calls > seeds * 5 && failures > seeds && rejoined > seeds / 2 && stored > seeds);
    }

    #[test]
    fn a_seed_takes_the_same_course_again() {
        for seed in 0..20 {
            assert_eq!(simulate(seed), simulate(seed), "seed {seed}");
        }
    }
}
