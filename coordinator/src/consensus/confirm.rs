//! Rounds that confirm leadership: one serves all who asked before it began.
//!
//! Whoever asks while a round is under way waits for the next: an answer to an older question proves nothing about now.

use std::{
    sync::Arc,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use holdfast_types::LogIndex;
use openraft::error::{CheckIsLeaderError, RaftError};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{ConsensusError, log::Fault, raft::stopped_because, types::Raft};

/// Callers that one round can serve. More wait for a place, at most one round longer; as many leases as one host's apps
/// renew together fit many times over.
const WAITING_MAX: usize = 1024;

type Confirmed = Result<LogIndex, ConsensusError>;

/// Asks for rounds.
#[derive(Debug, Clone)]
pub(super) struct Confirmer {
    asking: mpsc::Sender<oneshot::Sender<Confirmed>>,
    rounds: Arc<AtomicU64>,
    /// Longest wait of one caller: what is left of the round before, and its own.
    patience: Duration,
}

/// Carries the rounds out, in a task of its own.
pub(super) struct Rounds {
    asked: mpsc::Receiver<oneshot::Sender<Confirmed>>,
    rounds: Arc<AtomicU64>,
    raft: Raft,
    fault: Fault,
    round_timeout: Duration,
}

pub(super) fn rounds(raft: Raft, fault: Fault, round_timeout: Duration) -> (Confirmer, Rounds) {
    let (asking, asked) = mpsc::channel(WAITING_MAX);
    let rounds = Arc::new(AtomicU64::new(0));
    let confirmer = Confirmer { asking, rounds: Arc::clone(&rounds), patience: 2 * round_timeout };
    (confirmer, Rounds { asked, rounds, raft, fault, round_timeout })
}

impl Confirmer {
    pub(super) async fn confirm(&self) -> Confirmed {
        let stopped = || ConsensusError::Stopped("shut down".to_owned());
        let ask = async {
            let (answer, answered) = oneshot::channel();
            self.asking.send(answer).await.map_err(|_| stopped())?;
            answered.await.map_err(|_| stopped())?
        };
        timeout(self.patience, ask).await.unwrap_or(Err(ConsensusError::TimedOut))
    }

    /// Rounds begun so far.
    pub(super) fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }
}

impl Rounds {
    /// Runs until nobody can ask any more. May be dropped at any await: who waits then learns that consensus stopped.
    pub(super) async fn run(mut self) {
        let mut waiting = Vec::new();
        while self.asked.recv_many(&mut waiting, WAITING_MAX).await > 0 {
            self.rounds.fetch_add(1, Ordering::Relaxed);
            let confirmed = self.round().await;
            for answer in waiting.drain(..) {
                // Whoever has stopped waiting needs no answer.
                drop(answer.send(confirmed.clone()));
            }
        }
    }

    async fn round(&self) -> Confirmed {
        // A leader that is cut off never hears back, and openraft sets no limit to waiting until all is applied.
        let Ok(confirmed) = timeout(self.round_timeout, self.raft.ensure_linearizable()).await else {
            return Err(ConsensusError::TimedOut);
        };
        match confirmed {
            Ok(read) => Ok(LogIndex(read.map_or(0, |read| read.index))),
            Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(to))) => {
                Err(ConsensusError::NotLeader { leader: to.leader_id })
            }
            Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_))) => Err(ConsensusError::TimedOut),
            Err(RaftError::Fatal(fatal)) => Err(ConsensusError::Stopped(stopped_because(&self.fault, &fatal))),
        }
    }
}
