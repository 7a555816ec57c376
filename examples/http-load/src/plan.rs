//! What is to be sent, and which part of it is whose.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A whole load test, over all workers, but for the URLs: those are the [`Feed`](crate::Feed)'s.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The method, `GET` for one.
    pub method: String,
    /// Further headers, as `Name: value`.
    pub headers: Vec<String>,
    /// The body of every request.
    pub body: String,
    /// How many requests, over all workers; without an end in time.
    pub requests: u64,
    /// Stop after that long; then `requests` does not count.
    pub duration: Option<Duration>,
    /// How many connections, over all workers.
    pub connections: u64,
    /// How many requests start in a second, over all workers; without it, as many as the connections
    /// can carry.
    pub rate_hz: Option<f64>,
    /// How long one request may take.
    pub timeout: Duration,
}

/// One worker's share of a [`Plan`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Share {
    /// What is the same for all.
    pub plan: Plan,
    /// How many requests this worker sends.
    pub requests: u64,
    /// Over how many connections.
    pub connections: u64,
    /// When, if not as fast as it can.
    pub pace: Option<Pace>,
}

/// When a worker's requests are due.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Pace {
    /// The first one, after the start.
    pub first: Duration,
    /// Each next one, after the one before.
    pub interval: Duration,
}

impl Pace {
    /// When the request of that number is due, after the start.
    pub fn due(&self, number: u64) -> Duration {
        let interval = u64::try_from(self.interval.as_nanos()).unwrap_or(u64::MAX);
        self.first.saturating_add(Duration::from_nanos(interval.saturating_mul(number)))
    }
}

impl Plan {
    /// The share of worker `index` of `workers`: nothing of the plan is left out, nothing is done twice.
    pub fn share(&self, index: usize, workers: usize) -> Share {
        let requests = match self.duration {
            Some(_) => u64::MAX,
            None => part(self.requests, index, workers),
        };
        // A worker without a connection could not send its requests, more than it has requests would
        // be opened for nothing.
        let connections = part(self.connections, index, workers).min(requests).max(1);
        // The workers take turns, so that all together keep an even pace.
        let pace = self.rate_hz.map(|rate_hz| Pace {
            first: Duration::from_secs_f64(index as f64 / rate_hz),
            interval: Duration::from_secs_f64(workers as f64 / rate_hz),
        });
        Share { plan: self.clone(), requests, connections, pace }
    }
}

fn part(whole: u64, index: usize, parts: usize) -> u64 {
    let (index, parts) = (index as u64, parts as u64);
    whole / parts + u64::from(index < whole % parts)
}

#[cfg(test)]
impl Plan {
    /// A small one to test with.
    pub(crate) fn example() -> Self {
        Self {
            method: "GET".to_owned(),
            headers: Vec::new(),
            body: String::new(),
            requests: 100,
            duration: None,
            connections: 4,
            rate_hz: None,
            timeout: Duration::from_secs(10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_the_plan() {
        let plan = Plan { requests: 103, connections: 10, ..Plan::example() };
        let shares: Vec<_> = (0..4).map(|index| plan.share(index, 4)).collect();
        let requests: Vec<_> = shares.iter().map(|share| share.requests).collect();
        let connections: Vec<_> = shares.iter().map(|share| share.connections).collect();
        assert_eq!(requests, [26, 26, 26, 25]);
        assert_eq!(connections, [3, 3, 2, 2]);
    }

    #[test]
    fn every_worker_has_a_connection() {
        let plan = Plan { connections: 1, ..Plan::example() };
        assert!((0..4).all(|index| plan.share(index, 4).connections == 1));
    }

    #[test]
    fn paces_interleave_to_the_whole_rate() {
        let plan = Plan { rate_hz: Some(1_000.0), ..Plan::example() };
        let mut due: Vec<_> = (0..4)
            .flat_map(|index| {
                let pace = plan.share(index, 4).pace.unwrap();
                (0..25).map(move |number| pace.due(number).as_millis())
            })
            .collect();
        due.sort_unstable();
        assert_eq!(due, (0..100).collect::<Vec<_>>());
    }
}
