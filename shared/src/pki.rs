//! Keys and certificates: the cluster's CA, what a bearer asks it for, and what each side keeps on disk.
//!
//! Keys never travel: a bearer makes its own and sends a signing request. Of that request the CA takes the public key,
//! whose possession the request proves, and nothing else. Nothing here reads a clock.

mod ca;
mod material;
mod request;
mod sealed;

use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime},
};

use aws_lc_rs::digest;
use holdfast_types::WallTime;
use rustls_pki_types::CertificateDer;

pub use ca::{Ca, CaFiles, Naming};
pub use material::Material;
pub use request::KeyAndCsr;

use crate::{files::FileError, identity::IdentityError};

/// The name that every coordinator's certificate carries and every client of ours expects, whatever address it dialled.
/// Other clients look for what they dialled: that is in it too.
pub const COORDINATOR_DNS_NAME: &str = "coordinator.holdfast.internal";

/// How long a list of revoked certificates counts. It is made anew long before; only an outage of the coordinators
/// that lasts longer than this would make one expire.
pub const CRL_LIFETIME: Duration = Duration::from_hours(30 * 24);

/// Certificates and lists are valid from a little before they are made, for hosts whose clocks are behind.
const BACKDATED: Duration = Duration::from_mins(5);

/// Why something about keys and certificates cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A key cannot be made.
    #[error("cannot make a key")]
    MakeKey(#[source] rcgen::Error),
    /// A request for a certificate is refused.
    #[error("cannot take the signing request: {0}")]
    BadRequest(String),
    /// The CA cannot sign.
    #[error("cannot sign {what}")]
    Sign {
        /// What should have been signed.
        what: String,
        /// Why not.
        #[source]
        source: rcgen::Error,
    },
    /// There is a CA already where one should be put.
    #[error("there is a CA already at {0}: whoever trusts it would be locked out by another")]
    CaExists(String),
    /// The CA's sealed key is damaged, or sealed for something else.
    #[error("cannot open the CA's key in {file}: {why}")]
    SealedKey {
        /// The file.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file holds something else than it should.
    #[error("{file} is damaged: {why}")]
    Damaged {
        /// The file.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// A certificate names nobody.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A text is no pin.
    #[error("\"{0}\" is no pin of a CA: expected 64 hexadecimal digits in lower case")]
    BadPin(String),
}

/// The SHA-256 of a CA's certificate. Whoever enrols is told it on a way of its own, and so knows the cluster.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pin([u8; 32]);

impl Pin {
    /// The pin of a certificate.
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let hash = digest::digest(&digest::SHA256, certificate);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(hash.as_ref());
        Self(bytes)
    }

    /// The pin with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pin({self})")
    }
}

impl FromStr for Pin {
    type Err = PkiError;

    fn from_str(text: &str) -> Result<Self, PkiError> {
        let bad = || PkiError::BadPin(text.chars().take(80).collect());
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(bad());
        }
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| bad())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| bad())?;
        }
        Ok(Self(bytes))
    }
}

/// The moment as the certificate library wants it. X.509 knows whole seconds; moments before 1970 become 1970.
fn system_time(at: WallTime) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(at.unix_millis() / 1_000).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_reads_back_as_it_was_printed() {
        let pin = Pin::of(&CertificateDer::from(&b"abc"[..]));
        // The well-known SHA-256 of "abc".
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(pin.to_string(), text);
        assert_eq!(text.parse::<Pin>().expect("a pin"), pin);
        for bad in ["", &text[1..], &text.to_uppercase(), &format!("{}g", &text[1..]), &format!("+{}", &text[1..])] {
            assert!(bad.parse::<Pin>().is_err(), "{bad:?} was taken as a pin");
        }
    }
}
