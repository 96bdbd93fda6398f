//! The first contact: a host that enrols has no certificate and trusts nobody yet. All it knows is the hash of the CA,
//! from its join token.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tonic::transport::Channel;

use super::{
    TlsError,
    client::{Keepalive, anonymous, lazy_channel},
    provider, root_store,
    verify::EarlyVerifier,
};
use crate::{clock::SharedClock, net::Dial, pki::Pin};

/// A channel to the coordinator at `address`, without a certificate of our own. It talks only to a coordinator whose
/// certificate was signed by the CA with this pin.
///
/// # Errors
/// [`TlsError::Config`] when TLS cannot be set up at all.
pub fn pinned_channel(dial: Arc<dyn Dial>, address: &str, pin: Pin, clock: SharedClock) -> Result<Channel, TlsError> {
    let verifier = PinnedVerifier { pin, provider: provider() };
    let tls = Arc::new(anonymous(Arc::new(verifier), clock)?);
    Ok(lazy_channel(dial, address, Keepalive::default(), move || Arc::clone(&tls)))
}

/// The coordinator shows certificates none of which is the pinned CA.
#[derive(Debug, thiserror::Error)]
#[error("the coordinator belongs to another cluster: expected a CA with hash {expected}, found {found}")]
pub(super) struct PinMismatch {
    expected: Pin,
    found: String,
}

#[derive(Debug)]
struct PinnedVerifier {
    pin: Pin,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(ca) = intermediates.iter().find(|certificate| Pin::of(certificate) == self.pin) else {
            let found: Vec<_> = intermediates.iter().map(|certificate| Pin::of(certificate).to_string()).collect();
            let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
            let mismatch = PinMismatch { expected: self.pin, found };
            return Err(CertificateError::Other(OtherError(Arc::new(mismatch))).into());
        };
        // The pin vouches for the CA alone; from there on everything is verified as always.
        let unusable = |e: &dyn std::fmt::Display| Error::General(format!("the pinned CA cannot be used: {e}"));
        let roots = root_store(&[ca.clone().into_owned()]).map_err(|e| unusable(&e))?;
        let webpki = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&self.provider))
            .build()
            .map_err(|e| unusable(&e))?;
        EarlyVerifier(webpki).verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
