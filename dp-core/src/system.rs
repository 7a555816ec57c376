//! Calls that the framework makes itself, by the way that methods are called. Their numbers are
//! above those that a worker's own methods can have.

/// Gives the recorded results. Answered at once, whatever the worker is doing.
pub(crate) const RESULTS: u16 = 0xff00;
/// Drops the recorded results and metrics. Carried out when it is read, whatever the worker is doing.
pub(crate) const RESET_RESULTS: u16 = 0xff01;
/// Does nothing, in its turn: the answer says that all calls before it have ended.
pub(crate) const SYNCHRO: u16 = 0xff02;
/// Gives the recorded metrics. Answered at once, whatever the worker is doing.
pub(crate) const METRICS: u16 = 0xff03;
/// As the arguments of [`METRICS`]: the answer has the ages of the metrics behind the metrics.
pub(crate) const WITH_AGES: u8 = 1;
/// The server has stored so many of the recorded results for good. Carried out when it is read.
pub(crate) const ACKNOWLEDGE: u16 = 0xff04;

/// Whether it is the framework's, and no method of a worker's own.
pub(crate) fn is_system(method: u16) -> bool {
    method >= RESULTS
}

/// Whether it is answered at once, whatever waits in the worker's queue.
pub(crate) fn is_at_once(method: u16) -> bool {
    matches!(method, RESULTS | RESET_RESULTS | METRICS | ACKNOWLEDGE)
}

/// What people are shown.
pub(crate) fn name(method: u16) -> &'static str {
    match method {
        RESULTS => "results",
        RESET_RESULTS => "reset_results",
        SYNCHRO => "synchro",
        METRICS => "metrics",
        ACKNOWLEDGE => "acknowledge",
        _ => "unknown method",
    }
}
