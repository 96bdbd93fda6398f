//! The demonstration: build, look, cut, follow, judge, take down.

use std::{thread, time::Duration};

use anyhow::{Context, Result};

use super::{
    APP, SOURCE, heading,
    observer::Observer,
    report,
    screen::{Screen, Tone, grouped},
    stage::{self, Options},
    watcher::{Asker, Watcher},
};
use crate::{
    harness::{Guarded, fleet::OUTSIDE, now},
    measure::Moment,
    workload::Ledger,
};

/// All of it, built and taken down.
const LIMIT: Duration = Duration::from_secs(170);
/// From the cut until everything has followed: far above what is promised, for machines that do other things as well.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(60);
/// The workload's first writes through proxies that have only just been told.
const WRITES_WITHIN: Duration = Duration::from_secs(20);
/// Enough to see how fast it writes.
const WRITES_BEFORE: u64 = 200;
/// Enough to catch a region that goes on writing without a right to.
const WRITES_AFTER: u64 = 200;
/// How exactly things are seen that nobody else stamps.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Runs it; whether everything held.
///
/// # Errors
/// What did not come up or could not be measured.
pub fn show(screen: &mut Screen, options: Options) -> Result<bool> {
    screen.line(Tone::Strong, "Holdfast: a region dies, and its app moves by itself");
    screen.line(Tone::Plain, "takes half a minute; leaves nothing behind, Ctrl-C included");
    let guarded = stage::build(screen, options, Some(LIMIT), |_| Ok(()))?;
    let judgement = demonstrate(screen, &guarded);
    let begun = now();
    drop(guarded);
    screen.line(Tone::Dim, &format!("  everything is taken down ({:.1} s)", now().since(begun).as_secs_f64()));
    let judgement = judgement?;
    screen.gap();
    screen.data(&judgement.line.json());
    Ok(judgement.holds())
}

fn demonstrate(screen: &mut Screen, guarded: &Guarded) -> Result<super::judge::Judgement> {
    let fleet = &guarded.fleet;
    let (ledger, writers) = fleet.writers()?;
    let begun = now();
    ledger.wait_more(OUTSIDE, WRITES_BEFORE, WRITES_WITHIN)?;
    let asker = Asker::new(guarded)?;
    heading(screen, "$ holdfast status");
    for line in asker.text(&["status"])?.lines() {
        screen.line(Tone::Plain, line);
    }
    heading(screen, &workload(&ledger, now().since(begun)));
    screen.line(
        Tone::Plain,
        "  outside both regions, it tries the proxies in turn; inside each region another writer goes",
    );
    screen.line(Tone::Plain, "  straight to that region's database, past the proxies and past the cut");

    // Nothing else at the moment of the cut: a question takes processor time that replication needs.
    ledger.wait_more(OUTSIDE, WRITES_BEFORE / 2, WRITES_WITHIN)?;
    let cut = Moment::at(fleet.cut_region(SOURCE)?);
    let mut observer = Observer::new(cut, SOURCE, &ledger);
    let how = if fleet.net.isolates() {
        format!("{SOURCE} is cut off: use-db1 and use-web1 live on, and reach nobody else")
    } else {
        format!("{SOURCE} is dead: every process on use-db1 and use-web1 was killed")
    };
    let watcher = Watcher::start(asker.clone(), APP)?;
    watcher.set_alert(true);
    heading(screen, &format!("the cut, at {} UTC; seconds count from here", cut.wall.clock_millis()));
    observer.did(cut.boot, "cut", how).show(screen);

    let deadline = now() + FOLLOWS_WITHIN;
    while !observer.complete(&ledger, WRITES_AFTER) && now() < deadline {
        for entry in observer.look(fleet, &ledger, watcher.sights()) {
            entry.show(screen);
        }
        thread::sleep(LOOK_EVERY);
    }
    drop(watcher);
    for writer in writers {
        writer.stop()?;
    }
    heading(screen, "$ holdfast status");
    for line in asker.text(&["status"])?.lines() {
        screen.line(Tone::Plain, line);
    }
    let evidence = observer.evidence(fleet, &ledger, usize::MAX).context("cannot look for what was acknowledged")?;
    Ok(report::show(screen, &observer, &evidence))
}

fn workload(ledger: &Ledger, since: Duration) -> String {
    let counters = ledger.counters(OUTSIDE);
    let rate = u32::try_from(counters.acknowledged).map_or(0.0, f64::from) / since.as_secs_f64().max(0.001);
    let last = counters.last.map(|ack| format!(", through {}, by {}", ack.through, ack.database)).unwrap_or_default();
    format!("workload: {} acknowledged writes, {rate:.0} a second{last}", grouped(counters.acknowledged))
}
