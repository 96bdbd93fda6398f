//! People: who is let in, as what, and who is put out.

use holdfast_types::{OperatorName, Role, WallTime, refusal::Reason};

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
        for (name, record) in self.first_admins() {
            self.operators.insert(name.clone(), record);
            cx.touch(Key::Operator(name));
        }
    }

    fn first_admins(&self) -> Vec<(OperatorName, records::Operator)> {
        let prefix = format!("holdfast://{}/operator/", self.cluster.id);
        let live = self.certificates.values().filter(|cert| cert.revoked_at == 0);
        let names = live.filter_map(|cert| cert.bearer.strip_prefix(&prefix)?.parse().ok());
        let record = records::Operator {
            role: OperatorRole::Admin.into(),
            added_at: self.cluster.created_at,
            added_by: "init".to_owned(),
            ..records::Operator::default()
        };
        let mut admins: Vec<(OperatorName, records::Operator)> = names.map(|name| (name, record.clone())).collect();
        admins.dedup_by(|a, b| a.0 == b.0);
        admins
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
            .any(|(other, o)| *other != name && o.may() == Some(Role::Admin) && self.certified_until(other).is_some());
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

    /// Until when a person's newest certificate holds; `None`: they have none that counts.
    #[must_use]
    pub fn certified_until(&self, name: &OperatorName) -> Option<WallTime> {
        let uri = operator_uri(&self.cluster.id, name);
        let live = self.certificates.values().filter(|cert| cert.bearer == uri && cert.revoked_at == 0);
        live.map(|cert| WallTime(cert.until)).max()
    }

    /// Everybody, also the first admin who is not written down yet, and those who were put out.
    pub fn people(&self) -> impl Iterator<Item = (OperatorName, records::Operator)> {
        let first = if self.operators.is_empty() { self.first_admins() } else { Vec::new() };
        self.operators.iter().map(|(name, record)| (name.clone(), record.clone())).chain(first)
    }
}

fn word(record: &records::Operator) -> String {
    record.may().map_or_else(|| "nothing that this release knows".to_owned(), |role| role.to_string())
}
