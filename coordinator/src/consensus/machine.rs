//! The machine that committed changes drive, and the handle by which others read it.

use std::{
    fmt,
    sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// A change in a form this version does not know. Carries what it is, for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnknownChange(pub String);

/// One row that a change touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowChange {
    /// The row's key; snapshots are in its byte order.
    pub key: Vec<u8>,
    /// The new record; `None` removes the row.
    pub value: Option<Vec<u8>>,
}

/// What applying one change did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Applied {
    /// Rows to write, in order.
    pub rows: Vec<RowChange>,
    /// The answer to whoever proposed the change. A refusal is an outcome too.
    pub outcome: Vec<u8>,
}

/// The replicated state: a pure core. The same changes at the same indexes make the same rows on every coordinator, so
/// it reads no clock, file or random source.
pub trait Machine: Send + Sync + Sized + 'static {
    /// The machine as it was when these were all its rows, in key order. No rows: the beginning.
    ///
    /// # Errors
    /// What is wrong with which row.
    fn from_rows(rows: Vec<(Vec<u8>, Vec<u8>)>) -> Result<Self, String>;

    /// Applies one committed change. `index` is its place in the log: each index comes once, and they only grow.
    ///
    /// # Errors
    /// [`UnknownChange`] stops the coordinator; a change that is known but not allowed now is an outcome.
    fn apply(&mut self, index: u64, change: &[u8]) -> Result<Applied, UnknownChange>;
}

/// Reads the replicated state. What it shows is committed; it may lag behind the leader's.
pub struct StateHandle<M>(Arc<RwLock<M>>);

impl<M> Clone for StateHandle<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> fmt::Debug for StateHandle<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StateHandle")
    }
}

impl<M> StateHandle<M> {
    /// A handle to a machine that nothing drives, for tests of what reads it.
    pub fn new(machine: M) -> Self {
        Self(Arc::new(RwLock::new(machine)))
    }

    /// Reads under a shared lock: take what is needed and return, a batch waits meanwhile.
    pub fn read<T>(&self, look: impl FnOnce(&M) -> T) -> T {
        look(&self.lock_shared())
    }

    fn lock_shared(&self) -> RwLockReadGuard<'_, M> {
        // Half a change is worse than none: whoever reads after such a panic stops too, and so the daemon does.
        self.0.read().expect("applying a change never panics: the machine is a total function")
    }

    /// Held by the batch from its first change until its transaction has ended.
    pub(super) fn lock(&self) -> RwLockWriteGuard<'_, M> {
        self.0.write().expect("applying a change never panics: the machine is a total function")
    }
}
