//! The server's side: one port for agents, operators and peers, told apart by their certificates.

use std::{collections::BTreeSet, io, sync::Arc};

use arc_swap::ArcSwap;
use holdfast_types::{ClusterId, WallTime};
use rustls::{
    ServerConfig,
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use super::{
    ClockTime, Peer, PeerStream, TlsError, alpn,
    places::Origin,
    provider, root_store,
    sessions::{OF_ONE_BEARER_MAX, Sessions, Unwelcome},
    verify::RenewableVerifier,
};
use crate::{
    clock::SharedClock,
    identity::{Bearer, PeerIdentity, serial_from_der, serial_hex},
    net::BoxedIo,
    pki::Material,
    refusals::{Refusals, RefusedKind},
};

/// A server's TLS, whose material can be exchanged while it runs.
pub struct HotTls {
    in_force: ArcSwap<InForce>,
    sessions: Arc<Sessions>,
    clock: SharedClock,
    refusals: Refusals,
}

/// What one value of the material comes to.
struct InForce {
    tls: Arc<ServerConfig>,
    cluster: ClusterId,
    revoked: BTreeSet<String>,
}

impl HotTls {
    /// Checks the material and puts it in force. Each root needs its list of revoked certificates.
    ///
    /// # Errors
    /// [`TlsError`] when the material cannot work.
    pub fn new(material: &Material, clock: SharedClock) -> Result<Arc<Self>, TlsError> {
        let in_force = ArcSwap::from_pointee(InForce::build(material, &clock)?);
        let refusals = Refusals::new(Arc::clone(&clock));
        Ok(Arc::new(Self { in_force, sessions: Arc::default(), clock, refusals }))
    }

    /// Replaces the material. Open connections go on, except those whose certificate is now on a list of revoked
    /// ones: they are cut. Returns how many were.
    ///
    /// # Errors
    /// [`TlsError`] when the material cannot work; the old one then stays in force.
    pub fn reload(&self, material: &Material) -> Result<usize, TlsError> {
        let next = Arc::new(InForce::build(material, &self.clock)?);
        // First in force, then the cut: whoever enters in between is checked against the new lists already.
        self.in_force.store(Arc::clone(&next));
        Ok(self.sessions.cut_revoked(|serial| next.revoked.contains(serial)))
    }

    /// Cuts the open connections of one certificate, by its serial number; returns how many there were. Only a list
    /// of revoked certificates keeps it from coming back.
    pub fn cut(&self, serial: &str) -> usize {
        self.sessions.cut_serial(serial)
    }

    /// Cuts the open connections of a bearer, whichever of its certificates they began with.
    pub fn cut_bearer(&self, bearer: &Bearer) -> usize {
        self.sessions.cut_bearer(bearer)
    }

    /// How many connections are open whose other end has shown a certificate.
    #[must_use]
    pub fn open_sessions(&self) -> usize {
        self.sessions.len()
    }

    /// How many handshakes have failed or were refused since the start.
    #[must_use]
    pub fn refused_total(&self) -> u64 {
        self.refusals.total(RefusedKind::Handshake) + self.refusals.total(RefusedKind::Crowd)
    }

    /// Counts everything that is refused at this port: what passes the handshake is counted by whoever serves it.
    #[must_use]
    pub const fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    pub(super) fn clock(&self) -> &SharedClock {
        &self.clock
    }

    /// Makes the handshake on a raw connection from `address`. Sets no deadline of its own.
    ///
    /// # Errors
    /// When the handshake fails, or the certificate is verified but names nobody in this cluster, or was revoked
    /// meanwhile.
    pub async fn accept(&self, io: BoxedIo, address: String) -> io::Result<PeerStream> {
        let at_start = self.in_force.load_full();
        let tls = TlsAcceptor::from(Arc::clone(&at_start.tls)).accept(io).await?;
        let is_cut = CancellationToken::new();
        let Some(leaf) = tls.get_ref().1.peer_certificates().and_then(|chain| chain.first()) else {
            let visit = self.sessions.visit(Origin::of(&address), is_cut.clone());
            return Ok(PeerStream::new(tls, Peer { address, identity: None }, is_cut, Some(visit)));
        };
        let identity = PeerIdentity::from_certificate(leaf, self.clock.wall()).map_err(io::Error::other)?;
        if identity.cluster != at_start.cluster {
            let why = format!("{} is of cluster {}, this is {}", identity.bearer, identity.cluster, at_start.cluster);
            return Err(io::Error::other(why));
        }
        let is_revoked = || self.in_force.load().revoked.contains(&identity.serial);
        let registration = match self.sessions.enter(&identity, is_cut.clone(), is_revoked) {
            Ok(registration) => registration,
            Err(Unwelcome::Revoked) => {
                let why = format!("certificate {} of {} is revoked", identity.serial, identity.bearer);
                return Err(io::Error::other(why));
            }
            Err(Unwelcome::Crowd) => {
                let why = format!("{} has {OF_ONE_BEARER_MAX} connections open already", identity.bearer);
                return Err(io::Error::other(why));
            }
        };
        Ok(PeerStream::new(tls, Peer { address, identity: Some(identity) }, is_cut, Some(registration)))
    }
}

impl InForce {
    fn build(material: &Material, clock: &SharedClock) -> Result<Self, TlsError> {
        let roots = root_store(&material.roots)?;
        let lists = Lists::read(&material.crls)?;
        lists.cover(&material.roots)?;
        let webpki = WebPkiClientVerifier::builder_with_provider(roots, provider())
            .with_crls(material.crls.iter().cloned())
            .only_check_end_entity_revocation()
            .enforce_revocation_expiration()
            .allow_unauthenticated()
            .build()
            .map_err(TlsError::Verifier)?;
        let verifier = Arc::new(RenewableVerifier::new(webpki, lists.end));
        let mut tls = ServerConfig::builder_with_details(provider(), Arc::new(ClockTime(Arc::clone(clock))))
            .with_protocol_versions(&[&TLS13])
            .map_err(TlsError::Config)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(with_issuer(material)?, material.key.clone_key())
            .map_err(TlsError::Config)?;
        tls.alpn_protocols = alpn();
        // A resumed session would not look at the client's certificate again.
        tls.send_tls13_tickets = 0;
        tls.session_storage = Arc::new(NoServerSessionStorage {});
        let leaf = material.chain.first().ok_or(TlsError::NoCertificate)?;
        let cluster = PeerIdentity::from_certificate(leaf, clock.wall())?.cluster;
        Ok(Self { tls: Arc::new(tls), cluster, revoked: lists.revoked })
    }
}

/// The chain that the server shows, with its CA at the end: whoever enrols knows only the CA's hash and needs to see
/// the CA itself.
fn with_issuer(material: &Material) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let mut chain = material.chain.clone();
    let last = chain.last().ok_or(TlsError::NoCertificate)?;
    let issuer = names(last)?.issuer;
    for root in &material.roots {
        if names(root)?.subject == issuer && !chain.contains(root) {
            chain.push(root.clone());
            break;
        }
    }
    Ok(chain)
}

struct Names {
    subject: Vec<u8>,
    issuer: Vec<u8>,
    subject_text: String,
}

fn names(certificate: &CertificateDer<'_>) -> Result<Names, TlsError> {
    let bad = |_| TlsError::Root(rustls::CertificateError::BadEncoding.into());
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(bad)?;
    Ok(Names {
        subject: certificate.subject().as_raw().to_vec(),
        issuer: certificate.issuer().as_raw().to_vec(),
        subject_text: certificate.subject().to_string(),
    })
}

/// What the revocation lists say.
struct Lists {
    issuers: BTreeSet<Vec<u8>>,
    revoked: BTreeSet<String>,
    /// When the first of them ends.
    end: UnixTime,
}

impl Lists {
    fn read(lists: &[CertificateRevocationListDer<'static>]) -> Result<Self, TlsError> {
        let mut all = Self { issuers: BTreeSet::new(), revoked: BTreeSet::new(), end: unix(WallTime(i64::MAX)) };
        for list in lists {
            let (_, list) = CertificateRevocationList::from_der(list).map_err(|e| TlsError::BadCrl(e.to_string()))?;
            all.issuers.insert(list.issuer().as_raw().to_vec());
            for revoked in list.iter_revoked_certificates() {
                all.revoked.insert(serial_hex(serial_from_der(revoked.raw_serial())?));
            }
            let ends = list.next_update().ok_or_else(|| TlsError::BadCrl("it has no end".to_owned()))?;
            all.end = all.end.min(unix(WallTime(ends.timestamp().saturating_mul(1_000))));
        }
        Ok(all)
    }

    /// Without its list, certificates of a root would be taken unchecked or all be refused.
    fn cover(&self, roots: &[CertificateDer<'static>]) -> Result<(), TlsError> {
        for root in roots {
            let names = names(root)?;
            if !self.issuers.contains(&names.subject) {
                return Err(TlsError::NoCrl(names.subject_text));
            }
        }
        Ok(())
    }
}

fn unix(at: WallTime) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(at.unix_millis() / 1_000).unwrap_or(0)))
}
