//! Holdfast installed from its Debian packages on a booted host: what a purge leaves.

use std::{collections::BTreeSet, fs, time::Duration};

use anyhow::{Result, ensure};
use holdfast_tests::harness::{Disk, Machine, Net, Release, installed, wait_asking};

/// For what takes a second or two on a quiet machine.
const SOON: Duration = Duration::from_secs(60);

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
    types("$(holdfast token create --region us-east)")?;
    wait_asking("the host to be there", SOON, || {
        let hosts = types("holdfast hosts").map_err(|e| format!("{e:#}"))?;
        if hosts.contains("live") { Ok(()) } else { Err(hosts) }
    })?;
    types(
        "mkdir -p /etc/systemd/system/holdfast-agent.service.d && printf '[Service]\\nNice=-1\\n' >/etc/systemd/system/holdfast-agent.service.d/own.conf",
    )?;
    ensure!(disk.changed()?.iter().any(|file| file == "var/lib/holdfast-agent/identity.toml"), "it was not installed");

    types("sudo dpkg --purge holdfast holdfast-agent holdfast-coordinator")?;
    let left: Vec<_> = disk.changed()?.difference(&files).cloned().collect();
    let left: Vec<_> = left.iter().filter(|file| !is_of_the_users_files(file)).collect();
    ensure!(left.is_empty(), "{left:?}");
    let now = people()?;
    ensure!(now == known, "{:?}", now.symmetric_difference(&known));
    let run = types(
        "ls -d /run/holdfast* /etc/systemd/system/holdfast* /etc/systemd/system/*/holdfast* 2>/dev/null || true",
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
