//! A coordinator by itself, at a loopback address, and its operator; hosts come from elsewhere.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use holdfast_shared::token::JoinToken;
use serde_json::Value;

use super::{
    fleet::{Binaries, COORDINATOR_PORT},
    host::Host,
    net::Net,
    process::{Process, Program},
    time::wait_asking,
};

const COMMAND_WITHIN: Duration = Duration::from_secs(30);
const LEADS_WITHIN: Duration = Duration::from_secs(60);

/// A coordinator that runs. Dropping it ends and removes all of it.
#[derive(Debug)]
pub struct Control {
    // Fields are dropped in this order.
    process: Process,
    binaries: Binaries,
    host: Host,
    home: PathBuf,
    net: Net,
}

impl Control {
    /// Makes a cluster and starts its coordinator.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(label: &str, binaries: Binaries) -> Result<Self> {
        Self::start_with(label, binaries, &[])
    }

    /// The same with something in the coordinator's environment.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_with(label: &str, binaries: Binaries, environment: &[(&str, &str)]) -> Result<Self> {
        let mut net = Net::loopback(label)?;
        let host = net.host("c1")?;
        let (home, state) = (net.folder().join("operator"), net.folder().join("coordinator"));
        for folder in [&home, &state] {
            fs::create_dir_all(folder)?;
        }
        let config = state.join("coordinator.toml");
        let address = std::net::SocketAddr::new(host.address, COORDINATOR_PORT);
        let init = binaries.coordinator_init(&host, "demo", address, &state.join("state"), &config);
        init.env("HOME", &home).run(COMMAND_WITHIN)?.well()?;
        let mut run = binaries.program("holdfast-coordinator", &host).args(["run", "--config"]).arg(&config);
        for (name, value) in environment {
            run = run.env(name, value);
        }
        let process = run.start("coordinator", &net.log("coordinator"))?;
        let control = Self { process, binaries, host, home, net };
        wait_asking("the coordinator to lead", LEADS_WITHIN, || {
            control.process.must_run().map_err(|e| format!("{e:#}"))?;
            control.json(&["hosts"]).map(drop).map_err(|e| format!("{e:#}"))
        })?;
        Ok(control)
    }

    /// Where it is reached.
    #[must_use]
    pub fn address(&self) -> String {
        std::net::SocketAddr::new(self.host.address, COORDINATOR_PORT).to_string()
    }

    /// The coordinator's process.
    #[must_use]
    pub const fn process(&self) -> &Process {
        &self.process
    }

    /// The net that it lives on, where more hosts may be put.
    pub const fn net(&mut self) -> &mut Net {
        &mut self.net
    }

    /// Holdfast's programs.
    #[must_use]
    pub const fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// The admin's contexts.
    #[must_use]
    pub fn contexts(&self) -> PathBuf {
        self.home.join(".config/holdfast/contexts.toml")
    }

    /// `holdfast` as its admin, ready for arguments.
    #[must_use]
    pub fn holdfast(&self) -> Program {
        self.binaries.program("holdfast", &self.host).env("HOME", &self.home)
    }

    /// Runs `holdfast -o json …` and reads what it prints.
    ///
    /// # Errors
    /// When it fails or prints no JSON.
    pub fn json(&self, args: &[&str]) -> Result<Value> {
        let text = self.holdfast().args(["-o", "json"]).args(args).run(COMMAND_WITHIN)?.well()?;
        serde_json::from_str(&text).with_context(|| format!("holdfast {args:?} printed {text}"))
    }

    /// A join token for so many hosts of a region.
    ///
    /// # Errors
    /// When none is given.
    pub fn token(&self, region: &str, uses: usize) -> Result<JoinToken> {
        let made = self.json(&["token", "create", "--region", region, "--uses", &uses.to_string()])?;
        let text = made["token"].as_str().with_context(|| format!("no token in {made}"))?;
        text.parse().context("a token")
    }
}
