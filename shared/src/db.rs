//! SQLite: one connection, owned by one thread that runs jobs in the order they come.
//!
//! SQLite and its fsyncs block, so they stay off the runtime's threads: callers send a closure and wait for what it
//! returns. What always holds: a job whose transaction returned `Ok` from [`Db::call`] is on the disk; one process owns
//! a database file; the file is readable by its owner only. Tables belong to the callers, who bring their migrations.

use std::{
    fmt,
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags};
use rusqlite_migration::{M, Migrations};
use tokio::sync::{mpsc, oneshot};

use crate::room::Room;

/// Jobs that may wait for the thread. When full the caller waits: a queue this long already means a disk that does not
/// keep up, and each job holds its data in memory.
const JOBS_MAX: usize = 64;

/// How long a statement waits for a lock that another connection to the file holds (a copy being taken).
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Only the owner reads and writes: the tables hold what must not be seen or forged.
const FILE_MODE: u32 = 0o600;

/// Why a database could not be opened or used.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The file could not be created, locked or given its mode.
    #[error("cannot prepare database file {}", path.display())]
    Prepare {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process has it open.
    #[error("database {} is in use by another process: stop that one first, one process owns a database", path.display())]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// The check on opening, or a later read, found the file broken.
    #[error("database {} is damaged ({found}): keep the file aside and restore it from a copy", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What SQLite says is wrong.
        found: String,
    },
    /// Written by a later version, whose tables we do not know.
    #[error(
        "database {} has schema {found}, this version knows schemas up to {known}: install the newer version again",
        path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Number of migrations the file has had.
        found: i64,
        /// Number of migrations we know.
        known: usize,
    },
    /// A migration failed; the file is as it was.
    #[error("cannot bring database {} to schema {known}", path.display())]
    Migrate {
        /// The database.
        path: PathBuf,
        /// Number of migrations we know.
        known: usize,
        /// Why.
        #[source]
        source: Box<rusqlite_migration::Error>,
    },
    /// No room; the job's transaction changed nothing.
    #[error("no room on the disk for database {}: free some space, nothing stored was lost", path.display())]
    Full {
        /// The database.
        path: PathBuf,
    },
    /// Any other failure of SQLite; the job's transaction changed nothing.
    #[error("database {} failed", path.display())]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// It was closed, or a job panicked and took the thread with it.
    #[error("database {} is closed", path.display())]
    Closed {
        /// The database.
        path: PathBuf,
    },
}

impl DbError {
    fn of(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        let code = source.sqlite_error_code();
        if code == Some(ErrorCode::DiskFull) {
            Self::Full { path }
        } else if code == Some(ErrorCode::DatabaseCorrupt) || code == Some(ErrorCode::NotADatabase) {
            Self::Damaged { path, found: source.to_string() }
        } else {
            Self::Sqlite { path, source }
        }
    }
}

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

enum Message {
    Run(Job),
    Close(oneshot::Sender<()>),
}

/// When a job's commit is on the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Durable {
    /// Before the caller hears of it.
    Now,
    /// With the next job that is durable at once.
    Later,
}

/// The connection and the lock that keeps other processes away, given back in this order.
struct Opened {
    connection: Connection,
    _lock: Option<File>,
}

impl Opened {
    /// Folds the write-ahead log into the file and lets go of both.
    fn close(self, path: &Path) {
        if let Err((_, e)) = self.connection.close() {
            // Nothing is lost: the write-ahead log is read at the next opening.
            tracing::warn!(path = %path.display(), error = %e, "database did not close cleanly");
        }
    }
}

#[derive(Clone)]
enum Runner {
    Thread(mpsc::Sender<Message>),
    Inline(Arc<Mutex<Option<Opened>>>),
}

/// A cheap handle to one database. When the last handle goes, the thread ends and the file is closed.
#[derive(Clone)]
pub struct Db {
    path: Arc<Path>,
    runner: Runner,
    room: Option<Room>,
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Db").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Db {
    /// Opens or creates the database and starts its thread. Checks the whole file and brings it to the latest of
    /// `migrations`, which are numbered by their place: append to them, never change one that was released.
    ///
    /// # Errors
    /// Any [`DbError`] but [`DbError::Closed`].
    pub fn open(path: &Path, migrations: &[M<'_>]) -> Result<Self, DbError> {
        let lock = lock(path)?;
        Self::with_thread(path, Opened { connection: connect(path, migrations)?, _lock: Some(lock) })
    }

    /// As [`Db::open`], in a folder whose room is looked after: its reserve is given up before a write would fail for
    /// want of room, also before the opening itself.
    ///
    /// # Errors
    /// As [`Db::open`].
    pub fn open_in(room: &Room, path: &Path, migrations: &[M<'_>]) -> Result<Self, DbError> {
        room.tend();
        Ok(Self { room: Some(room.clone()), ..Self::open(path, migrations)? })
    }

    /// The room that is left for it, where that is looked after.
    #[must_use]
    pub const fn room(&self) -> Option<&Room> {
        self.room.as_ref()
    }

    /// Opens without owning: for a tool that looks in beside the daemon. SQLite's own locks still hold.
    ///
    /// # Errors
    /// As [`Db::open`], but never [`DbError::InUse`].
    pub fn open_shared(path: &Path, migrations: &[M<'_>]) -> Result<Self, DbError> {
        Self::with_thread(path, Opened { connection: connect(path, migrations)?, _lock: None })
    }

    /// Opens a database whose jobs run in the caller. For simulated time: a real thread would answer at a random
    /// simulated moment. A simulated host that crashes drops its handles late, so this takes no lock.
    ///
    /// # Errors
    /// As [`Db::open`], but never [`DbError::InUse`].
    pub fn open_inline(path: &Path, migrations: &[M<'_>]) -> Result<Self, DbError> {
        let opened = Opened { connection: connect(path, migrations)?, _lock: None };
        Ok(Self { path: path.into(), runner: Runner::Inline(Arc::new(Mutex::new(Some(opened)))), room: None })
    }

    fn with_thread(path: &Path, opened: Opened) -> Result<Self, DbError> {
        let (jobs, queue) = mpsc::channel(JOBS_MAX);
        let shared: Arc<Path> = path.into();
        let of_thread = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("sqlite".to_owned())
            .spawn(move || serve(opened, queue, &of_thread))
            .map_err(|source| DbError::Prepare { path: path.to_owned(), source })?;
        Ok(Self { path: shared, runner: Runner::Thread(jobs), room: None })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs a job and waits for what it returns. What it committed is on the disk by then. A caller that stops waiting
    /// does not stop the job.
    ///
    /// # Errors
    /// [`DbError::Full`], [`DbError::Damaged`] or [`DbError::Sqlite`] as the job failed; [`DbError::Closed`].
    pub async fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, DbError> {
        self.run(Durable::Now, job).await
    }

    /// As [`Db::call`], but does not wait for the disk: the commit gets there, in order, with that of the next `call`.
    /// A killed process loses nothing by it; a power cut may, but never something earlier without everything later.
    /// Only for what can be derived again from what `call` stored.
    ///
    /// # Errors
    /// As [`Db::call`].
    pub async fn call_unsynced<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, DbError> {
        self.run(Durable::Later, job).await
    }

    async fn run<T: Send + 'static>(
        &self,
        durable: Durable,
        job: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, DbError> {
        let room = self.room.clone();
        let job = move |connection: &mut Connection| {
            let Some(room) = room else { return job(connection) };
            room.tend();
            let done = job(connection);
            if done.as_ref().is_err_and(|e| e.sqlite_error_code() == Some(ErrorCode::DiskFull)) {
                // Faster than it was looked at. The next write finds what the reserve held.
                room.give();
            }
            done
        };
        let done = match &self.runner {
            Runner::Inline(opened) => match held(opened).as_mut() {
                Some(opened) => run_job(&mut opened.connection, durable, job),
                None => return Err(self.closed()),
            },
            Runner::Thread(jobs) => {
                let (answer, answered) = oneshot::channel();
                let job: Job = Box::new(move |connection| {
                    // A caller that has stopped waiting needs no answer.
                    drop(answer.send(run_job(connection, durable, job)));
                });
                jobs.send(Message::Run(job)).await.map_err(|_| self.closed())?;
                answered.await.map_err(|_| self.closed())?
            }
        };
        done.map_err(|source| DbError::of(&self.path, source))
    }

    /// Runs what is queued, closes the file and returns when it is closed. Later calls fail with [`DbError::Closed`].
    pub async fn close(&self) {
        match &self.runner {
            Runner::Inline(opened) => {
                if let Some(opened) = held(opened).take() {
                    opened.close(&self.path);
                }
            }
            Runner::Thread(jobs) => {
                let (done, closed) = oneshot::channel();
                if jobs.send(Message::Close(done)).await.is_ok() {
                    // Fails only when another close came first, and then it is closed too.
                    drop(closed.await);
                }
            }
        }
    }

    fn closed(&self) -> DbError {
        DbError::Closed { path: self.path.to_path_buf() }
    }
}

fn held(opened: &Mutex<Option<Opened>>) -> MutexGuard<'_, Option<Opened>> {
    // A job that panicked has rolled back its transaction on the way out: the connection is sound.
    opened.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(mut opened: Opened, mut queue: mpsc::Receiver<Message>, path: &Path) {
    while let Some(message) = queue.blocking_recv() {
        match message {
            Message::Run(job) => job(&mut opened.connection),
            Message::Close(done) => {
                opened.close(path);
                // Whoever asked may have stopped waiting.
                let _ = done.send(());
                return;
            }
        }
    }
    opened.close(path);
}

fn run_job<T>(
    connection: &mut Connection,
    durable: Durable,
    job: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    if durable == Durable::Now {
        return job(connection);
    }
    // In WAL mode NORMAL leaves out the fsync at commit and nothing else; the log is written in order.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    let done = job(connection);
    connection.pragma_update(None, "synchronous", "FULL")?;
    done
}

/// Takes the lock that says "this process owns the database". Kept in a file of its own: closing any descriptor of the
/// database file would drop SQLite's own locks on it.
fn lock(path: &Path) -> Result<File, DbError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let prepare = |source| DbError::Prepare { path: name.clone(), source };
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).mode(FILE_MODE).open(&name).map_err(prepare)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DbError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(prepare(source)),
    }
}

fn connect(path: &Path, migrations: &[M<'_>]) -> Result<Connection, DbError> {
    let prepare = |source| DbError::Prepare { path: path.to_owned(), source };
    // Made by us and not by SQLite, so that there is no moment in which others could read it. SQLite gives the files
    // beside it the same mode.
    OpenOptions::new().create(true).truncate(false).write(true).mode(FILE_MODE).open(path).map_err(prepare)?;
    fs::set_permissions(path, Permissions::from_mode(FILE_MODE)).map_err(prepare)?;

    let failed = |source| DbError::of(path, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    check(&connection, path)?;
    migrate(&mut connection, path, migrations)?;
    connection.pragma_update(None, "foreign_keys", true).map_err(failed)?;
    Ok(connection)
}

fn check(connection: &Connection, path: &Path) -> Result<(), DbError> {
    let found: Vec<String> = connection
        .prepare("PRAGMA quick_check(3)")
        .and_then(|mut check| check.query_map([], |row| row.get(0))?.collect())
        .map_err(|source| DbError::of(path, source))?;
    if found == ["ok"] {
        return Ok(());
    }
    Err(DbError::Damaged { path: path.to_owned(), found: found.join("; ") })
}

fn migrate(connection: &mut Connection, path: &Path, migrations: &[M<'_>]) -> Result<(), DbError> {
    let known = migrations.len();
    let found: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|source| DbError::of(path, source))?;
    if usize::try_from(found).is_ok_and(|found| found > known) {
        return Err(DbError::Newer { path: path.to_owned(), found, known });
    }
    Migrations::new(migrations.to_vec()).to_latest(connection).map_err(|e| {
        let path = path.to_owned();
        if let rusqlite_migration::Error::RusqliteError { err, .. } = &e
            && err.sqlite_error_code() == Some(ErrorCode::DiskFull)
        {
            return DbError::Full { path };
        }
        DbError::Migrate { path, known, source: Box::new(e) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Chain;

    const V1: &[M<'static>] = &[M::up("CREATE TABLE notes(id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;")];
    const V2: &[M<'static>] = &[
        M::up("CREATE TABLE notes(id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;"),
        M::up("ALTER TABLE notes ADD COLUMN author TEXT NOT NULL DEFAULT 'unknown';"),
    ];

    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("notes.db");
        (dir, path)
    }

    async fn note(db: &Db, text: &str) -> Result<(), DbError> {
        let text = text.to_owned();
        db.call(move |c| c.execute("INSERT INTO notes(text) VALUES(?1)", [text]).map(drop)).await
    }

    async fn notes(db: &Db) -> Result<Vec<String>, DbError> {
        db.call(|c| c.prepare("SELECT text FROM notes ORDER BY id")?.query_map([], |r| r.get(0))?.collect()).await
    }

    #[tokio::test]
    async fn what_was_stored_is_there_after_closing_and_opening_again() {
        let (_dir, path) = place();
        let db = Db::open(&path, V1).expect("opens");
        note(&db, "one").await.expect("stored");
        db.call_unsynced(|c| c.execute("INSERT INTO notes(text) VALUES('two')", []).map(drop)).await.expect("stored");
        db.close().await;
        db.close().await;
        assert!(matches!(note(&db, "three").await, Err(DbError::Closed { .. })));
        let db = Db::open(&path, V1).expect("opens again: closing gives the lock back");
        assert_eq!(notes(&db).await.expect("reads"), ["one", "two"]);
    }

    #[tokio::test]
    async fn an_unsynced_job_leaves_the_next_one_synced() {
        let (_dir, path) = place();
        let db = Db::open(&path, V1).expect("opens");
        let level = |c: &mut Connection| c.pragma_query_value(None, "synchronous", |r| r.get::<_, i64>(0));
        assert_eq!(db.call_unsynced(level).await.expect("reads"), 1, "NORMAL");
        assert_eq!(db.call(level).await.expect("reads"), 2, "FULL");
        let failed = db.call_unsynced(|c| c.execute("nonsense", [])).await;
        assert!(failed.is_err());
        assert_eq!(db.call(level).await.expect("reads"), 2, "FULL after a failed job too");
    }

    #[tokio::test]
    async fn an_inline_database_answers_without_a_thread() {
        let (_dir, path) = place();
        let db = Db::open_inline(&path, V1).expect("opens");
        note(&db, "one").await.expect("stored");
        assert_eq!(notes(&db).await.expect("reads"), ["one"]);
        db.close().await;
        assert!(matches!(notes(&db).await, Err(DbError::Closed { .. })));
    }

    #[tokio::test]
    async fn only_the_owner_can_read_the_files() {
        let (dir, path) = place();
        let db = Db::open(&path, V1).expect("opens");
        note(&db, "one").await.expect("stored");
        for entry in fs::read_dir(dir.path()).expect("lists") {
            let entry = entry.expect("lists");
            let mode = entry.metadata().expect("is there").permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{} has mode {mode:o}", entry.path().display());
        }
    }

    #[tokio::test]
    async fn a_second_owner_is_refused() {
        let (_dir, path) = place();
        let _db = Db::open(&path, V1).expect("opens");
        let refused = Db::open(&path, V1).expect_err("two owners");
        assert!(refused.to_string().contains("is in use by another process"), "{refused}");
        Db::open_shared(&path, V1).expect("a look from beside is allowed");
    }

    #[tokio::test]
    async fn an_old_file_gets_the_new_columns_and_keeps_its_rows() {
        let (_dir, path) = place();
        let db = Db::open(&path, V1).expect("opens");
        note(&db, "one").await.expect("stored");
        db.close().await;
        let db = Db::open(&path, V2).expect("migrates");
        let author: String =
            db.call(|c| c.query_row("SELECT author FROM notes", [], |r| r.get(0))).await.expect("reads");
        assert_eq!(author, "unknown");
        db.close().await;
        let newer = Db::open(&path, V1).expect_err("a later schema");
        assert!(newer.to_string().contains("has schema 2, this version knows schemas up to 1"), "{newer}");
    }

    #[test]
    fn a_file_that_is_no_database_is_named_as_damaged() {
        let (_dir, path) = place();
        fs::write(&path, "these are not the bytes you are looking for, but they are enough of them").expect("written");
        let damaged = Db::open(&path, V1).expect_err("no database");
        assert!(matches!(&damaged, DbError::Damaged { .. }), "{damaged:?}");
        assert!(damaged.to_string().contains("notes.db is damaged"), "{damaged}");
    }

    #[tokio::test]
    async fn damage_inside_is_found_when_it_is_opened() {
        let (_dir, path) = place();
        let db = Db::open(&path, V1).expect("opens");
        for n in 0..200 {
            note(&db, &format!("{n} {}", "x".repeat(200))).await.expect("stored");
        }
        db.close().await;
        let mut bytes = fs::read(&path).expect("reads");
        let middle = bytes.len() / 2 / 4096 * 4096;
        bytes[middle..middle + 64].fill(0xff);
        fs::write(&path, bytes).expect("written");
        let damaged = Db::open(&path, V1).expect_err("a broken page");
        assert!(matches!(&damaged, DbError::Damaged { .. }), "{damaged:?}");
    }

    #[tokio::test]
    async fn a_full_disk_is_called_so_and_heals_when_there_is_room() {
        let (_dir, path) = place();
        let db = Db::open(&path, V1).expect("opens");
        note(&db, "one").await.expect("stored");
        db.call(|c| c.pragma_update(None, "max_page_count", 4)).await.expect("limited");
        let full = note(&db, &"x".repeat(100_000)).await.expect_err("no room");
        assert!(Chain(&full).to_string().starts_with("no room on the disk for database /"), "{full}");
        db.call(|c| c.pragma_update(None, "max_page_count", 100_000)).await.expect("room again");
        note(&db, "two").await.expect("stored");
        assert_eq!(notes(&db).await.expect("reads"), ["one", "two"]);
    }

    #[tokio::test]
    async fn many_callers_wait_for_the_queue_and_all_are_served() {
        let (_dir, path) = place();
        let db = Db::open(&path, V1).expect("opens");
        let texts: Vec<String> = (0..JOBS_MAX * 3).map(|n| n.to_string()).collect();
        let all = futures_util::future::join_all(texts.iter().map(|text| note(&db, text))).await;
        assert!(all.into_iter().all(|stored| stored.is_ok()));
        assert_eq!(notes(&db).await.expect("reads").len(), JOBS_MAX * 3);
    }
}
