//! One measured failover, and the floor beside it.

use std::{thread, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use crate::{
    demo::{APP, SOURCE, watcher::Asker},
    harness::{Fleet, Guarded, Settings, fleet::OUTSIDE, now, wait_asking, wait_until},
    measure::{Moment, Operation, Parts},
    workload::{lost_in, overlaps, rto},
};

/// Far above what is promised: a slow run is a number, not an error.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(60);
/// Of the preset that is measured: rounds of checks come this far apart.
const INTERVAL: Duration = Duration::from_secs(1);
/// Enough to know that writes flow.
const WRITES_BEFORE: u64 = 100;
/// Enough to catch a region that goes on writing without a right to.
const WRITES_AFTER: u64 = 50;

/// What is done to the active region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Its network is taken away.
    Cut,
    /// Its PostgreSQL is killed.
    Kill,
}

impl Fault {
    /// A line above the table.
    #[must_use]
    pub const fn heading(self) -> &'static str {
        match self {
            Self::Cut => "the active region is cut off: nobody can say that it has stopped, so its lease is waited out",
            Self::Kill => {
                "PostgreSQL of the active region is killed: its agent confirms the fence, nothing is waited out"
            }
        }
    }

    const fn label(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::Kill => "kill",
        }
    }
}

/// What one run took, in seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Run {
    /// From the fault to the first acknowledged write, and what it is made of.
    #[serde(flatten)]
    pub parts: Parts,
    /// Acknowledged writes of the workload that the surviving database does not have.
    pub lost: usize,
    /// From a kill to the first acknowledged write by hand, without finding anything out.
    pub floor: Option<f64>,
}

/// Measures one failover, the first to the last of `of` spread evenly over a round of checks, and its floor.
///
/// # Errors
/// When the failover did not end well, or two regions wrote at once: then no number means anything.
pub fn measure(fault: Fault, number: u32, of: u32) -> Result<Run> {
    let phase = INTERVAL * (number - 1) / of.max(1);
    let run = failover(fault, number, phase).with_context(|| format!("run {number} of {}", fault.label()))?;
    let floor = floor(number).with_context(|| format!("floor of run {number}"))?;
    Ok(Run { floor: Some(floor), ..run })
}

fn failover(fault: Fault, number: u32, phase: Duration) -> Result<Run> {
    let guarded = Guarded::new(&format!("bench-{}-{number}", fault.label()), Settings::default())?;
    let fleet = &guarded.fleet;
    let (ledger, writers) = fleet.writers()?;
    ledger.wait_more(OUTSIDE, WRITES_BEFORE, FOLLOWS_WITHIN)?;
    let asker = Asker::new(&guarded)?;
    // A fleet is ready at the same point of a round every time; a fault comes at any.
    thread::sleep(phase);
    let fault_at = match fault {
        Fault::Cut => Moment::at(fleet.cut_region(SOURCE)?),
        Fault::Kill => {
            let at = Moment::now();
            fleet.east.pg.kill_postmaster()?;
            at
        }
    };
    // Nobody asks the coordinator anything until writes are back: that would be measured too.
    let before = ledger.counters(OUTSIDE).last.map(|ack| ack.database);
    let mut opened = None;
    wait_until("writes to come back", FOLLOWS_WITHIN, || {
        if opened.is_none() && fleet.opened_elsewhere(SOURCE).is_some() {
            opened = Some(now());
        }
        let counters = ledger.counters(OUTSIDE);
        let back = counters.last.as_ref().map(|ack| &ack.database) != before.as_ref();
        if back { Ok(()) } else { Err(format!("{counters:?}")) }
    })?;
    let operation = ended(&asker)?;
    ledger.wait_more(OUTSIDE, WRITES_AFTER, FOLLOWS_WITHIN)?;
    for writer in writers {
        writer.stop()?;
    }
    ensure!(operation.state == "done", "{} is {}: {:?}", operation.kind, operation.state, operation.text);
    let late = overlaps(&ledger.acks());
    ensure!(late.is_empty(), "two regions acknowledged writes at once: {late:?}");
    let outside = ledger.acks_of(OUTSIDE);
    Ok(Run {
        parts: Parts::of(fault_at, &operation, opened, rto(fault_at.boot, &outside)),
        lost: lost_in(&fleet.west.pg, &outside)?.len(),
        floor: None,
    })
}

fn ended(asker: &Asker) -> Result<Operation> {
    wait_asking("the failover to end", FOLLOWS_WITHIN, || {
        let newest = asker.newest(APP).map_err(|error| format!("{error:#}"))?;
        let operation = newest.context("no operation").and_then(|number| asker.operation(number));
        let operation = operation.map_err(|error| format!("{error:#}"))?;
        if operation.ended() { Ok(operation) } else { Err(format!("{operation:?}")) }
    })
}

/// Kill, promote and route by hand, from the kill to the first acknowledged write through a proxy.
fn floor(number: u32) -> Result<f64> {
    let fleet = Fleet::new(&format!("bench-floor-{number}"))?;
    for proxy in [&fleet.east.proxy, &fleet.west.proxy] {
        proxy.open("pg_write", SOURCE)?;
    }
    // A standby that is told to promote while it tries to reach the dead primary once more sleeps this long before it
    // obeys. Five seconds, as it comes, would be no floor.
    fleet.west.pg.query("alter system set wal_retrieve_retry_interval = '100ms'")?;
    fleet.west.pg.query("select pg_reload_conf()")?;
    let (ledger, writers) = fleet.writers()?;
    ledger.wait_more(OUTSIDE, WRITES_BEFORE, FOLLOWS_WITHIN)?;
    let killed = Moment::now();
    fleet.east.pg.kill_all()?;
    fleet.west.pg.promote()?;
    for proxy in [&fleet.east.proxy, &fleet.west.proxy] {
        proxy.shut("pg_write", SOURCE)?;
        proxy.open("pg_write", &fleet.west.name)?;
    }
    ledger.wait_more(OUTSIDE, WRITES_AFTER, FOLLOWS_WITHIN)?;
    for writer in writers {
        writer.stop()?;
    }
    match rto(killed.boot, &ledger.acks_of(OUTSIDE)) {
        Some(rto) => Ok(rto.as_secs_f64()),
        None => bail!("writes did not come back"),
    }
}
