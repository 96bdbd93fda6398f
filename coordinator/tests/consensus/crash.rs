//! `kill -9` at random moments: what was acknowledged is there afterwards, and the state is what the log makes of it.
//!
//! The child is this very test program, told by a variable which directory to work in.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use holdfast_coordinator::consensus::{Consensus as _, MIGRATIONS, RaftConfig, RaftConsensus};
use holdfast_shared::db::Db;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::task::JoinSet;

use super::{SOON, open, set, start_on, start_with, stop, toy::Map};

const KILLS: u64 = 20;
const DIRECTORY: &str = "HOLDFAST_TEST_CRASH_DIRECTORY";
/// Changes under way at any moment in the child.
const PROPOSERS: usize = 6;

/// Kills and collects the child however the test ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Fails only when it is gone already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_child_proposes_until_it_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let db = open(&Path::new(&directory).join("raft.db"));
    let (consensus, _) = start_on(&db).await;
    let consensus = std::sync::Arc::new(consensus);
    let mut proposers = JoinSet::new();
    for proposer in 0..PROPOSERS {
        let consensus = std::sync::Arc::clone(&consensus);
        proposers.spawn(async move {
            // Ends by the kill, or with the parent: a closed pipe makes printing fail.
            for n in 0_u64.. {
                let key = format!("{}/{proposer}/{n}", std::process::id());
                let done = consensus.propose(set(&key, "acknowledged")).await.expect("committed");
                let mut out = std::io::stdout().lock();
                writeln!(out, "\nacknowledged\t{}\t{key}", done.index).and_then(|()| out.flush()).expect("a parent");
            }
        });
    }
    while let Some(ended) = proposers.join_next().await {
        ended.expect("proposers end only by the kill");
    }
}

fn start_child(directory: &Path) -> (Killed, mpsc::Receiver<(u64, String)>) {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "crash::the_child_proposes_until_it_is_killed", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the child starts");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let (acknowledged, read) = mpsc::sync_channel(10_000);
    std::thread::spawn(move || {
        // A line that the kill cut in two was acknowledged too, but cannot be read: leave it out.
        for line in lines.map_while(Result::ok) {
            let mut words = line.split('\t');
            if let (Some("acknowledged"), Some(index), Some(key)) = (words.next(), words.next(), words.next())
                && let Ok(index) = index.parse()
                && key.matches('/').count() == 2
                && acknowledged.send((index, key.to_owned())).is_err()
            {
                return;
            }
        }
    });
    (Killed(child), read)
}

/// Throws the state away and lets the log make it anew.
async fn replayed(from: &Path, to: &Path) -> Map {
    std::fs::copy(from, to).expect("copied");
    let db = open(to);
    db.call(|c| c.execute_batch("DELETE FROM state; DELETE FROM raft_meta WHERE name IN ('applied', 'members');"))
        .await
        .expect("state thrown away");
    let (consensus, state) = start_on(&db).await;
    consensus.confirm_leader().await.expect("confirmed");
    let map = state.read(Clone::clone);
    stop(consensus, db).await;
    map
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_was_acknowledged_survives_kill_minus_nine() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("raft.db");
    let mut acknowledged: BTreeMap<u64, String> = BTreeMap::new();
    for kill in 0..KILLS {
        let (mut child, lines) = start_child(dir.path());
        let mut random = StdRng::seed_from_u64(kill);
        let (enough, then) = (random.gen_range(1..40), Duration::from_micros(random.gen_range(0..4_000)));
        let fresh = tokio::task::spawn_blocking(move || {
            let mut fresh: Vec<_> = (0..enough).map_while(|_| lines.recv_timeout(SOON).ok()).collect();
            // A moment within the writing of one change, never the same.
            std::thread::sleep(then);
            child.0.kill().expect("was running");
            child.0.wait().expect("is dead");
            fresh.extend(lines.iter());
            fresh
        })
        .await
        .expect("no panic");
        assert!(fresh.len() >= enough, "kill {kill}: the child acknowledged {} changes, not {enough}", fresh.len());
        for (index, key) in fresh {
            let other = acknowledged.insert(index, key.clone());
            assert_eq!(other, None, "kill {kill}: index {index} was acknowledged for {key} too");
        }

        let db = open(&path);
        let (consensus, state) = start_on(&db).await;
        let confirmed = consensus.confirm_leader().await.expect("confirmed");
        assert!(acknowledged.last_key_value().is_some_and(|(index, _)| *index <= confirmed.0), "kill {kill}");
        let map = state.read(Clone::clone);
        for (index, key) in &acknowledged {
            assert!(map.0.contains_key(key), "kill {kill}: {key}, acknowledged at index {index}, is gone");
        }
        stop(consensus, db).await;
        assert_eq!(replayed(&path, &dir.path().join("replay.db")).await, map, "kill {kill}: log and state differ");
    }
    assert!(acknowledged.len() as u64 > KILLS, "{} changes in {KILLS} rounds", acknowledged.len());
}

#[tokio::test]
async fn a_restart_during_many_snapshots_loses_nothing_either() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("raft.db");
    for restart in 0..5 {
        let db = Db::open(&path, MIGRATIONS).expect("opens");
        let mut config = RaftConfig::new(super::NODE, db.clone());
        (config.snapshot_every, config.entries_kept) = (7, 2);
        let (consensus, state): (RaftConsensus, _) = start_with(config).await;
        for n in 0..30 {
            consensus.propose(set(&format!("{restart}/{n}"), "here")).await.expect("committed");
        }
        assert_eq!(state.read(|map| map.0.len()), (restart + 1) * 30);
        stop(consensus, db).await;
    }
}
