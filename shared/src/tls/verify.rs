//! Which certificates pass the handshake, beside what webpki takes.
//!
//! Only the end of a certificate counts. One whose beginning lies ahead was signed by our CA all the same, which dates
//! none into the future: it is our clock that is behind, after it was set or because the machine lost it, and that must
//! lock nobody out.

use std::{sync::Arc, time::Duration};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

/// How long after its end a certificate still serves to ask for a new one: a long outage of the coordinators locks
/// nobody out.
pub const RENEWABLE_FOR: Duration = Duration::from_hours(30 * 24);

/// What webpki takes, and also certificates that expired less than [`RENEWABLE_FOR`] ago and are fine otherwise. The
/// identity made from such a one says that it is expired, and only `Renew` is open to it.
#[derive(Debug)]
pub(super) struct RenewableVerifier {
    webpki: Arc<dyn ClientCertVerifier>,
    /// Until when the revocation lists count. webpki checks that only for the moment it is asked about.
    lists_end: UnixTime,
}

impl RenewableVerifier {
    pub(super) fn new(webpki: Arc<dyn ClientCertVerifier>, lists_end: UnixTime) -> Self {
        Self { webpki, lists_end }
    }
}

impl ClientCertVerifier for RenewableVerifier {
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let refused = match self.webpki.verify_client_cert(end_entity, intermediates, now) {
            Ok(verified) => return Ok(verified),
            Err(e) if is_early(&e) => {
                let begin = beginning_of(end_entity).ok_or(e)?;
                return self.webpki.verify_client_cert(end_entity, intermediates, begin);
            }
            Err(e) => e,
        };
        let is_expired = matches!(
            refused,
            Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })
        );
        let Some(end) = end_of(end_entity).filter(|end| is_expired && is_renewable(*end, now)) else {
            return Err(refused);
        };
        if now > self.lists_end {
            return Err(
                CertificateError::ExpiredRevocationListContext { time: now, next_update: self.lists_end }.into()
            );
        }
        // Everything else is verified as it was in the certificate's last second; revocation has no date, so what is
        // revoked by now is refused.
        self.webpki.verify_client_cert(end_entity, intermediates, end)
    }

    fn offer_client_auth(&self) -> bool {
        true
    }

    /// `Enrol` is called without a certificate. Every other call asks who is there.
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.webpki.root_hint_subjects()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// What webpki takes of a coordinator, and also what is not valid yet by our clock.
#[derive(Debug)]
pub(super) struct EarlyVerifier(pub(super) Arc<dyn ServerCertVerifier>);

impl ServerCertVerifier for EarlyVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(e) if is_early(&e) => {
                let begin = beginning_of(end_entity).ok_or(e)?;
                self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, begin)
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

fn is_early(e: &Error) -> bool {
    matches!(e, Error::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }))
}

fn beginning_of(certificate: &CertificateDer<'_>) -> Option<UnixTime> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let seconds = u64::try_from(certificate.validity().not_before.timestamp()).ok()?;
    Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
}

fn end_of(certificate: &CertificateDer<'_>) -> Option<UnixTime> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
    Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
}

fn is_renewable(end: UnixTime, now: UnixTime) -> bool {
    now > end && now.as_secs() - end.as_secs() < RENEWABLE_FOR.as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewable_for_thirty_days_after_its_end() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let month = 30 * 86_400;
        for (now, renewable) in
            [(999, false), (1_000, false), (1_001, true), (999 + month, true), (1_000 + month, false)]
        {
            assert_eq!(is_renewable(at(1_000), at(now)), renewable, "{now}");
        }
    }
}
