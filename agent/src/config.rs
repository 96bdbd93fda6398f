//! What the agent is told by files: `agent.toml` from people, `identity.toml` from joining.

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
};

use holdfast_agent_core::declared::{Declared, RawDeclared};
use holdfast_shared::files::{self, FileError};
use holdfast_types::{ClusterId, HostName, RegionName, WallTime};
use serde::{Deserialize, Serialize};

mod trusted;

use crate::exec::script::SCRIPTS_DEFAULT;
use trusted::TrustError;

/// Where the configuration is looked for.
pub const CONFIG_DEFAULT: &str = "/etc/holdfast/agent.toml";
/// Where the agent keeps what it knows.
pub const STATE_DIR_DEFAULT: &str = "/var/lib/holdfast-agent";
/// Gone at a reboot on purpose.
pub const RUN_DIR_DEFAULT: &str = "/run/holdfast";
/// Where the helper listens.
pub const HELPER_DEFAULT: &str = "/run/holdfast/helper.sock";
/// Where credentials lie.
pub const CREDENTIALS_DEFAULT: &str = "/etc/holdfast/credentials";
/// A configuration is a page.
const BYTES_MAX: u64 = 1 << 20;

/// `agent.toml` as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    state_dir: Option<PathBuf>,
    run_dir: Option<PathBuf>,
    credentials_dir: Option<PathBuf>,
    scripts_dir: Option<PathBuf>,
    docker_socket: Option<PathBuf>,
    coordinators: Option<toml::Spanned<Vec<toml::Spanned<String>>>>,
    writers: Option<Vec<toml::Spanned<RawDeclared>>>,
    helper: Option<PathBuf>,
}

/// The configuration, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    state_dir: PathBuf,
    run_dir: PathBuf,
    credentials: Vec<PathBuf>,
    scripts_dir: PathBuf,
    docker_socket: Option<PathBuf>,
    coordinators: Option<Vec<String>>,
    writers: BTreeSet<Declared>,
    helper: Option<PathBuf>,
    file: PathBuf,
}

/// Everything that is wrong with a configuration.
#[derive(Debug)]
pub struct Problems(Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Problems {}

impl Config {
    /// Reads the file; without `path` the usual one, which may be missing.
    ///
    /// # Errors
    /// All [`Problems`] at once.
    pub fn load(path: Option<&Path>) -> Result<Self, Problems> {
        let file = path.unwrap_or(Path::new(CONFIG_DEFAULT));
        match trusted::read(file, BYTES_MAX) {
            Ok(text) => Self::parse(file, &text),
            Err(TrustError::File(e)) if path.is_none() && e.is_missing() => Self::parse(file, ""),
            Err(e) => Err(Problems(vec![holdfast_shared::error::Chain(&e).to_string()])),
        }
    }

    /// What an empty file says.
    #[must_use]
    pub fn empty() -> Self {
        Self::parse(Path::new(CONFIG_DEFAULT), "").expect("everything has a default")
    }

    /// Reads and checks a text.
    ///
    /// # Errors
    /// All [`Problems`] at once, each with its line.
    pub fn parse(file: &Path, text: &str) -> Result<Self, Problems> {
        let line = |at: usize| text.get(..at).map_or(1, |before| before.matches('\n').count() + 1);
        let named = |at: usize, what: String| format!("{}:{}: {what}", file.display(), line(at));
        let raw: RawConfig = toml::from_str(text).map_err(|e| {
            let at = e.span().map_or(0, |span| span.start);
            Problems(vec![named(at, e.message().to_owned())])
        })?;
        let mut problems = Vec::new();
        let mut folder = |key: &str, path: Option<PathBuf>, default: &str| {
            let path = path.unwrap_or_else(|| default.into());
            if !path.is_absolute() {
                let at = text.find(key).unwrap_or(0);
                problems
                    .push(named(at, format!("{key} is {}; needs an absolute path, as in {default}", path.display())));
            }
            path
        };
        let state_dir = folder("state_dir", raw.state_dir, STATE_DIR_DEFAULT);
        let run_dir = folder("run_dir", raw.run_dir, RUN_DIR_DEFAULT);
        let credentials = folder("credentials_dir", raw.credentials_dir, CREDENTIALS_DEFAULT);
        let scripts_dir = folder("scripts_dir", raw.scripts_dir, SCRIPTS_DEFAULT);
        let docker_socket = raw.docker_socket.map(|path| folder("docker_socket", Some(path), "/var/run/docker.sock"));
        let helper = raw.helper.map(|path| folder("helper", Some(path), HELPER_DEFAULT));
        let coordinators = raw.coordinators.map(|list| {
            if list.get_ref().is_empty() {
                let what =
                    "coordinators is empty; name at least one, as in \"c1.example:7443\", or leave it out".to_owned();
                problems.push(named(list.span().start, what));
            }
            let mut addresses = Vec::new();
            for address in list.into_inner() {
                if let Err(why) = check_address(address.get_ref()) {
                    problems.push(named(address.span().start, why));
                }
                addresses.push(address.into_inner());
            }
            addresses
        });
        let mut writers = BTreeSet::new();
        for raw in raw.writers.into_iter().flatten() {
            let at = raw.span().start;
            match Declared::check(raw.get_ref()) {
                Ok(declared) => {
                    if let Some(twice) = writers.replace(declared) {
                        problems.push(named(at, format!("{twice} is declared twice; remove one")));
                    }
                }
                Err(wrong) => problems.extend(wrong.into_iter().map(|what| named(at, what))),
            }
        }
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        let (file, credentials) = (file.to_owned(), vec![credentials]);
        Ok(Self { state_dir, run_dir, credentials, scripts_dir, docker_socket, coordinators, writers, helper, file })
    }

    /// The same with another state directory.
    #[must_use]
    pub fn with_state_dir(mut self, state_dir: Option<PathBuf>) -> Self {
        if let Some(state_dir) = state_dir {
            self.state_dir = state_dir;
        }
        self
    }

    /// Where the agent keeps what it knows.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// Notes of leases, sockets.
    #[must_use]
    pub fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// Where credentials are looked for: systemd's first.
    #[must_use]
    pub fn credentials(&self, systemd: Option<PathBuf>) -> Vec<PathBuf> {
        systemd.into_iter().chain(self.credentials.iter().cloned()).collect()
    }

    /// The folder of the scripts that checks may run.
    #[must_use]
    pub fn scripts_dir(&self) -> &Path {
        &self.scripts_dir
    }

    /// Docker's socket, when it is not the usual one.
    #[must_use]
    pub fn docker_socket(&self) -> Option<PathBuf> {
        self.docker_socket.clone()
    }

    /// The coordinators, when they are configured rather than known from joining.
    #[must_use]
    pub fn coordinators(&self) -> Option<&[String]> {
        self.coordinators.as_deref()
    }

    /// The writers that this host's root lets Holdfast touch.
    #[must_use]
    pub fn writers(&self) -> &BTreeSet<Declared> {
        &self.writers
    }

    /// The helper's socket. Without one in the file: the usual one, unless this process is root and does all itself.
    #[must_use]
    pub fn helper(&self) -> Option<PathBuf> {
        let usual = || (!rustix::process::geteuid().is_root()).then(|| HELPER_DEFAULT.into());
        self.helper.clone().or_else(usual)
    }

    /// The file that all this was read from.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Where key and certificates lie.
    #[must_use]
    pub fn tls_dir(&self) -> PathBuf {
        self.state_dir.join("tls")
    }
}

/// Checks a coordinator's address.
///
/// # Errors
/// One line saying what would do.
pub fn check_address(address: &str) -> Result<(), String> {
    let good = address
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
    if good { Ok(()) } else { Err(format!("\"{address}\" is no address; expected HOST:PORT, as in c1.example:7443")) }
}

/// `identity.toml`: what joining has found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// This host.
    pub host: HostName,
    /// Its region.
    pub region: RegionName,
    /// Where it joined.
    pub coordinators: Vec<String>,
    /// When the certificate is renewed.
    pub renew_at: WallTime,
    /// The file.
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIdentity {
    cluster: ClusterId,
    host: HostName,
    region: RegionName,
    coordinators: Vec<String>,
    /// Milliseconds since the Unix epoch.
    renew_at_unix_millis: i64,
}

/// Why the identity could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum IdentityFileError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// This host never joined.
    #[error("this host has joined no cluster: there is no {}; on a coordinator: holdfast token create --region REGION", path.display())]
    NotJoined {
        /// What is missing.
        path: PathBuf,
    },
    /// Its text.
    #[error("{} is damaged; join again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// It cannot be written as text.
    #[error("cannot write {}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<toml::ser::Error>,
    },
}

fn identity_path(state_dir: &Path) -> PathBuf {
    state_dir.join("identity.toml")
}

impl Identity {
    /// A new identity, not yet saved.
    #[must_use]
    pub fn new(
        state_dir: &Path,
        cluster: ClusterId,
        host: HostName,
        region: RegionName,
        coordinators: Vec<String>,
        renew_at: WallTime,
    ) -> Self {
        Self { cluster, host, region, coordinators, renew_at, path: identity_path(state_dir) }
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`IdentityFileError`].
    pub fn load(state_dir: &Path) -> Result<Self, IdentityFileError> {
        let path = identity_path(state_dir);
        let text = match files::read_text(&path, BYTES_MAX) {
            Ok(text) => text,
            Err(e) if e.is_missing() => return Err(IdentityFileError::NotJoined { path }),
            Err(e) => return Err(e.into()),
        };
        let raw: RawIdentity = toml::from_str(&text)
            .map_err(|source| IdentityFileError::Damaged { path: path.clone(), source: Box::new(source) })?;
        Ok(Self {
            cluster: raw.cluster,
            host: raw.host,
            region: raw.region,
            coordinators: raw.coordinators,
            renew_at: WallTime(raw.renew_at_unix_millis),
            path,
        })
    }

    /// Writes it, whole.
    ///
    /// # Errors
    /// [`IdentityFileError`].
    pub fn save(&self) -> Result<(), IdentityFileError> {
        let raw = RawIdentity {
            cluster: self.cluster.clone(),
            host: self.host.clone(),
            region: self.region.clone(),
            coordinators: self.coordinators.clone(),
            renew_at_unix_millis: self.renew_at.unix_millis(),
        };
        let text = toml::to_string(&raw)
            .map_err(|source| IdentityFileError::Unwritable { path: self.path.clone(), source: Box::new(source) })?;
        Ok(files::write_private(&self.path, text.as_bytes())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_problems_are_told_at_once_with_their_lines() {
        let text = "state_dir = \"here\"\n\nrun_dir = \"there\"\ncoordinators = [\n  \"c1\",\n  \"c2:7443\",\n  \"c3:x\",\n]\n";
        let problems = Config::parse(Path::new("agent.toml"), text).expect_err("refused").to_string();
        let lines: Vec<_> = problems.lines().collect();
        assert_eq!(lines.len(), 4, "{problems}");
        assert!(lines[0].starts_with("agent.toml:1: state_dir is here; needs an absolute path"), "{problems}");
        assert!(lines[1].starts_with("agent.toml:3: run_dir is there;"), "{problems}");
        assert!(lines[2].starts_with("agent.toml:5: \"c1\" is no address"), "{problems}");
        assert!(lines[3].starts_with("agent.toml:7: \"c3:x\" is no address"), "{problems}");
    }

    #[test]
    fn declared_writers_are_checked_all_at_once_with_their_lines() {
        let good = "[[writers]]\nunit = \"postgresql@15-main.service\"\ndata_dir = \"/var/lib/postgresql/15/main\"\n\n\
                    [[writers]]\ncontainer = \"pg\"\ndata_dir = \"/data\"\n\n\
                    [[writers]]\npg_ctl = { bin = \"/usr/lib/postgresql/15/bin\", user = \"postgres\" }\n\
                    data_dir = \"/srv/pg\"\n";
        let config = Config::parse(Path::new("agent.toml"), good).expect("fine");
        assert_eq!(config.writers().len(), 3);
        // What would be printed for each is what was read.
        let lines: Vec<_> = config.writers().iter().flat_map(Declared::lines).collect();
        let again = Config::parse(Path::new("agent.toml"), &lines.join("\n")).expect("fine");
        assert_eq!(again.writers(), config.writers());

        let bad =
            format!("{good}[[writers]]\ncontainer = \"pg\"\ndata_dir = \"/data\"\n[[writers]]\ndata_dir = \"x\"\n");
        let problems = Config::parse(Path::new("agent.toml"), &bad).expect_err("refused").to_string();
        let lines: Vec<_> = problems.lines().collect();
        assert_eq!(lines.len(), 3, "{problems}");
        assert_eq!(lines[0], "agent.toml:12: container pg, data in /data is declared twice; remove one");
        assert!(lines[1].starts_with("agent.toml:15: data_dir is x, which is not absolute"), "{problems}");
        assert!(lines[2].starts_with("agent.toml:15: it does not say what starts"), "{problems}");
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let e =
            Config::parse(Path::new("agent.toml"), "run_dir = \"/run/x\"\nstatedir = \"/x\"\n").expect_err("refused");
        assert!(e.to_string().starts_with("agent.toml:2: unknown field `statedir`"), "{e}");
    }

    #[test]
    fn everything_has_a_default() {
        let config = Config::parse(Path::new("agent.toml"), "").expect("fine");
        assert_eq!(config.state_dir(), Path::new(STATE_DIR_DEFAULT));
        assert_eq!(config.run_dir(), Path::new(RUN_DIR_DEFAULT));
        assert_eq!(config.coordinators(), None);
    }

    #[test]
    fn an_identity_reads_back_as_it_was_saved() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(matches!(Identity::load(dir.path()), Err(IdentityFileError::NotJoined { .. })));
        let identity = Identity::new(
            dir.path(),
            ClusterId::from_random([7; 16]),
            HostName::new("use-db1").expect("a name"),
            RegionName::new("us-east").expect("a name"),
            vec!["c1.example:7443".to_owned()],
            WallTime(1_795_208_657_532),
        );
        identity.save().expect("saved");
        assert_eq!(Identity::load(dir.path()).expect("loaded"), identity);
    }
}
