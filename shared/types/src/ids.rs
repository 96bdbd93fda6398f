//! Names, ids and counters. Each is its own type, so that a [`Token`] cannot be compared with a [`Generation`].

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Longest name, in bytes: the limit of a DNS label, because names end up in host names.
pub const NAME_BYTES_MAX: usize = 63;

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{value}\" is no {kind}: use 1 to {NAME_BYTES_MAX} of a-z, 0-9 and -, the first a letter")]
pub struct BadName {
    /// What the text should have named.
    pub kind: &'static str,
    /// The text, cut to 80 characters.
    pub value: String,
}

fn check_name(kind: &'static str, text: &str) -> Result<(), BadName> {
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    let rest = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if first && rest && text.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    // One line, whatever it holds: this is read in logs.
    let shown = |c: char| if c.is_control() { c.escape_default().collect() } else { c.to_string() };
    Err(BadName { kind, value: text.chars().take(80).map(shown).collect() })
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// Checks the text.
            ///
            /// # Errors
            /// [`BadName`] when it is not 1 to 63 of `a-z`, `0-9`, `-` with a letter first.
            pub fn new(text: impl Into<String>) -> Result<Self, BadName> {
                let text = text.into();
                check_name($kind, &text)?;
                Ok(Self(text))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $type {
            type Err = BadName;
            fn from_str(text: &str) -> Result<Self, BadName> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $type {
            type Error = BadName;
            fn try_from(text: String) -> Result<Self, BadName> {
                Self::new(text)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }
    };
}

name!(
    /// A failure domain: `us-east`.
    RegionName,
    "region name"
);
name!(
    /// One server; exactly one agent runs on it.
    HostName,
    "host name"
);
name!(
    /// The unit that is deployed, backed up and failed over.
    AppName,
    "app name"
);
name!(
    /// What runs where: `db`, `proxy`.
    RoleName,
    "role name"
);
name!(
    /// A person who works with the cluster, as in the certificate.
    OperatorName,
    "operator name"
);
name!(
    /// How an operator calls a cluster on their own machine.
    ContextName,
    "context name"
);

/// Names one cluster for ever: the UUID made when it was initialised, in lower case with hyphens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterId(String);

/// Why a text is no cluster id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no cluster id: expected a UUID such as 0198c9a2-6f3e-4c1d-9b7a-2f4e8d1c5a60")]
pub struct BadClusterId(String);

impl ClusterId {
    /// Checks the text.
    ///
    /// # Errors
    /// [`BadClusterId`] when it is not a UUID in lower case with hyphens.
    pub fn new(text: impl Into<String>) -> Result<Self, BadClusterId> {
        let text = text.into();
        // Only the one canonical form: two texts for one cluster would compare as different.
        match uuid::Uuid::try_parse(&text) {
            Ok(uuid) if uuid.hyphenated().to_string() == text => Ok(Self(text)),
            Ok(_) | Err(_) => Err(BadClusterId(text.chars().take(80).collect())),
        }
    }

    /// The id made of 16 random bytes that the caller drew.
    #[must_use]
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid().hyphenated().to_string())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for ClusterId {
    type Err = BadClusterId;
    fn from_str(text: &str) -> Result<Self, BadClusterId> {
        Self::new(text)
    }
}

impl TryFrom<String> for ClusterId {
    type Error = BadClusterId;
    fn try_from(text: String) -> Result<Self, BadClusterId> {
        Self::new(text)
    }
}

impl From<ClusterId> for String {
    fn from(id: ClusterId) -> Self {
        id.0
    }
}
name!(
    /// One of an app's writers, as its spec calls it: `pg`.
    WriterName,
    "writer name"
);
name!(
    /// One of an app's checks, as its spec calls it: `outside`.
    CheckName,
    "check name"
);
name!(
    /// A secret's name. The secret is a root-owned file `/etc/holdfast/credentials/NAME`, or a systemd credential of
    /// that name, on the host that needs it; it stands in no spec, message or record.
    Credential,
    "credential name"
);

macro_rules! counter {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(pub u64);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl $type {
            /// The one after this.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }
    };
}

counter!(
    /// Counts an app's activations; goes up by one whenever a `hold` ends or a fence is lifted; never used twice.
    /// The first is 1; 0 means "none yet".
    Generation
);
counter!(
    /// Raised only by a human, when a cluster is recovered from one survivor. Orders before everything older.
    Incarnation
);
counter!(
    /// Place of a committed entry in the replicated log.
    LogIndex
);
counter!(
    /// An operation's dense number: people type it.
    OperationId
);
counter!(
    /// Counts the applied specs of one app.
    Revision
);

/// The fencing token: names the committed entry that ordered a command. Compared incarnation first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Token {
    /// Which life of the cluster.
    pub incarnation: Incarnation,
    /// Log index of the committed entry.
    pub index: LogIndex,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.incarnation, self.index)
    }
}

/// Names a command for ever: operation, step of its plan, part (one host of the step), attempt.
/// The key of "at most once".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CommandId {
    /// The operation.
    pub operation: OperationId,
    /// Position of the step in the plan, from 0.
    pub step: u32,
    /// Position of the command among those of the step, from 0.
    pub part: u32,
    /// From 1; a repeat of the same attempt keeps it.
    pub attempt: u32,
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}.{}/{}", self.operation, self.step, self.part, self.attempt)
    }
}

/// Why a text is no command id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no command id: expected operation/step.part/attempt, as in 41/4.0/1")]
pub struct BadCommandId(String);

impl FromStr for CommandId {
    type Err = BadCommandId;

    fn from_str(text: &str) -> Result<Self, BadCommandId> {
        let bad = || BadCommandId(text.chars().take(80).collect());
        let mut parts = text.split('/');
        let (Some(operation), Some(place), Some(attempt), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(bad());
        };
        let (step, part) = place.split_once('.').ok_or_else(bad)?;
        Ok(Self {
            operation: OperationId(operation.parse().map_err(|_| bad())?),
            step: step.parse().map_err(|_| bad())?,
            part: part.parse().map_err(|_| bad())?,
            attempt: attempt.parse().map_err(|_| bad())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels_that_start_with_a_letter() {
        for good in ["a", "us-east", "use-db1", &"a".repeat(63)] {
            assert_eq!(RegionName::new(good).expect("a name").as_str(), good);
        }
        for bad in ["", "1a", "-a", "US", "a_b", "a.b", "a b", "ä", &"a".repeat(64)] {
            assert!(RegionName::new(bad).is_err(), "{bad:?} was taken as a name");
        }
    }

    #[test]
    fn a_cluster_id_has_one_spelling() {
        let id = ClusterId::from_random([0xab; 16]);
        assert_eq!(ClusterId::new(id.as_str()), Ok(id.clone()));
        for bad in ["", "prod", &id.as_str().to_uppercase(), &id.as_str().replace('-', ""), &format!("{{{id}}}")] {
            assert!(ClusterId::new(bad).is_err(), "{bad:?} was taken as a cluster id");
        }
    }

    #[test]
    fn tokens_order_by_incarnation_first() {
        let token = |incarnation, index| Token { incarnation: Incarnation(incarnation), index: LogIndex(index) };
        assert!(token(2, 1) > token(1, 900));
        assert!(token(1, 2) > token(1, 1));
    }

    #[test]
    fn a_command_id_reads_back_what_it_prints() {
        let id = CommandId { operation: OperationId(41), step: 4, part: 1, attempt: 2 };
        assert_eq!(id.to_string(), "41/4.1/2");
        assert_eq!("41/4.1/2".parse(), Ok(id));
        for bad in ["", "41", "41/4/2", "41/4.1/2/3", "x/4.1/2", "41/4.1/-2"] {
            assert!(bad.parse::<CommandId>().is_err(), "{bad:?} was taken as a command id");
        }
    }
}
