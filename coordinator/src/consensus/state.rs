//! The machine on SQLite: applies committed entries, makes and takes snapshots.
//!
//! The rows are the state, so a snapshot is only a view of them: nothing is stored for it. Applying does not wait for
//! the disk: the entries are on it already, and what a power cut takes from the rows is applied again from the log.

use std::{
    io::Cursor,
    sync::Arc,
    sync::atomic::{AtomicBool, Ordering},
};

use holdfast_shared::db::Db;
use holdfast_types::LogIndex;
use openraft::{
    BasicNode, EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta, storage::RaftStateMachine,
};
use rusqlite::{Connection, params};
use tokio::sync::watch;

use super::{
    log::Fault,
    machine::{Machine, RowChange, StateHandle},
    schema::{Meta, StoreError, decode_meta, read_meta, write_meta},
    snapshot::{self, Row},
    sum,
    types::{Change, Entry, LogId, Outcome, StorageError, StoredMembership, TypeConfig},
};

/// The state of one coordinator.
pub(super) struct StateStore<M> {
    db: Db,
    machine: StateHandle<M>,
    applied: watch::Sender<LogIndex>,
    /// Whether openraft has been given a snapshot since the start; before, it must be told that there is none.
    snapshot_taken: Arc<AtomicBool>,
    fault: Fault,
}

impl<M> Clone for StateStore<M> {
    fn clone(&self) -> Self {
        Self {
            db: self.db.clone(),
            machine: self.machine.clone(),
            applied: self.applied.clone(),
            snapshot_taken: Arc::clone(&self.snapshot_taken),
            fault: self.fault.clone(),
        }
    }
}

impl<M: Machine> StateStore<M> {
    /// Loads the machine from its rows.
    pub(super) async fn load(db: Db, fault: Fault) -> Result<Self, StoreError> {
        let (applied, rows) = db
            .call(|c| {
                let transaction = c.transaction()?;
                Ok((read_meta(&transaction, Meta::Applied)?, read_rows(&transaction)?))
            })
            .await
            .map_err(|source| StoreError::Db { what: "read the state", source })?;
        let applied: Option<Option<LogId>> = decode_meta(Meta::Applied, applied.as_deref())?;
        let machine = M::from_rows(rows).map_err(StoreError::Rows)?;
        Ok(Self {
            db,
            machine: StateHandle::new(machine),
            applied: watch::Sender::new(LogIndex(applied.flatten().map_or(0, |last| last.index))),
            snapshot_taken: Arc::new(AtomicBool::new(false)),
            fault,
        })
    }

    pub(super) fn handle(&self) -> StateHandle<M> {
        self.machine.clone()
    }

    pub(super) fn applied(&self) -> watch::Receiver<LogIndex> {
        self.applied.subscribe()
    }

    async fn apply_all(&self, entries: Vec<Entry>) -> Result<Vec<Outcome>, StoreError> {
        let machine = self.machine.clone();
        self.db
            .call_unsynced(move |c| {
                // Held over the transaction: readers see the batch only once it is committed.
                let mut machine = machine.lock();
                let applied = apply_batch(c, &mut *machine, entries);
                if !matches!(applied, Ok(Ok(_))) {
                    // The machine went ahead of its rows, which were rolled back. Until the coordinator has stopped,
                    // readers get what the rows say.
                    if let Ok(Ok(before)) = read_rows(c).map(M::from_rows) {
                        *machine = before;
                    }
                }
                applied
            })
            .await
            .map_err(|source| StoreError::Db { what: "apply a committed change", source })?
    }

    async fn snapshot(&self) -> Result<Snapshot<TypeConfig>, StoreError> {
        // State and index are read in one transaction, or the snapshot would be torn.
        let (applied, members, bytes) = self
            .db
            .call(|c| {
                let transaction = c.transaction()?;
                let mut writer = snapshot::Writer::new();
                {
                    let mut select = transaction.prepare_cached("SELECT key, value, sum FROM state ORDER BY key")?;
                    let mut rows = select.query([])?;
                    while let Some(row) = rows.next()? {
                        let (key, value) = (row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?);
                        sum::check(&[key, value], row.get_ref(2)?.as_blob_or_null()?)?;
                        writer.row(key, value);
                    }
                }
                let applied = read_meta(&transaction, Meta::Applied)?;
                Ok((applied, read_meta(&transaction, Meta::Members)?, writer.finish()))
            })
            .await
            .map_err(|source| StoreError::Db { what: "read a snapshot", source })?;
        let (last_log_id, last_membership) = decode_applied(applied.as_deref(), members.as_deref())?;
        let snapshot_id = last_log_id.map_or_else(|| "empty".to_owned(), |last| last.to_string());
        let meta = SnapshotMeta { last_log_id, last_membership, snapshot_id };
        Ok(Snapshot { meta, snapshot: Box::new(Cursor::new(bytes)) })
    }

    async fn install(&self, meta: &SnapshotMeta<u64, BasicNode>, bytes: &[u8]) -> Result<(), StoreError> {
        let rows = snapshot::read(bytes)?;
        let (last, members) = (meta.last_log_id, meta.last_membership.clone());
        let handle = self.machine.clone();
        let installed = self
            .db
            .call(move |c| {
                let transaction = c.transaction()?;
                transaction.execute("DELETE FROM state", [])?;
                for (key, value) in &rows {
                    put_row(&transaction, key, value)?;
                }
                write_meta(&transaction, Meta::Applied, &last)?;
                write_meta(&transaction, Meta::Members, &members)?;
                let machine = match M::from_rows(rows) {
                    Ok(machine) => machine,
                    Err(wrong) => return Ok(Err(StoreError::Rows(wrong))),
                };
                let mut current = handle.lock();
                transaction.commit()?;
                *current = machine;
                Ok(Ok(()))
            })
            .await
            .map_err(|source| StoreError::Db { what: "install a snapshot", source })?;
        installed?;
        self.applied.send_replace(LogIndex(last.map_or(0, |last| last.index)));
        Ok(())
    }
}

fn apply_batch<M: Machine>(
    connection: &mut Connection,
    machine: &mut M,
    entries: Vec<Entry>,
) -> rusqlite::Result<Result<Vec<Outcome>, StoreError>> {
    let transaction = connection.transaction()?;
    let mut outcomes = Vec::with_capacity(entries.len());
    let mut last = None;
    for entry in entries {
        last = Some(entry.log_id);
        let outcome = match entry.payload {
            EntryPayload::Blank => Outcome::default(),
            EntryPayload::Membership(members) => {
                write_meta(&transaction, Meta::Members, &StoredMembership::new(Some(entry.log_id), members))?;
                Outcome::default()
            }
            EntryPayload::Normal(Change(change)) => {
                let index = entry.log_id.index;
                let applied = match machine.apply(index, &change) {
                    Ok(applied) => applied,
                    Err(change) => return Ok(Err(StoreError::UnknownChange { index, change })),
                };
                for RowChange { key, value } in &applied.rows {
                    match value {
                        Some(value) => put_row(&transaction, key, value)?,
                        None => drop_row(&transaction, key)?,
                    }
                }
                Outcome(applied.outcome)
            }
        };
        outcomes.push(outcome);
    }
    if let Some(last) = last {
        write_meta(&transaction, Meta::Applied, &last)?;
    }
    transaction.commit()?;
    Ok(Ok(outcomes))
}

fn put_row(connection: &Connection, key: &[u8], value: &[u8]) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO state(key, value, sum) VALUES(?1, ?2, ?3)
             ON CONFLICT(key) DO UPDATE SET value = excluded.value, sum = excluded.sum",
        )?
        .execute(params![key, value, sum::of(&[key, value])])
        .map(drop)
}

fn drop_row(connection: &Connection, key: &[u8]) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM state WHERE key = ?1")?.execute(params![key]).map(drop)
}

fn read_rows(connection: &Connection) -> rusqlite::Result<Vec<Row>> {
    connection
        .prepare_cached("SELECT key, value, sum FROM state ORDER BY key")?
        .query_map([], |row| {
            let (key, value): Row = (row.get(0)?, row.get(1)?);
            sum::check(&[&key, &value], row.get::<_, Option<Vec<u8>>>(2)?.as_deref())?;
            Ok((key, value))
        })?
        .collect()
}

fn decode_applied(
    applied: Option<&str>,
    members: Option<&str>,
) -> Result<(Option<LogId>, StoredMembership), StoreError> {
    let applied: Option<Option<LogId>> = decode_meta(Meta::Applied, applied)?;
    let members: Option<StoredMembership> = decode_meta(Meta::Members, members)?;
    Ok((applied.flatten(), members.unwrap_or_default()))
}

impl<M: Machine> RaftStateMachine<TypeConfig> for StateStore<M> {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        let (applied, members) = self
            .db
            .call(|c| Ok((read_meta(c, Meta::Applied)?, read_meta(c, Meta::Members)?)))
            .await
            .map_err(|source| self.fault.read(StoreError::Db { what: "read what is applied", source }))?;
        decode_applied(applied.as_deref(), members.as_deref()).map_err(|e| self.fault.read(e))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Outcome>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let Some(last) = entries.last().map(|entry| entry.log_id.index) else { return Ok(Vec::new()) };
        let outcomes = self.apply_all(entries).await.map_err(|e| self.fault.write(e))?;
        self.applied.send_replace(LogIndex(last));
        Ok(outcomes)
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<u64, BasicNode>,
        bytes: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        self.install(meta, bytes.get_ref()).await.map_err(|e| self.fault.write(e))?;
        self.snapshot_taken.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// A view of the rows as they are now, which may be further on than when openraft asked for one to be taken.
    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>, StorageError> {
        if !self.snapshot_taken.load(Ordering::SeqCst) {
            return Ok(None);
        }
        self.snapshot().await.map(Some).map_err(|e| self.fault.read(e))
    }
}

impl<M: Machine> RaftSnapshotBuilder<TypeConfig> for StateStore<M> {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>, StorageError> {
        let snapshot = self.snapshot().await.map_err(|e| self.fault.read(e))?;
        self.snapshot_taken.store(true, Ordering::SeqCst);
        Ok(snapshot)
    }
}
