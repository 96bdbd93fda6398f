//! One accepted connection: who is at its other end, and how it is cut.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use super::sessions::Registration;
use crate::{identity::PeerIdentity, net::BoxedIo};

/// A connection without a valid certificate is there for one call, `Enrol` or `Renew`; nobody keeps one open.
const VISITOR_TIME_MAX: Duration = Duration::from_mins(1);

/// Who is at the other end. Every request carries it: `request.extensions().get::<Arc<Peer>>()`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Where the connection comes from (`ip:port`); shown and limited by, never trusted.
    pub address: String,
    /// What the verified certificate says; `None` when none was shown, and then only `Enrol` is open. When it is
    /// `expired`, only `Renew` is.
    pub identity: Option<PeerIdentity>,
}

/// An accepted TLS connection, for tonic's `serve_with_incoming`.
pub struct PeerStream {
    // Boxed, for a TLS session is more than a kilobyte and is moved several times before it is served.
    inner: Box<TlsStream<BoxedIo>>,
    peer: Arc<Peer>,
    is_cut: CancellationToken,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    visit_ends: Option<Pin<Box<Sleep>>>,
    _registration: Option<Registration>,
}

impl PeerStream {
    pub(super) fn new(
        inner: TlsStream<BoxedIo>,
        peer: Peer,
        is_cut: CancellationToken,
        registration: Option<Registration>,
    ) -> Self {
        let is_visitor = peer.identity.as_ref().is_none_or(|identity| identity.expired);
        Self {
            inner: Box::new(inner),
            peer: Arc::new(peer),
            cut: Box::pin(is_cut.clone().cancelled_owned()),
            is_cut,
            visit_ends: is_visitor.then(|| Box::pin(tokio::time::sleep(VISITOR_TIME_MAX))),
            _registration: registration,
        }
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    fn refuse_if_cut(&self) -> io::Result<()> {
        if self.is_cut.is_cancelled() { Err(cut_off()) } else { Ok(()) }
    }
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was cut: its certificate no longer counts")
}

impl Connected for PeerStream {
    type ConnectInfo = Arc<Peer>;

    fn connect_info(&self) -> Arc<Peer> {
        Arc::clone(&self.peer)
    }
}

impl AsyncRead for PeerStream {
    /// HTTP/2 always has a read pending, so the cut wakes the connection from here.
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(cut_off()));
        }
        if let Some(ends) = &mut self.visit_ends
            && ends.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the time for one call is over")));
        }
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.refuse_if_cut()?;
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.refuse_if_cut()?;
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.refuse_if_cut()?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
