//! Join tokens: made, listed, taken back.

use std::time::Duration;

use aws_lc_rs::rand;
use holdfast_coordinator_core::{
    change::{CreateToken, Kind, RevokeToken},
    records,
};
use holdfast_proto::v1;
use holdfast_shared::token::JoinToken;
use holdfast_types::{HostName, Right, WallTime, refusal::Reason, time::span};
use tonic::{Request, Response, Status};

use super::{
    Api,
    call::{About, Call},
    not_committed,
    refuse::{self, Refusal, listed},
    region_name, wire,
};
use crate::authorise;

/// Long enough to walk to a host, short enough to forget.
const VALID_DEFAULT: Duration = Duration::from_hours(1);
/// Longest life of a token: a week of setting hosts up.
const VALID_MAX: Duration = Duration::from_hours(7 * 24);
/// As many hosts as one token may enrol.
const USES_MAX: u32 = 1_000;

/// How many hosts and for how long, or what is wrong with what was asked.
pub(crate) fn terms(uses: u32, valid: Option<&prost_types::Duration>) -> Result<(u32, Duration), String> {
    let uses = match uses {
        0 => 1,
        uses if uses <= USES_MAX => uses,
        uses => return Err(format!("a token for {uses} hosts; {USES_MAX} is the most")),
    };
    Ok((uses, self::valid(valid)?))
}

/// For how long a token is valid, or what is wrong with what was asked.
pub(crate) fn valid(asked: Option<&prost_types::Duration>) -> Result<Duration, String> {
    let valid = match asked {
        None => VALID_DEFAULT,
        Some(asked) => wire::from_span(Some(asked)).unwrap_or(Duration::ZERO),
    };
    if valid.is_zero() {
        return Err("a token that is never valid; write a span such as 1h".to_owned());
    }
    if valid > VALID_MAX {
        return Err(format!("a token valid for longer than {}", span(VALID_MAX)));
    }
    Ok(valid)
}

pub(crate) fn until(now: WallTime, valid: Duration) -> WallTime {
    WallTime(now.unix_millis().saturating_add(i64::try_from(valid.as_millis()).unwrap_or(i64::MAX)))
}

/// The line to run on the host, complete.
fn join_line(address: &str, token: &JoinToken) -> String {
    format!("sudo holdfast-agent join {address} --token {token}")
}

#[tonic::async_trait]
impl v1::tokens_server::Tokens for Api {
    async fn create(&self, request: Request<v1::CreateTokenRequest>) -> Result<Response<v1::CreateTokenReply>, Status> {
        let about = About { call: "token create", subject: &request.get_ref().region, why: "" };
        let call = self.begin(&request, Right::Admit, about).await?;
        let done = self.create_token(&call, request.into_inner()).await;
        self.end(call, done).await
    }

    async fn list(&self, request: Request<v1::ListTokensRequest>) -> Result<Response<v1::ListTokensReply>, Status> {
        authorise::operator(&request, &self.replica, Right::Read)?;
        self.lead().await?;
        let now = self.clock.wall().unix_millis();
        let tokens = self.replica.read(|s| {
            let usable = s.tokens().iter().filter(|(_, token)| token.until > now && token.uses_left > 0);
            let told = usable.map(|(id, token)| v1::JoinToken {
                id: id.clone(),
                region: token.region.clone(),
                uses_left: token.uses_left,
                until: wire::moment(token.until),
                created_by: token.created_by.clone(),
            });
            told.collect()
        });
        Ok(Response::new(v1::ListTokensReply { tokens }))
    }

    async fn revoke(&self, request: Request<v1::RevokeTokenRequest>) -> Result<Response<v1::RevokeTokenReply>, Status> {
        let about = About { call: "token revoke", subject: &request.get_ref().id, why: "" };
        let call = self.begin(&request, Right::Admit, about).await?;
        let done = self.revoke_token(&call, request.into_inner()).await;
        self.end(call, done).await
    }
}

impl Api {
    async fn create_token(&self, call: &Call, asked: v1::CreateTokenRequest) -> Result<v1::CreateTokenReply, Status> {
        self.lead().await?;
        let v1::CreateTokenRequest { region, uses, valid, replaces } = asked;
        let region = region_name(&region)?;
        let (uses, valid) = terms(uses, valid.as_ref()).map_err(refuse::bad)?;
        if !replaces.is_empty() {
            let host = HostName::new(&*replaces).map_err(|e| refuse::bad(e.to_string()))?;
            let unknown = self
                .replica
                .read(|s| (!s.hosts().contains_key(&host)).then(|| refuse::unknown_host(&host, s.hosts().keys())));
            if let Some(unknown) = unknown {
                return Err(unknown.status());
            }
        }
        let mut random = [0; 25];
        rand::fill(&mut random).map_err(|_| Status::internal("the system gives no randomness"))?;
        let token = JoinToken::new(region.clone(), random, &self.issuer.ca().pin());
        let until = until(self.clock.wall(), valid);
        let record = records::JoinToken {
            secret_hash: token.secret_hash(),
            region: region.to_string(),
            uses_left: uses,
            until: until.unix_millis(),
            created_by: call.caller.name.to_string(),
            replaces,
        };
        let change = CreateToken { id: token.id(), token: Some(record) };
        self.replica
            .propose(call.author(), Kind::CreateToken(change))
            .await
            .map_err(|e| not_committed(&e, vec!["holdfast token list".to_owned()]))?;
        tracing::info!(token = %token.id(), region = %region, uses, by = %call.caller.name, "join token made");
        Ok(v1::CreateTokenReply {
            join: join_line(&self.address, &token),
            id: token.id(),
            token: token.to_string(),
            until: Some(wire::timestamp(until)),
        })
    }

    async fn revoke_token(&self, call: &Call, asked: v1::RevokeTokenRequest) -> Result<v1::RevokeTokenReply, Status> {
        self.lead().await?;
        let id = asked.id;
        let known: Option<Vec<String>> =
            self.replica.read(|s| (!s.tokens().contains_key(&id)).then(|| s.tokens().keys().cloned().collect()));
        if let Some(known) = known {
            let shown: String = id.chars().take(80).collect();
            return Err(Refusal::new(Reason::BadToken, format!("no join token {shown}; it may be used up"))
                .line("tokens", listed(known))
                .next("holdfast token list")
                .status());
        }
        self.replica
            .propose(call.author(), Kind::RevokeToken(RevokeToken { id: id.clone() }))
            .await
            .map_err(|e| not_committed(&e, vec!["holdfast token list".to_owned()]))?;
        tracing::info!(token = %id, by = %call.caller.name, "join token taken back");
        Ok(v1::RevokeTokenReply {})
    }
}

#[cfg(test)]
mod tests {
    use holdfast_shared::pki::Pin;

    use super::*;

    #[test]
    fn a_token_has_bounds() {
        let hours = |n: i64| Some(prost_types::Duration { seconds: n * 3_600, nanos: 0 });
        for (uses, valid, terms_or_not) in [
            (0, None, Ok((1, VALID_DEFAULT))),
            (2, hours(2), Ok((2, Duration::from_hours(2)))),
            (1_000, hours(168), Ok((1_000, VALID_MAX))),
            (1_001, None, Err("a token for 1001 hosts; 1000 is the most")),
            (1, hours(169), Err("a token valid for longer than 7 d")),
            (1, hours(0), Err("a token that is never valid; write a span such as 1h")),
            (1, hours(-1), Err("a token that is never valid; write a span such as 1h")),
        ] {
            assert_eq!(terms(uses, valid.as_ref()), terms_or_not.map_err(ToOwned::to_owned));
        }
    }

    #[test]
    fn the_join_line_is_complete() {
        let token = JoinToken::new("us-east".parse().expect("a name"), [7; 25], &Pin::from_bytes([9; 32]));
        let line = join_line("c1.example:7443", &token);
        let shown = line.strip_prefix("sudo holdfast-agent join c1.example:7443 --token ").expect("the command");
        assert_eq!(shown.parse::<JoinToken>(), Ok(token));
    }
}
