//! The harness itself: if these fail, no other family means anything.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Result, ensure};
use holdfast_tests::{
    harness::{Fleet, Host, Net, Program, now, wait_until},
    workload::{Ledger, Writer, lost_in, overlaps, rto},
};

const SOON: Duration = Duration::from_secs(20);

/// One echo request; whether it came back.
fn reaches(from: &Host, to: &Host) -> Result<bool> {
    // A TCP connection to a closed port: refused means reached, and needs no ping program.
    let script = format!("exec 3<>/dev/tcp/{}/9", to.address);
    let answer = Program::new("timeout").args(["0.3", "bash", "-c", &script]).on(from).run(SOON)?;
    Ok(answer.stderr.contains("refused"))
}

/// Waits until a writer has some acknowledged writes more than now.
fn wait_writes(ledger: &Arc<Ledger>, writer: &str, more: u64) -> Result<()> {
    let enough = ledger.counters(writer).acknowledged + more;
    wait_until(&format!("{enough} writes of {writer}"), SOON, || {
        let counters = ledger.counters(writer);
        if counters.acknowledged >= enough { Ok(()) } else { Err(format!("{counters:?}")) }
    })
}

/// Opens one region on both proxies, by hand.
fn route_to(fleet: &Fleet, region: &str) -> Result<()> {
    for proxy in [&fleet.east.proxy, &fleet.west.proxy] {
        proxy.open("pg_write", region)?;
    }
    Ok(())
}

#[test]
fn a_cut_region_reaches_itself_and_nobody_else() -> Result<()> {
    let mut net = Net::new("harness-cut")?;
    let (a1, a2, b, c) = (net.host("a1")?, net.host("a2")?, net.host("b")?, net.host("c")?);
    ensure!(reaches(&a1, &b)? && reaches(&b, &a1)?, "whole at first");

    net.cut_hosts(&[&a1, &a2])?;
    ensure!(reaches(&a1, &a2)? && reaches(&b, &c)?, "inside and outside go on");
    ensure!(!reaches(&a1, &b)? && !reaches(&c, &a2)?, "nothing passes the cut");
    net.heal()?;
    ensure!(reaches(&a1, &b)?, "healed");

    net.isolate(&b)?;
    ensure!(!reaches(&b, &c)? && reaches(&a1, &c)?, "one host alone");
    net.heal()?;
    net.cut_between(&[&a1], &[&b])?;
    ensure!(!reaches(&a1, &b)? && reaches(&a1, &c)? && reaches(&b, &c)?, "one pair alone");
    net.heal()?;
    net.oneway(&a1, &b)?;
    ensure!(!reaches(&a1, &b)?, "one way lost is enough to lose an answer");
    Ok(())
}

#[test]
fn nothing_is_left_when_a_net_is_dropped() -> Result<()> {
    let mut net = Net::new("harness-drop")?;
    let host = net.host("a")?;
    let (prefix, folder) = (net.prefix().to_owned(), net.folder().to_owned());
    // In a session of its own and without a parent: no process group finds it.
    Program::new("setsid").args(["-f", "sleep", "1000"]).on(&host).run(SOON)?.well()?;
    let members =
        Program::new("ip").args(["netns", "pids", host.namespace.as_deref().unwrap_or_default()]).run(SOON)?.well()?;
    let sleeper: u32 = members.trim().parse()?;
    drop(net);
    let spaces = Program::new("ip").args(["netns", "list"]).run(SOON)?.well()?;
    ensure!(!spaces.contains(&format!("{prefix}-")), "left: {spaces}");
    ensure!(!folder.exists(), "left: {}", folder.display());
    wait_until("the sleeper to be gone", SOON, || match std::fs::read_to_string(format!("/proc/{sleeper}/comm")) {
        Ok(comm) => Err(comm),
        Err(_) => Ok(()),
    })
}

#[test]
fn a_failover_by_hand_loses_nothing_it_looked_for_and_never_overlaps() -> Result<()> {
    let fleet = Fleet::new("harness-failover")?;
    ensure!(fleet.east.proxy.open_regions("pg_write")?.is_empty(), "a proxy that starts sends nothing");
    let (ledger, writers) = fleet.writers()?;
    wait_writes(&ledger, "inside-us-east", 5)?;
    ensure!(ledger.counters("outside").acknowledged == 0, "{:?}", ledger.counters("outside"));

    route_to(&fleet, "us-east")?;
    ensure!(fleet.west.proxy.open_regions("pg_write")? == ["us-east"]);
    wait_writes(&ledger, "outside", 50)?;
    ensure!(ledger.counters("inside-us-west").acknowledged == 0, "a standby takes no writes");

    let killed_at = now();
    fleet.east.pg.kill_all()?;
    for proxy in [&fleet.east.proxy, &fleet.west.proxy] {
        proxy.shut("pg_write", "us-east")?;
    }
    fleet.west.pg.promote()?;
    route_to(&fleet, "us-west")?;
    wait_writes(&ledger, "outside", 50)?;
    wait_writes(&ledger, "inside-us-west", 50)?;
    for writer in writers {
        writer.stop()?;
    }

    let outside = ledger.acks_of("outside");
    ensure!(overlaps(&ledger.acks()).is_empty());
    ensure!(rto(killed_at, &outside).is_some_and(|rto| rto < SOON), "{:?}", rto(killed_at, &outside));
    // A row taken away by hand stands for a write that replication lost; the look-up must find exactly that one missing.
    let lost_before = lost_in(&fleet.west.pg, &outside)?;
    let last = outside.last().expect("fifty were acknowledged");
    fleet
        .west
        .pg
        .query(&format!("delete from holdfast_writes where writer = 'outside' and sequence = {}", last.sequence))?;
    let lost = lost_in(&fleet.west.pg, &outside)?;
    // Asynchronous replication may lose the very last writes before a kill: at most a handful.
    ensure!(lost_before.len() <= 5, "{lost_before:?}");
    ensure!(lost.len() == lost_before.len() + 1 && lost.contains(last), "{lost:?}");
    Ok(())
}

#[test]
fn two_primaries_at_once_are_found_as_overlap() -> Result<()> {
    let fleet = Fleet::new("harness-overlap")?;
    let ledger = Ledger::new();
    let writers = [Writer::inside(&fleet.east.pg, &ledger)?, Writer::inside(&fleet.west.pg, &ledger)?];
    wait_writes(&ledger, "inside-us-east", 20)?;
    fleet.cut_region("us-east")?;
    // The rule broken on purpose: nobody fenced us-east.
    fleet.west.pg.promote()?;
    wait_writes(&ledger, "inside-us-west", 20)?;
    wait_writes(&ledger, "inside-us-east", 20)?;
    for writer in writers {
        writer.stop()?;
    }
    let found = overlaps(&ledger.acks());
    ensure!(found.len() >= 20, "{} found", found.len());
    ensure!(found.iter().all(|overlap| overlap.late.database.server == "us-east"));
    ensure!(found.iter().any(holdfast_tests::workload::Overlap::beyond_doubt));
    Ok(())
}

#[test]
fn backends_of_a_killed_postmaster_are_found_and_ended() -> Result<()> {
    let fleet = Fleet::new("harness-backends")?;
    let pg = &fleet.east.pg;
    pg.query("create table endless (n bigint)")?;
    pg.query(
        "create procedure commit_on() language plpgsql as $$ begin loop insert into endless values (1); commit; \
         end loop; end $$",
    )?;
    // Without a sleep: one that waits for its latch notices that its postmaster is gone, one that is busy does not.
    let busy = pg.psql().args(["-c", "call commit_on()"]).start("busy", &fleet.net.log("busy"))?;
    let committing = || pg.value("select count(*) > 3 from endless");
    wait_until("the procedure to commit", SOON, || match committing() {
        Ok(yes) if yes == "t" => Ok(()),
        other => Err(format!("{other:?}")),
    })?;
    pg.kill_postmaster()?;
    let wal = pg.data_dir().join("pg_wal");
    let written = || -> Result<Option<SystemTime>> {
        let times = std::fs::read_dir(&wal)?.map(|entry| entry?.metadata()?.modified());
        Ok(times.collect::<std::io::Result<Vec<_>>>()?.into_iter().max())
    };
    let at_first = written()?;
    wait_until("the orphan to go on writing", SOON, || match written() {
        Ok(later) if later > at_first => Ok(()),
        other => Err(format!("{other:?}, processes {:?}", pg.processes())),
    })?;
    busy.must_run()?;
    ensure!(!pg.processes().is_empty());
    pg.kill_all()?;
    ensure!(pg.processes().is_empty());
    // Reaped at once, so the lock file of the dead does not hold the next start up.
    pg.start()?;
    ensure!(pg.accepts_writes());
    Ok(())
}
