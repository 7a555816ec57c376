//! The frequency of staggered starts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use thiserror::Error;

/// A frequency that is none.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[error("a frequency is a number of calls per second above 0, and {hz} is not")]
pub struct FrequencyError {
    /// What was given.
    pub hz: f64,
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
        if !(hz.is_finite() && hz > 0.0) {
            return Err(FrequencyError { hz });
        }
        self.0.store(hz.to_bits(), Ordering::Relaxed);
        Ok(())
    }

    /// The time between two starts.
    pub(crate) fn period(&self) -> Duration {
        // A frequency of nearly 0 has a period that no `Duration` can say.
        Duration::try_from_secs_f64(1.0 / self.hz()).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frequency_is_a_finite_number_above_zero() {
        let frequency = Frequency::default();
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(frequency.set(bad).is_err(), "{bad}");
        }
        assert_eq!(frequency.period(), Duration::from_secs(1));
        frequency.set(0.25).unwrap();
        assert_eq!(frequency.period(), Duration::from_secs(4));
        frequency.set(f64::MIN_POSITIVE).unwrap();
        assert_eq!(frequency.period(), Duration::MAX);
    }
}
