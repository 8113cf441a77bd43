//! The settings in `config.toml`. Unknown keys are refused: a typo must not be a silent default.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};

/// Everything that can be set. Every key is described in docs/config.md.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// The name that my card suggests.
    pub name: String,
    /// Ask others to write to me in hidden envelopes.
    pub hidden: bool,
    /// Lifetime of what I send, in days; 1 to 3650.
    pub lifetime_days: u32,
    /// Carry bundles of people I do not know.
    pub carry_strangers: bool,
    /// Most of the disk that strangers' bundles may take, in MiB (and never over a tenth of what is
    /// free).
    pub strangers_mib: u64,
    /// Most of the disk that contacts' bundles may take, in MiB.
    pub contacts_mib: u64,
    /// Parts that are sealed or opened at the same time; 0 = one per core.
    pub workers: usize,
    /// Where the daemon listens, as `tls://[::]:7531`.
    pub listen: Vec<String>,
    /// Whom the daemon dials: an address, and behind a `#` a contact's name or a node's id.
    pub peers: Vec<String>,
    /// Show my key to whoever dials me, not only to those who know it already.
    pub public: bool,
    /// The daemon exchanges with every medium of ours that is mounted.
    pub media: bool,
    /// Folders with our marker that the daemon exchanges with whenever they change.
    pub media_dirs: Vec<String>,
    /// The daemon sends what is put into a contact's folder in `outbox`.
    pub outbox: bool,
    /// The daemon uses a Yggdrasil network where this machine is in one.
    pub ygg: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: String::new(),
            hidden: false,
            lifetime_days: 30,
            carry_strangers: true,
            strangers_mib: 2048,
            contacts_mib: 16 * 1024,
            workers: 0,
            listen: Vec::new(),
            peers: Vec::new(),
            public: false,
            media: true,
            media_dirs: Vec::new(),
            outbox: true,
            ygg: true,
        }
    }
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Not TOML, an unknown key, or a value of another type.
    #[error("config.toml: {0}")]
    Syntax(String),
    /// A value out of range.
    #[error("config.toml: {key} must be {range}")]
    Range {
        /// The key.
        key: &'static str,
        /// What it can be.
        range: &'static str,
    },
    /// It cannot be read.
    #[error("could not read config.toml")]
    Io(#[from] io::Error),
}

impl Config {
    /// Reads the settings; a missing file means the defaults.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(ConfigError::Syntax("it is not text".into()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Checks and takes a text.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|e| ConfigError::Syntax(e.to_string()))?;
        if !(1..=3650).contains(&config.lifetime_days) {
            return Err(ConfigError::Range { key: "lifetime-days", range: "1 to 3650" });
        }
        if config.workers > 64 {
            return Err(ConfigError::Range { key: "workers", range: "0 to 64" });
        }
        Ok(config)
    }

    /// The settings as a file.
    pub fn to_text(&self) -> String {
        let value = |text: &str| serde_json::Value::from(text).to_string();
        let list = |list: &[String]| serde_json::Value::from(list).to_string();
        format!(
            "# Postrider settings; docs/config.md describes every key.\n\
             name = {}\nhidden = {}\nlifetime-days = {}\ncarry-strangers = {}\n\
             strangers-mib = {}\ncontacts-mib = {}\nworkers = {}\n\
             listen = {}\npeers = {}\npublic = {}\n\
             media = {}\nmedia-dirs = {}\noutbox = {}\nygg = {}\n",
            value(&self.name),
            self.hidden,
            self.lifetime_days,
            self.carry_strangers,
            self.strangers_mib,
            self.contacts_mib,
            self.workers,
            list(&self.listen),
            list(&self.peers),
            self.public,
            self.media,
            list(&self.media_dirs),
            self.outbox,
            self.ygg
        )
    }

    /// How many parts are worked on at once.
    pub fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get().min(4)),
            n => n,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_written_file_reads_back() {
        let config =
            Config { name: "Al \"the\" \\ice ü".into(), hidden: true, ..Config::default() };
        assert_eq!(Config::parse(&config.to_text()).unwrap(), config);
        assert_eq!(Config::parse("").unwrap(), Config::default());
    }

    #[test]
    fn typos_and_impossible_values_are_refused_with_the_key() {
        for (text, word) in [
            ("nmae = 'x'", "nmae"),
            ("workers = -1", "workers"),
            ("workers = 65", "workers"),
            ("lifetime-days = 0", "lifetime-days"),
            ("name = ", "name"),
        ] {
            let error = Config::parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
