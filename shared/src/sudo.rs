//! Who called `sudo`: what a command makes for a person belongs to that person, not to root.

use std::{
    env, fs, io,
    os::unix::fs::{MetadataExt as _, lchown},
    path::{Path, PathBuf},
};

/// A person who became root for one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    uid: u32,
    gid: u32,
    home: PathBuf,
}

impl Caller {
    /// Who called `sudo`; nothing without it, or when root did.
    #[must_use]
    pub fn find() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let number = |name| env::var(name).ok()?.parse().ok();
        let (uid, gid) = (number("SUDO_UID")?, number("SUDO_GID")?);
        Self::of(uid, gid, &fs::read_to_string("/etc/passwd").ok()?)
    }

    fn of(uid: u32, gid: u32, passwd: &str) -> Option<Self> {
        let mut lines = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let entry = lines.find(|fields| fields.get(2) == Some(&uid.to_string().as_str()))?;
        let home = entry.get(5).filter(|home| home.starts_with('/'))?;
        (uid != 0).then(|| Self { uid, gid, home: PathBuf::from(home) })
    }

    /// Their home.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Gives them `path` and all in it, and every folder above it below their home that is root's.
    ///
    /// # Errors
    /// When the owner of something cannot be changed.
    pub fn own(&self, path: &Path) -> io::Result<()> {
        for above in path.ancestors().skip(1).take_while(|above| above.starts_with(&self.home) && *above != self.home) {
            if fs::symlink_metadata(above)?.uid() == 0 {
                lchown(above, Some(self.uid), Some(self.gid))?;
            }
        }
        self.own_all(path)
    }

    fn own_all(&self, path: &Path) -> io::Result<()> {
        // No link is followed: what it leads to is not ours to give.
        lchown(path, Some(self.uid), Some(self.gid))?;
        if fs::symlink_metadata(path)?.is_dir() {
            for entry in fs::read_dir(path)? {
                self.own_all(&entry?.path())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_found_by_number_and_root_is_nobody() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nana:x:1000:1001:Ana:/home/ana:/bin/bash\nbad:x:7\nhomeless:x:8:8::-:/bin/false\n";
        let ana = Caller { uid: 1000, gid: 1001, home: "/home/ana".into() };
        assert_eq!(Caller::of(1000, 1001, passwd), Some(ana));
        for uid in [0, 7, 8, 9] {
            assert_eq!(Caller::of(uid, 0, passwd), None, "{uid}");
        }
    }
}
