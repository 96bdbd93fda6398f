//! openraft behind [`Consensus`]: starts it on a database, keeps its tasks, turns its errors into ours.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use holdfast_shared::{
    db::{Db, DbError},
    error::Chain,
};
use holdfast_types::LogIndex;
use openraft::{
    BasicNode, Config, ServerState, SnapshotPolicy,
    error::{ClientWriteError, Fatal, InitializeError, RaftError},
};
use tokio::{
    sync::{Mutex, watch},
    task::JoinSet,
    time::timeout,
};

use super::{
    Consensus, ConsensusError, Leadership, Proposed,
    alone::Alone,
    confirm::{self, Confirmer},
    log::{Fault, LogStore},
    machine::{Machine, StateHandle},
    runtime,
    schema::{Meta, decode_meta, read_meta, write_meta},
    state::StateStore,
    types::{Change, Raft},
};

/// How long openraft may take to end its tasks; they only finish what they write.
const SHUTDOWN_WITHIN: Duration = Duration::from_secs(5);

/// How long things take and may take. A group's coordinators all have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// Between two heartbeats of a leader; a peer's answer to one also has this long. Fits a WAN.
    pub heartbeat: Duration,
    /// The shortest wait, without a leader, before standing for election.
    pub election_min: Duration,
    /// The longest such wait, and how long a voter stays with a leader it has heard of.
    pub election_max: Duration,
    /// When a proposed change counts as unanswered: several heartbeats, so that one lost packet is no failure.
    pub propose_timeout: Duration,
    /// When a round that confirms leadership counts as unanswered. Below a lease's renewal, so that the next request
    /// does not queue behind a lost one.
    pub confirm_timeout: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(500),
            election_min: Duration::from_millis(1_500),
            election_max: Duration::from_millis(2_000),
            propose_timeout: Duration::from_secs(5),
            confirm_timeout: Duration::from_secs(1),
        }
    }
}

/// What consensus is started with.
#[derive(Debug, Clone)]
pub struct RaftConfig {
    /// This coordinator's node id; never used again for another.
    pub node_id: u64,
    /// `raft.db`, opened with [`super::MIGRATIONS`].
    pub db: Db,
    /// How long things take.
    pub timings: Timings,
    /// A snapshot is taken after so many entries. Bounds the log and what a restart may have to apply again.
    pub snapshot_every: u64,
    /// Entries kept behind a snapshot, so that a coordinator that was away briefly needs only them.
    pub entries_kept: u64,
    /// Makes a simulation's elections repeatable. `None` for a real coordinator.
    pub seed: Option<u64>,
}

impl RaftConfig {
    /// The defaults for a real coordinator.
    #[must_use]
    pub fn new(node_id: u64, db: Db) -> Self {
        Self { node_id, db, timings: Timings::default(), snapshot_every: 5_000, entries_kept: 1_000, seed: None }
    }
}

/// Why consensus could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A coordinator under another's id could vote twice.
    #[error(
        "database {database} belongs to coordinator {found}, this is coordinator {node_id}: give this coordinator the \
         directory that is its own, or an empty one"
    )]
    OtherNode {
        /// The database.
        database: String,
        /// Whose it is.
        found: u64,
        /// Who wanted to use it.
        node_id: u64,
    },
    /// openraft refuses them.
    #[error("consensus cannot run with these timings: {0}")]
    Timings(String),
    /// The database could not be read or written.
    #[error("cannot start consensus")]
    Database(#[source] DbError),
    /// Log or state cannot be taken up; says why.
    #[error("cannot start consensus: {0}")]
    Stored(String),
    /// The group was not made; says why.
    #[error("cannot make a group of this coordinator alone: {0}")]
    Initialize(String),
}

/// The consensus of one coordinator. Ends with [`Consensus::shutdown`]; merely dropped, it goes on until the runtime ends.
pub struct RaftConsensus {
    node_id: u64,
    raft: Raft,
    fault: Fault,
    timings: Timings,
    confirmer: Confirmer,
    leadership: watch::Receiver<Leadership>,
    applied: watch::Receiver<LogIndex>,
    tasks: Mutex<JoinSet<()>>,
}

impl RaftConsensus {
    /// Takes up what the database holds: applies again what was committed, and leads at once if it led alone.
    /// A new database waits for [`RaftConsensus::initialize_single`].
    ///
    /// # Errors
    /// [`StartError`]; among others when a committed change is not known to this version.
    pub async fn start<M: Machine>(config: RaftConfig) -> Result<(Self, StateHandle<M>), StartError> {
        let RaftConfig { node_id, db, timings, snapshot_every, entries_kept, seed } = config;
        own(&db, node_id).await?;
        let openraft_config = openraft_config(timings, snapshot_every, entries_kept)?;
        let fault = Fault::default();
        let log = LogStore::new(node_id, db.clone(), fault.clone());
        let state =
            StateStore::<M>::load(db, fault.clone()).await.map_err(|e| StartError::Stored(Chain(&e).to_string()))?;
        let (handle, applied) = (state.handle(), state.applied());

        // openraft draws its election timeout before it first waits for anything, so on this thread.
        runtime::seed(seed.map(|seed| seed.wrapping_add(node_id)));
        let raft = Raft::new(node_id, Arc::new(openraft_config), Alone, log, state)
            .await
            .map_err(|fatal| StartError::Stored(stopped_because(&fault, &fatal)))?;
        stand_if_alone(&raft, node_id).await.map_err(|fatal| StartError::Stored(stopped_because(&fault, &fatal)))?;

        let (confirmer, rounds) = confirm::rounds(raft.clone(), fault.clone(), timings.confirm_timeout);
        let (leadership_out, leadership) = watch::channel(Leadership::default());
        let mut tasks = JoinSet::new();
        // Both end when openraft does; neither fails.
        tasks.spawn(rounds.run());
        tasks.spawn(follow_leadership(raft.clone(), leadership_out));
        let tasks = Mutex::new(tasks);
        Ok((Self { node_id, raft, fault, timings, confirmer, leadership, applied, tasks }, handle))
    }

    /// Makes a group of this coordinator alone; nothing happens if it is in a group already.
    ///
    /// # Errors
    /// [`StartError::Initialize`].
    pub async fn initialize_single(&self) -> Result<(), StartError> {
        let late = |_| StartError::Initialize("no answer in time".to_owned());
        let within = self.timings.propose_timeout;
        let known = timeout(within, self.raft.is_initialized()).await.map_err(late)?;
        if known.map_err(|fatal| StartError::Initialize(stopped_because(&self.fault, &fatal)))? {
            return Ok(());
        }
        let members = BTreeMap::from([(self.node_id, BasicNode::default())]);
        match timeout(within, self.raft.initialize(members)).await.map_err(late)? {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(RaftError::APIError(InitializeError::NotInMembers(e))) => Err(StartError::Initialize(e.to_string())),
            Err(RaftError::Fatal(fatal)) => Err(StartError::Initialize(stopped_because(&self.fault, &fatal))),
        }
    }

    /// Waits until this coordinator leads.
    ///
    /// # Errors
    /// [`ConsensusError::NotLeader`] when it does not within that time, [`ConsensusError::Stopped`].
    pub async fn wait_to_lead(&self, within: Duration) -> Result<(), ConsensusError> {
        let mut leadership = self.leadership.clone();
        let waited = timeout(within, leadership.wait_for(|now| now.leading)).await;
        match waited {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(ConsensusError::Stopped(self.stopped().await)),
            Err(_) => Err(ConsensusError::NotLeader { leader: self.leadership.borrow().leader }),
        }
    }

    /// Waits until consensus has stopped, by a failure or [`Consensus::shutdown`], and says why. The coordinator cannot
    /// go on after it.
    pub async fn stopped(&self) -> String {
        let mut metrics = self.raft.metrics();
        loop {
            // Let go of at once: openraft waits for it to write the next.
            let running = metrics.borrow_and_update().running_state.clone();
            if let Err(fatal) = running {
                return stopped_because(&self.fault, &fatal);
            }
            if metrics.changed().await.is_err() {
                // Its task is gone without a word: it panicked.
                return stopped_because(&self.fault, &Fatal::Panicked);
            }
        }
    }

    /// Rounds begun so far to confirm leadership.
    #[must_use]
    pub fn confirm_rounds(&self) -> u64 {
        self.confirmer.rounds()
    }

    /// Log indexes of the last snapshot taken since the start and of the last entry purged because of one.
    #[must_use]
    pub fn compacted(&self) -> (Option<LogIndex>, Option<LogIndex>) {
        let metrics = self.raft.metrics();
        let now = metrics.borrow();
        (now.snapshot.map(|at| LogIndex(at.index)), now.purged.map(|at| LogIndex(at.index)))
    }
}

#[async_trait]
impl Consensus for RaftConsensus {
    async fn propose(&self, change: Vec<u8>) -> Result<Proposed, ConsensusError> {
        let proposed = timeout(self.timings.propose_timeout, self.raft.client_write(Change(change))).await;
        match proposed {
            Ok(Ok(written)) => Ok(Proposed { index: LogIndex(written.log_id.index), outcome: written.data.0 }),
            // Either it was never appended, or the entry was cut from the log for a newer leader's. With three voters
            // no third can still have it and win; with five one could, which then has to be told apart.
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to)))) => {
                Err(ConsensusError::NotLeader { leader: to.leader_id })
            }
            Ok(Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(e)))) => {
                Err(ConsensusError::Stopped(format!("a change was taken for one of members: {e}")))
            }
            Ok(Err(RaftError::Fatal(fatal))) => Err(ConsensusError::Stopped(stopped_because(&self.fault, &fatal))),
            Err(_) => Err(ConsensusError::TimedOut),
        }
    }

    async fn confirm_leader(&self) -> Result<LogIndex, ConsensusError> {
        self.confirmer.confirm().await
    }

    fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    fn applied(&self) -> watch::Receiver<LogIndex> {
        self.applied.clone()
    }

    async fn shutdown(&self) {
        match timeout(SHUTDOWN_WITHIN, self.raft.shutdown()).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => tracing::warn!(error = %e, "consensus did not end cleanly"),
            Err(_) => tracing::warn!(within = ?SHUTDOWN_WITHIN, "consensus did not end in time"),
        }
        self.tasks.lock().await.shutdown().await;
    }
}

/// Why openraft stopped, in our words where we have them.
pub(super) fn stopped_because(fault: &Fault, fatal: &Fatal<u64>) -> String {
    match (fault.said(), fatal) {
        (Some(said), _) => said.to_owned(),
        (None, Fatal::Stopped) => "shut down".to_owned(),
        (None, Fatal::Panicked) => "its task panicked, see the log above".to_owned(),
        (None, Fatal::StorageError(e)) => e.to_string(),
    }
}

/// Writes the node id into a new database and compares it with that of an old one.
async fn own(db: &Db, node_id: u64) -> Result<(), StartError> {
    let found = db
        .call(move |c| {
            let transaction = c.transaction()?;
            let found = read_meta(&transaction, Meta::Node)?;
            if found.is_none() {
                write_meta(&transaction, Meta::Node, &node_id)?;
            }
            transaction.commit()?;
            Ok(found)
        })
        .await
        .map_err(StartError::Database)?;
    let found: Option<u64> =
        decode_meta(Meta::Node, found.as_deref()).map_err(|e| StartError::Stored(Chain(&e).to_string()))?;
    match found {
        Some(found) if found != node_id => {
            Err(StartError::OtherNode { database: db.path().display().to_string(), found, node_id })
        }
        Some(_) | None => Ok(()),
    }
}

fn openraft_config(timings: Timings, snapshot_every: u64, entries_kept: u64) -> Result<Config, StartError> {
    let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    Config {
        cluster_name: "holdfast".to_owned(),
        heartbeat_interval: millis(timings.heartbeat),
        election_timeout_min: millis(timings.election_min),
        election_timeout_max: millis(timings.election_max),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(snapshot_every),
        max_in_snapshot_log_to_keep: entries_kept,
        ..Config::default()
    }
    .validate()
    .map_err(|e| StartError::Timings(e.to_string()))
}

/// openraft takes up a leadership that it finds stored. Where there is none to take up, a group of one need not wait for
/// a leader that cannot be.
async fn stand_if_alone(raft: &Raft, node_id: u64) -> Result<(), Fatal<u64>> {
    let alone = raft
        .with_raft_state(move |state| {
            let voters: Vec<u64> = state.membership_state.effective().voter_ids().collect();
            voters == [node_id] && state.server_state != ServerState::Leader
        })
        .await?;
    if alone { raft.trigger().elect().await } else { Ok(()) }
}

async fn follow_leadership(raft: Raft, out: watch::Sender<Leadership>) {
    let mut metrics = raft.metrics();
    loop {
        let (now, running) = {
            // Let go of at once: openraft waits for it to write the next.
            let seen = metrics.borrow_and_update();
            let running = seen.running_state.is_ok();
            let leading = running && seen.state == ServerState::Leader;
            (Leadership { leading, leader: seen.current_leader, term: seen.current_term }, running)
        };
        out.send_if_modified(|shown| std::mem::replace(shown, now) != now);
        if !running || metrics.changed().await.is_err() {
            break;
        }
    }
    // Its end is not always announced, and nobody may go on believing that it leads.
    out.send_modify(|shown| *shown = Leadership { leading: false, leader: None, ..*shown });
}
