//! The latest observation of each check, as figures of its app. What a check measures beside its verdict (a database's
//! positions today) becomes a series here; one of another kind adds its own in [`Checks::values`].

use std::{collections::BTreeMap, time::Duration};

use holdfast_coordinator_core::metrics::measure::{Measure, Readings, Series};
use holdfast_proto::v1;
use holdfast_types::{AppName, BootInstant, HostName, RegionName};

use super::intake::float;

/// An observation older than this says nothing of now: twice the longest usual interval.
const FRESH_FOR: Duration = Duration::from_secs(60);
/// Checks of one app that are kept; a spec has far fewer.
const CHECKS_MAX: usize = 512;
/// Longest name of a check, in bytes; `writer:` and a name.
const CHECK_MAX: usize = 80;

/// Which check, of what, by whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    check: String,
    region: RegionName,
    target: String,
    observer: HostName,
}

#[derive(Debug, Clone, PartialEq)]
struct Seen {
    at: BootInstant,
    ok: bool,
    took: Duration,
    database: Option<v1::DatabaseEvidence>,
}

/// A check as it was last seen.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckNow {
    /// The app.
    pub app: AppName,
    /// The check; `writer:pg` is the look that every database host takes unasked.
    pub check: String,
    /// The region that was looked at.
    pub region: RegionName,
    /// The host that was looked at; empty where the check names none.
    pub target: String,
    /// Who looked.
    pub observer: HostName,
    /// As expected.
    pub ok: bool,
    /// How long it took.
    pub took: Duration,
    /// Of a database.
    pub database: Option<v1::DatabaseEvidence>,
    /// What its standby has not received; nothing of a primary, or without one.
    pub lag_bytes: Option<u64>,
}

/// The latest observations.
#[derive(Debug, Default)]
pub(super) struct Checks(BTreeMap<AppName, BTreeMap<Key, Seen>>);

impl Checks {
    pub(super) fn note(&mut self, app: &AppName, observer: &HostName, told: &v1::Observation, now: BootInstant) {
        let Ok(region) = RegionName::new(&*told.region) else { return };
        if told.check.len() > CHECK_MAX || told.target.len() > CHECK_MAX {
            return;
        }
        let key = Key { check: told.check.clone(), region, target: told.target.clone(), observer: observer.clone() };
        let all = self.0.entry(app.clone()).or_default();
        let ok = match told.outcome() {
            v1::Outcome::Ok => true,
            v1::Outcome::Failing => false,
            // No observation: what was seen before grows old.
            v1::Outcome::CouldNotRun | v1::Outcome::Unspecified => return,
        };
        if !all.contains_key(&key) && all.len() >= CHECKS_MAX {
            return;
        }
        let span =
            |span: Option<prost_types::Duration>| span.and_then(|s| Duration::try_from(s).ok()).unwrap_or_default();
        let seen = Seen { at: now - span(told.age), ok, took: span(told.took), database: told.database.clone() };
        all.insert(key, seen);
    }

    pub(super) fn forget_old(&mut self, now: BootInstant) {
        for all in self.0.values_mut() {
            all.retain(|_, seen| now.since(seen.at) <= FRESH_FOR);
        }
        self.0.retain(|_, all| !all.is_empty());
    }

    pub(super) fn now(&self, now: BootInstant) -> Vec<CheckNow> {
        self.0.iter().flat_map(|(app, all)| of_app(app, all, now)).collect()
    }

    pub(super) fn values(&self, app: &AppName, now: BootInstant) -> Readings {
        self.0.get(app).map(|all| readings(&of_app(app, all, now))).unwrap_or_default()
    }

    pub(super) fn all_values(&self, now: BootInstant) -> Vec<(AppName, Readings)> {
        self.0.keys().map(|app| (app.clone(), self.values(app, now))).collect()
    }
}

fn of_app(app: &AppName, all: &BTreeMap<Key, Seen>, now: BootInstant) -> Vec<CheckNow> {
    let fresh: Vec<(&Key, &Seen)> = all.iter().filter(|(_, seen)| now.since(seen.at) <= FRESH_FOR).collect();
    // The furthest primary of each writer; on two timelines the newer one counts.
    let mut primaries: BTreeMap<&str, (u32, u64)> = BTreeMap::new();
    for (key, seen) in &fresh {
        if let Some(database) = &seen.database
            && database.accepts_writes
            && !database.in_recovery
        {
            let place = primaries.entry(&key.check).or_default();
            *place = (*place).max((database.timeline, database.lsn));
        }
    }
    let check = |(key, seen): &(&Key, &Seen)| {
        let standby = seen.database.as_ref().filter(|database| database.in_recovery);
        let primary = primaries.get(&*key.check);
        CheckNow {
            app: app.clone(),
            check: key.check.clone(),
            region: key.region.clone(),
            target: key.target.clone(),
            observer: key.observer.clone(),
            ok: seen.ok,
            took: seen.took,
            lag_bytes: standby.and_then(|standby| Some(primary?.1.saturating_sub(standby.lsn))),
            database: seen.database.clone(),
        }
    };
    fresh.iter().map(check).collect()
}

fn readings(checks: &[CheckNow]) -> Readings {
    let mut readings = Readings::new();
    let mut writers = None;
    for check in checks {
        // Each host looks at its own database under one name.
        let of = match &*check.target {
            target if target.is_empty() || target == check.observer.as_str() => {
                format!("{} {}", check.check, check.observer)
            }
            target => format!("{} {target} by {}", check.check, check.observer),
        };
        let mut put = |measure, of: &str, value: f64| readings.insert(Series::new(measure, of), value);
        put(Measure::Check, &of, f64::from(u8::from(check.ok)));
        put(Measure::CheckTook, &of, check.took.as_secs_f64());
        if let Some(database) = &check.database
            && check.check.starts_with("writer:")
        {
            let host = check.observer.as_str();
            if let Some(lag) = check.lag_bytes {
                put(Measure::Lag, host, float(lag));
            }
            if database.in_recovery {
                put(Measure::Replay, host, float(database.lsn.saturating_sub(database.replayed_lsn)));
            }
            *writers.get_or_insert(0.0) += f64::from(u8::from(database.accepts_writes && !database.in_recovery));
        }
    }
    if let Some(writers) = writers {
        readings.insert(Series::new(Measure::Writers, ""), writers);
    }
    readings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> BootInstant {
        BootInstant::from_boot(Duration::from_secs(seconds))
    }

    fn seen(region: &str, host: &str, database: v1::DatabaseEvidence) -> (HostName, v1::Observation) {
        let told = v1::Observation {
            check: "writer:pg".to_owned(),
            region: region.to_owned(),
            target: host.to_owned(),
            outcome: v1::Outcome::Ok.into(),
            took: Duration::from_millis(20).try_into().ok(),
            database: Some(database),
            ..v1::Observation::default()
        };
        (HostName::new(host).expect("a name"), told)
    }

    #[test]
    fn lag_is_what_a_standby_has_not_received_of_its_primary() {
        let app = AppName::new("shop").expect("a name");
        let mut checks = Checks::default();
        let primary =
            v1::DatabaseEvidence { accepts_writes: true, timeline: 2, lsn: 1_000, ..v1::DatabaseEvidence::default() };
        // An old primary that came back on the older timeline, further on, is not what anybody lags behind.
        let stray = v1::DatabaseEvidence { timeline: 1, lsn: 9_000, ..primary.clone() };
        let standby =
            v1::DatabaseEvidence { in_recovery: true, lsn: 900, replayed_lsn: 850, ..v1::DatabaseEvidence::default() };
        for (region, host, database) in
            [("us-east", "use-db1", primary), ("us-east", "use-db2", stray), ("us-west", "usw-db1", standby)]
        {
            let (observer, told) = seen(region, host, database);
            checks.note(&app, &observer, &told, at(100));
        }
        let values = checks.values(&app, at(110));
        let value = |measure, of: &str| values.get(&Series::new(measure, of)).copied();
        assert_eq!(value(Measure::Lag, "usw-db1"), Some(100.0));
        assert_eq!(value(Measure::Replay, "usw-db1"), Some(50.0));
        assert_eq!(value(Measure::Lag, "use-db1"), None);
        assert_eq!(value(Measure::Writers, ""), Some(2.0));
        assert_eq!(value(Measure::Check, "writer:pg usw-db1"), Some(1.0));
        assert_eq!(value(Measure::CheckTook, "writer:pg usw-db1"), Some(0.02));
        // What is old says nothing of now.
        assert_eq!(checks.values(&app, at(161)), Readings::new());
        checks.forget_old(at(161));
        assert!(checks.0.is_empty());
    }

    #[test]
    fn a_check_that_could_not_run_is_no_observation() {
        let (app, mut checks) = (AppName::new("shop").expect("a name"), Checks::default());
        let (observer, mut told) = seen("us-east", "use-db1", v1::DatabaseEvidence::default());
        told.outcome = v1::Outcome::CouldNotRun.into();
        checks.note(&app, &observer, &told, at(100));
        assert!(checks.now(at(100)).is_empty());
    }
}
