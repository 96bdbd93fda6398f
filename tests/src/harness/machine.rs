//! A host that is booted: systemd as its first process, with process ids, mounts and cgroups of its own.
//!
//! Nothing is downloaded and nothing copied: the machine's own `/usr` is what it boots, read-only, and everything else is
//! fresh and in memory; or it boots from a [`Disk`], onto which something is to be installed. The host's network namespace, the net's folder and the programs under test are the same inside
//! and outside, so that a test looks at it from outside like at any host.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::{
    disk::Disk,
    host::Host,
    members,
    net::Net,
    process::{Output, Process, Program},
    reaper,
    time::wait_until,
};
use crate::preflight;

/// Half a second on a quiet machine.
const BOOTED_WITHIN: Duration = Duration::from_secs(60);
/// One program inside.
const CALL_WITHIN: Duration = Duration::from_secs(60);
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// What is booted: a unit that is to start at boot is wanted by it.
pub const TARGET: &str = "host.target";
/// The user of an agent without rights, inside.
pub const AGENT: &str = "holdfast-agent";
/// Its number, which no user of the machine has.
pub const AGENT_ID: u32 = 64_123;

/// Enters the cgroup of its own, in every hierarchy that systemd keeps its units in, and becomes systemd-nspawn: two
/// machines in one cgroup would take each other's units for their own.
const BEGIN: &str = r#"name=$1; shift
for at in $(awk '$3 == "cgroup2" || ($3 == "cgroup" && $4 ~ /name=systemd/) { print $2 }' /proc/self/mounts); do
  mkdir -p "$at/$name" && echo $$ >"$at/$name/cgroup.procs" || exit 1
done
exec systemd-nspawn "$@""#;

/// A booted host. Dropping it is a power cut.
#[derive(Debug)]
pub struct Machine {
    host: Host,
    name: String,
    units: PathBuf,
    /// The first process inside, as it is called outside.
    leader: u32,
    nspawn: Process,
}

impl Machine {
    /// Boots a host. `programs` is a folder that is there inside as well.
    ///
    /// # Errors
    /// When systemd-nspawn is missing or it does not boot, with the end of its log.
    pub fn boot(net: &Net, host: &Host, programs: &Path) -> Result<Self> {
        // No more than what units stand on and what a test enables: no service of the machine's own is wanted.
        let folder = net.folder().join(format!("machine-{}", host.name));
        fs::create_dir_all(folder.join("units"))?;
        fs::write(folder.join("units").join(TARGET), "[Unit]\nRequires=basic.target\nAfter=basic.target\n")?;
        let users = folder.join("passwd");
        let agent = format!("{AGENT}:x:{AGENT_ID}:{AGENT_ID}::/nonexistent:/usr/sbin/nologin\n");
        fs::write(&users, fs::read_to_string("/etc/passwd")? + &agent)?;
        let options = ["--directory=/", "--volatile=yes", "--bind-ro=/etc/group"];
        let mut options: Vec<OsString> = options.map(OsString::from).into();
        options.push(bind("bind-ro", &users, Path::new("/etc/passwd")));
        options.push(bind("bind-ro", programs, programs));
        Self::boot_from(net, host, "bind", &options, &[&format!("--unit={TARGET}")], "basic.target")
    }

    /// Boots a host from a disk of its own, with all that is enabled there.
    ///
    /// # Errors
    /// As [`Machine::boot`].
    pub fn boot_disk(net: &Net, host: &Host, disk: &Disk) -> Result<Self> {
        let mut root = OsString::from("--directory=");
        root.push(disk.root());
        Self::boot_from(net, host, "bind", &[root, "--resolv-conf=off".into()], &[], "multi-user.target")
    }

    fn boot_from(
        net: &Net,
        host: &Host,
        units_how: &str,
        options: &[OsString],
        systemd: &[&str],
        target: &str,
    ) -> Result<Self> {
        ensure!(net.isolates(), "a booted machine needs a network namespace of its own");
        preflight::program("systemd-nspawn")
            .context("booted machines need it; tests/preflight.sh --with-docker installs it")?;
        let folder = net.folder().join(format!("machine-{}", host.name));
        let (units, id) = (folder.join("units"), folder.join("machine-id"));
        fs::create_dir_all(&units)?;
        // With an id this is no first boot, at which systemd would start whatever is installed on the machine.
        if !id.exists() {
            let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
            fs::write(&id, uuid.replace('-', ""))?;
        }
        let name = format!("{}-{}", net.prefix(), host.name);
        let nspawn = Program::new("bash")
            .args(["-c", BEGIN, "machine", &name, "--register=no", "--keep-unit"])
            .args(options)
            .args(["--console=pipe", "--kill-signal=SIGRTMIN+4", "--link-journal=no", "--machine", &name])
            .arg(format!("--hostname={}", host.name))
            .arg(bind("bind-ro", &id, Path::new("/etc/machine-id")))
            .arg(bind(units_how, &units, Path::new("/etc/systemd/system")))
            .arg(bind("bind", net.folder(), net.folder()))
            .args(["--boot", "--"])
            .args(systemd)
            .on(host)
            .start("systemd-nspawn", &net.log(&format!("machine-{}", host.name)))?;
        let leader = wait_until(&format!("{host} to have a first process"), BOOTED_WITHIN, || {
            nspawn.must_run().map_err(|e| format!("{e:#}"))?;
            members::of(host).into_iter().find(|pid| is_first(*pid)).ok_or_else(|| nspawn.tail())
        })?;
        let machine = Self { host: host.clone(), name, units, leader, nspawn };
        wait_until(&format!("{host} to be booted"), BOOTED_WITHIN, || {
            machine.nspawn.must_run().map_err(|e| format!("{e:#}"))?;
            let state = machine.run("systemctl", &["is-active", target]).map_err(|e| format!("{e:#}"))?;
            if state.trim() == "active" { Ok(()) } else { Err(state) }
        })?;
        Ok(machine)
    }

    /// Runs a program inside to its end; what it prints.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn run(&self, program: &str, args: &[&str]) -> Result<String> {
        Program::new(program).args(args).through(&self.inside()).run(CALL_WITHIN)?.well()
    }

    /// Runs a line in a shell inside, as root would type it there; how it ended and what it said.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn shell(&self, line: &str, within: Duration) -> Result<Output> {
        Program::new("bash").args(["-c", line]).through(&self.inside()).run(within)
    }

    /// What the journal holds of a unit, as `journalctl` has it with these further arguments.
    ///
    /// # Errors
    /// When there is no journal.
    pub fn journal(&self, unit: &str, args: &[&str]) -> Result<String> {
        let all = [&["--quiet", "--no-pager", "--output=cat", "--unit", unit], args].concat();
        self.run("journalctl", &all)
    }

    /// One property of a unit, as `systemctl show` has it.
    ///
    /// # Errors
    /// When systemd does not answer.
    pub fn property(&self, unit: &str, property: &str) -> Result<String> {
        let shown = self.run("systemctl", &["show", "--property", property, "--value", "--", unit])?;
        Ok(shown.trim().to_owned())
    }

    /// Makes a unit known to systemd.
    ///
    /// # Errors
    /// When systemd does not take it, or has something to say about it.
    pub fn add_unit(&self, unit: &str, text: &str) -> Result<()> {
        self.write_unit(unit, text)?;
        // It ends well also when it has found something.
        let verify = Program::new("systemd-analyze").args(["verify", "--man=no", "--recursive-errors=no", unit]);
        let found = verify.through(&self.inside()).run(CALL_WITHIN)?;
        ensure!(found.ended.well() && !found.stderr.contains(unit), "{unit}: {}", found.stderr);
        self.run("systemctl", &["daemon-reload"]).map(drop)
    }

    /// Writes a unit; the next that is added makes it known.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_unit(&self, unit: &str, text: &str) -> Result<()> {
        Ok(fs::write(self.units.join(unit), text)?)
    }

    /// `kill -9` of a unit's main process, as anybody could: systemd is not asked.
    ///
    /// # Errors
    /// When it has none.
    pub fn kill9_main(&self, unit: &str) -> Result<()> {
        let main = self.property(unit, "MainPID")?;
        ensure!(main != "0", "{unit} does not run");
        self.run("kill", &["-KILL", &main]).map(drop)
    }

    /// Takes systemd's time away (SIGSTOP): it answers nobody, and what it runs goes on.
    ///
    /// # Errors
    /// When it is gone.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    /// When it is gone.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let leader = reaper::as_pid(self.leader).filter(|_| is_first(self.leader));
        let leader = leader.with_context(|| format!("systemd of {} is gone", self.host))?;
        Ok(rustix::process::kill_process(leader, signal)?)
    }

    /// Every process of a unit, by the kernel's word: those in its cgroup.
    #[must_use]
    pub fn processes(&self, unit: &str) -> BTreeSet<u32> {
        let end = format!("/{unit}");
        let is_in = |pid: &u32| {
            let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            // A zombie is nobody.
            cgroups.lines().any(|line| line.ends_with(&end)) && fs::read_link(format!("/proc/{pid}/exe")).is_ok()
        };
        members::of(&self.host).into_iter().filter(is_in).collect()
    }

    /// The words that lead inside. Whoever is started by them dies with nsenter, which cannot become it: a process id of
    /// another namespace takes a fork.
    pub(super) fn inside(&self) -> Vec<OsString> {
        let leader = self.leader.to_string();
        let nsenter = ["nsenter", "--target", &leader, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--"];
        let dies = ["setpriv", "--pdeathsig", "KILL", "--"];
        nsenter.into_iter().chain(dies).map(OsString::from).collect()
    }

    /// The same as [`Self::of_its_own`], as the user of an agent without rights.
    pub(super) fn of_its_own_without_rights(&self) -> Vec<OsString> {
        let (user, group) = (format!("--reuid={AGENT_ID}"), format!("--regid={AGENT_ID}"));
        let becomes = ["setpriv", &user, &group, "--clear-groups", "--pdeathsig", "KILL", "--"].map(OsString::from);
        self.of_its_own().into_iter().chain(becomes).collect()
    }

    /// The same into a cgroup of its own, where a service would be.
    pub(super) fn of_its_own(&self) -> Vec<OsString> {
        let scope = ["systemd-run", "--scope", "--quiet", "--collect", "--"].map(OsStr::new);
        self.inside().into_iter().chain(scope.map(OsStr::to_owned)).collect()
    }
}

fn bind(how: &str, from: &Path, to: &Path) -> OsString {
    let mut option = OsString::from(format!("--{how}="));
    option.push(from);
    option.push(":");
    option.push(to);
    option
}

/// Whether a process is the first one of a namespace below ours.
fn is_first(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    numbers.is_some_and(|n| n.split_whitespace().count() > 1 && n.split_whitespace().next_back() == Some("1"))
}

impl Drop for Machine {
    fn drop(&mut self) {
        // With its first process all of it ends. The net's warden does the same again.
        let _ = self.signal(Signal::KILL);
        let _ = self.nspawn.wait(GONE_WITHIN);
        let _ = fs::remove_dir(Path::new("/run/systemd/nspawn/propagate").join(&self.name));
    }
}
