//! People: who is let in, as what, and who is put out.

use holdfast_types::{OperatorName, Role, refusal::Reason};

use super::{Answer, Context, Key, State, refuse};
use crate::{
    change,
    records::{self, OperatorRole},
};

fn operator_uri(cluster: &str, name: &OperatorName) -> String {
    format!("holdfast://{cluster}/operator/{name}")
}

impl State {
    /// What a person may do; `None`: nothing, they are not known or were put out. Before anybody was recorded there was
    /// only the admin that `init` made.
    #[must_use]
    pub fn role(&self, name: &OperatorName) -> Option<Role> {
        if self.operators.is_empty() {
            return Some(Role::Admin);
        }
        self.operators.get(name).and_then(records::Operator::may)
    }

    pub(super) fn add_operator(&mut self, cx: &mut Context<'_>, c: &change::AddOperator) -> Answer {
        let name = OperatorName::new(&*c.name).map_err(|e| refuse(Reason::BadRequest, e.to_string()))?;
        if c.role() == OperatorRole::Unspecified {
            return Err(refuse(Reason::BadRequest, format!("{name} is to be added without a role")));
        }
        let uri = operator_uri(&self.cluster.id, &name);
        let certified = self.certificates.values().any(|cert| cert.bearer == uri && cert.revoked_at == 0);
        match self.operators.get(&name) {
            Some(known) if known.revoked_at == 0 && certified => {
                return Err(refuse(Reason::NameTaken, format!("operator {name} is there already, as {}", word(known))));
            }
            None if certified && c.invite.is_some() => {
                return Err(refuse(Reason::NameTaken, format!("operator {name} is there already, as admin")));
            }
            // Put out before, or their invite was never redeemed: it is void from now on.
            Some(_) | None => {}
        }
        self.record_first_admins(cx);
        let record = records::Operator {
            role: c.role,
            added_at: cx.at.unix_millis(),
            added_by: cx.by.to_owned(),
            invite: c.invite.clone(),
            ..records::Operator::default()
        };
        self.operators.insert(name.clone(), record);
        cx.touch(Key::Operator(name));
        Ok(0)
    }

    /// Whoever holds a certificate from before people were recorded is an admin; from now on it is written down.
    fn record_first_admins(&mut self, cx: &mut Context<'_>) {
        if !self.operators.is_empty() {
            return;
        }
        let prefix = format!("holdfast://{}/operator/", self.cluster.id);
        let names: Vec<OperatorName> = self
            .certificates
            .values()
            .filter(|cert| cert.revoked_at == 0)
            .filter_map(|cert| cert.bearer.strip_prefix(&prefix)?.parse().ok())
            .collect();
        for name in names {
            let role = OperatorRole::Admin.into();
            let (added_at, added_by) = (self.cluster.created_at, "init".to_owned());
            let record = records::Operator { role, added_at, added_by, ..records::Operator::default() };
            self.operators.insert(name.clone(), record);
            cx.touch(Key::Operator(name));
        }
    }

    /// Answers the serial of the certificate.
    pub(super) fn redeem_invite(&mut self, cx: &mut Context<'_>, c: &change::RedeemInvite) -> Answer {
        let name = OperatorName::new(&*c.name).map_err(|e| refuse(Reason::BadRequest, e.to_string()))?;
        let unknown = || refuse(Reason::BadToken, "this token is unknown, used up or taken back");
        let known = self.operators.get(&name).filter(|o| o.revoked_at == 0).ok_or_else(unknown)?;
        // The very same request again: its answer was lost on the way.
        if !c.request_hash.is_empty()
            && known.request_hash == c.request_hash
            && self.certificates.get(&known.serial).is_some_and(|cert| cert.revoked_at == 0)
        {
            return Ok(known.serial);
        }
        let invite = known.invite.as_ref().filter(|i| i.id == c.token && i.secret_hash == c.secret_hash);
        let invite = invite.ok_or_else(unknown)?;
        if invite.until < cx.at.unix_millis() {
            return Err(refuse(Reason::BadToken, format!("this token for {name} has expired")));
        }
        let bearer = operator_uri(&self.cluster.id, &name);
        let serial = self.next_serial(cx, bearer, c.until);
        let record = self.operators.get_mut(&name).expect("looked up above");
        record.invite = None;
        record.request_hash.clone_from(&c.request_hash);
        record.serial = serial;
        cx.touch(Key::Operator(name));
        Ok(serial)
    }

    /// Answers how many certificates were revoked.
    pub(super) fn revoke_operator(&mut self, cx: &mut Context<'_>, c: &change::RevokeOperator) -> Answer {
        let name = OperatorName::new(&*c.name).map_err(|e| refuse(Reason::BadRequest, e.to_string()))?;
        let Some(known) = self.operators.get(&name).filter(|o| o.revoked_at == 0) else {
            return Err(refuse(Reason::UnknownOperator, format!("no operator {name}")));
        };
        let other_admin = self
            .operators
            .iter()
            .any(|(other, o)| *other != name && o.may() == Some(Role::Admin) && self.is_certified(other));
        if known.may() == Some(Role::Admin) && !other_admin {
            return Err(refuse(Reason::LastAdmin, format!("{name} is the only admin with a certificate")));
        }
        let bearer = operator_uri(&self.cluster.id, &name);
        let revoked = self.revoke_bearer(cx, &bearer);
        let record = self.operators.get_mut(&name).expect("looked up above");
        record.revoked_at = cx.at.unix_millis().max(1);
        record.revoked_why.clone_from(&c.reason);
        record.invite = None;
        record.request_hash.clear();
        cx.touch(Key::Operator(name));
        Ok(revoked)
    }

    /// Whether a person holds a certificate that counts.
    #[must_use]
    pub fn is_certified(&self, name: &OperatorName) -> bool {
        let uri = operator_uri(&self.cluster.id, name);
        self.certificates.values().any(|cert| cert.bearer == uri && cert.revoked_at == 0)
    }
}

fn word(record: &records::Operator) -> String {
    record.may().map_or_else(|| "nothing that this release knows".to_owned(), |role| role.to_string())
}
