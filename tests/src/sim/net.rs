//! The simulation's network, as the daemons dial and accept.

use std::{
    io,
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll},
};

use holdfast_shared::net::{Accept, BoxedIo, Dial};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

/// Port of the coordinator.
pub const PORT: u16 = 7443;

/// Dials simulated hosts by name.
#[derive(Debug, Clone, Copy)]
pub struct SimDial;

impl Dial for SimDial {
    fn dial<'a>(&'a self, address: &'a str) -> Pin<Box<dyn Future<Output = io::Result<BoxedIo>> + Send + 'a>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            Ok(Box::new(SimIo(stream)) as BoxedIo)
        })
    }
}

/// Accepts on a simulated host.
pub struct SimAccept(TcpListener);

impl SimAccept {
    /// Listens on the host this is called on.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn bind(on: IpAddr) -> io::Result<Self> {
        Ok(Self(TcpListener::bind((on, PORT)).await?))
    }
}

impl Accept for SimAccept {
    fn accept(&mut self) -> Pin<Box<dyn Future<Output = io::Result<(BoxedIo, String)>> + Send + '_>> {
        Box::pin(async move {
            let (stream, from) = self.0.accept().await?;
            Ok((Box::new(SimIo(stream)) as BoxedIo, from.to_string()))
        })
    }
}

struct SimIo(TcpStream);

impl AsyncRead for SimIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for SimIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
