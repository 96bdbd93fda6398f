//! The names of rows, and what cannot be read of them.

use holdfast_types::{AppName, HostName, LogIndex, OperationId, OperatorName};

use crate::maintenance::Scope;

/// Names a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// The cluster.
    Cluster,
    /// A join token, by its public part.
    JoinToken(String),
    /// A certificate, by its serial.
    Certificate(u64),
    /// A host.
    Host(HostName),
    /// An app.
    App(AppName),
    /// An operation.
    Operation(OperationId),
    /// A person.
    Operator(OperatorName),
    /// An entry of the audit trail, by its number.
    Audit(u64),
    /// A maintenance, by what it covers.
    Maintenance(Scope),
    /// What is left of an app that was removed.
    RemovedApp(AppName),
}

impl Key {
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Cluster => "cluster".to_owned(),
            Self::JoinToken(id) => format!("token/{id}"),
            Self::Certificate(serial) => format!("certificate/{serial:020}"),
            Self::Host(name) => format!("host/{name}"),
            Self::App(name) => format!("app/{name}"),
            Self::Operation(number) => format!("operation/{:020}", number.0),
            Self::Operator(name) => format!("operator/{name}"),
            Self::Audit(number) => format!("audit/{number:020}"),
            Self::RemovedApp(name) => format!("removed-app/{name}"),
            Self::Maintenance(Scope::All) => "maintenance/all".to_owned(),
            Self::Maintenance(Scope::App(name)) => format!("maintenance/app/{name}"),
            Self::Maintenance(Scope::Region(name)) => format!("maintenance/region/{name}"),
        }
        .into_bytes()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let bad = || StateError::Key(String::from_utf8_lossy(bytes).into_owned());
        let text = std::str::from_utf8(bytes).map_err(|_| bad())?;
        let Some((kind, id)) = text.split_once('/') else {
            return if text == "cluster" { Ok(Self::Cluster) } else { Err(bad()) };
        };
        Ok(match kind {
            "token" => Self::JoinToken(id.to_owned()),
            "certificate" => Self::Certificate(id.parse().map_err(|_| bad())?),
            "host" => Self::Host(id.parse().map_err(|_| bad())?),
            "app" => Self::App(id.parse().map_err(|_| bad())?),
            "operation" => Self::Operation(OperationId(id.parse().map_err(|_| bad())?)),
            "operator" => Self::Operator(id.parse().map_err(|_| bad())?),
            "audit" => Self::Audit(id.parse().map_err(|_| bad())?),
            "removed-app" => Self::RemovedApp(id.parse().map_err(|_| bad())?),
            "maintenance" => Self::Maintenance(match id.split_once('/') {
                None if id == "all" => Scope::All,
                Some(("app", name)) => Scope::App(name.parse().map_err(|_| bad())?),
                Some(("region", name)) => Scope::Region(name.parse().map_err(|_| bad())?),
                Some(_) | None => return Err(bad()),
            }),
            _ => return Err(bad()),
        })
    }
}

/// Why stored rows or a change cannot be understood. Stops the coordinator: absent is better than wrong.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A key of no known kind.
    #[error("a row with the key \"{0}\", which this release does not know")]
    Key(String),
    /// A record that does not decode.
    #[error("the record of {key} cannot be read: {source}")]
    Record {
        /// Which row.
        key: String,
        /// Why.
        source: prost::DecodeError,
    },
    /// A stored spec that no longer parses.
    #[error("the stored spec of app {app} cannot be read: {problems}")]
    Spec {
        /// Whose.
        app: AppName,
        /// All of them.
        problems: String,
    },
    /// A stored name that is none.
    #[error("the record of {key} has a name that is none: {source}")]
    Name {
        /// Which row.
        key: String,
        /// Why.
        source: holdfast_types::ids::BadName,
    },
    /// A change whose bytes do not decode.
    #[error("entry {index} of the log cannot be read: {source}")]
    Change {
        /// Which entry.
        index: LogIndex,
        /// Why.
        source: prost::DecodeError,
    },
    /// A kind of change that a newer release wrote.
    #[error(
        "entry {index} of the log is of a kind that this release does not know; run the release that wrote it, or a newer one"
    )]
    UnknownChange {
        /// Which entry.
        index: LogIndex,
    },
}
