//! `certs DIR`: a CA of one's own, and certificates for a server and its clients.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;
use dp_core::WorkerId;
use jiff::{Span, Timestamp, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// Makes certificates for TLS: those of a CA, of a server, and of clients
///
/// DIR then has ca.pem and ca-key.pem, server.pem and server-key.pem, and client-NAME.pem and
/// client-NAME-key.pem for each client. Called again with other
/// clients, and without --name, it adds those clients: the CA and the server's certificate stay. Nothing is
/// overwritten.
///
/// The server needs its certificate and key, and ca.pem if clients are to show certificates; each
/// client needs ca.pem, and its own two files. Keep ca-key.pem where nobody else reads it: whoever has
/// it can make certificates.
#[derive(Debug, Clone, Args)]
pub(crate) struct CertsArgs {
    /// The folder for the files; it is made if it is not there
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// A name or an address by which clients reach the server; may be given several times
    ///
    /// The names of the machine itself are always among them: localhost, 127.0.0.1 and ::1.
    #[arg(long, value_name = "HOST")]
    name: Vec<String>,

    /// A client's id; may be given several times
    ///
    /// Letters, digits, `-` and `.`: it stands in the certificate like the name of a host.
    #[arg(long, value_name = "ID")]
    client: Vec<String>,

    /// For how many days the certificates are good
    #[arg(long, value_name = "N", default_value_t = 825, value_parser = clap::value_parser!(u16).range(1..=36500))]
    days: u16,
}

/// What everybody in the CA's certificate is called: to sign, its name and its key are enough.
const CA_NAME: &str = "dp certificate authority";

impl CertsArgs {
    /// Makes the files, and says which on `said`.
    pub(crate) fn run(&self, said: &mut impl Write) -> anyhow::Result<()> {
        for client in &self.client {
            check_client(client)?;
        }
        make_dir(&self.dir)?;
        let file = |name: &str| self.dir.join(name);
        let (ca, ca_key) = (file("ca.pem"), file("ca-key.pem"));
        let issuer = match (ca.exists(), ca_key.exists()) {
            (true, true) => {
                let pem = fs::read_to_string(&ca_key)
                    .with_context(|| format!("cannot read {}", ca_key.display()))?;
                let key = KeyPair::from_pem(&pem)
                    .with_context(|| format!("{} is no key that this made", ca_key.display()))?;
                Issuer::new(self.ca_params()?, key)
            }
            (false, false) => {
                let key = KeyPair::generate()?;
                let params = self.ca_params()?;
                let cert = params.self_signed(&key)?;
                self.write(&ca_key, &key.serialize_pem(), true)?;
                self.write(&ca, &cert.pem(), false)?;
                writeln!(
                    said,
                    "{}: the CA; {} is to be kept secret",
                    ca.display(),
                    ca_key.display()
                )?;
                Issuer::new(params, key)
            }
            (has_cert, _) => {
                let missing = if has_cert { &ca_key } else { &ca };
                bail!(
                    "{} is missing, the other file of the CA is there: put it back, or choose \
                     another folder",
                    missing.display()
                );
            }
        };

        let server = file("server.pem");
        if server.exists() {
            ensure!(
                self.name.is_empty(),
                "{} is there already, and stays: remove it and its key to make one for other names",
                server.display()
            );
        } else {
            let mut names: Vec<String> =
                ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
            names.extend(self.name.iter().cloned());
            let usage = ExtendedKeyUsagePurpose::ServerAuth;
            self.make(&issuer, &server, &names, usage, said)?;
        }
        for client in &self.client {
            let path = file(&format!("client-{client}.pem"));
            let usage = ExtendedKeyUsagePurpose::ClientAuth;
            self.make(&issuer, &path, std::slice::from_ref(client), usage, said)?;
        }
        Ok(())
    }

    fn make(
        &self,
        issuer: &Issuer<'_, KeyPair>,
        path: &Path,
        names: &[String],
        usage: ExtendedKeyUsagePurpose,
        said: &mut impl Write,
    ) -> anyhow::Result<()> {
        let key_path = key_path(path);
        for path in [path, &key_path] {
            ensure!(!path.exists(), "{} is there already: nothing is overwritten", path.display());
        }
        let mut params = CertificateParams::new(names.to_vec())
            .with_context(|| format!("{} cannot stand in a certificate", names.join(", ")))?;
        params.distinguished_name.push(DnType::CommonName, names.last().map_or("", String::as_str));
        params.extended_key_usages = vec![usage];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        self.set_validity(&mut params)?;
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, issuer)?;
        self.write(&key_path, &key.serialize_pem(), true)?;
        self.write(path, &cert.pem(), false)?;
        writeln!(said, "{}, {}: for {}", path.display(), key_path.display(), names.join(", "))?;
        Ok(())
    }

    fn ca_params(&self) -> anyhow::Result<CertificateParams> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, CA_NAME);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        self.set_validity(&mut params)?;
        Ok(params)
    }

    /// From yesterday on, since not all clocks are right.
    fn set_validity(&self, params: &mut CertificateParams) -> anyhow::Result<()> {
        let today = Timestamp::now().to_zoned_datetime(TimeZone::UTC).date();
        let date = |days: i64| {
            let date = today.checked_add(Span::new().days(days))?;
            let (year, month, day) = (date.year(), date.month(), date.day());
            anyhow::Ok(rcgen::date_time_ymd(year.into(), month.unsigned_abs(), day.unsigned_abs()))
        };
        params.not_before = date(-1)?;
        params.not_after = date(self.days.into())?;
        Ok(())
    }

    fn write(&self, path: &Path, text: &str, secret: bool) -> anyhow::Result<()> {
        let written = create_new(path, secret).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        written.with_context(|| format!("cannot write {}", path.display()))
    }
}

fn key_path(cert: &Path) -> PathBuf {
    let stem = cert.file_stem().unwrap_or_default().to_string_lossy();
    cert.with_file_name(format!("{stem}-key.pem"))
}

/// A client's id that can stand in a certificate as the name of a host.
fn check_client(id: &str) -> anyhow::Result<()> {
    WorkerId::new(id)?;
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    ensure!(
        id.split('.').all(label),
        "`{id}` cannot be the id in a client's certificate: it has to look like the name of a host, \
         of letters, digits, `-` and `.`"
    );
    Ok(())
}

fn make_dir(dir: &Path) -> anyhow::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).with_context(|| format!("cannot make the folder {}", dir.display()))
}

/// A new file; a secret one can be read by its owner alone.
fn create_new(path: &Path, secret: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, if secret { 0o600 } else { 0o644 });
    #[cfg(not(unix))]
    let _ = secret;
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(dir: &Path, clients: &[&str]) -> CertsArgs {
        let client = clients.iter().map(|client| (*client).to_owned()).collect();
        CertsArgs { dir: dir.to_owned(), name: Vec::new(), client, days: 2 }
    }

    #[test]
    fn clients_are_added_later_and_nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("new/certs");
        let said = |args: &CertsArgs| {
            let mut said = Vec::new();
            args.run(&mut said).map(|()| String::from_utf8(said).unwrap())
        };
        let first = said(&args(&dir, &["lab1"])).unwrap();
        assert_eq!(first.lines().count(), 3, "{first}");
        let ca = fs::read(dir.join("ca.pem")).unwrap();
        let second = said(&args(&dir, &["lab2", "lab3.example"])).unwrap();
        assert_eq!(second.lines().count(), 2, "{second}");
        assert_eq!(fs::read(dir.join("ca.pem")).unwrap(), ca);
        let error = said(&args(&dir, &["lab2"])).unwrap_err().to_string();
        assert!(error.contains("client-lab2.pem is there already"), "{error}");

        fs::remove_file(dir.join("ca-key.pem")).unwrap();
        let error = said(&args(&dir, &[])).unwrap_err().to_string();
        assert!(error.contains("ca-key.pem is missing"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn keys_are_their_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        args(dir.path(), &["lab1"]).run(&mut io::sink()).unwrap();
        for name in ["ca-key.pem", "server-key.pem", "client-lab1-key.pem"] {
            let mode = fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn an_id_that_no_host_could_have_is_refused() {
        for id in ["-lab", "lab_1", "lab..1", "../x", "ä"] {
            assert!(check_client(id).is_err(), "{id}");
        }
        assert!(check_client("lab-1.example").is_ok());
    }
}
