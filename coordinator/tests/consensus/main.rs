//! The replicated log and state on real files: through restarts, kills, a full disk and changes nobody knows.

mod crash;
mod toy;

use std::{path::Path, time::Duration};

use futures_util::future::join_all;
use holdfast_coordinator::consensus::{
    Consensus as _, ConsensusError, MIGRATIONS, Proposed, RaftConfig, RaftConsensus, StartError, StateHandle,
};
use holdfast_shared::db::Db;
use holdfast_types::LogIndex;
use rusqlite_migration::M;

use toy::{Map, set};

/// Everything here answers in milliseconds; a test that takes this long is stuck.
const SOON: Duration = Duration::from_secs(20);

const NODE: u64 = 1;

async fn start_on(db: &Db) -> (RaftConsensus, StateHandle<Map>) {
    start_with(RaftConfig::new(NODE, db.clone())).await
}

async fn start_with(config: RaftConfig) -> (RaftConsensus, StateHandle<Map>) {
    let (consensus, state) = RaftConsensus::start::<Map>(config).await.expect("starts");
    consensus.initialize_single().await.expect("a group of one");
    consensus.wait_to_lead(SOON).await.expect("leads");
    (consensus, state)
}

fn open(path: &Path) -> Db {
    Db::open(path, MIGRATIONS).expect("opens")
}

async fn stop(consensus: RaftConsensus, db: Db) {
    consensus.shutdown().await;
    db.close().await;
}

fn value(state: &StateHandle<Map>, key: &str) -> Option<String> {
    state.read(|map| map.0.get(key).cloned())
}

/// Polls until the question is answered with yes.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let polled = tokio::time::timeout(SOON, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(polled.await.is_ok(), "waited {SOON:?} in vain until {what}");
}

#[tokio::test]
async fn an_acknowledged_change_is_applied_and_its_outcome_comes_back() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let db = open(&dir.path().join("raft.db"));
    let (consensus, state) = start_on(&db).await;
    let mut applied = consensus.applied();
    let first = consensus.propose(set("region", "us-east")).await.expect("committed");
    assert_eq!(value(&state, "region").as_deref(), Some("us-east"));
    assert!(*applied.borrow_and_update() >= first.index, "watchers are told before the proposer");
    let second = consensus.propose(set("region", "us-west")).await.expect("committed");
    assert_eq!(second, Proposed { index: first.index.next(), outcome: b"us-east".to_vec() });
    assert!(applied.has_changed().expect("still running"));
    assert_eq!(consensus.confirm_leader().await, Ok(second.index));
    let leadership = *consensus.leadership().borrow();
    assert!(leadership.leading && leadership.leader == Some(NODE), "{leadership:?}");
    stop(consensus, db).await;
}

#[tokio::test]
async fn a_lone_coordinator_leads_again_at_once_after_a_restart() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("raft.db");
    let db = open(&path);
    let (consensus, _) = start_on(&db).await;
    let last = consensus.propose(set("a", "1")).await.expect("committed");
    let term = consensus.leadership().borrow().term;
    stop(consensus, db).await;

    let db = open(&path);
    let config = RaftConfig::new(NODE, db.clone());
    let at_once = config.timings.election_min / 2;
    let taken_up = tokio::time::timeout(at_once, async {
        let (consensus, state) = RaftConsensus::start::<Map>(config).await.expect("starts");
        consensus.wait_to_lead(SOON).await.expect("leads");
        let confirmed = consensus.confirm_leader().await.expect("confirmed");
        assert!(confirmed >= last.index, "{confirmed} is before what was acknowledged");
        assert_eq!(value(&state, "a").as_deref(), Some("1"));
        (consensus, state)
    });
    let (consensus, _) = taken_up.await.expect("leads without waiting for an election timeout");
    assert_eq!(consensus.leadership().borrow().term, term, "no election was needed");
    consensus.propose(set("a", "2")).await.expect("committed");
    stop(consensus, db).await;
}

#[tokio::test]
async fn a_leadership_lost_before_its_first_entry_is_won_again_at_once() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("raft.db");
    let db = open(&path);
    let (consensus, _) = start_on(&db).await;
    consensus.propose(set("a", "1")).await.expect("committed");
    consensus.shutdown().await;
    // As after a kill between the election of a later term and its first entry.
    let elected = r#"{"leader_id":{"term":9,"node_id":1},"committed":true}"#;
    let changed = db.call(move |c| c.execute("UPDATE raft_meta SET value = ?1 WHERE name = 'vote'", [elected])).await;
    assert_eq!(changed.expect("written"), 1);
    db.close().await;

    let db = open(&path);
    let config = RaftConfig::new(NODE, db.clone());
    let at_once = config.timings.election_min / 2;
    let taken_up = tokio::time::timeout(at_once, async {
        let (consensus, _) = RaftConsensus::start::<Map>(config).await.expect("starts");
        consensus.wait_to_lead(SOON).await.expect("leads");
        consensus.confirm_leader().await.expect("confirmed");
        consensus
    });
    let consensus = taken_up.await.expect("leads and confirms without waiting for an election timeout");
    assert_eq!(consensus.leadership().borrow().term, 10);
    stop(consensus, db).await;
}

#[tokio::test]
async fn one_round_serves_all_that_wait_and_each_later_call_gets_its_own() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let db = open(&dir.path().join("raft.db"));
    let (consensus, _) = start_on(&db).await;
    let before = consensus.confirm_rounds();
    let all = join_all((0..500).map(|_| consensus.confirm_leader())).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    let together = consensus.confirm_rounds() - before;
    // tokio lets this task start 128 of them before another task has its turn.
    assert!((1..=8).contains(&together), "{together} rounds for 500 calls at once");
    for _ in 0..5 {
        consensus.confirm_leader().await.expect("confirmed");
    }
    assert_eq!(consensus.confirm_rounds() - before - together, 5, "a round begun before a call does not answer it");
    stop(consensus, db).await;
}

#[tokio::test]
async fn a_leader_cut_off_from_its_quorum_says_so_instead_of_hanging() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("raft.db");
    let db = open(&path);
    let (consensus, _) = start_on(&db).await;
    consensus.propose(set("a", "1")).await.expect("committed");
    consensus.shutdown().await;
    // A second voter that nobody can reach joins the stored members.
    let changed = db
        .call(|c| {
            c.execute(
                r#"UPDATE raft_meta SET value = replace(replace(value, '[[1]]', '[[1,2]]'), '"nodes":{', '"nodes":{"2":{"addr":""},')
                   WHERE name = 'members'"#,
                [],
            )
        })
        .await;
    assert_eq!(changed.expect("written"), 1);
    let mut config = RaftConfig::new(NODE, db.clone());
    config.timings.propose_timeout = Duration::from_millis(300);
    config.timings.confirm_timeout = Duration::from_millis(300);
    let (consensus, state) = RaftConsensus::start::<Map>(config).await.expect("starts");
    consensus.wait_to_lead(SOON).await.expect("believes that it leads");
    assert_eq!(consensus.confirm_leader().await, Err(ConsensusError::TimedOut));
    assert_eq!(consensus.propose(set("a", "2")).await, Err(ConsensusError::TimedOut));
    assert_eq!(value(&state, "a").as_deref(), Some("1"), "what no quorum has is not applied");
    stop(consensus, db).await;
}

#[tokio::test]
async fn a_coordinator_in_no_group_leads_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let db = open(&dir.path().join("raft.db"));
    let (consensus, _) = RaftConsensus::start::<Map>(RaftConfig::new(NODE, db.clone())).await.expect("starts");
    assert_eq!(consensus.propose(set("a", "1")).await, Err(ConsensusError::NotLeader { leader: None }));
    assert_eq!(consensus.confirm_leader().await, Err(ConsensusError::NotLeader { leader: None }));
    consensus.initialize_single().await.expect("a group of one");
    consensus.initialize_single().await.expect("and again changes nothing");
    consensus.wait_to_lead(SOON).await.expect("leads");
    consensus.propose(set("a", "1")).await.expect("committed");
    consensus.shutdown().await;
    assert_eq!(consensus.propose(set("a", "2")).await, Err(ConsensusError::Stopped("shut down".to_owned())));
    assert_eq!(consensus.confirm_leader().await, Err(ConsensusError::Stopped("shut down".to_owned())));
    assert!(!consensus.leadership().borrow().leading);
    db.close().await;
}

#[tokio::test]
async fn a_database_serves_only_the_coordinator_it_belongs_to() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let db = open(&dir.path().join("raft.db"));
    let (consensus, _) = start_on(&db).await;
    consensus.shutdown().await;
    let refused = RaftConsensus::start::<Map>(RaftConfig::new(2, db.clone())).await.map(drop).expect_err("another's");
    assert!(matches!(refused, StartError::OtherNode { found: NODE, node_id: 2, .. }), "{refused}");
    db.close().await;
}

#[tokio::test]
async fn state_comes_back_from_rows_and_log_when_old_entries_are_purged() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("raft.db");
    let db = open(&path);
    let mut config = RaftConfig::new(NODE, db.clone());
    (config.snapshot_every, config.entries_kept) = (50, 10);
    let (consensus, state) = start_with(config).await;
    for n in 0..230 {
        consensus.propose(set(&format!("key {}", n % 40), &n.to_string())).await.expect("committed");
    }
    until("old entries are purged", || consensus.compacted().1 > Some(LogIndex(150))).await;
    let (expected, last) = (state.read(Clone::clone), *consensus.applied().borrow());
    stop(consensus, db).await;

    let db = open(&path);
    let kept: i64 = db.call(|c| c.query_row("SELECT count(*) FROM raft_log", [], |r| r.get(0))).await.expect("reads");
    assert!(kept < 100, "{kept} entries are left of 231");
    let (consensus, state) = start_on(&db).await;
    assert_eq!(state.read(Clone::clone), expected);
    assert_eq!(*consensus.applied().borrow(), last);
    let next = consensus.propose(set("key 0", "after")).await.expect("committed");
    assert_eq!(next, Proposed { index: last.next(), outcome: b"200".to_vec() });
    stop(consensus, db).await;
}

#[tokio::test]
async fn a_change_that_nobody_knows_stops_the_coordinator_and_says_why() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("raft.db");
    let db = open(&path);
    let (consensus, state) = start_on(&db).await;
    let known = consensus.propose(set("a", "1")).await.expect("committed");
    let index = known.index.next();
    let said = match consensus.propose(b"from a later version".to_vec()).await {
        Err(ConsensusError::Stopped(said)) => said,
        other => panic!("expected to be stopped, got {other:?}"),
    };
    assert!(said.contains(&format!("change at index {index} is not known to this version")), "{said}");
    assert!(said.contains("from a later version"), "{said}");
    assert_eq!(tokio::time::timeout(SOON, consensus.stopped()).await, Ok(said.clone()));
    assert_eq!(consensus.propose(set("a", "2")).await, Err(ConsensusError::Stopped(said.clone())));
    let leadership = consensus.leadership();
    until("it is known not to lead", || !leadership.borrow().leading).await;
    assert_eq!(value(&state, "a").as_deref(), Some("1"), "what was known is still readable");
    stop(consensus, db).await;

    let db = open(&path);
    // The entry is in the log: openraft commits it again at the start or just after.
    let again = match RaftConsensus::start::<Map>(RaftConfig::new(NODE, db.clone())).await {
        Err(e) => e.to_string(),
        Ok((consensus, _)) => {
            let said = tokio::time::timeout(SOON, consensus.stopped()).await.expect("stops again");
            consensus.shutdown().await;
            said
        }
    };
    assert!(again.contains(&format!("change at index {index} is not known to this version")), "{again}");
    db.close().await;
}

#[tokio::test]
async fn a_full_disk_is_named_and_costs_nothing_acknowledged() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("raft.db");
    let db = open(&path);
    let (consensus, _) = start_on(&db).await;
    db.call(|c| c.pragma_update(None, "max_page_count", 60)).await.expect("limited");
    let mut acknowledged = 0;
    let said = loop {
        match consensus.propose(set(&format!("key {acknowledged}"), &"x".repeat(2_000))).await {
            Ok(_) => acknowledged += 1,
            Err(ConsensusError::Stopped(said)) => break said,
            Err(other) => panic!("expected to be stopped, got {other:?}"),
        }
        assert!(acknowledged < 1_000, "the disk never got full");
    };
    assert!(said.contains("no room on the disk for database") && said.contains("raft.db"), "{said}");
    assert!(acknowledged > 5, "only {acknowledged} changes went in");
    stop(consensus, db).await;

    let db = open(&path);
    let (consensus, state) = start_on(&db).await;
    consensus.confirm_leader().await.expect("confirmed");
    for n in 0..acknowledged {
        assert!(value(&state, &format!("key {n}")).is_some(), "change {n} of {acknowledged} is gone");
    }
    consensus.propose(set("after", "there is room again")).await.expect("committed");
    stop(consensus, db).await;
}

#[tokio::test]
async fn a_database_of_the_first_schema_is_taken_up_after_later_migrations() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("raft.db");
    let old = rusqlite::Connection::open(&path).expect("a new file");
    old.execute_batch(include_str!("raft-v1.sql")).expect("the dump of an old database");
    old.close().expect("closes");

    let mut migrations = MIGRATIONS.to_vec();
    migrations.push(M::up("ALTER TABLE raft_log ADD COLUMN later TEXT NOT NULL DEFAULT 'unknown';"));
    let db = Db::open(&path, &migrations).expect("migrates");
    let (consensus, state) = start_on(&db).await;
    consensus.confirm_leader().await.expect("confirmed");
    let expected = [("app/shop", "us-west"), ("region/us-east", "silent"), ("region/us-west", "ok")];
    assert_eq!(state.read(|map| map.0.clone()), expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    let next = consensus.propose(set("app/shop", "us-east")).await.expect("committed");
    assert_eq!(next, Proposed { index: LogIndex(7), outcome: b"us-west".to_vec() });
    stop(consensus, db).await;
}

#[tokio::test]
async fn consensus_runs_on_an_inline_database_as_in_a_simulation() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let db = Db::open_inline(&dir.path().join("raft.db"), MIGRATIONS).expect("opens");
    let mut config = RaftConfig::new(NODE, db.clone());
    config.seed = Some(42);
    let (consensus, state) = start_with(config).await;
    consensus.propose(set("a", "1")).await.expect("committed");
    assert_eq!(value(&state, "a").as_deref(), Some("1"));
    stop(consensus, db).await;
}

/// Overwrites every place in the closed file where a text stands with another of the same length: what a disk does.
fn flip(path: &Path, from: &[u8], to: &[u8]) {
    let mut bytes = std::fs::read(path).expect("readable");
    let places: Vec<usize> = (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert!(!places.is_empty() && from.len() == to.len());
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    std::fs::write(path, bytes).expect("writable");
}

#[tokio::test]
async fn a_state_that_is_not_as_it_was_written_is_never_served() {
    for from in ["us-east-is-active", "app/shop-of-many"] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("raft.db");
        let db = open(&path);
        let (consensus, _) = start_on(&db).await;
        consensus.propose(set("app/shop-of-many", "us-east-is-active")).await.expect("committed");
        stop(consensus, db).await;

        flip(&path, from.as_bytes(), from.replace('s', "t").as_bytes());
        // SQLite itself finds nothing wrong with that.
        let db = open(&path);
        let refused = match RaftConsensus::start::<Map>(RaftConfig::new(NODE, db.clone())).await {
            Ok(_) => panic!("it was served"),
            Err(e) => holdfast_shared::error::Chain(&e).to_string(),
        };
        assert!(refused.contains("not as it was written") && refused.contains("restore it from a copy"), "{refused}");
        db.close().await;
    }
}

#[tokio::test]
async fn a_page_of_zeros_is_found_at_the_start() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("raft.db");
    let db = open(&path);
    let (consensus, _) = start_on(&db).await;
    consensus.propose(set("app/shop", "us-east")).await.expect("committed");
    stop(consensus, db).await;
    let mut bytes = std::fs::read(&path).expect("readable");
    let page = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
    bytes[page..2 * page].fill(0);
    std::fs::write(&path, bytes).expect("writable");
    let refused = Db::open(&path, MIGRATIONS).expect_err("damaged").to_string();
    assert!(refused.contains("raft.db is damaged") && refused.contains("restore it from a copy"), "{refused}");
}
