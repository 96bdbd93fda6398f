//! Which processes run on a host: those in its network namespace, or, where there is none, those in its folder.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{Ipv4Addr, SocketAddrV4, TcpListener},
    os::unix::fs::MetadataExt,
    path::Path,
};

use anyhow::{Context, Result};

use super::host::Host;

/// Blocks tried before this machine's loopback counts as full.
const BLOCKS: u32 = 512;

/// Every process on a host but this one, whose writers may have entered it.
pub(super) fn of(host: &Host) -> BTreeSet<u32> {
    let found = match host.namespace_file() {
        Some(file) => in_namespace(&file),
        None => in_folder(&host.folder),
    };
    found.into_iter().filter(|pid| *pid != std::process::id()).collect()
}

fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn in_namespace(file: &Path) -> BTreeSet<u32> {
    let Ok(wanted) = fs::metadata(file).map(|m| (m.dev(), m.ino())) else { return BTreeSet::new() };
    all()
        .filter(|pid| fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|m| (m.dev(), m.ino()) == wanted))
        .collect()
}

/// Those that work in the folder, and all that they have started: a child may have gone elsewhere.
fn in_folder(folder: &Path) -> BTreeSet<u32> {
    let mut children = BTreeMap::<u32, Vec<u32>>::new();
    let mut found = Vec::new();
    for pid in all() {
        if let Some(parent) = parent(pid) {
            children.entry(parent).or_default().push(pid);
        }
        if fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(folder)) {
            found.push(pid);
        }
    }
    let mut members = BTreeSet::new();
    while let Some(pid) = found.pop() {
        if members.insert(pid) {
            found.extend(children.get(&pid).into_iter().flatten());
        }
    }
    members
}

/// `1234 (a name) S 99 …` → 99.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split_whitespace().nth(1)?.parse().ok()
}

/// The first three bytes of loopback addresses that nobody listens on: by process, so that two demos do not meet.
pub(super) fn loopback_block(own: u32, count: u32) -> Result<[u8; 3]> {
    let free = |block: &[u8; 3]| {
        let address = Ipv4Addr::new(block[0], block[1], block[2], 1);
        [5432, 5433, 7443].into_iter().all(|port| TcpListener::bind(SocketAddrV4::new(address, port)).is_ok())
    };
    (0..BLOCKS).map(|next| block(own.wrapping_add(count << 8).wrapping_add(next))).find(free).context(
        "no free loopback addresses: something listens on ports 5432, 5433 or 7443 of all of them, or the machine has \
         no loopback",
    )
}

/// Never 127.0.…: that is where everybody else is.
fn block(number: u32) -> [u8; 3] {
    let [_, _, high, low] = number.to_be_bytes();
    [127, 1 + high % 254, low]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_of_loopback_addresses_is_never_the_one_that_everybody_uses() {
        assert!((0..70_000).step_by(7).all(|n| matches!(block(n), [127, 1..=254, _])));
    }

    #[test]
    fn a_process_has_a_parent() {
        let own = std::process::id();
        assert_eq!(parent(own), std::os::unix::process::parent_id().into());
    }
}
