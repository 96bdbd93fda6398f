//! A snapshot's bytes: a header with a version, then all rows in key order, then their number.
//!
//! ```text
//! "HFSNAP" version:u16 | key_len:u32 key value_len:u32 value | … | end:u32 = ffff_ffff  rows:u64       big endian
//! ```
//! Rows in order and nothing else inside: two coordinators with the same state make the same bytes.

/// The format this version writes, and the only one so far.
pub const SNAPSHOT_VERSION: u16 = 1;

const MAGIC: &[u8; 6] = b"HFSNAP";
/// Stands where a key's length would: no key is that long.
const END: u32 = u32::MAX;

/// A row's key and value.
pub(super) type Row = (Vec<u8>, Vec<u8>);

/// Why a snapshot could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Something else, or cut off in its header.
    #[error("these {bytes} bytes are no snapshot")]
    NoSnapshot {
        /// How many bytes there were.
        bytes: usize,
    },
    /// Written by a version with another format.
    #[error("snapshot has format {found}, this version reads {SNAPSHOT_VERSION}: install the newer version")]
    Version {
        /// The format found.
        found: u16,
    },
    /// The bytes end before the snapshot does.
    #[error("snapshot of {bytes} bytes is cut off after {rows} rows")]
    CutOff {
        /// How many bytes there were.
        bytes: usize,
        /// Rows read before the end.
        rows: u64,
    },
    /// Rows are missing, or something follows the end.
    #[error("snapshot holds {found} rows and {left} bytes after them, its end says {said} rows and nothing after")]
    Count {
        /// Rows read.
        found: u64,
        /// Rows that its end names.
        said: u64,
        /// Bytes after its end.
        left: usize,
    },
    /// A key does not come after the one before it.
    #[error("row {row} of the snapshot is out of order")]
    Order {
        /// Which row, from 0.
        row: u64,
    },
}

/// Writes a snapshot row by row.
pub(super) struct Writer {
    bytes: Vec<u8>,
    rows: u64,
}

impl Writer {
    pub(super) fn new() -> Self {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(SNAPSHOT_VERSION.to_be_bytes());
        Self { bytes, rows: 0 }
    }

    pub(super) fn row(&mut self, key: &[u8], value: &[u8]) {
        for part in [key, value] {
            let length = u32::try_from(part.len()).ok().filter(|n| *n != END);
            self.bytes.extend(length.expect("SQLite keeps no value of 4 GiB").to_be_bytes());
            self.bytes.extend(part);
        }
        self.rows += 1;
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.extend(END.to_be_bytes());
        self.bytes.extend(self.rows.to_be_bytes());
        self.bytes
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn number<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn part(&mut self, length: u32) -> Option<Vec<u8>> {
        self.take(usize::try_from(length).ok()?).map(<[u8]>::to_vec)
    }
}

/// Reads a snapshot; believes nothing that its bytes do not show.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Row>, SnapshotError> {
    let mut reader = Reader { rest: bytes };
    let no_snapshot = SnapshotError::NoSnapshot { bytes: bytes.len() };
    if reader.number() != Some(*MAGIC) {
        return Err(no_snapshot);
    }
    let found = u16::from_be_bytes(reader.number().ok_or(no_snapshot)?);
    if found != SNAPSHOT_VERSION {
        return Err(SnapshotError::Version { found });
    }
    let mut rows: Vec<Row> = Vec::new();
    loop {
        let read = rows.len() as u64;
        let cut_off = || SnapshotError::CutOff { bytes: bytes.len(), rows: read };
        let length = u32::from_be_bytes(reader.number().ok_or_else(cut_off)?);
        if length == END {
            let said = u64::from_be_bytes(reader.number().ok_or_else(cut_off)?);
            let left = reader.rest.len();
            if said != read || left != 0 {
                return Err(SnapshotError::Count { found: read, said, left });
            }
            return Ok(rows);
        }
        let key = reader.part(length).ok_or_else(cut_off)?;
        let length = u32::from_be_bytes(reader.number().ok_or_else(cut_off)?);
        let value = reader.part(length).ok_or_else(cut_off)?;
        if rows.last().is_some_and(|(before, _)| *before >= key) {
            return Err(SnapshotError::Order { row: read });
        }
        rows.push((key, value));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn write<'a>(rows: impl IntoIterator<Item = (&'a Vec<u8>, &'a Vec<u8>)>) -> Vec<u8> {
        let mut writer = Writer::new();
        for (key, value) in rows {
            writer.row(key, value);
        }
        writer.finish()
    }

    proptest! {
        #[test]
        fn rows_read_back_and_no_prefix_passes_for_a_snapshot(
            rows in proptest::collection::btree_map(
                proptest::collection::vec(any::<u8>(), 0..8), proptest::collection::vec(any::<u8>(), 0..8), 0..12),
        ) {
            let bytes = write(&rows);
            let back = read(&bytes).expect("reads back");
            prop_assert_eq!(back, rows.into_iter().collect::<Vec<_>>());
            for cut in 0..bytes.len() {
                prop_assert!(read(&bytes[..cut]).is_err(), "cut to {} bytes was read", cut);
            }
        }

        #[test]
        fn random_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(read(&bytes).is_err());
            let mut behind_a_header = write([]);
            behind_a_header.truncate(8);
            behind_a_header.extend(bytes);
            // Nearly all are refused; what matters is that none panics or reserves what a length claims.
            drop(read(&behind_a_header));
        }
    }

    #[test]
    fn the_bytes_of_a_snapshot_stay_what_they_are() {
        let row = (b"app/shop".to_vec(), vec![1, 2]);
        let bytes = write([(&row.0, &row.1)]);
        let expected = b"HFSNAP\x00\x01\x00\x00\x00\x08app/shop\x00\x00\x00\x02\x01\x02\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x01";
        assert_eq!(bytes, expected);
    }

    #[test]
    fn rows_out_of_order_and_later_formats_are_refused() {
        let row = (b"a".to_vec(), Vec::new());
        assert_eq!(read(&write([(&row.0, &row.1), (&row.0, &row.1)])), Err(SnapshotError::Order { row: 1 }));
        let mut later = write([]);
        later[7] = 9;
        assert_eq!(read(&later), Err(SnapshotError::Version { found: 9 }));
        let mut longer = write([]);
        longer.push(0);
        assert_eq!(read(&longer), Err(SnapshotError::Count { found: 0, said: 0, left: 1 }));
    }
}
