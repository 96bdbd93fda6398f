//! Starting PostgreSQL and waiting until it answers.

use std::time::Duration;

use holdfast_types::{spec::RunBy, time::span};

use super::{
    Look, Postgres, PostgresError, State,
    place::{RECOVERY_SIGNAL, STANDBY_SIGNAL},
};
use crate::exec::{Until, child::Run};

/// Pause between two looks at a starting server.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Most of the time that one look may wait for SQL: a server that hangs must not use up the whole start.
const SQL_MAX: Duration = Duration::from_secs(2);

/// What pg_ctl's server says before its own logging begins. In the data directory, because only that is known to be
/// writable for its owner.
const START_LOG: &str = "holdfast-start.log";

impl Postgres {
    /// Starts it as a primary and waits until it is one. One that is a primary already is fine.
    ///
    /// # Errors
    /// Refused when its data directory says that it would start as something else, or when it runs as a standby.
    pub async fn start_primary(&self, within: Duration) -> Result<Look, PostgresError> {
        let until = Until::after(within);
        for name in [STANDBY_SIGNAL, RECOVERY_SIGNAL] {
            if self.has_file(name, until).await? {
                return Err(
                    self.refused("start as a primary", format!("it has a {name}, so it would start in recovery"))
                );
            }
        }
        let look = self.start_until("start", within, until).await?;
        if look.accepts_writes() {
            return Ok(look);
        }
        Err(self.refused("start as a primary", format!("it is a {look}")))
    }

    /// Starts it as whatever its data directory says and waits until it answers. One that answers already is fine.
    ///
    /// # Errors
    /// When it does not answer after `within`.
    pub async fn start_any(&self, within: Duration) -> Result<Look, PostgresError> {
        self.start_until("start", within, Until::after(within)).await
    }

    pub(super) async fn start_until(
        &self,
        what: &'static str,
        within: Duration,
        until: Until,
    ) -> Result<Look, PostgresError> {
        let mut started = false;
        loop {
            let look = self.look_until(Until::after(SQL_MAX).or_before(until), until).await?;
            match &look.state {
                State::Primary { .. } | State::Standby { .. } => return Ok(look),
                State::Down { .. } if started => {
                    return Err(
                        self.refused(what, format!("it was started and is down again; see its log and {START_LOG}"))
                    );
                }
                State::Down { .. } => {
                    self.order_start(within, until).await?;
                    started = true;
                }
                State::Mute { .. } => {}
            }
            if until.limit(tokio::time::sleep(LOOK_AGAIN)).await.is_err() {
                return Err(self.timed_out(what, within, look.to_string()));
            }
        }
    }

    /// Has it started by whoever runs it; returns when that one says that it has.
    async fn order_start(&self, within: Duration, until: Until) -> Result<(), PostgresError> {
        match (&self.run_by, &self.container) {
            (RunBy::PgCtl { bin, user }, _) => {
                self.wait_for_reaping(until).await;
                let seconds = within.as_secs().max(1);
                tracing::info!(data_dir = %self.data_dir.display(), within = %span(within), "starting postgres");
                // The server leaves our process group and, thanks to its log file, our pipes.
                let start = Run::new(bin.join("pg_ctl"))
                    .arg("start")
                    .arg("-D")
                    .arg(&self.data_dir)
                    .arg("-w")
                    .arg("-t")
                    .arg(seconds.to_string())
                    .arg("-l")
                    .arg(self.data_dir.join(START_LOG))
                    .as_user(user);
                start.until(until).await?;
                Ok(())
            }
            (RunBy::Systemd { unit }, _) => {
                Run::new("systemctl").arg("start").arg("--").arg(unit).until(until).await?;
                Ok(())
            }
            (RunBy::Container { .. }, Some(container)) => Ok(container.start(until).await?),
            (RunBy::Container { .. }, None) => Err(self.refused("start", "it has no container")),
        }
    }
}
