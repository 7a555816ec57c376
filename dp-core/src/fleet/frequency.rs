//! The frequency of staggered starts.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use thiserror::Error;

/// What a frequency can be: from one call in twelve days to one in a nanosecond.
pub(crate) const FREQUENCIES: RangeInclusive<f64> = 0.000_001..=1_000_000_000.0;

/// A frequency that is none.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[error(
    "a frequency is a number of calls per second above 0, from {} to {}, and {hz:?} is not",
    FREQUENCIES.start(), FREQUENCIES.end()
)]
pub struct FrequencyError {
    /// What was given.
    pub hz: f64,
}

/// Whether `hz` can be a frequency.
pub(crate) fn check(hz: f64) -> Result<(), FrequencyError> {
    if FREQUENCIES.contains(&hz) { Ok(()) } else { Err(FrequencyError { hz }) }
}

/// Calls per second.
#[derive(Debug)]
pub(crate) struct Frequency(AtomicU64);

impl Default for Frequency {
    fn default() -> Self {
        Self(AtomicU64::new(1_f64.to_bits()))
    }
}

impl Frequency {
    pub(crate) fn hz(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }

    pub(crate) fn set(&self, hz: f64) -> Result<(), FrequencyError> {
        check(hz)?;
        self.0.store(hz.to_bits(), Ordering::Relaxed);
        Ok(())
    }

    /// The time between two starts.
    pub(crate) fn period(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.hz())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frequency_has_a_range_that_its_error_names() {
        let frequency = Frequency::default();
        for bad in [0.0, -1.0, 1e-320, 1e-7, 1e10, f64::NAN, f64::INFINITY] {
            let error = frequency.set(bad).unwrap_err().to_string();
            assert!(error.contains("from 0.000001 to 1000000000"), "{error}");
        }
        assert_eq!(frequency.period(), Duration::from_secs(1));
        frequency.set(0.25).unwrap();
        assert_eq!(frequency.period(), Duration::from_secs(4));
        frequency.set(*FREQUENCIES.start()).unwrap();
        assert_eq!(frequency.period().as_secs_f64().round(), 1e6);
    }
}
