//! Holdfast installed from its Debian packages on booted hosts, as the README says: what its nine commands lead to, what
//! the daemons say in the journal, what happens to an app when its agent is killed, hangs or is upgraded, and what a
//! purge leaves.

use std::{collections::BTreeSet, fs, time::Duration};

use anyhow::{Context, Result, ensure};
use holdfast_tests::{
    harness::{
        Disk, Host, Installed, Machine, Net, Release, Settings, Unit,
        fleet::OUTSIDE,
        installed,
        operator::APP,
        readme::{self, Typed},
        wait_asking, wait_until,
    },
    workload::{Watched, longest_gap, lost_in},
};

/// For what takes a second or two on a quiet machine.
const SOON: Duration = Duration::from_secs(60);
/// Several rounds of the fast preset, one each second.
const QUIET_FOR: Duration = Duration::from_secs(6);
/// A lease of the fast preset. A pause as long as that would have been a fence.
const LEASE: Duration = Duration::from_secs(3);
const AGENT: &str = "holdfast-agent.service";

fn units(installed: &Installed) -> Vec<(&Host, &'static str)> {
    let third = &installed.guarded.fleet.third;
    let unit = |host: &Host| if host == third { "holdfast-coordinator.service" } else { AGENT };
    installed.guarded.fleet.hosts().map(|host| (host, unit(host))).into()
}

/// Everything that the daemons have said so far at this priority or above.
fn said(installed: &Installed, priority: &str) -> Result<String> {
    let mut said = String::new();
    for (host, unit) in units(installed) {
        // What systemd says of the unit is filed with it, too.
        let own = format!("SYSLOG_IDENTIFIER={}", unit.trim_end_matches(".service"));
        let lines = installed.machine(host).journal(unit, &["--priority", priority, &own])?;
        said.extend(lines.lines().map(|line| format!("{}: {line}\n", host.name)));
    }
    Ok(said)
}

/// Types the README's nine commands; the join line is the one that the coordinator prints.
fn follow_the_readme(installed: &Installed) -> Result<()> {
    let typed = readme::commands_below("From zero to a guarded app")?;
    ensure!(typed.len() == 9, "{typed:?}");
    let mut join = String::new();
    for line in &typed {
        let command = match line.command.split_once(" && sudo holdfast-agent join ") {
            Some((install, _)) => format!("{install} && {join}"),
            None => line.command.clone(),
        };
        if line.command.starts_with("holdfast failover") {
            // The one condition that a region which serves does not meet; the README says so.
            let args: Vec<_> = line.command.split_whitespace().skip(1).collect();
            let said = installed.guarded.holdfast(&args)?;
            let closed = said.stderr.matches('✘').count();
            ensure!(said.status() == Some(7) && closed == 1 && said.stderr.contains("life seen ✘"), "{said:?}");
            continue;
        }
        let printed = installed.types(&Typed { on: line.on.clone(), command })?;
        if line.command.starts_with("holdfast token create") {
            join = printed
                .concat()
                .lines()
                .find(|l| l.starts_with("sudo holdfast-agent join "))
                .context("no line")?
                .to_owned();
        }
        if line.command.contains("--region us-west") {
            // "and the same on usw-*"
            let command = format!("sudo make install && {join}");
            installed.types(&Typed { on: "usw-*".to_owned(), command })?;
            installed.guarded.wait_hosts(4)?;
        }
        if line.command.starts_with("holdfast apply") {
            let why = || format!("{:?}", installed.guarded.holdfast(&["why", APP]).map(|said| said.stdout));
            installed.guarded.wait_ready(APP, "us-west").with_context(why)?;
        }
    }
    Ok(())
}

/// Nobody starts a declared database without a lease, not systemd either.
fn systemd_asks(installed: &Installed) -> Result<()> {
    let fleet = &installed.guarded.fleet;
    for (host, region) in [(&fleet.east.db, "us-east"), (&fleet.west.db, "us-west")] {
        let asks = installed.machine(host).property(&Unit::name(region), "ExecCondition")?;
        ensure!(asks.contains("holdfast-helper may-start"), "{host}: {asks:?}");
    }
    Ok(())
}

/// While nothing changes nothing is said.
fn is_quiet(installed: &Installed) -> Result<()> {
    let clock = holdfast_tests::harness::now;
    let mut last = (said(installed, "info")?, clock());
    ensure!(last.0.contains("lease taken up app=smellpin"), "the journal is not theirs: {}", last.0);
    wait_asking(&format!("{QUIET_FOR:?} without a line"), SOON, || {
        let now = said(installed, "info").map_err(|e| format!("{e:#}"))?;
        if now != last.0 {
            last = (now, clock());
        }
        let lines: Vec<_> = last.0.lines().rev().take(3).collect();
        if clock().since(last.1) >= QUIET_FOR { Ok(()) } else { Err(lines.join("\n")) }
    })
}

/// The agent of us-east's database runs again as another process, and the app is served as before.
fn agent_is_back(installed: &Installed, watched: &Watched, before: &str) -> Result<()> {
    let machine = installed.machine(&installed.guarded.fleet.east.db);
    wait_until("the agent to run again", SOON, || {
        let (main, state) = (machine.property(AGENT, "MainPID"), machine.property(AGENT, "ActiveState"));
        let seen = format!("main process {main:?}, was {before}, {state:?}");
        let back = main.is_ok_and(|m| m != "0" && m != before) && state.is_ok_and(|s| s == "active");
        if back { Ok(()) } else { Err(seen) }
    })?;
    for writer in [OUTSIDE, "inside-us-east", "busy-us-east"] {
        watched.ledger.wait_more(writer, 20, SOON)?;
    }
    installed.guarded.wait_hosts(4)?;
    let row = installed.guarded.wait_served_in("us-east", SOON)?;
    ensure!(row["generation"] == 1, "it was fenced: {row}");
    Ok(())
}

#[test]
fn nine_commands_lead_to_a_guarded_app_that_a_killed_hung_or_upgraded_agent_does_not_disturb() -> Result<()> {
    let installed = Installed::boot("packages", Settings::default())?;
    follow_the_readme(&installed)?;
    systemd_asks(&installed)?;
    is_quiet(&installed)?;

    let machine = installed.machine(&installed.guarded.fleet.east.db);
    let main = || machine.property(AGENT, "MainPID");
    let watched = installed.watch()?;
    let before = main()?;
    machine.kill9_main(AGENT)?;
    agent_is_back(&installed, &watched, &before)?;
    let before = main()?;
    machine.run("kill", &["-STOP", &before])?;
    agent_is_back(&installed, &watched, &before)?;
    let result = machine.run("journalctl", &["--quiet", "--no-pager", "--output=cat", "--unit", AGENT])?;
    ensure!(result.contains("result 'watchdog'"), "it was not the watchdog: {result}");
    let before = main()?;
    installed.shell(&installed.guarded.fleet.east.db, "sudo dpkg -i ../next/holdfast-agent_*.deb")?;
    agent_is_back(&installed, &watched, &before)?;

    ensure!(installed.guarded.operations()?.is_empty(), "something was moved");
    let (ledger, rose) = watched.end()?;
    ensure!(!rose, "us-west was seen as primary");
    let lost = lost_in(&installed.guarded.fleet.east.pg, &ledger.acks())?;
    ensure!(lost.is_empty(), "{lost:?}");
    let gap = longest_gap(&ledger.acks_of(OUTSIDE));
    ensure!(gap < LEASE, "no write was acknowledged for {gap:?}");
    let errors = said(&installed, "err")?;
    ensure!(errors.is_empty(), "{errors}");
    Ok(())
}

#[test]
fn a_purge_leaves_nothing_of_what_was_installed_and_run() -> Result<()> {
    let mut net = Net::new("packages-purge")?;
    let host = net.host("c1")?;
    let disk = Disk::new(&net, &host, &[("c1.example", &host)])?;
    for entry in fs::read_dir(installed::packages(Release::First)?)? {
        let entry = entry?;
        fs::copy(entry.path(), net.folder().join(entry.file_name()))?;
    }
    let machine = Machine::boot_disk(&net, &host, &disk)?;
    let people = || -> Result<BTreeSet<String>> {
        let text = machine.run("getent", &["passwd"])? + &machine.run("getent", &["group"])?;
        Ok(text.lines().map(str::to_owned).collect())
    };
    let (files, known) = (disk.changed()?, people()?);
    let types = |line: &str| {
        machine.shell(&format!("cd {} && export HOME=/root && {line}", net.folder().display()), SOON)?.well()
    };
    types("sudo dpkg -i *.deb")?;
    types("sudo holdfast-coordinator init --cluster acme --address c1.example:7443")?;
    types("sudo systemctl enable --now holdfast-coordinator")?;
    wait_asking("the coordinator to answer", SOON, || types("holdfast status").map_err(|e| format!("{e:#}")))?;
    types(
        "install -d /etc/holdfast && printf '[[writers]]\nunit = \"pg.service\"\ndata_dir = \"/srv/pg\"\n' >/etc/holdfast/agent.toml",
    )?;
    types("$(holdfast token create --region us-east)")?;
    wait_asking("the host to be there", SOON, || {
        let hosts = types("holdfast hosts").map_err(|e| format!("{e:#}"))?;
        if hosts.contains("live") { Ok(()) } else { Err(hosts) }
    })?;
    types(
        "mkdir -p /etc/systemd/system/holdfast-agent.service.d && printf '[Service]\\nNice=-1\\n' >/etc/systemd/system/holdfast-agent.service.d/own.conf",
    )?;
    ensure!(disk.changed()?.contains("var/lib/holdfast-agent/identity.toml"), "it was not installed");
    types("grep may-start /etc/systemd/system/pg.service.d/50-holdfast.conf")?;

    types("sudo dpkg --purge holdfast holdfast-agent holdfast-coordinator")?;
    let left: Vec<_> = disk.changed()?.difference(&files).cloned().collect();
    let left: Vec<_> = left.iter().filter(|file| !is_of_the_users_files(file)).collect();
    ensure!(left.is_empty(), "{left:?}");
    let now = people()?;
    ensure!(now == known, "{:?}", now.symmetric_difference(&known));
    let run = types(
        "ls -d /run/holdfast* /etc/systemd/system/holdfast* /etc/systemd/system/*/*holdfast* 2>/dev/null || true",
    )?;
    ensure!(run.is_empty(), "{run}");
    let units = types(
        "systemctl list-units --all --no-legend 'holdfast*'; systemctl list-unit-files --no-legend 'holdfast*' || true",
    )?;
    ensure!(units.is_empty(), "{units}");
    Ok(())
}

/// The files in which users stand change their order and have copies; who stands in them is compared apart.
fn is_of_the_users_files(file: &str) -> bool {
    let names = ["passwd", "group", "shadow", "gshadow", "subuid", "subgid"];
    file == "etc/.pwd.lock" || names.iter().any(|name| file == format!("etc/{name}") || file == format!("etc/{name}-"))
}
