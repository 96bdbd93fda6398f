//! Room on the disk of a daemon's state: how much is free, and a reserve for what must still be written when nothing
//! else is left. What follows from it is decided in [`holdfast_types::room`].

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use holdfast_types::room::{Limits, Tend};
use rustix::{
    fs::{FallocateFlags, fallocate, statvfs},
    io::Errno,
};

/// Name of the reserve in the folder of the state.
const FILE: &str = "reserve";
/// What is written at once where the file system cannot allocate.
const BLOCK: usize = 1 << 20;

/// There is too little room for new work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no room on the disk: {} MiB are free in {}, new work needs {} MiB; what runs goes on, nothing was changed",
    free >> 20, folder.display(), needed >> 20
)]
pub struct Short {
    /// Bytes that are free.
    pub free: u64,
    /// Bytes that new work needs.
    pub needed: u64,
    /// Where.
    pub folder: PathBuf,
}

impl Short {
    /// What to type next, on this host.
    #[must_use]
    pub fn next(&self) -> String {
        format!("df -h {}", self.folder.display())
    }
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    limits: Limits,
    short: AtomicBool,
    held: AtomicBool,
}

/// The room in one folder. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Room(Arc<Inner>);

impl Room {
    /// Looks at a folder, which exists, and takes up the reserve there if there is room for it.
    #[must_use]
    pub fn open(folder: &Path, limits: Limits) -> Self {
        let held = fs::metadata(folder.join(FILE)).is_ok_and(|file| file.len() >= limits.reserve);
        let inner =
            Inner { folder: folder.to_owned(), limits, short: AtomicBool::new(false), held: AtomicBool::new(held) };
        let room = Self(Arc::new(inner));
        room.tend();
        drop(room.look());
        room
    }

    /// Bytes that are free for others than root. Nothing when the file system does not say.
    fn free(&self) -> Option<u64> {
        let found = statvfs(&self.0.folder).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// Whether there is room for new work.
    ///
    /// # Errors
    /// [`Short`] when there is not.
    pub fn look(&self) -> Result<(), Short> {
        let Some(free) = self.free() else { return Ok(()) };
        let Inner { folder, limits, short, held } = &*self.0;
        let was = short.load(Ordering::Relaxed);
        let is = limits.is_short(was, held.load(Ordering::Relaxed), free);
        let needed = if is { limits.again_from } else { limits.short_below };
        let said = Short { free, needed, folder: folder.clone() };
        // Of several that look at once, one says it.
        if is != was && short.swap(is, Ordering::Relaxed) == was {
            if is {
                tracing::warn!(folder = %folder.display(), free, "the disk is nearly full: new work is refused");
            } else {
                tracing::info!(folder = %folder.display(), free, "there is room on the disk again: new work is taken");
            }
        }
        if is { Err(said) } else { Ok(()) }
    }

    /// Called before every write: gives the reserve up when little is left, and takes it up again when there is room.
    pub fn tend(&self) {
        let Some(free) = self.free() else { return };
        match self.0.limits.tend(self.0.held.load(Ordering::Relaxed), free) {
            Tend::Leave => {}
            Tend::Give => self.give(),
            Tend::Hold => {
                if let Err(e) = self.hold() {
                    // It was there a moment ago; what is left over of the attempt would only be in the way.
                    tracing::warn!(file = %self.file().display(), error = %e, "the reserve cannot be allocated");
                    drop(fs::remove_file(self.file()));
                }
            }
        }
    }

    /// Gives the reserve up.
    pub fn give(&self) {
        if !self.0.held.swap(false, Ordering::Relaxed) {
            return;
        }
        match fs::remove_file(self.file()) {
            Ok(()) => {
                tracing::warn!(file = %self.file().display(), bytes = self.0.limits.reserve, "the reserve is given up: the disk is full");
            }
            Err(e) => tracing::error!(file = %self.file().display(), error = %e, "the reserve cannot be given up"),
        }
    }

    fn file(&self) -> PathBuf {
        self.0.folder.join(FILE)
    }

    /// Real blocks, not a hole: a hole would be filled by whoever fills the disk.
    fn hold(&self) -> io::Result<()> {
        let file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(self.file())?;
        match fallocate(&file, FallocateFlags::empty(), 0, self.0.limits.reserve) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => zeros(&file, self.0.limits.reserve)?,
            Err(e) => return Err(e.into()),
        }
        file.sync_all()?;
        self.0.held.store(true, Ordering::Relaxed);
        Ok(())
    }
}

fn zeros(mut file: &File, bytes: u64) -> io::Result<()> {
    let block = vec![0; BLOCK];
    let mut left = bytes;
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
        io::Write::write_all(&mut file, &block[..now])?;
        left -= now as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Limits = Limits { reserve: 1 << 20, short_below: 1, again_from: 1, give_below: 0 };

    #[test]
    fn the_reserve_has_real_blocks_and_is_given_up_and_taken_up_again() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join(FILE);
        let room = Room::open(folder.path(), SMALL);
        assert_eq!(room.look(), Ok(()));
        let blocks = fs::metadata(&file).expect("held").blocks();
        assert!(blocks * 512 >= SMALL.reserve, "{blocks}");
        room.give();
        assert!(!file.exists());
        room.tend();
        assert!(file.exists(), "there is room again");
        // A restart finds it.
        assert!(Room::open(folder.path(), SMALL).0.held.load(Ordering::Relaxed));
    }

    #[test]
    fn too_little_room_is_told_with_its_numbers_and_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let limits = Limits { reserve: 0, short_below: u64::MAX, again_from: u64::MAX, give_below: 0 };
        let room = Room::open(folder.path(), limits);
        let short = room.look().expect_err("nobody has so much");
        let said = short.to_string();
        assert!(
            said.starts_with("no room on the disk: ") && said.contains(&folder.path().display().to_string()),
            "{said}"
        );
        assert_eq!(short.next(), format!("df -h {}", folder.path().display()));
    }

    #[test]
    fn zeros_are_written_in_full() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        zeros(file.as_file(), (BLOCK + 3) as u64).expect("written");
        assert_eq!(fs::metadata(file.path()).expect("it is there").len(), (BLOCK + 3) as u64);
    }
}
