//! How many files this process may have open: each connection is one.

use std::io;

#[cfg(unix)]
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lets this process have as many files open as the system allows it to have, and gives that number;
/// `None` where there is no such limit. What it starts from now on inherits that.
///
/// It is for programs that are nothing but a server or a client: what waits by `select` cannot deal with
/// more than 1,024.
pub fn raise_limit() -> Option<u64> {
    #[cfg(unix)]
    {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        // Some systems do not allow what they say that they allow: then it stays as it is.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
    limit()
}

/// How many this process may have open now; `None` where there is no such limit.
pub fn limit() -> Option<u64> {
    #[cfg(unix)]
    return getrlimit(Resource::Nofile).current;
    #[cfg(not(unix))]
    None
}

/// What to do about an error that says that too many are open.
pub fn remedy(error: &io::Error) -> Option<String> {
    #[cfg(unix)]
    if error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) {
        let limit = limit()?;
        return Some(format!("this process may have {limit}; `ulimit -n` in its shell sets that"));
    }
    #[cfg(not(unix))]
    let _ = error;
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn too_many_open_files_have_a_remedy() {
        let many = io::Error::from(rustix::io::Errno::MFILE);
        let limit = limit().unwrap();
        assert!(remedy(&many).unwrap().starts_with(&format!("this process may have {limit}; ")));
        assert_eq!(remedy(&io::Error::from(rustix::io::Errno::PIPE)), None);
    }
}
