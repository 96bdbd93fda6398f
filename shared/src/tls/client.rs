//! The client's side: agents, operators, and coordinators among themselves.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::ArcSwap;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig,
    client::{Resumption, WebPkiServerVerifier, danger::ServerCertVerifier},
    version::TLS13,
};
use rustls_pki_types::{DnsName, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint};

use super::{ClockTime, TlsError, alpn, describe, provider, root_store, verify::EarlyVerifier};
use crate::{
    clock::SharedClock,
    net::{BoxedIo, Dial},
    pki::{COORDINATOR_DNS_NAME, Material},
};

/// How long connecting may take, handshake included. One more try elsewhere must still fit into a takeover.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The address that HTTP/2 shows. The scheme is http because tonic is handed a stream that is encrypted already.
const SHOWN_URI: &str = "http://coordinator.holdfast.internal";

/// How a connection finds out that its other end is gone: HTTP/2 pings, also while nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// Time between two pings.
    pub interval: Duration,
    /// How long to wait for an answer before the connection is closed.
    pub timeout: Duration,
}

impl Default for Keepalive {
    /// Ten thousand agents at 10 s are a thousand small pings a second.
    fn default() -> Self {
        Self { interval: Duration::from_secs(10), timeout: Duration::from_secs(5) }
    }
}

/// A client's TLS, whose material can be exchanged while it runs. Open connections go on with what they began with.
pub struct HotTlsClient {
    tls: ArcSwap<ClientConfig>,
    clock: SharedClock,
}

impl HotTlsClient {
    /// Checks the material and puts it in force.
    ///
    /// # Errors
    /// [`TlsError`] when the material cannot work.
    pub fn new(material: &Material, clock: SharedClock) -> Result<Arc<Self>, TlsError> {
        let tls = ArcSwap::from(build(material, &clock)?);
        Ok(Arc::new(Self { tls, clock }))
    }

    /// Replaces the material for the connections to come. A connection that began with an expired certificate stays
    /// one that may only call `Renew`: make a new channel after that.
    ///
    /// # Errors
    /// [`TlsError`] when the material cannot work; the old one then stays in force.
    pub fn reload(&self, material: &Material) -> Result<(), TlsError> {
        self.tls.store(build(material, &self.clock)?);
        Ok(())
    }
}

fn build(material: &Material, clock: &SharedClock) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = root_store(&material.roots)?;
    // The client's copy of a revocation list may be old: what is on it counts, that it is old does not.
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider())
        .with_crls(material.crls.iter().cloned())
        .only_check_end_entity_revocation()
        .allow_unknown_revocation_status()
        .build()
        .map_err(TlsError::Verifier)?;
    let mut tls = ClientConfig::builder_with_details(provider(), Arc::new(ClockTime(Arc::clone(clock))))
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Config)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(EarlyVerifier(verifier)))
        .with_client_auth_cert(material.chain.clone(), material.key.clone_key())
        .map_err(TlsError::Config)?;
    finish(&mut tls);
    Ok(Arc::new(tls))
}

/// A configuration without a certificate of its own, that verifies the server by other means.
pub(super) fn anonymous(verifier: Arc<dyn ServerCertVerifier>, clock: SharedClock) -> Result<ClientConfig, TlsError> {
    let mut tls = ClientConfig::builder_with_details(provider(), Arc::new(ClockTime(clock)))
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Config)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    finish(&mut tls);
    Ok(tls)
}

fn finish(tls: &mut ClientConfig) {
    tls.alpn_protocols = alpn();
    tls.resumption = Resumption::disabled();
}

/// A channel to the coordinator at `address` (`host:port`), with the usual [`Keepalive`]. It connects at the first
/// call, and again whenever the connection is lost, each time with the material then in force.
#[must_use]
pub fn channel(client: &Arc<HotTlsClient>, dial: Arc<dyn Dial>, address: &str) -> Channel {
    channel_with(client, dial, address, Keepalive::default())
}

/// As [`channel`], with another [`Keepalive`].
#[must_use]
pub fn channel_with(client: &Arc<HotTlsClient>, dial: Arc<dyn Dial>, address: &str, keepalive: Keepalive) -> Channel {
    let client = Arc::clone(client);
    lazy_channel(dial, address, keepalive, move || client.tls.load_full())
}

pub(super) fn lazy_channel(
    dial: Arc<dyn Dial>,
    address: &str,
    keepalive: Keepalive,
    tls: impl Fn() -> Arc<ClientConfig> + Send + 'static,
) -> Channel {
    let address: Arc<str> = address.into();
    let connector = tower::service_fn(move |_shown| {
        let (dial, address, tls) = (Arc::clone(&dial), Arc::clone(&address), tls());
        async move {
            let connected = tokio::time::timeout(CONNECT_TIMEOUT, connect(&*dial, &address, tls)).await;
            let late = |_| {
                let seconds = CONNECT_TIMEOUT.as_secs();
                io::Error::new(io::ErrorKind::TimedOut, format!("no answer from {address} within {seconds} s"))
            };
            connected.map_err(late).flatten().map(TokioIo::new)
        }
    });
    Endpoint::from_static(SHOWN_URI)
        .http2_keep_alive_interval(keepalive.interval)
        .keep_alive_timeout(keepalive.timeout)
        .keep_alive_while_idle(true)
        .connect_with_connector_lazy(connector)
}

async fn connect(dial: &dyn Dial, address: &str, tls: Arc<ClientConfig>) -> io::Result<ClientStream> {
    let name = DnsName::try_from(COORDINATOR_DNS_NAME).map_err(io::Error::other)?;
    let io = dial.dial(address).await?;
    let made = TlsConnector::from(tls).connect(ServerName::DnsName(name), io).await;
    let mut stream = ClientStream { inner: made.map_err(describe::put_in_words)?, first: None };
    // In TLS 1.3 we are done before the server has looked at our certificate. In HTTP/2 the server speaks first, so
    // its first byte says that it took us; a refusal is heard here, in its own words. Left to HTTP/2, it would race
    // with the first request, which then ends as "connection closed" and tells nobody why.
    stream.first = Some(stream.inner.read_u8().await.map_err(describe::put_in_words)?);
    Ok(stream)
}

/// A TLS connection whose errors are put into words at once: on its way up, HTTP/2 keeps of an error only its text.
struct ClientStream {
    inner: TlsStream<BoxedIo>,
    /// The server's first byte, until it is read.
    first: Option<u8>,
}

impl AsyncRead for ClientStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() > 0
            && let Some(first) = self.first.take()
        {
            buf.put_slice(&[first]);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_read(cx, buf).map_err(describe::put_in_words)
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf).map_err(describe::put_in_words)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs).map_err(describe::put_in_words)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx).map_err(describe::put_in_words)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx).map_err(describe::put_in_words)
    }
}
