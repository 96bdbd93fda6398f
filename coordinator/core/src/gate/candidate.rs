//! Which standby region could take over, and why the others could not.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_types::{BootInstant, HostName, Lsn, RegionName, WriterName, lsn::bytes, refusal::Reason, time::span};

use super::{AskedBy, GateInput};
use crate::{
    rounds::Rounds,
    verdict::{DatabaseSeen, Fleet},
};

/// A standby region as the gate sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standby {
    /// The region.
    pub region: RegionName,
    /// Whether it is committed as promotable.
    pub promotable: bool,
    /// The database of each writer there.
    pub databases: BTreeMap<WriterName, StandbyDatabase>,
}

/// A standby's database as the gate sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandbyDatabase {
    /// Its host.
    pub host: HostName,
    /// Whether its host has a live session.
    pub live: bool,
    /// What was last seen of it; `None`: nothing since we watch.
    pub seen: Option<DatabaseSeen>,
    /// How long ago.
    pub age: std::time::Duration,
    /// Whether it followed when its source was last seen taking writes; `None`: the source was not seen since we
    /// watch. Once the source is gone nobody streams, so what it does now says nothing.
    pub followed: Option<bool>,
    /// The source as it last took a write, and how long ago that was.
    pub source: Option<(DatabaseSeen, std::time::Duration)>,
}

impl StandbyDatabase {
    /// How far it has received less than the source had written when that was last seen. `None`: unknown, or on
    /// another timeline, where positions do not compare.
    #[must_use]
    pub fn behind_bytes(&self) -> Option<u64> {
        let (source, _) = self.source?;
        let seen = self.seen?;
        seen.copies(&source).then(|| source.lsn.bytes_since(seen.lsn))
    }

    /// Whether it is another database than the one that it should follow: initialised by itself, or of another app.
    #[must_use]
    pub fn is_stranger(&self) -> bool {
        self.seen.zip(self.source).is_some_and(|(seen, (source, _))| seen.system != 0 && seen.system != source.system)
    }
}

/// Gathers the standby regions of an app, in the order of its spec.
#[must_use]
pub fn standbys(
    rounds: &Rounds,
    promotable: &BTreeSet<RegionName>,
    hosts_live: &Fleet,
    now: BootInstant,
) -> Vec<Standby> {
    let subject = rounds.subject();
    let spec = &subject.spec;
    let standby_regions = spec.regions.iter().filter(|region| region.name != subject.active);
    let database = |region: &RegionName, writer: &WriterName| {
        let host = spec.writer_host(writer, region)?.host.clone();
        let sights = rounds.sights();
        let sight = sights.database(region, writer);
        Some(StandbyDatabase {
            live: hosts_live.get(region).and_then(|hosts| hosts.get(&host)).copied().unwrap_or(false),
            seen: sight.map(|sight| sight.seen),
            age: sight.map(|sight| now.since(sight.at)).unwrap_or_default(),
            followed: sights.followed(region, writer, rounds.pacing()),
            source: sights.source(writer).map(|s| (s.seen, now.since(s.at))),
            host,
        })
    };
    standby_regions
        .map(|region| Standby {
            region: region.name.clone(),
            promotable: promotable.contains(&region.name),
            databases: spec
                .writers
                .keys()
                .filter_map(|writer| Some((writer.clone(), database(&region.name, writer)?)))
                .collect(),
        })
        .collect()
}

/// Why a region cannot take over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Obstacle {
    pub(super) reason: Reason,
    pub(super) text: String,
}

pub(super) fn obstacle(standby: &Standby, active: &RegionName) -> Option<Obstacle> {
    let region = &standby.region;
    let not = |text| Some(Obstacle { reason: Reason::NotPromotable, text });
    if !standby.promotable {
        return not(format!("{region} is not promotable: its database is not known to follow {active}"));
    }
    if standby.databases.is_empty() {
        return not(format!("{region} has no database of the app"));
    }
    for (writer, database) in &standby.databases {
        let host = &database.host;
        if !database.live {
            let text = match database.seen {
                Some(_) => format!("{host} ({region}) has no live session, last heard {} ago", span(database.age)),
                None => format!("{host} ({region}) has no live session"),
            };
            return Some(Obstacle { reason: Reason::HostAbsent, text });
        }
        let Some(seen) = database.seen else {
            return not(format!("{writer} on {host} ({region}) has not been observed yet"));
        };
        if !seen.in_recovery {
            return not(format!("{writer} on {host} ({region}) is no standby: it is down, or not in recovery"));
        }
        if database.followed == Some(false) {
            if database.is_stranger() {
                return not(format!("{writer} on {host} ({region}) is another database than the one in {active}"));
            }
            let source = database.source.map(|(source, age)| format!(" at {}, {} ago", source.lsn, span(age)));
            let when = source.unwrap_or_default();
            let text = format!("{writer} on {host} ({region}) did not follow when {active} was last seen{when}");
            return not(text);
        }
    }
    None
}

/// Why a region cannot take over, in words.
#[must_use]
pub fn why_not(standby: &Standby, active: &RegionName) -> Option<String> {
    obstacle(standby, active).map(|obstacle| obstacle.text)
}

/// The regions that could take over as far as anything is seen of them.
#[must_use]
pub fn able(standbys: &[Standby], active: &RegionName) -> BTreeSet<RegionName> {
    standbys
        .iter()
        .filter(|standby| obstacle(standby, active).is_none())
        .map(|standby| standby.region.clone())
        .collect()
}

/// The standby to take: of those without an obstacle the one furthest on by (timeline, received position), writer by
/// writer in the order of their names; of equals the one that the spec names first.
#[must_use]
pub fn choose<'a>(standbys: &'a [Standby], active: &RegionName) -> Option<&'a Standby> {
    let mut best: Option<&Standby> = None;
    for standby in standbys.iter().filter(|standby| obstacle(standby, active).is_none()) {
        if best.is_none_or(|best| position(standby) > position(best)) {
            best = Some(standby);
        }
    }
    best
}

fn position(standby: &Standby) -> Vec<Option<(u32, Lsn)>> {
    standby.databases.values().map(|database| database.seen.map(|seen| (seen.timeline, seen.lsn))).collect()
}

/// The standby that this request would take.
pub(super) fn chosen<'a>(input: &GateInput<'a>) -> Option<&'a Standby> {
    match &input.asked_by {
        AskedBy::Operator { to: Some(to) } => {
            input.standbys.iter().find(|s| s.region == *to).filter(|s| obstacle(s, input.active).is_none())
        }
        AskedBy::Operator { to: None } | AskedBy::Verdicts => choose(input.standbys, input.active),
    }
}

/// How far behind a standby is, in words: `0 B behind`.
pub(super) fn behind(standby: &Standby) -> String {
    let each = standby.databases.values().map(StandbyDatabase::behind_bytes);
    match each.sum::<Option<u64>>() {
        Some(count) => format!("{} behind", bytes(count)),
        None => "nobody knows how far behind".to_owned(),
    }
}
