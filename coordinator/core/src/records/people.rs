//! People, and what they asked for.

use prost::{Enumeration, Message};

/// A person who works with the cluster.
#[derive(Clone, PartialEq, Message)]
pub struct Operator {
    /// What they may do.
    #[prost(enumeration = "OperatorRole", tag = "1")]
    pub role: i32,
    /// When they were added, milliseconds.
    #[prost(int64, tag = "2")]
    pub added_at: i64,
    /// By whom.
    #[prost(string, tag = "3")]
    pub added_by: String,
    /// Until it is redeemed: what it takes to get a certificate.
    #[prost(message, optional, tag = "4")]
    pub invite: Option<Invite>,
    /// When they were put out, milliseconds; 0 = they were not.
    #[prost(int64, tag = "5")]
    pub revoked_at: i64,
    /// Why.
    #[prost(string, tag = "6")]
    pub revoked_why: String,
    /// SHA-256 of the request that redeemed the invite: the very same one is answered again.
    #[prost(bytes = "vec", tag = "7")]
    pub request_hash: Vec<u8>,
    /// Serial that it was answered with.
    #[prost(uint64, tag = "8")]
    pub serial: u64,
}

/// A one-time token for a person. Only the hash of its secret is stored.
#[derive(Clone, PartialEq, Message)]
pub struct Invite {
    /// Public part.
    #[prost(string, tag = "1")]
    pub id: String,
    /// SHA-256 of the secret.
    #[prost(bytes = "vec", tag = "2")]
    pub secret_hash: Vec<u8>,
    /// Until when it may be used, milliseconds.
    #[prost(int64, tag = "3")]
    pub until: i64,
}

/// What a person may do. Numbers are stored; the words are [`holdfast_types::Role`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum OperatorRole {
    /// Nothing that this release knows.
    Unspecified = 0,
    /// Looks.
    Viewer = 1,
    /// Deploys.
    Deployer = 2,
    /// Moves apps.
    Operator = 3,
    /// Lets people and hosts in.
    Admin = 4,
}

impl From<holdfast_types::Role> for OperatorRole {
    fn from(role: holdfast_types::Role) -> Self {
        match role {
            holdfast_types::Role::Viewer => Self::Viewer,
            holdfast_types::Role::Deployer => Self::Deployer,
            holdfast_types::Role::Operator => Self::Operator,
            holdfast_types::Role::Admin => Self::Admin,
        }
    }
}

impl Operator {
    /// What they may do now; `None` once they were put out, and for a role of a newer release.
    #[must_use]
    pub fn may(&self) -> Option<holdfast_types::Role> {
        if self.revoked_at != 0 {
            return None;
        }
        match self.role() {
            OperatorRole::Unspecified => None,
            OperatorRole::Viewer => Some(holdfast_types::Role::Viewer),
            OperatorRole::Deployer => Some(holdfast_types::Role::Deployer),
            OperatorRole::Operator => Some(holdfast_types::Role::Operator),
            OperatorRole::Admin => Some(holdfast_types::Role::Admin),
        }
    }
}

/// Who asked for a change, as it goes into the audit trail together with what came of it.
#[derive(Clone, PartialEq, Message)]
pub struct Call {
    /// Who: `operator ada`.
    #[prost(string, tag = "1")]
    pub by: String,
    /// From where.
    #[prost(string, tag = "2")]
    pub from: String,
    /// What was called: `failover`.
    #[prost(string, tag = "3")]
    pub call: String,
    /// On what.
    #[prost(string, tag = "4")]
    pub subject: String,
    /// Why, in the caller's words.
    #[prost(string, tag = "5")]
    pub why: String,
}

/// One entry of the audit trail. See [`holdfast_types::audit`].
#[derive(Clone, PartialEq, Message)]
pub struct AuditEntry {
    /// When, milliseconds.
    #[prost(int64, tag = "1")]
    pub at: i64,
    /// Who asked for what.
    #[prost(message, optional, tag = "2")]
    pub call: Option<Call>,
    /// Whether it was allowed and done.
    #[prost(bool, tag = "3")]
    pub done: bool,
    /// What came of it.
    #[prost(string, tag = "4")]
    pub outcome: String,
    /// Hash of the entry before.
    #[prost(bytes = "vec", tag = "5")]
    pub previous: Vec<u8>,
    /// Hash of this one.
    #[prost(bytes = "vec", tag = "6")]
    pub hash: Vec<u8>,
}
