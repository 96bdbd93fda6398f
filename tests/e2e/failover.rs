//! The main job, on real PostgreSQL and HAProxy: a region dies and Holdfast moves the app.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use holdfast_tests::{
    harness::{Guarded, Settings, fleet::OUTSIDE, wait_until},
    workload::{Ledger, lost_in, overlaps, rto},
};

/// Far above what is promised: these machines are shared. The promise is measured by `make bench`.
const MOVED_WITHIN: Duration = Duration::from_secs(40);

fn wait_writes(ledger: &Arc<Ledger>, writer: &str, more: u64) -> Result<()> {
    let enough = ledger.counters(writer).acknowledged + more;
    wait_until(&format!("{enough} writes of {writer}"), MOVED_WITHIN, || {
        let counters = ledger.counters(writer);
        if counters.acknowledged >= enough { Ok(()) } else { Err(format!("{counters:?}")) }
    })
}

fn wait_moved(guarded: &Guarded, app: &str, region: &str) -> Result<()> {
    wait_until(&format!("{app} to be served in {region}"), MOVED_WITHIN, || {
        let status = guarded.app_status(app).map_err(|e| e.to_string())?;
        let there = status["active_region"] == region && status["health"] == "ok" && status["running_operation"].is_null();
        if there { Ok(()) } else { Err(status.to_string()) }
    })
}

#[test]
fn a_cut_region_is_fenced_and_its_app_moves_without_a_human() -> Result<()> {
    let guarded = Guarded::new("failover-cut", Settings::default())?;
    let (ledger, writers) = guarded.fleet.writers()?;
    wait_writes(&ledger, OUTSIDE, 50)?;
    let cut_at = guarded.fleet.cut_region("us-east")?;
    wait_moved(&guarded, "smellpin", "us-west")?;
    wait_writes(&ledger, OUTSIDE, 50)?;
    wait_writes(&ledger, "inside-us-west", 20)?;
    for writer in writers {
        writer.stop()?;
    }
    let outside = ledger.acks_of(OUTSIDE);
    let found = overlaps(&ledger.acks());
    ensure!(found.is_empty(), "two regions acknowledged writes at once: {found:?}");
    // Asynchronous replication, and the cut drops what was on its way: what the client was told is what counts.
    let lost = lost_in(&guarded.fleet.west.pg, &outside)?;
    ensure!(lost.len() <= 1, "{lost:?}");
    ensure!(rto(cut_at, &outside).is_some(), "no write after the cut");
    // The fenced database is down, for sure: nothing of it is left.
    ensure!(guarded.fleet.east.pg.processes().is_empty(), "the fenced region's PostgreSQL still runs");
    ensure!(guarded.app_status("smellpin")?["generation"] == 2);
    guarded.no_errors_logged()
}

#[test]
fn a_dead_primary_is_left_and_the_region_that_lives_confirms_its_fence() -> Result<()> {
    let guarded = Guarded::new("failover-kill", Settings::default())?;
    let (ledger, writers) = guarded.fleet.writers()?;
    wait_writes(&ledger, OUTSIDE, 50)?;
    guarded.fleet.east.pg.kill_postmaster()?;
    wait_moved(&guarded, "smellpin", "us-west")?;
    wait_writes(&ledger, OUTSIDE, 50)?;
    for writer in writers {
        writer.stop()?;
    }
    ensure!(overlaps(&ledger.acks()).is_empty());
    ensure!(guarded.fleet.east.pg.processes().is_empty(), "backends outlived their postmaster");
    // Both proxies open the new region and nothing else.
    for proxy in [&guarded.fleet.east.proxy, &guarded.fleet.west.proxy] {
        ensure!(proxy.open_regions("pg_write")? == ["us-west"]);
    }
    Ok(())
}
