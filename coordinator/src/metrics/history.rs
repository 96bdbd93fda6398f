//! The past of hosts and apps, in `history.db`: rolled up, bounded, and of no consequence.
//!
//! A row is one subject's one minute (fine), ten minutes (middle) or two hours (coarse), as `coordinator_core` packs it.
//! Rows lie in the order of their time, so that a minute of a whole fleet is written to the end of the file and the
//! oldest is given up from its beginning; a subject's row of a moment is found by its key. 2,000 hosts with 40 series
//! each write 1.5 MB a minute, in 0.3 s of a busy machine (`a_minute_of_two_thousand_hosts_is_written_in_a_moment`, a
//! debug build): 25 kB a second on average, appended.
//!
//! A damaged file is set aside and begun anew. A full disk stops the history until there is room; whatever happens here
//! stops nothing else.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use holdfast_coordinator_core::metrics::{
    block::{Block, Cell},
    measure::{Readings, Series},
    tiers::{self, Kept, Tier},
};
use holdfast_shared::{
    clock::SharedClock,
    db::{Db, DbError},
    error::Chain,
};
use holdfast_types::{AppName, HostName, WallTime};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use rusqlite_migration::M;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{Metrics, Subject};

/// How often apps are sampled and what is due is looked for: the agents' pace.
const EVERY: Duration = Duration::from_secs(10);
/// Seconds after which nothing more comes of a minute: a look is sent at once.
pub(super) const MINUTE_SETTLES: i64 = 5;
/// Subjects that are rolled up in one job: others wait for the file meanwhile.
const ROLLED_AT_ONCE: usize = 100;
/// Rows rolled up after each other before the rest waits for the next turn.
const ROLLS_MAX: usize = 8;
/// Kept free of the room, in hundredths: one giving up makes room for some minutes.
const ROOM_KEPT: u64 = 5;
/// Longest course that is asked for, in points.
pub const POINTS_MAX: u32 = 1_000;
/// Unused layouts are thrown away after so many rolled up rows of two hours: about a day.
const COARSE_ROWS_A_DAY: u32 = 12;

const MIGRATIONS: &[M<'static>] = &[M::up(
    "CREATE TABLE subjects(id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, name TEXT NOT NULL, UNIQUE(kind, name)) STRICT;
     CREATE TABLE layouts(id INTEGER PRIMARY KEY, series BLOB NOT NULL UNIQUE) STRICT;
     CREATE TABLE rows(
       tier INTEGER NOT NULL, at INTEGER NOT NULL, subject INTEGER NOT NULL, layout INTEGER NOT NULL, data BLOB NOT NULL,
       PRIMARY KEY(tier, at, subject)) STRICT, WITHOUT ROWID;
     CREATE TABLE tiers(tier INTEGER PRIMARY KEY, bytes INTEGER NOT NULL, until INTEGER NOT NULL) STRICT;
     INSERT INTO tiers(tier, bytes, until) VALUES (0, 0, 0), (1, 0, 0), (2, 0, 0);",
)];

/// What a row takes beside its data, in bytes: its key, its layout and its share of the page.
const ROW_BYTES: i64 = 24;

/// Where it is kept and how large it may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// In bytes, its write-ahead log not counted.
    pub room: u64,
}

/// How the history is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Standing {
    /// There is none.
    #[default]
    Off,
    /// It is written.
    Kept,
    /// It is not, for this reason.
    Stopped(String),
}

#[derive(Debug, Default)]
struct Inner {
    standing: Standing,
    db: Option<Db>,
    used: u64,
}

/// The past. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct History(Arc<Mutex<Inner>>);

/// The course of a subject.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    /// Each step a cell.
    pub block: Block,
    /// Why there is less than was asked for.
    pub notes: Vec<String>,
}

impl History {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("nothing panics while it holds the history's handle")
    }

    /// How it is.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.lock().standing.clone()
    }

    /// Bytes of the file that are used.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.lock().used
    }

    /// The course of a subject from a moment on, in seconds since the Unix epoch.
    pub async fn course(&self, subject: &Subject, from: i64, until: i64, points: u32, unwritten: Vec<Block>) -> Course {
        let points = points.clamp(1, POINTS_MAX);
        let span = u32::try_from(until.saturating_sub(from).max(1)).unwrap_or(u32::MAX);
        let step = span.div_ceil(points).max(Tier::Fine.step());
        let mut block = Block::new(from, step, usize::try_from(span.div_ceil(step)).unwrap_or(usize::MAX));
        let mut notes = Vec::new();
        let (db, standing) = {
            let inner = self.lock();
            (inner.db.clone(), inner.standing.clone())
        };
        match standing {
            Standing::Off => notes.push("this coordinator keeps no history".to_owned()),
            Standing::Kept => {}
            Standing::Stopped(why) => notes.push(format!("the history is stopped: {why}")),
        }
        if let Some(db) = db {
            let (subject, room) = (subject.clone(), block.clone());
            match db.call(move |c| read(c, &subject, room, until)).await {
                Ok(read) => block = read,
                Err(e) => notes.push(format!("the history cannot be read: {}", Chain(&e))),
            }
        }
        for minute in unwritten {
            block.merge(&minute);
        }
        Course { block, notes }
    }
}

/// Keeps the history until cancelled: samples apps, writes minutes, rolls up, makes room.
pub async fn keep(metrics: Metrics, place: Place, clock: SharedClock, cancel: CancellationToken) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut keeper = Keeper { metrics, place, coarse_rows: 0 };
    keeper.open(clock.wall()).await;
    loop {
        tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            _ = ticks.tick() => {}
        }
        keeper.metrics.sample_apps((clock.boot(), clock.wall()));
        keeper.turn(&clock).await;
    }
    let rest = keeper.metrics.take_all();
    if let Err(e) = keeper.write(rest, &clock).await {
        tracing::debug!(error = %Chain(&e), "the last minute of the history is not written");
    }
    let db = keeper.metrics.history.lock().db.take();
    if let Some(db) = db {
        db.close().await;
    }
}

struct Keeper {
    metrics: Metrics,
    place: Place,
    coarse_rows: u32,
}

impl Keeper {
    async fn turn(&mut self, clock: &SharedClock) {
        let wall = clock.wall();
        let closed = self.metrics.take_closed(wall);
        if closed.is_empty() {
            return;
        }
        if self.metrics.history.lock().db.is_none() {
            self.open(wall).await;
        }
        let done = match self.write(closed, clock).await {
            Ok(Some(db)) => self.keep_up(&db, wall).await,
            Ok(None) => return,
            Err(e) => Err(e),
        };
        match done {
            Ok(()) => self.kept(),
            Err(e) => self.failed(&e, wall).await,
        }
    }

    fn db(&self) -> Option<Db> {
        self.metrics.history.lock().db.clone()
    }

    /// Checking a large file takes seconds: nothing waits for it but the history itself.
    async fn open(&self, wall: WallTime) {
        let path = self.place.path.clone();
        let opened = tokio::task::spawn_blocking(move || open(&path)).await;
        match opened {
            Ok(Ok(db)) => {
                let used = db.call(|c| used(c)).await.unwrap_or(0);
                let mut inner = self.metrics.history.lock();
                (inner.db, inner.used) = (Some(db), used);
                if inner.standing == Standing::Off {
                    inner.standing = Standing::Kept;
                }
            }
            Ok(Err(e)) => self.stopped(Chain(&e).to_string()),
            Err(e) => self.stopped(format!("opening it ended with {e} at {wall}")),
        }
    }

    /// Said once, until it is kept again.
    fn stopped(&self, why: String) {
        let mut inner = self.metrics.history.lock();
        if !matches!(inner.standing, Standing::Stopped(_)) {
            tracing::warn!(
                why,
                "the history of metrics is stopped; it is tried again each minute, nothing else is affected"
            );
        }
        inner.standing = Standing::Stopped(why);
    }

    async fn failed(&self, error: &DbError, wall: WallTime) {
        match error {
            DbError::Damaged { path, found } => {
                let db = self.metrics.history.lock().db.take();
                if let Some(db) = db {
                    db.close().await;
                }
                match set_aside(path) {
                    Ok(aside) => tell_damaged(path, &aside, found),
                    Err(e) => {
                        return self.stopped(format!("{} is damaged and cannot be set aside: {e}", path.display()));
                    }
                }
                self.open(wall).await;
            }
            DbError::Full { .. }
            | DbError::Sqlite { .. }
            | DbError::Prepare { .. }
            | DbError::InUse { .. }
            | DbError::Newer { .. }
            | DbError::Migrate { .. } => self.stopped(Chain(error).to_string()),
            DbError::Closed { .. } => {
                self.metrics.history.lock().db = None;
                self.stopped(Chain(error).to_string());
            }
        }
    }

    fn kept(&self) {
        let mut inner = self.metrics.history.lock();
        if matches!(inner.standing, Standing::Stopped(_)) {
            tracing::info!("the history of metrics is kept again");
        }
        inner.standing = Standing::Kept;
    }

    /// Writes minutes; answers with the database, if there is one.
    async fn write(
        &self,
        minutes: Vec<(i64, BTreeMap<Subject, Block>)>,
        clock: &SharedClock,
    ) -> Result<Option<Db>, DbError> {
        let rows: u64 = minutes.iter().map(|(_, subjects)| subjects.len() as u64).sum();
        let own = &self.metrics.own;
        let Some(db) = self.db() else {
            own.history_lost.inc_by(rows);
            return Ok(None);
        };
        let began = clock.boot();
        let written = db.call_unsynced(move |c| write(c, &minutes)).await;
        match &written {
            Ok(()) => {
                own.history_rows.inc_by(rows);
                own.history_seconds.observe(clock.boot().since(began).as_secs_f64());
            }
            Err(_) => {
                own.history_lost.inc_by(rows);
            }
        }
        written.map(|()| Some(db))
    }

    /// Rolls up what is due, forgets what is old, makes room.
    async fn keep_up(&mut self, db: &Db, wall: WallTime) -> Result<(), DbError> {
        let now = wall.unix_millis().div_euclid(1_000);
        // Of a row that is not complete no coarser one is made: only when nothing finer is due any more.
        let mut turns = ROLLS_MAX;
        for into in [Tier::Middle, Tier::Coarse] {
            while turns > 0
                && let Some(row) = db.call_unsynced(move |c| due(c, into, now)).await?
            {
                turns -= 1;
                let mut after = Some(0);
                while let Some(from) = after {
                    after = db.call_unsynced(move |c| roll(c, into, row, from)).await?;
                }
                if into == Tier::Coarse {
                    self.coarse_rows += 1;
                }
            }
        }
        for tier in Tier::ALL {
            let before = tiers::kept_from(tier, now);
            db.call_unsynced(move |c| forget(c, tier, before, now).map(drop)).await?;
        }
        if self.coarse_rows >= COARSE_ROWS_A_DAY {
            self.coarse_rows = 0;
            db.call_unsynced(|c| {
                c.execute("DELETE FROM layouts WHERE id NOT IN (SELECT DISTINCT layout FROM rows)", []).map(drop)
            })
            .await?;
        }
        let room = self.place.room;
        let (evicted, used) = db.call_unsynced(move |c| make_room(c, room)).await?;
        self.metrics.own.history_evicted.inc_by(evicted);
        self.metrics.history.lock().used = used;
        Ok(())
    }
}

fn tell_damaged(path: &Path, aside: &Path, found: &str) {
    tracing::warn!(
        found,
        "{} was damaged: it is set aside as {}, and the history of metrics begins anew; nothing else is affected",
        path.display(),
        aside.display()
    );
}

/// Opens the file, or begins anew when it is damaged or of a release that knows more.
fn open(path: &Path) -> Result<Db, DbError> {
    let found = match Db::open(path, MIGRATIONS) {
        Err(DbError::Damaged { found, .. }) => found,
        Err(e @ (DbError::Newer { .. } | DbError::Migrate { .. })) => e.to_string(),
        opened => return opened,
    };
    let aside = set_aside(path).map_err(|source| DbError::Prepare { path: path.to_owned(), source })?;
    tell_damaged(path, &aside, &found);
    Db::open(path, MIGRATIONS)
}

/// One damaged file is kept, the last one.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let beside = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let aside = beside(".damaged");
    fs::rename(path, &aside)?;
    for end in ["-wal", "-shm"] {
        match fs::remove_file(beside(end)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(aside)
}

const fn subject_kind(subject: &Subject) -> i64 {
    match subject {
        Subject::Host(_) => 0,
        Subject::App(_) => 1,
    }
}

fn subject_name(subject: &Subject) -> &str {
    match subject {
        Subject::Host(host) => host.as_str(),
        Subject::App(app) => app.as_str(),
    }
}

fn subject_id(tx: &Transaction<'_>, subject: &Subject) -> rusqlite::Result<i64> {
    let key = params![subject_kind(subject), subject_name(subject)];
    tx.prepare_cached("INSERT OR IGNORE INTO subjects(kind, name) VALUES (?1, ?2)")?.execute(key)?;
    tx.prepare_cached("SELECT id FROM subjects WHERE kind = ?1 AND name = ?2")?.query_row(key, |row| row.get(0))
}

fn write(c: &mut Connection, minutes: &[(i64, BTreeMap<Subject, Block>)]) -> rusqlite::Result<()> {
    let tx = c.transaction()?;
    for (_, subjects) in minutes {
        for (subject, block) in subjects.iter().filter(|(_, block)| !block.is_empty()) {
            let id = subject_id(&tx, subject)?;
            put(&tx, Tier::Fine, id, block)?;
        }
    }
    tx.commit()
}

fn put(tx: &Transaction<'_>, tier: Tier, subject: i64, block: &Block) -> rusqlite::Result<()> {
    let (layout, data) = (block.layout(), block.data(tier.is_single()));
    tx.prepare_cached("INSERT OR IGNORE INTO layouts(series) VALUES (?1)")?.execute([&layout])?;
    let layout: i64 =
        tx.prepare_cached("SELECT id FROM layouts WHERE series = ?1")?.query_row([&layout], |row| row.get(0))?;
    let key = params![tier.number(), block.from, subject];
    // Written again after the clock went back, or after a rolling up that was cut off.
    let before: Option<i64> = tx
        .prepare_cached("SELECT length(data) FROM rows WHERE tier = ?1 AND at = ?2 AND subject = ?3")?
        .query_row(key, |row| row.get(0))
        .optional()?;
    let size = stored(data.len() as u64) + ROW_BYTES;
    tx.prepare_cached("INSERT OR REPLACE INTO rows(tier, at, subject, layout, data) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![tier.number(), block.from, subject, layout, data])?;
    let gone = before.map_or(0, |length| length + ROW_BYTES);
    tx.prepare_cached("UPDATE tiers SET bytes = max(0, bytes + ?2 - ?3) WHERE tier = ?1")?.execute(params![
        tier.number(),
        size,
        gone
    ])?;
    Ok(())
}

/// A size as SQLite keeps it.
fn stored(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// And back.
fn counted(size: i64) -> u64 {
    u64::try_from(size).unwrap_or(0)
}

/// The next row of a resolution that is to be rolled up.
fn due(c: &mut Connection, into: Tier, now: i64) -> rusqlite::Result<Option<i64>> {
    let Some(finer) = finer(into) else { return Ok(None) };
    let until: i64 = c.query_row("SELECT until FROM tiers WHERE tier = ?1", [into.number()], |row| row.get(0))?;
    let oldest: Option<i64> =
        c.query_row("SELECT min(at) FROM rows WHERE tier = ?1 AND at >= ?2", params![finer.number(), until], |row| {
            row.get(0)
        })?;
    Ok(tiers::due(into, until, oldest, now))
}

fn finer(tier: Tier) -> Option<Tier> {
    Tier::ALL.into_iter().find(|finer| finer.coarser() == Some(tier))
}

/// Rolls up one row of some subjects; answers after which subject to go on.
fn roll(c: &mut Connection, into: Tier, row: i64, after: i64) -> rusqlite::Result<Option<i64>> {
    let Some(finer) = finer(into) else { return Ok(None) };
    let tx = c.transaction()?;
    let rows = (row..row + into.row()).step_by(usize::try_from(finer.row()).unwrap_or(1));
    let subjects: Vec<i64> = {
        let mut subjects = tx.prepare_cached(
            "SELECT DISTINCT subject FROM rows WHERE tier = ?1 AND at >= ?2 AND at < ?3 AND subject > ?4
             ORDER BY subject LIMIT ?5",
        )?;
        let found = subjects.query_map(
            params![finer.number(), row, row + into.row(), after, stored(ROLLED_AT_ONCE as u64)],
            |found| found.get(0),
        )?;
        found.collect::<rusqlite::Result<_>>()?
    };
    for subject in &subjects {
        let mut blocks = Vec::new();
        for at in rows.clone() {
            blocks.extend(block_of(&tx, finer, at, *subject)?);
        }
        let block = tiers::roll(into, row, &blocks);
        if !block.is_empty() {
            put(&tx, into, *subject, &block)?;
        }
    }
    let next = subjects.last().copied().filter(|_| subjects.len() == ROLLED_AT_ONCE);
    if next.is_none() {
        tx.execute("UPDATE tiers SET until = ?2 WHERE tier = ?1", params![into.number(), row + into.row()])?;
    }
    tx.commit()?;
    Ok(next)
}

/// One row; nothing where there is none, and where its bytes are none of ours.
fn block_of(c: &Connection, tier: Tier, at: i64, subject: i64) -> rusqlite::Result<Option<Block>> {
    let found = c
        .prepare_cached(
            "SELECT series, data FROM rows JOIN layouts ON layouts.id = rows.layout
             WHERE tier = ?1 AND at = ?2 AND subject = ?3",
        )?
        .query_row(params![tier.number(), at, subject], |row| {
            Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?))
        })
        .optional()?;
    Ok(found.and_then(|(layout, data)| tier.read(at, &layout, &data).ok()))
}

/// Forgets what is older than it is kept, and what a clock that was far ahead has written.
fn forget(c: &mut Connection, tier: Tier, before: i64, now: i64) -> rusqlite::Result<usize> {
    let far = now + 2 * Tier::Coarse.row();
    let any: bool = c
        .prepare_cached("SELECT EXISTS(SELECT 1 FROM rows WHERE tier = ?1 AND (at < ?2 OR at > ?3))")?
        .query_row(params![tier.number(), before, far], |row| row.get(0))?;
    if !any {
        return Ok(0);
    }
    let tx = c.transaction()?;
    let mut gone = 0;
    for (from, to) in [(i64::MIN, before), (far + 1, i64::MAX)] {
        gone += delete(&tx, tier, from, to)?;
    }
    tx.execute("UPDATE tiers SET until = min(until, ?2) WHERE tier = ?1", params![tier.number(), far])?;
    tx.commit()?;
    Ok(gone)
}

fn delete(tx: &Transaction<'_>, tier: Tier, from: i64, to: i64) -> rusqlite::Result<usize> {
    let key = params![tier.number(), from, to];
    let bytes: i64 = tx.query_row(
        &format!(
            "SELECT coalesce(sum(length(data) + {ROW_BYTES}), 0) FROM rows WHERE tier = ?1 AND at >= ?2 AND at < ?3"
        ),
        key,
        |row| row.get(0),
    )?;
    let gone = tx.execute("DELETE FROM rows WHERE tier = ?1 AND at >= ?2 AND at < ?3", key)?;
    tx.execute("UPDATE tiers SET bytes = max(0, bytes - ?2) WHERE tier = ?1", params![tier.number(), bytes])?;
    Ok(gone)
}

fn used(c: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name: &str| c.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = pragma("page_count")?.saturating_sub(pragma("freelist_count")?);
    Ok(counted(pages.saturating_mul(pragma("page_size")?)))
}

/// Gives up the oldest rows until there is room; answers how many, and what is used then.
fn make_room(c: &mut Connection, room: u64) -> rusqlite::Result<(u64, u64)> {
    let mut evicted = 0;
    let mut now_used = used(c)?;
    if now_used <= room {
        return Ok((evicted, now_used));
    }
    let goal = room / 100 * (100 - ROOM_KEPT);
    while now_used > goal {
        let bytes: BTreeMap<u8, i64> = c
            .prepare_cached("SELECT tier, bytes FROM tiers")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let of = |tier: Tier| (tier, counted(bytes.get(&tier.number()).copied().unwrap_or(0)));
        let Some(tier) = tiers::evict(Tier::ALL.map(of), now_used, goal) else { break };
        let oldest: Option<i64> =
            c.query_row("SELECT min(at) FROM rows WHERE tier = ?1", [tier.number()], |row| row.get(0))?;
        let tx = c.transaction()?;
        match oldest {
            Some(oldest) => evicted += delete(&tx, tier, oldest, oldest + tier.row())? as u64,
            // Its count is off: nothing of it is left.
            None => {
                tx.execute("UPDATE tiers SET bytes = 0 WHERE tier = ?1", [tier.number()])?;
            }
        }
        tx.commit()?;
        now_used = used(c)?;
    }
    Ok((evicted, now_used))
}

fn kept(c: &Connection, tier: Tier) -> rusqlite::Result<Option<Kept>> {
    let oldest: Option<i64> =
        c.query_row("SELECT min(at) FROM rows WHERE tier = ?1", [tier.number()], |row| row.get(0))?;
    let until: i64 = if tier == Tier::Fine {
        i64::MAX
    } else {
        c.query_row("SELECT until FROM tiers WHERE tier = ?1", [tier.number()], |row| row.get(0))?
    };
    Ok(oldest.map(|oldest| Kept { oldest, until }))
}

fn read(c: &mut Connection, subject: &Subject, mut into: Block, until: i64) -> rusqlite::Result<Block> {
    let id: Option<i64> = c
        .prepare_cached("SELECT id FROM subjects WHERE kind = ?1 AND name = ?2")?
        .query_row(params![subject_kind(subject), subject_name(subject)], |row| row.get(0))
        .optional()?;
    let Some(id) = id else { return Ok(into) };
    let all = [kept(c, Tier::Fine)?, kept(c, Tier::Middle)?, kept(c, Tier::Coarse)?];
    for part in tiers::plan(into.from, until, into.step, all) {
        let rows = part.tier.row_of(part.from)..part.until;
        for row in rows.step_by(usize::try_from(part.tier.row()).unwrap_or(1)) {
            let Some(block) = block_of(c, part.tier, row, id)? else { continue };
            for (series, at, cell) in block.cells().filter(|(_, at, _)| (part.from..part.until).contains(at)) {
                into.add(series, at, cell);
            }
        }
    }
    Ok(into)
}

/// A course as it goes over the wire; `now` are the latest values.
#[must_use]
pub fn series(block: &Block, now: &Readings) -> Vec<holdfast_proto::v1::Series> {
    let all = block.columns().iter().map(|(series, column)| {
        let whole = column.iter().flatten().copied().reduce(Cell::and);
        wire(series, column, whole, now.get(series).copied())
    });
    all.collect()
}

fn wire(series: &Series, column: &[Option<Cell>], whole: Option<Cell>, now: Option<f64>) -> holdfast_proto::v1::Series {
    let whole = whole.unwrap_or_else(|| Cell::one(0.0));
    holdfast_proto::v1::Series {
        measure: series.measure.name().to_owned(),
        of: series.of.clone(),
        unit: series.measure.unit().name().to_owned(),
        averages: column.iter().map(|cell| cell.map_or(f32::NAN, |c| c.average)).collect(),
        min: whole.min.into(),
        average: whole.average.into(),
        max: whole.max.into(),
        now,
    }
}

/// A subject by its name.
#[must_use]
pub fn subject(name: &str, hosts: impl Fn(&HostName) -> bool, apps: impl Fn(&AppName) -> bool) -> Option<Subject> {
    if let Ok(host) = HostName::new(name)
        && hosts(&host)
    {
        return Some(Subject::Host(host));
    }
    AppName::new(name).ok().filter(apps).map(Subject::App)
}

#[cfg(test)]
mod tests;
