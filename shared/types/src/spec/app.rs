//! An app's declaration, checked. Only [`super::parse`] makes one; what it holds is consistent.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use serde::Serialize;

use crate::{
    ids::{AppName, CheckName, Credential, HostName, RegionName, RoleName, WriterName},
    lease::Timings,
};

/// One app as declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AppSpec {
    /// The app.
    pub app: AppName,
    /// Where it can run, in the order of the file: earlier is preferred as a candidate. At least one.
    pub regions: Vec<Region>,
    /// What takes writes: stopped when the lease is over, started only by Holdfast, moved together.
    pub writers: BTreeMap<WriterName, Writer>,
    /// How its health is seen.
    pub checks: BTreeMap<CheckName, Check>,
    /// When and how it moves. `None`: no leases, never fenced, never moved.
    pub failover: Option<Failover>,
    /// How a host that lost its lease is stopped. Means something only together with `failover`.
    pub fencing: Fencing,
    /// Who sends clients to the active region. May be empty: then clients list every database host themselves.
    pub proxies: Vec<Proxy>,
}

/// A failure domain of one app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Region {
    /// Its name.
    pub name: RegionName,
    /// What runs where. Each role has at least one host.
    pub roles: BTreeMap<RoleName, Vec<Placement>>,
}

/// A host in a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Placement {
    /// The host, by the name in its certificate.
    pub host: HostName,
    /// Where the role is reached on it: an IP address or a DNS name, without port.
    pub address: String,
}

/// Something that takes an app's writes. Its role has exactly one host in every region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Writer {
    /// Its name.
    pub name: WriterName,
    /// What it is.
    pub kind: WriterKind,
    /// Where it runs.
    pub on: RoleName,
    /// What starts and stops it.
    pub run_by: RunBy,
    /// Its data directory, absolute; `{region}` stands for the region of the host (see [`AppSpec::placed_in`]).
    pub data_dir: PathBuf,
    /// TCP port.
    pub port: u16,
    /// How Holdfast logs in to it.
    pub login: Login,
    /// How the standby follows. Always there when the app has `failover` and more than one region.
    pub replication: Option<Replication>,
}

/// What a writer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WriterKind {
    /// A PostgreSQL cluster.
    Postgres,
}

/// What starts and stops a writer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunBy {
    /// A systemd unit.
    Systemd {
        /// Full unit name: `postgresql@15-main.service`.
        unit: String,
    },
    /// A container.
    Container {
        /// Its name.
        name: String,
    },
    /// PostgreSQL's own `pg_ctl`.
    PgCtl {
        /// Directory of PostgreSQL's programs, absolute.
        bin: PathBuf,
        /// The system user that owns the cluster.
        user: String,
    },
}

/// How Holdfast logs in to a database on its own host. Exactly one of `socket` and `address` is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Login {
    /// Directory of the unix socket, absolute.
    pub socket: Option<PathBuf>,
    /// IP address or DNS name, without port.
    pub address: Option<String>,
    /// Database user.
    pub user: String,
    /// Database to log in to.
    pub database: String,
    /// Password, if one is needed.
    pub password: Option<Credential>,
}

/// How a standby follows its primary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Replication {
    /// Whether commits wait for the standby.
    pub mode: ReplicationMode,
    /// Database user of the standby.
    pub user: String,
    /// Its password, if one is needed.
    pub password: Option<Credential>,
    /// Name of the replication slot; `{region}` stands for the standby's region (see [`Replication::slot_of`]).
    pub slot: String,
}

impl Replication {
    /// The slot through which the standby in `region` follows. PostgreSQL allows no `-` in a slot's name, so one in
    /// the region's name becomes `_`.
    #[must_use]
    pub fn slot_of(&self, region: &RegionName) -> String {
        self.slot.replace("{region}", &region.as_str().replace('-', "_"))
    }
}

/// Whether commits wait for the standby.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplicationMode {
    /// They do not: a failover may lose the last ones.
    Async,
    /// They do.
    Sync,
}

/// One probe of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name.
    pub name: CheckName,
    /// What it does.
    pub kind: CheckKind,
    /// The role whose hosts are looked at. `None` for a `postgres` check (its writer says it) and for an `http` check
    /// whose URL names no host.
    pub on: Option<RoleName>,
    /// The role whose hosts look. `None`: the hosts looked at themselves (local), or any of other regions (remote).
    pub from: Option<RoleName>,
    /// From where it looks.
    pub place: Place,
    /// Which regions it looks at.
    pub of: Of,
    /// Whether one failing host is enough.
    pub vital: bool,
    /// How many hosts of `on` must be fine, at least 1. `None`: all.
    pub enough: Option<u32>,
    /// When an answer is too late.
    pub timeout: Duration,
    /// Whether a good answer proves that the region serves writes, which vetoes a failover. Only of remote checks.
    pub proves_writes: bool,
}

/// What a check does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckKind {
    /// Opens a TCP connection.
    Tcp {
        /// Port on each host of `on`.
        port: u16,
    },
    /// Asks a URL.
    Http {
        /// The URL; see [`Check::url`] for what fills `{address}` and `{region}`.
        url: String,
        /// The status that is fine.
        expect_status: u16,
    },
    /// Logs in to a writer, on its own host.
    Postgres {
        /// Which one.
        writer: WriterName,
        /// What is fine.
        expect: PostgresExpect,
    },
    /// Asks Docker how containers are, on their own host.
    Container {
        /// Their names; `{region}` stands for the region of the host (see [`AppSpec::placed_in`]). Not empty.
        names: Vec<String>,
    },
    /// Looks at the certificate that an endpoint shows. It warns: it never makes a region fail.
    Tls(TlsCheck),
    /// Asks a Redis.
    Redis {
        /// Port on each host of `on`.
        port: u16,
        /// What is fine.
        expect: RedisExpect,
        /// The user of its ACL.
        user: Option<String>,
        /// The password, if one is needed.
        password: Option<Credential>,
    },
    /// Asks a MongoDB.
    Mongodb {
        /// Port on each host of `on`.
        port: u16,
        /// What is fine.
        expect: MongodbExpect,
        /// The replica set that it must belong to.
        replica_set: Option<String>,
    },
    /// Runs a script of the folder that belongs to the host's root, on the host that is looked at.
    Exec {
        /// The bare name of its file.
        script: String,
    },
}

impl Check {
    /// The URL of an `http` check for one region, and for one host where the URL says `{address}`. An IPv6 address is
    /// put in brackets. `None` for other kinds, and when the URL needs an address and there is none.
    #[must_use]
    pub fn url(&self, region: &RegionName, address: Option<&str>) -> Option<String> {
        let url = match &self.kind {
            CheckKind::Http { url, .. } => url.replace("{region}", region.as_str()),
            CheckKind::Tcp { .. }
            | CheckKind::Postgres { .. }
            | CheckKind::Container { .. }
            | CheckKind::Tls(_)
            | CheckKind::Redis { .. }
            | CheckKind::Mongodb { .. }
            | CheckKind::Exec { .. } => return None,
        };
        if !url.contains("{address}") {
            return Some(url);
        }
        let address = address?;
        if address.contains(':') {
            return Some(url.replace("{address}", &format!("[{address}]")));
        }
        Some(url.replace("{address}", address))
    }
}

/// What a `tls` check looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TlsCheck {
    /// IP address or DNS name of one endpoint for the whole region; `{region}` stands for the region looked at. `None`:
    /// the addresses of the hosts of `on`.
    pub address: Option<String>,
    /// Port of the endpoint.
    pub port: u16,
    /// The name that the certificate must be for; `{region}` stands for the region looked at. `None`: the address.
    pub server_name: Option<String>,
    /// With fewer days left than this it is failing.
    pub days_min: u32,
    /// A file of CAs on the host that looks, absolute; `None`: those that the host trusts.
    pub ca: Option<PathBuf>,
}

/// What a `redis` check expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RedisExpect {
    /// It answers, whatever its part.
    Answers,
    /// It leads.
    Primary,
    /// It follows, and its link to its primary is up.
    Replica,
    /// It leads, and takes a marker key.
    AcceptsWrites,
}

/// What a `mongodb` check expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MongodbExpect {
    /// It answers, whatever its part.
    Answers,
    /// It takes writes.
    Primary,
    /// It follows the primary of its replica set.
    Secondary,
}

/// What a `postgres` check expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PostgresExpect {
    /// Not in recovery, and not read-only.
    AcceptsWrites,
    /// In recovery, and receiving from its primary.
    Streams,
}

/// From where a check looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// By agents of the region itself.
    Local,
    /// By agents of other regions.
    Remote,
}

/// Which regions a check looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// The active one.
    Active,
    /// Every standby.
    Standby,
}

/// When and how an app moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failover {
    /// Who decides.
    pub mode: Mode,
    /// Time between two rounds while all is well.
    pub interval: Duration,
    /// Time between two rounds after a failing one; at most `interval`.
    pub recheck: Duration,
    /// So many failing verdicts in a row make a region unhealthy; at least 1.
    pub failures: u32,
    /// So many good verdicts in a row make it healthy again; at least 1.
    pub successes: u32,
    /// How long a lease lasts.
    pub lease: Duration,
    /// How often it is renewed.
    pub renew: Duration,
    /// What the holder does when no coordinator answers.
    pub on_isolation: OnIsolation,
    /// Aim for the time without service. Changes no behaviour.
    pub rto_target: Option<Duration>,
    /// Aim for lost acknowledged writes, as their number. Changes no behaviour.
    pub rpo_target: Option<u64>,
}

/// Who decides about a failover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Holdfast.
    Automatic,
    /// An operator; Holdfast says when, and with which command.
    Assist,
    /// An operator; Holdfast only alerts.
    Observe,
}

/// What the holder of a lease does when no coordinator answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnIsolation {
    /// It stops its writers when the lease is over.
    Fence,
}

/// How a host that lost its lease is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Fencing {
    /// By whom.
    pub by: FencedBy,
    /// From "lease over" to "every process of every writer gone", killing included; at least 1 s.
    pub within: Duration,
}

/// Who stops the writers of a host that lost its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FencedBy {
    /// The agent.
    Agent,
    /// Nobody: two writers are possible. Never together with [`Mode::Automatic`].
    None,
}

/// One proxy per host of a role. Each of its backends has one server per region, named as the region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proxy {
    /// Where it runs.
    pub on: RoleName,
    /// HAProxy's runtime socket, absolute.
    pub socket: PathBuf,
    /// Which backend leads to which writer. Not empty.
    pub backends: BTreeMap<String, WriterName>,
}

impl AppSpec {
    /// This spec as it reads on the hosts of one region: `{region}` in what names things on a host (data directory,
    /// socket folders, container, unit) is the region's name. Hosts differ; the spec names each thing once.
    #[must_use]
    pub fn placed_in(&self, region: &RegionName) -> Self {
        let text = |t: &str| t.replace("{region}", region.as_str());
        let path = |p: &PathBuf| p.to_str().map_or_else(|| p.clone(), |t| PathBuf::from(text(t)));
        let mut placed = self.clone();
        for writer in placed.writers.values_mut() {
            writer.data_dir = path(&writer.data_dir);
            writer.login.socket = writer.login.socket.as_ref().map(path);
            writer.run_by = match &writer.run_by {
                RunBy::Systemd { unit } => RunBy::Systemd { unit: text(unit) },
                RunBy::Container { name } => RunBy::Container { name: text(name) },
                RunBy::PgCtl { bin, user } => RunBy::PgCtl { bin: bin.clone(), user: user.clone() },
            };
        }
        for check in placed.checks.values_mut() {
            // Only by the region's own hosts, so the region of the host is the one that is looked at.
            if let CheckKind::Container { names } = &mut check.kind {
                names.iter_mut().for_each(|name| *name = text(name));
            }
        }
        for proxy in &mut placed.proxies {
            proxy.socket = path(&proxy.socket);
        }
        placed
    }

    /// The timings that the app's safety rests on. `None` when it has no leases: without `failover`, or with one
    /// region only.
    #[must_use]
    pub fn timings(&self) -> Option<Timings> {
        let failover = self.failover.as_ref()?;
        (self.regions.len() > 1).then(|| Timings::new(failover.lease, failover.renew, self.fencing.within))
    }

    /// The region of that name.
    #[must_use]
    pub fn region(&self, name: &RegionName) -> Option<&Region> {
        self.regions.iter().find(|region| region.name == *name)
    }

    /// Every host of the app with its region, each once, in the order of their names.
    #[must_use]
    pub fn hosts(&self) -> BTreeMap<HostName, RegionName> {
        let mut hosts = BTreeMap::new();
        for region in &self.regions {
            for placement in region.roles.values().flatten() {
                hosts.insert(placement.host.clone(), region.name.clone());
            }
        }
        hosts
    }

    /// Whether the spec names this host. The same as being among [`Self::hosts`], without making a list of them: a
    /// coordinator asks this of every app for every host.
    #[must_use]
    pub fn names(&self, host: &HostName) -> bool {
        self.regions.iter().flat_map(|region| region.roles.values()).flatten().any(|placed| placed.host == *host)
    }

    /// The roles of a host; empty when the app does not name it.
    #[must_use]
    pub fn roles_of(&self, host: &HostName) -> BTreeSet<RoleName> {
        let roles = self.regions.iter().flat_map(|region| &region.roles);
        roles.filter(|(_, hosts)| hosts.iter().any(|p| p.host == *host)).map(|(role, _)| role.clone()).collect()
    }

    /// Where a writer runs in a region. `None` only for a writer or region that the app does not have.
    #[must_use]
    pub fn writer_host(&self, writer: &WriterName, region: &RegionName) -> Option<&Placement> {
        self.region(region)?.roles.get(&self.writers.get(writer)?.on)?.first()
    }

    /// The longest that any check may take; zero without checks.
    #[must_use]
    pub fn slowest_check(&self) -> Duration {
        self.checks.values().map(|check| check.timeout).max().unwrap_or_default()
    }

    /// Longest time from the first failure to an unhealthy region. `None` without `failover`.
    #[must_use]
    pub fn detection(&self) -> Option<Duration> {
        let failover = self.failover.as_ref()?;
        Some(failover.interval + failover.recheck * failover.failures.saturating_sub(1) + self.slowest_check())
    }
}
