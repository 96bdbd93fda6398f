//! Redis on a host.

use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result};

use super::{
    host::Host,
    net::Net,
    process::{Process, Program},
    time::wait_until,
};
use crate::preflight;

/// Redis is up in milliseconds on a quiet machine.
const STARTED_WITHIN: Duration = Duration::from_secs(30);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A Redis that keeps nothing on disk. Dropping it ends it.
#[derive(Debug)]
pub struct Redis {
    host: Host,
    port: u16,
    folder: PathBuf,
    follows: Option<SocketAddr>,
    log: PathBuf,
    process: Option<Process>,
}

impl Redis {
    /// Starts one that leads.
    ///
    /// # Errors
    /// When Redis is missing or does not come up.
    pub fn primary(net: &Net, host: &Host, port: u16) -> Result<Self> {
        Self::new(net, host, port, None)
    }

    /// Starts one that follows another.
    ///
    /// # Errors
    /// When Redis is missing or does not come up.
    pub fn replica(net: &Net, host: &Host, port: u16, of: &Self) -> Result<Self> {
        Self::new(net, host, port, Some(SocketAddr::new(of.host.address, of.port)))
    }

    fn new(net: &Net, host: &Host, port: u16, follows: Option<SocketAddr>) -> Result<Self> {
        let folder = net.folder().join(format!("redis-{}", host.name));
        fs::create_dir_all(&folder)?;
        let log = net.log(&format!("redis-{}", host.name));
        let mut redis = Self { host: host.clone(), port, folder, follows, log, process: None };
        redis.begin()?;
        Ok(redis)
    }

    /// Starts it again after [`Self::kill9`].
    ///
    /// # Errors
    /// When it does not come up.
    pub fn begin(&mut self) -> Result<()> {
        let program = preflight::program("redis-server")?;
        let (port, address) = (self.port.to_string(), self.host.address.to_string());
        let mut run = Program::new(program).on(&self.host).args(["--port", &port, "--bind", &address, "127.0.0.1"]);
        // Nothing is saved; a replica is sent what there is at once.
        run = run.args(["--save", "", "--protected-mode", "no", "--repl-diskless-sync-delay", "0", "--dir"]);
        run = run.arg(&self.folder);
        if let Some(follows) = self.follows {
            run = run.args(["--replicaof", &follows.ip().to_string(), &follows.port().to_string()]);
        }
        self.process = Some(run.start("redis", &self.log)?);
        wait_until("redis to answer", STARTED_WITHIN, || {
            self.process.as_ref().map_or(Ok(()), Process::must_run).map_err(|e| format!("{e:#}"))?;
            self.ask(&["ping"]).map(drop).map_err(|e| format!("{e:#}"))
        })
    }

    /// Asks it something.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn ask(&self, words: &[&str]) -> Result<String> {
        let program = preflight::program("redis-cli")?;
        let (port, address) = (self.port.to_string(), self.host.address.to_string());
        let ask = Program::new(program).on(&self.host).args(["-h", &address, "-p", &port, "-e"]).args(words);
        ask.run(ANSWER_WITHIN)?.well()
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill9(&mut self) -> Result<()> {
        self.process.take().context("redis was killed already")?.kill9().map(drop)
    }

    /// Its process, to stop and to continue.
    ///
    /// # Errors
    /// When it was killed.
    pub fn process(&self) -> Result<&Process> {
        self.process.as_ref().context("redis was killed")
    }
}
