//! Saying why a connection failed, in a sentence that somebody can act on.

use std::{error::Error, io};

use rustls::{AlertDescription, CertificateError};

/// Why a connection failed, from a `tonic::Status` or a `tonic::transport::Error`: what TLS found if it was that, else
/// the root cause.
#[must_use]
pub fn describe_connect_error(error: &(dyn Error + 'static)) -> String {
    let mut root = error;
    loop {
        if let Some(tls) = root.downcast_ref::<rustls::Error>() {
            return sentence(tls);
        }
        match cause(root) {
            Some(next) => root = next,
            None => break,
        }
    }
    // A status that came from the other end has no cause, and its own text repeats its code.
    match root.downcast_ref::<tonic::Status>() {
        Some(status) if !status.message().is_empty() => status.message().to_owned(),
        Some(status) => status.code().to_string(),
        None => root.to_string(),
    }
}

/// The next error down. What an `io::Error` was made from is not always its `source`.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        return Some(inner);
    }
    error.source()
}

/// Replaces an error of TLS by one of the same kind whose text is the sentence.
pub(super) fn put_in_words(error: io::Error) -> io::Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(tls) => io::Error::new(error.kind(), sentence(tls)),
        None => error,
    }
}

fn sentence(error: &rustls::Error) -> String {
    if let rustls::Error::AlertReceived(alert) = error {
        return refused_by_coordinator(*alert);
    }
    if let rustls::Error::InvalidCertificate(why) = error {
        return refused_by_us(why);
    }
    format!("cannot make a TLS connection to the coordinator: {error}")
}

/// The other end said no. TLS tells no more than a word, so each is put together with what to look at.
fn refused_by_coordinator(alert: AlertDescription) -> String {
    let known = [
        (AlertDescription::CertificateRevoked, "this certificate is revoked; enrol again"),
        (
            AlertDescription::CertificateExpired,
            "this certificate has expired, or this host's clock is wrong; after 30 days it cannot be renewed, enrol again",
        ),
        (
            AlertDescription::UnknownCA,
            "this certificate was not issued by the coordinator's CA, or the coordinator's list of revoked certificates is out of date",
        ),
        (AlertDescription::CertificateRequired, "a certificate is needed; enrol first"),
        (AlertDescription::DecryptError, "this certificate was not signed by the coordinator's CA"),
        (AlertDescription::UnsupportedCertificate, "this certificate is not meant for clients"),
        (AlertDescription::NoApplicationProtocol, "the other end does not speak HTTP/2; is this the right port?"),
        (AlertDescription::ProtocolVersion, "the other end does not speak TLS 1.3; is this the right port?"),
    ];
    match known.iter().find(|(kind, _)| *kind == alert) {
        Some((_, why)) => format!("the coordinator refused the connection: {why}"),
        None => format!("the coordinator refused the connection: TLS alert {alert:?}"),
    }
}

/// We said no to what the other end has shown.
fn refused_by_us(why: &CertificateError) -> String {
    let reason = if matches!(why, CertificateError::UnknownIssuer | CertificateError::BadSignature) {
        "its CA is not the one that is trusted here; is this another cluster?".to_owned()
    } else if matches!(why, CertificateError::Expired | CertificateError::ExpiredContext { .. }) {
        format!("it has expired, or this host's clock is wrong ({why})")
    } else if matches!(why, CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) {
        format!("it is not valid yet, so this host's clock is probably behind ({why})")
    } else if matches!(why, CertificateError::Revoked) {
        "it is revoked".to_owned()
    } else if is_not_a_coordinator(why) {
        "it is not a coordinator's; is this the right address?".to_owned()
    } else if let CertificateError::Other(other) = why {
        return other.to_string();
    } else {
        why.to_string()
    };
    format!("the coordinator's certificate is refused: {reason}")
}

fn is_not_a_coordinator(why: &CertificateError) -> bool {
    matches!(
        why,
        CertificateError::NotValidForName
            | CertificateError::NotValidForNameContext { .. }
            | CertificateError::InvalidPurpose
            | CertificateError::InvalidPurposeContext { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_tls_error_becomes_a_sentence() {
        let alert = rustls::Error::AlertReceived(AlertDescription::CertificateRevoked);
        let io = io::Error::new(io::ErrorKind::InvalidData, alert);
        let words = "the coordinator refused the connection: this certificate is revoked; enrol again";
        assert_eq!(describe_connect_error(&io), words);
        let status = tonic::Status::from_error(Box::new(io));
        assert_eq!(describe_connect_error(&status), words);
        // HTTP/2 keeps the text alone.
        let flat = io::Error::new(io::ErrorKind::InvalidData, words);
        assert_eq!(describe_connect_error(&flat), words);
    }

    #[test]
    fn other_errors_show_their_root_cause() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(describe_connect_error(&refused), "connection refused");
        assert_eq!(describe_connect_error(&tonic::Status::not_found("app shop is not there")), "app shop is not there");
        let certificate = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        assert_eq!(
            describe_connect_error(&certificate),
            "the coordinator's certificate is refused: its CA is not the one that is trusted here; is this another cluster?"
        );
    }
}
