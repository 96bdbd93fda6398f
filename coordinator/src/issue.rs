//! Gives out certificates: to hosts that show a join token, to bearers whose certificate comes to its end, and to this
//! coordinator itself. Serials come from the replicated state, so none is ever used twice.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_lc_rs::digest;
use holdfast_coordinator_core::{
    change::{Enrol, Issue, Kind, RedeemInvite, Refused},
    records,
};
use holdfast_proto::v1;
use holdfast_shared::{
    clock::SharedClock,
    identity::{Bearer, parse_serial},
    pki::{Ca, KeyAndCsr, Material, Naming, PkiError},
    refusal::to_status,
    refusals::{Refusals, RefusedKind},
    tls::{HotTls, Peer, TlsError},
    token::{JoinToken, PersonToken},
};
use holdfast_types::{HostName, WallTime, ids::ClusterId, refusal::Reason};
use rustls_pki_types::ServerName;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::{
    config::server_name,
    replica::{Author, COORDINATOR, ProposeError, Replica},
};

/// Agents renew at half of it.
pub const AGENT_LIFETIME: Duration = Duration::from_hours(7 * 24);
/// Coordinators renew at half of it, by themselves: they hold the CA.
pub const COORDINATOR_LIFETIME: Duration = Duration::from_hours(30 * 24);
/// The admin that `init` makes; renewing operators comes with adding them.
pub const OPERATOR_LIFETIME: Duration = Duration::from_hours(365 * 24);
/// How often this coordinator looks whether its own certificate or the revocation list needs renewal: far more often
/// than either ends.
const UPKEEP: Duration = Duration::from_hours(1);

/// Why a certificate was not given out.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The serial could not be committed.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// The request or the CA is at fault.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The new certificate cannot work.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl IssueError {
    fn status(&self) -> Status {
        match self {
            Self::Propose(e) => e.status(),
            Self::Pki(e) => to_status(Reason::BadRequest, e.to_string(), vec![], vec![]),
            Self::Tls(e) => Status::internal(e.to_string()),
        }
    }
}

/// The CA and the state behind it. Cheap to clone.
#[derive(Clone)]
pub struct Issuer {
    ca: Arc<Ca>,
    cluster: ClusterId,
    replica: Replica,
    clock: SharedClock,
    node: u64,
    folder: PathBuf,
    own: Arc<Mutex<Material>>,
    refusals: Refusals,
    reached_at: Option<ServerName<'static>>,
}

impl Issuer {
    /// Around a loaded CA. `folder` holds this coordinator's own key and certificate.
    #[must_use]
    pub fn new(
        ca: Arc<Ca>,
        cluster: ClusterId,
        replica: Replica,
        clock: SharedClock,
        node: u64,
        folder: PathBuf,
        own: Material,
    ) -> Self {
        let (own, refusals) = (Arc::new(Mutex::new(own)), Refusals::new(Arc::clone(&clock)));
        Self { ca, cluster, replica, clock, node, folder, own, refusals, reached_at: None }
    }

    /// The same, counting what it refuses with all else that is refused.
    #[must_use]
    pub fn counting(self, refusals: Refusals) -> Self {
        Self { refusals, ..self }
    }

    /// This coordinator is dialled at `address` (`host:port`): its own certificate names that, for clients that look.
    #[must_use]
    pub fn reached_at(mut self, address: &str) -> Self {
        self.reached_at = server_name(address);
        self
    }

    /// The CA.
    #[must_use]
    pub fn ca(&self) -> &Ca {
        &self.ca
    }

    fn credentials(&self, leaf: Vec<u8>) -> Result<v1::Credentials, IssueError> {
        let ca = self.ca.certificate().to_vec();
        Ok(v1::Credentials { chain: vec![leaf, ca.clone()], roots: vec![ca], crls: vec![self.crl()?] })
    }

    fn crl(&self) -> Result<Vec<u8>, IssueError> {
        let (number, revoked) = self.replica.read(|s| {
            let revoked: Vec<u64> =
                s.certificates().iter().filter(|(_, c)| c.revoked_at != 0).map(|(serial, _)| *serial).collect();
            (s.cluster().crl_number, revoked)
        });
        Ok(self.ca.crl(number, &revoked, self.clock.wall())?.to_vec())
    }

    fn until(&self, lifetime: Duration) -> i64 {
        let millis = i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX);
        self.clock.wall().unix_millis().saturating_add(millis)
    }

    async fn next_serial(&self, bearer: &Bearer, lifetime: Duration, renews: u64) -> Result<u64, IssueError> {
        let change = Issue { bearer: bearer.uri(&self.cluster), until: self.until(lifetime), renews };
        Ok(self.replica.propose(COORDINATOR, Kind::Issue(change)).await?.number)
    }

    fn sign(&self, csr: &[u8], bearer: &Bearer, serial: u64, lifetime: Duration) -> Result<Vec<u8>, IssueError> {
        Ok(self.ca.sign_csr(csr, bearer, &self.cluster, serial, lifetime, self.clock.wall())?.to_vec())
    }

    /// A new key and certificate for someone on this machine: this coordinator, or the admin at `init`.
    ///
    /// # Errors
    /// [`IssueError`].
    pub async fn issue_here(&self, bearer: &Bearer, lifetime: Duration) -> Result<Material, IssueError> {
        let key = KeyAndCsr::generate()?;
        let serial = self.next_serial(bearer, lifetime, 0).await?;
        let naming = Naming { cluster: &self.cluster, bearer, reached_at: self.reached_at.as_ref() };
        let leaf = self.ca.sign(&key.csr, &naming, serial, lifetime, self.clock.wall())?.to_vec();
        let c = self.credentials(leaf)?;
        Ok(Material::from_der(key.key, c.chain, c.roots, c.crls))
    }

    /// Puts the newest list of revoked certificates in force; live sessions of revoked ones are cut. Answers how many.
    ///
    /// # Errors
    /// [`IssueError`]; the old list then stays in force.
    pub fn reload(&self, hot: &HotTls) -> Result<usize, IssueError> {
        let crl = self.crl()?;
        let mut own = self.own.lock().expect("nothing panics while it holds the material");
        own.crls = vec![crl.into()];
        Ok(hot.reload(&own)?)
    }

    /// Renews this coordinator's own certificate at half-life, or when it is reached at another address than before, and the list of revoked ones as it changes.
    pub async fn keep_up(&self, hot: Arc<HotTls>, cancel: CancellationToken) {
        let mut applied = self.replica.applied();
        let mut crl_number = None;
        loop {
            if let Err(e) = self.renew_own_if_due(&hot).await {
                tracing::warn!(error = %e, "this coordinator's own certificate was not renewed; it is tried again");
            }
            let number = self.replica.read(|s| s.cluster().crl_number);
            if crl_number != Some(number) {
                match self.reload(&hot) {
                    Ok(cut) => {
                        crl_number = Some(number);
                        if cut > 0 {
                            tracing::warn!(sessions = cut, "sessions of revoked certificates were cut");
                        }
                    }
                    Err(e) => tracing::error!(error = %e, "the list of revoked certificates is not in force"),
                }
            }
            // All only wake the loop.
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                _ = applied.changed() => {}
                () = tokio::time::sleep(UPKEEP) => { crl_number = None; }
            }
        }
    }

    async fn renew_own_if_due(&self, hot: &HotTls) -> Result<(), IssueError> {
        let due = {
            let own = self.own.lock().expect("nothing panics while it holds the material");
            let until = own.identity(self.clock.wall()).map(|i| i.not_after).unwrap_or(WallTime(0));
            until.since(self.clock.wall()) < COORDINATOR_LIFETIME / 2
                || self.reached_at.as_ref().is_some_and(|name| !own.answers_to(name))
        };
        if !due || !self.replica.leads() {
            return Ok(());
        }
        let material = self.issue_here(&Bearer::Coordinator { node: self.node }, COORDINATOR_LIFETIME).await?;
        material.save_dir(&self.folder)?;
        hot.reload(&material)?;
        *self.own.lock().expect("nothing panics while it holds the material") = material;
        Ok(())
    }

    /// Refuses a stranger before anything is signed or written for them. What is committed then decides.
    fn may_enrol(&self, token: &JoinToken, host: &HostName, request_hash: &[u8]) -> Result<(), IssueError> {
        let (known, again) = self.replica.read(|s| {
            let known = s.tokens().get(&token.id()).filter(|t| t.secret_hash == token.secret_hash());
            let again = s.hosts().get(host).filter(|h| h.request_hash == request_hash);
            (known.map(|t| t.region.clone()), again.map(|h| h.region.clone()))
        });
        match again.or(known) {
            Some(region) if region == token.region.as_str() => Ok(()),
            Some(_) | None => Err(IssueError::Propose(ProposeError::Refused(Refused {
                reason: Reason::BadToken,
                what: "this join token is unknown, used up or taken back".to_owned(),
            }))),
        }
    }

    /// Enrols a host that shows a join token.
    async fn enrol_host(&self, request: &v1::EnrolRequest, from: &str) -> Result<v1::EnrolReply, IssueError> {
        let refused = |reason, what: String| IssueError::Propose(ProposeError::Refused(Refused { reason, what }));
        let token: JoinToken = request.token.parse().map_err(|e| refused(Reason::BadToken, format!("{e}")))?;
        let host: HostName = request
            .host
            .parse()
            .map_err(|e: holdfast_types::ids::BadName| refused(Reason::BadRequest, e.to_string()))?;
        let change = Enrol {
            token: token.id(),
            secret_hash: token.secret_hash(),
            host: host.to_string(),
            request_hash: digest::digest(&digest::SHA256, &request.csr).as_ref().to_vec(),
            until: self.until(AGENT_LIFETIME),
        };
        let bearer = Bearer::Agent { region: token.region.clone(), host: host.clone() };
        self.may_enrol(&token, &host, &change.request_hash)?;
        // Proves the key before the token is used up: a request that cannot be signed must not cost it.
        self.sign(&request.csr, &bearer, u64::MAX, Duration::from_secs(1))?;
        let call = records::Call {
            by: format!("token {}", token.id()),
            from: from.to_owned(),
            call: "join".to_owned(),
            subject: format!("{host} in {}", token.region),
            why: String::new(),
        };
        let serial = self.replica.propose(Author::of_call(call, Arc::default()), Kind::Enrol(change)).await?.number;
        let leaf = self.sign(&request.csr, &bearer, serial, AGENT_LIFETIME)?;
        tracing::info!(host = %host, region = %token.region, serial, "host enrolled");
        Ok(v1::EnrolReply {
            cluster: self.cluster.to_string(),
            region: token.region.to_string(),
            credentials: Some(self.credentials(leaf)?),
        })
    }
}

impl Issuer {
    /// Gives a person who shows a token their certificate.
    async fn redeem_token(&self, request: &v1::RedeemRequest, from: &str) -> Result<v1::RedeemReply, IssueError> {
        let refused = |reason, what: String| IssueError::Propose(ProposeError::Refused(Refused { reason, what }));
        let token: PersonToken = request.token.parse().map_err(|e| refused(Reason::BadToken, format!("{e}")))?;
        let name = &token.operator;
        let change = RedeemInvite {
            name: name.to_string(),
            token: token.id(),
            secret_hash: token.secret_hash(),
            request_hash: digest::digest(&digest::SHA256, &request.csr).as_ref().to_vec(),
            until: self.until(OPERATOR_LIFETIME),
        };
        // A stranger is refused before anything is signed or written for them. What is committed then decides.
        let known = self.replica.read(|s| {
            s.operators().get(name).is_some_and(|o| {
                o.request_hash == change.request_hash
                    || o.invite.as_ref().is_some_and(|i| i.id == change.token && i.secret_hash == change.secret_hash)
            })
        });
        if !known {
            return Err(refused(Reason::BadToken, "this token is unknown, used up or taken back".to_owned()));
        }
        let bearer = Bearer::Operator { name: name.clone() };
        // Proves the key before the token is used up: a request that cannot be signed must not cost it.
        self.sign(&request.csr, &bearer, u64::MAX, Duration::from_secs(1))?;
        let call = records::Call {
            by: format!("token {}", token.id()),
            from: from.to_owned(),
            call: "context add".to_owned(),
            subject: name.to_string(),
            why: String::new(),
        };
        let author = Author::of_call(call, Arc::default());
        let serial = self.replica.propose(author, Kind::RedeemInvite(change)).await?.number;
        let leaf = self.sign(&request.csr, &bearer, serial, OPERATOR_LIFETIME)?;
        tracing::info!(operator = %name, serial, "operator let in");
        let (cluster_name, role) = self.replica.read(|s| (s.cluster().name.clone(), s.role(name)));
        Ok(v1::RedeemReply {
            cluster: self.cluster.to_string(),
            cluster_name,
            operator: name.to_string(),
            role: role.map(|role| role.to_string()).unwrap_or_default(),
            credentials: Some(self.credentials(leaf)?),
        })
    }
}

fn address<T>(request: &Request<T>) -> String {
    request.extensions().get::<Arc<Peer>>().map(|peer| peer.address.clone()).unwrap_or_default()
}

#[tonic::async_trait]
impl v1::enrol_server::Enrol for Issuer {
    async fn redeem(&self, request: Request<v1::RedeemRequest>) -> Result<Response<v1::RedeemReply>, Status> {
        let from = address(&request);
        self.redeem_token(request.get_ref(), &from).await.map(Response::new).map_err(|e| {
            self.refusals.note(RefusedKind::Enrolment, &from, format_args!("context add: {e}"));
            e.status()
        })
    }

    async fn enrol(&self, request: Request<v1::EnrolRequest>) -> Result<Response<v1::EnrolReply>, Status> {
        let address = address(&request);
        match self.enrol_host(request.get_ref(), &address).await {
            Ok(reply) => Ok(Response::new(reply)),
            Err(e) => {
                let host: String = request.get_ref().host.chars().take(63).collect();
                self.refusals.note(RefusedKind::Enrolment, &address, format_args!("join of \"{host}\": {e}"));
                Err(e.status())
            }
        }
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::RenewReply>, Status> {
        let peer = request.extensions().get::<Arc<Peer>>().cloned();
        // The one call that an expired certificate may make, too.
        let Some(identity) = peer.and_then(|p| p.identity.clone()) else {
            return Err(to_status(
                Reason::NotPermitted,
                "a renewal needs the certificate that it renews",
                vec![],
                vec![],
            ));
        };
        let lifetime = match identity.bearer {
            Bearer::Agent { .. } => AGENT_LIFETIME,
            Bearer::Coordinator { .. } => COORDINATOR_LIFETIME,
            Bearer::Operator { .. } => OPERATOR_LIFETIME,
        };
        let csr = &request.get_ref().csr;
        let old =
            parse_serial(&identity.serial).ok_or_else(|| Status::internal("a serial that was not given out here"))?;
        let issued = async {
            self.sign(csr, &identity.bearer, u64::MAX, Duration::from_secs(1))?;
            let serial = self.next_serial(&identity.bearer, lifetime, old).await?;
            self.credentials(self.sign(csr, &identity.bearer, serial, lifetime)?)
        };
        let credentials = issued.await.map_err(|e: IssueError| {
            self.refusals.note(RefusedKind::Enrolment, &identity.bearer, format_args!("renewal: {e}"));
            e.status()
        })?;
        tracing::info!(bearer = %identity.bearer, "certificate renewed");
        Ok(Response::new(v1::RenewReply { credentials: Some(credentials) }))
    }
}
