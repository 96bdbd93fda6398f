//! The tables of `raft.db`, and the few named values beside log and state.

use holdfast_shared::db::{Db, DbError};
use rusqlite::{Connection, OptionalExtension as _, params};
use rusqlite_migration::M;
use serde::{Serialize, de::DeserializeOwned};

/// The schema's steps, numbered by their place. One that was released never changes; a file of every released schema is
/// kept as a test fixture.
pub const MIGRATIONS: &[M<'static>] = &[
    // raft_log: entry is a protobuf record. raft_meta: small JSON values. state: the machine's rows as they are.
    M::up(
        "CREATE TABLE raft_log(idx INTEGER PRIMARY KEY, entry BLOB NOT NULL) STRICT;
         CREATE TABLE raft_meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
         CREATE TABLE state(key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;",
    ),
    // Of key and value; none of rows that were written before.
    M::up("ALTER TABLE state ADD COLUMN sum BLOB;"),
];

/// A named value in `raft_meta`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meta {
    /// Which coordinator the database belongs to.
    Node,
    /// The last vote, own or given.
    Vote,
    /// The last entry known to be committed.
    Committed,
    /// The last entry deleted because a snapshot holds it.
    Purged,
    /// The last entry applied to the rows of `state`.
    Applied,
    /// Who votes, as of the last applied entry.
    Members,
}

impl Meta {
    const fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Vote => "vote",
            Self::Committed => "committed",
            Self::Purged => "purged",
            Self::Applied => "applied",
            Self::Members => "members",
        }
    }
}

/// Why something of the log or the state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    #[error("cannot {what}")]
    Db {
        what: &'static str,
        #[source]
        source: DbError,
    },
    #[error("value \"{name}\" in raft_meta cannot be decoded")]
    Meta {
        name: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error(transparent)]
    Entry(#[from] super::entry::EntryError),
    #[error(transparent)]
    Snapshot(#[from] super::snapshot::SnapshotError),
    #[error("the stored state cannot be understood: {0}")]
    Rows(String),
    #[error(
        "committed change at index {index} is not known to this version: {change}; install a version that knows it, \
         nothing was applied"
    )]
    UnknownChange { index: u64, change: super::machine::UnknownChange },
}

/// Reads a value as it is stored; decode it with [`decode_meta`] outside of the database's thread.
pub(super) fn read_meta(connection: &Connection, meta: Meta) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached("SELECT value FROM raft_meta WHERE name = ?1")?
        .query_row([meta.name()], |row| row.get(0))
        .optional()
}

pub(super) fn decode_meta<T: DeserializeOwned>(meta: Meta, value: Option<&str>) -> Result<Option<T>, StoreError> {
    let decode = |text| serde_json::from_str(text).map_err(|source| StoreError::Meta { name: meta.name(), source });
    value.map(decode).transpose()
}

/// Writes a value within the caller's transaction.
pub(super) fn write_meta(connection: &Connection, meta: Meta, value: &impl Serialize) -> rusqlite::Result<()> {
    let value = serde_json::to_string(value).expect("votes, log ids and members are plain data");
    connection
        .prepare_cached(
            "INSERT INTO raft_meta(name, value) VALUES(?1, ?2) ON CONFLICT(name) DO UPDATE SET value = excluded.value",
        )?
        .execute(params![meta.name(), value])
        .map(drop)
}

pub(super) async fn get_meta<T: DeserializeOwned>(
    db: &Db,
    what: &'static str,
    meta: Meta,
) -> Result<Option<T>, StoreError> {
    let value = db.call(move |c| read_meta(c, meta)).await.map_err(|source| StoreError::Db { what, source })?;
    decode_meta(meta, value.as_deref())
}

/// An index as SQLite stores it.
pub(super) fn column(index: u64) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_migrations_are_valid() {
        rusqlite_migration::Migrations::from_slice(MIGRATIONS).validate().expect("valid");
    }
}
