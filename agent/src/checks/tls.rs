//! The certificate that a TLS endpoint shows: for how long it is still good, for this name, by a CA that is trusted.
//!
//! The handshake goes on whatever the certificate is worth, and the verdict on it is recorded: so one that has expired
//! is told with its date, and one of an unknown CA with its issuer, instead of a mere "handshake failed".

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use holdfast_shared::{error::Chain, files};
use holdfast_types::{WallTime, time::span};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    time_provider::{DefaultTimeProvider, TimeProvider},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _};
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _};

use super::{Evidence, Outcome, connect::connect, io_cause, is_ours};
use crate::exec::names::Names;

/// A file of CAs. The whole of Mozilla's list has 220 KiB.
const CA_BYTES_MAX: u64 = 4 << 20;
/// Names of a certificate that are told when none of them is the one asked for.
const NAMES_SHOWN_MAX: usize = 4;
const DAY: i64 = 86_400;

/// What to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Name or address.
    pub address: String,
    /// The port.
    pub port: u16,
    /// The name that is asked for and that the certificate must be for; an IP address is one too.
    pub server_name: String,
    /// With fewer days left than this it is failing.
    pub days_min: u32,
    /// A file of CAs that vouch for it instead of the host's own.
    pub ca: Option<PathBuf>,
}

/// Whom this host trusts. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Looker {
    provider: Arc<CryptoProvider>,
    time: Arc<dyn TimeProvider>,
    /// The host's CAs, read when they are first needed.
    system: Arc<OnceCell<Arc<RootCertStore>>>,
}

impl Default for Looker {
    fn default() -> Self {
        Self {
            // Given by name: with a second provider compiled in, rustls could not choose and would panic.
            provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
            time: Arc::new(DefaultTimeProvider),
            system: Arc::default(),
        }
    }
}

impl Looker {
    pub(super) fn timed_by(mut self, time: Arc<dyn TimeProvider>) -> Self {
        self.time = time;
        self
    }

    pub(super) async fn run(&self, names: &Names, at: &Endpoint) -> Outcome {
        match self.look(names, at).await {
            Ok(outcome) | Err(outcome) => outcome,
        }
    }

    async fn look(&self, names: &Names, at: &Endpoint) -> Result<Outcome, Outcome> {
        let not_run = |why: String| Outcome::could_not_run(why);
        let name = ServerName::try_from(at.server_name.clone())
            .map_err(|_| not_run(format!("{} is no name that a certificate could be for", at.server_name)))?;
        let roots = match &at.ca {
            Some(file) => Arc::new(cas(file).map_err(not_run)?),
            None => self.system_roots().await.map_err(not_run)?,
        };
        let trust = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&self.provider))
            .build()
            .map_err(|e| not_run(format!("no CA can be used: {e}")))?;
        let recorder = Arc::new(Recorder { trust, provider: Arc::clone(&self.provider), seen: Mutex::default() });
        let mut config = ClientConfig::builder_with_details(Arc::clone(&self.provider), Arc::clone(&self.time))
            .with_safe_default_protocol_versions()
            .map_err(|e| not_run(format!("TLS cannot be set up: {e}")))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&recorder) as Arc<dyn ServerCertVerifier>)
            .with_no_client_auth();
        // A resumed session shows no certificate.
        config.resumption = Resumption::disabled();
        let stream = connect(names, &at.address, at.port).await?;
        let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        let seen = recorder.seen.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (seen, shaken) {
            (Some(seen), Ok(_)) => Ok(judge(&seen, at)),
            // It wants a certificate of ours, or nothing more to do with us: its own was shown all the same.
            (Some(seen), Err(e)) if is_alert(&e) => Ok(judge(&seen, at)),
            (None | Some(_), Err(e)) if io_cause(&e).is_some_and(is_ours) => Err(not_run(Chain(&e).to_string())),
            (None | Some(_), Err(e)) => Err(Outcome::failing(format!("no TLS handshake: {}", Chain(&e)))),
            (None, Ok(_)) => Err(Outcome::failing("it showed no certificate")),
        }
    }

    async fn system_roots(&self) -> Result<Arc<RootCertStore>, String> {
        let read = || async {
            let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs);
            let loaded = loaded.await.map_err(|e| e.to_string())?;
            let mut store = RootCertStore::empty();
            store.add_parsable_certificates(loaded.certs);
            match loaded.errors.first() {
                _ if !store.is_empty() => Ok(Arc::new(store)),
                Some(e) => Err(format!("the host's CA certificates cannot be read: {e}")),
                None => {
                    Err("the host has no CA certificates; install ca-certificates, or name a file with ca".to_owned())
                }
            }
        };
        self.system.get_or_try_init(read).await.map(Arc::clone)
    }
}

fn cas(file: &Path) -> Result<RootCertStore, String> {
    let text = files::read_text(file, CA_BYTES_MAX).map_err(|e| Chain(&e).to_string())?;
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        let unusable = |e: &dyn std::fmt::Display| format!("{} cannot be used: {e}", file.display());
        let certificate = certificate.map_err(|e| unusable(&e))?;
        store.add(certificate).map_err(|e| unusable(&e))?;
    }
    if store.is_empty() {
        return Err(format!("{} holds no certificate", file.display()));
    }
    Ok(store)
}

fn is_alert(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    matches!(inner, Some(Error::AlertReceived(_)))
}

/// The certificate that was shown, and what its verification said.
#[derive(Debug)]
struct Shown {
    leaf: CertificateDer<'static>,
    verified: Result<(), Error>,
    now: UnixTime,
}

#[derive(Debug)]
struct Recorder {
    trust: Arc<WebPkiServerVerifier>,
    provider: Arc<CryptoProvider>,
    seen: Mutex<Option<Shown>>,
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.trust.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let shown = Shown { leaf: end_entity.clone().into_owned(), verified: verified.map(drop), now };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
        // Nothing is said over this connection; what the certificate is worth is judged afterwards.
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // That the server has the certificate's key is verified as always.
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// All that is wrong with it, each told: that it has expired does not hide that it is somebody else's.
fn judge(shown: &Shown, at: &Endpoint) -> Outcome {
    let certificate = match X509Certificate::from_der(&shown.leaf) {
        Ok((_, certificate)) => certificate,
        Err(e) => return Outcome::failing(format!("its certificate cannot be read: {e}")),
    };
    let now = i64::try_from(shown.now.as_secs()).unwrap_or(i64::MAX);
    let (from, to) = (certificate.validity().not_before.timestamp(), certificate.validity().not_after.timestamp());
    let left = to.saturating_sub(now);
    let days_left = left.div_euclid(DAY);
    let not_after = WallTime(to.saturating_mul(1_000));
    let evidence = Evidence::Certificate { not_after, days_left };
    let mut wrong = Vec::new();
    if left <= 0 {
        wrong.push(format!("has expired {} ago, on {}", spoken(-left), day(not_after)));
    } else if from > now {
        wrong.push(format!("is not valid before {}", day(WallTime(from.saturating_mul(1_000)))));
    } else if days_left < i64::from(at.days_min) {
        wrong.push(format!("expires in {}, on {}; days_min is {}", spoken(left), day(not_after), at.days_min));
    }
    wrong.extend(shown.verified.as_ref().err().and_then(|e| distrust(e, &certificate, &at.server_name)));
    if wrong.is_empty() {
        return Outcome::Ok { evidence };
    }
    Outcome::Failing { why: format!("its certificate {}", wrong.join(", and ")), evidence: Some(evidence) }
}

/// Why it is not trusted; nothing when that is only its time, which is told better.
fn distrust(error: &Error, certificate: &X509Certificate<'_>, name: &str) -> Option<String> {
    use CertificateError as E;
    let Error::InvalidCertificate(why) = error else { return Some(format!("cannot be verified: {error}")) };
    if matches!(why, E::Expired | E::ExpiredContext { .. } | E::NotValidYet | E::NotValidYetContext { .. }) {
        return None;
    }
    if matches!(why, E::NotValidForName | E::NotValidForNameContext { .. }) {
        return Some(format!("is not for {name}, but for {}", names(certificate)));
    }
    if *why == E::UnknownIssuer {
        return Some(format!("is by no CA that is trusted here: issuer {}", certificate.issuer()));
    }
    if *why == E::BadSignature {
        // A CA that was made anew under its old name, most often.
        return Some(format!("is not signed by the CA that has its issuer's name here: {}", certificate.issuer()));
    }
    Some(format!("cannot be verified: {error}"))
}

/// The names that it is for.
fn names(certificate: &X509Certificate<'_>) -> String {
    let mut all = Vec::new();
    if let Ok(Some(alternative)) = certificate.subject_alternative_name() {
        for name in &alternative.value.general_names {
            if let GeneralName::DNSName(name) = name {
                all.push((*name).to_owned());
            } else if let GeneralName::IPAddress(bytes) = name {
                let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                all.extend(v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).map(|ip| ip.to_string()));
            }
        }
    }
    let more = all.len().saturating_sub(NAMES_SHOWN_MAX);
    all.truncate(NAMES_SHOWN_MAX);
    match (all.is_empty(), more) {
        (true, _) => "no name".to_owned(),
        (false, 0) => all.join(", "),
        (false, more) => format!("{} and {more} more", all.join(", ")),
    }
}

fn spoken(seconds: i64) -> String {
    span(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// `2026-11-20`.
pub(super) fn day(at: WallTime) -> String {
    at.to_string().chars().take(10).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use tokio::{net::TcpListener, task::JoinSet};
    use tokio_rustls::TlsAcceptor;

    use super::super::{Check, Runner};
    use super::*;

    /// A moment that all certificates here are counted from.
    const NOW: i64 = 1_795_000_000;

    #[derive(Debug)]
    struct Fixed;

    impl TimeProvider for Fixed {
        fn current_time(&self) -> Option<UnixTime> {
            Some(UnixTime::since_unix_epoch(Duration::from_secs(NOW.unsigned_abs())))
        }
    }

    struct Ca {
        issuer: Issuer<'static, KeyPair>,
        _dir: tempfile::TempDir,
        file: PathBuf,
    }

    impl Ca {
        fn new(name: &str) -> Self {
            let mut params = CertificateParams::new(Vec::new()).expect("no names");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            let key = KeyPair::generate().expect("a key");
            let certificate = params.self_signed(&key).expect("signed");
            let dir = tempfile::tempdir().expect("a folder");
            let file = dir.path().join("ca.pem");
            std::fs::write(&file, certificate.pem()).expect("written");
            Self { issuer: Issuer::new(params, key), _dir: dir, file }
        }

        /// A server that shows a certificate for `name`, good from `from` to `to` in days from now.
        async fn serve(&self, name: &str, from: i64, to: i64) -> (JoinSet<()>, u16) {
            let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
            let at = |days: i64| {
                let seconds = Duration::from_secs((NOW + days * DAY).unsigned_abs());
                (std::time::SystemTime::UNIX_EPOCH + seconds).into()
            };
            params.not_before = at(from);
            params.not_after = at(to);
            let key = KeyPair::generate().expect("a key");
            let certificate = params.signed_by(&key, &self.issuer).expect("signed");
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let config = rustls::ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_no_client_auth()
                .with_single_cert(
                    vec![certificate.der().clone()],
                    rustls_pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
                )
                .expect("its key");
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let port = listener.local_addr().expect("bound").port();
            let acceptor = TlsAcceptor::from(Arc::new(config));
            let mut tasks = JoinSet::new();
            tasks.spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    acceptor.accept(stream).await.ok();
                }
            });
            (tasks, port)
        }

        async fn look(&self, port: u16, name: &str) -> Outcome {
            let endpoint = Endpoint {
                address: "127.0.0.1".to_owned(),
                port,
                server_name: name.to_owned(),
                days_min: 14,
                ca: Some(self.file.clone()),
            };
            let runner = Runner::new().timed_by(Arc::new(Fixed));
            runner.run(&Check::Tls(endpoint), Duration::from_secs(20)).await
        }
    }

    fn failing(outcome: &Outcome) -> &str {
        match outcome {
            Outcome::Failing { why, .. } => why,
            Outcome::Ok { .. } | Outcome::CouldNotRun { .. } => panic!("not failing: {outcome:?}"),
        }
    }

    #[tokio::test]
    async fn a_certificate_that_is_good_for_long_enough_is_ok() {
        let ca = Ca::new("acme");
        let (_tasks, port) = ca.serve("shop.example", -1, 60).await;
        let outcome = ca.look(port, "shop.example").await;
        let not_after = WallTime((NOW + 60 * DAY) * 1_000);
        assert_eq!(outcome, Outcome::Ok { evidence: Evidence::Certificate { not_after, days_left: 60 } });
        assert_eq!(outcome.to_string(), "expires in 60 d, on 2027-01-17");
    }

    #[tokio::test]
    async fn all_that_is_wrong_with_a_certificate_is_told() {
        let (ca, other, anew) = (Ca::new("acme"), Ca::new("other"), Ca::new("acme"));
        let (_tasks, soon) = ca.serve("shop.example", -1, 5).await;
        let said = ca.look(soon, "shop.example").await;
        assert_eq!(failing(&said), "its certificate expires in 5 d, on 2026-11-23; days_min is 14");
        let (_tasks, over) = ca.serve("shop.example", -9, -3).await;
        let said = ca.look(over, "shop.example").await;
        assert_eq!(failing(&said), "its certificate has expired 3 d ago, on 2026-11-15");
        let (_tasks, early) = ca.serve("shop.example", 2, 90).await;
        let said = ca.look(early, "shop.example").await;
        assert_eq!(failing(&said), "its certificate is not valid before 2026-11-20");
        let (_tasks, good) = ca.serve("shop.example", -1, 60).await;
        let said = ca.look(good, "pay.example").await;
        assert_eq!(failing(&said), "its certificate is not for pay.example, but for shop.example");
        let said = other.look(good, "shop.example").await;
        assert_eq!(failing(&said), "its certificate is by no CA that is trusted here: issuer CN=acme");
        let said = anew.look(good, "shop.example").await;
        assert_eq!(failing(&said), "its certificate is not signed by the CA that has its issuer's name here: CN=acme");
        let said = other.look(soon, "shop.example").await;
        assert!(failing(&said).contains("days_min is 14, and is by no CA"), "{said}");
    }

    #[tokio::test]
    async fn what_keeps_this_host_from_looking_is_no_observation() {
        let ca = Ca::new("acme");
        let endpoint = |ca: Option<PathBuf>, server_name: &str| Endpoint {
            address: "127.0.0.1".to_owned(),
            port: 1,
            server_name: server_name.to_owned(),
            days_min: 14,
            ca,
        };
        let runner = Runner::new();
        let empty = ca.file.with_file_name("empty.pem");
        std::fs::write(&empty, "nothing").expect("written");
        for (at, why) in [
            (endpoint(Some("/nonexistent/ca.pem".into()), "a.example"), "/nonexistent/ca.pem"),
            (endpoint(Some(empty), "a.example"), "holds no certificate"),
            (endpoint(Some(ca.file.clone()), "a b"), "no name"),
        ] {
            let outcome = runner.run(&Check::Tls(at), Duration::from_secs(5)).await;
            assert!(matches!(&outcome, Outcome::CouldNotRun { why: said } if said.contains(why)), "{outcome:?}");
        }
        let closed =
            runner.run(&Check::Tls(endpoint(Some(ca.file.clone()), "a.example")), Duration::from_secs(5)).await;
        assert!(failing(&closed).contains("refused"), "{closed}");
    }

    proptest! {
        #[test]
        fn whatever_is_shown_as_a_certificate_is_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600), now: u32) {
            let at = Endpoint { address: String::new(), port: 1, server_name: "a".to_owned(), days_min: 1, ca: None };
            let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::from(now)));
            let verified = Err(CertificateError::UnknownIssuer.into());
            let said = judge(&Shown { leaf: bytes.into(), verified, now }, &at).text();
            prop_assert!(!said.chars().any(char::is_control), "{said:?}");
        }
    }
}
