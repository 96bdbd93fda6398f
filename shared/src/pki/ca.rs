//! The cluster's certificate authority.
//!
//! Its certificate is public. Its private key lies sealed beside the replicated state, never in it, and the key that
//! opens the seal lies in a third file.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use holdfast_types::{ClusterId, WallTime};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData, RevokedCertParams,
    SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivatePkcs8KeyDer, ServerName};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{BACKDATED, COORDINATOR_DNS_NAME, CRL_LIFETIME, Pin, PkiError, request, sealed::Seal, system_time};
use crate::{files, identity::Bearer};

/// Ten years: replacing a CA is work by hand on every host.
const CA_LIFETIME: Duration = Duration::from_hours(3_650 * 24);
/// A certificate is about 500 bytes of text.
const CERTIFICATE_BYTES_MAX: u64 = 64 * 1024;

/// Where a CA lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaFiles {
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// The private key, sealed.
    pub sealed_key: PathBuf,
    /// The 32 bytes that open it; may be a credential that the system hands over.
    pub seal: PathBuf,
}

impl CaFiles {
    /// All three in one folder: `ca.pem`, `ca.key.sealed`, `ca.seal`.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            certificate: folder.join("ca.pem"),
            sealed_key: folder.join("ca.key.sealed"),
            seal: folder.join("ca.seal"),
        }
    }
}

/// Whom a certificate is to name.
#[derive(Debug, Clone, Copy)]
pub struct Naming<'a> {
    /// The cluster.
    pub cluster: &'a ClusterId,
    /// The bearer.
    pub bearer: &'a Bearer,
    /// Of a coordinator: the name or address that others dial. Our own clients do without; any other client looks for it.
    pub reached_at: Option<&'a ServerName<'static>>,
}

/// Signs certificates and lists of revoked ones.
pub struct Ca {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    /// Makes a CA for a cluster, valid for ten years.
    ///
    /// # Errors
    /// [`PkiError`] when no key can be made.
    pub fn generate(cluster: &ClusterId, now: WallTime) -> Result<Self, PkiError> {
        let key = KeyPair::generate().map_err(PkiError::MakeKey)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, format!("holdfast {cluster}"));
        // Two CAs of one cluster (while one replaces the other) need names of their own: lists of revoked
        // certificates are found by the issuer's name.
        let key_id: String = params.key_identifier(&key).iter().take(8).map(|b| format!("{b:02x}")).collect();
        params.distinguished_name.push(DnType::OrganizationalUnitName, key_id);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = (system_time(now) - BACKDATED).into();
        params.not_after = (system_time(now) + CA_LIFETIME).into();
        let certificate = params.self_signed(&key).map_err(|source| sign_error("the CA's own certificate", source))?;
        Self::new(certificate.into(), key)
    }

    fn new(certificate: CertificateDer<'static>, key: KeyPair) -> Result<Self, PkiError> {
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|source| sign_error("anything", source))?;
        Ok(Self { certificate, issuer })
    }

    /// Writes the CA where there is none yet. The certificate comes last, so that what a crash leaves is no CA.
    ///
    /// # Errors
    /// [`PkiError::CaExists`] when there is one; [`PkiError::File`] when it cannot be written.
    pub fn save(&self, files: &CaFiles) -> Result<(), PkiError> {
        if files.certificate.exists() {
            return Err(PkiError::CaExists(files.certificate.display().to_string()));
        }
        let seal = Seal::load_or_make(&files.seal)?;
        seal.seal_to(&files.sealed_key, self.issuer.key().serialize_der(), &self.certificate)?;
        Ok(files::write_private(&files.certificate, self.certificate_pem().as_bytes())?)
    }

    /// Reads what [`Ca::save`] wrote.
    ///
    /// # Errors
    /// [`PkiError`] naming the file that is missing, damaged, or does not belong to the others.
    pub fn load(files: &CaFiles) -> Result<Self, PkiError> {
        let damaged = |why: String| PkiError::Damaged { file: files.certificate.display().to_string(), why };
        let text = files::read(&files.certificate, CERTIFICATE_BYTES_MAX)?;
        let block = pem::parse(text).map_err(|e| damaged(e.to_string()))?;
        if block.tag() != "CERTIFICATE" {
            return Err(damaged(format!("expected a CERTIFICATE, found a {}", block.tag())));
        }
        let certificate = CertificateDer::from(block.into_contents());
        let public = X509Certificate::from_der(&certificate)
            .map(|(_, c)| c.public_key().subject_public_key.data.to_vec())
            .map_err(|e| damaged(e.to_string()))?;
        let key = Seal::load(&files.seal)?.open_from(&files.sealed_key, &certificate)?;
        let wrong_key = |why: String| PkiError::SealedKey { file: files.sealed_key.display().to_string(), why };
        let key = KeyPair::try_from(&PrivatePkcs8KeyDer::from(key)).map_err(|e| wrong_key(e.to_string()))?;
        if key.der_bytes() != public {
            return Err(wrong_key(format!("it is not the key of {}", files.certificate.display())));
        }
        Self::new(certificate, key)
    }

    /// The CA's own certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The CA's own certificate as PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        super::material::to_pem("CERTIFICATE", &self.certificate)
    }

    /// What a join token names this CA by.
    #[must_use]
    pub fn pin(&self) -> Pin {
        Pin::of(&self.certificate)
    }

    /// Signs a certificate for `bearer`. Of the request (DER) only its proven public key is taken; names, usages and
    /// dates are the CA's. It is valid from a little before `now` until `ttl` after it.
    ///
    /// `serial` must be new to this CA: two certificates of one serial number can only be revoked together.
    ///
    /// # Errors
    /// [`PkiError::BadRequest`] for a request that proves no P-256 key; [`PkiError::Sign`] when signing fails.
    pub fn sign_csr(
        &self,
        csr_der: &[u8],
        bearer: &Bearer,
        cluster: &ClusterId,
        serial: u64,
        ttl: Duration,
        now: WallTime,
    ) -> Result<CertificateDer<'static>, PkiError> {
        self.sign(csr_der, &Naming { cluster, bearer, reached_at: None }, serial, ttl, now)
    }

    /// The same with all that a certificate may name.
    ///
    /// # Errors
    /// As [`Ca::sign_csr`].
    pub fn sign(
        &self,
        csr_der: &[u8],
        naming: &Naming<'_>,
        serial: u64,
        ttl: Duration,
        now: WallTime,
    ) -> Result<CertificateDer<'static>, PkiError> {
        let Naming { cluster, bearer, reached_at } = *naming;
        let failed = |source| sign_error(&format!("a certificate for {bearer}"), source);
        let key = request::proven_key(csr_der)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, bearer.to_string());
        params.subject_alt_names = vec![SanType::URI(bearer.uri(cluster).try_into().map_err(failed)?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        // Only a coordinator may answer as one.
        if matches!(bearer, Bearer::Coordinator { .. }) {
            params.subject_alt_names.push(SanType::DnsName(COORDINATOR_DNS_NAME.try_into().map_err(failed)?));
            if let Some(name) = reached_at {
                params.subject_alt_names.push(san(name).map_err(failed)?);
            }
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(SerialNumber::from(serial));
        params.not_before = (system_time(now) - BACKDATED).into();
        params.not_after = (system_time(now) + ttl).into();
        Ok(params.signed_by(&key, &self.issuer).map_err(failed)?.into())
    }

    /// Signs the list of revoked certificates, valid for [`CRL_LIFETIME`]. `number` grows with every list.
    ///
    /// A serial number stays on the list until 30 days after its certificate expired: until then `Renew` would take
    /// it.
    ///
    /// # Errors
    /// [`PkiError::Sign`] when signing fails.
    pub fn crl(
        &self,
        number: u64,
        revoked: &[u64],
        now: WallTime,
    ) -> Result<CertificateRevocationListDer<'static>, PkiError> {
        let issued = system_time(now) - BACKDATED;
        let revoked_certs = revoked
            .iter()
            .map(|serial| RevokedCertParams {
                serial_number: SerialNumber::from(*serial),
                revocation_time: issued.into(),
                reason_code: None,
                invalidity_date: None,
            })
            .collect();
        let list = CertificateRevocationListParams {
            this_update: issued.into(),
            next_update: (system_time(now) + CRL_LIFETIME).into(),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list =
            list.signed_by(&self.issuer).map_err(|source| sign_error("the list of revoked certificates", source))?;
        Ok(list.into())
    }
}

fn san(name: &ServerName<'_>) -> Result<SanType, rcgen::Error> {
    match name {
        ServerName::DnsName(name) => Ok(SanType::DnsName(name.as_ref().try_into()?)),
        ServerName::IpAddress(ip) => Ok(SanType::IpAddress((*ip).into())),
        _ => Err(rcgen::Error::InvalidNameType),
    }
}

fn sign_error(what: &str, source: rcgen::Error) -> PkiError {
    PkiError::Sign { what: what.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use holdfast_types::{HostName, RegionName};

    use super::*;
    use crate::{
        error::Chain,
        identity::PeerIdentity,
        pki::{KeyAndCsr, Material},
    };

    const NOW: WallTime = WallTime(1_795_208_657_532);
    const WEEK: Duration = Duration::from_hours(7 * 24);

    fn cluster() -> ClusterId {
        ClusterId::from_random([1; 16])
    }

    fn agent() -> Bearer {
        Bearer::Agent {
            region: RegionName::new("us-east").expect("a name"),
            host: HostName::new("use-db1").expect("a name"),
        }
    }

    #[test]
    fn a_certificate_names_its_bearer_and_ends_after_its_lifetime() {
        let ca = Ca::generate(&cluster(), NOW).expect("a CA");
        let csr = KeyAndCsr::generate().expect("a request").csr;
        let leaf = ca.sign_csr(&csr, &agent(), &cluster(), 0xff01, WEEK, NOW).expect("signed");
        let identity = PeerIdentity::from_certificate(&leaf, NOW).expect("names a bearer");
        let not_after = WallTime((NOW.unix_millis() / 1_000 + 7 * 86_400) * 1_000);
        let expected =
            PeerIdentity { cluster: cluster(), bearer: agent(), serial: "ff01".into(), not_after, expired: false };
        assert_eq!(identity, expected);
        let later =
            PeerIdentity::from_certificate(&leaf, WallTime(not_after.unix_millis() + 1_000)).expect("still names");
        assert!(later.expired);
    }

    #[test]
    fn only_a_coordinator_answers_to_the_name_that_others_dial() {
        let ca = Ca::generate(&cluster(), NOW).expect("a CA");
        let name = |text: &str| ServerName::try_from(text.to_owned()).expect("a name");
        let signed = |bearer: &Bearer, at: Option<&ServerName<'static>>| {
            let KeyAndCsr { key, csr } = KeyAndCsr::generate().expect("a key");
            let naming = Naming { cluster: &cluster(), bearer, reached_at: at };
            let leaf = ca.sign(&csr, &naming, 1, WEEK, NOW).expect("signed");
            Material::from_der(key, vec![leaf.to_vec()], vec![], vec![])
        };
        let coordinator = Bearer::Coordinator { node: 1 };
        for dialled in ["c1.example", "10.1.2.3", "fd00::7"] {
            let own = signed(&coordinator, Some(&name(dialled)));
            assert!(own.answers_to(&name(dialled)) && own.answers_to(&name(COORDINATOR_DNS_NAME)), "{dialled}");
            assert!(!own.answers_to(&name("c2.example")) && !own.answers_to(&name("10.1.2.4")));
            assert!(!signed(&agent(), Some(&name(dialled))).answers_to(&name(dialled)));
        }
        assert!(!signed(&coordinator, None).answers_to(&name("c1.example")));
    }

    #[test]
    fn what_a_request_asks_for_is_dropped() {
        let ca = Ca::generate(&cluster(), NOW).expect("a CA");
        let key = KeyPair::generate().expect("a key");
        let mut asked = CertificateParams::new([COORDINATOR_DNS_NAME.to_owned()]).expect("params");
        let forged = Bearer::Coordinator { node: 1 }.uri(&cluster());
        asked.subject_alt_names.push(SanType::URI(forged.try_into().expect("ascii")));
        asked.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        asked.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let csr = asked.serialize_request(&key).expect("a request");
        let leaf = ca.sign_csr(csr.der(), &agent(), &cluster(), 1, WEEK, NOW).expect("signed");
        assert_eq!(PeerIdentity::from_certificate(&leaf, NOW).expect("names a bearer").bearer, agent());
        let (_, leaf) = X509Certificate::from_der(&leaf).expect("a certificate");
        let names = leaf.subject_alternative_name().expect("readable").expect("names").value;
        assert_eq!(names.general_names.len(), 1, "{names:?}");
        let usage = leaf.extended_key_usage().expect("readable").expect("usages").value;
        assert!(usage.client_auth && !usage.server_auth);
        let usage = leaf.key_usage().expect("readable").expect("usages").value;
        assert!(usage.digital_signature() && !usage.key_cert_sign());
        assert!(!leaf.is_ca());
        assert_eq!(leaf.public_key().subject_public_key.data.as_ref(), key.der_bytes());
    }

    #[test]
    fn a_saved_ca_is_the_same_ca() {
        let dir = tempfile::tempdir().expect("a folder");
        let files = CaFiles::in_folder(dir.path());
        let ca = Ca::generate(&cluster(), NOW).expect("a CA");
        ca.save(&files).expect("saved");
        let loaded = Ca::load(&files).expect("loaded");
        assert_eq!((loaded.pin(), loaded.certificate()), (ca.pin(), ca.certificate()));
        assert_eq!(loaded.issuer.key().serialize_der(), ca.issuer.key().serialize_der());
        assert!(matches!(ca.save(&files), Err(PkiError::CaExists(_))), "a CA was overwritten");
    }

    #[test]
    fn a_crash_before_the_certificate_is_written_leaves_no_ca_in_the_way() {
        let dir = tempfile::tempdir().expect("a folder");
        let files = CaFiles::in_folder(dir.path());
        Ca::generate(&cluster(), NOW).expect("a CA").save(&files).expect("saved");
        fs::remove_file(&files.certificate).expect("as after a crash");
        let ca = Ca::generate(&cluster(), NOW).expect("another CA");
        ca.save(&files).expect("saved");
        assert_eq!(Ca::load(&files).expect("loaded").pin(), ca.pin());
    }

    #[test]
    fn a_damaged_or_foreign_ca_file_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let files = CaFiles::in_folder(dir.path());
        let missing = Ca::load(&files).err().expect("nothing there");
        assert!(Chain(&missing).to_string().starts_with(&format!("cannot read {}", files.certificate.display())));
        Ca::generate(&cluster(), NOW).expect("a CA").save(&files).expect("saved");

        let other = CaFiles::in_folder(&dir.path().join("other"));
        files::make_private_folder(&dir.path().join("other")).expect("a folder");
        Ca::generate(&cluster(), NOW).expect("another CA").save(&other).expect("saved");
        let mixed = CaFiles { certificate: other.certificate, ..files.clone() };
        let e = Ca::load(&mixed).err().expect("a key of another CA").to_string();
        assert!(e.contains("ca.key.sealed") && e.contains("for another certificate"), "{e}");

        fs::write(&files.certificate, "-----BEGIN CERT").expect("damaged");
        let e = Ca::load(&files).err().expect("a damaged certificate").to_string();
        assert!(e.contains("ca.pem is damaged"), "{e}");
    }
}
