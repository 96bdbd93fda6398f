//! What the agent keeps: the apps it was told of, what it knows durably of their leases, the journal of commands and
//! the outbox. A file of one process; every call that returns has been fsynced.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_agent_core::{
    declared::Declared,
    journal::Progress,
    lease::{Fact, Kept},
};
use holdfast_proto::v1;
use holdfast_shared::{
    db::{Db, DbError},
    room::{Room, Short},
};
use holdfast_types::{AppName, BootId, CommandId, Generation, Incarnation, LogIndex, Token, WallTime};
use prost::Message as _;
use rusqlite::{Connection, OptionalExtension as _, params};
use rusqlite_migration::M;
use tokio::sync::watch;

use crate::apps::Me;

/// The tables. Appended to, never changed.
pub const MIGRATIONS: &[M<'static>] = &[M::up(
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
     CREATE TABLE desired(app TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT;
     CREATE TABLE leases(
         app TEXT PRIMARY KEY,
         held INTEGER NOT NULL DEFAULT 0,
         fenced INTEGER NOT NULL DEFAULT 0,
         home INTEGER NOT NULL DEFAULT 0,
         sole INTEGER,
         stopped INTEGER NOT NULL DEFAULT 0,
         released INTEGER NOT NULL DEFAULT 0
     ) STRICT;
     CREATE TABLE tokens(app TEXT PRIMARY KEY, incarnation INTEGER NOT NULL, log_index INTEGER NOT NULL) STRICT;
     CREATE TABLE journal(
         id TEXT PRIMARY KEY,
         app TEXT NOT NULL,
         incarnation INTEGER NOT NULL,
         log_index INTEGER NOT NULL,
         command BLOB NOT NULL,
         life INTEGER NOT NULL,
         result BLOB
     ) STRICT;
     CREATE TABLE outbox(number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, body BLOB NOT NULL) STRICT;
     CREATE TABLE receivers(app TEXT NOT NULL, writer TEXT NOT NULL, conninfo TEXT NOT NULL, PRIMARY KEY(app, writer))
         STRICT;
     CREATE TABLE releases(at INTEGER NOT NULL, app TEXT NOT NULL, what TEXT NOT NULL, reason TEXT NOT NULL) STRICT;",
)];

/// Ended commands that are kept, so that a late repeat gets its result: operations end within hours, and one has a few
/// dozen commands.
const JOURNAL_KEPT: i64 = 2_000;

/// This host is told of an app no more. Its lease, also one without end, is given up; whether its writers were stopped
/// is nobody's business any more, so that an app of this name that is declared later stops nothing here. Which
/// generations are fenced stays: they are never used again.
const FORGET_LEASE: &str =
    "UPDATE leases SET held = 0, home = 0, sole = NULL, stopped = 0, released = 0 WHERE app = ?1";

/// Why something was not stored.
pub type StoreError = DbError;

/// This start of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// Counts the starts.
    pub starts: u64,
    /// The host was booted since the agent last ran.
    pub booted: bool,
}

/// One command of the journal.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The token it came with.
    pub token: Token,
    /// As received.
    pub command: v1::Command,
    /// How far it is.
    pub progress: Progress<v1::CommandResult>,
}

/// A handle to the agent's database.
#[derive(Debug, Clone)]
pub struct Store {
    db: Db,
    life: u64,
    outbox: watch::Sender<u64>,
}

// SQLite's integers are signed. Nothing here counts that far; what does, by mistake, must not wrap around to "old".
fn to_sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn from_sql(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn generation(number: i64) -> Generation {
    Generation(from_sql(number))
}

fn unreadable(column: usize, e: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Blob, Box::new(e))
}

impl Store {
    /// Counts this start, durably, before anything else is done.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open(db: Db, boot: &BootId) -> Result<(Self, Life), StoreError> {
        let boot = boot.0.clone();
        let life = db
            .call(move |connection| {
                let tx = connection.transaction()?;
                let get = |key: &str| {
                    tx.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get::<_, String>(0)).optional()
                };
                let starts = get("starts")?.and_then(|text| text.parse().ok()).unwrap_or(0u64) + 1;
                let last_boot = get("boot")?;
                let put = "INSERT INTO meta(key, value) VALUES (?1, ?2) ON CONFLICT(key) DO UPDATE SET value = excluded.value";
                tx.execute(put, params!["starts", starts.to_string()])?;
                tx.execute(put, params!["boot", boot])?;
                tx.execute(
                    "DELETE FROM journal WHERE result IS NOT NULL AND rowid <= (SELECT coalesce(max(rowid), 0) FROM journal) - ?1",
                    [JOURNAL_KEPT],
                )?;
                tx.commit()?;
                Ok(Life { starts, booted: last_boot.is_some_and(|last| last != boot) })
            })
            .await?;
        let (outbox, _) = watch::channel(0);
        Ok((Self { db, life: life.starts, outbox }, life))
    }

    /// Whether there is room for new work.
    ///
    /// # Errors
    /// How much is missing, and where.
    pub fn has_room(&self) -> Result<(), Short> {
        self.db.room().map_or(Ok(()), Room::look)
    }

    /// The apps as last told.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn desired(&self) -> Result<Vec<v1::DesiredApp>, StoreError> {
        self.db
            .call(|connection| {
                let mut rows = connection.prepare("SELECT body FROM desired ORDER BY app")?;
                let rows = rows.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
                rows.map(|body| v1::DesiredApp::decode(body?.as_slice()).map_err(|e| unreadable(0, e))).collect()
            })
            .await
    }

    /// Keeps what was told.
    ///
    /// # Errors
    /// When the database fails; nothing was changed then.
    pub async fn put_desired(&self, bodies: BTreeMap<AppName, Vec<u8>>, gone: Vec<AppName>) -> Result<(), StoreError> {
        self.db
            .call(move |connection| {
                let tx = connection.transaction()?;
                for (app, body) in &bodies {
                    tx.execute(
                        "INSERT INTO desired(app, body) VALUES (?1, ?2) ON CONFLICT(app) DO UPDATE SET body = excluded.body",
                        params![app.as_str(), body],
                    )?;
                }
                for app in &gone {
                    tx.execute("DELETE FROM desired WHERE app = ?1", [app.as_str()])?;
                    tx.execute(FORGET_LEASE, [app.as_str()])?;
                }
                tx.commit()
            })
            .await
    }

    /// Forgets an app's lease once more, after everything that was still to be written of it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_lease(&self, app: &AppName) -> Result<(), StoreError> {
        let app = app.clone();
        self.db.call(move |connection| connection.execute(FORGET_LEASE, [app.as_str()]).map(|_| ())).await
    }

    /// What is known of an app's lease. What was fenced outlives the app.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn kept(&self, app: &AppName) -> Result<Kept, StoreError> {
        let app = app.clone();
        self.db
            .call(move |connection| {
                let kept = connection
                    .query_row(
                        "SELECT held, fenced, home, sole, stopped, released FROM leases WHERE app = ?1",
                        [app.as_str()],
                        |row| {
                            Ok(Kept {
                                wish: None,
                                held: generation(row.get(0)?),
                                fenced: generation(row.get(1)?),
                                home: generation(row.get(2)?),
                                sole: row.get::<_, Option<i64>>(3)?.map(generation),
                                stopped: row.get(4)?,
                                released: row.get(5)?,
                            })
                        },
                    )
                    .optional()?;
                Ok(kept.unwrap_or_default())
            })
            .await
    }

    /// Makes a fact of an app's lease durable.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn put_fact(&self, app: &AppName, fact: Fact) -> Result<(), StoreError> {
        let app = app.clone();
        self.db
            .call(move |connection| {
                let tx = connection.transaction()?;
                let app = app.as_str();
                tx.execute("INSERT OR IGNORE INTO leases(app) VALUES (?1)", [app])?;
                match fact {
                    Fact::Held(g) => {
                        tx.execute("UPDATE leases SET held = max(held, ?2) WHERE app = ?1", params![app, to_sql(g.0)])?
                    }
                    Fact::Fenced(g) => tx.execute(
                        "UPDATE leases SET fenced = max(fenced, ?2), stopped = 1, sole = CASE WHEN sole <= ?2 THEN NULL ELSE sole END WHERE app = ?1",
                        params![app, to_sql(g.0)],
                    )?,
                    Fact::Home(g) => {
                        tx.execute("UPDATE leases SET home = max(home, ?2) WHERE app = ?1", params![app, to_sql(g.0)])?
                    }
                    Fact::Sole(g) => {
                        tx.execute("UPDATE leases SET sole = ?2 WHERE app = ?1", params![app, to_sql(g.0)])?
                    }
                    Fact::SoleEnded(g) => tx.execute(
                        "UPDATE leases SET sole = NULL WHERE app = ?1 AND sole <= ?2",
                        params![app, to_sql(g.0)],
                    )?,
                    Fact::Opened(g) => tx.execute(
                        "UPDATE leases SET stopped = 0, home = max(home, ?2) WHERE app = ?1",
                        params![app, to_sql(g.0)],
                    )?,
                    Fact::Released(released) => {
                        tx.execute("UPDATE leases SET released = ?2 WHERE app = ?1", params![app, released])?
                    }
                };
                tx.commit()
            })
            .await
    }

    /// Notes who ended or took up fencing by hand, and why.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_release(
        &self,
        at: WallTime,
        app: &AppName,
        what: &'static str,
        reason: String,
    ) -> Result<(), StoreError> {
        let app = app.clone();
        self.db
            .call(move |connection| {
                connection
                    .execute(
                        "INSERT INTO releases(at, app, what, reason) VALUES (?1, ?2, ?3, ?4)",
                        params![at.unix_millis(), app.as_str(), what, reason],
                    )
                    .map(|_| ())
            })
            .await
    }

    /// The journal's entry of a command.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn entry(&self, id: CommandId) -> Result<Option<Entry>, StoreError> {
        let life = to_sql(self.life);
        self.db
            .call(move |connection| {
                let sql = "SELECT incarnation, log_index, command, life, result FROM journal WHERE id = ?1";
                connection.query_row(sql, [id.to_string()], |row| entry(row, life)).optional()
            })
            .await
    }

    /// Commands that had begun when the agent ended, in the order of their tokens.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn interrupted(&self) -> Result<Vec<v1::Command>, StoreError> {
        let life = to_sql(self.life);
        self.db
            .call(move |connection| {
                let mut rows = connection.prepare(
                    "SELECT command FROM journal WHERE result IS NULL AND life < ?1 ORDER BY incarnation, log_index, id",
                )?;
                let rows = rows.query_map([life], |row| row.get::<_, Vec<u8>>(0))?;
                rows.map(|body| v1::Command::decode(body?.as_slice()).map_err(|e| unreadable(0, e))).collect()
            })
            .await
    }

    /// Highest token of any command of an app that was begun here.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn highest(&self, app: &AppName) -> Result<Token, StoreError> {
        let app = app.clone();
        self.db.call(move |connection| highest(connection, &app)).await
    }

    /// Journals a command before it begins, and raises the app's highest token with it.
    ///
    /// # Errors
    /// When the database fails; then it must not begin.
    pub async fn begin(
        &self,
        id: CommandId,
        app: &AppName,
        token: Token,
        command: &v1::Command,
    ) -> Result<(), StoreError> {
        let (app, command, life) = (app.clone(), command.encode_to_vec(), to_sql(self.life));
        self.db
            .call(move |connection| {
                let tx = connection.transaction()?;
                tx.execute(
                    "INSERT INTO journal(id, app, incarnation, log_index, command, life) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                     ON CONFLICT(id) DO UPDATE SET life = excluded.life",
                    params![
                        id.to_string(),
                        app.as_str(),
                        to_sql(token.incarnation.0),
                        to_sql(token.index.0),
                        command,
                        life
                    ],
                )?;
                let top = highest(&tx, &app)?.max(token);
                tx.execute(
                    "INSERT INTO tokens(app, incarnation, log_index) VALUES (?1, ?2, ?3)
                     ON CONFLICT(app) DO UPDATE SET incarnation = excluded.incarnation, log_index = excluded.log_index",
                    params![app.as_str(), to_sql(top.incarnation.0), to_sql(top.index.0)],
                )?;
                tx.commit()
            })
            .await
    }

    /// Keeps a result and puts it in the outbox, in one. A refusal has no entry in the journal; it is only told.
    ///
    /// # Errors
    /// When the database fails; nothing was changed then.
    pub async fn end(&self, id: CommandId, result: &v1::CommandResult) -> Result<(), StoreError> {
        let body = result.encode_to_vec();
        let number = self
            .db
            .call(move |connection| {
                let tx = connection.transaction()?;
                tx.execute(
                    "UPDATE journal SET result = ?2 WHERE id = ?1 AND result IS NULL",
                    params![id.to_string(), body],
                )?;
                tx.execute(
                    "INSERT INTO outbox(id, body) VALUES (?1, ?2) ON CONFLICT(id) DO UPDATE SET body = excluded.body",
                    params![id.to_string(), body],
                )?;
                let number = tx.last_insert_rowid();
                tx.commit()?;
                Ok(from_sql(number))
            })
            .await?;
        self.outbox.send_modify(|newest| *newest = (*newest + 1).max(number));
        Ok(())
    }

    /// Everything that nobody has acknowledged, the oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn outbox(&self) -> Result<Vec<v1::OutboxItem>, StoreError> {
        self.db
            .call(|connection| {
                let mut rows = connection.prepare("SELECT number, body FROM outbox ORDER BY number")?;
                let rows = rows.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
                rows.map(|row| {
                    let (number, body) = row?;
                    let result = v1::CommandResult::decode(body.as_slice()).map_err(|e| unreadable(1, e))?;
                    Ok(v1::OutboxItem { number: from_sql(number), result: Some(result) })
                })
                .collect()
            })
            .await
    }

    /// Changes whenever something was put into the outbox.
    #[must_use]
    pub fn outbox_changes(&self) -> watch::Receiver<u64> {
        self.outbox.subscribe()
    }

    /// A leader has committed it.
    ///
    /// # Errors
    /// When the database fails; it is told again then.
    pub async fn acknowledged(&self, number: u64) -> Result<(), StoreError> {
        self.db
            .call(move |connection| {
                connection.execute("DELETE FROM outbox WHERE number = ?1", [to_sql(number)]).map(|_| ())
            })
            .await
    }

    /// What a standby was connected with before it was cut. Kept until it is connected again: a second cut finds
    /// nothing any more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn receiver(&self, app: &AppName, writer: &str) -> Result<Option<String>, StoreError> {
        let (app, writer) = (app.clone(), writer.to_owned());
        self.db
            .call(move |connection| {
                let sql = "SELECT conninfo FROM receivers WHERE app = ?1 AND writer = ?2";
                connection.query_row(sql, params![app.as_str(), writer], |row| row.get(0)).optional()
            })
            .await
    }

    /// Keeps it, or forgets it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn put_receiver(&self, app: &AppName, writer: &str, conninfo: Option<String>) -> Result<(), StoreError> {
        let (app, writer) = (app.clone(), writer.to_owned());
        self.db
            .call(move |connection| {
                match conninfo {
                    Some(conninfo) => connection.execute(
                        "INSERT OR REPLACE INTO receivers(app, writer, conninfo) VALUES (?1, ?2, ?3)",
                        params![app.as_str(), writer, conninfo],
                    )?,
                    None => connection.execute(
                        "DELETE FROM receivers WHERE app = ?1 AND writer = ?2",
                        params![app.as_str(), writer],
                    )?,
                };
                Ok(())
            })
            .await
    }
}

/// Every app as told, with what is kept of its lease. On a connection of its own: read also while no agent runs.
///
/// # Errors
/// When the database fails.
pub fn guarded(connection: &Connection) -> rusqlite::Result<Vec<(Vec<u8>, Kept)>> {
    let sql = "SELECT body, coalesce(held, 0), coalesce(fenced, 0), coalesce(home, 0), sole, coalesce(stopped, 0),
                      coalesce(released, 0)
                 FROM desired LEFT JOIN leases USING (app) ORDER BY app";
    let mut rows = connection.prepare(sql)?;
    let kept = |row: &rusqlite::Row<'_>| -> rusqlite::Result<Kept> {
        Ok(Kept {
            wish: None,
            held: generation(row.get(1)?),
            fenced: generation(row.get(2)?),
            home: generation(row.get(3)?),
            sole: row.get::<_, Option<i64>>(4)?.map(generation),
            stopped: row.get(5)?,
            released: row.get(6)?,
        })
    };
    rows.query_map([], |row| Ok((row.get(0)?, kept(row)?)))?.collect()
}

/// Writers on this host of apps that ever held a lease here.
///
/// # Errors
/// When the database fails.
pub async fn held_writers(db: &Db, me: &Me) -> Result<BTreeSet<Declared>, StoreError> {
    let bodies: Vec<Vec<u8>> = db
        .call(|connection| {
            let sql = "SELECT body FROM desired JOIN leases USING (app) WHERE held > 0 ORDER BY app";
            let mut rows = connection.prepare(sql)?;
            rows.query_map([], |row| row.get(0))?.collect()
        })
        .await?;
    let apps = bodies.iter().filter_map(|body| v1::DesiredApp::decode(body.as_slice()).ok());
    let apps = apps.filter_map(|desired| crate::wire::app(&desired, &me.region).ok());
    Ok(apps.flat_map(|app| app.writers_on(&me.host).map(Declared::of).collect::<Vec<_>>()).collect())
}

fn highest(connection: &Connection, app: &AppName) -> rusqlite::Result<Token> {
    let sql = "SELECT incarnation, log_index FROM tokens WHERE app = ?1";
    let token = connection.query_row(sql, [app.as_str()], |row| token(row.get(0)?, row.get(1)?)).optional()?;
    Ok(token.unwrap_or_default())
}

#[expect(clippy::unnecessary_wraps, reason = "used where a row is read")]
fn token(incarnation: i64, index: i64) -> rusqlite::Result<Token> {
    Ok(Token { incarnation: Incarnation(from_sql(incarnation)), index: LogIndex(from_sql(index)) })
}

fn entry(row: &rusqlite::Row<'_>, life: i64) -> rusqlite::Result<Entry> {
    let command: Vec<u8> = row.get(2)?;
    let begun: i64 = row.get(3)?;
    let result: Option<Vec<u8>> = row.get(4)?;
    let progress = match result {
        Some(body) => Progress::Ended(v1::CommandResult::decode(body.as_slice()).map_err(|e| unreadable(4, e))?),
        None if begun == life => Progress::Running,
        None => Progress::Interrupted,
    };
    Ok(Entry {
        token: token(row.get(0)?, row.get(1)?)?,
        command: v1::Command::decode(command.as_slice()).map_err(|e| unreadable(2, e))?,
        progress,
    })
}
