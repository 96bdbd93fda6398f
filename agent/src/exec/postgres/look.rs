//! What PostgreSQL is and does right now.

use std::{fmt, time::Duration};

use holdfast_types::Lsn;

use super::{Control, Postgres, PostgresError, SystemId, Timeline, sql::Session, sql::SqlError};
use crate::exec::Until;

/// What was seen, at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// Which cluster; nothing when it could not be asked.
    pub system: Option<SystemId>,
    /// Its timeline; nothing when it could not be asked.
    pub timeline: Option<Timeline>,
    /// What it does.
    pub state: State,
}

/// What PostgreSQL does.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// No process of it lives.
    Down {
        /// What its control file says, where that can be read.
        control: Option<Control>,
    },
    /// It runs, but gives no answer to SQL.
    Mute {
        /// Why not.
        why: String,
        /// Whether it says that it is starting, recovering or stopping.
        starting: bool,
        /// What its control file says, where that can be read.
        control: Option<Control>,
    },
    /// Out of recovery: it accepts writes.
    Primary {
        /// Where the next record goes.
        current: Lsn,
    },
    /// In recovery: it follows, or waits to.
    Standby {
        /// Safely stored from its primary (or replayed from its own files, when that is more).
        received: Lsn,
        /// Replayed.
        replayed: Lsn,
        /// Its connection to a primary, if there is one.
        receiver: Option<Receiver>,
    },
}

/// A standby's connection to its primary.
#[derive(Debug, Clone, PartialEq)]
pub struct Receiver {
    /// Whether it streams (rather than connects, or waits).
    pub streaming: bool,
    /// Host it receives from.
    pub sender_host: Option<String>,
    /// Time since the sender last said anything. An idle sender may be silent for half a minute.
    pub last_message_age: Option<Duration>,
}

impl Look {
    /// Whether any process of it lives.
    #[must_use]
    pub fn running(&self) -> bool {
        match self.state {
            State::Down { .. } => false,
            State::Mute { .. } | State::Primary { .. } | State::Standby { .. } => true,
        }
    }

    /// Whether it is in recovery; nothing when it could not be asked.
    #[must_use]
    pub fn in_recovery(&self) -> Option<bool> {
        match self.state {
            State::Down { .. } | State::Mute { .. } => None,
            State::Primary { .. } => Some(false),
            State::Standby { .. } => Some(true),
        }
    }

    /// Whether it was seen out of recovery: whoever may log in could write. A proof of writes is a committed marker.
    #[must_use]
    pub fn accepts_writes(&self) -> bool {
        self.in_recovery() == Some(false)
    }
}

/// As in `primary on timeline 2 at 3A/945A1100`.
impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            State::Down { .. } => return f.write_str("not running"),
            State::Mute { why, .. } => return write!(f, "running, but gives no answer: {why}"),
            State::Primary { .. } => f.write_str("primary")?,
            State::Standby { .. } => f.write_str("standby")?,
        }
        if let Some(timeline) = self.timeline {
            write!(f, " on timeline {timeline}")?;
        }
        match &self.state {
            State::Down { .. } | State::Mute { .. } => Ok(()),
            State::Primary { current } => write!(f, " at {current}"),
            State::Standby { received, replayed, receiver } => {
                write!(f, ", received {received}, replayed {replayed}")?;
                match receiver {
                    Some(r) if r.streaming => {
                        write!(f, ", streaming from {}", r.sender_host.as_deref().unwrap_or("its primary"))
                    }
                    Some(_) | None => f.write_str(", not streaming"),
                }
            }
        }
    }
}

/// One row that says everything. Whether it is in recovery may change between two functions of one statement, but only
/// from yes to no; so a column that needs a primary is asked for only behind that test.
const LOOK_SQL: &str = "
select case when pg_is_in_recovery() then null else pg_current_wal_lsn()::text end,
       case when pg_is_in_recovery() then null else substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) end,
       pg_last_wal_receive_lsn()::text,
       pg_last_wal_replay_lsn()::text,
       (select system_identifier from pg_control_system()),
       greatest(w.received_tli, (select timeline_id from pg_control_checkpoint()),
                (select min_recovery_end_timeline from pg_control_recovery())),
       w.status = 'streaming',
       w.sender_host,
       extract(epoch from clock_timestamp() - w.last_msg_receipt_time)::float8,
       w.pid is not null
  from (select 1) one left join pg_stat_wal_receiver w on true";

impl Session {
    /// Looks by SQL.
    pub(crate) async fn look(&self, until: Until) -> Result<Look, SqlError> {
        const WHAT: &str = "look at postgres";
        let row = self.row(WHAT, LOOK_SQL, &[], until).await?;
        let system: i64 = self.get(WHAT, &row, 4)?;
        let system = Some(SystemId(system.cast_unsigned()));
        if let Some(current) = self.lsn(WHAT, &row, 0)? {
            let hex: &str = self.get(WHAT, &row, 1)?;
            let timeline = u32::from_str_radix(hex, 16).map_err(|_| self.unreadable(WHAT, hex))?;
            return Ok(Look { system, timeline: Some(Timeline(timeline)), state: State::Primary { current } });
        }
        let timeline: i32 = self.get(WHAT, &row, 5)?;
        let replayed = self.lsn(WHAT, &row, 3)?.unwrap_or_default();
        // After a restart nothing counts as received before a receiver has run, however much is stored.
        let received = self.lsn(WHAT, &row, 2)?.unwrap_or_default().max(replayed);
        let age: Option<f64> = self.get(WHAT, &row, 8)?;
        let receiver = self.get::<bool>(WHAT, &row, 9)?.then(|| -> Result<_, SqlError> {
            Ok(Receiver {
                streaming: self.get::<Option<bool>>(WHAT, &row, 6)?.unwrap_or(false),
                sender_host: self.get(WHAT, &row, 7)?,
                last_message_age: age.and_then(|s| Duration::try_from_secs_f64(s.max(0.0)).ok()),
            })
        });
        let receiver = receiver.transpose()?;
        let timeline = u32::try_from(timeline).map_err(|_| self.unreadable(WHAT, &timeline.to_string()))?;
        Ok(Look { system, timeline: Some(Timeline(timeline)), state: State::Standby { received, replayed, receiver } })
    }
}

impl Postgres {
    /// Looks: by SQL where it answers, else by its processes and its control file.
    ///
    /// # Errors
    /// When not even its processes can be looked at.
    pub async fn look(&self, within: Duration) -> Result<Look, PostgresError> {
        let until = Until::after(within);
        self.look_until(until.earlier_by(within / 2), until).await
    }

    /// Looks, by SQL until `sql_until`, so that time is left for the rest.
    pub(super) async fn look_until(&self, sql_until: Until, until: Until) -> Result<Look, PostgresError> {
        let by_sql = async {
            let session = Session::open(&self.login, sql_until).await?;
            session.look(sql_until).await
        };
        let error: SqlError = match by_sql.await {
            // Should another PostgreSQL have taken the port, its answer says nothing about this one.
            Ok(look) => return self.if_it_lives(look, until).await,
            Err(error) => error,
        };
        let control = self.control(until).await;
        let (system, timeline) = (control.as_ref().map(|c| c.system), control.as_ref().map(|c| c.timeline));
        let state = if self.alive(until).await?.is_empty() {
            State::Down { control }
        } else {
            State::Mute {
                why: holdfast_shared::error::Chain(&error).to_string(),
                starting: error.is_starting(),
                control,
            }
        };
        Ok(Look { system, timeline, state })
    }

    async fn if_it_lives(&self, look: Look, until: Until) -> Result<Look, PostgresError> {
        if !self.alive(until).await?.is_empty() {
            return Ok(look);
        }
        let control = self.control(until).await;
        let (system, timeline) = (control.as_ref().map(|c| c.system), control.as_ref().map(|c| c.timeline));
        Ok(Look { system, timeline, state: State::Down { control } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_database_seen_out_of_recovery_accepts_writes() {
        let look = |state| Look { system: None, timeline: Some(Timeline(2)), state };
        let primary = look(State::Primary { current: Lsn(0x10) });
        assert!(primary.accepts_writes() && primary.running());
        assert_eq!(primary.to_string(), "primary on timeline 2 at 0/10");
        let standby = look(State::Standby { received: Lsn(2), replayed: Lsn(1), receiver: None });
        assert!(!standby.accepts_writes() && standby.running());
        assert_eq!(standby.to_string(), "standby on timeline 2, received 0/2, replayed 0/1, not streaming");
        let mute = look(State::Mute { why: "it hangs".into(), starting: false, control: None });
        assert!(!mute.accepts_writes() && mute.running() && mute.in_recovery().is_none());
        assert!(!look(State::Down { control: None }).running());
    }
}
