//! What the daemon can have done on its host, behind one trait: a simulation passes doubles for other people's systems.
//!
//! Every call has a time limit and is convergent: what is already so is left so. Dropping a call stops waiting, and
//! ends what the call itself runs; whatever it had ordered may still take effect.

use std::{collections::BTreeMap, fmt, path::Path, time::Duration};

use async_trait::async_trait;
use holdfast_agent_core::duties::Probe;
use holdfast_types::{Lsn, spec::Writer};

pub use crate::exec::postgres::Facts;

mod allowing;
mod real;

pub use allowing::Allowing;
pub use real::RealExecutors;

/// Why something could not be done: what, where, why, on one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExecError(pub String);

/// What was seen of a database.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// Some process of it lives.
    pub running: bool,
    /// In recovery; nothing when it could not be asked.
    pub in_recovery: Option<bool>,
    /// A marker was committed, or it was seen out of recovery where none was tried.
    pub accepts_writes: bool,
    /// A standby receives from its primary.
    pub streaming: bool,
    /// Its timeline; 0 when unknown.
    pub timeline: u32,
    /// Current position of a primary, received position of a standby.
    pub lsn: Lsn,
    /// What a standby has replayed.
    pub replayed: Lsn,
    /// Names the cluster and its copies; 0 when unknown.
    pub system: u64,
    /// Time since a standby's sender said anything.
    pub last_message_age: Option<Duration>,
    /// Where a standby receives from.
    pub sender: Option<String>,
    /// One line for people.
    pub text: String,
}

impl Seen {
    /// Whether it must not be so without a lease. `stopped` says that it was fenced here: then whatever runs, and is
    /// not surely a standby, is on its way to accept writes.
    #[must_use]
    pub fn may_write(&self, stopped: bool) -> bool {
        match self.in_recovery {
            Some(in_recovery) => !in_recovery,
            None => self.running && stopped,
        }
    }
}

/// What came of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probed {
    /// All is as expected.
    Ok {
        /// One line for people.
        text: String,
        /// Of a database.
        seen: Option<Seen>,
    },
    /// It is not.
    Failing {
        /// Why.
        text: String,
        /// Of a database.
        seen: Option<Seen>,
    },
    /// It could not be looked at: no observation.
    CouldNotRun {
        /// Why.
        text: String,
    },
}

/// What can be done on this host.
#[async_trait]
pub trait Executors: Send + Sync + fmt::Debug + 'static {
    /// Looks at a writer without changing anything.
    async fn look(&self, writer: &Writer, within: Duration) -> Result<Seen, ExecError>;

    /// Stops a writer for sure: nothing of it is left. One that is surely a standby is left alone.
    async fn fence(&self, writer: &Writer, within: Duration) -> Result<String, ExecError>;

    /// Starts a writer that was primary here, and waits until it accepts writes.
    async fn start_primary(&self, writer: &Writer, within: Duration) -> Result<Seen, ExecError>;

    /// Promotes a standby and waits until it accepts writes.
    async fn promote(&self, writer: &Writer, within: Duration) -> Result<Seen, ExecError>;

    /// What a standby is connected to its primary with; nothing when it is cut. May hold a password.
    async fn connected_with(&self, writer: &Writer, within: Duration) -> Result<Option<String>, ExecError>;

    /// Cuts a standby from its primary, durably.
    async fn cut(&self, writer: &Writer, within: Duration) -> Result<Seen, ExecError>;

    /// Connects a standby again.
    async fn reconnect(&self, writer: &Writer, conninfo: &str, within: Duration) -> Result<(), ExecError>;

    /// Looks at how a writer is set up. Nothing where it is not known: a double's.
    async fn facts(&self, _writer: &Writer, _within: Duration) -> Option<Facts> {
        None
    }

    /// Runs one probe.
    async fn probe(&self, probe: &Probe, timeout: Duration) -> Probed;

    /// The servers of a proxy's backend, and which are open.
    async fn servers(
        &self,
        socket: &Path,
        backend: &str,
        within: Duration,
    ) -> Result<BTreeMap<String, bool>, ExecError>;

    /// Opens one server of a backend and puts the others in maintenance, their sessions cut.
    async fn open_only(&self, socket: &Path, backend: &str, server: &str, within: Duration) -> Result<(), ExecError>;

    /// Puts every server of a backend in maintenance, their sessions cut.
    async fn close_all(&self, socket: &Path, backend: &str, within: Duration) -> Result<(), ExecError>;
}
