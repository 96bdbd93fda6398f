//! A file that decides what root does is root's: nobody else may have written it.
//!
//! Asked only of a process that runs as root. Another one can do no more than its user, whoever wrote the file.

use std::{
    fs::{File, Metadata},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use holdfast_shared::files::FileError;

/// Writable by the owner's group, and by everybody.
const GROUP_WRITES: u32 = 0o020;
const ALL_WRITE: u32 = 0o002;
/// A folder in which each removes only what is his own.
const STICKY: u32 = 0o1000;

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum TrustError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// Somebody else than root could have written it.
    #[error("{} decides what root does here, and {why}; next: sudo chown root:root {1} && sudo chmod go-w {1}", path.display(), at.display())]
    Strange {
        /// The file.
        path: PathBuf,
        /// What must be changed: the file, or its folder.
        at: PathBuf,
        /// Why.
        why: String,
    },
}

/// Reads the text of a file.
///
/// # Errors
/// When it cannot be read, is larger than `bytes_max`, or, for root, may be somebody else's word.
pub(super) fn read(path: &Path, bytes_max: u64) -> Result<String, TrustError> {
    let failed = |source| FileError { action: "read", path: path.to_owned(), source };
    // The opened file is looked at, so that it cannot be exchanged in between.
    let mut file = File::open(path).map_err(failed)?;
    if rustix::process::geteuid().is_root() {
        let strange = |at: &Path, why| TrustError::Strange { path: path.to_owned(), at: at.to_owned(), why };
        if let Some(why) = whose(&file.metadata().map_err(failed)?, false) {
            return Err(strange(path, format!("it {why}")));
        }
        let real = path.canonicalize().map_err(failed)?;
        if let Some(folder) = real.parent()
            && let Some(why) = whose(&folder.metadata().map_err(failed)?, true)
        {
            return Err(strange(folder, format!("its folder {why}")));
        }
    }
    let mut bytes = Vec::new();
    file.by_ref().take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > bytes_max {
        return Err(failed(io::Error::other(format!("larger than {bytes_max} bytes"))).into());
    }
    Ok(String::from_utf8(bytes).map_err(|e| failed(io::Error::other(e.utf8_error())))?)
}

/// Who else than root may change it.
fn whose(metadata: &Metadata, folder: bool) -> Option<String> {
    strange(metadata.uid(), metadata.gid(), metadata.mode(), folder)
}

fn strange(uid: u32, gid: u32, mode: u32, folder: bool) -> Option<String> {
    if uid != 0 {
        return Some(format!("belongs to uid {uid}"));
    }
    // In a sticky folder others can make files, and not exchange root's.
    let others = mode & if folder && mode & STICKY != 0 { 0 } else { ALL_WRITE | GROUP_WRITES };
    if others & ALL_WRITE != 0 {
        return Some("can be written by everybody".to_owned());
    }
    (others & GROUP_WRITES != 0 && gid != 0).then(|| format!("can be written by group {gid}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_what_root_alone_may_write_is_roots_word() {
        for (uid, gid, mode, folder, expected) in [
            (0, 0, 0o644, false, None),
            (0, 0, 0o664, false, None),
            (0, 50, 0o644, false, None),
            (0, 50, 0o664, false, Some("group 50")),
            (0, 0, 0o646, false, Some("everybody")),
            (1_000, 0, 0o600, false, Some("uid 1000")),
            (0, 0, 0o755, true, None),
            (0, 0, 0o1777, true, None),
            (0, 0, 0o777, true, Some("everybody")),
            (0, 50, 0o775, true, Some("group 50")),
            (1_000, 0, 0o1777, true, Some("uid 1000")),
        ] {
            let found = strange(uid, gid, mode, folder);
            let fits = match (&found, expected) {
                (None, None) => true,
                (Some(found), Some(expected)) => found.contains(expected),
                (None, Some(_)) | (Some(_), None) => false,
            };
            assert!(fits, "{uid} {gid} {mode:o}: {found:?}");
        }
    }

    #[test]
    fn a_process_of_root_reads_no_file_that_others_may_write() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("agent.toml");
        std::fs::write(&file, "").expect("written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).expect("changed");
        // As anybody else it is that user's own affair.
        let refused = rustix::process::geteuid().is_root();
        match read(&file, 10) {
            Err(e) => assert!(refused && e.to_string().contains("can be written by everybody"), "{e}"),
            Ok(text) => assert!(!refused && text.is_empty()),
        }
    }
}
