//! The configuration file: TOML, every key optional, anything unknown refused.

mod print;
mod read;
mod value;

pub(crate) use value::{parse_addr, parse_size};

use log::LevelFilter;
use ramson_core::config::{Config, HttpProxy};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The largest file that is read, in bytes.
const MAX_LEN: u64 = 1 << 20;
/// Name of the file in the data folder that is used when none is named.
pub const FILE_NAME: &str = "ramson.toml";

/// Everything that can be configured: what the router itself needs, and what the runtime does for
/// it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The router's own part.
    pub router: Config,
    /// RouterInfo files, folders of them, or zip archives of them, as absolute paths.
    pub reseed: Vec<PathBuf>,
    /// Whether what the router is told is recorded.
    pub record: Record,
    /// What is logged.
    pub log_level: LevelFilter,
}

/// Recordings of what the router is told, to be played by `ramson replay`. They hold all its
/// secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// Record each run.
    pub enabled: bool,
    /// Bytes that the recordings of a data folder may have together.
    pub limit: u64,
}

impl Default for Record {
    /// None, and what the disk of a small machine has room for.
    fn default() -> Self {
        Self { enabled: false, limit: 256 << 20 }
    }
}

/// One thing wrong with the configuration, and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    file: PathBuf,
    line: Option<usize>,
    problem: String,
}

/// All that is wrong with a configuration, in the order of its lines; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl Settings {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// It cannot be read, or see [`Self::parse`].
    pub fn load(file: &Path) -> Result<Self, ConfigErrors> {
        let refuse = |problem: String| ConfigErrors::one(file, None, problem);
        let mut text = String::new();
        File::open(file)
            .and_then(|f| f.take(MAX_LEN + 1).read_to_string(&mut text))
            .map_err(|e| refuse(format!("cannot read the configuration: {e}")))?;
        if text.len() as u64 > MAX_LEN {
            return Err(refuse(format!("too large; allowed: {MAX_LEN} bytes")));
        }
        Self::parse(&text, file)
    }

    /// Reads a text; `file` is for messages, and paths in the text are relative to its folder.
    ///
    /// # Errors
    ///
    /// Each wrong line, with the key and what is allowed there.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigErrors> {
        read::parse(text, file)
    }

    /// The whole configuration as a file that reads back as itself.
    #[must_use]
    pub fn to_toml(&self) -> String {
        print::to_toml(self)
    }
}

impl Default for Settings {
    /// What an empty file says: an HTTP proxy for this machine, and nothing published.
    fn default() -> Self {
        let mut router = Config::default();
        router.http_proxy = Some(HttpProxy::new(HttpProxy::DEFAULT_LISTEN));
        Self { router, reseed: Vec::new(), record: Record::default(), log_level: LevelFilter::Info }
    }
}

impl ConfigErrors {
    fn one(file: &Path, line: Option<usize>, problem: String) -> Self {
        Self(vec![ConfigError { file: file.into(), line, problem }])
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigError {
    /// `ramson.toml:12: ntcp2.prot: unknown key; allowed: enabled, host, port, bind, publish`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.problem)
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigErrors {
    /// One line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

#[cfg(test)]
mod tests;
