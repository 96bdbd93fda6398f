//! HAProxy on a host: a configuration as the guide asks for, and its runtime socket.
//!
//! Per writer one backend with one server for each region, named as the region and `disabled`: a proxy that starts sends
//! nothing anywhere until it is told.

use std::{
    fmt::Write as _,
    fs,
    io::{Read, Write as _},
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use super::{
    host::Host,
    net::Net,
    process::{Process, Program},
    time::wait_until,
};
use crate::preflight;

/// Bits of srv_admin_state that keep connections away: maintenance (1, 2, 32) and drain (8, 16). Bit 4 only remembers that
/// the configuration says `disabled` and stays when the server has been opened.
const SHUT: u32 = 0x3b;

const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const STARTED_WITHIN: Duration = Duration::from_secs(20);

/// One writer behind the proxy.
#[derive(Debug, Clone)]
pub struct Backend {
    /// The backend's name in haproxy.cfg and in the app spec.
    pub name: String,
    /// The port that clients connect to.
    pub port: u16,
    /// Region and address of each database.
    pub servers: Vec<(String, SocketAddr)>,
}

impl Backend {
    /// `pg_write` on port 5433, as in the example specs.
    pub fn postgres<'a>(nodes: impl IntoIterator<Item = &'a super::PgNode>) -> Self {
        Self::of("pg_write", 5433, nodes)
    }

    /// A backend of another name on another port.
    pub fn of<'a>(name: &str, port: u16, nodes: impl IntoIterator<Item = &'a super::PgNode>) -> Self {
        let servers = nodes.into_iter().map(|node| (node.region().to_owned(), node.address())).collect();
        Self { name: name.to_owned(), port, servers }
    }
}

/// A running proxy.
#[derive(Debug)]
pub struct HaProxy {
    host: Host,
    folder: PathBuf,
    log: PathBuf,
    process: Option<Process>,
}

impl HaProxy {
    /// Writes the configuration, lets HAProxy check it and starts it. Every server is in maintenance.
    ///
    /// # Errors
    /// When HAProxy is missing, refuses the configuration or does not start.
    pub fn start(net: &Net, host: &Host, backends: &[Backend]) -> Result<Self> {
        let folder = net.folder().join(format!("haproxy-{}", host.name));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("haproxy.cfg"), config(host, &folder.join("admin.sock"), backends)?)?;
        let log = net.log(&format!("haproxy-{}", host.name));
        let mut proxy = Self { host: host.clone(), folder, log, process: None };
        proxy.begin()?;
        Ok(proxy)
    }

    /// Starts it again after [`Self::kill9`], with the same configuration: it has forgotten what it was told.
    ///
    /// # Errors
    /// When it does not start.
    pub fn begin(&mut self) -> Result<()> {
        let program = preflight::program("haproxy")?;
        let file = self.folder.join("haproxy.cfg");
        Program::new(&program).on(&self.host).args(["-c", "-f"]).arg(&file).run(ANSWER_WITHIN)?.well()?;
        // In the foreground: its end is then seen.
        let process =
            Program::new(&program).on(&self.host).args(["-db", "-f"]).arg(&file).start("haproxy", &self.log)?;
        wait_until("haproxy to answer at its socket", STARTED_WITHIN, || {
            process.must_run()?;
            self.command("show version").map(drop)
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// Adds a backend and starts again with it: every server is in maintenance then.
    ///
    /// # Errors
    /// When HAProxy refuses it or does not start.
    pub fn add(&mut self, backend: &Backend) -> Result<()> {
        let mut text = fs::read_to_string(self.folder.join("haproxy.cfg"))?;
        write_backend(&mut text, &self.host, backend)?;
        fs::write(self.folder.join("haproxy.cfg"), text)?;
        self.kill9()?;
        self.begin()
    }

    /// The host it runs on.
    #[must_use]
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// The runtime socket, level admin.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("admin.sock")
    }

    /// Whether it runs.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.ended().is_none())
    }

    /// The process, while it has not been killed.
    ///
    /// # Errors
    /// When it was killed.
    pub fn process(&self) -> Result<&Process> {
        self.process.as_ref().context("haproxy was killed")
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill9(&mut self) -> Result<()> {
        let process = self.process.take().context("haproxy was killed already")?;
        process.kill9().map(drop)
    }

    /// Sends one command to the runtime socket and returns the answer without blank lines around it.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn command(&self, command: &str) -> Result<String> {
        let mut stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        stream.write_all(format!("{command}\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.trim().to_owned())
    }

    /// A command whose success is an empty answer; text is the error.
    fn order(&self, command: &str) -> Result<()> {
        let answer = self.command(command)?;
        ensure!(answer.is_empty(), "haproxy on {} to `{command}`: {answer}", self.host);
        Ok(())
    }

    /// Opens a region's server by hand.
    ///
    /// # Errors
    /// When HAProxy refuses.
    pub fn open(&self, backend: &str, region: &str) -> Result<()> {
        self.order(&format!("set server {backend}/{region} state ready"))
    }

    /// Puts a region's server into maintenance by hand and cuts its sessions.
    ///
    /// # Errors
    /// When HAProxy refuses.
    pub fn shut(&self, backend: &str, region: &str) -> Result<()> {
        self.order(&format!("set server {backend}/{region} state maint"))?;
        self.order(&format!("shutdown sessions server {backend}/{region}"))
    }

    /// The regions whose servers take connections.
    ///
    /// # Errors
    /// When HAProxy does not answer as its manual says.
    pub fn open_regions(&self, backend: &str) -> Result<Vec<String>> {
        let answer = self.command(&format!("show servers state {backend}"))?;
        let mut open = Vec::new();
        // "1", a header that names the columns, one line for each server.
        for line in answer.lines().filter(|l| !l.starts_with('#') && l.contains(' ')) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (Some(name), Some(admin)) = (words.get(3), words.get(6).and_then(|w| w.parse::<u32>().ok())) else {
                bail!("haproxy on {}: cannot read server state line {line:?}", self.host);
            };
            if admin & SHUT == 0 {
                open.push((*name).to_owned());
            }
        }
        Ok(open)
    }
}

fn config(host: &Host, socket: &Path, backends: &[Backend]) -> Result<String> {
    let mut text = format!(
        "global\n    stats socket {} mode 660 level admin\n\n\
         defaults\n    mode tcp\n    timeout connect 1s\n    timeout client 1h\n    timeout server 1h\n    retries 0\n",
        socket.display()
    );
    for backend in backends {
        write_backend(&mut text, host, backend)?;
    }
    Ok(text)
}

fn write_backend(text: &mut String, host: &Host, backend: &Backend) -> Result<()> {
    let name = &backend.name;
    write!(
        text,
        "\nfrontend {name}_in\n    bind {}\n    default_backend {name}\n\nbackend {name}\n",
        // Hosts that are loopback addresses share their ports.
        if host.namespace.is_some() {
            format!(":{}", backend.port)
        } else {
            SocketAddr::new(host.address, backend.port).to_string()
        }
    )?;
    for (region, address) in &backend.servers {
        writeln!(text, "    server {region} {address} disabled on-marked-down shutdown-sessions")?;
    }
    Ok(())
}
