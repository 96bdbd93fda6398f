//! Seeded faults, drawn at random: cuts of every kind, and kills of databases, of the coordinator and of whole hosts. Not
//! once may two regions write; when all is healed the system serves again, or says honestly that it does not.
//!
//! HF_SEEDS=30 runs so many seeds (default 5), HF_SEED=17 runs that one alone.

use std::{
    fmt::Write as _,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use holdfast_tests::{
    harness::{
        Guarded, Host, Scenario, Settings, fleet::OUTSIDE, now, operator::APP, together, wait_asking, wait_until,
    },
    workload::{Watched, lost_in},
};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};

/// Seeds when nobody says how many.
const SEEDS: u64 = 5;
/// Fleets at once.
const AT_ONCE: usize = 3;
/// Rounds of faults in a seed; all is healed after each.
const ROUNDS: u32 = 2;
/// A failover, a fence and the way back, one after the other on a busy machine.
const SERVES_WITHIN: Duration = Duration::from_secs(90);

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    CutEast,
    CutWest,
    /// The regions reach everybody but each other.
    CutBetween,
    /// A database host alone.
    IsolateEast,
    IsolateWest,
    /// What the active database's host sends to the coordinator is lost.
    LoseWordsOfEast,
    /// What the coordinator sends to it is lost.
    LoseWordsToEast,
    KillPostmasterEast,
    KillDatabaseEast,
    KillDatabaseWest,
    KillCoordinator,
    /// Only as long as a supervisor takes to start it again: an agent that stays dead leaves its database running, which
    /// is the weaker promise of fencing by the agent, and said at every apply.
    KillAgentEast,
    KillHostEast,
    KillHostWest,
    KillProxyHostEast,
    KillProxyHostWest,
    KillCoordinatorHost,
}

const ALL: [Fault; 17] = [
    Fault::CutEast,
    Fault::CutWest,
    Fault::CutBetween,
    Fault::IsolateEast,
    Fault::IsolateWest,
    Fault::LoseWordsOfEast,
    Fault::LoseWordsToEast,
    Fault::KillPostmasterEast,
    Fault::KillDatabaseEast,
    Fault::KillDatabaseWest,
    Fault::KillCoordinator,
    Fault::KillAgentEast,
    Fault::KillHostEast,
    Fault::KillHostWest,
    Fault::KillProxyHostEast,
    Fault::KillProxyHostWest,
    Fault::KillCoordinatorHost,
];

impl Fault {
    /// Takes the only copy there is, once the app was moved: nobody but a human brings that back.
    const fn takes_the_last_copy(self) -> bool {
        matches!(self, Self::KillDatabaseWest | Self::KillHostWest)
    }
}

struct Campaign {
    guarded: Guarded,
    random: StdRng,
    /// Hosts that were killed whole: `/run` is empty when they come back.
    dead: Vec<Host>,
    story: String,
}

impl Campaign {
    fn tell(&mut self, what: &str) {
        let _ = writeln!(self.story, "  {:.1} s  {what}", now().since_boot().as_secs_f64());
    }

    /// Lets a drawn time pass: it is the schedule itself, not a wait for something to become true.
    fn let_pass(&mut self, millis: std::ops::Range<u64>) -> Result<()> {
        let until = now() + Duration::from_millis(self.random.gen_range(millis));
        wait_until("time to pass", SERVES_WITHIN, || if now() >= until { Ok(()) } else { Err("not yet") })
    }

    fn strike(&mut self, fault: Fault) -> Result<()> {
        self.tell(&format!("{fault:?}"));
        let fleet = &self.guarded.fleet;
        let (east, west, third) = (&fleet.east, &fleet.west, &fleet.third);
        let mut kill_host = |host: &Host| {
            self.dead.push(host.clone());
            fleet.kill_host(host).map(drop)
        };
        match fault {
            Fault::CutEast => fleet.cut_region("us-east").map(drop),
            Fault::CutWest => fleet.cut_region("us-west").map(drop),
            Fault::CutBetween => fleet.net.cut_between(&east.hosts(), &west.hosts()).map(drop),
            Fault::IsolateEast => fleet.net.isolate(&east.db).map(drop),
            Fault::IsolateWest => fleet.net.isolate(&west.db).map(drop),
            Fault::LoseWordsOfEast => fleet.net.oneway(&east.db, third).map(drop),
            Fault::LoseWordsToEast => fleet.net.oneway(third, &east.db).map(drop),
            Fault::KillPostmasterEast => {
                // Down already is what was wanted.
                drop(east.pg.kill_postmaster());
                Ok(())
            }
            Fault::KillDatabaseEast => east.pg.kill_all(),
            Fault::KillDatabaseWest => west.pg.kill_all(),
            Fault::KillCoordinator => fleet.coordinator()?.kill9().map(drop),
            Fault::KillAgentEast => {
                let db = east.db.clone();
                fleet.agent(&db)?.kill9()?;
                self.let_pass(0..1_000)?;
                self.guarded.start_agent(&db)
            }
            Fault::KillHostEast => kill_host(&east.db),
            Fault::KillHostWest => kill_host(&west.db),
            Fault::KillProxyHostEast => kill_host(&east.web),
            Fault::KillProxyHostWest => kill_host(&west.web),
            Fault::KillCoordinatorHost => kill_host(third),
        }
    }

    fn heal(&mut self) -> Result<()> {
        self.guarded.fleet.net.heal()?;
        for host in std::mem::take(&mut self.dead) {
            if host != self.guarded.fleet.third {
                self.guarded.forget_run_dir(&host)?;
            }
        }
        for line in self.guarded.revive()? {
            self.tell(&line);
        }
        self.tell("healed");
        Ok(())
    }

    fn moved(&self) -> bool {
        !self.guarded.fleet.west.pg.is_standby()
    }

    fn round(&mut self) -> Result<()> {
        let two = self.random.gen_bool(0.5);
        for _ in 0..=u32::from(two) {
            let moved = self.moved();
            let possible: Vec<Fault> = ALL.into_iter().filter(|f| !(moved && f.takes_the_last_copy())).collect();
            let fault = *possible.choose(&mut self.random).context("there is always one")?;
            self.strike(fault)?;
            self.let_pass(0..4_500)?;
        }
        self.let_pass(0..3_500)?;
        self.heal()?;
        self.let_pass(0..3_000)
    }

    /// A database that holds a lease and is down was ended by no fence; a human ends what is left of it and starts it.
    fn start_what_may_run(&mut self) -> Result<()> {
        let row = self.guarded.app_status(APP)?;
        let region = row["active_region"].as_str().unwrap_or_default().to_owned();
        let pg = &self.guarded.fleet.region(&region)?.pg;
        let leased =
            matches!(row["lease"]["state"].as_str(), Some("held" | "sole")) && row["running_operation"].is_null();
        if leased && row["health"] == "failing" && pg.value("select 1").is_err() {
            pg.kill_all()?;
            pg.start()?;
            self.tell(&format!("the database in {region} holds a lease and was started by hand"));
        }
        Ok(())
    }

    /// Served, or said to be served by nobody: never in between for ever.
    fn wait_settled(&mut self) -> Result<bool> {
        wait_asking("the app to be served again", SERVES_WITHIN, || {
            let row = self.guarded.app_status(APP).map_err(|e| e.to_string())?;
            let quiet = row["running_operation"].is_null() && row["lease"]["hold"] == false;
            if quiet && row["health"] == "ok" {
                return Ok(true);
            }
            let last = match self.guarded.operations().map_err(|e| e.to_string())?.first() {
                Some(number) => self.guarded.operation(*number).map_err(|e| e.to_string())?,
                None => serde_json::Value::Null,
            };
            // Assigned to a region whose promotion failed for good: that is said, and nobody else may serve.
            let unpromoted = row["active_region"] == "us-west" && self.guarded.fleet.west.pg.is_standby();
            if quiet && last["state"] == "partly" && unpromoted {
                return Ok(false);
            }
            self.start_what_may_run().map_err(|e| e.to_string())?;
            Err(format!("{row}, last operation: {last}"))
        })
    }

    fn run(&mut self, watched: &Watched) -> Result<()> {
        for _ in 0..ROUNDS {
            self.round()?;
        }
        let served = self.wait_settled()?;
        self.tell(if served { "served again" } else { "honestly not served" });
        if served {
            watched.ledger.wait_more(OUTSIDE, 20, SERVES_WITHIN)?;
        }
        // Whoever wakes up late would be seen by now: every lease has been renewed or has run out.
        let until = now() + Duration::from_secs(2);
        wait_until("two seconds more", SERVES_WITHIN, || if now() >= until { Ok(()) } else { Err("not yet") })
    }
}

/// Seeds in which the app was moved: without any the campaign proves little.
static MOVED: AtomicU64 = AtomicU64::new(0);

fn seed(seed: u64) -> Result<()> {
    let guarded = Guarded::new(&format!("campaign-{seed}"), Settings::default())?;
    let watched = Watched::begin(&guarded.fleet)?;
    let mut campaign =
        Campaign { guarded, random: StdRng::seed_from_u64(seed), dead: Vec::new(), story: String::new() };
    let ran = campaign.run(&watched);
    MOVED.fetch_add(u64::from(campaign.moved()), Ordering::Relaxed);
    let judged = judge(&campaign, watched);
    // What broke the promise is worth more than what came late.
    judged
        .and(ran)
        .with_context(|| format!("seed {seed}; replay: HF_SEED={seed} make e2e ONLY=campaign\n{}", campaign.story))
}

fn judge(campaign: &Campaign, watched: Watched) -> Result<()> {
    let fleet = &campaign.guarded.fleet;
    let (ledger, rose) = watched.end()?;
    ensure!(rose == campaign.moved(), "us-west rose: {rose}, its data directory says {}", campaign.moved());
    if rose {
        let row = campaign.guarded.app_status(APP)?;
        ensure!(row["active_region"] != "us-west" || fleet.east.pg.processes().is_empty(), "us-east runs again: {row}");
    } else if fleet.east.pg.accepts_writes() {
        let lost = lost_in(&fleet.east.pg, &ledger.acks())?;
        ensure!(
            lost.is_empty(),
            "nothing was moved and {} acknowledged writes are gone: {:?} …",
            lost.len(),
            lost.first()
        );
    }
    for number in campaign.guarded.operations()? {
        let op = campaign.guarded.operation(number)?;
        ensure!(!op["ended_at"].is_null(), "operation {number} has not ended: {op}");
    }
    Ok(())
}

#[test]
fn whatever_is_cut_and_killed_two_regions_never_write_and_all_is_served_again() -> Result<()> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds: Vec<u64> = match number("HF_SEED") {
        Some(one) => vec![one],
        None => (1..=number("HF_SEEDS").unwrap_or(SEEDS)).collect(),
    };
    let count = seeds.len() as u64;
    together(AT_ONCE, seeds.into_iter().map(|n| Scenario::new(format!("seed {n}"), move || seed(n))).collect())?;
    let moved = MOVED.load(Ordering::Relaxed);
    ensure!(count < SEEDS || moved > 0, "the app was moved in {moved} of {count} seeds");
    Ok(())
}

/// A lease that outlives the detection by far: who does not wait for its end is early for sure.
const LONG_LEASE: &str =
    "  interval: 1s\n  recheck: 1s\n  failures: 3\n  successes: 3\n  lease: {duration: 15s, renew: 1s}\n";

/// Tests that break the rule on purpose run one after the other: they are about seconds.
static ALONE: Mutex<()> = Mutex::new(());

/// Cuts the active region, and answers what the checks say of what followed.
fn broken(label: &str, settings: Settings) -> Result<(Vec<holdfast_tests::workload::Overlap>, bool)> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let guarded = Guarded::new(label, settings)?;
    let watched = Watched::begin(&guarded.fleet)?;
    guarded.fleet.cut_region("us-east")?;
    guarded.wait_served_in("us-west", SERVES_WITHIN)?;
    watched.ledger.wait_more("inside-us-west", 20, SERVES_WITHIN)?;
    watched.end_unjudged()
}

#[test]
fn the_overlap_check_catches_a_skipped_wait() -> Result<()> {
    let settings = Settings { coordinator: "hasty-coordinator", timings: LONG_LEASE, ..Settings::default() };
    let (found, both) = broken("campaign-hasty", settings)?;
    ensure!(found.iter().any(|overlap| overlap.beyond_doubt()), "no overlap was found");
    ensure!(found.iter().all(|overlap| overlap.late.database.server == "us-east"), "{:?}", found.first());
    ensure!(both, "both databases were never seen at once");
    Ok(())
}

#[test]
fn the_overlap_check_catches_a_fence_that_ends_only_the_postmaster() -> Result<()> {
    let (found, both) = broken("campaign-blunt", Settings { agent: "blunt-agent", ..Settings::default() })?;
    // Every ordinary backend ends by itself; the one that never waits for anybody does not.
    ensure!(found.iter().any(|overlap| overlap.beyond_doubt()), "no overlap was found");
    ensure!(found.iter().all(|overlap| &*overlap.late.writer == "busy-us-east"), "{:?}", found.first());
    ensure!(both, "both databases were never seen at once");
    Ok(())
}
