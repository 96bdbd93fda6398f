//! Mutual TLS for gRPC, with everything in it exchangeable while it runs.
//!
//! TLS 1.3 only, and HTTP/2 inside. Whole configurations are built first and swapped in afterwards, so material that
//! cannot work leaves the old one in force, and open connections never notice. Sessions are not resumed: a resumed one
//! would not look at the client's certificate again. All times come from the [`Clock`](crate::clock::Clock).

mod client;
mod describe;
mod incoming;
mod pinned;
mod places;
mod server;
mod sessions;
mod stream;
mod verify;

use std::{sync::Arc, time::Duration};

use rustls::{RootCertStore, crypto::CryptoProvider, time_provider::TimeProvider};
use rustls_pki_types::{CertificateDer, UnixTime};

pub use client::{CONNECT_TIMEOUT, HotTlsClient, Keepalive, channel, channel_with};
pub use describe::describe_connect_error;
pub use incoming::{HANDSHAKE_TIMEOUT, incoming};
pub use pinned::pinned_channel;
pub use places::HANDSHAKES_MAX;
pub use server::HotTls;
pub use stream::{Peer, PeerStream};
pub use verify::RENEWABLE_FOR;

use crate::{clock::SharedClock, identity::IdentityError};

/// Why material cannot be used. What was in force before still is.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Key, certificates or protocol settings do not fit together.
    #[error("cannot use the key and certificate")]
    Config(#[source] rustls::Error),
    /// A trusted CA's certificate cannot be read.
    #[error("cannot trust the CA certificate")]
    Root(#[source] rustls::Error),
    /// Roots or revocation lists cannot be used to verify others.
    #[error("cannot verify others with these roots and revocation lists")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
    /// A revocation list cannot be read.
    #[error("cannot read a list of revoked certificates: {0}")]
    BadCrl(String),
    /// A root's clients could not be checked for revocation.
    #[error("the CA {0} has no list of revoked certificates: its clients could not be refused")]
    NoCrl(String),
    /// The own certificate names nobody.
    #[error("cannot use the own certificate")]
    Identity(#[from] IdentityError),
    /// There is no certificate at all.
    #[error("there is no certificate to show to others")]
    NoCertificate,
}

/// Given by name everywhere: with a second provider compiled in, rustls could not choose and would panic.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// How HTTP/2 is agreed on.
fn alpn() -> Vec<Vec<u8>> {
    vec![b"h2".to_vec()]
}

fn root_store(roots: &[CertificateDer<'static>]) -> Result<Arc<RootCertStore>, TlsError> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone()).map_err(TlsError::Root)?;
    }
    Ok(Arc::new(store))
}

/// Lets rustls read our clock instead of the system's.
#[derive(Debug)]
pub struct ClockTime(pub SharedClock);

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.wall().unix_millis() / 1_000).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}
