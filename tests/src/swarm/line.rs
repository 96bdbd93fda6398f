//! A line that can go dead: both ends still think that they are connected.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use holdfast_shared::net::{BoxedIo, Dial, TcpDial};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Dials lines that all go dead together.
pub(super) struct Lines {
    pub(super) gag: Arc<AtomicBool>,
    /// Sockets of dead lines, which nobody may close: the other end would hear of it.
    pub(super) dead: Arc<Mutex<Vec<BoxedIo>>>,
}

impl Dial for Lines {
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxedIo>> {
        Box::pin(async move {
            if self.gag.load(Ordering::Relaxed) {
                return std::future::pending().await;
            }
            let inner = TcpDial.dial(address).await?;
            let (gag, dead) = (Arc::clone(&self.gag), Arc::clone(&self.dead));
            Ok(Box::new(Line { inner: Some(inner), gag, dead }) as BoxedIo)
        })
    }
}

struct Line {
    /// Taken when it is dropped.
    inner: Option<BoxedIo>,
    gag: Arc<AtomicBool>,
    dead: Arc<Mutex<Vec<BoxedIo>>>,
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take().filter(|_| self.dead()) {
            self.dead.lock().unwrap_or_else(PoisonError::into_inner).push(inner);
        }
    }
}

impl Line {
    fn dead(&self) -> bool {
        self.gag.load(Ordering::Relaxed)
    }

    fn inner(&mut self) -> Pin<&mut BoxedIo> {
        Pin::new(self.inner.as_mut().expect("taken only when it is dropped"))
    }
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // Nobody wakes it again, as nobody would.
        if self.dead() { Poll::Pending } else { self.inner().poll_read(cx, buf) }
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.dead() { Poll::Ready(Ok(buf.len())) } else { self.inner().poll_write(cx, buf) }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.dead() { Poll::Ready(Ok(())) } else { self.inner().poll_flush(cx) }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.dead() { Poll::Pending } else { self.inner().poll_shutdown(cx) }
    }
}
