//! Checksums of what is stored. SQLite finds a page that makes no sense; a flipped bit in a row it hands out as it is.

use aws_lc_rs::digest::{Context, SHA256};
use rusqlite::{Error, ffi};

/// As many bytes of a SHA-256 as find what a disk does by mistake.
const BYTES: usize = 8;

/// Of these parts, whose lengths count too.
pub(super) fn of(parts: &[&[u8]]) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    context.finish().as_ref()[..BYTES].to_vec()
}

/// A row is as it was written, or SQLite's own error of a damaged database. Rows of a release without sums have none.
pub(super) fn check(parts: &[&[u8]], stored: Option<&[u8]>) -> rusqlite::Result<()> {
    match stored {
        Some(stored) if stored != of(parts) => {
            let what = "a row of the state is not as it was written".to_owned();
            Err(Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), Some(what)))
        }
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_and_a_moved_border_are_found() {
        let sum = of(&[b"key", b"value"]);
        assert!(check(&[b"key", b"value"], Some(&sum)).is_ok());
        assert!(check(&[b"key", b"valuf"], Some(&sum)).is_err());
        assert!(check(&[b"keyv", b"alue"], Some(&sum)).is_err());
        assert!(check(&[b"key", b"value"], None).is_ok(), "written before there were sums");
    }
}
