//! The kernel's own figures. Reads files below `/proc` and asks each file system that lies on a device for its size.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
};

use holdfast_proto::v1;
use procfs::{Current as _, CurrentSI as _, process::MountInfo};
use rustix::fs::{StatVfsMountFlags, statvfs};

/// File systems that are told, the shortest mount points first. A host with more has them by a program's doing.
pub(super) const FILE_SYSTEMS_MAX: usize = 32;
/// Interfaces that are told.
pub(super) const INTERFACES_MAX: usize = 32;
/// Types that may wait for another machine: such a file system hangs when that one is gone, and is that one's.
const REMOTE: [&str; 9] = ["nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs", "9p", "afs", "lustre"];
/// Types that lie on a device although the kernel gives them a number that looks like none.
const OF_DEVICES: [&str; 3] = ["btrfs", "zfs", "bcachefs"];

/// Everything that can be read of this host; what cannot be read is not set.
pub(super) fn look() -> v1::HostMetrics {
    v1::HostMetrics {
        cpu: cpu(),
        memory: memory(),
        file_systems: file_systems(),
        interfaces: interfaces(),
        load: load(),
        pressures: pressures(Path::new("/proc/pressure")),
        files: files(),
        agent: agent(),
        ..v1::HostMetrics::default()
    }
}

/// Ticks to hundredths of a second; a tick is one on every machine of today.
fn hundredths(ticks: u64) -> u64 {
    match procfs::ticks_per_second() {
        0 | 100 => ticks,
        per_second => ticks.saturating_mul(100) / per_second,
    }
}

fn cpu() -> Option<v1::CpuTimes> {
    let stat = procfs::KernelStats::current().ok()?;
    let all = &stat.total;
    let since = |ticks: Option<u64>| hundredths(ticks.unwrap_or(0));
    Some(v1::CpuTimes {
        cpus: u32::try_from(stat.cpu_time.len()).unwrap_or(u32::MAX),
        user: hundredths(all.user),
        nice: hundredths(all.nice),
        system: hundredths(all.system),
        idle: hundredths(all.idle),
        iowait: since(all.iowait),
        irq: since(all.irq),
        softirq: since(all.softirq),
        steal: since(all.steal),
    })
}

fn memory() -> Option<v1::MemoryUse> {
    let memory = procfs::Meminfo::current().ok()?;
    Some(v1::MemoryUse {
        size: memory.mem_total,
        // Kernels before 3.14 do not say; what is free and cached is what they would.
        available: memory.mem_available.unwrap_or(memory.mem_free.saturating_add(memory.cached)),
        free: memory.mem_free,
        cached: memory.cached,
        swap_size: memory.swap_total,
        swap_free: memory.swap_free,
    })
}

fn load() -> Option<v1::Load> {
    let load = procfs::LoadAverage::current().ok()?;
    let hundredths = |value: f32| {
        let value = (value * 100.0).round();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what fits")]
        let whole = value.clamp(0.0, 1e9) as u32;
        whole
    };
    Some(v1::Load { one: hundredths(load.one), five: hundredths(load.five), fifteen: hundredths(load.fifteen) })
}

fn files() -> Option<v1::OpenFiles> {
    let files = procfs::sys::fs::file_nr().ok()?;
    Some(v1::OpenFiles { open: files.allocated.saturating_sub(files.free), limit: files.max })
}

fn agent() -> Option<v1::AgentUse> {
    let stat = procfs::process::Process::myself().and_then(|own| own.stat()).ok()?;
    Some(v1::AgentUse {
        resident_bytes: stat.rss.saturating_mul(procfs::page_size()),
        cpu: hundredths(stat.utime.saturating_add(stat.stime)),
    })
}

/// Kernels without pressure information have no such folder, and some have files in it that cannot be read.
fn pressures(folder: &Path) -> Vec<v1::Pressure> {
    let resources = [
        ("cpu", v1::PressureResource::Cpu),
        ("memory", v1::PressureResource::Memory),
        ("io", v1::PressureResource::Io),
    ];
    let read = |(file, resource): (&str, v1::PressureResource)| {
        let text = fs::read_to_string(folder.join(file)).ok()?;
        // Kernels before 5.13 have no line `full` for the CPU.
        Some(v1::Pressure {
            resource: resource.into(),
            some: stalled(&text, "some")?,
            full: stalled(&text, "full").unwrap_or(0),
        })
    };
    resources.into_iter().filter_map(read).collect()
}

/// `some avg10=4.50 avg60=0.91 avg300=0.00 total=681245` → 681245
fn stalled(text: &str, kind: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.split(' ').next() == Some(kind))?;
    line.split(' ').find_map(|word| word.strip_prefix("total="))?.trim().parse().ok()
}

fn interfaces() -> Vec<v1::NetworkInterface> {
    let Ok(all) = procfs::net::dev_status() else { return Vec::new() };
    // In order, so that two looks of one host say the same.
    let all: BTreeMap<_, _> = all.into_iter().filter(|(name, _)| is_of_the_host(name)).collect();
    all.into_iter()
        .take(INTERFACES_MAX)
        .map(|(name, status)| v1::NetworkInterface {
            name,
            received_bytes: status.recv_bytes,
            sent_bytes: status.sent_bytes,
            received_errors: status.recv_errs,
            sent_errors: status.sent_errs,
        })
        .collect()
}

/// Not the loopback, and not one end of a container's cable, of which there is a new one at every start.
fn is_of_the_host(interface: &str) -> bool {
    interface != "lo" && !interface.starts_with("veth")
}

fn file_systems() -> Vec<v1::FileSystem> {
    let Ok(mounts) = procfs::process::Process::myself().and_then(|own| own.mountinfo()) else { return Vec::new() };
    let mounts: Vec<Mount> = mounts.0.into_iter().map(Mount::from).collect();
    told(mounts).into_iter().filter_map(|mount| size(&mount)).collect()
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    point: String,
    device: String,
    kind: String,
}

impl From<MountInfo> for Mount {
    fn from(info: MountInfo) -> Self {
        Self { point: info.mount_point.to_string_lossy().into_owned(), device: info.majmin, kind: info.fs_type }
    }
}

/// Each device once, at its shortest mount point: the others are the same file system bound elsewhere.
fn told(mounts: Vec<Mount>) -> Vec<Mount> {
    let mut by_device: HashMap<String, Mount> = HashMap::new();
    for mount in mounts {
        let on_device = !mount.device.starts_with("0:") || OF_DEVICES.contains(&&*mount.kind);
        // Where the agent itself runs in a container its root is an overlay: it is still the disk that fills up.
        let is_root = mount.point == "/" && mount.kind == "overlay";
        let image = ["squashfs", "erofs", "iso9660"].contains(&&*mount.kind);
        if REMOTE.contains(&&*mount.kind) || mount.kind.starts_with("fuse") || image || !(on_device || is_root) {
            continue;
        }
        // The last one mounted there hides those before it.
        let order = |m: &Mount| (m.point.len(), m.point.clone());
        if by_device.get(&mount.device).is_none_or(|known| order(&mount) <= order(known)) {
            by_device.insert(mount.device.clone(), mount);
        }
    }
    let mut told: Vec<Mount> = by_device.into_values().collect();
    told.sort_by(|a, b| (a.point.len(), &a.point).cmp(&(b.point.len(), &b.point)));
    told.truncate(FILE_SYSTEMS_MAX);
    told
}

fn size(mount: &Mount) -> Option<v1::FileSystem> {
    let stat = statvfs(mount.point.as_str()).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Some(v1::FileSystem {
        mount: mount.point.clone(),
        size: bytes(stat.f_blocks),
        available: bytes(stat.f_bavail),
        inodes: stat.f_files,
        inodes_free: stat.f_favail,
        read_only: stat.f_flag.contains(StatVfsMountFlags::RDONLY),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(point: &str, device: &str, kind: &str) -> Mount {
        Mount { point: point.to_owned(), device: device.to_owned(), kind: kind.to_owned() }
    }

    #[test]
    fn this_very_host_tells_its_figures() {
        let seen = look();
        let cpu = seen.cpu.expect("every Linux tells its CPU times");
        assert!(cpu.cpus >= 1 && cpu.user + cpu.system + cpu.idle > 0, "{cpu:?}");
        let memory = seen.memory.expect("and its memory");
        assert!(memory.size >= memory.available && memory.available > 0, "{memory:?}");
        assert!(seen.load.is_some() && seen.files.is_some_and(|files| files.open > 0));
        let agent = seen.agent.expect("and what we are");
        assert!(agent.resident_bytes > 1 << 20, "{agent:?}");
        let root = seen.file_systems.iter().find(|fs| fs.mount == "/").expect("there is a root");
        assert!(root.size >= root.available && root.size > 0, "{root:?}");
    }

    #[test]
    fn each_device_is_told_once_and_what_may_hang_or_is_memory_is_not() {
        let mounts = vec![
            mount("/proc", "0:21", "proc"),
            mount("/", "254:0", "ext4"),
            mount("/var/lib/docker/bound", "254:0", "ext4"),
            mount("/srv/data", "0:44", "btrfs"),
            mount("/mnt/share", "0:50", "nfs4"),
            mount("/mnt/keys", "0:51", "fuse.sshfs"),
            mount("/run", "0:23", "tmpfs"),
            mount("/snap/x", "7:1", "squashfs"),
            mount("/var/lib/docker/overlay2/x/merged", "0:60", "overlay"),
        ];
        let told: Vec<String> = told(mounts).into_iter().map(|mount| mount.point).collect();
        assert_eq!(told, ["/", "/srv/data"]);
        assert_eq!(super::told(vec![mount("/", "0:60", "overlay")]).len(), 1, "the root of a container");
        let many = (0..100).map(|n| mount(&format!("/m{n}"), &format!("8:{n}"), "xfs")).collect();
        assert_eq!(super::told(many).len(), FILE_SYSTEMS_MAX);
    }

    #[test]
    fn pressure_is_absent_where_the_kernel_has_none() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(pressures(&folder.path().join("none")), []);
        fs::write(folder.path().join("cpu"), "some avg10=4.50 avg60=0.91 avg300=0.00 total=681245\n").expect("written");
        fs::write(folder.path().join("memory"), "").expect("written");
        fs::write(folder.path().join("io"), "some avg10=1 total=7\nfull avg10=1 total=5\n").expect("written");
        let pressure =
            |resource: v1::PressureResource, some, full| v1::Pressure { resource: resource.into(), some, full };
        let seen = pressures(folder.path());
        assert_eq!(seen, [pressure(v1::PressureResource::Cpu, 681_245, 0), pressure(v1::PressureResource::Io, 7, 5)]);
    }

    #[test]
    fn cables_of_containers_are_no_interfaces_of_the_host() {
        assert!(["eth0", "enp3s0", "docker0", "wg0"].into_iter().all(is_of_the_host));
        assert!(!["lo", "veth12ab"].into_iter().any(is_of_the_host));
    }
}
