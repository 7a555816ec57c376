//! The runs of this server that are over.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::report::Report;

/// Keeps the report of the last run.
#[derive(Debug, Default)]
pub(crate) struct History(Mutex<Option<Report>>);

impl History {
    pub(crate) fn add(&self, report: Report) {
        *self.lock() = Some(report);
    }

    /// The last run's.
    pub(crate) fn last(&self) -> Option<Report> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Report>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
