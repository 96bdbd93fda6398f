//! Small private files, written whole: a reader sees the old text or the new one, also after a crash.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// What could not be done with which file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct FileError {
    /// What was tried: `read`, `write`, `make`.
    pub action: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// Why not.
    #[source]
    pub source: io::Error,
}

impl FileError {
    fn new(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self { action, path: path.to_owned(), source }
    }

    /// Whether the file is simply not there.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// Replaces the file at `path` by `bytes`, readable by its owner alone (0600), and returns once that is on disk.
///
/// # Errors
/// [`FileError`]; the old file is then still whole.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let failed = |source| FileError::new("write", path, source);
    let name = path.file_name().ok_or_else(|| failed(io::Error::other("the path names no file")))?;
    let folder = folder_of(path);
    let mut staged_name = std::ffi::OsString::from(".");
    staged_name.push(name);
    staged_name.push(".new");
    let staged = folder.join(staged_name);
    // What a crash left behind may have other permissions; a file made anew has ours from its first byte.
    match fs::remove_file(&staged) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(failed(e)),
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&staged).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&staged, path).map_err(failed)?;
    // The new name is only on disk once its folder is.
    File::open(folder).and_then(|f| f.sync_all()).map_err(failed)
}

/// Reads the file at `path`, at most `bytes_max` bytes.
///
/// # Errors
/// [`FileError`] when it cannot be read or is larger.
pub fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, FileError> {
    let failed = |source| FileError::new("read", path, source);
    let mut bytes = Vec::new();
    File::open(path).and_then(|f| f.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > bytes_max {
        return Err(failed(io::Error::other(format!("larger than {bytes_max} bytes"))));
    }
    Ok(bytes)
}

/// Reads a text file, at most `bytes_max` bytes.
///
/// # Errors
/// [`FileError`] when it cannot be read, is larger, or is not UTF-8.
pub fn read_text(path: &Path, bytes_max: u64) -> Result<String, FileError> {
    String::from_utf8(read(path, bytes_max)?)
        .map_err(|e| FileError::new("read", path, io::Error::other(e.utf8_error())))
}

/// Takes a file away; one that is not there is no error.
///
/// # Errors
/// [`FileError`] when it cannot be taken away.
pub fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(FileError::new("remove", path, e)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Removes a folder with nothing in it; one that holds something stays, one that is not there is gone already.
///
/// # Errors
/// [`FileError`] when it is empty and cannot be removed.
pub fn remove_empty_folder(path: &Path) -> Result<(), FileError> {
    use io::ErrorKind::{DirectoryNotEmpty, NotFound};
    match fs::remove_dir(path) {
        Err(e) if !matches!(e.kind(), NotFound | DirectoryNotEmpty) => Err(FileError::new("remove", path, e)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes a folder, and those above it, that only its owner can enter (0700). One that is there stays as it is.
///
/// # Errors
/// [`FileError`] when it cannot be made.
pub fn make_private_folder(path: &Path) -> Result<(), FileError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| FileError::new("make", path, e))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_private() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("key");
        // A crash while staging left half a file that everybody can read.
        fs::write(dir.path().join(".key.new"), "half").expect("staged");
        write_private(&path, b"one").expect("written");
        write_private(&path, b"two").expect("written again");
        assert_eq!(read_text(&path, 100).expect("read"), "two");
        assert_eq!(fs::metadata(&path).expect("metadata").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 1, "nothing is left behind");
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("key");
        write_private(&path, b"one").expect("written");
        fs::create_dir(dir.path().join(".key.new")).expect("something in the way");
        assert!(write_private(&path, b"two").is_err());
        assert_eq!(read_text(&path, 100).expect("read"), "one");
    }

    #[test]
    fn a_file_larger_than_expected_is_not_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("big");
        write_private(&path, &[b'x'; 11]).expect("written");
        assert!(read(&path, 11).is_ok());
        let e = read(&path, 10).expect_err("too large");
        assert_eq!(
            crate::error::Chain(&e).to_string(),
            format!("cannot read {}: larger than 10 bytes", path.display())
        );
    }
}
