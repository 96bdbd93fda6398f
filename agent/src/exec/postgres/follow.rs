//! A standby and its primary: cut it off so that it receives nothing more, connect it again, see where it stands.

use std::{fmt, time::Duration};

use holdfast_types::Lsn;

use super::{Postgres, PostgresError, State, Timeline, sql::Session, sql::SqlError, sql::literal};
use crate::exec::Until;

/// Pause between two looks at a receiver that is ending.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Looks in a row that must find no receiver. One that was ordered just before the cut appears a moment later.
const EMPTY_LOOKS: u32 = 5;

/// How a standby reaches its primary: PostgreSQL's `primary_conninfo`. May hold a password, so it does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct Conninfo(String);

impl Conninfo {
    /// Keeps it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, to be stored where secrets may be.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Conninfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Conninfo(…)")
    }
}

/// A cut that is done: nothing is received any more, not after a restart either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// What it was connected with, for connecting it again; nothing when it was cut before.
    pub conninfo: Option<Conninfo>,
}

/// How far a standby has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The timeline it follows. Compared first.
    pub timeline: Timeline,
    /// Safely stored, or replayed when that is more.
    pub received: Lsn,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on timeline {}", self.received, self.timeline)
    }
}

impl Postgres {
    /// Cuts a standby from its primary, durably, and waits until no receiver is left. Done already is fine.
    ///
    /// # Errors
    /// Refused when it is no standby. After a timeout the cut may still take effect.
    pub async fn cut_receiver(&self, within: Duration) -> Result<Cut, PostgresError> {
        let until = Until::after(within);
        let session = self.standby_session("cut off", until).await?;
        let before = session.conninfo(until).await?;
        // Also written when it is empty already: it may be so in another file, or by a setting not yet in force.
        session.set_conninfo("", until).await?;
        let mut empty = 0;
        while empty < EMPTY_LOOKS {
            let (connected, receivers) = session.receivers(until).await?;
            empty = if connected || receivers > 0 { 0 } else { empty + 1 };
            if until.limit(tokio::time::sleep(LOOK_AGAIN)).await.is_err() {
                let found = match (connected, receivers) {
                    (true, _) => "primary_conninfo is still set, outside postgresql.auto.conf".to_owned(),
                    (false, n) => format!("{n} walreceiver still there"),
                };
                return Err(self.timed_out("cut off", within, found));
            }
        }
        Ok(Cut { conninfo: (!before.is_empty()).then_some(Conninfo(before)) })
    }

    /// What a standby is connected with; nothing when it is cut. To be kept before a cut: afterwards nobody knows.
    ///
    /// # Errors
    /// Refused when it is no standby.
    pub async fn connected_with(&self, within: Duration) -> Result<Option<Conninfo>, PostgresError> {
        let until = Until::after(within);
        let session = self.standby_session("ask for the connection of", until).await?;
        let conninfo = session.conninfo(until).await?;
        Ok((!conninfo.is_empty()).then_some(Conninfo(conninfo)))
    }

    /// Connects a standby to a primary, durably. Whether that one answers is seen by looking.
    ///
    /// # Errors
    /// Refused when it is no standby.
    pub async fn reconnect(&self, conninfo: &Conninfo, within: Duration) -> Result<(), PostgresError> {
        let until = Until::after(within);
        let session = self.standby_session("connect", until).await?;
        session.set_conninfo(&conninfo.0, until).await?;
        while session.conninfo(until).await? != conninfo.0 {
            if until.limit(tokio::time::sleep(LOOK_AGAIN)).await.is_err() {
                return Err(self.timed_out("connect", within, "its primary_conninfo has not changed"));
            }
        }
        Ok(())
    }

    /// How far a standby has come.
    ///
    /// # Errors
    /// Refused when it is no standby.
    pub async fn position(&self, within: Duration) -> Result<Position, PostgresError> {
        let until = Until::after(within);
        let look = Session::open(&self.login, until).await?.look(until).await?;
        match (&look.state, look.timeline) {
            (State::Standby { received, .. }, Some(timeline)) => Ok(Position { timeline, received: *received }),
            (State::Standby { .. } | State::Primary { .. } | State::Mute { .. } | State::Down { .. }, _) => {
                Err(self.refused("read the standby position of", format!("it is a {look}")))
            }
        }
    }

    async fn standby_session(&self, what: &'static str, until: Until) -> Result<Session, PostgresError> {
        let session = Session::open(&self.login, until).await?;
        let look = session.look(until).await?;
        if look.in_recovery() == Some(true) {
            return Ok(session);
        }
        Err(self.refused(what, format!("it is a {look}, not a standby")))
    }
}

impl Session {
    async fn conninfo(&self, until: Until) -> Result<String, SqlError> {
        const WHAT: &str = "read primary_conninfo";
        let row = self.row(WHAT, "select current_setting('primary_conninfo')", &[], until).await?;
        self.get(WHAT, &row, 0)
    }

    async fn set_conninfo(&self, value: &str, until: Until) -> Result<(), SqlError> {
        let set = format!("alter system set primary_conninfo = {}", literal(value));
        self.run("set primary_conninfo", &set, until).await?;
        self.run("reload postgres", "select pg_reload_conf()", until).await
    }

    /// Whether a primary is named, and how many receivers there are. One that is only just connecting has no row of
    /// its own yet, but is a process already.
    async fn receivers(&self, until: Until) -> Result<(bool, i64), SqlError> {
        const WHAT: &str = "look for a walreceiver";
        const SQL: &str = "
            select current_setting('primary_conninfo') <> '',
                   (select count(*) from pg_stat_activity where backend_type = 'walreceiver')
                 + (select count(*) from pg_stat_wal_receiver)";
        let row = self.row(WHAT, SQL, &[], until).await?;
        Ok((self.get(WHAT, &row, 0)?, self.get(WHAT, &row, 1)?))
    }
}
