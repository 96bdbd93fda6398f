//! A bearer's own key, and the request that proves to the CA that the bearer has it.

use rcgen::{CertificateParams, CertificateSigningRequestParams, DistinguishedName, KeyPair, PublicKey, PublicKeyData};
use rustls_pki_types::{CertificateSigningRequestDer, PrivateKeyDer};

use super::PkiError;

/// A request for a P-256 key is about 200 bytes; what is larger is not looked at.
const CSR_BYTES_MAX: usize = 4 * 1024;
/// An uncompressed point of P-256: one byte and two coordinates of 32.
const P256_POINT_BYTES: usize = 65;

/// A new private key and the signing request for it.
pub struct KeyAndCsr {
    /// Stays where it was made.
    pub key: PrivateKeyDer<'static>,
    /// DER; goes to the CA.
    pub csr: Vec<u8>,
}

impl KeyAndCsr {
    /// Makes a key (ECDSA P-256) from the system's randomness.
    ///
    /// # Errors
    /// [`PkiError::MakeKey`] when there is no randomness to be had.
    pub fn generate() -> Result<Self, PkiError> {
        let key = KeyPair::generate().map_err(PkiError::MakeKey)?;
        let mut params = CertificateParams::default();
        // The CA decides on every name, so the request carries none.
        params.distinguished_name = DistinguishedName::new();
        let csr = params.serialize_request(&key).map_err(PkiError::MakeKey)?.der().to_vec();
        Ok(Self { key: key.into(), csr })
    }
}

/// The public key of a request whose signature proves that the sender has the private one. Everything else that the
/// request asks for is dropped.
pub(super) fn proven_key(csr: &[u8]) -> Result<PublicKey, PkiError> {
    if csr.len() > CSR_BYTES_MAX {
        return Err(PkiError::BadRequest(format!("it has {} bytes, at most {CSR_BYTES_MAX} are taken", csr.len())));
    }
    let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(csr))
        .map_err(|e| PkiError::BadRequest(e.to_string()))?;
    let key = request.public_key;
    // One kind of key everywhere: no bearer can bring a weak one.
    if key.algorithm() != &rcgen::PKCS_ECDSA_P256_SHA256 || key.der_bytes().len() != P256_POINT_BYTES {
        return Err(PkiError::BadRequest("its key is not ECDSA P-256".to_owned()));
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_proves_its_key() {
        let made = KeyAndCsr::generate().expect("made");
        assert!(proven_key(&made.csr).is_ok());
        let mut bent = made.csr.clone();
        *bent.last_mut().expect("not empty") ^= 1;
        assert!(matches!(proven_key(&bent), Err(PkiError::BadRequest(_))), "the signature was not checked");
    }

    #[test]
    fn other_kinds_of_key_and_garbage_are_refused() {
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("made");
        let csr = CertificateParams::default().serialize_request(&key).expect("a request");
        let e = proven_key(csr.der()).expect_err("refused").to_string();
        assert_eq!(e, "cannot take the signing request: its key is not ECDSA P-256");
        for garbage in [&b""[..], b"hello", &[0x30; 100], &vec![0x30; CSR_BYTES_MAX + 1]] {
            assert!(matches!(proven_key(garbage), Err(PkiError::BadRequest(_))));
        }
    }
}
