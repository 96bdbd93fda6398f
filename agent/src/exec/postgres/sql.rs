//! Speaking SQL to PostgreSQL: one connection, a deadline on everything, nothing left behind.

use std::{fmt, path::PathBuf, time::Duration};

use holdfast_types::Lsn;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
    time::error::Elapsed,
};
use tokio_postgres::{Client, Connection, NoTls, Row, error::SqlState, tls::NoTlsStream, types::ToSql};

use crate::exec::Until;

/// Time kept back from every deadline for cancelling a statement that hangs. A commit that waits for a standby hangs
/// for ever and no timeout of PostgreSQL's ends it: without a cancel, each attempt would leave one more behind.
const CANCEL_RESERVE: Duration = Duration::from_millis(100);

/// A password. Does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Keeps it.
    pub fn new(password: impl Into<String>) -> Self {
        Self(password.into())
    }

    /// What it is, for whoever sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Where and as whom to log in.
#[derive(Debug, Clone)]
pub struct Login {
    /// Directory of the Unix socket; preferred over `address`.
    pub socket: Option<PathBuf>,
    /// Name or address of the host; 127.0.0.1 when neither is given.
    pub address: Option<String>,
    /// The port; also part of the Unix socket's name.
    pub port: u16,
    /// The role.
    pub user: String,
    /// The database.
    pub database: String,
    /// Its password, when it needs one.
    pub password: Option<Password>,
}

impl Login {
    /// Name or address that is dialled when there is no Unix socket.
    #[must_use]
    pub fn host(&self) -> &str {
        self.address.as_deref().unwrap_or("127.0.0.1")
    }

    fn config(&self) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        match &self.socket {
            Some(dir) => config.host_path(dir),
            None => config.host(self.host()),
        };
        config.port(self.port).user(&self.user).dbname(&self.database).application_name("holdfast");
        // The shape of literals must not depend on how the database is configured.
        config.options("-c standard_conforming_strings=on");
        if let Some(password) = &self.password {
            config.password(&password.0);
        }
        config
    }
}

/// As people write it: `/var/run/postgresql:5432`.
impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.socket {
            Some(dir) => write!(f, "{}:{}", dir.display(), self.port),
            None => write!(f, "{}:{}", self.host(), self.port),
        }
    }
}

/// Why SQL gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// No connection.
    #[error("cannot log in to postgres at {at}")]
    Connect {
        /// Where.
        at: String,
        /// Why.
        #[source]
        source: tokio_postgres::Error,
    },
    /// The statement failed.
    #[error("cannot {what} at {at}")]
    Statement {
        /// What it was for.
        what: &'static str,
        /// Where.
        at: String,
        /// Why.
        #[source]
        source: tokio_postgres::Error,
    },
    /// No answer in time.
    #[error("cannot {what} at {at}: no answer in time")]
    TimedOut {
        /// What it was for.
        what: &'static str,
        /// Where.
        at: String,
    },
    /// The answer is not what this program knows.
    #[error("cannot {what} at {at}: postgres answered {value:?}, which this version does not understand")]
    Unreadable {
        /// What it was for.
        what: &'static str,
        /// Where.
        at: String,
        /// The answer.
        value: String,
    },
}

impl SqlError {
    /// The SQLSTATE, when it was PostgreSQL itself that refused.
    #[must_use]
    pub fn state(&self) -> Option<&SqlState> {
        match self {
            Self::Connect { source, .. } | Self::Statement { source, .. } => source.code(),
            Self::TimedOut { .. } | Self::Unreadable { .. } => None,
        }
    }

    /// Whether PostgreSQL runs but is not ready for logins: starting, recovering, stopping.
    #[must_use]
    pub fn is_starting(&self) -> bool {
        self.state() == Some(&SqlState::CANNOT_CONNECT_NOW)
    }

    /// Whether the fault is in how we log in (role, password, database, rights), not in the database's service.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.state().is_some_and(|state| {
            state.code().starts_with("28")
                || *state == SqlState::INVALID_CATALOG_NAME
                || *state == SqlState::INSUFFICIENT_PRIVILEGE
        })
    }
}

type LoggedIn<S> = Result<(Client, Connection<S, NoTlsStream>), tokio_postgres::Error>;

/// One connection. Dropping it ends it.
pub struct Session {
    client: Client,
    at: String,
    /// Owns the task that moves bytes; it ends with the session.
    _driver: JoinSet<()>,
}

impl Session {
    /// Logs in.
    ///
    /// # Errors
    /// When that does not succeed by `until`.
    pub async fn open(login: &Login, until: Until) -> Result<Self, SqlError> {
        Self::logged_in(login, until.limit(login.config().connect(NoTls)).await)
    }

    /// Logs in over a connection that stands.
    pub(crate) async fn over<S>(stream: S, login: &Login, until: Until) -> Result<Self, SqlError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        Self::logged_in(login, until.limit(login.config().connect_raw(stream, NoTls)).await)
    }

    fn logged_in<S>(login: &Login, answer: Result<LoggedIn<S>, Elapsed>) -> Result<Self, SqlError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let at = login.to_string();
        match answer {
            Err(_) => Err(SqlError::TimedOut { what: "log in to postgres", at }),
            Ok(Err(source)) => Err(SqlError::Connect { at, source }),
            Ok(Ok((client, connection))) => {
                let mut driver = JoinSet::new();
                driver.spawn(async move {
                    // Its error also reaches whoever waits for an answer.
                    drop(connection.await);
                });
                Ok(Self { client, at, _driver: driver })
            }
        }
    }

    /// Runs a statement that answers one row. `what` completes "cannot …".
    ///
    /// # Errors
    /// When it fails or gives no answer by `until`; it is cancelled then.
    pub async fn row(
        &self,
        what: &'static str,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
        until: Until,
    ) -> Result<Row, SqlError> {
        self.timed(what, until, self.client.query_one(sql, params)).await
    }

    /// Runs a statement without an answer.
    ///
    /// # Errors
    /// When it fails or is not done by `until`; it is cancelled then.
    pub async fn run(&self, what: &'static str, sql: &str, until: Until) -> Result<(), SqlError> {
        self.timed(what, until, self.client.batch_execute(sql)).await
    }

    /// Commits a tiny record that says `why` and returns its position.
    ///
    /// # Errors
    /// When it is not committed by `until`; it is cancelled then.
    pub async fn commit_marker(&self, why: &str, until: Until) -> Result<Lsn, SqlError> {
        const WHAT: &str = "commit a marker";
        let row =
            self.row(WHAT, "select pg_logical_emit_message(true, 'holdfast', $1::text)::text", &[&why], until).await?;
        self.lsn(WHAT, &row, 0)?.ok_or_else(|| self.unreadable(WHAT, "null"))
    }

    /// Column `index` as a value, or why not.
    pub(super) fn get<'a, T: tokio_postgres::types::FromSql<'a>>(
        &self,
        what: &'static str,
        row: &'a Row,
        index: usize,
    ) -> Result<T, SqlError> {
        row.try_get(index).map_err(|source| SqlError::Statement { what, at: self.at.clone(), source })
    }

    /// Column `index`, a position as text.
    pub(super) fn lsn(&self, what: &'static str, row: &Row, index: usize) -> Result<Option<Lsn>, SqlError> {
        let text: Option<&str> = self.get(what, row, index)?;
        text.map(|text| text.parse().map_err(|_| self.unreadable(what, text))).transpose()
    }

    pub(super) fn unreadable(&self, what: &'static str, value: &str) -> SqlError {
        SqlError::Unreadable { what, at: self.at.clone(), value: value.chars().take(80).collect() }
    }

    async fn timed<T>(
        &self,
        what: &'static str,
        until: Until,
        asked: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, SqlError> {
        match until.earlier_by(CANCEL_RESERVE).limit(asked).await {
            Ok(answer) => answer.map_err(|source| SqlError::Statement { what, at: self.at.clone(), source }),
            Err(_) => {
                // Whether it arrives or not: the statement has failed for us.
                drop(until.limit(self.client.cancel_token().cancel_query(NoTls)).await);
                Err(SqlError::TimedOut { what, at: self.at.clone() })
            }
        }
    }
}

/// A value as an SQL literal, for the statements that take no parameters.
pub(super) fn literal(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_printed() {
        let login = Login {
            socket: None,
            address: None,
            port: 5432,
            user: "holdfast".into(),
            database: "postgres".into(),
            password: Some(Password::new("swordfish")),
        };
        assert!(!format!("{login:?} {login}").contains("swordfish"));
        assert_eq!(login.to_string(), "127.0.0.1:5432");
    }

    #[test]
    fn a_literal_cannot_be_left() {
        assert_eq!(literal("host=a password='it''s'"), "'host=a password=''it''''s'''");
    }

    #[tokio::test]
    async fn a_server_that_accepts_and_says_nothing_is_given_up_on() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let login = Login { socket: None, address: None, port, user: "a".into(), database: "a".into(), password: None };
        let opened = Session::open(&login, Until::after(Duration::from_millis(200))).await;
        assert!(matches!(opened.err(), Some(SqlError::TimedOut { .. })));
    }
}
