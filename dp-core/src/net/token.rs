//! The shared secret: both sides prove that they have it, and neither sends it.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{GateError, SecretError, files};
use crate::link::{LinkError, read_first};
use crate::wire::{Preamble, TokenPreamble};

/// A secret that a server and its clients share.
///
/// Whoever does not have it cannot join, and a server that does not have it gets no client. It is
/// never sent: each side answers a random challenge of the other's with a keyed hash of it, which on
/// a TLS connection is bound to that, too. It appears in no `Debug` output and no error.
///
/// ```
/// # fn main() -> Result<(), dp_core::net::SecretError> {
/// let token = dp_core::net::Token::new("a text that nobody can guess")?;
/// assert!(token.matches("a text that nobody can guess"));
/// assert_eq!(format!("{token:?}"), "Token(..)");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Token(Arc<Secret>);

struct Secret {
    key: hmac::Key,
    /// For programs that this one starts.
    text: String,
}

/// Shorter ones can be guessed by whoever can see a handshake.
const SHORT: usize = 16;

const NONCE: usize = 32;
const PROOF: usize = 32;
const STAGE: &str = "the proof of the token";

/// Who proves it, so that no side's proof can be sent back as the other's.
#[derive(Debug, Clone, Copy)]
enum Side {
    Client,
    Server,
}

impl Token {
    /// A token. White space around it does not belong to it.
    ///
    /// # Errors
    /// [`SecretError::EmptyToken`] when nothing is left.
    pub fn new(secret: impl AsRef<str>) -> Result<Self, SecretError> {
        Self::from_text(secret.as_ref(), "the text")
    }

    /// Reads a token from a file that has nothing else in it.
    ///
    /// # Errors
    /// [`SecretError`]: the file cannot be read, or has no token in it.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, SecretError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path)
            .map_err(|source| SecretError::Read { path: path.to_owned(), source })?;
        files::warn_if_others_can_read(path, "token");
        Self::from_text(&text, &path.display().to_string())
    }

    /// The token in the environment variable `DP_TOKEN`; `None` where that is not set, or empty.
    ///
    /// # Errors
    /// [`SecretError::EmptyToken`] when there is something in it, but no token: who set it wants one.
    pub fn from_env() -> Result<Option<Self>, SecretError> {
        match std::env::var_os("DP_TOKEN") {
            Some(text) if !text.is_empty() => {
                Self::from_text(text.to_str().unwrap_or_default(), "DP_TOKEN").map(Some)
            }
            _ => Ok(None),
        }
    }

    fn from_text(text: &str, from: &str) -> Result<Self, SecretError> {
        let secret = text.trim();
        if secret.is_empty() {
            return Err(SecretError::EmptyToken { from: from.to_owned() });
        }
        if secret.len() < SHORT {
            tracing::warn!(
                "the token in {from} has less than {SHORT} characters: a longer one, made by \
                 `openssl rand -hex 32` for one, cannot be guessed"
            );
        }
        Ok(Self::of(secret.to_owned()))
    }

    fn of(text: String) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes());
        Self(Arc::new(Secret { key, text }))
    }

    /// One that nobody else has: 256 random bits.
    ///
    /// # Errors
    /// [`SecretError::NoRandomness`] when the system has none.
    pub fn random() -> Result<Self, SecretError> {
        let random = nonce().map_err(|_| SecretError::NoRandomness)?;
        Ok(Self::of(random.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// The secret itself, for the environment of a client program that a program starts. It does not
    /// belong on a command line, which everybody on a machine can read.
    pub fn reveal(&self) -> &str {
        &self.0.text
    }

    /// Whether `given` is the same token. How long that takes tells nothing about it.
    pub fn matches(&self, given: impl AsRef<str>) -> bool {
        let given = hmac::Key::new(hmac::HMAC_SHA256, given.as_ref().trim().as_bytes());
        let tag = hmac::sign(&self.0.key, b"dp token");
        hmac::verify(&given, b"dp token", tag.as_ref()).is_ok()
    }

    /// The server's side: asks for a proof, and gives its own to whoever has given one.
    pub(super) async fn admit(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        binding: &[u8],
    ) -> Result<(), GateError> {
        let first = first(stream).await?;
        let ours = nonce()?;
        match TokenPreamble::parse(first) {
            TokenPreamble::Ours => {}
            TokenPreamble::Version(theirs) => {
                let _ = write(stream, &[&TokenPreamble::bytes()]).await;
                return untrusted(format!(
                    "peer proves its token in a way unknown here ({theirs}): build both programs \
                     with the same version of dp"
                ));
            }
            TokenPreamble::None => {
                // A dp without a token learns from this that it needs one.
                if Preamble::is_dp(first) {
                    let _ = write(stream, &[&TokenPreamble::bytes()]).await;
                    return untrusted(
                        "the client has no token: give it the server's (--token-file or DP_TOKEN)"
                            .to_owned(),
                    );
                }
                return untrusted(Preamble::stranger(first));
            }
        }
        let theirs = read::<NONCE>(stream).await?;
        write(stream, &[&TokenPreamble::bytes(), &ours]).await?;
        let proof = read::<PROOF>(stream).await?;
        let (nonces, none) = ([theirs, ours], [0; PROOF]);
        if !self.verify(Side::Client, &nonces, binding, &proof) {
            write(stream, &[&none]).await?;
            return untrusted("the client has another token".to_owned());
        }
        write(stream, &[&self.prove(Side::Server, &nonces, binding)]).await
    }

    /// The client's side: proves the token, and has the server prove it.
    pub(super) async fn present(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        binding: &[u8],
    ) -> Result<(), GateError> {
        let ours = nonce()?;
        write(stream, &[&TokenPreamble::bytes(), &ours]).await?;
        let first = first(stream).await?;
        match TokenPreamble::parse(first) {
            TokenPreamble::Ours => {}
            TokenPreamble::Version(theirs) => {
                return untrusted(format!(
                    "the server proves its token in a way unknown here ({theirs}): build both \
                     programs with the same version of dp"
                ));
            }
            TokenPreamble::None if Preamble::is_dp(first) => {
                return untrusted(
                    "the server has no token, so that it cannot prove to be the right one: give it \
                     this client's (--token-file or DP_TOKEN)"
                        .to_owned(),
                );
            }
            TokenPreamble::None => return untrusted(Preamble::stranger(first)),
        }
        let theirs = read::<NONCE>(stream).await?;
        let nonces = [ours, theirs];
        write(stream, &[&self.prove(Side::Client, &nonces, binding)]).await?;
        let proof = read::<PROOF>(stream).await?;
        if self.verify(Side::Server, &nonces, binding, &proof) {
            return Ok(());
        }
        untrusted(
            "the server has another token: give both the same (--token-file or DP_TOKEN)".into(),
        )
    }

    fn prove(&self, side: Side, nonces: &[[u8; NONCE]; 2], binding: &[u8]) -> [u8; PROOF] {
        let tag = hmac::sign(&self.0.key, &statement(side, nonces, binding));
        let mut proof = [0; PROOF];
        proof.copy_from_slice(tag.as_ref());
        proof
    }

    fn verify(
        &self,
        side: Side,
        nonces: &[[u8; NONCE]; 2],
        binding: &[u8],
        proof: &[u8; PROOF],
    ) -> bool {
        hmac::verify(&self.0.key, &statement(side, nonces, binding), proof).is_ok()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// What a proof is a proof of: the side, both challenges, and the connection.
fn statement(side: Side, nonces: &[[u8; NONCE]; 2], binding: &[u8]) -> Vec<u8> {
    let label: &[u8] = match side {
        Side::Client => b"dp token 1 client",
        Side::Server => b"dp token 1 server",
    };
    // Each part but the last has a length of its own or of its kind: no two statements read alike.
    [label, &nonces[0], &nonces[1], binding].concat()
}

fn nonce() -> Result<[u8; NONCE], GateError> {
    let mut nonce = [0; NONCE];
    let filled = SystemRandom::new().fill(&mut nonce);
    filled.map_err(|_| ended(io::Error::other("the system has no random numbers")))?;
    Ok(nonce)
}

/// What the other side sends first, whatever it is.
async fn first(stream: &mut (impl AsyncRead + Unpin)) -> Result<[u8; Preamble::LENGTH], GateError> {
    read_first(stream).await.map_err(|error| match error {
        LinkError::Io(source) => ended(source),
        error => GateError::Untrusted { reason: error.to_string().into() },
    })
}

async fn read<const N: usize>(stream: &mut (impl AsyncRead + Unpin)) -> Result<[u8; N], GateError> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await.map_err(ended)?;
    Ok(bytes)
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), parts: &[&[u8]]) -> Result<(), GateError> {
    stream.write_all(&parts.concat()).await.map_err(ended)?;
    stream.flush().await.map_err(ended)
}

fn ended(source: io::Error) -> GateError {
    match source.kind() {
        // TLS says so when the other side does not take this one's certificate.
        io::ErrorKind::InvalidData => super::tls::untrusted(&source),
        _ => GateError::Ended { stage: STAGE, source },
    }
}

fn untrusted(reason: String) -> Result<(), GateError> {
    Err(GateError::Untrusted { reason: reason.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn meet(
        server: &Token,
        client: &Token,
        bindings: (&[u8], &[u8]),
    ) -> (Result<(), String>, Result<(), String>) {
        let (mut a, mut b) = tokio::io::duplex(1024);
        let (server, client) =
            tokio::join!(server.admit(&mut a, bindings.0), client.present(&mut b, bindings.1));
        (server.map_err(|e| e.to_string()), client.map_err(|e| e.to_string()))
    }

    #[tokio::test]
    async fn who_has_the_same_token_is_let_in_and_the_other_is_not() {
        let [one, same, other] =
            ["open sesame, please", " open sesame, please\n", "open barley, please"]
                .map(|text| Token::new(text).unwrap());
        assert_eq!(meet(&one, &same, (b"", b"")).await, (Ok(()), Ok(())));
        let (server, client) = meet(&one, &other, (b"", b"")).await;
        assert_eq!(server.unwrap_err(), "the client has another token");
        assert!(client.unwrap_err().contains("another token"));
    }

    #[tokio::test]
    async fn a_proof_is_worth_nothing_on_another_connection() {
        let token = Token::new("open sesame, please").unwrap();
        let (server, client) = meet(&token, &token, (b"one", b"another")).await;
        assert!(server.is_err() && client.is_err());
    }

    #[tokio::test]
    async fn a_proof_sent_back_is_none() {
        // A server without the token that returns what it was sent.
        let token = Token::new("open sesame, please").unwrap();
        let (mut server, mut client) = tokio::io::duplex(1024);
        let mirror = async {
            let mut bytes = [0; Preamble::LENGTH + NONCE];
            server.read_exact(&mut bytes).await.unwrap();
            server.write_all(&bytes).await.unwrap();
            let mut proof = [0; PROOF];
            server.read_exact(&mut proof).await.unwrap();
            server.write_all(&proof).await.unwrap();
        };
        let (_, presented) = tokio::join!(mirror, token.present(&mut client, b""));
        assert!(presented.is_err());
    }

    #[tokio::test]
    async fn what_travels_has_no_part_of_the_token() {
        let token = Token::new("open sesame, please").unwrap();
        let (mut server, mut client) = tokio::io::duplex(1024);
        let (_, all) = tokio::join!(
            async {
                let _ = token.present(&mut client, b"").await;
                drop(client);
            },
            async {
                server.write_all(&TokenPreamble::bytes()).await.unwrap();
                server.write_all(&[7; NONCE]).await.unwrap();
                server.write_all(&[7; PROOF]).await.unwrap();
                let mut all = Vec::new();
                server.read_to_end(&mut all).await.unwrap();
                all
            }
        );
        assert_eq!(all.len(), Preamble::LENGTH + NONCE + PROOF);
        assert!(!all.windows(4).any(|four| b"open sesame, please".windows(4).any(|t| t == four)));
    }

    #[test]
    fn a_token_is_compared_as_a_whole_and_never_shown() {
        let token = Token::new("open sesame, please").unwrap();
        assert!(token.matches("open sesame, please\n"));
        assert!(!token.matches("open sesame, pleas") && !token.matches(""));
        assert_eq!(format!("{token:?}"), "Token(..)");
        assert!(matches!(Token::new(" \n"), Err(SecretError::EmptyToken { .. })));
    }

    proptest::proptest! {
        #[test]
        fn garbage_is_refused_by_both_sides(
            dp in proptest::bool::ANY,
            rest in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
        ) {
            // The right start, for a deeper look, or any.
            let mut bytes = if dp { TokenPreamble::bytes().to_vec() } else { Vec::new() };
            bytes.extend(rest);
            let token = Token::new("open sesame, please").unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let (mut ours, mut theirs) = tokio::io::duplex(1024);
                theirs.write_all(&bytes).await.unwrap();
                theirs.shutdown().await.unwrap();
                assert!(token.admit(&mut ours, b"").await.is_err());
                let (mut ours, mut theirs) = tokio::io::duplex(1024);
                theirs.write_all(&bytes).await.unwrap();
                theirs.shutdown().await.unwrap();
                assert!(token.present(&mut ours, b"").await.is_err());
            });
        }
    }
}
