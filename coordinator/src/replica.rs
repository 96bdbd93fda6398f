//! The replicated state as the rest of the coordinator sees it: read what is committed, propose changes.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use holdfast_coordinator_core::{
    change::{Change, Kind, Outcome, Refused},
    records, room,
    state::State,
};
use holdfast_shared::{
    clock::SharedClock,
    room::{Room, Short},
};
use holdfast_types::{LogIndex, refusal::Reason};
use prost::Message as _;
use tokio::sync::watch;
use tonic::Status;

use crate::consensus::{self, Consensus, ConsensusError, Machine, StateHandle, UnknownChange};

/// Author of what the coordinator decides by itself.
pub const COORDINATOR: &str = "coordinator";

impl Machine for State {
    fn from_rows(rows: Vec<(Vec<u8>, Vec<u8>)>) -> Result<Self, String> {
        Self::from_rows(rows).map_err(|e| e.to_string())
    }

    fn apply(&mut self, index: u64, change: &[u8]) -> Result<consensus::Applied, UnknownChange> {
        let applied = self.apply_bytes(LogIndex(index), change).map_err(|e| UnknownChange(e.to_string()))?;
        let rows =
            applied.rows.into_iter().map(|row| consensus::RowChange { key: row.key, value: row.value }).collect();
        Ok(consensus::Applied { rows, outcome: applied.outcome.encode() })
    }
}

/// Why a change did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// The state refused it; nothing changed.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// No quorum, no leader, or the outcome is unknown.
    #[error(transparent)]
    Consensus(#[from] ConsensusError),
    /// There is too little room on the disk for new work; nothing was proposed.
    #[error(transparent)]
    NoRoom(#[from] Short),
    /// The answer cannot be read.
    #[error("{0}")]
    Unreadable(String),
}

impl ProposeError {
    /// As the status of a call.
    #[must_use]
    pub fn status(&self) -> Status {
        match self {
            Self::Refused(r) => holdfast_shared::refusal::to_status(r.reason, r.what.clone(), vec![], vec![]),
            Self::Consensus(e) => no_leader(e),
            Self::NoRoom(short) => {
                holdfast_shared::refusal::to_status(Reason::NoRoom, short.to_string(), vec![], vec![short.next()])
            }
            Self::Unreadable(text) => Status::internal(text.clone()),
        }
    }
}

/// The status of a call that only a leader with a quorum can answer.
#[must_use]
pub fn no_leader(error: &ConsensusError) -> Status {
    holdfast_shared::refusal::to_status(Reason::NoLeader, error.to_string(), vec![], vec!["holdfast status".to_owned()])
}

/// Who caused a change.
#[derive(Debug, Clone)]
pub struct Author {
    by: String,
    /// What goes into the audit trail with it; nothing when nobody asked.
    call: Option<records::Call>,
    noted: Arc<AtomicBool>,
}

impl From<&str> for Author {
    fn from(by: &str) -> Self {
        Self { by: by.to_owned(), call: None, noted: Arc::default() }
    }
}

impl Author {
    /// Somebody who called. `noted` is set once that is in the audit trail.
    #[must_use]
    pub fn of_call(call: records::Call, noted: Arc<AtomicBool>) -> Self {
        Self { by: call.by.clone(), call: Some(call), noted }
    }
}

/// A committed change: where it stands in the log and the number it gave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Its place.
    pub index: LogIndex,
    /// Operation, serial, revision or generation; 0 where a change gives out none.
    pub number: u64,
}

/// Reads and changes the replicated state.
#[derive(Clone)]
pub struct Replica {
    consensus: Arc<dyn Consensus>,
    state: StateHandle<State>,
    clock: SharedClock,
    room: Option<Room>,
}

impl Replica {
    /// Around a running consensus.
    #[must_use]
    pub fn new(consensus: Arc<dyn Consensus>, state: StateHandle<State>, clock: SharedClock) -> Self {
        Self { consensus, state, clock, room: None }
    }

    /// The same, refusing new work while there is too little room for it.
    #[must_use]
    pub fn in_room(self, room: Option<Room>) -> Self {
        Self { room, ..self }
    }

    /// Whether there is room for new work.
    ///
    /// # Errors
    /// How much is missing, and where.
    pub fn has_room(&self) -> Result<(), Short> {
        self.room.as_ref().map_or(Ok(()), Room::look)
    }

    /// Looks at what is committed and applied here.
    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        self.state.read(look)
    }

    /// Fires when more has been applied.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<LogIndex> {
        self.consensus.applied()
    }

    /// The consensus below.
    #[must_use]
    pub fn consensus(&self) -> &Arc<dyn Consensus> {
        &self.consensus
    }

    /// Whether this coordinator believes that it leads. Nothing may be decided on this alone.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.consensus.leadership().borrow().leading
    }

    /// Commits a change and waits until it is applied here.
    ///
    /// # Errors
    /// [`ProposeError`]; after one of the consensus' own the change may still be committed later.
    pub async fn propose(&self, author: impl Into<Author>, kind: Kind) -> Result<Committed, ProposeError> {
        if !room::may_propose(&kind) {
            self.has_room()?;
        }
        let Author { by, call, noted } = author.into();
        let change = Change { call, ..Change::new(self.clock.wall(), by, kind) };
        let proposed = self.consensus.propose(change.encode_to_vec()).await?;
        noted.store(true, Ordering::Relaxed);
        match Outcome::decode(&proposed.outcome).map_err(ProposeError::Unreadable)? {
            Outcome::Done(number) => Ok(Committed { index: proposed.index, number }),
            Outcome::Refused(refused) => Err(refused.into()),
        }
    }
}
