//! People: let in, listed, put out.

use aws_lc_rs::rand;
use holdfast_coordinator_core::{
    change::{AddOperator, Kind, RevokeOperator},
    records::{self, Invite, OperatorRole},
};
use holdfast_proto::v1;
use holdfast_shared::{identity::Bearer, token::PersonToken};
use holdfast_types::{OperatorName, Right, Role, WallTime, refusal::Reason};
use tonic::{Request, Response, Status};

use super::{
    Api,
    call::{About, Call},
    not_committed,
    refuse::{self, Refusal, listed},
    tokens, wire,
};
use crate::authorise;

/// The line to run on the person's machine, complete.
fn add_line(address: &str, token: &PersonToken) -> String {
    format!("holdfast context add {address} --token {token}")
}

#[tonic::async_trait]
impl v1::people_server::People for Api {
    async fn add(&self, request: Request<v1::AddOperatorRequest>) -> Result<Response<v1::AddOperatorReply>, Status> {
        let message = request.get_ref();
        let subject = format!("{} as {}", message.name, message.role);
        let call =
            self.begin(&request, Right::Admit, About { call: "operator add", subject: &subject, why: "" }).await?;
        let done = self.add_person(&call, request.into_inner()).await;
        self.end(call, done).await
    }

    async fn list(
        &self,
        request: Request<v1::ListOperatorsRequest>,
    ) -> Result<Response<v1::ListOperatorsReply>, Status> {
        authorise::operator(&request, &self.replica, Right::Read)?;
        self.lead().await?;
        let now = self.clock.wall().unix_millis();
        let people = self
            .replica
            .read(|s| s.people().map(|(name, record)| person(&name, &record, s.certified_until(&name), now)).collect());
        Ok(Response::new(v1::ListOperatorsReply { people }))
    }

    async fn revoke(
        &self,
        request: Request<v1::RevokeOperatorRequest>,
    ) -> Result<Response<v1::RevokeOperatorReply>, Status> {
        let message = request.get_ref();
        let about = About { call: "operator revoke", subject: &message.name, why: &message.reason };
        let call = self.begin(&request, Right::Admit, about).await?;
        let done = self.put_out(&call, request.into_inner()).await;
        self.end(call, done).await
    }
}

impl Api {
    async fn add_person(&self, call: &Call, asked: v1::AddOperatorRequest) -> Result<v1::AddOperatorReply, Status> {
        self.lead().await?;
        let name = OperatorName::new(&*asked.name).map_err(|e| refuse::bad(e.to_string()))?;
        let role: Role = asked.role.parse().map_err(|e: holdfast_types::people::BadRole| refuse::bad(e.to_string()))?;
        let valid = tokens::valid(asked.valid.as_ref()).map_err(refuse::bad)?;
        let mut random = [0; 25];
        rand::fill(&mut random).map_err(|_| Status::internal("the system gives no randomness"))?;
        let token = PersonToken::new(name.clone(), random, &self.issuer.ca().pin());
        let until = tokens::until(self.clock.wall(), valid);
        let invite = Invite { id: token.id(), secret_hash: token.secret_hash(), until: until.unix_millis() };
        let change =
            AddOperator { name: name.to_string(), role: OperatorRole::from(role).into(), invite: Some(invite) };
        self.replica
            .propose(call.author(), Kind::AddOperator(change))
            .await
            .map_err(|e| not_committed(&e, vec!["holdfast operator list".to_owned()]))?;
        tracing::info!(operator = %name, role = %role, by = %call.caller.name, "operator added");
        Ok(v1::AddOperatorReply {
            add: add_line(&self.address, &token),
            token: token.to_string(),
            until: Some(wire::timestamp(until)),
        })
    }

    async fn put_out(&self, call: &Call, asked: v1::RevokeOperatorRequest) -> Result<v1::RevokeOperatorReply, Status> {
        self.lead().await?;
        let name = OperatorName::new(&*asked.name).map_err(|e| refuse::bad(e.to_string()))?;
        let known: Option<Vec<OperatorName>> =
            self.replica.read(|s| s.role(&name).is_none().then(|| s.people().map(|(name, _)| name).collect()));
        if let Some(known) = known {
            return Err(Refusal::new(Reason::UnknownOperator, format!("no operator {name}"))
                .line("operators", listed(known))
                .next("holdfast operator list")
                .status());
        }
        let reason = if asked.reason.is_empty() { call.caller.author() } else { asked.reason };
        let change = RevokeOperator { name: name.to_string(), reason };
        let committed = self
            .replica
            .propose(call.author(), Kind::RevokeOperator(change))
            .await
            .map_err(|e| not_committed(&e, vec!["holdfast operator list".to_owned()]))?;
        tracing::warn!(operator = %name, certificates = committed.number, by = %call.caller.name, "operator put out");
        let cut = self.cut(&format!("operator {name}"), &Bearer::Operator { name })?;
        Ok(v1::RevokeOperatorReply {
            certificates: u32::try_from(committed.number).unwrap_or(u32::MAX),
            sessions_cut: u32::try_from(cut).unwrap_or(u32::MAX),
        })
    }
}

fn person(name: &OperatorName, record: &records::Operator, certified: Option<WallTime>, now: i64) -> v1::Person {
    let invited = record.invite.as_ref().map(|invite| WallTime(invite.until));
    let (state, until) = match (record.revoked_at, certified, invited) {
        (0, Some(until), _) => ("active", Some(until)),
        (0, None, Some(until)) if until.unix_millis() >= now => ("invited", Some(until)),
        (0, None, invited) => ("invite expired", invited),
        (_, _, _) => ("revoked", None),
    };
    let role = records::Operator { revoked_at: 0, ..record.clone() }.may();
    v1::Person {
        name: name.to_string(),
        role: role.map(|role| role.to_string()).unwrap_or_default(),
        added_at: wire::moment(record.added_at),
        added_by: record.added_by.clone(),
        state: state.to_owned(),
        until: until.map(wire::timestamp),
        revoked_at: wire::moment(record.revoked_at),
        revoked_why: record.revoked_why.clone(),
    }
}
