//! A disk of a booted host's own: the machine's files to begin with, and what is written to them kept apart. It outlives
//! a power cut, so that what was installed is there at the next boot.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};

use super::{host::Host, net::Net, process::Program};

const MOUNTED_WITHIN: Duration = Duration::from_secs(20);

/// What every boot writes, and what a package manager keeps for itself: not what was installed.
const KEPT_BY_THE_SYSTEM: [&str; 9] =
    ["run", "tmp", "var/log", "var/tmp", "var/cache", "var/lib/dpkg", "var/lib/systemd", "var/lib/apt", "root"];

/// The disk of one host.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// A disk that is as the machine's own. Its host is called as in the net, and knows the others by `names`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(net: &Net, host: &Host, names: &[(&str, &Host)]) -> Result<Self> {
        let disk = Self { folder: net.folder().join(format!("disk-{}", host.name)) };
        fs::create_dir_all(&disk.folder)?;
        // Memory, because a folder of the disk below cannot lie above it.
        mount(&["-t", "tmpfs", "disk"], &disk.folder)?;
        for folder in ["written", "work", "root"] {
            fs::create_dir(disk.folder.join(folder))?;
        }
        let (written, work) = (disk.folder.join("written"), disk.folder.join("work"));
        let options = format!("lowerdir=/,upperdir={},workdir={}", written.display(), work.display());
        mount(&["-t", "overlay", "-o", &options, "disk"], &disk.root())?;
        disk.write("etc/hostname", &format!("{}\n", host.name))?;
        let named: String = names.iter().map(|(name, host)| format!("{} {name}\n", host.address)).collect();
        disk.write("etc/hosts", &format!("127.0.0.1 localhost\n127.0.1.1 {}\n{named}", host.name))?;
        Ok(disk)
    }

    /// Where all of it is seen.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// Writes a file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.root().join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, text).with_context(|| path.display().to_string())
    }

    /// Every file that differs from the machine's own, but for what the system itself writes all the time.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn changed(&self) -> Result<BTreeSet<String>> {
        let written = self.folder.join("written");
        let mut changed = BTreeSet::new();
        let mut folders = vec![written.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                let name = path.strip_prefix(&written)?.display().to_string();
                if KEPT_BY_THE_SYSTEM.iter().any(|kept| Path::new(&name).starts_with(kept)) {
                    continue;
                }
                let meta = fs::symlink_metadata(&path)?;
                if meta.is_dir() {
                    // A folder that the machine has too is only the way to what changed in it.
                    if !Path::new("/").join(&name).is_dir() {
                        changed.insert(name);
                    }
                    folders.push(path);
                } else if meta.file_type().is_char_device() && meta.rdev() == 0 {
                    // The mark of something that was removed; what was never there is as it was.
                    if fs::symlink_metadata(Path::new("/").join(&name)).is_ok() {
                        changed.insert(format!("{name} (removed)"));
                    }
                } else if fs::read(&path).ok() != fs::read(Path::new("/").join(&name)).ok() {
                    changed.insert(name);
                }
            }
        }
        Ok(changed)
    }
}

fn mount(args: &[&str], at: &Path) -> Result<()> {
    Program::new("mount").args(args).arg(at).run(MOUNTED_WITHIN)?.well().map(drop)
}
