//! People: let in, listed, put out.

use holdfast_proto::v1::{self, people_client::PeopleClient};

use super::{Context, failover::cluster, keep::span_to_wire};
use crate::{
    args::{OperatorCommand, Output},
    connect::Client,
    console::Stop,
    errors::{Exit, Intent},
    render::{
        json, people,
        text::{clean, count},
        wire::wall,
    },
};

pub(super) async fn run(c: &mut Context<'_, '_>, client: &mut Client, command: OperatorCommand) -> Result<Exit, Stop> {
    match command {
        OperatorCommand::Add { name, role, valid } => {
            let request = v1::AddOperatorRequest {
                name: name.to_string(),
                role: role.to_string(),
                valid: Some(span_to_wire(valid.0)),
            };
            let reply = client
                .call("holdfast operator add", Intent::Change, |ch| {
                    let request = request.clone();
                    async { PeopleClient::new(ch).add(request).await }
                })
                .await?;
            let until = wall(reply.until.as_ref()).map(|at| format!(" until {at}")).unwrap_or_default();
            c.show::<_, json::NewOperator>(reply, |r, _| format!("{}\n", clean(&r.add)))?;
            if c.output == Output::Table {
                c.console.say(&format!(
                    "for {name} as {role}, once{until}; it is shown only now\n  next  {name} runs that line where they work      take it back: holdfast operator revoke {name}\n"
                ));
            }
        }
        OperatorCommand::List => {
            let reply = client
                .call("holdfast operator list", Intent::Read, |ch| async {
                    PeopleClient::new(ch).list(v1::ListOperatorsRequest {}).await
                })
                .await?;
            c.show::<_, json::Operators>(reply, |r, view| people::operators(&r.people, view))?;
        }
        OperatorCommand::Revoke { name, reason, yes } => {
            if !yes {
                let again = format!("holdfast operator revoke {name} --reason \"…\" -y");
                c.must_be_able_to_ask(&again)?;
                let cluster = cluster(client).await?;
                let question = format!("put out {name} of {cluster}? What they have running there is cut off.");
                c.must_confirm(&question, &again)?;
            }
            let reply = client
                .call("holdfast operator revoke", Intent::Change, |ch| async {
                    let request = v1::RevokeOperatorRequest { name: name.to_string(), reason: reason.clone() };
                    PeopleClient::new(ch).revoke(request).await
                })
                .await?;
            let done = json::RevokedOperator {
                operator: name.to_string(),
                certificates: reply.certificates,
                sessions_cut: reply.sessions_cut,
            };
            c.show::<_, json::RevokedOperator>(done, |r, _| {
                let certificates = count(r.certificates as usize, "certificate");
                let connections = count(r.sessions_cut as usize, "connection");
                format!("{} is out: {certificates} revoked, {connections} cut\n", r.operator)
            })?;
        }
    }
    Ok(Exit::Done)
}
