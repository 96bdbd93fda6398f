//! The databases as they were last seen, and whether each standby followed while the source was still there.
//!
//! Once the source is gone every standby stops streaming; that says nothing against it. What counts is what it did when
//! the source was last seen.

use std::collections::BTreeMap;

use holdfast_types::{BootInstant, HostName, RegionName, WriterName, spec::AppSpec};

use crate::{
    counter::Pacing,
    verdict::{CheckRef, DatabaseSeen, SILENCE_SLACK, Signal},
};

/// A database as its own host last saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseSight {
    /// Its host.
    pub host: HostName,
    /// When that was.
    pub at: BootInstant,
    /// What was seen.
    pub seen: DatabaseSeen,
    /// When it was last seen streaming, and as what; `None`: never since we watch.
    streamed: Option<(BootInstant, DatabaseSeen)>,
}

/// All databases of an app.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sights {
    databases: BTreeMap<(RegionName, WriterName), DatabaseSight>,
    /// When each writer was last seen taking writes in the active region, and what was seen.
    sources: BTreeMap<WriterName, DatabaseSight>,
}

impl Sights {
    pub(super) fn note(&mut self, spec: &AppSpec, active: &RegionName, signal: &Signal, now: BootInstant) {
        let (CheckRef::Writer(writer), Some(seen)) = (&signal.check, signal.database) else {
            return;
        };
        if spec.writer_host(writer, &signal.region).is_none_or(|place| place.host != signal.observer) {
            return;
        }
        let at = now - signal.age;
        let key = (signal.region.clone(), writer.clone());
        let before = self.databases.get(&key);
        if before.is_some_and(|before| before.at > at) {
            return;
        }
        let streamed = if seen.streaming && seen.in_recovery {
            Some((at, seen))
        } else {
            before.and_then(|before| before.streamed)
        };
        let sight = DatabaseSight { host: signal.observer.clone(), at, seen, streamed };
        if signal.region == *active && seen.accepts_writes && !seen.in_recovery {
            self.sources.insert(writer.clone(), sight.clone());
        }
        self.databases.insert(key, sight);
    }

    /// The database of a writer in a region, as last seen.
    #[must_use]
    pub fn database(&self, region: &RegionName, writer: &WriterName) -> Option<&DatabaseSight> {
        self.databases.get(&(region.clone(), writer.clone()))
    }

    /// The writer as it was when it last took a write in the active region.
    #[must_use]
    pub fn source(&self, writer: &WriterName) -> Option<&DatabaseSight> {
        self.sources.get(writer)
    }

    /// Whether a region's standby followed when the source was last seen taking writes. `None`: the source was not
    /// seen since we watch, so nobody here can say.
    #[must_use]
    pub fn followed(&self, region: &RegionName, writer: &WriterName, pacing: &Pacing) -> Option<bool> {
        let source = self.source(writer)?;
        let Some((at, seen)) = self.database(region, writer).and_then(|sight| sight.streamed) else {
            return Some(false);
        };
        Some(seen.follows(&source.seen) && at + fresh_for(pacing) >= source.at)
    }

    /// Whether a region's standby receives from the active region right now, as far as anybody can say.
    #[must_use]
    pub fn follows(&self, region: &RegionName, writer: &WriterName, pacing: &Pacing, now: BootInstant) -> bool {
        self.source(writer).zip(self.database(region, writer)).is_some_and(|(source, standby)| {
            now.since(standby.at) <= fresh_for(pacing) && standby.seen.follows(&source.seen)
        })
    }

    /// Whether a writer's database takes writes in this region right now.
    #[must_use]
    pub fn writes(&self, region: &RegionName, writer: &WriterName, pacing: &Pacing, now: BootInstant) -> bool {
        self.database(region, writer).is_some_and(|sight| {
            now.since(sight.at) <= fresh_for(pacing) && sight.seen.accepts_writes && !sight.seen.in_recovery
        })
    }
}

/// Both hosts look once per interval, each at its own moment.
fn fresh_for(pacing: &Pacing) -> std::time::Duration {
    pacing.interval + SILENCE_SLACK
}
