//! The latest observation of each look. Bounded by what the spec can ask for: strangers are not stored.

use std::collections::BTreeMap;

use holdfast_types::{BootInstant, HostName, RegionName, spec::AppSpec};

use crate::verdict::{CheckRef, DatabaseSeen, Outcome, Signal};

/// One look: what was checked, in which region, at what, by whom; a look that could not run is kept apart, because it
/// is no observation and must not hide the one before it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    region: RegionName,
    check: CheckRef,
    observer: HostName,
    target: Option<HostName>,
    ran: bool,
}

impl Key {
    fn of(signal: &Signal) -> Self {
        Self {
            region: signal.region.clone(),
            check: signal.check.clone(),
            observer: signal.observer.clone(),
            target: signal.target.clone(),
            ran: signal.outcome != Outcome::CouldNotRun,
        }
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    seen: BTreeMap<Key, (BootInstant, Signal)>,
}

/// Whether the app has this check, region, observer and target. Remote observers may be of any region: the coordinator's
/// own place may look, too.
pub(super) fn belongs(spec: &AppSpec, signal: &Signal) -> bool {
    let check = match &signal.check {
        CheckRef::Declared(name) => spec.checks.contains_key(name),
        CheckRef::Writer(name) => spec.writers.contains_key(name),
    };
    let hosts = spec.hosts();
    let target = signal.target.as_ref().is_none_or(|target| hosts.get(target) == Some(&signal.region));
    // A local look counts only as the word of a host that the spec places there.
    let observer = signal.observer_region != signal.region || hosts.get(&signal.observer) == Some(&signal.region);
    check && target && observer && spec.region(&signal.region).is_some()
}

impl Table {
    /// Finds out whether a standby received anything since it was last looked at. The first look says nothing.
    pub(super) fn mark_advance(&self, signal: &mut Signal) {
        let before = self.seen.get(&Key::of(signal)).and_then(|(_, last)| last.database);
        if let Some(seen) = &mut signal.database {
            let at = |d: &DatabaseSeen| (d.timeline, d.lsn);
            seen.advanced =
                before.is_some_and(|before| before.in_recovery && seen.in_recovery && at(seen) > at(&before));
        }
    }

    /// Keeps the newer one. Returns whether it says something else than the one before it.
    pub(super) fn put(&mut self, signal: Signal, now: BootInstant) -> bool {
        let taken = now - signal.age;
        let key = Key::of(&signal);
        let says = |s: &Signal| {
            let database = s.database.map(|d| (d.accepts_writes, d.in_recovery, d.streaming, d.advanced));
            (s.outcome, database)
        };
        let news = match self.seen.get(&key) {
            Some((at, _)) if *at > taken => return false,
            // Delivered twice: compared with itself it has not advanced, and must not hide that it had.
            Some((at, last)) if *at == taken && last.outcome == signal.outcome => return false,
            Some((_, last)) => says(last) != says(&signal),
            None => true,
        };
        self.seen.insert(key, (taken, signal));
        news
    }

    /// When the region's own agents last looked, look by look.
    pub(super) fn own(&self, region: &RegionName) -> impl Iterator<Item = BootInstant> {
        let own = self.seen.iter().filter(move |(key, (_, s))| key.region == *region && s.observer_region == *region);
        own.map(|(_, (taken, _))| *taken)
    }

    pub(super) fn signals(&self, now: BootInstant) -> Vec<Signal> {
        self.seen.values().map(|(taken, s)| Signal { age: now.since(*taken), ..s.clone() }).collect()
    }

    pub(super) fn keep(&mut self, spec: &AppSpec) {
        self.seen.retain(|_, (_, signal)| belongs(spec, signal));
    }

    pub(super) fn forget(&mut self, host: &HostName) {
        self.seen.retain(|key, _| key.observer != *host);
    }
}
