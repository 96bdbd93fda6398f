//! A small disk: a tmpfs of its own over a folder, filled and emptied for real.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::process::Program;

const MOUNT_WITHIN: Duration = Duration::from_secs(10);

/// A mounted one. Dropped, it is taken away at once, also under programs that still use it.
#[derive(Debug)]
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts one of so many MiB over a folder, which is made when missing.
    ///
    /// # Errors
    /// When it cannot be mounted.
    pub fn mount(folder: &Path, mebibytes: u32) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let size = format!("size={mebibytes}m,mode=700");
        Program::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "holdfast-test"])
            .arg(folder)
            .run(MOUNT_WITHIN)?
            .well()?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Fills what is free, to the last block.
    ///
    /// # Errors
    /// When something else than a full disk stops it.
    pub fn fill(&self) -> Result<()> {
        let file = self.folder.join("filler");
        let mut filler = OpenOptions::new().create(true).append(true).open(&file)?;
        for block in [1 << 20, 4_096] {
            let zeros = vec![0; block];
            loop {
                match filler.write_all(&zeros) {
                    Ok(()) => {}
                    Err(e) if e.kind() == ErrorKind::StorageFull => break,
                    Err(e) => bail!("{}: {e}", file.display()),
                }
            }
        }
        Ok(())
    }

    /// Makes room again.
    ///
    /// # Errors
    /// When it was not filled.
    pub fn empty(&self) -> Result<()> {
        let file = self.folder.join("filler");
        fs::remove_file(&file).with_context(|| file.display().to_string())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Program::new("umount").arg("--lazy").arg(&self.folder).run(MOUNT_WITHIN));
    }
}
