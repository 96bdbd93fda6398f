//! A database session for blocking code, by the database's own socket: a cut of the network does not touch it.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
    time::timeout,
};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// A commit that waits for an absent standby hangs for ever, and `statement_timeout` does not end it.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A row as text; SQL's null is `None`.
pub type Row = Vec<Option<String>>;

/// One connection. Not for async code: it blocks on a runtime of its own.
#[derive(Debug)]
pub struct Session {
    client: Client,
    runtime: Runtime,
    _connection: JoinSet<()>,
}

impl Session {
    /// Connects as the superuser to the database `postgres`.
    ///
    /// # Errors
    /// When nobody answers at the socket within ten seconds.
    pub fn open(socket_folder: &Path, port: u16) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let mut connection_task = JoinSet::new();
        let client = runtime.block_on(async {
            let mut config = tokio_postgres::Config::new();
            config.host_path(socket_folder).port(port).user("postgres").dbname("postgres");
            let (client, connection) = timeout(ANSWER_WITHIN, config.connect(NoTls)).await??;
            // A broken connection shows in the answer to the next statement.
            connection_task.spawn(async move { drop(connection.await) });
            anyhow::Ok(client)
        });
        let client = client.with_context(|| format!("no session with PostgreSQL at {}", socket_folder.display()))?;
        Ok(Self { client, runtime, _connection: connection_task })
    }

    /// Runs statements and returns the rows of all of them.
    ///
    /// # Errors
    /// When PostgreSQL refuses or does not answer within ten seconds.
    pub fn query(&mut self, sql: &str) -> Result<Vec<Row>> {
        let answer = self.runtime.block_on(async { timeout(ANSWER_WITHIN, self.client.simple_query(sql)).await });
        let messages = match answer {
            Ok(Ok(messages)) => messages,
            Ok(Err(error)) => {
                let said = error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string);
                return Err(anyhow::anyhow!("{said}")).with_context(|| format!("statement: {sql}"));
            }
            Err(_) => anyhow::bail!("no answer within {ANSWER_WITHIN:?} to: {sql}"),
        };
        let mut rows = Vec::new();
        for message in messages {
            if let SimpleQueryMessage::Row(row) = message {
                rows.push((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect());
            }
        }
        Ok(rows)
    }
}
