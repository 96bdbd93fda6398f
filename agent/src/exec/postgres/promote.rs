//! Promotion: a standby becomes the primary of a new timeline.

use std::time::Duration;

use holdfast_types::Lsn;

use super::{Postgres, PostgresError, State, Timeline, sql::Session, sql::SqlError};
use crate::exec::Until;

/// Pause between two looks: a promotion takes about a tenth of a second.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What a promotion led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promoted {
    /// The timeline it writes now.
    pub timeline: Timeline,
    /// Where it wrote when it was first seen to.
    pub lsn: Lsn,
    /// Whether it was a primary before it was asked.
    pub already: bool,
}

impl Postgres {
    /// Promotes it and waits until it is out of recovery. One that is a primary already is done; one that is down, as
    /// after a fence that came in the middle of a promotion, is started first.
    ///
    /// # Errors
    /// When it does not start or answer. After a timeout the promotion may still complete: only [`Postgres::stop`] makes
    /// sure that it does not.
    pub async fn promote(&self, within: Duration) -> Result<Promoted, PostgresError> {
        let until = Until::after(within);
        self.start_until("promote", within, until).await?;
        let session = Session::open(&self.login, until).await?;
        let mut look = session.look(until).await?;
        let already = look.accepts_writes();
        if !already {
            session.run("promote postgres", "select pg_promote(wait => false)", until).await?;
        }
        loop {
            match (&look.state, look.timeline) {
                (State::Primary { current }, Some(timeline)) => {
                    return Ok(Promoted { timeline, lsn: *current, already });
                }
                (State::Primary { .. } | State::Standby { .. } | State::Mute { .. } | State::Down { .. }, _) => {}
            }
            if until.limit(tokio::time::sleep(LOOK_AGAIN)).await.is_err() {
                return Err(self.timed_out("promote", within, format!("it is still a {look}")));
            }
            look = match session.look(until).await {
                Ok(look) => look,
                Err(SqlError::TimedOut { .. }) => {
                    return Err(self.timed_out("promote", within, format!("it is still a {look}")));
                }
                Err(e @ (SqlError::Connect { .. } | SqlError::Statement { .. } | SqlError::Unreadable { .. })) => {
                    return Err(e.into());
                }
            };
        }
    }
}
