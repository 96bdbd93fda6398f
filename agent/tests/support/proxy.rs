//! A real HAProxy with a backend of two servers, and two servers that say their name.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{free_port, wait_for};

/// Servers `us-east` and `us-west` behind one HAProxy, both disabled.
pub struct Proxy {
    dir: TempDir,
    port: u16,
    child: Child,
    _servers: JoinSet<()>,
}

/// Says its name once, then repeats every byte.
async fn serve(listener: TcpListener, name: &'static str) {
    let mut sessions = JoinSet::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        sessions.spawn(async move {
            stream.write_all(name.as_bytes()).await.ok();
            let (mut read, mut write) = stream.split();
            tokio::io::copy(&mut read, &mut write).await.ok();
        });
    }
}

impl Proxy {
    pub async fn start() -> Self {
        let mut servers = JoinSet::new();
        let mut ports = Vec::new();
        for name in ["us-east", "us-west"] {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            ports.push(listener.local_addr().expect("bound").port());
            servers.spawn(serve(listener, name));
        }
        let dir = tempfile::Builder::new().prefix("hf-proxy-").tempdir_in("/tmp").expect("a folder in /tmp");
        let (port, socket) = (free_port(), dir.path().join("admin.sock"));
        let config = format!(
            "global\n  stats socket {} level admin\ndefaults\n  mode tcp\n  timeout connect 2s\n  timeout client 1m\n  timeout server 1m\n\
             frontend pg_write\n  bind 127.0.0.1:{port}\n  default_backend pg_write\n\
             backend pg_write\n  server us-east 127.0.0.1:{} disabled\n  server us-west 127.0.0.1:{} disabled\n",
            socket.display(),
            ports[0],
            ports[1]
        );
        let file = dir.path().join("haproxy.cfg");
        std::fs::write(&file, config).expect("writable");
        let child = Command::new("haproxy").arg("-db").arg("-q").arg("-f").arg(&file).stdin(Stdio::null()).spawn();
        let child = child.expect("haproxy is not installed: apt-get install haproxy");
        let proxy = Self { dir, port, child, _servers: servers };
        wait_for("haproxy's socket", async || tokio::net::UnixStream::connect(&socket).await.is_ok(), |ok| *ok).await;
        proxy
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("admin.sock")
    }

    /// Connects through the proxy; returns the connection and the name of the server behind it, if there is one.
    pub async fn connect(&self) -> Option<(TcpStream, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.expect("haproxy listens");
        let mut name = [0; 7];
        stream.read_exact(&mut name).await.ok()?;
        Some((stream, String::from_utf8_lossy(&name).into_owned()))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
