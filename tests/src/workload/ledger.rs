//! What was acknowledged, by whom, when, through what and by which database.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Result;
use holdfast_types::BootInstant;
use serde::Serialize;

use crate::harness::wait_until;

/// A database in one of its activations. A promotion begins a new timeline, so two databases that both take writes after
/// a promotion differ in it, whatever they call themselves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Database {
    /// PostgreSQL's timeline.
    pub timeline: u32,
    /// Which of the databases: the region's name.
    pub server: String,
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on timeline {}", self.server, self.timeline)
    }
}

/// One write that a database acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// Whose write.
    pub writer: Arc<str>,
    /// Its number; every attempt of a writer has a new one, so a row means exactly one attempt.
    pub sequence: u64,
    /// Just before it was sent.
    pub sent: BootInstant,
    /// Just after the answer was read: the commit lies between the two.
    pub acked: BootInstant,
    /// The proxy or socket it went through.
    pub through: Arc<str>,
    /// The database that took it, by its own word, in the very same statement.
    pub database: Database,
}

/// What a writer has done so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Writes acknowledged.
    pub acknowledged: u64,
    /// Attempts that failed or whose outcome is unknown, connections included.
    pub failed: u64,
    /// Why the last of these failed.
    pub last_failure: Option<String>,
    /// The last acknowledged write.
    pub last: Option<Ack>,
}

#[derive(Debug, Default)]
struct Inner {
    acks: Vec<Ack>,
    counters: BTreeMap<Arc<str>, Counters>,
}

/// The memory that all writers of a test share.
#[derive(Debug, Default)]
pub struct Ledger {
    inner: Mutex<Inner>,
}

impl Ledger {
    /// An empty one, to be shared.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers an acknowledged write.
    pub fn record(&self, ack: Ack) {
        let mut inner = self.lock();
        let counters = inner.counters.entry(Arc::clone(&ack.writer)).or_default();
        counters.acknowledged += 1;
        counters.last = Some(ack.clone());
        inner.acks.push(ack);
    }

    /// Counts an attempt that was not acknowledged.
    pub fn failed(&self, writer: &Arc<str>, why: String) {
        let mut inner = self.lock();
        let counters = inner.counters.entry(Arc::clone(writer)).or_default();
        counters.failed += 1;
        counters.last_failure = Some(why);
    }

    /// Every acknowledged write of every writer, in the order they were recorded.
    #[must_use]
    pub fn acks(&self) -> Vec<Ack> {
        self.lock().acks.clone()
    }

    /// The acknowledged writes of one writer.
    #[must_use]
    pub fn acks_of(&self, writer: &str) -> Vec<Ack> {
        self.lock().acks.iter().filter(|ack| &*ack.writer == writer).cloned().collect()
    }

    /// How a writer fares.
    #[must_use]
    pub fn counters(&self, writer: &str) -> Counters {
        self.lock().counters.get(writer).cloned().unwrap_or_default()
    }

    /// Waits until a writer has so many acknowledged writes more than now.
    ///
    /// # Errors
    /// When it has not in time, with its counters.
    pub fn wait_more(&self, writer: &str, more: u64, within: Duration) -> Result<()> {
        let enough = self.counters(writer).acknowledged + more;
        wait_until(&format!("{enough} writes of {writer}"), within, || {
            let counters = self.counters(writer);
            if counters.acknowledged >= enough { Ok(()) } else { Err(format!("{counters:?}")) }
        })
    }
}
