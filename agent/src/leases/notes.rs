//! The notes in `/run/holdfast/leases`: one file for each app, in the form of [`record`].

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::PathBuf,
};

use holdfast_agent_core::record::{self, RECORD_BYTES, Record, Writer};
use holdfast_shared::files;
use holdfast_types::{AppName, BootId};

/// Reads and writes the notes. On tmpfs: gone at a reboot on purpose, and never waiting for a disk.
#[derive(Debug)]
pub struct Notes {
    folder: PathBuf,
    open: BTreeMap<AppName, (File, Writer)>,
}

impl Notes {
    /// Notes in this folder, which is made when it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(folder: PathBuf) -> Result<Self, files::FileError> {
        files::make_private_folder(&folder)?;
        Ok(Self { folder, open: BTreeMap::new() })
    }

    fn path(&self, app: &AppName) -> PathBuf {
        self.folder.join(app.as_str())
    }

    /// What is noted of this boot. A file that cannot be read is no lease.
    #[must_use]
    pub fn read(&self, app: &AppName, boot: &BootId) -> Option<Record> {
        let bytes = files::read(&self.path(app), RECORD_BYTES as u64).ok()?;
        record::read(&bytes, boot)
    }

    /// Notes a lease.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&mut self, app: &AppName, boot: &BootId, record: Record) -> io::Result<()> {
        if !self.open.contains_key(app) {
            let path = self.path(app);
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
            let mut bytes = vec![0; RECORD_BYTES];
            let read = file.read_at(&mut bytes, 0)?;
            let writer = Writer::after(&bytes[..read], boot);
            self.open.insert(app.clone(), (file, writer));
        }
        let Some((file, writer)) = self.open.get_mut(app) else { return Ok(()) };
        for write in writer.put(record) {
            file.write_all_at(&write.bytes, write.offset)?;
        }
        Ok(())
    }

    /// Removes a note.
    pub fn clear(&mut self, app: &AppName) {
        self.open.remove(app);
        match std::fs::remove_file(self.path(app)) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            // It would be taken for a lease at the next start; the durable fence says otherwise.
            Err(e) => tracing::error!(app = %app, error = %e, "cannot remove the note of a lease"),
        }
    }
}
