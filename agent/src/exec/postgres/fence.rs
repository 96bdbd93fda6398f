//! The fence: PostgreSQL stopped for sure, which is when nothing of it is left.
//!
//! ```text
//!   is it a standby? ──yes──▶ left alone
//!         │ no, or no answer within a quarter
//!   fast stop, until half ──▶ kill everything of it, look until nobody is left ──▶ its port refuses ──▶ done
//! ```
//! A fast stop alone may wait for a standby that is cut off, a killed postmaster leaves its backends writing, and a
//! supervisor may start what was only killed. So all of it is done, and only what is seen at the end counts.

use std::{fmt, time::Duration};

use holdfast_types::spec::RunBy;
use rustix::process::Signal;
use tokio_postgres::error::SqlState;

use super::{
    Postgres, PostgresError,
    place::{PROMOTE_SIGNAL, STANDBY_SIGNAL},
    sql::{Session, SqlError},
};
use crate::exec::{
    Until,
    child::Run,
    processes::{self, Scope, list_text},
};

/// Pause between two looks at the port.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// How a fence ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fenced {
    /// Nothing of it was running.
    AlreadyDown,
    /// It shut itself down when asked.
    Stopped,
    /// Processes had to be killed; nothing of it is left.
    Killed {
        /// How many.
        processes: usize,
    },
    /// It is a standby in recovery: it accepts no writes and was left running.
    Standby,
}

impl fmt::Display for Fenced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyDown => f.write_str("was down already"),
            Self::Stopped => f.write_str("stopped"),
            Self::Killed { processes } => write!(f, "killed ({processes} processes)"),
            Self::Standby => f.write_str("is a standby, left alone"),
        }
    }
}

impl Postgres {
    /// Makes sure that it accepts no writes: a standby is left alone, anything else is stopped and seen to be gone.
    /// Calling it again goes on where it stands.
    ///
    /// # Errors
    /// When that is not certain after `within`; some of it may have been stopped.
    pub async fn fence(&self, within: Duration) -> Result<Fenced, PostgresError> {
        let until = Until::after(within);
        if self.is_surely_standby(until.earlier_by(within - within / 4)).await {
            return Ok(Fenced::Standby);
        }
        self.stop_for_sure(within, until).await
    }

    /// As [`Postgres::fence`], but stops a standby too: ends a promotion that was ordered and not seen to finish.
    ///
    /// # Errors
    /// When that is not certain after `within`.
    pub async fn stop(&self, within: Duration) -> Result<Fenced, PostgresError> {
        self.stop_for_sure(within, Until::after(within)).await
    }

    /// Whether it is in recovery and will stay there. Any doubt is a no: a standby stopped in vain can be started
    /// again, a writer left running cannot be taken back.
    async fn is_surely_standby(&self, until: Until) -> bool {
        // A primary, and a recovery that ends by itself, have no such file: for them nothing below costs time.
        if !matches!(self.has_file(STANDBY_SIGNAL, until).await, Ok(true)) {
            return false;
        }
        // This file goes in the moment the promotion is noticed, and only then can SQL tell: look at it first.
        if !matches!(self.has_file(PROMOTE_SIGNAL, until).await, Ok(false)) {
            return false;
        }
        let asked = async {
            let session = Session::open(&self.login, until).await?;
            session.stays_in_recovery(until).await
        };
        match asked.await {
            Ok(stays) => stays && self.alive(until).await.is_ok_and(|alive| !alive.is_empty()),
            // Not ready for logins: it starts as a standby, or stops. No promotion could be ordered by SQL yet.
            Err(e) => e.is_starting(),
        }
    }

    async fn stop_for_sure(&self, within: Duration, until: Until) -> Result<Fenced, PostgresError> {
        let half = until.earlier_by(within - within / 2);
        let scope = self.scope(half).await?;
        let found = processes::list(&scope).await?;
        // Also asked when nothing runs: a supervisor may be about to start it again.
        let (asked, ()) = tokio::join!(self.ask_to_stop(within / 2, half), async {
            if !found.is_empty() {
                self.stop_fast(&scope, half).await;
            }
        });
        // What it was asked with is no matter: from here on only what is seen counts.
        let refusal = asked.err().map(|e| format!("; asked to stop: {}", holdfast_shared::error::Chain(&e)));

        let killed = match until.limit(processes::kill_all_and_wait(&scope, within)).await {
            Ok(killed) => killed?,
            Err(_) => {
                let left = processes::list(&scope).await?;
                let found =
                    format!("{} processes live on: {}{}", left.len(), list_text(&left), refusal.unwrap_or_default());
                return Err(self.timed_out("fence", within, found));
            }
        };
        let refused = async {
            while !self.refuses(until).await {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        if until.limit(refused).await.is_err() {
            let found =
                format!("nothing of it is left but {} still answers{}", self.login, refusal.unwrap_or_default());
            return Err(self.timed_out("fence", within, found));
        }
        // Once more, with the scope as it is now: whatever a supervisor started meanwhile is in it.
        let again = processes::list(&self.scope(until).await?).await?;
        if !again.is_empty() {
            let why =
                format!("it came back after it was gone: {}; let nobody but Holdfast start it", list_text(&again));
            return Err(self.refused("fence", why));
        }
        Ok(match (found.len(), killed) {
            (0, 0) => Fenced::AlreadyDown,
            (_, 0) => Fenced::Stopped,
            (_, processes) => Fenced::Killed { processes },
        })
    }

    /// Asks whoever runs it to stop it and not to start it again.
    async fn ask_to_stop(&self, grace: Duration, until: Until) -> Result<(), PostgresError> {
        match (&self.run_by, &self.container) {
            (RunBy::PgCtl { .. }, _) => Ok(()),
            (RunBy::Systemd { unit }, _) => {
                // Not waited for: a stop that hangs goes on in systemd, which then does not restart what we kill.
                let stop = Run::new("systemctl").arg("stop").arg("--no-block").arg("--").arg(unit);
                stop.until(until).await?;
                Ok(())
            }
            (RunBy::Container { .. }, Some(container)) => {
                // Docker counts whole seconds. Ours end earlier and kill by themselves.
                let seconds = i32::try_from(grace.as_secs().saturating_add(1)).unwrap_or(i32::MAX);
                Ok(container.stop("SIGINT", seconds, until).await?)
            }
            (RunBy::Container { .. }, None) => Err(self.refused("stop", "it has no container")),
        }
    }

    /// Asks the postmaster itself for a fast shutdown, and waits until all are gone, or it alone is.
    async fn stop_fast(&self, scope: &Scope, until: Until) {
        let waited = async {
            let alive = processes::list(scope).await?;
            if let Some(container) = &self.container {
                // Docker may be down. Its word and ours are the same signal, and getting it twice is harmless.
                let first = container.known().first;
                if let Some(first) = alive.iter().find(|process| process.pid == first) {
                    processes::signal(first, Signal::INT)?;
                }
                return processes::wait_until(scope, <[_]>::is_empty).await;
            }
            let Some(postmaster) = self.postmaster(&alive).cloned() else {
                // Nobody can tell the backends to end.
                return Ok(());
            };
            processes::signal(&postmaster, Signal::INT)?;
            processes::wait_until(scope, |left| !left.contains(&postmaster)).await
        };
        // Whatever came of it, the killing that follows looks for itself.
        drop(until.limit(waited).await);
    }
}

impl Session {
    /// Whether it is in recovery and no promotion is under way.
    async fn stays_in_recovery(&self, until: Until) -> Result<bool, SqlError> {
        const WHAT: &str = "look for a promotion under way";
        let row = self
            .row(
                WHAT,
                "select pg_is_in_recovery() and pg_get_wal_replay_pause_state() <> 'not paused', pg_is_in_recovery()",
                &[],
                until,
            )
            .await?;
        if !self.get::<bool>(WHAT, &row, 1)? {
            return Ok(false);
        }
        // A promotion ends a pause: where replay is paused there is none. It must not be resumed by our asking.
        if self.get::<bool>(WHAT, &row, 0)? {
            return Ok(true);
        }
        // Replay that is not paused is not changed by resuming it, but the question is refused once a promotion was
        // triggered: PostgreSQL has no other way to ask.
        match self.run(WHAT, "select pg_wal_replay_resume()", until).await {
            Ok(()) => Ok(true),
            Err(e) if e.state() == Some(&SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE) => Ok(false),
            Err(e) => Err(e),
        }
    }
}
