//! Raw connections, behind two traits: a simulation passes its own network instead of TCP.

use std::{io, net::SocketAddr, time::Duration};

use futures_util::future::BoxFuture;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};

/// A byte stream in both directions.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// Any [`Io`].
pub type BoxedIo = Box<dyn Io>;

/// Opens connections.
pub trait Dial: Send + Sync {
    /// Connects to `address` (`host:port`). Sets no deadline of its own; the future may be dropped at any await.
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxedIo>>;
}

/// Takes connections.
pub trait Accept: Send {
    /// The next connection and the address it comes from (`ip:port`). The future may be dropped at any await without
    /// losing a connection. After an error it may be called again.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxedIo, String)>>;
}

/// A connection that says nothing for so long is asked whether its other end is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
/// How long to wait for each answer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// After so many unanswered questions the connection is closed: 15 s + 3 × 5 s, below the idle limits of the usual
/// address translators (30 s to minutes).
const KEEPALIVE_PROBES: u32 = 3;

/// Dials over TCP; names are resolved at every call.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpDial;

impl Dial for TcpDial {
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxedIo>> {
        Box::pin(async move {
            let failed = |e: io::Error| io::Error::new(e.kind(), format!("cannot connect to {address}: {e}"));
            let stream = TcpStream::connect(address).await.map_err(failed)?;
            tune(&stream)?;
            Ok(Box::new(stream) as BoxedIo)
        })
    }
}

/// Accepts over TCP.
#[derive(Debug)]
pub struct TcpAccept {
    listener: TcpListener,
}

impl TcpAccept {
    /// Listens on `address` (`host:port`; port 0 takes a free one).
    ///
    /// # Errors
    /// When the address cannot be taken.
    pub async fn bind(address: &str) -> io::Result<Self> {
        let failed = |e: io::Error| io::Error::new(e.kind(), format!("cannot listen on {address}: {e}"));
        Ok(Self { listener: TcpListener::bind(address).await.map_err(failed)? })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the socket is gone.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl From<TcpListener> for TcpAccept {
    fn from(listener: TcpListener) -> Self {
        Self { listener }
    }
}

impl Accept for TcpAccept {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxedIo, String)>> {
        Box::pin(async move {
            let (stream, address) = self.listener.accept().await?;
            tune(&stream)?;
            Ok((Box::new(stream) as BoxedIo, address.to_string()))
        })
    }
}

/// Small messages leave at once, and a peer that vanished is noticed even when nobody writes.
fn tune(stream: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_is_dialled_by_name_is_accepted() {
        let mut accept = TcpAccept::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("localhost:{}", accept.local_address().expect("an address").port());
        let (dialled, accepted) = tokio::join!(TcpDial.dial(&address), accept.accept());
        let (mut near, (mut far, from)) = (dialled.expect("dialled"), accepted.expect("accepted"));
        assert!(from.starts_with("127.0.0.1:"), "{from}");
        near.write_all(b"hello").await.expect("written");
        let mut got = [0; 5];
        far.read_exact(&mut got).await.expect("read");
        assert_eq!(&got, b"hello");
    }

    #[tokio::test]
    async fn a_refused_connection_names_its_address() {
        let free = TcpAccept::bind("127.0.0.1:0").await.expect("a free port").local_address().expect("an address");
        let e = TcpDial.dial(&free.to_string()).await.err().expect("nobody listens");
        assert!(e.to_string().starts_with(&format!("cannot connect to {free}: ")), "{e}");
    }
}
