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
    /// When it was last seen streaming; `None`: never since we watch.
    streaming_at: Option<BootInstant>,
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
        let streaming_at =
            if seen.streaming && seen.in_recovery { Some(at) } else { before.and_then(|before| before.streaming_at) };
        let sight = DatabaseSight { host: signal.observer.clone(), at, seen, streaming_at };
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
        let Some(streaming_at) = self.database(region, writer).and_then(|sight| sight.streaming_at) else {
            return Some(false);
        };
        // Both hosts look once per interval, each at its own moment.
        Some(streaming_at + pacing.interval + SILENCE_SLACK >= source.at)
    }
}
