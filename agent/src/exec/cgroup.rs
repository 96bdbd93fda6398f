//! Which cgroup a process lives in, and where that is in the file system. Both versions of cgroups.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Directories of the cgroups that process `pid` is in and that hold nothing of the agent's own. Empty when the process
/// shares every cgroup with the agent: then killing by cgroup is not for it.
///
/// # Errors
/// When /proc cannot be read, as when the process has just gone.
pub fn dirs_of(pid: i32) -> io::Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let own = dirs(&fs::read_to_string("/proc/self/cgroup")?, &mounts);
    let its = dirs(&fs::read_to_string(format!("/proc/{pid}/cgroup"))?, &mounts);
    Ok(its.into_iter().filter(|dir| !holds_one_of(dir, &own)).collect())
}

/// The directory of a cgroup named as systemd names it (`/system.slice/x.service`), unless the agent itself is in it.
///
/// # Errors
/// When /proc cannot be read.
pub fn dirs_of_unit(control_group: &str) -> io::Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let own = dirs(&fs::read_to_string("/proc/self/cgroup")?, &mounts);
    // In either version, systemd keeps its units in the unified hierarchy or in its own.
    let lines = format!("0::{control_group}\n1:name=systemd:{control_group}\n");
    Ok(dirs(&lines, &mounts).into_iter().filter(|dir| !holds_one_of(dir, &own)).collect())
}

fn holds_one_of(dir: &Path, own: &[PathBuf]) -> bool {
    own.iter().any(|mine| mine.starts_with(dir))
}

/// Pure part: lines of /proc/PID/cgroup and /proc/self/mountinfo to directories, roots of a hierarchy left out: what
/// is in a root belongs to nobody in particular.
fn dirs(cgroup: &str, mountinfo: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for line in cgroup.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(number), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        if path == "/" || !path.starts_with('/') || path.split('/').any(|part| part == "..") {
            continue;
        }
        let wanted = |fs_type: &str, options: &str| match number {
            "0" if controllers.is_empty() => fs_type == "cgroup2",
            _ => fs_type == "cgroup" && controllers.split(',').all(|c| options.split(',').any(|o| o == c)),
        };
        for (root, mount_point) in mountinfo.lines().filter_map(|line| mount(line, &wanted)) {
            if let Ok(below) = Path::new(path).strip_prefix(root)
                && !below.as_os_str().is_empty()
            {
                let dir = Path::new(mount_point).join(below);
                if !found.contains(&dir) {
                    found.push(dir);
                }
            }
        }
    }
    found
}

/// Root and mount point of a line of mountinfo whose type and options are wanted.
fn mount<'a>(line: &'a str, wanted: &impl Fn(&str, &str) -> bool) -> Option<(&'a str, &'a str)> {
    let (place, kind) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(3);
    let (root, mount_point) = (place.next()?, place.next()?);
    let mut kind = kind.split(' ');
    let (fs_type, options) = (kind.next()?, kind.nth(1)?);
    wanted(fs_type, options).then_some((root, mount_point))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
25 30 0:23 / /sys rw,nosuid shared:7 - sysfs sysfs rw
31 25 0:27 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755
32 31 0:28 / /sys/fs/cgroup/unified rw shared:10 - cgroup2 cgroup2 rw,nsdelegate
33 31 0:29 / /sys/fs/cgroup/systemd rw shared:11 - cgroup cgroup rw,xattr,name=systemd
34 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw shared:12 - cgroup cgroup rw,cpu,cpuacct
35 31 0:31 /outer /sys/fs/cgroup/pids rw shared:13 - cgroup cgroup rw,pids
";

    #[test]
    fn a_container_is_found_in_both_versions() {
        let v2 = dirs(
            "0::/system.slice/docker-4f2.scope\n",
            "32 31 0:28 / /sys/fs/cgroup rw shared:10 - cgroup2 cgroup rw\n",
        );
        assert_eq!(v2, [PathBuf::from("/sys/fs/cgroup/system.slice/docker-4f2.scope")]);
        let v1 =
            dirs("3:cpu,cpuacct:/docker/4f2\n2:pids:/outer/docker/4f2\n1:name=systemd:/docker/4f2\n0::/\n", MOUNTS);
        let expected = [
            "/sys/fs/cgroup/cpu,cpuacct/docker/4f2",
            "/sys/fs/cgroup/pids/docker/4f2",
            "/sys/fs/cgroup/systemd/docker/4f2",
        ];
        assert_eq!(v1, expected.map(PathBuf::from));
    }

    #[test]
    fn a_root_is_never_a_cgroup_to_kill() {
        assert!(dirs("2:pids:/outer\n1:name=systemd:/\n0::/\n", MOUNTS).is_empty());
        assert!(dirs("0::/../x\nnonsense\n\n1:pids\n", MOUNTS).is_empty());
    }

    #[test]
    fn the_agents_own_cgroup_is_never_one_to_kill() {
        let me = i32::try_from(std::process::id()).expect("a pid");
        assert!(dirs_of(me).expect("own /proc is readable").is_empty());
        let own = [PathBuf::from("/sys/fs/cgroup/a/b")];
        assert!(holds_one_of(Path::new("/sys/fs/cgroup/a"), &own));
        assert!(holds_one_of(Path::new("/sys/fs/cgroup/a/b"), &own));
        assert!(!holds_one_of(Path::new("/sys/fs/cgroup/a/c"), &own));
    }
}
