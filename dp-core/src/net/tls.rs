//! TLS 1.3 on a connection.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::{GateError, SecretError, Secured};

const STAGE: &str = "the TLS handshake";

const CERT: &str = "--tls-cert or DP_TLS_CERT";
const KEY: &str = "--tls-key or DP_TLS_KEY";
const CA: &str = "--tls-ca or DP_TLS_CA";
const CLIENT_CA: &str = "--tls-client-ca or DP_TLS_CLIENT_CA";

/// A server's side of TLS.
#[derive(Clone)]
pub struct ServerTls {
    acceptor: TlsAcceptor,
    /// Whether clients show a certificate.
    mutual: bool,
}

/// A client's side of TLS.
#[derive(Clone)]
pub struct ClientTls {
    connector: TlsConnector,
    /// The name that the server's certificate must have, if it is not that in the address.
    server_name: Option<ServerName<'static>>,
    own_name: Option<String>,
}

impl ServerTls {
    /// Reads, from PEM files, the server's certificate (and those between it and its CA), its key,
    /// and, where clients are to show a certificate too, the CA that has signed those.
    ///
    /// # Errors
    /// [`SecretError`] names the file.
    pub fn read(cert: &Path, key: &Path, client_ca: Option<&Path>) -> Result<Self, SecretError> {
        let builder = ServerConfig::builder_with_provider(provider());
        let builder = builder
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| unusable(cert, error))?;
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(read_roots(path).map_err(|error| error.of(CLIENT_CA))?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
                let verifier =
                    verifier.build().map_err(|error| unusable(path, error).of(CLIENT_CA))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let chain = read_certs(cert).map_err(|error| error.of(CERT))?;
        let own_key = read_key(key).map_err(|error| error.of(KEY))?;
        let config = builder
            .with_single_cert(chain, own_key)
            .map_err(|error| no_pair(cert, key, error).of(KEY))?;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), mutual: client_ca.is_some() })
    }

    /// Whether nobody gets in without a certificate.
    pub fn is_mutual(&self) -> bool {
        self.mutual
    }

    pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> Result<(Secured<S>, Option<Vec<String>>), GateError> {
        let stream = self.acceptor.accept(stream).await.map_err(failed)?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|shown| shown.first());
        let names = match shown {
            Some(cert) if self.mutual => Some(names(cert)?),
            _ => None,
        };
        Ok((Secured::Tls(Box::new(TlsStream::Server(stream))), names))
    }
}

impl ClientTls {
    /// Reads, from PEM files, the CA that has signed the server's certificate, and, where the server
    /// wants to see one, this client's certificate and key. `server_name` is the name that the
    /// server's certificate must have; default: the one in its address.
    ///
    /// # Errors
    /// [`SecretError`] names the file.
    pub fn read(
        ca: &Path,
        identity: Option<(&Path, &Path)>,
        server_name: Option<&str>,
    ) -> Result<Self, SecretError> {
        let roots = read_roots(ca).map_err(|error| error.of(CA))?;
        let builder = ClientConfig::builder_with_provider(provider());
        let builder = builder
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| unusable(ca, error))?
            .with_root_certificates(roots);
        let (config, own_name) = match identity {
            None => (builder.with_no_client_auth(), None),
            Some((cert, key)) => {
                let chain = read_certs(cert).map_err(|error| error.of(CERT))?;
                let own = names(&chain[0]).map_err(|error| unusable(cert, error).of(CERT))?;
                let own_key = read_key(key).map_err(|error| error.of(KEY))?;
                let config = builder.with_client_auth_cert(chain, own_key);
                (config.map_err(|error| no_pair(cert, key, error).of(KEY))?, own.into_iter().next())
            }
        };
        let server_name = match server_name {
            None => None,
            Some(name) => {
                Some(parse_name(name).map_err(|_| SecretError::Name { name: name.to_owned() })?)
            }
        };
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), server_name, own_name })
    }

    /// The first name in this client's own certificate: the id that the server knows it by.
    pub fn own_name(&self) -> Option<&str> {
        self.own_name.as_deref()
    }

    pub(super) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        host: &str,
    ) -> Result<Secured<S>, GateError> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => parse_name(host)?,
        };
        let stream = self.connector.connect(name, stream).await.map_err(failed)?;
        Ok(Secured::Tls(Box::new(TlsStream::Client(stream))))
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("mutual", &self.mutual).finish_non_exhaustive()
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls")
            .field("server_name", &self.server_name)
            .field("own_name", &self.own_name)
            .finish_non_exhaustive()
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn read_certs(path: &Path) -> Result<Vec<CertificateDer<'static>>, SecretError> {
    const WHAT: &str = "certificate";
    let pem = |error| SecretError::pem(path, WHAT, error);
    let certs = CertificateDer::pem_file_iter(path).map_err(pem)?;
    let certs = certs.collect::<Result<Vec<_>, _>>().map_err(pem)?;
    if certs.is_empty() {
        let reason = "there is none".to_owned();
        return Err(SecretError::Pem { path: path.to_owned(), what: WHAT, reason });
    }
    Ok(certs)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, SecretError> {
    let key =
        PrivateKeyDer::from_pem_file(path).map_err(|error| SecretError::pem(path, "key", error))?;
    super::files::warn_if_others_can_read(path, "key");
    Ok(key)
}

fn read_roots(path: &Path) -> Result<RootCertStore, SecretError> {
    let mut roots = RootCertStore::empty();
    for cert in read_certs(path)? {
        roots.add(cert).map_err(|error| unusable(path, error))?;
    }
    Ok(roots)
}

/// Why a certificate cannot be used with a key.
fn no_pair(cert: &Path, key: &Path, error: rustls::Error) -> SecretError {
    match error {
        rustls::Error::InconsistentKeys(_) => {
            let cert = cert.display();
            unusable(key, format_args!("it is not the key of the certificate in {cert}"))
        }
        error => unusable(key, error),
    }
}

fn unusable(path: &Path, reason: impl fmt::Display) -> SecretError {
    SecretError::Unusable { path: path.to_owned(), reason: reason.to_string() }
}

fn parse_name(host: &str) -> Result<ServerName<'static>, GateError> {
    ServerName::try_from(host.to_owned()).map_err(|_| GateError::Untrusted {
        reason: format!("`{host}` is no name that a certificate could have: give --tls-name")
            .into(),
    })
}

/// The names that a certificate is for.
fn names(cert: &CertificateDer<'_>) -> Result<Vec<String>, GateError> {
    let parsed = webpki::EndEntityCert::try_from(cert).map_err(|error| GateError::Untrusted {
        reason: format!("the certificate cannot be read: {error:?}").into(),
    })?;
    Ok(parsed.valid_dns_names().map(str::to_owned).collect())
}

fn failed(error: io::Error) -> GateError {
    match error.kind() {
        io::ErrorKind::InvalidData => untrusted(&error),
        // Its words for the end are those of TLS.
        io::ErrorKind::UnexpectedEof => {
            GateError::Ended { stage: STAGE, source: error.kind().into() }
        }
        _ => GateError::Ended { stage: STAGE, source: error },
    }
}

/// What TLS has against the other side, or the other side against this one, with the remedy.
pub(super) fn untrusted(error: &io::Error) -> GateError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let remedy = match inner {
        Some(rustls::Error::InvalidCertificate(
            // The latter where both CAs have the same name.
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        )) => ": another CA has signed it than the one given (--tls-ca, --tls-client-ca)",
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => ": give its name with --tls-name, or make a certificate for this name",
        Some(rustls::Error::NoCertificatesPresented)
        | Some(rustls::Error::AlertReceived(AlertDescription::CertificateRequired)) => {
            ": the client needs a certificate (--tls-cert and --tls-key)"
        }
        Some(rustls::Error::AlertReceived(
            AlertDescription::UnknownCA | AlertDescription::DecryptError,
        )) => ": the other side does not know the CA of this side's certificate",
        Some(rustls::Error::InvalidMessage(_)) => ": does the other side use TLS?",
        _ => "",
    };
    let reason = inner.map_or_else(|| error.to_string(), ToString::to_string);
    GateError::Untrusted { reason: format!("TLS: {reason}{remedy}").into() }
}
