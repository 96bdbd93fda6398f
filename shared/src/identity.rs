//! Who somebody is. The name comes from the certificate, never from a message.
//!
//! A certificate names its bearer by one URI: `holdfast://<cluster>/agent/<region>/<host>`,
//! `holdfast://<cluster>/coordinator/<node>` or `holdfast://<cluster>/operator/<name>`. There is one spelling of each.

use std::fmt;

use holdfast_types::{ClusterId, HostName, OperatorName, RegionName, WallTime};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

const SCHEME: &str = "holdfast://";

/// Whom a certificate names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bearer {
    /// The agent of one host.
    Agent {
        /// The region it was enrolled for.
        region: RegionName,
        /// Its host.
        host: HostName,
    },
    /// A coordinator, also a witness.
    Coordinator {
        /// Its node id in the replicated group; never used again.
        node: u64,
    },
    /// A person.
    Operator {
        /// As given by who added them.
        name: OperatorName,
    },
}

impl Bearer {
    /// The URI that names this bearer in a certificate of `cluster`.
    #[must_use]
    pub fn uri(&self, cluster: &ClusterId) -> String {
        match self {
            Self::Agent { region, host } => format!("{SCHEME}{cluster}/agent/{region}/{host}"),
            Self::Coordinator { node } => format!("{SCHEME}{cluster}/coordinator/{node}"),
            Self::Operator { name } => format!("{SCHEME}{cluster}/operator/{name}"),
        }
    }

    /// Reads such a URI.
    ///
    /// # Errors
    /// [`IdentityError::BadUri`] unless it is exactly what [`Bearer::uri`] writes.
    pub fn from_uri(uri: &str) -> Result<(ClusterId, Self), IdentityError> {
        let bad = || IdentityError::BadUri(uri.chars().take(200).collect());
        let rest = uri.strip_prefix(SCHEME).ok_or_else(bad)?;
        let parts: Vec<&str> = rest.split('/').collect();
        let (cluster, bearer) = match parts.as_slice() {
            [cluster, "agent", region, host] => {
                let region = RegionName::new(*region).map_err(|_| bad())?;
                (cluster, Self::Agent { region, host: HostName::new(*host).map_err(|_| bad())? })
            }
            [cluster, "coordinator", node] => (cluster, Self::Coordinator { node: node.parse().map_err(|_| bad())? }),
            [cluster, "operator", name] => {
                (cluster, Self::Operator { name: OperatorName::new(*name).map_err(|_| bad())? })
            }
            _ => return Err(bad()),
        };
        let cluster = ClusterId::new(*cluster).map_err(|_| bad())?;
        // `+7` and `007` parse as a node id too; only one spelling names anybody.
        if bearer.uri(&cluster) != uri {
            return Err(bad());
        }
        Ok((cluster, bearer))
    }
}

/// For people: `agent us-east/use-db1`, `coordinator 1`, `operator anna`.
impl fmt::Display for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent { region, host } => write!(f, "agent {region}/{host}"),
            Self::Coordinator { node } => write!(f, "coordinator {node}"),
            Self::Operator { name } => write!(f, "operator {name}"),
        }
    }
}

/// Why a certificate names nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// It is no certificate.
    #[error("cannot read the certificate: {0}")]
    BadCertificate(String),
    /// No name of ours is in it.
    #[error("the certificate names no bearer: it has no {SCHEME} URI")]
    NoUri,
    /// More than one name is in it, and which is meant cannot be known.
    #[error("the certificate names {0} bearers, expected one")]
    Ambiguous(usize),
    /// The URI is not one that we write.
    #[error("\"{0}\" names no bearer: expected {SCHEME}CLUSTER/agent/REGION/HOST, /coordinator/NODE or /operator/NAME")]
    BadUri(String),
    /// The serial number is not one that our CA gives.
    #[error("the certificate's serial number has {0} bytes, the CA of a cluster gives at most 8")]
    BadSerial(usize),
}

/// What a verified certificate says of the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// Whom it names.
    pub bearer: Bearer,
    /// The certificate's serial number as [`serial_hex`] writes it; revocation is by this.
    pub serial: String,
    /// The last moment at which the certificate is valid.
    pub not_after: WallTime,
    /// Whether that moment had passed when the certificate was looked at. Such a bearer may call `Renew` and nothing
    /// else.
    pub expired: bool,
}

impl PeerIdentity {
    /// Reads a leaf certificate. Verifies nothing: the handshake has done that.
    ///
    /// # Errors
    /// [`IdentityError`] when it does not name exactly one bearer.
    pub fn from_certificate(leaf: &CertificateDer<'_>, now: WallTime) -> Result<Self, IdentityError> {
        let bad = |e: String| IdentityError::BadCertificate(e);
        let (rest, certificate) = X509Certificate::from_der(leaf).map_err(|e| bad(e.to_string()))?;
        if !rest.is_empty() {
            return Err(bad(format!("{} bytes follow it", rest.len())));
        }
        let names = certificate.subject_alternative_name().map_err(|e| bad(e.to_string()))?;
        let uris: Vec<&str> = names
            .iter()
            .flat_map(|san| &san.value.general_names)
            .filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None })
            .filter(|uri| uri.get(..SCHEME.len()).is_some_and(|s| s.eq_ignore_ascii_case(SCHEME)))
            .collect();
        let (cluster, bearer) = match uris.as_slice() {
            [] => return Err(IdentityError::NoUri),
            [uri] => Bearer::from_uri(uri)?,
            several => return Err(IdentityError::Ambiguous(several.len())),
        };
        let serial = serial_from_der(certificate.raw_serial())?;
        let not_after = WallTime(certificate.validity().not_after.timestamp().saturating_mul(1_000));
        Ok(Self { cluster, bearer, serial: serial_hex(serial), not_after, expired: is_past(not_after, now) })
    }
}

/// Whether a certificate that is valid to the end of the second `not_after` has expired.
pub(crate) fn is_past(not_after: WallTime, now: WallTime) -> bool {
    now.unix_millis().div_euclid(1_000) > not_after.unix_millis().div_euclid(1_000)
}

/// A serial number as text: lower-case hexadecimal without leading zeros.
#[must_use]
pub fn serial_hex(serial: u64) -> String {
    format!("{serial:x}")
}

/// Reads what [`serial_hex`] writes.
#[must_use]
pub fn parse_serial(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok().filter(|serial| serial_hex(*serial) == text)
}

/// The number in a DER integer's content bytes.
pub(crate) fn serial_from_der(bytes: &[u8]) -> Result<u64, IdentityError> {
    let significant = bytes.iter().position(|b| *b != 0).map_or(&[][..], |first| &bytes[first..]);
    if significant.len() > 8 {
        return Err(IdentityError::BadSerial(significant.len()));
    }
    Ok(significant.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CLUSTER: &str = "0198c9a2-6f3e-4c1d-9b7a-2f4e8d1c5a60";

    #[test]
    fn a_uri_names_exactly_one_bearer() {
        let cluster = ClusterId::new(CLUSTER).expect("a uuid");
        let agent = Bearer::Agent {
            region: RegionName::new("us-east").expect("a name"),
            host: HostName::new("use-db1").expect("a name"),
        };
        let operator = Bearer::Operator { name: OperatorName::new("anna").expect("a name") };
        for (path, bearer, text) in [
            ("agent/us-east/use-db1", agent, "agent us-east/use-db1"),
            ("coordinator/1", Bearer::Coordinator { node: 1 }, "coordinator 1"),
            ("operator/anna", operator, "operator anna"),
        ] {
            assert_eq!(
                Bearer::from_uri(&format!("holdfast://{CLUSTER}/{path}")),
                Ok((cluster.clone(), bearer.clone()))
            );
            assert_eq!(bearer.to_string(), text);
        }
    }

    #[test]
    fn other_spellings_name_nobody() {
        let upper = CLUSTER.to_uppercase();
        for bad in [
            String::new(),
            "holdfast://".into(),
            format!("holdfast://{CLUSTER}"),
            format!("holdfast://{CLUSTER}/"),
            format!("holdfast://{CLUSTER}/agent"),
            format!("holdfast://{CLUSTER}/agent/us-east"),
            format!("holdfast://{CLUSTER}/agent/us-east/"),
            format!("holdfast://{CLUSTER}/agent/us-east/db/1"),
            format!("holdfast://{CLUSTER}/agent/us-east/DB1"),
            format!("holdfast://{CLUSTER}/agent/us-east/db1?x"),
            format!("holdfast://{CLUSTER}/agent//db1"),
            format!("holdfast://{CLUSTER}//agent/us-east/db1"),
            format!("holdfast://{CLUSTER}/coordinator/+1"),
            format!("holdfast://{CLUSTER}/coordinator/01"),
            format!("holdfast://{CLUSTER}/coordinator/-1"),
            format!("holdfast://{CLUSTER}/coordinator/99999999999999999999"),
            format!("holdfast://{CLUSTER}/witness/1"),
            format!("holdfast://{CLUSTER}/operator/Anna"),
            format!("holdfast://{CLUSTER}/operator/anna "),
            format!("holdfast://{upper}/operator/anna"),
            format!("holdfast://user@{CLUSTER}/operator/anna"),
            format!("Holdfast://{CLUSTER}/operator/anna"),
            format!("https://{CLUSTER}/operator/anna"),
            "holdfast://prod/operator/anna".into(),
        ] {
            assert_eq!(Bearer::from_uri(&bad), Err(IdentityError::BadUri(bad.clone())), "{bad:?}");
        }
    }

    #[test]
    fn a_certificate_that_names_nobody_or_two_is_refused() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let read = |uris: &[&str]| {
            let uri = |uri: &&str| rcgen::SanType::URI((*uri).try_into().expect("ascii"));
            let mut params = rcgen::CertificateParams::default();
            params.subject_alt_names = uris.iter().map(uri).collect();
            let certificate = params.self_signed(&key).expect("signed");
            PeerIdentity::from_certificate(certificate.der(), WallTime(0)).map(|identity| identity.bearer)
        };
        let (one, two) = (format!("holdfast://{CLUSTER}/coordinator/1"), format!("holdfast://{CLUSTER}/coordinator/2"));
        let shouted = format!("HOLDFAST://{CLUSTER}/coordinator/2");
        assert_eq!(read(&[]), Err(IdentityError::NoUri));
        assert_eq!(read(&["https://example.com/"]), Err(IdentityError::NoUri));
        assert_eq!(read(&[&one, &two]), Err(IdentityError::Ambiguous(2)));
        assert_eq!(read(&[&one, &one]), Err(IdentityError::Ambiguous(2)));
        assert_eq!(read(&[&one, &shouted]), Err(IdentityError::Ambiguous(2)));
        assert_eq!(read(&[&shouted]), Err(IdentityError::BadUri(shouted.clone())));
        // The serial number that rcgen draws has 20 bytes: our CA gives none of these.
        assert_eq!(read(&[&one]), Err(IdentityError::BadSerial(20)));
        let garbage = PeerIdentity::from_certificate(&CertificateDer::from(&b"garbage"[..]), WallTime(0));
        assert!(matches!(garbage, Err(IdentityError::BadCertificate(_))));
    }

    #[test]
    fn serials_have_one_spelling_and_at_most_eight_bytes() {
        assert_eq!((serial_hex(10), serial_hex(u64::MAX)), ("a".into(), "ffffffffffffffff".into()));
        assert_eq!(
            (parse_serial("a"), parse_serial("0a"), parse_serial("A"), parse_serial("")),
            (Some(10), None, None, None)
        );
        assert_eq!(serial_from_der(&[0, 0xff, 0, 0, 0, 0, 0, 0, 1]), Ok(0xff00_0000_0000_0001));
        assert_eq!(serial_from_der(&[]), Ok(0));
        assert_eq!(serial_from_der(&[1; 9]), Err(IdentityError::BadSerial(9)));
    }

    fn name() -> impl Strategy<Value = String> {
        "[a-z][a-z0-9-]{0,62}"
    }

    fn bearer() -> impl Strategy<Value = Bearer> {
        prop_oneof![
            (name(), name()).prop_map(|(region, host)| Bearer::Agent {
                region: RegionName::new(region).expect("a name"),
                host: HostName::new(host).expect("a name"),
            }),
            any::<u64>().prop_map(|node| Bearer::Coordinator { node }),
            name().prop_map(|name| Bearer::Operator { name: OperatorName::new(name).expect("a name") }),
        ]
    }

    proptest! {
        #[test]
        fn a_uri_reads_back_as_it_was_written(bearer in bearer(), bytes in any::<[u8; 16]>()) {
            let cluster = ClusterId::from_random(bytes);
            prop_assert_eq!(Bearer::from_uri(&bearer.uri(&cluster)), Ok((cluster, bearer)));
        }

        #[test]
        fn no_text_makes_the_reader_fail_in_another_way(text in "(holdfast://)?[ -~]{0,80}") {
            if let Ok((cluster, bearer)) = Bearer::from_uri(&text) {
                prop_assert_eq!(bearer.uri(&cluster), text);
            }
        }

        #[test]
        fn a_serial_reads_back_as_it_was_written(serial in any::<u64>()) {
            prop_assert_eq!(parse_serial(&serial_hex(serial)), Some(serial));
            prop_assert_eq!(serial_from_der(&serial.to_be_bytes()), Ok(serial));
        }
    }
}
