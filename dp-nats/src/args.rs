//! The options that server and client programs have for NATS.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use crate::{Job, Settings, SettingsError};

// The fields' documentation is what `--help` prints. That of the struct is kept from being the
// description of a program that flattens it.
/// The options of a program for NATS, part of those of dp-server and dp-client.
#[derive(Debug, Clone, Args)]
#[command(about = None, long_about = None, mut_args = dp_core::args::option)]
#[non_exhaustive]
pub struct EngineArgs {
    /// Have connections carried by a NATS server: nats://HOST:4222, or tls://HOST:4222
    ///
    /// USER:PASSWORD@ or TOKEN@ may stand before the host: better in the variable, since all users of this
    /// machine see a command line. Several servers of one cluster have commas between.
    #[arg(
        long,
        env = "DP_ENGINE",
        value_name = "URL",
        hide_env_values = true,
        help_heading = "NATS"
    )]
    pub engine: Option<Engine>,

    /// The name of the job, the same for a server and its clients: others never meet them
    #[arg(
        long, env = "DP_JOB", value_name = "NAME", default_value_t, help_heading = "NATS",
        value_parser = dp_core::args::parsed(job)
    )]
    pub job: Job,

    /// The credentials file by which the NATS server knows this program
    #[arg(
        long,
        env = "DP_NATS_CREDS",
        value_name = "FILE",
        conflicts_with = "nats_nkey",
        help_heading = "NATS"
    )]
    pub nats_creds: Option<PathBuf>,

    /// The file with the seed of the NKey by which the NATS server knows this program
    #[arg(long, env = "DP_NATS_NKEY", value_name = "FILE", help_heading = "NATS")]
    pub nats_nkey: Option<PathBuf>,

    /// The CA of the NATS server's certificate, a PEM file: turns TLS to it on
    #[arg(long, env = "DP_NATS_CA", value_name = "FILE", help_heading = "NATS")]
    pub nats_ca: Option<PathBuf>,

    /// This program's certificate for the NATS server, a PEM file
    #[arg(
        long,
        env = "DP_NATS_CERT",
        value_name = "FILE",
        requires = "nats_key",
        help_heading = "NATS"
    )]
    pub nats_cert: Option<PathBuf>,

    /// The key of this program's certificate for the NATS server, a PEM file
    #[arg(
        long,
        env = "DP_NATS_KEY",
        value_name = "FILE",
        requires = "nats_cert",
        help_heading = "NATS"
    )]
    pub nats_key: Option<PathBuf>,
}

/// What `--engine` says, right or wrong: the parser of options would print a wrong one as it is, with the
/// password that may be in it.
#[derive(Debug, Clone)]
pub struct Engine(Result<Settings, SettingsError>);

impl FromStr for Engine {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(Settings::new(text)))
    }
}

impl EngineArgs {
    /// What they say; `None` without an engine.
    ///
    /// # Errors
    /// [`SettingsError`], where the engine is none.
    pub fn settings(&self) -> Result<Option<Settings>, SettingsError> {
        let Some(Engine(engine)) = &self.engine else { return Ok(None) };
        let mut settings = engine.clone()?.job(self.job.clone());
        if let Some(file) = &self.nats_creds {
            settings = settings.credentials(file);
        }
        if let Some(file) = &self.nats_nkey {
            settings = settings.nkey(file);
        }
        if let Some(file) = &self.nats_ca {
            settings = settings.ca(file);
        }
        if let Some((cert, key)) = self.nats_cert.as_ref().zip(self.nats_key.as_ref()) {
            settings = settings.identity(cert, key);
        }
        Ok(Some(settings))
    }
}

fn job(text: &str) -> Result<Job, String> {
    text.parse().map_err(|error: SettingsError| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Options {
        #[command(flatten)]
        engine: EngineArgs,
    }

    #[test]
    fn a_wrong_engine_is_named_without_its_password() {
        let options = Options::try_parse_from(["x", "--engine", "http://user:secret@lab"]).unwrap();
        let error = options.engine.settings().unwrap_err().to_string();
        assert!(error.contains("lab") && !error.contains("secret"), "{error}");
        assert!(!format!("{options:?}").contains("secret"));
        let options = Options::try_parse_from(["x"]).unwrap();
        assert!(options.engine.settings().unwrap().is_none());
    }
}
