//! One app and the hosts as they are now, and the rows that `status`, `apps`, `regions` and `hosts` show of them.
//!
//! A picture is gathered once per call (`fleet`); everything here is a function of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use holdfast_coordinator_core::{
    counter::Counter, gate::StandbyDatabase, maintenance::Scope, readiness::Report, records, state::App, verdict::Kind,
};
use holdfast_proto::v1;
use holdfast_types::{AppName, HostName, OperationId, RegionName, WallTime, WriterName, spec::Mode, time::span};

use super::{maintenance, wire};
use crate::{fleet::Presence, rounds::GateSeen};

/// An app as it is now.
#[derive(Debug, Clone)]
pub(super) struct Picture {
    pub(super) name: AppName,
    /// As committed.
    pub(super) app: App,
    /// In the order of the spec.
    pub(super) regions: Vec<RegionPicture>,
    /// What each of its hosts believes of its lease, aged to now.
    pub(super) leases: BTreeMap<HostName, LeasePicture>,
    /// What the gate said last.
    pub(super) gate: Option<GateSeen>,
    /// Its last operation.
    pub(super) last: Option<(OperationId, records::Operation)>,
    /// Whether it could fail over, as it was judged last.
    pub(super) readiness: Option<Report>,
    /// The maintenance that it is in.
    pub(super) maintenance: Option<(Scope, records::Maintenance)>,
}

/// A region of an app as it is now.
#[derive(Debug, Clone)]
pub(super) struct RegionPicture {
    pub(super) name: RegionName,
    /// The latest verdict; unknown before the first.
    pub(super) kind: Kind,
    pub(super) counter: Counter,
    pub(super) failures: u32,
    pub(super) successes: u32,
    /// How old a sight may be and still tell what is.
    pub(super) fresh_for: Duration,
    /// Why that verdict, what weighs most first.
    pub(super) reasons: Vec<String>,
    /// Of a standby region: its databases.
    pub(super) databases: BTreeMap<WriterName, StandbyDatabase>,
}

/// What a host believes of its lease.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LeasePicture {
    pub(super) state: v1::LeaseState,
    /// Of a lease with an end: what is left now.
    pub(super) left: Option<Duration>,
    pub(super) generation: u64,
}

/// An enrolled host as it is now.
#[derive(Debug, Clone)]
pub(super) struct HostPicture {
    pub(super) region: String,
    pub(super) presence: Presence,
    /// Empty = fine.
    pub(super) quarantine: String,
    /// `smellpin db, proxy`, one for each app.
    pub(super) roles: Vec<String>,
    /// What ails it by its own word, a line each.
    pub(super) problems: Vec<String>,
}

/// Every enrolled host.
pub(super) type Hosts = BTreeMap<HostName, HostPicture>;

impl HostPicture {
    pub(super) fn live(&self) -> bool {
        matches!(self.presence, Presence::Live(_))
    }
}

/// `use-db1 (us-east) is silent since 20:58:05`; `None` while it is there.
pub(super) fn silence(host: &HostName, hosts: &Hosts, now: WallTime) -> Option<String> {
    const CLOCK_TELLS: Duration = Duration::from_hours(24);
    let Some(picture) = hosts.get(host) else { return Some(format!("{host} is not enrolled")) };
    let place = format!("{host} ({})", picture.region);
    match picture.presence {
        Presence::Live(_) => None,
        Presence::Silent(since) if now.since(since) < CLOCK_TELLS => {
            Some(format!("{place} is silent since {}", since.clock()))
        }
        Presence::Silent(since) => Some(format!("{place} is silent for {}", span(now.since(since)))),
        Presence::NeverSeen => Some(format!("{place} was not heard since this coordinator started")),
    }
}

/// How a standby does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StandbyState {
    /// All its databases receive from the active region.
    Streaming,
    /// A host of its databases is not there.
    Absent,
    /// Its writers are fenced: it was active once and has not been made a standby since.
    Fenced,
    /// It is there and does not follow.
    Failing,
    /// There is nothing to say: no database, or nothing was seen yet.
    Nothing,
}

impl StandbyState {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Streaming => "streaming",
            Self::Absent => "absent",
            Self::Fenced => "fenced",
            Self::Failing => "failing",
            Self::Nothing => "–",
        }
    }
}

impl RegionPicture {
    /// Whether this database receives from the active region right now.
    pub(super) fn follows(&self, database: &StandbyDatabase) -> bool {
        database.live
            && database.age <= self.fresh_for
            && database.seen.is_some_and(|s| s.in_recovery && s.streaming)
            && !database.is_stranger()
    }

    pub(super) fn standby_state(&self, leases: &BTreeMap<HostName, LeasePicture>) -> StandbyState {
        let databases = || self.databases.values();
        let fenced = |host: &HostName| {
            leases.get(host).is_some_and(|l| matches!(l.state, v1::LeaseState::Fencing | v1::LeaseState::Fenced))
        };
        if self.databases.is_empty() {
            return StandbyState::Nothing;
        }
        if databases().any(|d| !d.live) {
            return StandbyState::Absent;
        }
        if databases().all(|d| self.follows(d)) {
            return StandbyState::Streaming;
        }
        if databases().any(|d| fenced(&d.host)) {
            return StandbyState::Fenced;
        }
        if self.kind == Kind::Unknown && databases().all(|d| d.seen.is_none()) {
            return StandbyState::Nothing;
        }
        StandbyState::Failing
    }

    /// How far it has received less than its source was last seen to have written. `None`: nobody can say.
    fn behind_bytes(&self) -> Option<u64> {
        let each = self.databases.values().map(StandbyDatabase::behind_bytes);
        each.reduce(|sum, next| Some(sum?.saturating_add(next?))).flatten()
    }

    /// The first reason of a verdict that is not ok.
    fn why(&self) -> String {
        match self.kind {
            Kind::Ok => String::new(),
            Kind::Degraded | Kind::Failing | Kind::Unknown => self.reasons.first().cloned().unwrap_or_default(),
        }
    }
}

impl Picture {
    pub(super) fn active(&self) -> Option<&RegionPicture> {
        self.regions.iter().find(|r| r.name == *self.app.active())
    }

    pub(super) fn standbys(&self) -> impl Iterator<Item = &RegionPicture> {
        self.regions.iter().filter(|r| r.name != *self.app.active())
    }

    /// The standby to show: the first that could take over, else the first.
    fn standby(&self) -> Option<&RegionPicture> {
        let promotable: BTreeSet<&RegionName> = self.app.promotable().collect();
        self.standbys().find(|r| promotable.contains(&r.name)).or_else(|| self.standbys().next())
    }

    /// The lease of the active region: of several holders the one that is worst off.
    pub(super) fn lease(&self) -> LeasePicture {
        let nothing = |state| LeasePicture { state, left: None, generation: self.app.record.generation };
        if !self.app.leased() {
            return nothing(v1::LeaseState::None);
        }
        let of_host = |host: &HostName| match self.leases.get(host) {
            // What it held of an older generation is no right to write now.
            Some(seen) if seen.state == v1::LeaseState::Ended && seen.generation != self.app.record.generation => {
                nothing(v1::LeaseState::Unspecified)
            }
            Some(seen) => *seen,
            None => nothing(v1::LeaseState::Unspecified),
        };
        let holders = self.app.holders(self.app.active());
        let worst = holders.iter().map(of_host).min_by_key(|l| (standing(l.state), l.left));
        worst.unwrap_or(nothing(v1::LeaseState::Unspecified))
    }

    /// Its row.
    pub(super) fn row(&self) -> v1::AppStatus {
        let record = &self.app.record;
        let lease = self.lease();
        let standby = self.standby().map(|r| (r, r.standby_state(&self.leases)));
        v1::AppStatus {
            app: self.name.to_string(),
            active_region: self.app.active().to_string(),
            generation: record.generation,
            health: self.active().map_or(Kind::Unknown, |r| r.kind).to_string(),
            lease: lease.state.into(),
            lease_left: lease.left.and_then(wire::span),
            standby_region: standby.map(|(r, _)| r.name.to_string()).unwrap_or_default(),
            standby_state: standby.map_or(StandbyState::Nothing, |(_, state)| state).word().to_owned(),
            behind_bytes: standby
                .filter(|(_, state)| matches!(state, StandbyState::Streaming | StandbyState::Failing))
                .and_then(|(r, _)| r.behind_bytes()),
            mode: mode(self.app.spec.failover.as_ref().map(|f| f.mode)).to_owned(),
            last_move_at: wire::moment(record.moved_at),
            last_move: record.moved_by.clone(),
            running_operation: record.operation,
            revision: record.revision,
            held: self.app.held(),
            ready: self.readiness.as_ref().map(|report| report.ready),
            maintenance: self.maintenance.as_ref().map(|(scope, m)| maintenance::wired(scope, m)),
        }
    }
}

/// Worst first.
const fn standing(state: v1::LeaseState) -> u8 {
    match state {
        v1::LeaseState::Released => 0,
        v1::LeaseState::Fenced => 1,
        v1::LeaseState::Fencing => 2,
        v1::LeaseState::None => 3,
        v1::LeaseState::Unspecified => 4,
        v1::LeaseState::Ended => 5,
        v1::LeaseState::Sole => 6,
    }
}

/// Who decides, in a word.
pub(super) const fn mode(mode: Option<Mode>) -> &'static str {
    match mode {
        Some(Mode::Automatic) => "automatic",
        Some(Mode::Assist) => "assist",
        Some(Mode::Observe) => "observe",
        None => "none",
    }
}

/// A row for each region that has a host or that an app names, in the order of their names.
pub(super) fn region_rows(pictures: &[Picture], hosts: &Hosts) -> Vec<v1::RegionStatus> {
    let mut rows: BTreeMap<&str, v1::RegionStatus> = BTreeMap::new();
    let enrolled = hosts.values().map(|host| host.region.as_str());
    let named = pictures.iter().flat_map(|p| &p.regions).map(|r| r.name.as_str());
    for region in enrolled.chain(named) {
        rows.entry(region).or_default().region = region.to_owned();
    }
    for host in hosts.values() {
        let row = rows.entry(&host.region).or_default();
        row.hosts += 1;
        row.hosts_live += u32::from(host.live());
    }
    for picture in pictures {
        for region in &picture.regions {
            rows.entry(region.name.as_str()).or_default().apps.push(v1::RegionApp {
                app: picture.name.to_string(),
                active: region.name == *picture.app.active(),
                health: region.kind.to_string(),
                why: region.why(),
            });
        }
    }
    rows.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::samples;

    #[test]
    fn a_good_day_reads_as_one() {
        let row = samples::good_day().row();
        assert_eq!(
            (&*row.app, &*row.active_region, row.generation, &*row.health, row.lease(), &*row.mode),
            ("shop", "us-east", 1, "ok", v1::LeaseState::Ended, "automatic")
        );
        assert_eq!(
            (&*row.standby_region, &*row.standby_state, row.behind_bytes, row.last_move_at, &*row.last_move),
            ("us-west", "streaming", Some(0), None, "first apply")
        );
        assert_eq!(wire::from_span(row.lease_left.as_ref()), Some(Duration::from_millis(2_400)));
    }

    #[test]
    fn the_standby_is_what_its_databases_and_leases_say() {
        type Change = fn(&mut Picture);
        fn west(p: &mut Picture) -> &mut StandbyDatabase {
            p.regions[1].databases.values_mut().next().expect("pg")
        }
        fn lease(p: &mut Picture, state: v1::LeaseState) {
            let host = "usw-db1".parse().expect("a name");
            p.leases.insert(host, LeasePicture { state, left: None, generation: 1 });
        }
        fn seen(p: &mut Picture) -> &mut holdfast_coordinator_core::verdict::DatabaseSeen {
            west(p).seen.as_mut().expect("seen")
        }
        let table: [(&str, Change, &str, Option<u64>); 10] = [
            ("follows", |_| {}, "streaming", Some(0)),
            ("follows from afar", |p| seen(p).lsn.0 -= 4096, "streaming", Some(4096)),
            ("ahead of what was last seen", |p| seen(p).lsn.0 += 10, "streaming", Some(0)),
            ("its host is gone", |p| west(p).live = false, "absent", None),
            ("does not receive", |p| seen(p).streaming = false, "failing", Some(0)),
            (
                "on another timeline",
                |p| {
                    seen(p).streaming = false;
                    seen(p).timeline = 2;
                },
                "failing",
                None,
            ),
            ("was not looked at for long", |p| west(p).age = Duration::from_secs(9), "failing", Some(0)),
            (
                "fenced",
                |p| {
                    west(p).seen = None;
                    lease(p, v1::LeaseState::Fenced);
                },
                "fenced",
                None,
            ),
            ("not a holder", |p| lease(p, v1::LeaseState::None), "streaming", Some(0)),
            (
                "nothing seen yet",
                |p| {
                    west(p).seen = None;
                    p.regions[1].kind = Kind::Unknown;
                },
                "–",
                None,
            ),
        ];
        for (name, change, state, behind) in table {
            let mut picture = samples::good_day();
            change(&mut picture);
            let row = picture.row();
            assert_eq!((&*row.standby_state, row.behind_bytes), (state, behind), "{name}");
        }
    }

    #[test]
    fn a_lease_of_an_older_generation_is_no_lease() {
        let mut picture = samples::good_day();
        picture.app.record.generation = 2;
        assert_eq!(picture.row().lease(), v1::LeaseState::Unspecified);
        picture.leases.clear();
        assert_eq!(picture.row().lease(), v1::LeaseState::Unspecified);
    }

    #[test]
    fn an_app_in_one_region_has_no_lease_and_no_standby() {
        let app = samples::app(samples::ONE_REGION, "eu-1");
        let mut picture = Picture { name: app.spec.app.clone(), app, ..samples::good_day() };
        picture.regions.truncate(1);
        picture.regions[0].name = "eu-1".parse().expect("a name");
        let row = picture.row();
        assert_eq!(
            (row.lease(), &*row.standby_region, &*row.standby_state, &*row.mode),
            (v1::LeaseState::None, "", "–", "none")
        );
    }

    #[test]
    fn regions_count_their_hosts_and_name_what_fails() {
        let mut picture = samples::good_day();
        picture.regions[1].kind = Kind::Failing;
        picture.regions[1].reasons = vec!["usw-db1 is silent for 12 s".to_owned()];
        let mut hosts = samples::hosts();
        hosts.get_mut(&"usw-db1".parse::<HostName>().unwrap()).unwrap().presence = Presence::Silent(samples::NOW);
        let rows = region_rows(&[picture], &hosts);
        let told: Vec<_> = rows.iter().map(|r| (&*r.region, r.hosts_live, r.hosts, &*r.apps[0].health)).collect();
        assert_eq!(told, [("us-east", 2, 2, "ok"), ("us-west", 1, 2, "failing")]);
        assert_eq!((rows[0].apps[0].active, &*rows[1].apps[0].why), (true, "usw-db1 is silent for 12 s"));
    }
}
