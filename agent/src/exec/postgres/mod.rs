//! PostgreSQL: look at it, fence it, start it, promote it, cut it from its primary and connect it again.
//!
//! Whether it lives is judged by its processes ([`super::processes`]), what it does by SQL as the role that
//! `docs/guide/postgres-role.sql` makes. Every call looks first: what is there already is done. Nothing here knows of
//! leases or generations: who calls `start_primary` and `promote` holds the right to.

pub(crate) mod control;
mod facts;
mod fence;
mod follow;
mod look;
mod place;
mod promote;
pub mod sql;
mod start;

use std::{fmt, path::PathBuf, time::Duration};

use holdfast_types::{
    Lsn,
    spec::{RunBy, Writer},
    time::span,
};

pub use control::{ClusterState, Control};
pub use facts::Facts;
pub use fence::Fenced;
pub use follow::{Conninfo, Cut, Position};
pub use look::{Look, Receiver, State};
pub use promote::Promoted;
pub use sql::{Login, Password, SqlError};

use super::{
    child::ChildError,
    container::{Container, ContainerError, Containers, DOCKER_SOCKET_DEFAULT},
    processes::ProcessesError,
};

/// A timeline: goes up by one at every promotion. Positions compare only within one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timeline(pub u32);

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names a database cluster and all its copies for ever: the system identifier that initdb draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SystemId(pub u64);

impl fmt::Display for SystemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One PostgreSQL on this host.
#[derive(Debug, Clone)]
pub struct Postgres {
    run_by: RunBy,
    data_dir: PathBuf,
    login: Login,
    /// Kept over calls: remembers where the container's processes were.
    container: Option<Container>,
}

/// Why something could not be done with PostgreSQL.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// A statement or a connection failed.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// A command failed.
    #[error(transparent)]
    Child(#[from] ChildError),
    /// Docker failed.
    #[error(transparent)]
    Container(#[from] ContainerError),
    /// Processes could not be ended or looked at.
    #[error(transparent)]
    Processes(#[from] ProcessesError),
    /// A file of the data directory cannot be looked at.
    #[error("cannot look at {path}; the agent needs to read the data directory")]
    DataDir {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its state forbids what was asked.
    #[error("cannot {what} postgres in {}: {why}", data_dir.display())]
    Refused {
        /// What was asked.
        what: &'static str,
        /// Which database.
        data_dir: PathBuf,
        /// Why, with what was found.
        why: String,
    },
    /// It was not there in time.
    #[error("cannot {what} postgres in {}: not done after {}, {found}", data_dir.display(), span(*within))]
    TimedOut {
        /// What was asked.
        what: &'static str,
        /// Which database.
        data_dir: PathBuf,
        /// The time it was given.
        within: Duration,
        /// What was found last.
        found: String,
    },
}

impl Postgres {
    /// A PostgreSQL that runs as `run_by` says. Docker is spoken to on `docker_socket`, by default
    /// `/var/run/docker.sock`.
    #[must_use]
    pub fn new(run_by: RunBy, data_dir: impl Into<PathBuf>, login: Login, docker_socket: Option<PathBuf>) -> Self {
        let container = match &run_by {
            RunBy::Container { name } => {
                Some(Container::new(docker_socket.unwrap_or_else(|| DOCKER_SOCKET_DEFAULT.into()), name))
            }
            RunBy::Systemd { .. } | RunBy::PgCtl { .. } => None,
        };
        Self { run_by, data_dir: data_dir.into(), login, container }
    }

    /// The writer of a spec, with the password that its credential holds. Its container, when it has one, is one of
    /// `containers`, which remember where it is.
    #[must_use]
    pub fn of_writer(writer: &Writer, password: Option<Password>, containers: &Containers) -> Self {
        let login = Login {
            socket: writer.login.socket.clone(),
            address: writer.login.address.clone(),
            port: writer.port,
            user: writer.login.user.clone(),
            database: writer.login.database.clone(),
            password,
        };
        let container = match &writer.run_by {
            RunBy::Container { name } => Some(containers.get(name)),
            RunBy::Systemd { .. } | RunBy::PgCtl { .. } => None,
        };
        Self { run_by: writer.run_by.clone(), data_dir: writer.data_dir.clone(), login, container }
    }

    /// How it is logged in to.
    #[must_use]
    pub fn login(&self) -> &Login {
        &self.login
    }

    /// Commits a tiny record and returns its position: the proof that a write goes through, standbys that commits must
    /// wait for included.
    ///
    /// # Errors
    /// When it could not be committed within `within`; the attempt is cancelled then.
    pub async fn marker(&self, within: Duration) -> Result<Lsn, PostgresError> {
        let until = super::Until::after(within);
        let session = sql::Session::open(&self.login, until).await?;
        Ok(session.commit_marker("marker", until).await?)
    }

    fn refused(&self, what: &'static str, why: impl Into<String>) -> PostgresError {
        PostgresError::Refused { what, data_dir: self.data_dir.clone(), why: why.into() }
    }

    fn timed_out(&self, what: &'static str, within: Duration, found: impl Into<String>) -> PostgresError {
        PostgresError::TimedOut { what, data_dir: self.data_dir.clone(), within, found: found.into() }
    }
}
