//! Somebody who knocks at the coordinator's port from a host of the net: with any certificate that its CA could have
//! signed, with none, or with no TLS at all.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::AsFd,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use holdfast_proto::v1;
use holdfast_shared::{
    clock::{SharedClock, SystemClock},
    identity::Bearer,
    net::TcpDial,
    pki::{Ca, CaFiles, KeyAndCsr, Material},
    refusal::from_status,
    tls::{HotTlsClient, channel, describe_connect_error, pinned_channel},
};
use holdfast_types::{ClusterId, WallTime};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tonic::{Status, transport::Channel};

use super::{Guarded, host::Host};

/// Longest that one knock may take, whatever is at the other end.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Serials that no coordinator gives out in a test.
const SERIAL: u64 = 1 << 40;

/// What certificates are signed with and where to knock.
#[derive(Clone)]
pub struct Stranger {
    ca: Arc<Ca>,
    /// The cluster.
    pub cluster: ClusterId,
    /// The coordinator.
    pub address: SocketAddr,
    from: Host,
}

impl std::fmt::Debug for Stranger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stranger").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Guarded {
    /// Somebody on this host.
    ///
    /// # Errors
    /// When the CA of the fleet cannot be read.
    pub fn stranger(&self, from: &Host) -> Result<Stranger> {
        let state = self.fleet.state("coordinator")?.join("state");
        let ca = Ca::load(&CaFiles::in_folder(&state.join("ca"))).context("the fleet's CA")?;
        let own = Material::load_dir(&state.join("identity")).context("the coordinator's certificate")?;
        let cluster = own.identity(clock()?.wall())?.cluster;
        Ok(Stranger { ca: Arc::new(ca), cluster, address: self.fleet.coordinator_address(), from: from.clone() })
    }
}

fn clock() -> Result<SharedClock> {
    Ok(Arc::new(SystemClock::new()?))
}

impl Stranger {
    /// A key and a certificate for `bearer` of `cluster`, signed by `ca` as if `ago` had passed since.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn signed(ca: &Ca, bearer: &Bearer, cluster: &ClusterId, ttl: Duration, ago: Duration) -> Result<Material> {
        let now = WallTime(clock()?.wall().unix_millis() - i64::try_from(ago.as_millis())?);
        let key = KeyAndCsr::generate()?;
        let leaf = ca.sign_csr(&key.csr, bearer, cluster, SERIAL, ttl, now)?;
        let own = ca.certificate().to_vec();
        Ok(Material::from_der(key.key, vec![leaf.to_vec()], vec![own], vec![]))
    }

    /// A certificate of this cluster for anybody.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn as_bearer(&self, bearer: &str) -> Result<Material> {
        self.dated(bearer, Duration::from_secs(3_600), Duration::ZERO)
    }

    /// The same, made `ago` with this time to live.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn dated(&self, bearer: &str, ttl: Duration, ago: Duration) -> Result<Material> {
        let uri = format!("holdfast://{}/{bearer}", self.cluster);
        let (_, bearer) = Bearer::from_uri(&uri).with_context(|| uri.clone())?;
        Self::signed(&self.ca, &bearer, &self.cluster, ttl, ago)
    }

    /// The same cluster's name under another CA.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn of_another_ca(&self, bearer: &Bearer) -> Result<Material> {
        let other = Ca::generate(&self.cluster, clock()?.wall())?;
        let mut material = Self::signed(&other, bearer, &self.cluster, Duration::from_secs(3_600), Duration::ZERO)?;
        // It knows whom it talks to; it is the coordinator that must refuse.
        material.roots = vec![self.ca.certificate().clone()];
        Ok(material)
    }

    /// The right CA, another cluster.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn of_another_cluster(&self, bearer: &Bearer) -> Result<Material> {
        let cluster = ClusterId::from_random([9; 16]);
        Self::signed(&self.ca, bearer, &cluster, Duration::from_secs(3_600), Duration::ZERO)
    }

    /// Does something on the stranger's host, in a thread and runtime of its own.
    ///
    /// # Errors
    /// What went wrong, or that it took too long.
    pub fn on_host<T, F>(&self, work: impl FnOnce() -> F + Send) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>>,
    {
        let namespace = self.from.namespace_file();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter(namespace)?;
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(async { tokio::time::timeout(ANSWER_WITHIN, work()).await })?
            });
            thread.join().unwrap_or_else(|_| bail!("the stranger panicked"))
        })
    }

    /// Raw bytes to the port; what came back until the other end closed, and whether it did.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn raw(&self, bytes: &[u8], within: Duration) -> Result<(Vec<u8>, bool)> {
        let (namespace, address) = (self.from.namespace_file(), self.address);
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter(namespace)?;
                let mut stream = TcpStream::connect_timeout(&address, ANSWER_WITHIN)?;
                stream.set_read_timeout(Some(within))?;
                // It may be closed before all of it is written.
                drop(stream.write_all(bytes));
                let mut answer = Vec::new();
                let ended = stream.read_to_end(&mut answer);
                let closed = !ended
                    .is_err_and(|e| matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut));
                Ok((answer, closed))
            });
            thread.join().unwrap_or_else(|_| bail!("the stranger panicked"))
        })
    }

    /// So many connections that say nothing; open until dropped.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn silent(&self, count: usize) -> Result<Vec<TcpStream>> {
        let (namespace, address) = (self.from.namespace_file(), self.address);
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                enter(namespace)?;
                (0..count).map(|_| Ok(TcpStream::connect_timeout(&address, ANSWER_WITHIN)?)).collect()
            });
            thread.join().unwrap_or_else(|_| bail!("the stranger panicked"))
        })
    }

    /// A channel with this certificate. Only inside [`Stranger::on_host`].
    ///
    /// # Errors
    /// When the material cannot be used.
    pub fn channel(&self, material: &Material) -> Result<Channel> {
        let client = HotTlsClient::new(material, clock()?)?;
        Ok(channel(&client, Arc::new(TcpDial), &self.address.to_string()))
    }

    /// A channel without a certificate. Only inside [`Stranger::on_host`].
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn nobody(&self) -> Result<Channel> {
        Ok(pinned_channel(Arc::new(TcpDial), &self.address.to_string(), self.ca.pin(), clock()?)?)
    }
}

fn enter(namespace: Option<PathBuf>) -> Result<()> {
    let Some(file) = namespace else { return Ok(()) };
    let opened = std::fs::File::open(&file).with_context(|| file.display().to_string())?;
    Ok(move_into_link_name_space(opened.as_fd(), Some(LinkNameSpaceType::Network))?)
}

/// What a refused call says: the refusal's own words, or why there was no connection.
#[must_use]
pub fn said(status: &Status) -> String {
    from_status(status).map_or_else(|| describe_connect_error(status), |refusal: v1::Refusal| refusal.what)
}

/// What was refused, in its words.
///
/// # Errors
/// When it was not.
pub fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> Result<String> {
    match answer {
        Ok(taken) => bail!("it was taken: {taken:?}"),
        Err(status) => Ok(said(&status)),
    }
}
