//! What agents saw, as a round is judged on it.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use holdfast_types::{CheckName, HostName, Lsn, RegionName, WriterName, spec::AppSpec};

use super::Cadence;

/// What was checked: a declared check, or a writer, which every database host looks at unasked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CheckRef {
    /// A check of the spec.
    Declared(CheckName),
    /// A writer, by its own host: it takes writes in the active region and follows in a standby one. Prints as
    /// `writer:pg`; no check can have such a name.
    Writer(WriterName),
}

impl fmt::Display for CheckRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Declared(name) => f.pad(name.as_str()),
            Self::Writer(name) => f.pad(&format!("writer:{name}")),
        }
    }
}

/// Why a text names no check.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" names no check: expected a check's name, or writer: and a writer's")]
pub struct BadCheckRef(String);

impl FromStr for CheckRef {
    type Err = BadCheckRef;

    fn from_str(text: &str) -> Result<Self, BadCheckRef> {
        let bad = || BadCheckRef(text.chars().take(80).collect());
        match text.strip_prefix("writer:") {
            Some(writer) => WriterName::new(writer).map(Self::Writer).map_err(|_| bad()),
            None => CheckName::new(text).map(Self::Declared).map_err(|_| bad()),
        }
    }
}

/// How a look ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// As expected.
    Ok,
    /// Not as expected.
    Failing,
    /// It could not run: no observation, neither good nor bad.
    CouldNotRun,
}

/// What was seen of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct DatabaseSeen {
    /// A marker was committed.
    pub accepts_writes: bool,
    /// It replays what another one wrote.
    pub in_recovery: bool,
    /// It is connected to the one it follows.
    pub streaming: bool,
    /// What tells this database from every other: copies of one have one. 0: unknown.
    pub system: u64,
    /// Its timeline.
    pub timeline: u32,
    /// A primary's current position; what a standby has received.
    pub lsn: Lsn,
    /// What a standby has replayed.
    pub replayed: Lsn,
    /// A standby's received position moved since its previous observation: WAL still comes from the source. A link
    /// that is merely open moves nothing. [`crate::rounds::Rounds::observe`] finds this out.
    pub advanced: bool,
}

impl DatabaseSeen {
    /// Whether this standby receives what `source` writes: it streams, and is of the same database on the same timeline.
    /// One that streams from a stranger is nothing that could take over.
    #[must_use]
    pub const fn follows(&self, source: &Self) -> bool {
        self.in_recovery && self.streaming && self.copies(source)
    }

    /// Whether this is the database that `source` is, on the same timeline.
    #[must_use]
    pub const fn copies(&self, source: &Self) -> bool {
        self.system != 0 && self.system == source.system && self.timeline == source.timeline
    }
}

/// One observation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Signal {
    /// What was checked.
    pub check: CheckRef,
    /// The host that looked, by its certificate.
    pub observer: HostName,
    /// Its region, by its certificate.
    pub observer_region: RegionName,
    /// The host looked at, where the check names hosts.
    pub target: Option<HostName>,
    /// The region looked at.
    pub region: RegionName,
    /// How the look ended.
    pub outcome: Outcome,
    /// One line for people.
    pub text: String,
    /// How long ago it was received, on the coordinator's boot clock; what it had waited on its host is added.
    pub age: Duration,
    /// What was seen of the database, where one was looked at.
    pub database: Option<DatabaseSeen>,
}

/// Every host of the cluster that we know, by region, and whether its session is alive.
pub type Fleet = BTreeMap<RegionName, BTreeMap<HostName, bool>>;

/// All that a verdict depends on.
#[derive(Debug, Clone, Copy)]
pub struct RoundInput<'a> {
    /// The app.
    pub spec: &'a AppSpec,
    /// The region that is judged.
    pub region: &'a RegionName,
    /// The region that takes the app's writes.
    pub active: &'a RegionName,
    /// The latest observations, in any order, of all regions of the app. More than one of the same look may be there.
    pub signals: &'a [Signal],
    /// How often observations are due.
    pub cadence: Cadence,
    /// Every host of the cluster, also those of other apps.
    pub hosts_live: &'a Fleet,
    /// How long this coordinator has been leading and listening.
    pub started_for: Duration,
    /// How long this revision of the spec has been in force with this active region. What was never observed since is
    /// not missed at once. Never more than `started_for` in a sensible input.
    pub in_force_for: Duration,
    /// The active region's lease is over for sure: what it said of itself, or a page says of it, has no veto any more.
    pub lease_over: bool,
}

impl RoundInput<'_> {
    /// Whether this is an observation that still counts.
    pub(super) fn fresh(&self, signal: &Signal) -> bool {
        !self.cadence.is_silent(signal.age)
    }
}
