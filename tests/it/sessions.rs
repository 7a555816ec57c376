//! What Distributed::Process, the Perl original, tests in its own suite, behaviour for behaviour.

use std::collections::BTreeMap;

use dp_tests::{Client, Server};

use crate::{CLIENT, SERVER};

fn with_workers(run: &str, workers: usize, args: &[&str], test: impl FnOnce(&mut Server)) {
    let mut server = Server::start(SERVER, workers, run, args);
    let clients: Vec<Client> = (1..=workers)
        .map(|n| Client::start(CLIENT, &server.address, &format!("wrk{n}"), 1))
        .collect();
    server.ready(workers);
    test(&mut server);
    server.quit();
    clients.into_iter().for_each(Client::ends_well);
}

/// The messages of result lines by worker.
fn messages(lines: &[String]) -> BTreeMap<&str, Vec<&str>> {
    let mut messages: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in lines {
        let fields: Vec<&str> = line.splitn(3, '\t').collect();
        messages.entry(fields[0]).or_default().push(fields[2]);
    }
    messages
}

#[test]
fn sessions_have_a_value_of_their_own_for_each_worker() {
    with_workers("session", 3, &[], |server| {
        let (lines, ok) = server.run();
        assert!(ok);
        let expected: BTreeMap<_, _> = [
            ("wrk1", vec!["ok name of wrk1"]),
            ("wrk2", vec!["ok name of wrk2"]),
            ("wrk3", vec!["ok name of wrk3"]),
        ]
        .into();
        assert_eq!(messages(&lines), expected);
    });
}

#[test]
fn a_reset_between_runs_leaves_one_result_line_for_each_worker() {
    with_workers("session", 3, &[], |server| {
        assert_eq!(server.run().0.len(), 3);
        server.type_line("/reset");
        assert_eq!(server.run().0.len(), 3);
    });
}

#[test]
fn timed_methods_record_their_time() {
    with_workers("timed", 3, &[], |server| {
        let (lines, _) = server.run();
        for (_, messages) in messages(&lines) {
            let [message] = messages[..] else { panic!("{messages:?}") };
            let seconds = message.strip_prefix("Time for running block: ").unwrap();
            let seconds: f64 = seconds.strip_suffix(" seconds").unwrap().parse().unwrap();
            assert!((0.02..20.0).contains(&seconds), "{message}");
        }
    });
}

#[test]
fn postponed_calls_start_a_period_apart_in_worker_order() {
    with_workers("postponed", 4, &[], |server| {
        server.type_line("/freq 10");
        let (lines, ok) = server.run();
        assert!(ok);
        let starts: Vec<u64> = messages(&lines)
            .into_values()
            .map(|messages| messages[0].strip_prefix("began ").unwrap().parse().unwrap())
            .collect();
        // A period of 100 ms apart, as far as a busy machine lets see.
        assert!(starts.is_sorted(), "{starts:?}");
        assert!(starts[3] - starts[0] > 250_000, "{starts:?}");
    });
}

#[test]
fn delays_come_a_period_apart_for_three_tokens_in_a_row() {
    with_workers("delays", 5, &["--frequency", "10"], |server| {
        let (lines, ok) = server.run();
        assert!(ok);
        let mut times: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for message in messages(&lines).values().flatten() {
            let (token, micros) = message.split_once(' ').unwrap();
            times.entry(token).or_default().push(micros.parse().unwrap());
        }
        assert_eq!(times.len(), 3);
        for (token, times) in times {
            // In worker order; a period of 100 ms apart, as far as a busy machine lets see.
            let gaps: Vec<u64> = times.windows(2).map(|w| w[1].saturating_sub(w[0])).collect();
            assert!(gaps.iter().all(|gap| *gap > 20_000), "{token}: {gaps:?}");
            assert!(times[4] - times[0] > 350_000, "{token}: {gaps:?}");
        }
    });
}

#[test]
fn server_calls_hand_out_shared_data_and_all_go_on_together() {
    with_workers("meet", 4, &[], |server| {
        let (lines, ok) = server.run();
        assert!(ok);
        let mut numbers: Vec<u64> = Vec::new();
        for (_, messages) in messages(&lines) {
            assert_eq!(messages.len(), 100);
            for (round, message) in messages.iter().enumerate() {
                let words: Vec<&str> = message.split(' ').collect();
                assert_eq!(words[1], round.to_string());
                let number: u64 = words[3].parse().unwrap();
                // Between this barrier and the next, four numbers are handed out.
                assert_eq!(number / 4, round as u64);
                numbers.push(number);
            }
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (0..400).collect::<Vec<u64>>());
    });
}
