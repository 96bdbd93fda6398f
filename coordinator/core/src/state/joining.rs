//! Who may speak: the cluster itself, join tokens, enrolled hosts, certificates.

use holdfast_types::{ClusterId, HostName, RegionName, refusal::Reason};

use super::{Answer, Context, Key, State, refuse};
use crate::{change, records};

/// How long after its end a certificate's row is kept: as long as `Renew` still takes it.
const EXPIRED_KEPT_MILLIS: i64 = 30 * 86_400_000;

fn agent_uri(cluster: &str, region: &str, host: &str) -> String {
    format!("holdfast://{cluster}/agent/{region}/{host}")
}

impl State {
    pub(super) fn init(&mut self, cx: &mut Context<'_>, c: &change::Init) -> Answer {
        if !self.cluster.id.is_empty() {
            return Err(refuse(Reason::BadRequest, format!("this cluster is already {}", self.cluster.name)));
        }
        let id = ClusterId::new(&*c.cluster).map_err(|e| refuse(Reason::BadRequest, e.to_string()))?;
        self.cluster = records::Cluster {
            id: id.to_string(),
            name: c.name.clone(),
            incarnation: 1,
            feature_level: 1,
            last_serial: 0,
            last_operation: 0,
            crl_number: 0,
            created_at: cx.at.unix_millis(),
        };
        cx.touch(Key::Cluster);
        Ok(0)
    }

    pub(super) fn create_token(&mut self, cx: &mut Context<'_>, c: &change::CreateToken) -> Answer {
        let Some(token) = &c.token else {
            return Err(refuse(Reason::BadRequest, "a join token without its record"));
        };
        if let Err(e) = RegionName::new(&*token.region) {
            return Err(refuse(Reason::BadRequest, e.to_string()));
        }
        if token.uses_left == 0 {
            return Err(refuse(Reason::BadRequest, "a join token without uses enrols nobody"));
        }
        if !token.replaces.is_empty() && !self.hosts.keys().any(|h| h.as_str() == token.replaces) {
            return Err(refuse(Reason::UnknownHost, format!("no host {} is enrolled", token.replaces)));
        }
        if self.tokens.contains_key(&c.id) {
            return Err(refuse(Reason::BadRequest, "a join token with this id exists"));
        }
        self.forget_expired(cx);
        self.tokens.insert(c.id.clone(), token.clone());
        cx.touch(Key::JoinToken(c.id.clone()));
        Ok(0)
    }

    pub(super) fn revoke_token(&mut self, cx: &mut Context<'_>, c: &change::RevokeToken) -> Answer {
        if self.tokens.remove(&c.id).is_none() {
            return Err(refuse(Reason::BadToken, format!("no join token {}", c.id)));
        }
        cx.touch(Key::JoinToken(c.id.clone()));
        Ok(0)
    }

    /// Tokens and certificates that nobody can use any more.
    fn forget_expired(&mut self, cx: &mut Context<'_>) {
        let now = cx.at.unix_millis();
        let old: Vec<String> = self.tokens.iter().filter(|(_, t)| t.until < now).map(|(id, _)| id.clone()).collect();
        for id in old {
            self.tokens.remove(&id);
            cx.touch(Key::JoinToken(id));
        }
        let old: Vec<u64> = self
            .certificates
            .iter()
            .filter(|(_, c)| c.until.saturating_add(EXPIRED_KEPT_MILLIS) < now)
            .map(|(serial, _)| *serial)
            .collect();
        for serial in old {
            self.certificates.remove(&serial);
            cx.touch(Key::Certificate(serial));
        }
    }

    pub(super) fn next_serial(&mut self, cx: &mut Context<'_>, bearer: String, until: i64) -> u64 {
        self.cluster.last_serial += 1;
        let serial = self.cluster.last_serial;
        self.certificates.insert(serial, records::Certificate { bearer, until, revoked_at: 0 });
        cx.touch(Key::Cluster);
        cx.touch(Key::Certificate(serial));
        serial
    }

    pub(super) fn enrol(&mut self, cx: &mut Context<'_>, c: &change::Enrol) -> Answer {
        let host = HostName::new(&*c.host).map_err(|e| refuse(Reason::BadRequest, e.to_string()))?;
        // The very same request again: its answer was lost on the way.
        if let Some(known) = self.hosts.get(&host)
            && !c.request_hash.is_empty()
            && known.request_hash == c.request_hash
            && known.quarantine.is_empty()
            && self.certificates.get(&known.serial).is_some_and(|cert| cert.revoked_at == 0)
        {
            return Ok(known.serial);
        }
        let token = self
            .tokens
            .get(&c.token)
            .filter(|t| t.secret_hash == c.secret_hash)
            .ok_or_else(|| refuse(Reason::BadToken, "this join token is unknown, used up or taken back"))?;
        if token.until < cx.at.unix_millis() {
            return Err(refuse(Reason::BadToken, "this join token has expired"));
        }
        let region = token.region.clone();
        let replaces = token.replaces == c.host;
        if let Some(known) = self.hosts.get(&host)
            && !replaces
        {
            return Err(refuse(Reason::NameTaken, format!("a host {host} is enrolled in {} already", known.region)));
        }
        if let Some(clash) = self.region_clash(&host, &region) {
            return Err(refuse(Reason::UnsafeChange, clash));
        }
        let token = self.tokens.get_mut(&c.token).expect("looked up above");
        token.uses_left = token.uses_left.saturating_sub(1);
        if token.uses_left == 0 {
            self.tokens.remove(&c.token);
        }
        cx.touch(Key::JoinToken(c.token.clone()));
        if self.hosts.contains_key(&host) {
            self.revoke_of_host(cx, &host);
        }
        let bearer = agent_uri(&self.cluster.id, &region, host.as_str());
        let serial = self.next_serial(cx, bearer, c.until);
        let record = records::Host {
            region,
            serial,
            enrolled_at: cx.at.unix_millis(),
            quarantine: String::new(),
            starts: 0,
            request_hash: c.request_hash.clone(),
        };
        self.hosts.insert(host.clone(), record);
        cx.touch(Key::Host(host));
        Ok(serial)
    }

    /// An app that names this host in another region.
    fn region_clash(&self, host: &HostName, region: &str) -> Option<String> {
        self.apps.iter().find_map(|(app, a)| {
            let declared = a.spec.hosts().get(host)?.clone();
            (declared.as_str() != region)
                .then(|| format!("app {app} declares {host} in {declared}, this token enrols into {region}"))
        })
    }

    pub(super) fn issue(&mut self, cx: &mut Context<'_>, c: &change::Issue) -> Answer {
        if c.renews != 0 {
            match self.certificates.get(&c.renews) {
                Some(old) if old.bearer == c.bearer && old.revoked_at == 0 => {}
                Some(old) if old.revoked_at != 0 => {
                    return Err(refuse(
                        Reason::Revoked,
                        format!("certificate {} of {} is revoked", c.renews, c.bearer),
                    ));
                }
                Some(_) | None => {
                    return Err(refuse(
                        Reason::NotPermitted,
                        format!("certificate {} was not given to {}", c.renews, c.bearer),
                    ));
                }
            }
        }
        let host = self.host_of(&c.bearer);
        if host.is_none() && c.bearer.starts_with(&format!("holdfast://{}/agent/", self.cluster.id)) {
            return Err(refuse(Reason::UnknownHost, format!("{} is no enrolled host", c.bearer)));
        }
        if let Some(host) = &host
            && let Some(record) = self.hosts.get(host)
            && !record.quarantine.is_empty()
        {
            return Err(refuse(Reason::Quarantined, format!("host {host} is quarantined: {}", record.quarantine)));
        }
        self.forget_expired(cx);
        let serial = self.next_serial(cx, c.bearer.clone(), c.until);
        if let Some(host) = host
            && let Some(record) = self.hosts.get_mut(&host)
        {
            record.serial = serial;
            // The certificate of the enrolment was received: its request is not answered again.
            record.request_hash.clear();
            cx.touch(Key::Host(host));
        }
        Ok(serial)
    }

    fn host_of(&self, bearer: &str) -> Option<HostName> {
        self.hosts
            .iter()
            .find(|(name, record)| agent_uri(&self.cluster.id, &record.region, name.as_str()) == bearer)
            .map(|(name, _)| name.clone())
    }

    /// Answers how many certificates it revoked.
    pub(super) fn revoke(&mut self, cx: &mut Context<'_>, c: &change::Revoke) -> Answer {
        let revoked = self.revoke_bearer(cx, &c.bearer);
        if revoked == 0 {
            return Err(refuse(Reason::UnknownHost, format!("{} has no certificate to revoke", c.bearer)));
        }
        if let Some(host) = self.host_of(&c.bearer) {
            let record = self.hosts.get_mut(&host).expect("host_of found it");
            record.quarantine = format!("revoked: {}", c.reason);
            cx.touch(Key::Host(host.clone()));
            self.cannot_take_over(cx, &host);
        }
        Ok(revoked)
    }

    pub(super) fn revoke_of_host(&mut self, cx: &mut Context<'_>, host: &HostName) -> u64 {
        let Some(region) = self.hosts.get(host).map(|h| h.region.clone()) else { return 0 };
        let bearer = agent_uri(&self.cluster.id, &region, host.as_str());
        self.revoke_bearer(cx, &bearer)
    }

    pub(super) fn revoke_bearer(&mut self, cx: &mut Context<'_>, bearer: &str) -> u64 {
        let now = cx.at.unix_millis();
        let mut revoked = 0;
        for (serial, certificate) in &mut self.certificates {
            if certificate.bearer == bearer && certificate.revoked_at == 0 {
                certificate.revoked_at = now.max(1);
                cx.touch(Key::Certificate(*serial));
                revoked += 1;
            }
        }
        if revoked > 0 {
            self.cluster.crl_number += 1;
            cx.touch(Key::Cluster);
        }
        revoked
    }

    pub(super) fn quarantine(&mut self, cx: &mut Context<'_>, c: &change::Quarantine) -> Answer {
        let host = HostName::new(&*c.host).map_err(|e| refuse(Reason::BadRequest, e.to_string()))?;
        let Some(record) = self.hosts.get_mut(&host) else {
            return Err(refuse(Reason::UnknownHost, format!("no host {host} is enrolled")));
        };
        if record.quarantine.is_empty() {
            record.quarantine = if c.why.is_empty() { "no reason given".to_owned() } else { c.why.clone() };
            cx.touch(Key::Host(host.clone()));
            self.cannot_take_over(cx, &host);
        }
        Ok(0)
    }

    pub(super) fn note_starts(&mut self, cx: &mut Context<'_>, c: &change::NoteStarts) -> Answer {
        let host = HostName::new(&*c.host).map_err(|e| refuse(Reason::BadRequest, e.to_string()))?;
        let Some(record) = self.hosts.get_mut(&host) else {
            return Err(refuse(Reason::UnknownHost, format!("no host {host} is enrolled")));
        };
        if c.starts < record.starts {
            return Err(refuse(
                Reason::Quarantined,
                format!("host {host} shows {} agent starts, {} were seen: its disk went back", c.starts, record.starts),
            ));
        }
        if c.starts > record.starts {
            record.starts = c.starts;
            cx.touch(Key::Host(host));
        }
        Ok(0)
    }
}
