//! Executors that touch only what this host allows.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use holdfast_agent_core::duties::Probe;
use holdfast_types::spec::Writer;

use super::{ExecError, Executors, Facts, Probed, Seen};
use crate::allowed::Allowed;

/// Asks the host's own list before anything is done to a writer.
#[derive(Debug)]
pub struct Allowing {
    inner: Arc<dyn Executors>,
    allowed: Arc<Allowed>,
}

impl Allowing {
    /// Around the executors that do it.
    #[must_use]
    pub fn new(inner: Arc<dyn Executors>, allowed: Arc<Allowed>) -> Self {
        Self { inner, allowed }
    }
}

#[async_trait]
impl Executors for Allowing {
    async fn look(&self, writer: &Writer, within: Duration) -> Result<Seen, ExecError> {
        self.allowed.may_stop(writer)?;
        self.inner.look(writer, within).await
    }

    async fn fence(&self, writer: &Writer, within: Duration) -> Result<String, ExecError> {
        self.allowed.may_stop(writer)?;
        self.inner.fence(writer, within).await
    }

    async fn start_primary(&self, writer: &Writer, within: Duration) -> Result<Seen, ExecError> {
        self.allowed.may_run(writer)?;
        self.inner.start_primary(writer, within).await
    }

    async fn promote(&self, writer: &Writer, within: Duration) -> Result<Seen, ExecError> {
        self.allowed.may_run(writer)?;
        self.inner.promote(writer, within).await
    }

    async fn connected_with(&self, writer: &Writer, within: Duration) -> Result<Option<String>, ExecError> {
        self.allowed.may_run(writer)?;
        self.inner.connected_with(writer, within).await
    }

    async fn facts(&self, writer: &Writer, within: Duration) -> Option<Facts> {
        match self.allowed.may_run(writer) {
            Ok(()) => self.inner.facts(writer, within).await,
            // What is not allowed is told as that, by the host's own list.
            Err(_) => None,
        }
    }

    async fn cut(&self, writer: &Writer, within: Duration) -> Result<Seen, ExecError> {
        self.allowed.may_run(writer)?;
        self.inner.cut(writer, within).await
    }

    async fn reconnect(&self, writer: &Writer, conninfo: &str, within: Duration) -> Result<(), ExecError> {
        self.allowed.may_run(writer)?;
        self.inner.reconnect(writer, conninfo, within).await
    }

    /// A writer that may not be run is not looked at: its region then cannot become one that could take over.
    async fn probe(&self, probe: &Probe, timeout: Duration) -> Probed {
        match probe {
            Probe::Postgres { writer, .. } => match self.allowed.may_run(writer) {
                Ok(()) => self.inner.probe(probe, timeout).await,
                Err(e) => Probed::CouldNotRun { text: e.0 },
            },
            Probe::Tcp { .. }
            | Probe::Http { .. }
            | Probe::Container { .. }
            | Probe::Tls { .. }
            | Probe::Redis { .. }
            | Probe::Mongodb { .. }
            | Probe::Exec(_) => self.inner.probe(probe, timeout).await,
        }
    }

    async fn servers(
        &self,
        socket: &Path,
        backend: &str,
        within: Duration,
    ) -> Result<BTreeMap<String, bool>, ExecError> {
        self.inner.servers(socket, backend, within).await
    }

    async fn open_only(&self, socket: &Path, backend: &str, server: &str, within: Duration) -> Result<(), ExecError> {
        self.inner.open_only(socket, backend, server, within).await
    }

    async fn close_all(&self, socket: &Path, backend: &str, within: Duration) -> Result<(), ExecError> {
        self.inner.close_all(socket, backend, within).await
    }
}
