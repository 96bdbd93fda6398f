//! Ways to a database, and one write over each.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use tokio::task::JoinSet;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use super::ledger::Database;
use crate::harness::{HaProxy, PgNode};

/// Names the database that takes the write: by its cluster name where it has one (a container's data directory says
/// nothing), else by its data directory; and its timeline as it is now, which `pg_control_checkpoint()` lags behind.
pub(super) const SAYS_WHO: &str = "coalesce(nullif(current_setting('cluster_name'), ''), current_setting('data_directory')), \
                        pg_walfile_name(pg_current_wal_insert_lsn())";

/// A way to a database.
#[derive(Debug, Clone)]
pub enum Route {
    /// Over the network.
    Address {
        /// What acknowledgements call it.
        name: Arc<str>,
        /// Where to connect.
        address: SocketAddr,
    },
    /// By the database's unix socket, past every proxy and every cut.
    Socket {
        /// What acknowledgements call it.
        name: Arc<str>,
        /// The folder of the socket.
        folder: PathBuf,
        /// The port in the socket's name.
        port: u16,
    },
}

impl Route {
    /// Through a proxy's port.
    #[must_use]
    pub fn proxy(proxy: &HaProxy, port: u16) -> Self {
        Self::Address { name: proxy.host().name.as_str().into(), address: SocketAddr::new(proxy.host().address, port) }
    }

    /// Straight to a database.
    #[must_use]
    pub fn inside(node: &PgNode) -> Self {
        let name = format!("{}:socket", node.region()).into();
        Self::Socket { name, folder: node.socket_dir(), port: node.port() }
    }

    /// What acknowledgements call it.
    #[must_use]
    pub fn name(&self) -> Arc<str> {
        match self {
            Self::Address { name, .. } | Self::Socket { name, .. } => Arc::clone(name),
        }
    }

    pub(super) async fn connect(&self, writer: &str) -> Result<Connection> {
        let mut config = Config::new();
        config.user("postgres").dbname("postgres").application_name(writer);
        match self {
            Self::Address { address, .. } => config.hostaddr(address.ip()).port(address.port()),
            Self::Socket { folder, port, .. } => config.host_path(folder).port(*port),
        };
        let (client, connection) = config.connect(NoTls).await?;
        let mut task = JoinSet::new();
        // A broken connection shows in the answer to the next write.
        task.spawn(async move { drop(connection.await) });
        Ok(Connection { client, _task: task })
    }
}

/// An open connection; dropping it closes it.
pub(super) struct Connection {
    client: Client,
    _task: JoinSet<()>,
}

impl Connection {
    /// Writes one row; returns once the commit is acknowledged. As a simple query on purpose: in the extended protocol
    /// the row comes back before the commit.
    pub(super) async fn write(&self, writer: &str, sequence: u64) -> Result<Database> {
        let sql = format!(
            "insert into holdfast_writes (writer, sequence) values ('{writer}', {sequence}) returning {SAYS_WHO}"
        );
        let answer = self.client.simple_query(&sql).await.map_err(|error| match error.as_db_error() {
            Some(said) => anyhow::anyhow!("{}", said.message()),
            None => anyhow::Error::from(error),
        })?;
        let row =
            answer.iter().find_map(|message| if let SimpleQueryMessage::Row(row) = message { Some(row) } else { None });
        let row = row.context("an insert answered without a row")?;
        let field = |column| row.try_get(column)?.context("the database did not say who it is");
        database(field(0)?, field(1)?)
    }
}

pub(super) fn database(server: &str, wal_file: &str) -> Result<Database> {
    let timeline = wal_file.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let timeline = timeline.with_context(|| format!("{wal_file} does not begin with a timeline"))?;
    Ok(Database { timeline, server: region_of(server).to_owned() })
}

/// `/var/tmp/holdfast-1-0/us-east/data` → `us-east`; another name is kept.
fn region_of(server: &str) -> &str {
    match server.strip_suffix("/data").and_then(|folder| Path::new(folder).file_name()?.to_str()) {
        Some(region) => region,
        None => server,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_named_by_region_and_timeline() {
        let found = database("/var/tmp/holdfast-1-0/us-east/data", "0000000A0000000000000003").expect("well formed");
        assert_eq!(found, Database { timeline: 10, server: "us-east".to_owned() });
        assert_eq!(database("us-west", "000000020000000000000003").expect("well formed").server, "us-west");
        assert!(database("us-west", "").is_err());
    }
}
