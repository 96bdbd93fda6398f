//! Every step of a failover's plan, killed, repeated and failed for real: the operation ends, nothing is done twice, and
//! somebody may serve again.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use holdfast_tests::{
    harness::{
        Ended, Guarded, Scenario, Settings,
        fleet::OUTSIDE,
        operator::{APP, step_of},
        together, wait_asking, wait_until,
    },
    workload::{Watched, lost_in},
};
use rustix::process::Signal;
use serde_json::Value;

/// The plan of a failover between two regions.
const STEPS: [&str; 8] = ["hold", "fence", "cut", "candidate", "generation", "promote", "route", "verify"];
/// Fleets at once where coordinators come and go.
const BUSY: usize = 2;
/// Fleets at once that wait for deadlines most of the time.
const WAITING: usize = 4;
/// Far above what it takes: these machines are shared.
const SOON: Duration = Duration::from_secs(60);
/// All attempts of any step, one after the other.
const ENDED_WITHIN: Duration = Duration::from_secs(150);

/// How the active region is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// Its network: the source answers nothing.
    Cut,
    /// Its database: the source's agent answers.
    Killed,
}

/// One app whose coordinator can be killed at any place, and everything that is watched.
struct Stage {
    guarded: Guarded,
    watched: Watched,
}

impl Stage {
    fn new(label: &str, mode: &'static str) -> Result<Self> {
        let settings = Settings { mode, coordinator: "faulty-coordinator", ..Settings::default() };
        let guarded = Guarded::new(label, settings)?;
        let watched = Watched::begin(&guarded.fleet)?;
        Ok(Self { guarded, watched })
    }

    fn lose(&self, loss: Loss) -> Result<()> {
        match loss {
            Loss::Cut => self.guarded.fleet.cut_region("us-east").map(drop),
            Loss::Killed => self.guarded.fleet.east.pg.kill_all(),
        }
    }

    /// Waits for the coordinator's own end at a place that was named before.
    fn wait_killed(&self) -> Result<()> {
        let ended = self.guarded.fleet.coordinator()?.wait(ENDED_WITHIN)?;
        ensure!(ended == Ended::Killed(9), "the coordinator {ended}");
        Ok(())
    }

    /// Loses the region, and lets the coordinator die just before or after a step is carried out.
    fn lose_and_stop_at(&self, loss: Loss, place: &str) -> Result<()> {
        self.guarded.kill_coordinator_at(&[place])?;
        self.lose(loss)?;
        self.wait_killed()
    }

    /// Begins a failover by hand, which an operator does not wait for. Refused as long as the last write is fresh.
    fn begin_by_hand(&self) -> Result<u64> {
        let begun = wait_asking("the gate to open for an operator", SOON, || {
            self.guarded.json(&["failover", APP, "--to", "us-west", "-y", "--detach", "--reason", "a test"])
        })?;
        begun["operation"]["number"].as_u64().with_context(|| format!("no operation in {begun}"))
    }

    /// The app's row once nothing is being done to it; it must not be held then.
    fn settled(&self) -> Result<Value> {
        let row = self.guarded.app_status(APP)?;
        ensure!(row["lease"]["hold"] == false && row["running_operation"].is_null(), "{row}");
        Ok(row)
    }

    fn wait_writes(&self, writers: &[&str]) -> Result<()> {
        writers.iter().try_for_each(|writer| self.watched.ledger.wait_more(writer, 10, SOON))
    }

    fn timeline(&self) -> Result<String> {
        let now = "select substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)";
        self.guarded.fleet.west.pg.value(now)
    }

    /// It was moved, once, and is served.
    fn moved_once(self, number: u64) -> Result<()> {
        let op = self.guarded.wait_operation_ended(number, ENDED_WITHIN)?;
        ensure!(op["state"] == "done", "{op}");
        let row = self.guarded.wait_served_in("us-west", SOON)?;
        generation_from(&row, 2)?;
        self.wait_writes(&[OUTSIDE, "inside-us-west", "busy-us-west"])?;
        ensure!(self.timeline()? == "00000002", "promoted more than once: timeline {}", self.timeline()?);
        ensure!(self.guarded.operations()? == [number], "other operations: {:?}", self.guarded.operations()?);
        ensure!(self.guarded.fleet.west.proxy.open_regions("pg_write")? == ["us-west"]);
        self.guarded.every_command_ran_once()?;
        let (_, rose) = self.watched.end()?;
        ensure!(rose, "us-west was never seen as primary");
        Ok(())
    }
}

/// The generation that a plan ends with, or one more for each time that a new holder's lease ran out while there was no
/// coordinator: it goes on as the next one then.
fn generation_from(row: &Value, least: u64) -> Result<()> {
    let found = row["generation"].as_u64().unwrap_or_default();
    ensure!((least..least + 5).contains(&found), "generation {found}, {least} expected: {row}");
    Ok(())
}

/// The coordinator dies at each of these places, and is started again at once. At a step's two places that means: right
/// after its "begins" is committed, and, once it runs again, right before its "ended"; the step is carried out twice.
fn killed_at(label: &str, loss: Loss, steps: &[&str]) -> Result<()> {
    let mut stage = Stage::new(&format!("steps-{label}"), "automatic")?;
    let places: Vec<String> =
        steps.iter().flat_map(|step| [format!("after-begins {step}"), format!("before-ended {step}")]).collect();
    stage.guarded.kill_coordinator_at(&places.iter().map(String::as_str).collect::<Vec<_>>())?;
    stage.lose(loss)?;
    for _ in &places {
        stage.wait_killed()?;
        stage.guarded.launch_coordinator()?;
    }
    stage.guarded.wait_leads()?;
    let left = stage.guarded.kills_left();
    ensure!(left.is_empty(), "not reached: {left:?}");
    stage.moved_once(1)
}

#[test]
fn a_coordinator_killed_around_any_step_of_a_failover_finishes_it_and_does_nothing_twice() -> Result<()> {
    let scenario = |(number, step): (usize, &'static str)| {
        // With and without a source that answers, in turn; the next test has every step with both.
        let loss = if number % 2 == 0 { Loss::Cut } else { Loss::Killed };
        Scenario::new(step, move || killed_at(step, loss, &[step]))
    };
    together(BUSY, STEPS.into_iter().enumerate().map(scenario).collect())
}

#[test]
fn a_coordinator_killed_around_every_step_of_one_failover_finishes_it_and_does_nothing_twice() -> Result<()> {
    let scenarios = [Loss::Cut, Loss::Killed].map(|loss| {
        let label = format!("every-{loss:?}").to_lowercase();
        Scenario::new(label.clone(), move || killed_at(&label, loss, &STEPS))
    });
    together(1, scenarios.into())
}

/// The source's fencing was released by hand, so its fence is refused: nothing else is touched.
fn fence_fails() -> Result<()> {
    let stage = Stage::new("steps-fence-fails", "assist")?;
    let (guarded, db) = (&stage.guarded, &stage.guarded.fleet.east.db);
    guarded.on_host(db, &["release", APP, "--reason", "a test"])?.well()?;
    stage.lose(Loss::Killed)?;
    guarded.wait_app("us-east to fail", SOON, |row| row["health"] == "failing")?;
    let number = stage.begin_by_hand()?;
    let op = guarded.wait_operation_ended(number, ENDED_WITHIN)?;
    ensure!(op["state"] == "unwound" && step_of(&op, "fence")["state"] == "failed", "{op}");
    ensure!(step_of(&op, "cut")["state"] != "done", "a candidate was cut though the source is not fenced: {op}");
    let row = stage.settled()?;
    ensure!(row["active_region"] == "us-east" && row["generation"] == 2, "{row}");
    guarded.on_host(db, &["resume", APP])?.well()?;
    // It died by no fence, so it is started by whoever runs it.
    guarded.fleet.east.pg.start()?;
    guarded.wait_served_in("us-east", SOON)?;
    stage.wait_writes(&[OUTSIDE, "inside-us-east"])?;
    guarded.every_command_ran_once()?;
    stage.watched.end().map(drop)
}

fn signal_candidate(stage: &Stage, agent: bool, signal: Signal) -> Result<()> {
    let west = &stage.guarded.fleet.west;
    if agent {
        ensure!(stage.guarded.fleet.agent(&west.db)?.signal(signal), "the agent is gone");
        return Ok(());
    }
    west.pg.signal_all(signal)
}

/// The candidate hangs, so it cannot be cut: everything is taken back, and the source goes on when it is reached again.
fn cut_fails(agent: bool) -> Result<()> {
    let what = if agent { "agent" } else { "database" };
    let mut stage = Stage::new(&format!("steps-cut-{what}"), "assist")?;
    stage.lose(Loss::Cut)?;
    stage.guarded.wait_app("us-east to fail", SOON, |row| row["health"] == "failing")?;
    stage.guarded.kill_coordinator_at(&["after-begins cut"])?;
    let number = stage.begin_by_hand()?;
    stage.wait_killed()?;
    signal_candidate(&stage, agent, Signal::STOP)?;
    stage.guarded.start_coordinator()?;
    let guarded = &stage.guarded;
    guarded.wait_step(number, "reconnect", &["planned", "running", "failed", "done"], ENDED_WITHIN)?;
    signal_candidate(&stage, agent, Signal::CONT)?;
    let op = guarded.wait_operation_ended(number, ENDED_WITHIN)?;
    ensure!(op["state"] == "unwound" && step_of(&op, "cut")["state"] == "failed", "{op}");
    let row = stage.settled()?;
    ensure!(row["active_region"] == "us-east" && row["generation"] == 2, "{row}");
    guarded.fleet.net.heal()?;
    // Its agent has fenced it, and starts it again under a lease of the new generation; the standby follows as before.
    guarded.wait_served_in("us-east", SOON)?;
    stage.wait_writes(&[OUTSIDE, "inside-us-east", "busy-us-east"])?;
    guarded.wait_ready(APP, "us-west")?;
    guarded.every_command_ran_once()?;
    let (ledger, rose) = stage.watched.end()?;
    ensure!(!rose, "us-west was seen as primary");
    ensure!(lost_in(&guarded.fleet.east.pg, &ledger.acks())?.is_empty());
    Ok(())
}

/// The candidate's database is dead when it should be promoted, and is started under its new lease.
fn promote_starts_what_is_down() -> Result<()> {
    let mut stage = Stage::new("steps-promote-down", "automatic")?;
    stage.lose_and_stop_at(Loss::Cut, "after-begins promote")?;
    stage.guarded.fleet.west.pg.kill_all()?;
    stage.guarded.start_coordinator()?;
    stage.moved_once(1)
}

/// The candidate's database is lost when it should be promoted, and the source's host answers: back there, as a further
/// generation.
fn promote_fails_and_the_source_goes_on() -> Result<()> {
    let mut stage = Stage::new("steps-promote-back", "automatic")?;
    stage.lose_and_stop_at(Loss::Killed, "after-begins promote")?;
    stage.guarded.fleet.west.pg.ruin()?;
    stage.guarded.start_coordinator()?;
    let op = stage.guarded.wait_operation_ended(1, ENDED_WITHIN)?;
    ensure!(op["state"] == "partly" && step_of(&op, "promote")["state"] == "failed", "{op}");
    let row = stage.guarded.wait_served_in("us-east", SOON)?;
    generation_from(&row, 3)?;
    stage.settled()?;
    stage.wait_writes(&[OUTSIDE, "inside-us-east", "busy-us-east"])?;
    stage.guarded.every_command_ran_once()?;
    let Stage { guarded, watched } = stage;
    let (ledger, rose) = watched.end()?;
    ensure!(!rose, "us-west was seen as primary");
    ensure!(lost_in(&guarded.fleet.east.pg, &ledger.acks())?.is_empty(), "back where it was, nothing is lost");
    Ok(())
}

/// The same where the source cannot be reached either: nobody is left, and that is said.
fn promote_fails_and_nobody_is_left() -> Result<()> {
    let mut stage = Stage::new("steps-promote-none", "automatic")?;
    stage.lose_and_stop_at(Loss::Cut, "after-begins promote")?;
    stage.guarded.fleet.west.pg.ruin()?;
    stage.guarded.start_coordinator()?;
    let op = stage.guarded.wait_operation_ended(1, ENDED_WITHIN)?;
    ensure!(op["state"] == "partly", "{op}");
    let row = stage.settled()?;
    ensure!(row["active_region"] == "us-west" && row["health"] != "ok", "{row}");
    generation_from(&row, 2)?;
    let status = stage.guarded.json(&["status"])?;
    ensure!(status["attention"].to_string().contains("ended partly done"), "{status}");
    stage.watched.end().map(drop)
}

/// The candidate's agent stands still for longer than its lease while it should promote, and then goes on.
fn promote_waits_for_an_agent_that_hangs() -> Result<()> {
    let mut stage = Stage::new("steps-promote-hangs", "automatic")?;
    stage.lose_and_stop_at(Loss::Cut, "after-begins promote")?;
    let db = stage.guarded.fleet.west.db.clone();
    stage.guarded.fleet.agent(&db)?.stop();
    stage.guarded.start_coordinator()?;
    // Long enough for a coordinator to find a session dead: then the command is sent again over a new one.
    stage.guarded.wait_app("us-west to be found silent", SOON, |row| row["health"] == "failing")?;
    stage.guarded.fleet.agent(&db)?.cont();
    stage.moved_once(1)
}

/// The proxy of the region that takes over is dead: the app is there, clients are not, and that is put right by the steady
/// duty when the proxy is back.
fn route_fails() -> Result<()> {
    let mut stage = Stage::new("steps-route-fails", "automatic")?;
    stage.lose_and_stop_at(Loss::Cut, "after-begins route")?;
    stage.guarded.fleet.west.proxy.kill9()?;
    stage.guarded.start_coordinator()?;
    let op = stage.guarded.wait_operation_ended(1, ENDED_WITHIN)?;
    ensure!(op["state"] == "partly" && step_of(&op, "route")["state"] == "failed", "{op}");
    let row = stage.settled()?;
    ensure!(row["active_region"] == "us-west", "{row}");
    generation_from(&row, 2)?;
    stage.wait_writes(&["inside-us-west"])?;
    stage.guarded.fleet.west.proxy.begin()?;
    stage.wait_writes(&[OUTSIDE])?;
    stage.guarded.every_command_ran_once()?;
    ensure!(stage.timeline()? == "00000002");
    stage.watched.end().map(drop)
}

/// The proxy dies after it was switched: verified is what is seen, and it is not.
fn verify_fails() -> Result<()> {
    let mut stage = Stage::new("steps-verify-fails", "automatic")?;
    stage.lose_and_stop_at(Loss::Killed, "after-begins verify")?;
    stage.guarded.fleet.west.proxy.kill9()?;
    stage.guarded.start_coordinator()?;
    let op = stage.guarded.wait_operation_ended(1, ENDED_WITHIN)?;
    ensure!(op["state"] == "partly" && step_of(&op, "verify")["state"] == "failed", "{op}");
    let row = stage.settled()?;
    ensure!(row["active_region"] == "us-west", "{row}");
    generation_from(&row, 2)?;
    // The other region's proxy lives and was switched: the outside is served all the same.
    stage.wait_writes(&[OUTSIDE, "inside-us-west"])?;
    stage.guarded.every_command_ran_once()?;
    ensure!(stage.timeline()? == "00000002");
    stage.watched.end().map(drop)
}

#[test]
fn a_step_that_fails_for_good_ends_the_operation_unwound_or_partly_and_never_held() -> Result<()> {
    together(
        WAITING,
        vec![
            Scenario::new("verify fails", verify_fails),
            Scenario::new("the candidate's agent hangs in cut", || cut_fails(true)),
            Scenario::new("the candidate's database hangs in cut", || cut_fails(false)),
            Scenario::new("route fails", route_fails),
            Scenario::new("promote starts what is down", promote_starts_what_is_down),
            Scenario::new("promote fails, the source goes on", promote_fails_and_the_source_goes_on),
            Scenario::new("promote fails, nobody is left", promote_fails_and_nobody_is_left),
            Scenario::new("the candidate's agent hangs in promote", promote_waits_for_an_agent_that_hangs),
            Scenario::new("fence fails", fence_fails),
        ],
    )
}

#[test]
fn abort_before_the_point_of_no_return_lets_the_app_go_on_in_its_region_as_the_next_generation() -> Result<()> {
    // A lease that is long enough to type something within.
    let timings = "  interval: 1s\n  recheck: 1s\n  failures: 3\n  successes: 3\n  lease: {duration: 20s, renew: 2s}\n";
    let guarded = Guarded::new("steps-abort", Settings { mode: "assist", timings, ..Settings::default() })?;
    let stage = Stage { watched: Watched::begin(&guarded.fleet)?, guarded };
    let guarded = &stage.guarded;
    let agent = guarded.fleet.agent(&guarded.fleet.east.db)?;
    stage.lose(Loss::Killed)?;
    guarded.wait_app("us-east to fail", SOON, |row| row["health"] == "failing")?;
    // It cannot answer, so the fence waits.
    ensure!(agent.stop());
    let number = stage.begin_by_hand()?;
    guarded.wait_step(number, "fence", &["running"], SOON)?;
    let refused = guarded.holdfast(&["failover", APP, "--to", "us-west", "-y"])?;
    ensure!(refused.status() == Some(7) && refused.stderr.contains("is running"), "one at a time: {refused:?}");
    // Somebody gets it to run again, under the lease that its host still holds, and says so.
    guarded.fleet.east.pg.start()?;
    guarded.holdfast(&["operations", "abort", &number.to_string(), "--reason", "us-east is back"])?.well()?;
    let op = guarded.wait_operation_ended(number, SOON)?;
    ensure!(op["state"] == "unwound", "{op}");
    for step in ["cut", "generation", "promote"] {
        ensure!(!matches!(step_of(&op, step)["state"].as_str(), Some("done" | "running")), "{op}");
    }
    let row = stage.settled()?;
    ensure!(row["active_region"] == "us-east" && row["generation"] == 2, "{row}");
    ensure!(agent.cont());
    // Its agent may find the order to fence: then it is stopped, and started under the new generation's lease.
    guarded.wait_served_in("us-east", SOON)?;
    stage.wait_writes(&[OUTSIDE, "inside-us-east", "busy-us-east"])?;
    // Past its end nothing can be taken back any more.
    let late = guarded.holdfast(&["operations", "abort", &number.to_string(), "--reason", "again"])?;
    ensure!(late.status() == Some(7), "{late:?}");
    guarded.wait_ready(APP, "us-west")?;
    let (ledger, rose) = stage.watched.end()?;
    ensure!(!rose, "us-west was seen as primary");
    ensure!(lost_in(&guarded.fleet.east.pg, &ledger.acks())?.is_empty());
    wait_until("one operation", SOON, || match guarded.operations() {
        Ok(all) if all == [number] => Ok(()),
        other => Err(format!("{other:?}")),
    })
}
