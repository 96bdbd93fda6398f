//! Agreement on the replicated state: the only part that knows how a change gets committed.
//!
//! Others propose changes as bytes, ask whether this coordinator still leads, and read the state; nothing of openraft
//! leaves this module. What always holds:
//! - a change is acknowledged only after a quorum has it on the disk and it is applied here;
//! - log, vote and state are in one SQLite database; a batch of rows and the index that it brings the state to are
//!   written in one transaction, and readers see them only after it;
//! - a change that the machine does not know stops this coordinator: going on without it would let copies differ.
//!
//! What the changes mean is the [`Machine`]'s concern (`coordinator/core`).

mod alone;
mod confirm;
mod entry;
mod log;
mod machine;
mod raft;
mod runtime;
mod schema;
mod snapshot;
mod state;
#[cfg(test)]
mod suite;
mod sum;
mod types;

use async_trait::async_trait;
use holdfast_types::LogIndex;
use tokio::sync::watch;

pub use machine::{Applied, Machine, RowChange, StateHandle, UnknownChange};
pub use raft::{RaftConfig, RaftConsensus, StartError, Timings};
pub use schema::MIGRATIONS;
pub use snapshot::{SNAPSHOT_VERSION, SnapshotError};

/// Why a change was not committed, or leadership not confirmed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsensusError {
    /// This coordinator does not lead; the change was not and will not be committed.
    #[error("this coordinator does not lead{}", match leader {
        Some(leader) => format!(", coordinator {leader} does: ask that one"),
        None => " and knows no leader: try again in a few seconds".to_owned(),
    })]
    NotLeader {
        /// Who leads, as far as known here.
        leader: Option<u64>,
    },
    /// No quorum answered in time. A proposed change may still be committed: look before proposing it again.
    #[error("no quorum of coordinators answered in time; the outcome is unknown")]
    TimedOut,
    /// Consensus has stopped here, by [`Consensus::shutdown`] or because of what is said; only a restart helps.
    #[error("consensus has stopped on this coordinator: {0}")]
    Stopped(String),
}

/// A change that is committed and applied here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposed {
    /// Its place in the log.
    pub index: LogIndex,
    /// What the machine said to it.
    pub outcome: Vec<u8>,
}

/// Who leads, as seen from here. A deposed leader learns of it late: before deciding anything on it, ask
/// [`Consensus::confirm_leader`] or commit a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leadership {
    /// This coordinator.
    pub leading: bool,
    /// The leader's node id, when one is known.
    pub leader: Option<u64>,
    /// Raft's term.
    pub term: u64,
}

/// The group of coordinators, of which there may be only one.
#[async_trait]
pub trait Consensus: Send + Sync {
    /// Commits one change and returns once it is applied here. A caller that stops waiting does not stop the change.
    ///
    /// # Errors
    /// After [`ConsensusError::NotLeader`] the change is not committed; after [`ConsensusError::TimedOut`] and
    /// [`ConsensusError::Stopped`] it may be.
    async fn propose(&self, change: Vec<u8>) -> Result<Proposed, ConsensusError>;

    /// Confirms with the quorum that this coordinator still leads, in a round begun after this call. One round serves
    /// all that wait for it. Returns an index that holds everything committed before the call; it is applied here.
    ///
    /// # Errors
    /// As [`Consensus::propose`]; none of them says who leads for sure.
    async fn confirm_leader(&self) -> Result<LogIndex, ConsensusError>;

    /// Who leads; fires when that changes.
    fn leadership(&self) -> watch::Receiver<Leadership>;

    /// The index up to which the state is applied; fires after every batch, when readers can see it.
    fn applied(&self) -> watch::Receiver<LogIndex>;

    /// Stops taking part. What was acknowledged is on the disk already. The database stays open: it is its opener's.
    async fn shutdown(&self);
}
