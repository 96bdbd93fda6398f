//! `/etc/holdfast/coordinator.toml`: read, checked, all problems at once.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use holdfast_types::{Credential, time::Span};
use rustls_pki_types::ServerName;
use serde::Deserialize;

/// Where everything lives unless said otherwise.
pub const STATE_DIR: &str = "/var/lib/holdfast-coordinator";
/// The configuration file unless said otherwise.
pub const FILE: &str = "/etc/holdfast/coordinator.toml";
/// One listener for agents, operators and peers, told apart by certificate.
pub const LISTEN: &str = "0.0.0.0:7443";
/// For machines that watch this one; on the loopback, because it asks nobody who they are.
pub const METRICS_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7480);
/// Where credentials lie.
pub const CREDENTIALS: &str = "/etc/holdfast/credentials";
/// How large the history may be unless said otherwise: everything of some 25 hosts, a day in every
/// detail of 300.
const HISTORY_MAX: u64 = 1 << 30;
/// Less would not hold an hour of a small fleet.
const HISTORY_MIN: u64 = 4 << 20;
/// How often series are pushed unless said otherwise, and the bounds.
const PUSH_EVERY: Duration = Duration::from_secs(10);
const PUSH_EVERY_BOUNDS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);
/// Longest configuration file taken.
const BYTES_MAX: u64 = 64 * 1024;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    state_dir: Option<PathBuf>,
    listen: Option<String>,
    address: Option<String>,
    metrics_listen: Option<String>,
    history_max: Option<String>,
    credentials_dir: Option<PathBuf>,
    remote_write: Option<RawRemoteWrite>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRemoteWrite {
    url: String,
    credential: Option<String>,
    every: Option<String>,
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
    /// What is measured, and who may see it.
    pub metrics: Metrics,
}

/// What is measured, and who may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// Where `/metrics`, `/healthz` and `/readyz` are; nothing: nowhere.
    pub listen: Option<SocketAddr>,
    /// How large `history.db` may be, in bytes; nothing: there is none.
    pub history_max: Option<u64>,
    /// Where credentials lie.
    pub credentials: PathBuf,
    /// Where the series are pushed to.
    pub push: Option<Push>,
}

/// Remote write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// http or https.
    pub url: String,
    /// Name of the bearer token's file.
    pub credential: Option<Credential>,
    /// Between two pushes.
    pub every: Duration,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            listen: Some(METRICS_LISTEN),
            history_max: Some(HISTORY_MAX),
            credentials: CREDENTIALS.into(),
            push: None,
        }
    }
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
        if listen.parse::<SocketAddr>().is_err() {
            problems.push(format!("listen is \"{listen}\"; write an address and a port, as in {LISTEN}"));
        }
        let address = raw.address.unwrap_or_default();
        if let Some(problem) = address_problem(&address) {
            problems.push(problem);
        }
        let metrics =
            metrics(raw.metrics_listen, raw.history_max, raw.credentials_dir, raw.remote_write, &mut problems);
        let state_dir = raw.state_dir.unwrap_or_else(|| PathBuf::from(STATE_DIR));
        if !state_dir.is_absolute() {
            problems.push(format!("state_dir is \"{}\"; write an absolute path", state_dir.display()));
        }
        if problems.is_empty() {
            Ok(Self { state_dir, listen, address, metrics })
        } else {
            Err(ConfigError::Values { file: file.to_owned(), problems })
        }
    }

    /// The file that reads back as this.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let watched = self.metrics.listen.map_or_else(|| OFF.to_owned(), |listen| listen.to_string());
        format!(
            "# Keys, CA and the replicated state.\nstate_dir = \"{}\"\n# One listener for agents and operators.\nlisten = \"{}\"\n# How they reach it; printed in join commands.\naddress = \"{}\"\n# /metrics, /healthz and /readyz, for machines that watch this one; \"off\" for none.\nmetrics_listen = \"{watched}\"\n",
            self.state_dir.display(),
            self.listen,
            self.address
        )
    }
}

/// Says that something is not wanted.
const OFF: &str = "off";

fn metrics(
    listen: Option<String>,
    history_max: Option<String>,
    credentials: Option<PathBuf>,
    push: Option<RawRemoteWrite>,
    problems: &mut Vec<String>,
) -> Metrics {
    let mut metrics = Metrics::default();
    if let Some(text) = listen {
        match metrics_listen(&text) {
            Ok(listen) => metrics.listen = listen,
            Err(problem) => problems.push(problem),
        }
    }
    match history_max.as_deref().map(size) {
        None => {}
        Some(Some(0)) => metrics.history_max = None,
        Some(Some(bytes)) if bytes >= HISTORY_MIN => metrics.history_max = Some(bytes),
        Some(_) => problems.push(format!(
            "history_max is \"{}\"; write a size of 4MiB or more, as in 1GiB, or \"{OFF}\" to keep no history",
            history_max.unwrap_or_default()
        )),
    }
    if let Some(folder) = credentials {
        if !folder.is_absolute() {
            problems.push(format!("credentials_dir is \"{}\"; write an absolute path", folder.display()));
        }
        metrics.credentials = folder;
    }
    metrics.push = push.and_then(|raw| remote_write(raw, problems));
    metrics
}

/// Where `/metrics` is to be.
///
/// # Errors
/// What would do.
pub fn metrics_listen(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == OFF {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        format!("metrics_listen is \"{text}\"; write an address and a port, as in {METRICS_LISTEN}, or \"{OFF}\"")
    })
}

fn remote_write(raw: RawRemoteWrite, problems: &mut Vec<String>) -> Option<Push> {
    let before = problems.len();
    if !reqwest::Url::parse(&raw.url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
        problems.push(format!(
            "remote_write.url is \"{}\"; write an http or https URL, as in https://prometheus.example/api/v1/write",
            raw.url
        ));
    }
    let credential = raw.credential.and_then(|name| match Credential::new(name) {
        Ok(name) => Some(name),
        Err(e) => {
            problems.push(format!("remote_write.credential: {e}"));
            None
        }
    });
    let every = match raw.every.as_deref().map(str::parse::<Span>) {
        None => PUSH_EVERY,
        Some(Ok(Span(every))) if PUSH_EVERY_BOUNDS.contains(&every) => every,
        Some(_) => {
            problems.push(format!(
                "remote_write.every is \"{}\"; write a span from 1s to 10m",
                raw.every.unwrap_or_default()
            ));
            PUSH_EVERY
        }
    };
    (problems.len() == before).then_some(Push { url: raw.url, credential, every })
}

/// `512MiB`; `off` is nothing.
fn size(text: &str) -> Option<u64> {
    if text == OFF {
        return Some(0);
    }
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim() {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
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
            metrics: Metrics { listen: None, ..Metrics::default() },
        };
        assert_eq!(Config::parse(Path::new(FILE), &config.to_toml()).unwrap(), config);
    }

    #[test]
    fn every_bad_value_is_reported_at_once() {
        let text = "state_dir = \"x\"\nlisten = \"nowhere\"\naddress = \"c1\"\nmetrics_listen = \"7480\"\n\
                    history_max = \"1GB\"\ncredentials_dir = \"c\"\n\
                    [remote_write]\nurl = \"ftp://x/y\"\ncredential = \"a/b\"\nevery = \"0s\"\n";
        let error = Config::parse(Path::new(FILE), text).unwrap_err().to_string();
        for part in [
            "state_dir",
            "listen",
            "address",
            "metrics_listen is \"7480\"",
            "history_max is \"1GB\"",
            "credentials_dir",
            "remote_write.url",
            "remote_write.credential",
            "remote_write.every",
        ] {
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

    #[test]
    fn what_is_measured_is_kept_and_seen_on_the_loopback_unless_said_otherwise() {
        let parse = |more: &str| Config::parse(Path::new(FILE), &format!("address = \"c1:7443\"\n{more}"));
        assert_eq!(parse("").unwrap().metrics, Metrics::default());
        assert!(METRICS_LISTEN.ip().is_loopback());
        let all = "metrics_listen = \"[::1]:9000\"\nhistory_max = \"64MiB\"\n\
                   [remote_write]\nurl = \"https://p.example/api/v1/write\"\ncredential = \"prom\"\nevery = \"1m\"\n";
        let metrics = parse(all).unwrap().metrics;
        assert_eq!(metrics.listen, Some("[::1]:9000".parse().unwrap()));
        assert_eq!(metrics.history_max, Some(64 << 20));
        assert_eq!(metrics.push.unwrap().every, Duration::from_mins(1));
        let off = parse("metrics_listen = \"off\"\nhistory_max = \"off\"\n").unwrap().metrics;
        assert_eq!((off.listen, off.history_max), (None, None));
    }
}
