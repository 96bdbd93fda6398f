//! A TLS endpoint on a host, with a certificate that lives as long as a test wants it to.

use std::{
    fmt, fs,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use anyhow::Result;
use holdfast_shared::clock::Clock as _;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::{
    host::Host,
    net::Net,
    process::{Process, Program},
    time::{clock, wait_until},
};
use crate::preflight;

const STARTED_WITHIN: Duration = Duration::from_secs(30);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const DAY: Duration = Duration::from_secs(86_400);

/// `openssl s_server` with a CA of its own. Dropping it ends it.
pub struct TlsServer {
    host: Host,
    port: u16,
    name: String,
    folder: PathBuf,
    log: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    process: Option<Process>,
}

/// Without the CA's key.
impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsServer").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

impl TlsServer {
    /// One that shows a certificate for `name` that is good for so many days more.
    ///
    /// # Errors
    /// When openssl is missing or does not come up.
    pub fn start(net: &Net, host: &Host, port: u16, name: &str, days: u32) -> Result<Self> {
        let folder = net.folder().join(format!("tls-{}", host.name));
        fs::create_dir_all(&folder)?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test CA");
        let key = KeyPair::generate()?;
        fs::write(folder.join("ca.pem"), params.self_signed(&key)?.pem())?;
        let mut server = Self {
            host: host.clone(),
            port,
            name: name.to_owned(),
            log: net.log(&format!("tls-{}", host.name)),
            folder,
            issuer: Issuer::new(params, key),
            process: None,
        };
        server.show(days)?;
        Ok(server)
    }

    /// The CA that vouches for it.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Starts again, with a certificate that is good for so many days more.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn show(&mut self, days: u32) -> Result<()> {
        self.process = None;
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(clock().wall().unix_millis().unsigned_abs());
        let mut params = CertificateParams::new(vec![self.name.clone()])?;
        params.not_before = (now - DAY).into();
        // Half a day more, so that it is this many whole ones for as long as the test takes.
        params.not_after = (now + DAY * days + DAY / 2).into();
        let key = KeyPair::generate()?;
        fs::write(self.folder.join("cert.pem"), params.signed_by(&key, &self.issuer)?.pem())?;
        fs::write(self.folder.join("key.pem"), key.serialize_pem())?;
        let port = self.port.to_string();
        let openssl = preflight::program("openssl")?;
        // With a page it does not end when it has nothing to read.
        let run = Program::new(&openssl).on(&self.host).args(["s_server", "-quiet", "-www", "-accept", &port, "-cert"]);
        let run = run.arg(self.folder.join("cert.pem")).arg("-key").arg(self.folder.join("key.pem"));
        let process = run.start("tls server", &self.log)?;
        let address = format!("{}:{port}", self.host.address);
        wait_until("the tls server to answer", STARTED_WITHIN, || {
            process.must_run().map_err(|e| format!("{e:#}"))?;
            let ask = Program::new(&openssl).on(&self.host).args(["s_client", "-connect", &address]);
            let said = ask.run(ANSWER_WITHIN).map_err(|e| format!("{e:#}"))?;
            if said.stdout.contains("BEGIN CERTIFICATE") { Ok(()) } else { Err(said.stderr) }
        })?;
        self.process = Some(process);
        Ok(())
    }
}
