//! Who is at the other end of a Unix socket, as the system says.

use std::io;

use tokio::net::UnixStream;

use super::GateError;

/// Whose processes are trusted over a Unix socket: those of this process's own user, of root, and of
/// the users that were named.
#[derive(Debug, Clone)]
pub struct TrustedUsers {
    own: u32,
    others: Vec<u32>,
}

impl TrustedUsers {
    /// This process's own user, root, and `others`, by their numbers.
    ///
    /// # Errors
    /// When the system does not say who this process belongs to, which takes two file descriptors.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(others: &[u32]) -> io::Result<Self> {
        // The other end of this one is this process itself; to ask directly takes unsafe code.
        let own = UnixStream::pair()?.0.peer_cred()?.uid();
        Ok(Self { own, others: others.to_vec() })
    }

    /// Checks the process at the other end, and gives its number where the system says it. Of a server
    /// that is the process which began to listen.
    ///
    /// # Errors
    /// [`GateError::Untrusted`] when it is another user's, [`GateError::Ended`] when the system does not
    /// say whose it is.
    pub fn check(&self, stream: &UnixStream) -> Result<Option<i32>, GateError> {
        let peer = stream.peer_cred().map_err(|source| GateError::Ended {
            stage: "the look at who is at the other end",
            source,
        })?;
        if self.trusts(peer.uid()) {
            return Ok(peer.pid());
        }
        let reason = format!(
            "the other end of the socket belongs to user {}, and only user {} and root are trusted: \
             run both as one user, or allow that one with --allow-uid {}",
            peer.uid(),
            self.own,
            peer.uid()
        );
        Err(GateError::Untrusted { reason: reason.into() })
    }

    fn trusts(&self, user: u32) -> bool {
        user == self.own || user == 0 || self.others.contains(&user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn this_process_trusts_itself_and_knows_its_number() {
        let (one, _other) = UnixStream::pair().unwrap();
        let pid = TrustedUsers::new(&[]).unwrap().check(&one).unwrap();
        assert!(pid.is_none_or(|pid| u32::try_from(pid) == Ok(std::process::id())));
    }

    #[tokio::test]
    async fn others_are_trusted_only_when_named_and_the_error_says_how() {
        let users = TrustedUsers { own: 4_000_000, others: vec![4_000_001] };
        assert!(users.trusts(4_000_000) && users.trusts(4_000_001) && users.trusts(0));
        assert!(!users.trusts(4_000_002));
        let me = TrustedUsers::new(&[]).unwrap().own;
        if me != 0 {
            let (one, _other) = UnixStream::pair().unwrap();
            let error = users.check(&one).unwrap_err().to_string();
            assert!(error.contains(&format!("--allow-uid {me}")), "{error}");
        }
    }
}
