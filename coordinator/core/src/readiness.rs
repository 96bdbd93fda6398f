//! Readiness: whether an app could fail over right now, and if not, why not, with the very line to add.
//!
//! Each condition is judged by itself, whatever the others say, so that everything that is missing is seen at once. It
//! never says ready where the gate would be closed for a reason that is there before any region fails: what the gate asks
//! of a candidate is asked here by the gate's own function.

mod database;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use holdfast_types::{
    HostName, OperationId, RegionName, WriterName,
    spec::{AppSpec, CheckKind, PostgresExpect},
    time::span,
};

use crate::{
    gate::{Standby, choose, why_not},
    maintenance::{Scope, told},
    records::Maintenance,
};

/// A wall clock that is off by more makes times in logs and certificates hard to believe.
const CLOCK_GAP: Duration = Duration::from_secs(5);

/// What is looked at, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// It has a failover section and another region.
    Declared,
    /// No operation and no maintenance is in the way.
    Free,
    /// Every host is live, and lets Holdfast do what it must.
    Hosts,
    /// Holdfast can log in to every database.
    Login,
    /// Its role may do what a failover needs.
    Rights,
    /// A region could take over: its database follows this primary.
    Standby,
    /// The proxies are reachable, and open for the active region alone.
    Proxies,
    /// Nobody but Holdfast starts a database.
    Starts,
    /// A standby that is promoted alone takes commits.
    Synchronous,
    /// Something looks whether writes are taken.
    Checks,
    /// An old primary can be brought back by pg_rewind.
    Rewind,
    /// Each standby has its slot on the primary.
    Slots,
    /// The timings suit a coordinator's restart.
    Timings,
    /// The hosts' wall clocks.
    Clocks,
}

impl Condition {
    /// All, in their order.
    pub const ALL: [Self; 14] = [
        Self::Declared,
        Self::Free,
        Self::Hosts,
        Self::Login,
        Self::Rights,
        Self::Standby,
        Self::Proxies,
        Self::Starts,
        Self::Synchronous,
        Self::Checks,
        Self::Rewind,
        Self::Slots,
        Self::Timings,
        Self::Clocks,
    ];

    /// Heading of its paragraph in the operator guide, as in `docs: readiness/login`.
    #[must_use]
    pub const fn slug(self) -> &'static str {
        match self {
            Self::Declared => "declared",
            Self::Free => "free",
            Self::Hosts => "hosts",
            Self::Login => "login",
            Self::Rights => "rights",
            Self::Standby => "standby",
            Self::Proxies => "proxies",
            Self::Starts => "starts",
            Self::Synchronous => "synchronous",
            Self::Checks => "checks",
            Self::Rewind => "rewind",
            Self::Slots => "slots",
            Self::Timings => "timings",
            Self::Clocks => "clocks",
        }
    }

    /// Without it a failover would not do; the others only make things better.
    #[must_use]
    pub const fn needed(self) -> bool {
        match self {
            Self::Declared
            | Self::Free
            | Self::Hosts
            | Self::Login
            | Self::Rights
            | Self::Standby
            | Self::Proxies
            | Self::Starts
            | Self::Synchronous => true,
            Self::Checks | Self::Rewind | Self::Slots | Self::Timings | Self::Clocks => false,
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.slug())
    }
}

/// How a condition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// As it should be.
    Holds,
    /// Nobody has looked yet.
    Unknown,
    /// It should be better; a failover works all the same.
    Advice,
    /// It keeps a failover from working.
    Missing,
}

/// A line to add, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Add {
    /// As in `pg_hba.conf on usw-db1`.
    pub place: String,
    /// The line.
    pub line: String,
}

/// One condition, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub condition: Condition,
    /// How it stands.
    pub state: State,
    /// Why, with names and numbers.
    pub text: String,
    /// What to add, where something is missing.
    pub add: Vec<Add>,
}

/// A host as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostSeen {
    /// It has a live session.
    pub live: bool,
    /// Why it gets no lease; empty = fine.
    pub quarantine: String,
    /// What it says that ails it.
    pub problems: Vec<String>,
    /// How far its wall clock was from ours, when it last said.
    pub clock_gap: Option<Duration>,
}

/// How a writer's database is set up, as its host said last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WriterFacts {
    /// Why nobody could log in; empty = it was looked at.
    pub login_problem: String,
    /// PostgreSQL's SQLSTATE for that.
    pub login_state: String,
    /// What the role has not, as in a grant.
    pub missing_rights: Vec<String>,
    /// It is in recovery.
    pub in_recovery: bool,
    /// Settings by their names.
    pub settings: BTreeMap<String, String>,
    /// Physical slots.
    pub slots: BTreeSet<String>,
    /// What starts it besides Holdfast; empty = nothing.
    pub starts_by_itself: String,
    /// The line that changes that.
    pub starts_by_itself_add: String,
    /// What could not be looked at beside it.
    pub problem: String,
}

/// A proxy's backend as the agent beside it said last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProxySeen {
    /// Regions whose server is open.
    pub open: BTreeSet<String>,
    /// Why it could not be asked; empty when it could.
    pub problem: String,
}

/// What readiness is judged from.
#[derive(Debug, Clone)]
pub struct Input<'a> {
    /// As declared.
    pub spec: &'a AppSpec,
    /// Takes the writes.
    pub active: &'a RegionName,
    /// The operation that runs.
    pub operation: Option<OperationId>,
    /// The maintenance that it is in.
    pub maintenance: Option<(&'a Scope, &'a Maintenance)>,
    /// Whether the proxies should be open.
    pub routed: bool,
    /// The standby regions, as the gate sees them.
    pub standbys: &'a [Standby],
    /// Standby regions whose databases all receive from the active one right now.
    pub following: &'a BTreeSet<RegionName>,
    /// Every host of the spec.
    pub hosts: &'a BTreeMap<HostName, HostSeen>,
    /// Every writer in every region; one that was not looked at is not there.
    pub writers: &'a BTreeMap<(RegionName, WriterName), WriterFacts>,
    /// Every backend on every proxy host; one that was not heard of is not there.
    pub proxies: &'a BTreeMap<(HostName, String), ProxySeen>,
}

/// Whether an app could fail over, and each condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// It could, right now.
    pub ready: bool,
    /// In the order of [`Condition::ALL`].
    pub findings: Vec<Finding>,
}

impl Report {
    /// What keeps it from failing over.
    pub fn missing(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.state == State::Missing)
    }
}

/// Judges. Pure: the same input gives the same answer.
#[must_use]
pub fn judge(input: &Input<'_>) -> Report {
    let findings: Vec<Finding> = Condition::ALL.into_iter().map(|condition| finding(input, condition)).collect();
    let ready = findings.iter().filter(|f| f.condition.needed()).all(|f| f.state == State::Holds);
    Report { ready, findings }
}

/// How many things are not as they should be, and which.
#[derive(Debug, Default)]
struct Told {
    wrong: Vec<String>,
    unknown: Vec<String>,
    add: Vec<Add>,
}

impl Told {
    fn wrong(&mut self, text: impl Into<String>) {
        self.wrong.push(text.into());
    }

    fn unknown(&mut self, text: impl Into<String>) {
        self.unknown.push(text.into());
    }

    fn add(&mut self, place: impl Into<String>, line: impl Into<String>) {
        let add = Add { place: place.into(), line: line.into() };
        if !self.add.contains(&add) {
            self.add.push(add);
        }
    }

    fn finding(self, condition: Condition, well: impl Into<String>) -> Finding {
        let (state, text) = match (self.wrong.is_empty(), self.unknown.is_empty()) {
            (true, true) => (State::Holds, well.into()),
            (true, false) => (State::Unknown, self.unknown.join("; ")),
            (false, _) if condition.needed() => (State::Missing, self.wrong.join("; ")),
            (false, _) => (State::Advice, self.wrong.join("; ")),
        };
        Finding { condition, state, text, add: self.add }
    }
}

fn finding(input: &Input<'_>, condition: Condition) -> Finding {
    let mut told = Told::default();
    let well = match condition {
        Condition::Declared => declared(input, &mut told),
        Condition::Free => free(input, &mut told),
        Condition::Hosts => hosts(input, &mut told),
        Condition::Standby => standby(input, &mut told),
        Condition::Proxies => proxies(input, &mut told),
        Condition::Checks => checks(input, &mut told),
        Condition::Timings => timings(input, &mut told),
        Condition::Clocks => clocks(input, &mut told),
        Condition::Login => database::login(input, &mut told),
        Condition::Rights => database::rights(input, &mut told),
        Condition::Starts => database::starts(input, &mut told),
        Condition::Synchronous => database::synchronous(input, &mut told),
        Condition::Rewind => database::rewind(input, &mut told),
        Condition::Slots => database::slots(input, &mut told),
    };
    told.finding(condition, well)
}

fn declared(input: &Input<'_>, told: &mut Told) -> String {
    let app = &input.spec.app;
    let add = format!("{app}.yaml, then holdfast apply");
    match (&input.spec.failover, input.spec.regions.len()) {
        (None, _) => {
            told.wrong(format!("{app} has no failover section: it has no leases and never moves"));
            told.add(add, "failover: {mode: assist}");
        }
        (Some(_), 0 | 1) => told.wrong(format!("{app} has one region, so there is nowhere to go")),
        (Some(_), _) if input.spec.writers.is_empty() => told.wrong(format!("{app} declares no writer to move")),
        (Some(_), _) => {}
    }
    let regions: Vec<&str> = input.spec.regions.iter().map(|region| region.name.as_str()).collect();
    format!("failover between {}", regions.join(", "))
}

fn free(input: &Input<'_>, told_: &mut Told) -> String {
    if let Some(operation) = input.operation {
        told_.wrong(format!("operation {operation} is running"));
        told_.add("see", format!("holdfast operations watch {operation}"));
    }
    if let Some((scope, maintenance)) = input.maintenance {
        told_.wrong(told(scope, maintenance));
        told_.add("when it is done", scope.off());
    }
    "no operation runs, no maintenance".to_owned()
}

fn hosts(input: &Input<'_>, told: &mut Told) -> String {
    for (host, region) in input.spec.hosts() {
        let seen = input.hosts.get(&host).cloned().unwrap_or_default();
        if !seen.quarantine.is_empty() {
            told.wrong(format!("{host} ({region}) is quarantined: {}", seen.quarantine));
            told.add("here", format!("holdfast token create --region {region} --replaces {host}"));
        } else if !seen.live {
            told.wrong(format!("{host} ({region}) is not live"));
            told.add(host.to_string(), "systemctl status holdfast-agent");
        }
        for problem in &seen.problems {
            told.wrong(format!("{host} ({region}): {problem}"));
        }
    }
    format!("{} of {} live", input.spec.hosts().len(), input.spec.hosts().len())
}

fn standby(input: &Input<'_>, told: &mut Told) -> String {
    let Some(standby) = choose(input.standbys, input.active) else {
        for standby in input.standbys {
            told.wrong(why_not(standby, input.active).unwrap_or_default());
        }
        if input.standbys.is_empty() {
            told.wrong(format!("there is no standby region beside {}", input.active));
        }
        return String::new();
    };
    if !input.following.contains(&standby.region) {
        told.unknown(format!("{} is not seen streaming from {} right now", standby.region, input.active));
    }
    format!("{} follows {} and could take over", standby.region, input.active)
}

fn proxies(input: &Input<'_>, told: &mut Told) -> String {
    let mut count = 0;
    for proxy in &input.spec.proxies {
        for (host, region) in input.spec.hosts() {
            if !input.spec.roles_of(&host).contains(&proxy.on) {
                continue;
            }
            for backend in proxy.backends.keys() {
                count += 1;
                let place = format!("{backend} on {host} ({region})");
                match input.proxies.get(&(host.clone(), backend.clone())) {
                    None => told.unknown(format!("{place} was not heard of yet")),
                    Some(seen) if !seen.problem.is_empty() => {
                        told.wrong(format!("{place}: {}", seen.problem));
                        for region in &input.spec.regions {
                            let writer = proxy.backends.get(backend);
                            let address = writer.and_then(|writer| input.spec.writer_host(writer, &region.name));
                            let port = writer.and_then(|writer| input.spec.writers.get(writer)).map_or(0, |w| w.port);
                            let address = address.map_or("ADDRESS", |place| &*place.address);
                            told.add(
                                format!("haproxy.cfg on {host}, backend {backend}"),
                                format!(
                                    "server {} {address}:{port} disabled on-marked-down shutdown-sessions",
                                    region.name
                                ),
                            );
                        }
                        told.add(
                            format!("haproxy.cfg on {host}, global"),
                            format!("stats socket {} mode 660 level admin", proxy.socket.display()),
                        );
                    }
                    Some(seen) => {
                        let wanted: BTreeSet<String> =
                            input.routed.then(|| input.active.to_string()).into_iter().collect();
                        if seen.open != wanted {
                            let open: Vec<&str> = seen.open.iter().map(String::as_str).collect();
                            let open = if open.is_empty() { "nothing".to_owned() } else { open.join(", ") };
                            told.wrong(format!("{place} is open for {open}, not for {} alone", input.active));
                        }
                    }
                }
            }
        }
    }
    if count == 0 {
        "none: clients list every region's hosts".to_owned()
    } else {
        format!("{count} open for {} alone", input.active)
    }
}

fn checks(input: &Input<'_>, told: &mut Told) -> String {
    let proves = |check: &holdfast_types::spec::Check| {
        check.proves_writes || matches!(check.kind, CheckKind::Postgres { expect: PostgresExpect::AcceptsWrites, .. })
    };
    if !input.spec.checks.values().any(proves) {
        let writer = input.spec.writers.keys().next().map_or("WRITER", WriterName::as_str);
        told.wrong("no check proves that writes are taken; every database host looks at its writer all the same");
        told.add(
            format!("{}.yaml, checks", input.spec.app),
            format!("writes: {{kind: postgres, writer: {writer}, where: local, expect: accepts_writes, vital: true}}"),
        );
    }
    format!("{}, one of them proves writes", input.spec.checks.len())
}

fn timings(input: &Input<'_>, told: &mut Told) -> String {
    let short = input.spec.arithmetic().into_iter().find(|line| line.what == "takeover");
    if let Some(note) = short.and_then(|line| line.note) {
        told.wrong(note);
        told.add(format!("{}.yaml, failover", input.spec.app), "lease: {duration: 20s, renew: 5s}");
    }
    input
        .spec
        .timings()
        .map_or_else(String::new, |t| format!("a lease of {}, renewed every {}", span(t.lease), span(t.renew)))
}

fn clocks(input: &Input<'_>, told: &mut Told) -> String {
    for host in input.spec.hosts().into_keys() {
        let gap = input.hosts.get(&host).and_then(|seen| seen.clock_gap);
        if let Some(gap) = gap.filter(|gap| *gap > CLOCK_GAP) {
            told.wrong(format!("the clock of {host} is {} away from the coordinator's", span(gap)));
            told.add(host.to_string(), "timedatectl set-ntp true");
        }
    }
    "within a few seconds".to_owned()
}
