//! A new certificate before the old one ends, without a restart and without a dropped session: connections that are
//! open go on with what they began with, the next ones begin with the new one.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use holdfast_proto::v1::{self, enrol_client::EnrolClient};
use holdfast_shared::{
    clock::SharedClock,
    error::Chain,
    pki::{KeyAndCsr, Material, PkiError},
    tls::{HotTlsClient, TlsError},
};
use holdfast_types::WallTime;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    backoff::Backoff,
    config::{Identity, IdentityFileError},
    connect::Connect,
};

/// Between two looks at the wall clock, which may be set.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// Longest one request may take.
const WITHIN: Duration = Duration::from_secs(10);
/// Longest pause after a failure. Half of a certificate's life is left for it to work.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// What is renewed.
pub struct Renewal {
    /// What connections begin with.
    pub tls: Arc<HotTlsClient>,
    /// Where key and certificates lie.
    pub folder: PathBuf,
    /// Whose they are.
    pub identity: Identity,
}

impl fmt::Debug for Renewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewal").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// Why it did not work this time.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// No key could be made, or the answer cannot be used or kept.
    #[error("cannot use the new certificate")]
    Pki(#[from] PkiError),
    /// The new material does not fit together.
    #[error("cannot use the new certificate")]
    Tls(#[from] TlsError),
    /// When to renew next could not be kept.
    #[error("cannot note when to renew next")]
    Identity(#[from] IdentityFileError),
    /// The coordinator refused, or could not be reached.
    #[error("{address} gave no new certificate")]
    Refused {
        /// Which coordinator.
        address: String,
        /// Why.
        #[source]
        source: Box<tonic::Status>,
    },
    /// No coordinator is known.
    #[error("no coordinator is known")]
    Nobody,
}

/// When a certificate that was got at `now` is renewed: at half its life.
#[must_use]
pub fn renew_at(now: WallTime, not_after: WallTime) -> WallTime {
    let left = not_after.unix_millis().saturating_sub(now.unix_millis()).max(0);
    WallTime(now.unix_millis().saturating_add(left / 2))
}

/// Renews until cancelled.
pub async fn run(
    mut renewal: Renewal,
    connect: Arc<dyn Connect>,
    coordinators: Vec<String>,
    clock: SharedClock,
    seed: u64,
    cancel: CancellationToken,
) {
    let mut backoff = Backoff::new(seed, PAUSE_MAX);
    let work = async {
        loop {
            let due = renewal.identity.renew_at.unix_millis();
            let left = u64::try_from(due.saturating_sub(clock.wall().unix_millis())).unwrap_or(0);
            if left > 0 {
                sleep(Duration::from_millis(left).min(LOOK_AGAIN)).await;
                continue;
            }
            match renew(&mut renewal, &*connect, &coordinators, &clock).await {
                Ok(()) => {
                    backoff.worked();
                    tracing::info!(next = %renewal.identity.renew_at, "certificate renewed");
                }
                Err(e) => {
                    tracing::warn!(error = %Chain(&e), "certificate not renewed yet");
                    backoff.pause().await;
                }
            }
        }
    };
    // What is interrupted was not used yet, or is on disk whole.
    tokio::select! {
        biased;
        () = cancel.cancelled() => {}
        () = work => {}
    }
}

async fn renew(
    renewal: &mut Renewal,
    connect: &dyn Connect,
    coordinators: &[String],
    clock: &SharedClock,
) -> Result<(), RenewError> {
    let KeyAndCsr { key, csr } = KeyAndCsr::generate()?;
    let mut last = RenewError::Nobody;
    for address in coordinators {
        let mut client = EnrolClient::new(connect.channel(address));
        let late = |_| tonic::Status::deadline_exceeded("no answer");
        let asked = timeout(WITHIN, client.renew(v1::RenewRequest { csr: csr.clone() })).await.map_err(late).flatten();
        let credentials = match asked.map(|reply| reply.into_inner().credentials) {
            Ok(Some(credentials)) => credentials,
            Ok(None) => {
                let source = Box::new(tonic::Status::internal("the answer holds no certificate"));
                last = RenewError::Refused { address: address.clone(), source };
                continue;
            }
            Err(source) => {
                last = RenewError::Refused { address: address.clone(), source: Box::new(source) };
                continue;
            }
        };
        let v1::Credentials { chain, roots, crls } = credentials;
        let material = Material::from_der(key.clone_key(), chain, roots, crls);
        let now = clock.wall();
        let not_after = material.identity(now)?.not_after;
        renewal.tls.reload(&material)?;
        material.save_dir(&renewal.folder)?;
        renewal.identity.renew_at = renew_at(now, not_after);
        renewal.identity.save()?;
        return Ok(());
    }
    Err(last)
}
