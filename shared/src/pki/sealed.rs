//! Sealing a secret for the disk: AES-256-GCM under a random key that lives in another file.
//!
//! A copy of one of the two files is worth nothing. What the secret belongs to is sealed in with it, so that a file
//! moved to another place does not open there.

use std::{os::unix::fs::PermissionsExt, path::Path};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey},
    rand,
};

use super::PkiError;
use crate::files;

/// Length of the sealing key in bytes.
const SEAL_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
/// First line of a sealed file: what it is, and the version of its format.
const HEADER: &[u8] = b"holdfast sealed key 1\n";
/// A sealed private key is below 300 bytes.
const FILE_BYTES_MAX: u64 = 16 * 1024;

/// The key that seals. Printing it shows nothing.
pub(super) struct Seal([u8; SEAL_BYTES]);

impl Seal {
    /// Reads the key at `path`, or makes one there if there is none.
    pub(super) fn load_or_make(path: &Path) -> Result<Self, PkiError> {
        match Self::load(path) {
            Err(PkiError::File(e)) if e.is_missing() => {}
            other => return other,
        }
        let mut key = [0; SEAL_BYTES];
        rand::fill(&mut key).map_err(|_| PkiError::MakeKey(rcgen::Error::RingUnspecified))?;
        files::write_private(path, &key)?;
        Ok(Self(key))
    }

    pub(super) fn load(path: &Path) -> Result<Self, PkiError> {
        let damaged = |why: String| PkiError::Damaged { file: path.display().to_string(), why };
        let bytes = files::read(path, FILE_BYTES_MAX)?;
        let found = bytes.len();
        let key = bytes.try_into().map_err(|_| damaged(format!("expected {SEAL_BYTES} bytes, found {found}")))?;
        // A credential may be readable by its group, never by everybody.
        let mode = std::fs::metadata(path).map_or(0, |m| m.permissions().mode());
        if mode & 0o007 != 0 {
            return Err(damaged(format!("everybody can read it (mode {:o}), expected 0600", mode & 0o777)));
        }
        Ok(Self(key))
    }

    /// Writes `secret`, sealed together with what it belongs to.
    pub(super) fn seal_to(&self, path: &Path, mut secret: Vec<u8>, belongs_to: &[u8]) -> Result<(), PkiError> {
        let failed = || sealed_error(path, "sealing failed");
        let key = RandomizedNonceKey::new(&AES_256_GCM, &self.0).map_err(|_| failed())?;
        let nonce = key.seal_in_place_append_tag(Aad::from(belongs_to), &mut secret).map_err(|_| failed())?;
        let file = [HEADER, nonce.as_ref(), &secret].concat();
        Ok(files::write_private(path, &file)?)
    }

    /// Reads what [`Seal::seal_to`] wrote.
    pub(super) fn open_from(&self, path: &Path, belongs_to: &[u8]) -> Result<Vec<u8>, PkiError> {
        let file = files::read(path, FILE_BYTES_MAX)?;
        let body = file.strip_prefix(HEADER).ok_or_else(|| {
            sealed_error(
                path,
                "it does not begin with \"holdfast sealed key 1\", so it is no sealed key, or of a later release",
            )
        })?;
        if body.len() < NONCE_BYTES + TAG_BYTES {
            return Err(sealed_error(path, &format!("it is cut off after {} bytes", file.len())));
        }
        let (nonce, sealed) = body.split_at(NONCE_BYTES);
        let refused = || {
            let why = "it is damaged, or was sealed with another key or for another certificate; restore all three files from one backup";
            sealed_error(path, why)
        };
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| refused())?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, &self.0).map_err(|_| refused())?;
        let mut sealed = sealed.to_vec();
        let secret = key.open_in_place(nonce, Aad::from(belongs_to), &mut sealed).map_err(|_| refused())?;
        Ok(secret.to_vec())
    }
}

fn sealed_error(path: &Path, why: &str) -> PkiError {
    PkiError::SealedKey { file: path.display().to_string(), why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_the_same_key_and_purpose_open_what_was_sealed() {
        let dir = tempfile::tempdir().expect("a folder");
        let (seal_path, path) = (dir.path().join("seal"), dir.path().join("key"));
        let seal = Seal::load_or_make(&seal_path).expect("made");
        seal.seal_to(&path, b"secret".to_vec(), b"ca one").expect("sealed");
        let again = Seal::load_or_make(&seal_path).expect("loaded");
        assert_eq!(again.open_from(&path, b"ca one").expect("opened"), b"secret");
        assert!(again.open_from(&path, b"ca two").is_err(), "opened for another purpose");
        let other = Seal::load_or_make(&dir.path().join("other")).expect("made");
        assert!(other.open_from(&path, b"ca one").is_err(), "opened with another key");
        let file = fs::read(&path).expect("read");
        assert!(!file.windows(6).any(|w| w == b"secret"), "the secret is on the disk");
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("key");
        let seal = Seal::load_or_make(&dir.path().join("seal")).expect("made");
        seal.seal_to(&path, b"secret".to_vec(), b"ca").expect("sealed");
        let whole = fs::read(&path).expect("read");
        for at in 0..whole.len() {
            let mut bent = whole.clone();
            bent[at] ^= 1;
            fs::write(&path, &bent).expect("bent");
            assert!(matches!(seal.open_from(&path, b"ca"), Err(PkiError::SealedKey { .. })), "byte {at}");
            fs::write(&path, &whole[..at]).expect("cut off");
            assert!(matches!(seal.open_from(&path, b"ca"), Err(PkiError::SealedKey { .. })), "cut off at {at}");
        }
    }

    #[test]
    fn a_seal_that_everybody_can_read_or_of_wrong_length_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("seal");
        Seal::load_or_make(&path).expect("made");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("opened up");
        assert!(Seal::load(&path).err().expect("refused").to_string().contains("everybody can read it (mode 644)"));
        files::write_private(&path, b"short").expect("written");
        let e = Seal::load(&path).err().expect("refused").to_string();
        assert!(e.ends_with("is damaged: expected 32 bytes, found 5"), "{e}");
    }
}
