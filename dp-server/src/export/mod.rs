//! A run's report as a file.

mod csv;
mod hlog;
mod html;
mod json;
mod svg;

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use thiserror::Error;

pub(crate) use self::json::metric_value;

use crate::private;
use crate::report::Report;

/// A file that a run's [`Report`] is written to. Its extension says in which format:
///
/// | extension | format |
/// | --- | --- |
/// | `.json` | one object with all of it, the buckets of the histograms included |
/// | `.csv` | a row for each fact, result and figure: `kind,name,field,value,time` |
/// | `.html` | a page with charts that needs nothing else, in light and dark |
/// | `.hlog` | the histograms in the log format of HdrHistogram, in microseconds |
///
/// What is there already is replaced, and only by a file that is complete. A new file is its owner's
/// alone; one that is replaced has the permissions of the one before.
///
/// ```
/// use dp_server::ReportFile;
///
/// assert!(ReportFile::new("run.html").is_ok());
/// let error = ReportFile::new("run.xlsx").unwrap_err();
/// assert!(error.to_string().ends_with("use one of .json, .csv, .html, .hlog"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportFile {
    path: PathBuf,
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Csv,
    Html,
    Hlog,
}

/// Why a report is in no file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SaveError {
    /// The extension of the file's name stands for no format.
    #[error(
        "the extension of `{}` stands for no format of a report: use one of .json, .csv, .html, .hlog",
        .path.display()
    )]
    Format {
        /// The file, as it was given.
        path: PathBuf,
    },
    /// The file's directory does not exist.
    #[error("cannot save a report to `{}`: there is no such directory", .path.display())]
    NoDirectory {
        /// The file, as it was given.
        path: PathBuf,
    },
    /// The file can't be written, or not all of it. What was there before is there still.
    #[error("cannot save the report to `{}`", .path.display())]
    Write {
        /// The file, as it was given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl ReportFile {
    /// The file at `path`.
    ///
    /// # Errors
    /// [`SaveError::Format`] where the extension stands for no format.
    pub fn new(path: impl Into<PathBuf>) -> Result<Self, SaveError> {
        let path = path.into();
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        let format = match extension.to_str() {
            Some("json") => Format::Json,
            Some("csv") => Format::Csv,
            Some("html" | "htm") => Format::Html,
            Some("hlog") => Format::Hlog,
            _ => return Err(SaveError::Format { path }),
        };
        Ok(Self { path, format })
    }

    /// Its path, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a report could be written there, as far as that can be told before there is one.
    pub(crate) fn check(&self) -> Result<(), SaveError> {
        match self.directory().is_dir() {
            true => Ok(()),
            false => Err(SaveError::NoDirectory { path: self.path.clone() }),
        }
    }

    fn directory(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    pub(crate) fn write(&self, report: &Report) -> Result<(), SaveError> {
        self.check()?;
        let written = match fs::metadata(&self.path) {
            // A device or a pipe is written to, never replaced by a file.
            Ok(there) if !there.is_file() => fs::OpenOptions::new()
                .write(true)
                .open(&self.path)
                .and_then(|file| self.fill(file, report)),
            _ => self.replace(report),
        };
        written.map_err(|source| SaveError::Write { path: self.path.clone(), source })
    }

    /// Writes another file and renames it: nobody ever sees half a report.
    fn replace(&self, report: &Report) -> io::Result<()> {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.part", std::process::id()));
        // Through a link, so that the link stays one.
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let part = path.with_file_name(name);
        // One of a process that was killed, or somebody's link to elsewhere.
        let _ = fs::remove_file(&part);
        let written = private::options()
            .write(true)
            .create_new(true)
            .open(&part)
            .and_then(|file| {
                if let Ok(before) = fs::metadata(&path) {
                    file.set_permissions(before.permissions())?;
                }
                self.fill(file, report)
            })
            .and_then(|()| fs::rename(&part, &path));
        if written.is_err() {
            let _ = fs::remove_file(&part);
        }
        written
    }

    /// The same bytes, to wherever.
    pub(crate) fn write_to(&self, out: &mut impl io::Write, report: &Report) -> io::Result<()> {
        match self.format {
            Format::Json => json::write(out, report),
            Format::Csv => csv::write(out, report),
            Format::Html => html::write(out, report),
            Format::Hlog => hlog::write(out, report),
        }
    }

    fn fill(&self, file: File, report: &Report) -> io::Result<()> {
        let mut out = BufWriter::new(file);
        self.write_to(&mut out, report)?;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        match file.sync_all() {
            // Pipes and terminals have nothing to be synchronized.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            done => done,
        }
    }
}

impl FromStr for ReportFile {
    type Err = SaveError;

    fn from_str(path: &str) -> Result<Self, SaveError> {
        Self::new(path)
    }
}

impl fmt::Display for ReportFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

impl Report {
    /// Writes this report to `path`, in the format that its extension stands for: see
    /// [`ReportFile`].
    ///
    /// # Errors
    /// [`SaveError`] when the extension stands for no format, or the file can't be written.
    pub fn save(&self, path: impl Into<PathBuf>) -> Result<(), SaveError> {
        ReportFile::new(path)?.write(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example;

    #[test]
    fn the_extension_says_the_format() {
        for (path, format) in [
            ("a.json", Format::Json),
            ("runs/b.CSV", Format::Csv),
            ("c.d.html", Format::Html),
            ("c.htm", Format::Html),
            ("d.hlog", Format::Hlog),
        ] {
            assert_eq!(ReportFile::new(path).unwrap().format, format);
        }
        for path in ["", "report", ".json", "a.xlsx", "a.html.bak"] {
            assert!(ReportFile::new(path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_report_replaces_the_one_before_and_leaves_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["a.json", "a.csv", "a.html", "a.hlog"] {
            let path = directory.path().join(name);
            fs::write(&path, "before").unwrap();
            example().save(&path).unwrap();
            assert!(fs::metadata(&path).unwrap().len() > 100, "{name}");
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 4);
    }

    #[cfg(unix)]
    #[test]
    fn a_new_report_is_its_owners_alone_and_one_that_is_replaced_stays_as_open_as_it_was() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.json");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        example().save(&path).unwrap();
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        example().save(&path).unwrap();
        assert_eq!(mode(), 0o644);
    }

    #[test]
    fn a_directory_that_is_not_there_is_named_before_a_run() {
        let file = ReportFile::new("/nowhere/at/all/run.json").unwrap();
        let error = file.check().unwrap_err().to_string();
        assert_eq!(
            error,
            "cannot save a report to `/nowhere/at/all/run.json`: there is no such directory"
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error_and_a_device_stays_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("full.json");
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let error = example().save(&path).unwrap_err();
        let SaveError::Write { source, .. } = error else { panic!("{error}") };
        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
    }
}
