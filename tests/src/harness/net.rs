//! Hosts as network namespaces on a bridge, and cuts between them.
//!
//! ```text
//!   hub namespace          br0 ──┬── v1 ──veth── eth0   namespace of host 1, 10.99.0.1/24
//!   (the machine's own           ├── v2 ──veth── eth0   namespace of host 2, 10.99.0.2/24
//!    stack is not touched)       └── …
//! ```
//! Cuts are rules in the hub's bridge table: they hold for ARP and for the traffic of containers too, and nothing that
//! runs on a host can see or undo them. Every net has a hub of its own, so nets of families side by side do not meet.
//! Where namespaces are not allowed, [`Net::loopback`] has hosts that are loopback addresses: they cannot be cut off, but
//! [killed](Net::kill).

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use holdfast_types::BootInstant;

use super::{
    host::Host,
    logs, members,
    process::Program,
    reaper,
    time::{now, wait_until},
};
use crate::preflight;

/// `ip` and `nft` answer in milliseconds; longer means that the machine itself hangs.
const TOOL_WITHIN: Duration = Duration::from_secs(10);

/// The warden kills, unmounts and removes at most a few gigabytes.
const WARDEN_WITHIN: Duration = Duration::from_secs(30);

/// What is killed may be starting something: it is looked again until nobody is there.
const KILLED_WITHIN: Duration = Duration::from_secs(10);

const WARDEN: &str = include_str!("warden.sh");

/// Nets of this process, counted for their names.
static NETS: AtomicU32 = AtomicU32::new(0);

/// What a net's hosts are.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Namespaces,
    /// With the first three bytes of their addresses.
    Loopback([u8; 3]),
}

/// A hub, its hosts and one folder. Dropping it ends every process on its hosts and removes everything.
#[derive(Debug)]
pub struct Net {
    label: String,
    prefix: String,
    kind: Kind,
    folder: PathBuf,
    hosts: Vec<Host>,
    warden: Option<Child>,
}

impl Net {
    /// A net with a hub and no hosts. `label` names the logs that a test leaves in `target/e2e-logs`.
    ///
    /// # Errors
    /// When this machine cannot do it (no root, no namespaces, a missing program), with the reason.
    pub fn new(label: &str) -> Result<Self> {
        preflight::namespaces()?;
        let net = Self::begin(label, Kind::Namespaces)?;
        let hub = net.hub();
        ip(&["netns", "add", &hub])?;
        ip(&["-n", &hub, "link", "set", "lo", "up"])?;
        ip(&["-n", &hub, "link", "add", "br0", "type", "bridge"])?;
        ip(&["-n", &hub, "link", "set", "br0", "up"])?;
        net.nft("table bridge cut {\n  chain links {\n    type filter hook forward priority 0\n  }\n}\n")?;
        Ok(net)
    }

    /// A net of loopback addresses, without hosts yet. Its hosts share the machine's network: nothing keeps them apart.
    ///
    /// # Errors
    /// When this machine cannot do that either, with the reason.
    pub fn loopback(label: &str) -> Result<Self> {
        preflight::root()?;
        let block = members::loopback_block(std::process::id(), NETS.load(Ordering::Relaxed))?;
        Self::begin(label, Kind::Loopback(block))
    }

    fn begin(label: &str, kind: Kind) -> Result<Self> {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(|| {
            // Leftovers disturb nobody but the disk; a failure to remove them is no reason not to test.
            let _ = Self::sweep_stale();
        });
        let own = std::process::id();
        let count = NETS.fetch_add(1, Ordering::Relaxed);
        let mut net = Self {
            label: label.to_owned(),
            prefix: format!("hf{own}-{count}"),
            kind,
            folder: PathBuf::from(format!("/var/tmp/holdfast-{own}-{count}")),
            hosts: Vec::new(),
            warden: None,
        };
        fs::create_dir_all(net.logs()).with_context(|| format!("cannot make {}", net.folder.display()))?;
        // The databases' own user must get through, whatever the umask.
        fs::set_permissions(&net.folder, fs::Permissions::from_mode(0o755))?;
        fs::write(net.folder.join("owner"), process_mark(own))?;
        // Before the first namespace: from here on nothing can be left behind.
        net.warden = Some(warden(&net.prefix, &net.folder, own, Stdio::piped())?);
        Ok(net)
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.prefix)
    }

    /// What all namespaces of this net begin with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Something outside its folder that is removed with it, however it ends: a folder in /run.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn goes_with(&self, name: &str, path: &Path) -> Result<()> {
        std::os::unix::fs::symlink(path, self.folder.join(format!("goes-with-{name}")))?;
        Ok(())
    }

    /// Whether its hosts are kept apart and can be cut off.
    #[must_use]
    pub const fn isolates(&self) -> bool {
        matches!(self.kind, Kind::Namespaces)
    }

    /// Ends and removes everything of this net from outside: for a signal's handler.
    #[must_use]
    pub fn broom(&self) -> Broom {
        Broom { prefix: self.prefix.clone(), folder: self.folder.clone() }
    }

    /// A folder that is removed with the net.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where programs log to; copied to `target/e2e-logs` at the end of a test.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    /// The log of the program of that name.
    #[must_use]
    pub fn log(&self, name: &str) -> PathBuf {
        self.logs().join(format!("{name}.log"))
    }

    /// The hosts, in the order they were made.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Makes a host with the next free address.
    ///
    /// # Errors
    /// When the name is taken, the net is full or the kernel refuses.
    pub fn host(&mut self, name: &str) -> Result<Host> {
        ensure!(name != "hub" && self.hosts.iter().all(|h| h.name != name), "there is a host {name} already");
        let number =
            u8::try_from(self.hosts.len() + 1).ok().filter(|n| *n < 254).context("a net has at most 253 hosts")?;
        let (namespace, block) = match self.kind {
            Kind::Namespaces => (Some(format!("{}-{name}", self.prefix)), [10, 99, 0]),
            Kind::Loopback(block) => (None, block),
        };
        let host = Host {
            name: name.to_owned(),
            namespace,
            address: IpAddr::V4(Ipv4Addr::new(block[0], block[1], block[2], number)),
            folder: self.folder.join("hosts").join(name),
            link: format!("v{number}"),
        };
        fs::create_dir_all(&host.folder)?;
        if let Some(inside) = &host.namespace {
            self.connect(inside, &host)?;
        }
        self.hosts.push(host.clone());
        Ok(host)
    }

    fn connect(&self, inside: &str, host: &Host) -> Result<()> {
        let (hub, link) = (self.hub(), &*host.link);
        ip(&["netns", "add", inside])?;
        ip(&["-n", inside, "link", "set", "lo", "up"])?;
        // Both ends are made where they belong, so the machine's own list of links never shows them.
        ip(&["link", "add", "eth0", "netns", inside, "type", "veth", "peer", "name", link, "netns", &hub])?;
        ip(&["-n", &hub, "link", "set", link, "master", "br0", "up"])?;
        ip(&["-n", inside, "addr", "add", &format!("{}/24", host.address), "dev", "eth0"])?;
        ip(&["-n", inside, "link", "set", "eth0", "up"])
    }

    /// Kills everything that runs on a host, as a power cut does, and waits until it is gone; its disk stays. Returns the
    /// instant just before.
    ///
    /// # Errors
    /// When something is still there after ten seconds.
    pub fn kill(&self, host: &Host) -> Result<BootInstant> {
        let before = now();
        wait_until(&format!("every process on {host} to be gone"), KILLED_WITHIN, || {
            let left = members::of(host);
            // Gone between the look and the signal is what is wanted.
            left.iter().filter_map(|pid| reaper::as_pid(*pid)).for_each(|pid| {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            });
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        })?;
        Ok(before)
    }

    /// Cuts a region off: its hosts reach each other and nobody else. Returns the instant just before the cut, so that
    /// what is measured from it is never flattered.
    ///
    /// # Errors
    /// When nft refuses.
    pub fn cut_hosts(&self, region: &[&Host]) -> Result<BootInstant> {
        let region = links(region);
        self.cut(&format!(
            "add rule bridge cut links iifname {region} oifname != {region} drop\n\
             add rule bridge cut links oifname {region} iifname != {region} drop\n"
        ))
    }

    /// Cuts one host off from everybody.
    ///
    /// # Errors
    /// When nft refuses.
    pub fn isolate(&self, host: &Host) -> Result<BootInstant> {
        self.cut_hosts(&[host])
    }

    /// Cuts two groups off from each other, both ways; others reach both.
    ///
    /// # Errors
    /// When nft refuses.
    pub fn cut_between(&self, some: &[&Host], others: &[&Host]) -> Result<BootInstant> {
        let (some, others) = (links(some), links(others));
        self.cut(&format!(
            "add rule bridge cut links iifname {some} oifname {others} drop\n\
             add rule bridge cut links iifname {others} oifname {some} drop\n"
        ))
    }

    /// Loses what `from` sends to `to`; the other way stays open.
    ///
    /// # Errors
    /// When nft refuses.
    pub fn oneway(&self, from: &Host, to: &Host) -> Result<BootInstant> {
        self.cut(&format!("add rule bridge cut links iifname {} oifname {} drop\n", from.link, to.link))
    }

    /// Undoes every cut. Returns the instant just before.
    ///
    /// # Errors
    /// When nft refuses.
    pub fn heal(&self) -> Result<BootInstant> {
        self.cut("flush chain bridge cut links\n")
    }

    /// One `nft -f`, so that all rules of a cut take effect in the same instant.
    fn cut(&self, rules: &str) -> Result<BootInstant> {
        ensure!(self.isolates(), "hosts that are loopback addresses cannot be cut off, only killed");
        let before = now();
        self.nft(rules)?;
        Ok(before)
    }

    fn nft(&self, rules: &str) -> Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(rules.as_bytes())?;
        let net = format!("--net=/run/netns/{}", self.hub());
        let output = Program::new("nsenter").arg(net).args(["nft", "-f"]).arg(file.path()).run(TOOL_WITHIN)?;
        output.well().with_context(|| format!("nft rules:\n{rules}"))?;
        Ok(())
    }

    /// Removes what processes left that were killed together with their wardens.
    ///
    /// # Errors
    /// When the folders cannot be listed.
    pub fn sweep_stale() -> Result<()> {
        let mut stale = BTreeSet::new();
        for (folder, before) in [("/var/tmp", "holdfast-"), ("/run/netns", "hf")] {
            let Ok(entries) = fs::read_dir(folder) else { continue };
            for entry in entries {
                let name = entry?.file_name().to_string_lossy().into_owned();
                stale.extend(name.strip_prefix(before).and_then(owner_and_count));
            }
        }
        for (owner, count) in stale {
            let folder = PathBuf::from(format!("/var/tmp/holdfast-{owner}-{count}"));
            if begun(owner).is_some_and(|begun| recorded(&folder).is_none_or(|recorded| recorded == begun)) {
                continue;
            }
            Broom { prefix: format!("hf{owner}-{count}"), folder }.sweep(owner)?;
        }
        Ok(())
    }
}

/// Ends and removes everything of a net, whoever owns it.
#[derive(Debug, Clone)]
pub struct Broom {
    prefix: String,
    folder: PathBuf,
}

impl Broom {
    /// Ends and removes everything of a net of this process.
    ///
    /// # Errors
    /// When the warden cannot be started.
    pub fn sweep_own(&self) -> Result<()> {
        self.sweep(std::process::id())
    }

    fn sweep(&self, owner: u32) -> Result<()> {
        let child = warden(&self.prefix, &self.folder, owner, Stdio::null())?;
        reaper::wait(child.id(), WARDEN_WITHIN);
        reaper::forget(child.id());
        Ok(())
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        keep_logs(&self.logs(), &self.label);
        if let Some(mut warden) = self.warden.take() {
            // The end of its standard input is what it waits for.
            drop(warden.stdin.take());
            reaper::wait(warden.id(), WARDEN_WITHIN);
            reaper::forget(warden.id());
        }
    }
}

#[expect(clippy::print_stderr, reason = "shown only with a test that failed")]
fn keep_logs(logs: &Path, label: &str) {
    match logs::keep(logs, label) {
        Ok(Some(kept)) => eprintln!("logs of {label}: {}", kept.display()),
        Ok(None) => {}
        Err(error) => eprintln!("logs of {label} are lost: {error}"),
    }
}

fn warden(prefix: &str, folder: &Path, owner: u32, input: Stdio) -> Result<Child> {
    let mut command = Command::new("bash");
    command.args(["-c", WARDEN, "warden", prefix]).arg(folder).arg(owner.to_string());
    command.current_dir("/").stdin(input).stdout(Stdio::null()).stderr(Stdio::null());
    // Its own group: an interrupt typed at the terminal must not reach it.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    reaper::spawn(&mut command).context("cannot start the warden")
}

fn ip(args: &[&str]) -> Result<()> {
    Program::new("ip").args(args).run(TOOL_WITHIN)?.well().map(drop)
}

/// `{ v1, v2 }`, as nft writes a set.
fn links(hosts: &[&Host]) -> String {
    let names: Vec<&str> = hosts.iter().map(|h| &*h.link).collect();
    format!("{{ {} }}", names.join(", "))
}

/// When a process began, in the kernel's ticks since boot; nothing when there is no such process.
fn begun(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets and may hold blanks; the start is the 22nd.
    stat.rsplit_once(") ")?.1.split_whitespace().nth(19)?.parse().ok()
}

/// A process by number and start: a number alone is used again.
pub(crate) fn process_mark(pid: u32) -> String {
    format!("{pid} {}", begun(pid).unwrap_or_default())
}

/// When the owner of a folder began, as it wrote it down itself: a process id alone is used again.
fn recorded(folder: &Path) -> Option<u64> {
    fs::read_to_string(folder.join("owner")).ok()?.split_whitespace().nth(1)?.parse().ok()
}

/// `123-0` or `123-0-use-db1` → (123, 0).
fn owner_and_count(name: &str) -> Option<(u32, u32)> {
    let mut parts = name.split('-');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leftover_names_its_owner() {
        assert_eq!(owner_and_count("123-4"), Some((123, 4)));
        assert_eq!(owner_and_count("123-4-use-db1"), Some((123, 4)));
        assert_eq!(owner_and_count("demo"), None);
    }

    #[test]
    fn a_process_that_lives_has_a_beginning() {
        assert!(begun(std::process::id()).is_some());
        assert_eq!(begun(u32::MAX), None);
    }
}
