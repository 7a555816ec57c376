//! Files that are their owner's alone.

use std::fs::OpenOptions;

/// Opens files so that one that is made can be read and written by its owner alone. One that is there
/// already keeps its permissions.
pub(crate) fn options() -> OpenOptions {
    #[allow(unused_mut, reason = "elsewhere there is no mode")]
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}
