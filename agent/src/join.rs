//! Joining a cluster: the host makes its own key, and gets a certificate for a one-time token that pins the CA.

use std::{sync::Arc, time::Duration};

use holdfast_proto::v1::{self, enrol_client::EnrolClient};
use holdfast_shared::{
    clock::SharedClock,
    files::{self, FileError},
    identity::Bearer,
    net::Dial,
    pki::{KeyAndCsr, Material, PkiError},
    refusal,
    tls::{TlsError, describe_connect_error, pinned_channel},
    token::JoinToken,
};
use holdfast_types::{ClusterId, HostName, RegionName};
use tokio::time::timeout;

use crate::{
    config::{Config, Identity, IdentityFileError},
    renew::renew_at,
};

/// Longest it may take.
const WITHIN: Duration = Duration::from_secs(15);

/// Why a host did not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The state directory.
    #[error(transparent)]
    File(#[from] FileError),
    /// What is to be kept there.
    #[error(transparent)]
    Identity(#[from] IdentityFileError),
    /// Key or certificate.
    #[error("cannot make or keep key and certificate")]
    Pki(#[from] PkiError),
    /// TLS.
    #[error("cannot set up TLS")]
    Tls(#[from] TlsError),
    /// The coordinator refused.
    #[error("{address} refused: {what}")]
    Refused {
        /// The coordinator.
        address: String,
        /// What it said.
        what: String,
    },
    /// The coordinator could not be reached.
    #[error("cannot reach the coordinator at {address}: {why}")]
    Unreachable {
        /// The coordinator.
        address: String,
        /// Why.
        why: String,
    },
    /// It answered something else than was asked.
    #[error("{address} answered with a certificate for {found}, asked was {asked}")]
    Mismatch {
        /// The coordinator.
        address: String,
        /// In the certificate.
        found: String,
        /// What was asked for.
        asked: String,
    },
    /// It answered something that is no answer.
    #[error("{address} gave an answer that cannot be used: {why}")]
    BadAnswer {
        /// The coordinator.
        address: String,
        /// Why.
        why: String,
    },
    /// The host belongs to a cluster already.
    #[error("this host has joined cluster {cluster} as {host}; to join another, move {folder} away first")]
    Joined {
        /// The cluster.
        cluster: ClusterId,
        /// Its name there.
        host: HostName,
        /// The state directory.
        folder: String,
    },
}

/// Joins at `address`, and keeps what was given.
///
/// # Errors
/// [`JoinError`]; nothing is kept then.
pub async fn join(
    config: &Config,
    address: &str,
    token: &JoinToken,
    host: HostName,
    dial: Arc<dyn Dial>,
    clock: SharedClock,
) -> Result<Identity, JoinError> {
    files::make_private_folder(config.state_dir())?;
    let asked = Bearer::Agent { region: token.region.clone(), host: host.clone() };
    match Identity::load(config.state_dir()) {
        // The same host once more: its certificate ran out, or it is enrolled anew.
        Ok(old) if old.host == host && old.region == token.region => {}
        Ok(old) => {
            let folder = config.state_dir().display().to_string();
            return Err(JoinError::Joined { cluster: old.cluster, host: old.host, folder });
        }
        Err(IdentityFileError::NotJoined { .. }) => {}
        Err(e) => return Err(e.into()),
    }
    let KeyAndCsr { key, csr } = KeyAndCsr::generate()?;
    let channel = pinned_channel(dial, address, token.pin(), Arc::clone(&clock))?;
    let request = v1::EnrolRequest {
        token: token.to_string(),
        host: host.to_string(),
        csr,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let mut client = EnrolClient::new(channel);
    let late = |_| tonic::Status::deadline_exceeded("no answer");
    let reply = timeout(WITHIN, client.enrol(request)).await.map_err(late).flatten().map_err(|status| {
        let address = address.to_owned();
        match refusal::from_status(&status) {
            Some(refused) => JoinError::Refused { address, what: refused.what },
            None => JoinError::Unreachable { address, why: describe_connect_error(&status) },
        }
    })?;
    let reply = reply.into_inner();
    let bad = |why: String| JoinError::BadAnswer { address: address.to_owned(), why };
    let credentials = reply.credentials.ok_or_else(|| bad("it holds no certificate".to_owned()))?;
    let cluster = ClusterId::new(reply.cluster).map_err(|e| bad(e.to_string()))?;
    let region = RegionName::new(reply.region).map_err(|e| bad(e.to_string()))?;
    let material = Material::from_der(key, credentials.chain, credentials.roots, credentials.crls);
    let now = clock.wall();
    let given = material.identity(now)?;
    if given.bearer != asked || given.cluster != cluster || region != token.region {
        let (found, asked) = (format!("{} of {}", given.bearer, given.cluster), format!("{asked} of {cluster}"));
        return Err(JoinError::Mismatch { address: address.to_owned(), found, asked });
    }
    material.save_dir(&config.tls_dir())?;
    let due = renew_at(now, given.not_after);
    let identity = Identity::new(config.state_dir(), cluster, host, region, vec![address.to_owned()], due);
    identity.save()?;
    Ok(identity)
}
