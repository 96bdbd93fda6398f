//! Who must report what. Computed from the spec, so that a report that never comes is noticed.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_types::{
    HostName, RegionName, WriterName,
    spec::{AppSpec, Check, CheckKind, Of, Place, PostgresExpect, Region},
};

use super::CheckRef;

/// One check of a region, with every look it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) check: CheckRef,
    pub(super) place: Place,
    /// One target that is not fine is enough.
    pub(super) vital: bool,
    /// It makes nobody fail: an expired certificate is no reason to move an app.
    pub(super) only_warns: bool,
    /// So many targets must be fine; `None`: all.
    pub(super) enough: Option<u32>,
    pub(super) says: Says,
    /// Who looks at what. One entry with no target where the check names no hosts.
    pub(super) looks: BTreeMap<Option<HostName>, BTreeSet<HostName>>,
}

/// What a good answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Says {
    /// The host answers.
    Answers,
    /// The operator says that whoever answers this serves writes.
    ServesWrites,
    /// A database committed a write.
    Writes(WriterName),
    /// A database follows the active one.
    Follows(WriterName),
}

/// What is asked of a region, the writers first: they weigh most.
pub(super) fn asked(spec: &AppSpec, region: &RegionName, active: &RegionName) -> Vec<Asked> {
    let Some(here) = spec.region(region) else {
        return Vec::new();
    };
    let is_active = region == active;
    let mut asked = Vec::new();
    for writer in spec.writers.keys() {
        let Some(place) = spec.writer_host(writer, region) else {
            continue;
        };
        let says = if is_active { Says::Writes(writer.clone()) } else { Says::Follows(writer.clone()) };
        asked.push(Asked {
            check: CheckRef::Writer(writer.clone()),
            place: Place::Local,
            vital: is_active,
            only_warns: false,
            enough: None,
            says,
            looks: BTreeMap::from([(Some(place.host.clone()), BTreeSet::from([place.host.clone()]))]),
        });
    }
    for check in spec.checks.values() {
        let looks_here = match check.of {
            Of::Active => is_active,
            Of::Standby => !is_active,
        };
        if looks_here {
            asked.push(declared(spec, here, check));
        }
    }
    asked
}

fn declared(spec: &AppSpec, here: &Region, check: &Check) -> Asked {
    Asked {
        check: CheckRef::Declared(check.name.clone()),
        place: check.place,
        vital: check.vital,
        only_warns: matches!(check.kind, CheckKind::Tls(_)),
        enough: check.enough,
        says: says(check),
        looks: looks(spec, here, check),
    }
}

fn says(check: &Check) -> Says {
    match &check.kind {
        CheckKind::Postgres { writer, expect: PostgresExpect::AcceptsWrites } => Says::Writes(writer.clone()),
        CheckKind::Postgres { writer, expect: PostgresExpect::Streams } => Says::Follows(writer.clone()),
        CheckKind::Tcp { .. } | CheckKind::Http { .. } if check.proves_writes => Says::ServesWrites,
        CheckKind::Tcp { .. }
        | CheckKind::Http { .. }
        | CheckKind::Container { .. }
        | CheckKind::Tls(_)
        | CheckKind::Redis { .. }
        | CheckKind::Mongodb { .. }
        | CheckKind::Exec { .. } => Says::Answers,
    }
}

fn looks(spec: &AppSpec, here: &Region, check: &Check) -> BTreeMap<Option<HostName>, BTreeSet<HostName>> {
    let targets: BTreeSet<HostName> = match (&check.kind, &check.on) {
        (CheckKind::Postgres { writer, .. }, _) => {
            spec.writer_host(writer, &here.name).map(|place| place.host.clone()).into_iter().collect()
        }
        (
            CheckKind::Tcp { .. }
            | CheckKind::Http { .. }
            | CheckKind::Container { .. }
            | CheckKind::Tls(_)
            | CheckKind::Redis { .. }
            | CheckKind::Mongodb { .. }
            | CheckKind::Exec { .. },
            role,
        ) => role.as_ref().map(|role| hosts_in(here, role.as_str())).unwrap_or_default(),
    };
    let observers: Option<BTreeSet<HostName>> = match (check.place, &check.from) {
        (Place::Local, Some(role)) => Some(hosts_in(here, role.as_str())),
        // Each target looks at itself; without targets, every host of the region looks.
        (Place::Local, None) if !targets.is_empty() => None,
        (Place::Local, None) => Some(here.roles.values().flatten().map(|place| place.host.clone()).collect()),
        (Place::Remote, from) => {
            let others = spec.regions.iter().filter(|region| region.name != here.name);
            let hosts = others.flat_map(|region| match from {
                Some(role) => hosts_in(region, role.as_str()),
                None => region.roles.values().flatten().map(|place| place.host.clone()).collect(),
            });
            Some(hosts.collect())
        }
    };
    if targets.is_empty() {
        return BTreeMap::from([(None, observers.unwrap_or_default())]);
    }
    let look = |target: HostName| {
        let by = observers.clone().unwrap_or_else(|| BTreeSet::from([target.clone()]));
        (Some(target), by)
    };
    targets.into_iter().map(look).collect()
}

fn hosts_in(region: &Region, role: &str) -> BTreeSet<HostName> {
    let roles = region.roles.iter().filter(|(name, _)| name.as_str() == role);
    roles.flat_map(|(_, places)| places).map(|place| place.host.clone()).collect()
}

/// The hosts whose writer is on record in this region.
pub(super) fn writer_hosts(spec: &AppSpec, region: &RegionName) -> BTreeSet<HostName> {
    let places = spec.writers.keys().filter_map(|writer| spec.writer_host(writer, region));
    places.map(|place| place.host.clone()).collect()
}

/// The region's own hosts that must report something of it.
pub(super) fn own_observers(asked: &[Asked]) -> BTreeSet<HostName> {
    let local = asked.iter().filter(|check| check.place == Place::Local);
    local.flat_map(|check| check.looks.values()).flatten().cloned().collect()
}
