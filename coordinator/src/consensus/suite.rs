//! openraft's own storage suite, and what it does not ask of a store.

use std::path::PathBuf;

use holdfast_shared::db::Db;
use openraft::{
    CommittedLeaderId, EntryPayload,
    storage::{RaftLogStorage as _, RaftStateMachine as _},
    testing::{StoreBuilder, Suite},
};

use super::{
    log::{Fault, LogStore},
    machine::{Applied, Machine, RowChange, UnknownChange},
    schema::MIGRATIONS,
    state::StateStore,
    types::{Change, Entry, LogId, StorageError, TypeConfig, Vote},
};

const NODE: u64 = 7;

/// Keeps each change under its index.
#[derive(Debug, Default, PartialEq)]
struct Keeper(u64);

impl Machine for Keeper {
    fn from_rows(rows: Vec<(Vec<u8>, Vec<u8>)>) -> Result<Self, String> {
        Ok(Self(rows.len() as u64))
    }

    fn apply(&mut self, index: u64, change: &[u8]) -> Result<Applied, UnknownChange> {
        if change == b"unheard of" {
            return Err(UnknownChange("kind 99".to_owned()));
        }
        self.0 += 1;
        let key = index.to_be_bytes().to_vec();
        Ok(Applied { rows: vec![RowChange { key, value: Some(change.to_vec()) }], outcome: Vec::new() })
    }
}

async fn stores(path: PathBuf) -> (LogStore, StateStore<Keeper>) {
    let db = Db::open(&path, MIGRATIONS).expect("opens");
    let fault = Fault::default();
    let state = StateStore::load(db.clone(), fault.clone()).await.expect("an empty state");
    (LogStore::new(NODE, db, fault), state)
}

struct InTemporaryDirectories;

impl StoreBuilder<TypeConfig, LogStore, StateStore<Keeper>, tempfile::TempDir> for InTemporaryDirectories {
    async fn build(&self) -> Result<(tempfile::TempDir, LogStore, StateStore<Keeper>), StorageError> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (log, state) = stores(dir.path().join("raft.db")).await;
        Ok((dir, log, state))
    }
}

#[test]
fn the_store_passes_openrafts_own_suite() {
    Suite::test_all(InTemporaryDirectories).expect("passes");
}

fn at(term: u64, node: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term, node), index)
}

fn change(index: u64, what: &[u8]) -> Entry {
    Entry { log_id: at(1, NODE, index), payload: EntryPayload::Normal(Change(what.to_vec())) }
}

#[tokio::test]
async fn a_batch_with_an_unknown_change_leaves_state_and_index_as_they_were() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (_log, mut state) = stores(dir.path().join("raft.db")).await;
    state.apply([change(1, b"a")]).await.expect("applied");
    let failed = state.apply([change(2, b"b"), change(3, b"unheard of")]).await;
    assert!(failed.expect_err("unknown").to_string().contains("change at index 3 is not known to this version"));
    assert_eq!(state.handle().read(|m| m.0), 1, "readers see what the rows say");
    assert_eq!(state.applied_state().await.expect("reads").0, Some(at(1, NODE, 1)));
    assert_eq!(state.applied().borrow().0, 1);
}

#[tokio::test]
async fn a_snapshot_of_one_store_makes_another_the_same() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (_log, mut from) = stores(dir.path().join("from.db")).await;
    let (_log, mut to) = stores(dir.path().join("to.db")).await;
    from.apply((1..=9).map(|n| change(n, &[n as u8]))).await.expect("applied");
    to.apply([change(1, b"what is not in the snapshot goes")]).await.expect("applied");
    let mut builder = from.get_snapshot_builder().await;
    let taken = openraft::RaftSnapshotBuilder::build_snapshot(&mut builder).await.expect("taken");
    to.install_snapshot(&taken.meta, taken.snapshot.clone()).await.expect("installed");
    assert_eq!(to.handle().read(|m| m.0), 9);
    assert_eq!(to.applied().borrow().0, 9);
    let again = to.get_current_snapshot().await.expect("reads").expect("there is one now");
    assert_eq!(again.snapshot.get_ref(), taken.snapshot.get_ref(), "same state, same bytes");

    let mut cut = taken.snapshot.clone();
    cut.get_mut().pop();
    to.install_snapshot(&taken.meta, cut).await.expect_err("a snapshot that is cut off");
    assert_eq!(to.handle().read(|m| m.0), 9, "and nothing changed");
}

#[tokio::test]
async fn a_leader_without_an_entry_of_its_own_stands_for_election_again() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (mut log, _state) = stores(dir.path().join("raft.db")).await;
    let won = |term, node| Vote { committed: true, ..Vote::new(term, node) };
    log.save_vote(&won(4, NODE)).await.expect("stored");
    assert_eq!(log.read_vote().await.expect("reads"), Some(Vote::new(4, NODE)), "not yet won");
    log.save_vote(&won(5, 1)).await.expect("stored");
    assert_eq!(log.read_vote().await.expect("reads"), Some(won(5, 1)), "another's is left as it is");
}
