//! The coordinator, or an agent, is gone for a while and nothing else is wrong.

use std::{fs, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use holdfast_tests::{
    harness::{Guarded, Settings, fleet::OUTSIDE, now, operator::APP, wait_asking, wait_until},
    workload::{Ledger, Writer, lost_in, overlaps},
};
use holdfast_types::BootInstant;

/// Of the preset that these tests use.
const LEASE: Duration = Duration::from_secs(3);
/// A fence must have ended by then, beside a busy machine's delays.
const FENCED_WITHIN: Duration = Duration::from_secs(20);
/// Far above what it takes: these machines are shared.
const SOON: Duration = Duration::from_secs(60);

fn begin(label: &str) -> Result<(Guarded, Arc<Ledger>, Vec<Writer>)> {
    // Nobody moves it by himself here: what is looked at is whether it goes on, stops and comes back where it is. With
    // `automatic`, a coordinator that comes back to a fenced app may as well move it, when its database starts slowly.
    let guarded = Guarded::new(label, Settings { mode: "observe", ..Settings::default() })?;
    let (ledger, mut writers) = guarded.fleet.writers()?;
    writers.push(Writer::busy(&guarded.fleet.east.pg, &ledger)?);
    ledger.wait_more(OUTSIDE, 50, SOON)?;
    ledger.wait_more("busy-us-east", 5, SOON)?;
    Ok((guarded, ledger, writers))
}

/// Writes have gone on at every moment until `until`, and nothing of it failed: looked at all the time.
fn goes_on_until(guarded: &Guarded, ledger: &Ledger, until: BootInstant) -> Result<()> {
    let failed = ledger.counters(OUTSIDE).failed;
    while now() < until {
        ledger.wait_more(OUTSIDE, 5, SOON)?;
        let counters = ledger.counters(OUTSIDE);
        ensure!(counters.failed == failed, "a write failed: {counters:?}");
        ensure!(!guarded.fleet.east.pg.processes().is_empty(), "the database is gone");
    }
    Ok(())
}

fn postmaster(guarded: &Guarded) -> Result<String> {
    let file = guarded.fleet.east.pg.data_dir().join("postmaster.pid");
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn wait_down(guarded: &Guarded, within: Duration) -> Result<()> {
    wait_until("every process of us-east's database to be gone", within, || {
        let left = guarded.fleet.east.pg.processes();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
}

/// Nobody wrote where another did, and nothing that was acknowledged is missing: it never moved.
fn end(guarded: &Guarded, ledger: &Ledger, writers: Vec<Writer>) -> Result<()> {
    for writer in writers {
        writer.stop()?;
    }
    ensure!(overlaps(&ledger.acks()).is_empty());
    let lost = lost_in(&guarded.fleet.east.pg, &ledger.acks())?;
    ensure!(lost.is_empty(), "lost: {lost:?}");
    Ok(())
}

#[test]
fn without_a_coordinator_an_app_that_could_move_is_fenced_when_its_lease_ends_and_serves_again_after() -> Result<()> {
    let (mut guarded, ledger, writers) = begin("down-ends")?;
    // It was said before.
    let status = guarded.json(&["status"])?;
    let said = "while this coordinator is down for longer than its lease (3 s), smellpin is fenced";
    ensure!(status["notes"].as_array().is_some_and(|notes| notes.iter().any(|n| n == said)), "{status}");

    let killed_at = now();
    guarded.fleet.coordinator()?.kill9()?;
    wait_down(&guarded, FENCED_WITHIN)?;
    // Not before: what was granted counts. A grant is at most one renewal old.
    ensure!(now().since(killed_at) + Duration::from_millis(100) >= LEASE - Duration::from_secs(1), "fenced too early");
    // It stays down, for the rest of ten leases.
    let until = killed_at + 10 * LEASE;
    let acknowledged = ledger.acks().len();
    wait_until("ten leases to pass", 20 * LEASE, || if now() >= until { Ok(()) } else { Err("not yet") })?;
    ensure!(guarded.fleet.east.pg.processes().is_empty(), "it came back without a lease");
    ensure!(ledger.acks().len() == acknowledged, "a write was acknowledged without a lease");

    guarded.start_coordinator()?;
    let row = guarded.wait_served_in("us-east", SOON)?;
    ensure!(row["generation"] == 2, "its writers were fenced: it goes on as the next generation: {row}");
    ledger.wait_more(OUTSIDE, 20, SOON)?;
    ledger.wait_more("inside-us-east", 20, SOON)?;
    ensure!(guarded.operations()?.is_empty(), "nothing was moved");
    guarded.wait_ready(APP, "us-west")?;
    end(&guarded, &ledger, writers)
}

#[test]
fn without_a_coordinator_an_app_that_nobody_could_take_over_goes_on_without_one_failed_write() -> Result<()> {
    let (mut guarded, ledger, writers) = begin("down-sole")?;
    guarded.fleet.west.pg.stop()?;
    guarded.wait_app("the lease to be sole", SOON, |row| row["lease"]["state"] == "sole")?;
    let (first, agent) = (postmaster(&guarded)?, guarded.fleet.east.db.clone());
    let killed_at = now();
    guarded.fleet.coordinator()?.kill9()?;
    goes_on_until(&guarded, &ledger, killed_at + 4 * LEASE)?;
    // Its agent too, for longer than a lease: what it may do stands on its disk.
    guarded.fleet.agent(&agent)?.kill9()?;
    goes_on_until(&guarded, &ledger, now() + 2 * LEASE)?;
    guarded.start_agent(&agent)?;
    goes_on_until(&guarded, &ledger, killed_at + 10 * LEASE)?;
    guarded.start_coordinator()?;
    let row = guarded.wait_served_in("us-east", SOON)?;
    ensure!(row["generation"] == 1 && row["lease"]["state"] == "sole", "{row}");
    // The standby comes back, and with it a lease that ends: still nothing fails.
    guarded.fleet.west.pg.start()?;
    guarded.wait_ready(APP, "us-west")?;
    goes_on_until(&guarded, &ledger, now() + 2 * LEASE)?;
    ensure!(postmaster(&guarded)? == first, "PostgreSQL was restarted");
    end(&guarded, &ledger, writers)
}

#[test]
fn an_agent_that_starts_again_within_its_lease_takes_it_up_and_postgresql_never_stops() -> Result<()> {
    let (mut guarded, ledger, writers) = begin("down-agent")?;
    let (first, db) = (postmaster(&guarded)?, guarded.fleet.east.db.clone());
    let failed = ledger.counters(OUTSIDE).failed;
    for how in ["terminate", "kill -9", "terminate", "kill -9"] {
        let agent = guarded.fleet.agent(&db)?;
        if how == "kill -9" {
            agent.kill9()?
        } else {
            agent.terminate(LEASE)?
        };
        guarded.start_agent(&db)?;
        guarded.wait_hosts(4)?;
        goes_on_until(&guarded, &ledger, now() + LEASE + LEASE / 2)?;
    }
    let row = guarded.wait_served_in("us-east", SOON)?;
    ensure!(row["generation"] == 1, "{row}");
    ensure!(postmaster(&guarded)? == first, "PostgreSQL was restarted");
    let counters = ledger.counters(OUTSIDE);
    ensure!(counters.failed == failed, "{counters:?}");
    end(&guarded, &ledger, writers)
}

#[test]
fn an_agent_that_starts_after_its_lease_is_over_fences_and_serves_again_as_the_next_generation() -> Result<()> {
    let (mut guarded, ledger, writers) = begin("down-late")?;
    let db = guarded.fleet.east.db.clone();
    // Nobody to ask, so that nobody moves the app either.
    guarded.fleet.coordinator()?.kill9()?;
    guarded.fleet.agent(&db)?.kill9()?;
    let over = now() + LEASE;
    wait_until("the lease to be over", SOON, || if now() > over { Ok(()) } else { Err("not yet") })?;
    guarded.start_agent(&db)?;
    wait_down(&guarded, FENCED_WITHIN)?;
    guarded.start_coordinator()?;
    let row = guarded.wait_served_in("us-east", SOON)?;
    ensure!(row["generation"] == 2, "{row}");
    ledger.wait_more(OUTSIDE, 20, SOON)?;
    end(&guarded, &ledger, writers)
}

#[test]
fn release_on_the_host_ends_fencing_without_a_coordinator_and_resume_takes_it_up() -> Result<()> {
    let (mut guarded, ledger, writers) = begin("down-release")?;
    let (first, db) = (postmaster(&guarded)?, guarded.fleet.east.db.clone());
    let without = guarded.on_host(&db, &["release", APP])?;
    ensure!(without.status() != Some(0), "a reason is needed: {without:?}");
    guarded.fleet.coordinator()?.kill9()?;
    guarded.on_host(&db, &["release", APP, "--reason", "the coordinator's host burns"])?.well()?;
    goes_on_until(&guarded, &ledger, now() + 3 * LEASE)?;
    // Shown in red as soon as somebody can show it.
    guarded.start_coordinator()?;
    wait_asking("status to show the release", SOON, || {
        let status = guarded.json(&["status"]).map_err(|e| e.to_string())?;
        let told = status["attention"].to_string();
        if told.contains("smellpin is released on use-db1") { Ok(()) } else { Err(told) }
    })?;
    ensure!(postmaster(&guarded)? == first);
    guarded.on_host(&db, &["resume", APP])?.well()?;
    guarded.wait_app("the release to end", SOON, |row| row["lease"]["state"] == "held" && row["health"] == "ok")?;
    guarded.wait_ready(APP, "us-west")?;
    ledger.wait_more(OUTSIDE, 20, SOON)?;

    // Again, and resumed while nobody can grant a lease: then it is fenced at once.
    guarded.fleet.coordinator()?.kill9()?;
    guarded.on_host(&db, &["release", APP, "--reason", "again"])?.well()?;
    goes_on_until(&guarded, &ledger, now() + 2 * LEASE)?;
    guarded.on_host(&db, &["resume", APP])?.well()?;
    wait_down(&guarded, FENCED_WITHIN)?;
    guarded.start_coordinator()?;
    guarded.wait_served_in("us-east", SOON)?;
    ledger.wait_more(OUTSIDE, 20, SOON)?;
    end(&guarded, &ledger, writers)
}
