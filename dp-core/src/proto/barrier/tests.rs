use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::model::Model;
use super::*;

const PERIOD: Duration = Duration::from_secs(4);

struct Scene {
    barriers: Barriers<u64>,
    now: Instant,
    start: Instant,
}

impl Scene {
    fn new(members: usize) -> Self {
        let now = Instant::now();
        Self { barriers: Barriers::new(members), now, start: now }
    }

    fn arrive(&mut self, token: &str, position: usize, key: u64) -> Vec<(u64, BarrierVerdict)> {
        self.arrive_as(token, arrival(position, key))
    }

    fn arrive_as(&mut self, token: &str, who: Arrival<u64>) -> Vec<(u64, BarrierVerdict)> {
        self.barriers.handle_arrive(token, who, self.now, PERIOD);
        self.released()
    }

    fn gone(&mut self, position: usize) -> Vec<(u64, BarrierVerdict)> {
        self.barriers.handle_gone(position, "lost".into(), self.now, PERIOD);
        self.released()
    }

    fn released(&mut self) -> Vec<(u64, BarrierVerdict)> {
        std::iter::from_fn(|| self.barriers.poll_release())
            .map(|release| (release.key, release.verdict))
            .collect()
    }
}

fn arrival(position: usize, key: u64) -> Arrival<u64> {
    Arrival { key, position, staggered: false, survivors: false, deadline: None }
}

fn met(missing: &[usize]) -> BarrierVerdict {
    BarrierVerdict::Met { missing: Missing::of(missing) }
}

fn lost(missing: &[usize]) -> BarrierVerdict {
    BarrierVerdict::Lost { missing: Missing::of(missing) }
}

#[test]
fn the_last_to_arrive_releases_everybody_in_worker_order() {
    let mut scene = Scene::new(3);
    assert_eq!(scene.arrive("a", 2, 12), []);
    assert_eq!(scene.arrive("a", 0, 10), []);
    let all = [(10, met(&[])), (11, met(&[])), (12, met(&[]))];
    assert_eq!(scene.arrive("a", 1, 11), all);
    assert_eq!(scene.barriers.places.len(), 0);
}

#[test]
fn tokens_do_not_mix_and_can_be_used_again() {
    let mut scene = Scene::new(2);
    assert_eq!(scene.arrive("a", 0, 1), []);
    assert_eq!(scene.arrive("b", 1, 2), []);
    assert_eq!(scene.arrive("a", 1, 3), [(1, met(&[])), (3, met(&[]))]);
    assert_eq!(scene.arrive("a", 0, 4), []);
    assert_eq!(scene.arrive("a", 1, 5), [(4, met(&[])), (5, met(&[]))]);
}

#[test]
fn late_arrival_joins_next_generation() {
    let mut scene = Scene::new(2);
    assert_eq!(scene.arrive("a", 0, 1), []);
    assert_eq!(scene.arrive("a", 0, 2), []);
    assert_eq!(scene.arrive("a", 1, 3), [(1, met(&[])), (3, met(&[]))]);
    assert_eq!(scene.arrive("a", 1, 4), [(2, met(&[])), (4, met(&[]))]);
}

#[test]
fn a_lost_worker_fails_those_who_wait_and_those_who_come_later() {
    let mut scene = Scene::new(3);
    scene.arrive("a", 0, 1);
    assert_eq!(scene.gone(2), [(1, lost(&[2]))]);
    assert_eq!(scene.arrive("a", 1, 2), [(2, lost(&[2]))]);
    assert_eq!(scene.arrive("b", 0, 3), [(3, lost(&[2]))]);
    assert_eq!(scene.barriers.places.len(), 0);
}

#[test]
fn those_who_end_because_another_is_lost_are_not_blamed() {
    let mut scene = Scene::new(4);
    scene.arrive("a", 0, 1);
    scene.arrive("a", 1, 2);
    assert_eq!(scene.gone(2), [(1, lost(&[2])), (2, lost(&[2]))]);
    assert_eq!(scene.gone(0), []);
    assert_eq!(scene.arrive("a", 3, 3), [(3, lost(&[2]))]);
}

#[test]
fn a_lost_worker_that_had_arrived_is_missed_all_the_same() {
    let mut scene = Scene::new(3);
    scene.arrive("a", 0, 1);
    scene.arrive("a", 2, 2);
    assert_eq!(scene.gone(2), [(2, lost(&[2])), (1, lost(&[2]))]);
}

#[test]
fn survivors_go_on_without_the_lost_one() {
    let survivor = |position, key| Arrival { survivors: true, ..arrival(position, key) };
    let mut scene = Scene::new(3);
    assert_eq!(scene.arrive_as("a", survivor(0, 1)), []);
    assert_eq!(scene.gone(2), []);
    let all = [(1, met(&[2])), (2, met(&[2]))];
    assert_eq!(scene.arrive_as("a", survivor(1, 2)), all);
    assert_eq!(scene.arrive_as("a", survivor(0, 3)), []);
    assert_eq!(scene.gone(1), [(3, met(&[1, 2]))]);
}

#[test]
fn a_timeout_names_who_is_missing_and_leaves_the_others_waiting() {
    let mut scene = Scene::new(3);
    let deadline = Some(scene.start + Duration::from_secs(1));
    scene.arrive_as("a", Arrival { deadline, ..arrival(0, 1) });
    scene.arrive("a", 1, 2);
    assert_eq!(scene.barriers.next_deadline(), deadline);
    scene.barriers.handle_time(scene.start);
    assert_eq!(scene.released(), []);
    scene.barriers.handle_time(scene.start + Duration::from_secs(1));
    assert_eq!(scene.released(), [(1, BarrierVerdict::TimedOut { missing: Missing::of(&[2]) })]);
    assert_eq!(scene.arrive("a", 2, 3), []);
    assert_eq!(scene.arrive("a", 0, 4).len(), 3);
}

#[test]
fn who_waits_twice_is_told_twice() {
    let mut scene = Scene::new(3);
    scene.arrive("a", 0, 1);
    scene.arrive("a", 0, 2);
    assert_eq!(scene.gone(2), [(1, lost(&[2])), (2, lost(&[2]))]);

    let mut scene = Scene::new(2);
    scene.arrive("a", 0, 1);
    scene.arrive("a", 0, 2);
    assert!(scene.barriers.handle_withdraw(&1));
    assert_eq!(scene.arrive("a", 1, 3), [(2, met(&[])), (3, met(&[]))]);

    let mut scene = Scene::new(2);
    let deadline = Some(scene.start);
    scene.arrive_as("a", Arrival { deadline, ..arrival(0, 1) });
    scene.arrive("a", 0, 2);
    scene.barriers.handle_time(scene.start);
    assert_eq!(scene.released().len(), 1);
    assert_eq!(scene.arrive("a", 1, 3), [(2, met(&[])), (3, met(&[]))]);
}

#[test]
fn who_withdraws_is_waited_for_again() {
    let mut scene = Scene::new(2);
    scene.arrive("a", 0, 1);
    assert!(scene.barriers.handle_withdraw(&1));
    assert!(!scene.barriers.handle_withdraw(&1));
    assert_eq!(scene.arrive("a", 1, 2), []);
    assert_eq!(scene.arrive("a", 0, 3).len(), 2);
}

#[test]
fn a_delay_releases_in_worker_order_a_period_apart() {
    let staggered = |position, key| Arrival { staggered: true, ..arrival(position, key) };
    let mut scene = Scene::new(3);
    for position in [2, 1, 0] {
        let who = staggered(position, position as u64);
        scene.barriers.handle_arrive("a", who, scene.now, PERIOD);
    }
    let times: Vec<_> = std::iter::from_fn(|| scene.barriers.poll_release())
        .map(|release| (release.key, release.at.unwrap() - scene.start))
        .collect();
    assert_eq!(times, [(0, Duration::ZERO), (1, PERIOD), (2, PERIOD * 2)]);
}

#[test]
fn turns_do_not_drift() {
    let start = Instant::now();
    let period = Duration::from_nanos(333_333_333);
    assert_eq!(at_turn(start, period, 1_000_000) - start, period * 1_000_000);
}

#[test]
fn whom_another_stood_in_front_of_is_told_when_that_one_withdraws() {
    let mut scene = Scene::new(3);
    scene.arrive_as("a", Arrival { survivors: true, ..arrival(0, 1) });
    scene.arrive("a", 0, 2);
    assert_eq!(scene.gone(2), []);
    assert!(scene.barriers.handle_withdraw(&1));
    assert_eq!(scene.released(), [(2, lost(&[2]))]);
}

#[test]
fn a_worker_waits_no_more_often_than_it_may() {
    let mut scene = Scene::new(2);
    for key in 0..MAX_WAITING as u64 {
        assert_eq!(scene.arrive(&format!("{}", key % 7), 0, key), []);
    }
    assert_eq!(scene.arrive("0", 0, 99_999), [(99_999, lost(&[0]))]);
    assert!(scene.barriers.handle_withdraw(&5));
    assert_eq!(scene.arrive("5", 0, 5), []);
}

#[test]
fn of_many_who_are_missing_the_first_are_named_and_the_others_counted() {
    let mut scene = Scene::new(1_000);
    for position in 1..999 {
        assert_eq!(scene.gone(position), []);
    }
    let named: Arc<[usize]> = (1..=MAX_NAMED).collect();
    let missing = Missing { named, more: 998 - MAX_NAMED };
    let verdict = BarrierVerdict::Lost { missing };
    assert_eq!(scene.arrive("a", 0, 1), [(1, verdict)]);
}

/// How many steps it takes, at most, for each arrival.
const STEPS: u64 = 5;

/// So many workers that come to so many barriers each, before the others do.
const FEW: u64 = MAX_WAITING as u64;

#[test]
fn each_arrival_costs_the_same_however_many_wait() {
    for members in [2, 64] {
        let all = FEW * members;
        // Met one generation after another.
        let mut scene = Scene::new(members as usize);
        for position in 1..members {
            for round in 0..FEW {
                scene.arrive("a", position as usize, position * FEW + round);
            }
        }
        for round in 0..FEW {
            assert_eq!(scene.arrive("a", 0, round).len(), members as usize);
        }
        assert!(scene.barriers.steps <= STEPS * all, "{} met", scene.barriers.steps);

        // Withdrawn, the last first and the first first.
        for backwards in [true, false] {
            let mut scene = Scene::new(members as usize + 1);
            for key in 0..all {
                scene.arrive("a", (key / FEW) as usize, key);
            }
            for key in 0..all {
                let key = if backwards { all - 1 - key } else { key };
                assert!(scene.barriers.handle_withdraw(&key));
            }
            assert!(scene.barriers.steps <= STEPS * all, "{} withdrawn", scene.barriers.steps);
        }

        // Gone one after another, while those wait who go on without them.
        let mut scene = Scene::new(members as usize + 1);
        for key in 0..all {
            let who = Arrival { survivors: true, ..arrival((key / FEW) as usize, key) };
            scene.arrive_as("a", who);
        }
        let released: usize =
            (0..=members).map(|position| scene.gone(position as usize).len()).sum();
        assert_eq!(released, all as usize);
        assert!(scene.barriers.steps <= STEPS * all, "{} gone", scene.barriers.steps);

        // Each at its own time.
        let mut scene = Scene::new(members as usize + 1);
        for key in 0..all {
            let deadline = Some(scene.start + Duration::from_micros(key));
            scene.arrive_as("a", Arrival { deadline, ..arrival((key / FEW) as usize, key) });
        }
        while let Some(at) = scene.barriers.next_deadline() {
            scene.barriers.handle_time(at);
            assert_eq!(scene.released().len(), 1);
        }
        assert!(scene.barriers.steps <= STEPS * all, "{} late", scene.barriers.steps);
    }
}

/// What happens to the barriers of five workers.
#[derive(Debug, Clone)]
enum Step {
    Arrives { token: usize, position: usize, staggered: bool, survivors: bool, within: Option<u64> },
    Gone { position: usize },
    Withdraws { one_of: usize },
    Passes { micros: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let arrives = (0..3_usize, 0..5_usize, 0..8_u8, any::<bool>(), 0..40_u64);
    let arrives = arrives.prop_map(|(token, position, staggered, survivors, within)| {
        let (staggered, within) = (staggered == 0, (within < 10).then_some(within));
        Step::Arrives { token, position, staggered, survivors, within }
    });
    let step = prop_oneof![
        12 => arrives,
        1 => (0..5_usize).prop_map(|position| Step::Gone { position }),
        2 => any::<usize>().prop_map(|one_of| Step::Withdraws { one_of }),
        2 => (0..6_u64).prop_map(|micros| Step::Passes { micros }),
    ];
    proptest::collection::vec(step, 0..120)
}

proptest! {
    #[test]
    fn everybody_is_released_as_the_model_says(steps in steps()) {
        let (mut barriers, mut model) = (Barriers::new(5), Model::new(5));
        let (start, mut now) = (Instant::now(), Instant::now());
        for (key, step) in steps.into_iter().enumerate() {
            match step {
                Step::Arrives { token, position, staggered, survivors, within } => {
                    let deadline = within.map(|within| now + Duration::from_micros(within));
                    let who = Arrival { key, position, staggered, survivors, deadline };
                    let token = ["a", "b", "c"][token];
                    barriers.handle_arrive(token, who.clone(), now, PERIOD);
                    model.handle_arrive(token, who, now, PERIOD);
                }
                Step::Gone { position } => {
                    barriers.handle_gone(position, String::new(), now, PERIOD);
                    model.handle_gone(position, String::new(), now, PERIOD);
                }
                Step::Withdraws { one_of } => {
                    let key = one_of % (key + 1);
                    let withdrawn = model.handle_withdraw(&key, now, PERIOD);
                    prop_assert_eq!(barriers.handle_withdraw(&key), withdrawn);
                }
                Step::Passes { micros } => {
                    now += Duration::from_micros(micros);
                    barriers.handle_time(now);
                    model.handle_time(now, PERIOD);
                }
            }
            let drain = |release: &mut dyn FnMut() -> Option<Release<usize>>| {
                let mut all: Vec<_> = std::iter::from_fn(release).collect();
                all.sort_by_key(|release| release.key);
                all
            };
            let released = drain(&mut || barriers.poll_release());
            prop_assert_eq!(released, drain(&mut || model.poll_release()));
            prop_assert_eq!(barriers.places.len(), model.waiting());
            prop_assert_eq!(barriers.next_deadline(), model.next_deadline());
            let sizes = [barriers.waiting.len(), barriers.waits.values().sum()];
            prop_assert_eq!(sizes, [model.waiting(); 2]);
            prop_assert_eq!(barriers.fullest.len(), barriers.tokens.len());
        }
        prop_assert!(start <= now);
    }
}
