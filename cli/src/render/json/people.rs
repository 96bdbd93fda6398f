//! People, and the trail of what they asked for.

use holdfast_proto::v1;
use holdfast_types::{
    WallTime,
    audit::{Entry, Hash},
};
use serde::Serialize;

use super::instant;
use crate::render::wire::said;

/// `holdfast operator add`.
#[derive(Serialize)]
pub struct NewOperator {
    token: String,
    add: String,
    until: Option<String>,
}

impl From<v1::AddOperatorReply> for NewOperator {
    fn from(r: v1::AddOperatorReply) -> Self {
        Self { until: instant(r.until.as_ref()), token: r.token, add: r.add }
    }
}

/// `holdfast operator list`.
#[derive(Serialize)]
pub struct Operators {
    operators: Vec<Operator>,
}

#[derive(Serialize)]
struct Operator {
    operator: String,
    role: String,
    state: String,
    until: Option<String>,
    added_at: Option<String>,
    added_by: Option<String>,
    revoked_at: Option<String>,
    revoked_why: Option<String>,
}

impl From<v1::ListOperatorsReply> for Operators {
    fn from(r: v1::ListOperatorsReply) -> Self {
        let operator = |p: v1::Person| Operator {
            until: instant(p.until.as_ref()),
            added_at: instant(p.added_at.as_ref()),
            added_by: said(&p.added_by),
            revoked_at: instant(p.revoked_at.as_ref()),
            revoked_why: said(&p.revoked_why),
            operator: p.name,
            role: p.role,
            state: p.state,
        };
        Self { operators: r.people.into_iter().map(operator).collect() }
    }
}

/// `holdfast operator revoke`.
#[derive(Serialize)]
pub struct RevokedOperator {
    /// Who was put out.
    pub operator: String,
    /// How many certificates are revoked.
    pub certificates: u32,
    /// How many live connections were cut.
    pub sessions_cut: u32,
}

/// `holdfast audit`.
#[derive(Serialize)]
pub struct Trail {
    entries: Vec<AuditEntry>,
}

#[derive(Serialize)]
struct AuditEntry {
    number: u64,
    at: String,
    by: String,
    from: Option<String>,
    call: String,
    subject: Option<String>,
    why: Option<String>,
    done: bool,
    outcome: Option<String>,
    hash: Hash,
}

impl From<Vec<Entry>> for Trail {
    fn from(entries: Vec<Entry>) -> Self {
        let entry = |e: Entry| AuditEntry {
            at: WallTime(e.at).to_string(),
            from: said(&e.from),
            subject: said(&e.subject),
            why: said(&e.why),
            outcome: said(&e.outcome),
            number: e.number,
            by: e.by,
            call: e.call,
            done: e.done,
            hash: e.hash,
        };
        Self { entries: entries.into_iter().map(entry).collect() }
    }
}

/// `holdfast audit verify`.
#[derive(Serialize)]
pub struct Verified {
    /// Always true; a failure says otherwise.
    pub holds: bool,
    /// Number of the oldest entry.
    pub first: u64,
    /// Number of the newest entry.
    pub last: u64,
    /// Of the newest entry; worth keeping elsewhere.
    pub newest_hash: Hash,
}
