//! `/etc/holdfast/coordinator.toml`: read, checked, all problems at once.

use std::path::{Path, PathBuf};

use rustls_pki_types::ServerName;
use serde::Deserialize;

/// Where everything lives unless said otherwise.
pub const STATE_DIR: &str = "/var/lib/holdfast-coordinator";
/// The configuration file unless said otherwise.
pub const FILE: &str = "/etc/holdfast/coordinator.toml";
/// One listener for agents, operators and peers, told apart by certificate.
pub const LISTEN: &str = "0.0.0.0:7443";
/// Longest configuration file taken.
const BYTES_MAX: u64 = 64 * 1024;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    state_dir: Option<PathBuf>,
    listen: Option<String>,
    address: Option<String>,
}

/// What this coordinator runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Keys, CA, raft.db.
    pub state_dir: PathBuf,
    /// Where it listens.
    pub listen: String,
    /// How agents and operators reach it: host:port. Printed in join commands.
    pub address: String,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] holdfast_shared::files::FileError),
    /// It is not TOML, or has a key that no release knows.
    #[error("{file}: {problem}")]
    Parse {
        /// Which file.
        file: PathBuf,
        /// With line and column.
        problem: String,
    },
    /// Values that do not make sense, all of them.
    #[error("{file}: {}", problems.join("; "))]
    Values {
        /// Which file.
        file: PathBuf,
        /// One each.
        problems: Vec<String>,
    },
}

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let text = holdfast_shared::files::read_text(file, BYTES_MAX)?;
        Self::parse(file, &text)
    }

    /// Reads and checks a text.
    ///
    /// # Errors
    /// [`ConfigError`], with all problems at once.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        let raw: RawConfig = toml::from_str(text)
            .map_err(|e| ConfigError::Parse { file: file.to_owned(), problem: e.to_string().trim_end().to_owned() })?;
        let mut problems = Vec::new();
        let listen = raw.listen.unwrap_or_else(|| LISTEN.to_owned());
        if listen.parse::<std::net::SocketAddr>().is_err() {
            problems.push(format!("listen is \"{listen}\"; write an address and a port, as in {LISTEN}"));
        }
        let address = raw.address.unwrap_or_default();
        if let Some(problem) = address_problem(&address) {
            problems.push(problem);
        }
        let state_dir = raw.state_dir.unwrap_or_else(|| PathBuf::from(STATE_DIR));
        if !state_dir.is_absolute() {
            problems.push(format!("state_dir is \"{}\"; write an absolute path", state_dir.display()));
        }
        if problems.is_empty() {
            Ok(Self { state_dir, listen, address })
        } else {
            Err(ConfigError::Values { file: file.to_owned(), problems })
        }
    }

    /// The file that reads back as this.
    #[must_use]
    pub fn to_toml(&self) -> String {
        format!(
            "# Keys, CA and the replicated state.\nstate_dir = \"{}\"\n# One listener for agents and operators.\nlisten = \"{}\"\n# How they reach it; printed in join commands.\naddress = \"{}\"\n",
            self.state_dir.display(),
            self.listen,
            self.address
        )
    }
}

/// Why a text is no address that others can dial.
#[must_use]
pub fn address_problem(address: &str) -> Option<String> {
    let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    let ok = server_name(address).is_some() && port.is_some_and(|port| port != 0);
    (!ok).then(|| format!("address is \"{address}\"; write how agents reach this coordinator, as in c1.example:7443"))
}

/// The name or IP address in `host:port`, as it stands in a server's certificate.
#[must_use]
pub fn server_name(address: &str) -> Option<ServerName<'static>> {
    let (host, _) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(host.to_owned()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_configuration_reads_back() {
        let config = Config {
            state_dir: PathBuf::from(STATE_DIR),
            listen: "10.0.0.1:7443".to_owned(),
            address: "c1.example:7443".to_owned(),
        };
        assert_eq!(Config::parse(Path::new(FILE), &config.to_toml()).unwrap(), config);
    }

    #[test]
    fn every_bad_value_is_reported_at_once() {
        let text = "state_dir = \"x\"\nlisten = \"nowhere\"\naddress = \"c1\"\n";
        let error = Config::parse(Path::new(FILE), text).unwrap_err().to_string();
        for part in ["state_dir", "listen", "address"] {
            assert!(error.contains(part), "{error}");
        }
        for bad in ["c1.example", ":7443", "c1.example:0", "c 1:7443", "c1.example:65536", "[::1:7443"] {
            assert!(address_problem(bad).is_some(), "{bad}");
        }
        for good in ["c1.example:7443", "10.0.0.1:1", "[fd00::7]:7443"] {
            assert_eq!(address_problem(good), None);
        }
        let error = Config::parse(Path::new(FILE), "adress = \"c1:1\"\n").unwrap_err().to_string();
        assert!(error.contains("adress") && error.contains("line 1"), "{error}");
    }
}
