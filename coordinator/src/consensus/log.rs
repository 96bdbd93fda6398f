//! Log and vote in SQLite. What openraft is told is stored is on the disk: appends and votes wait for the fsync.

use std::{fmt::Debug, io, ops::Bound, ops::RangeBounds, sync::Arc, sync::OnceLock};

use holdfast_shared::{db::Db, error::Chain};
use openraft::{
    LogState, OptionalSend, RaftLogReader, StorageIOError,
    storage::{LogFlushed, RaftLogStorage},
};
use rusqlite::{OptionalExtension as _, params};

use super::{
    entry,
    schema::{Meta, StoreError, column, decode_meta, get_meta, read_meta, write_meta},
    types::{Entry, LogId, StorageError, TypeConfig, Vote},
};

/// The first failure of the store, in our own words: openraft stops at it and keeps only types and debug output.
#[derive(Debug, Clone, Default)]
pub(super) struct Fault(Arc<OnceLock<String>>);

impl Fault {
    pub(super) fn said(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }

    /// Remembers a failure and makes it openraft's, for which it is fatal.
    pub(super) fn write(&self, error: StoreError) -> StorageError {
        self.keep(&error);
        StorageIOError::write(&error).into()
    }

    pub(super) fn read(&self, error: StoreError) -> StorageError {
        self.keep(&error);
        StorageIOError::read(&error).into()
    }

    fn keep(&self, error: &StoreError) {
        let text = self.0.get_or_init(|| Chain(error).to_string());
        tracing::error!(error = %text, "consensus stops: its storage failed");
    }
}

/// The log and the vote of one coordinator. Clones share the database.
#[derive(Debug, Clone)]
pub(super) struct LogStore {
    node: u64,
    db: Db,
    fault: Fault,
}

impl LogStore {
    pub(super) fn new(node: u64, db: Db, fault: Fault) -> Self {
        Self { node, db, fault }
    }

    async fn set(
        &self,
        what: &'static str,
        meta: Meta,
        value: impl serde::Serialize + Send + 'static,
    ) -> Result<(), StorageError> {
        self.db
            .call(move |c| write_meta(c, meta, &value))
            .await
            .map_err(|source| self.fault.write(StoreError::Db { what, source }))
    }

    /// What was purged, and the last entry there is.
    async fn ends(&self) -> Result<(Option<LogId>, Option<LogId>), StoreError> {
        let (purged, last) = self
            .db
            .call(|c| {
                let last: Option<(i64, Vec<u8>)> = c
                    .prepare_cached("SELECT idx, entry FROM raft_log ORDER BY idx DESC LIMIT 1")?
                    .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()?;
                Ok((read_meta(c, Meta::Purged)?, last))
            })
            .await
            .map_err(|source| StoreError::Db { what: "read the ends of the log", source })?;
        let purged: Option<LogId> = decode_meta(Meta::Purged, purged.as_deref())?;
        let last = last.map(|(index, entry)| entry::decode(index.unsigned_abs(), &entry)).transpose()?;
        Ok((purged, last.map(|entry| entry.log_id).or(purged)))
    }

    /// The stored vote, made fit to start from.
    ///
    /// A leader that died after its election and before its first entry was stored would be taken up by openraft as
    /// leader again, but without that entry: it could confirm nothing until somebody proposed a change. Its vote is
    /// given back as one that is not yet won, so that it stands for election once more.
    async fn vote(&self) -> Result<Option<Vote>, StoreError> {
        let vote: Option<Vote> = get_meta(&self.db, "read the vote", Meta::Vote).await?;
        let Some(vote) = vote else { return Ok(None) };
        let (_, last) = self.ends().await?;
        let wrote = last.is_some_and(|last| last.leader_id == vote.leader_id);
        let ours = vote.leader_id.node_id == self.node;
        Ok(Some(if ours && !wrote { Vote { committed: false, ..vote } } else { vote }))
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let first = match range.start_bound() {
            Bound::Included(index) => column(*index),
            Bound::Excluded(index) => column(index.saturating_add(1)),
            Bound::Unbounded => 0,
        };
        let behind = match range.end_bound() {
            Bound::Included(index) => column(index.saturating_add(1)),
            Bound::Excluded(index) => column(*index),
            Bound::Unbounded => i64::MAX,
        };
        let read = self
            .db
            .call(move |c| {
                c.prepare_cached("SELECT idx, entry FROM raft_log WHERE idx >= ?1 AND idx < ?2 ORDER BY idx")?
                    .query_map([first, behind], |row| Ok((row.get(0)?, row.get(1)?)))?
                    .collect::<rusqlite::Result<Vec<(i64, Vec<u8>)>>>()
            })
            .await
            .map_err(|source| self.fault.read(StoreError::Db { what: "read the log", source }))?;
        let decode = |(index, bytes): (i64, Vec<u8>)| entry::decode(index.unsigned_abs(), &bytes);
        let entries: Result<Vec<Entry>, _> = read.into_iter().map(decode).collect();
        entries.map_err(|e| self.fault.read(e.into()))
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        let (last_purged_log_id, last_log_id) = self.ends().await.map_err(|e| self.fault.read(e))?;
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        self.set("store the vote", Meta::Vote, *vote).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        self.vote().await.map_err(|e| self.fault.read(e))
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        // Not waited for: after a power cut the leader finds out again what is committed, and nobody was told of this.
        self.db
            .call_unsynced(move |c| write_meta(c, Meta::Committed, &committed))
            .await
            .map_err(|source| self.fault.write(StoreError::Db { what: "store what is committed", source }))
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        let committed: Option<Option<LogId>> =
            get_meta(&self.db, "read what is committed", Meta::Committed).await.map_err(|e| self.fault.read(e))?;
        Ok(committed.flatten())
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<TypeConfig>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let rows: Vec<(i64, Vec<u8>)> =
            entries.into_iter().map(|e| (column(e.log_id.index), entry::encode(e))).collect();
        let stored = self
            .db
            .call(move |c| {
                let transaction = c.transaction()?;
                {
                    let mut insert =
                        transaction.prepare_cached("INSERT OR REPLACE INTO raft_log(idx, entry) VALUES(?1, ?2)")?;
                    for (index, entry) in &rows {
                        insert.execute(params![index, entry])?;
                    }
                }
                transaction.commit()
            })
            .await;
        match stored {
            Ok(()) => {
                callback.log_io_completed(Ok(()));
                Ok(())
            }
            Err(source) => {
                let failed = StoreError::Db { what: "append to the log", source };
                callback.log_io_completed(Err(io::Error::other(Chain(&failed).to_string())));
                Err(self.fault.write(failed))
            }
        }
    }

    async fn truncate(&mut self, from: LogId) -> Result<(), StorageError> {
        self.db
            .call(move |c| c.execute("DELETE FROM raft_log WHERE idx >= ?1", [column(from.index)]).map(drop))
            .await
            .map_err(|source| self.fault.write(StoreError::Db { what: "cut the log", source }))
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), StorageError> {
        self.db
            .call(move |c| {
                let transaction = c.transaction()?;
                write_meta(&transaction, Meta::Purged, &upto)?;
                transaction.execute("DELETE FROM raft_log WHERE idx <= ?1", [column(upto.index)])?;
                transaction.commit()
            })
            .await
            .map_err(|source| self.fault.write(StoreError::Db { what: "purge the log", source }))
    }
}
