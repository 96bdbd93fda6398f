//! Hosts that come and go.

use holdfast_proto::v1;
use serde::Serialize;

use super::instant;
use crate::render::wire::said;

/// `holdfast token create`.
#[derive(Serialize)]
pub struct NewToken {
    id: String,
    token: String,
    join: String,
    until: Option<String>,
}

impl From<v1::CreateTokenReply> for NewToken {
    fn from(r: v1::CreateTokenReply) -> Self {
        Self { until: instant(r.until.as_ref()), id: r.id, token: r.token, join: r.join }
    }
}

/// `holdfast token list`.
#[derive(Serialize)]
pub struct Tokens {
    tokens: Vec<Token>,
}

#[derive(Serialize)]
struct Token {
    id: String,
    region: String,
    uses_left: u32,
    until: Option<String>,
    created_by: Option<String>,
}

impl From<v1::ListTokensReply> for Tokens {
    fn from(r: v1::ListTokensReply) -> Self {
        let token = |t: v1::JoinToken| Token {
            until: instant(t.until.as_ref()),
            created_by: said(&t.created_by),
            id: t.id,
            region: t.region,
            uses_left: t.uses_left,
        };
        Self { tokens: r.tokens.into_iter().map(token).collect() }
    }
}

/// `holdfast token revoke`.
#[derive(Serialize)]
pub struct RevokedToken {
    /// The token's id.
    pub token: String,
    /// Always true; a failure says otherwise.
    pub revoked: bool,
}

/// `holdfast hosts revoke`.
#[derive(Serialize)]
pub struct RevokedHost {
    /// The host.
    pub host: String,
    /// How many certificates are revoked.
    pub certificates: u32,
    /// How many live sessions were cut.
    pub sessions_cut: u32,
}

/// `holdfast hosts remove`.
#[derive(Serialize)]
pub struct RemovedHost {
    /// The host.
    pub host: String,
    /// Its region.
    pub region: String,
    /// How many certificates are revoked.
    pub certificates: u32,
    /// How many live sessions were cut.
    pub sessions_cut: u32,
    /// What is left on the host.
    pub left: Vec<String>,
}

impl RemovedHost {
    /// Of this host.
    #[must_use]
    pub fn new(host: &str, r: v1::RemoveHostReply) -> Self {
        Self {
            host: host.to_owned(),
            region: r.region,
            certificates: r.certificates,
            sessions_cut: r.sessions_cut,
            left: r.left,
        }
    }
}
