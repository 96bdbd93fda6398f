//! Hosts that are booted from disks of their own, to be set up as the README says: Holdfast from its packages, its
//! daemons as units, PostgreSQL as a unit of the machine.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::{
    disk::Disk,
    guarded::{Guarded, Settings},
    host::Host,
    machine::Machine,
    net::Net,
    readme::Typed,
    unit::Unit,
};
use crate::workload::Watched;

/// One command of a person: a package is unpacked, a unit is started.
const TYPED_WITHIN: Duration = Duration::from_secs(90);
/// What stands in the README for installing.
const INSTALL: &str = "sudo make install";

/// The packages of this build, in versions that follow each other.
#[derive(Debug, Clone, Copy)]
pub enum Release {
    /// What is installed first.
    First,
    /// What it is upgraded to.
    Next,
}

/// The folder with the packages of a release; `tests/suite.sh` makes them.
///
/// # Errors
/// When they were not made.
pub fn packages(release: Release) -> Result<PathBuf> {
    let name = match release {
        Release::First => "first",
        Release::Next => "next",
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/packages").join(name);
    let folder = folder.canonicalize().with_context(|| {
        format!("no packages in {}; `tests/suite.sh e2e packages` makes them before it runs this", folder.display())
    })?;
    Ok(folder)
}

/// The fleet on booted hosts. Dropped in this order, the net last.
#[derive(Debug)]
pub struct Installed {
    machines: BTreeMap<String, Machine>,
    disks: BTreeMap<String, Disk>,
    /// Hosts, databases, proxies, and its operator's questions.
    pub guarded: Guarded,
}

impl Installed {
    /// Boots every host, with nothing of Holdfast on it. Its databases run as units.
    ///
    /// # Errors
    /// What did not come up.
    pub fn boot(label: &str, settings: Settings) -> Result<Self> {
        let mut guarded = Guarded::bare_on(Net::new(label)?, settings, &mut |_, _| {})?;
        for (name, release) in [("first", Release::First), ("next", Release::Next)] {
            let folder = guarded.fleet.net.folder().join(name);
            fs::create_dir_all(&folder)?;
            for entry in fs::read_dir(packages(release)?)? {
                let entry = entry?;
                fs::copy(entry.path(), folder.join(entry.file_name()))?;
            }
        }
        let hosts = guarded.fleet.hosts().map(Clone::clone);
        let third = guarded.fleet.third.clone();
        let mut disks = BTreeMap::new();
        for host in &hosts {
            let disk = Disk::new(&guarded.fleet.net, host, &[("c1.example", &third)])?;
            if let Some(declared) = guarded.declared_unit(host) {
                disk.write("etc/holdfast/agent.toml", &declared)?;
            }
            disks.insert(host.name.clone(), disk);
        }
        let net = &guarded.fleet.net;
        let machines = thread::scope(|scope| {
            let boots = hosts.each_ref().map(|host| {
                let disk = &disks[&host.name];
                scope.spawn(move || Machine::boot_disk(net, host, disk).map(|machine| (host.name.clone(), machine)))
            });
            let ends = boots.map(|boot| boot.join().map_err(|_| anyhow::anyhow!("a boot panicked")).flatten());
            ends.into_iter().collect::<Result<BTreeMap<_, _>>>()
        })?;
        guarded.fleet.enter(&third, &machines[&third.name]);
        for region in [&guarded.fleet.east, &guarded.fleet.west] {
            Unit::default().move_in(&region.pg, &machines[&region.db.name])?;
        }
        guarded.fleet.west.pg.wait_streaming()?;
        let spec = guarded.spec_of_unit();
        fs::write(guarded.fleet.net.folder().join("first/smellpin.yaml"), spec)?;
        Ok(Self { machines, disks, guarded })
    }

    /// The booted machine of a host.
    #[must_use]
    pub fn machine(&self, host: &Host) -> &Machine {
        &self.machines[&host.name]
    }

    /// The disk of a host.
    #[must_use]
    pub fn disk(&self, host: &Host) -> &Disk {
        &self.disks[&host.name]
    }

    /// Types a line on every host that it is for, in a folder that holds the packages and the app spec. Questions are
    /// answered with yes. What was printed, host by host.
    ///
    /// # Errors
    /// When it fails anywhere, with what was said.
    pub fn types(&self, line: &Typed) -> Result<Vec<String>> {
        let mut printed = Vec::new();
        for host in self.guarded.fleet.hosts() {
            let called = if *host == self.guarded.fleet.third { "c1" } else { &*host.name };
            if !line.is_for(called) {
                continue;
            }
            // The README itself says so: packages stand for a build on the server.
            let install = match called {
                "c1" => "sudo dpkg -i holdfast_*.deb holdfast-coordinator_*.deb",
                _ => "sudo dpkg -i holdfast-agent_*.deb",
            };
            printed.push(self.shell(host, &line.command.replace(INSTALL, install))?);
        }
        ensure!(!printed.is_empty(), "nobody types {line:?}");
        Ok(printed)
    }

    /// Types a line on one host.
    ///
    /// # Errors
    /// When it fails, with what was said.
    pub fn shell(&self, host: &Host, command: &str) -> Result<String> {
        let folder = self.guarded.fleet.net.folder().join("first");
        let line = format!("cd {} && export HOME=/root HOLDFAST_YES=true && {command}", folder.display());
        self.machine(host).shell(&line, TYPED_WITHIN)?.well().with_context(|| format!("{host}$ {command}"))
    }

    /// Begins to watch the app under load.
    ///
    /// # Errors
    /// When it is not served.
    pub fn watch(&self) -> Result<Watched> {
        Watched::begin(&self.guarded.fleet)
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        // Kept with the other logs: a journal goes with its machine.
        for (host, machine) in &self.machines {
            if let Ok(journal) = machine.run("journalctl", &["--quiet", "--no-pager", "--output=short-precise"]) {
                let _ = fs::write(self.guarded.fleet.net.log(&format!("journal-{host}")), journal);
            }
        }
    }
}
