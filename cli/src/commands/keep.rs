//! Join tokens and revoked hosts.

use holdfast_proto::v1::{self, certificates_client::CertificatesClient, tokens_client::TokensClient};
use holdfast_types::HostName;

use super::{Context, failover::cluster};
use crate::{
    args::{Output, TokenCommand},
    connect::Client,
    console::Stop,
    errors::{Exit, Intent},
    render::{
        json, lists,
        text::{clean, count},
        wire::wall,
    },
};

pub(super) async fn token(c: &mut Context<'_, '_>, client: &mut Client, command: TokenCommand) -> Result<Exit, Stop> {
    match command {
        TokenCommand::Create { region, uses, valid, replaces } => {
            let request = v1::CreateTokenRequest {
                region: region.to_string(),
                uses,
                valid: Some(span_to_wire(valid.0)),
                replaces: replaces.map(|h| h.to_string()).unwrap_or_default(),
            };
            let reply = client
                .call("holdfast token create", Intent::Change, |ch| {
                    let request = request.clone();
                    async { TokensClient::new(ch).create(request).await }
                })
                .await?;
            let until = wall(reply.until.as_ref()).map(|at| format!(" until {at}")).unwrap_or_default();
            let id = clean(&reply.id);
            c.show::<_, json::NewToken>(reply, |r, _| format!("{}\n", clean(&r.join)))?;
            if c.output == Output::Table {
                let hosts = count(uses as usize, "host");
                c.console.say(&format!(
                    "for {hosts} in {region}{until}; it is shown only now\n  next  run that line on the host      take it back: holdfast token revoke {id}\n"
                ));
            }
        }
        TokenCommand::List => {
            let reply = client
                .call("holdfast token list", Intent::Read, |ch| async {
                    TokensClient::new(ch).list(v1::ListTokensRequest {}).await
                })
                .await?;
            c.show::<_, json::Tokens>(reply, |r, view| lists::tokens(&r.tokens, view))?;
        }
        TokenCommand::Revoke { id } => {
            client
                .call("holdfast token revoke", Intent::Change, |ch| async {
                    TokensClient::new(ch).revoke(v1::RevokeTokenRequest { id: id.clone() }).await
                })
                .await?;
            let done = json::RevokedToken { token: id, revoked: true };
            c.show::<_, json::RevokedToken>(done, |r, _| format!("token {} is revoked\n", clean(&r.token)))?;
        }
    }
    Ok(Exit::Done)
}

pub(super) async fn revoke_host(
    c: &mut Context<'_, '_>,
    client: &mut Client,
    host: &HostName,
    reason: &str,
    yes: bool,
) -> Result<Exit, Stop> {
    if !yes {
        let again = format!("holdfast hosts revoke {host} --reason \"…\" -y");
        c.must_be_able_to_ask(&again)?;
        let cluster = cluster(client).await?;
        let question = format!("cut off {host} in {cluster}? It gets no lease any more: what writes there is fenced.");
        c.must_confirm(&question, &again)?;
    }
    let reply = client
        .call("holdfast hosts revoke", Intent::Change, |ch| async {
            let request = v1::RevokeHostRequest { host: host.to_string(), reason: reason.to_owned() };
            CertificatesClient::new(ch).revoke_host(request).await
        })
        .await?;
    let done = json::RevokedHost {
        host: host.to_string(),
        certificates: reply.certificates,
        sessions_cut: reply.sessions_cut,
    };
    c.show::<_, json::RevokedHost>(done, |r, _| {
        let certificates = count(r.certificates as usize, "certificate");
        let sessions = count(r.sessions_cut as usize, "session");
        format!("{}: {certificates} revoked, {sessions} cut\n", r.host)
    })?;
    Ok(Exit::Done)
}

pub(super) fn span_to_wire(span: std::time::Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(span.subsec_nanos()).unwrap_or(0),
    }
}
