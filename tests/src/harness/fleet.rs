//! Two regions with a database and a proxy each, a third place for the coordinator, a client outside, and Holdfast's own
//! programs on them.
//!
//! ```text
//!   us-east: use-db1 (primary) use-web1 (haproxy)     eu-c1: coordinator
//!   us-west: usw-db1 (standby) usw-web1 (haproxy)     client: the write workload
//! ```

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use holdfast_types::BootInstant;

use super::{
    haproxy::{Backend, HaProxy},
    host::Host,
    machine::Machine,
    net::Net,
    postgres::PgNode,
    process::{Output, Process, Program},
};
use crate::workload::{self, Ledger, Writer, WriterPlan};

/// The port of agents, operators and peers.
pub const COORDINATOR_PORT: u16 = 7443;

/// Where the coordinator is watched.
pub const METRICS_PORT: u16 = 7480;

/// The client's writer in the ledger.
pub const OUTSIDE: &str = "outside";

/// The proxies' backend of the app's database.
const PG_WRITE: &str = "pg_write";

/// A short command: init, join, a question to the coordinator.
const COMMAND_WITHIN: Duration = Duration::from_secs(30);

/// Told what has been built: what it is, and a line about it.
pub type Told<'a> = &'a mut dyn FnMut(&str, &str);

/// Holdfast's programs and, in this one place, how they are called.
#[derive(Debug, Clone)]
pub struct Binaries {
    folder: PathBuf,
}

impl Binaries {
    /// The programs beside the running test: the same build.
    ///
    /// # Errors
    /// When one has not been built.
    pub fn find() -> Result<Self> {
        let own = std::env::current_exe()?;
        // A test lies in target/debug/deps, the demo in target/debug.
        let folder = own.ancestors().skip(1).take(2).find(|folder| folder.join("holdfast-agent").is_file());
        let folder = folder.with_context(|| {
            format!("no holdfast-agent beside {}; run `cargo build --workspace --bins` first", own.display())
        })?;
        for name in ["holdfast-coordinator", "holdfast-agent", "holdfast-helper", "holdfast"] {
            ensure!(folder.join(name).is_file(), "{name} is not built; run `cargo build --workspace --bins` first");
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// One of the programs, on a host, without arguments.
    #[must_use]
    pub fn program(&self, name: &str, host: &Host) -> Program {
        Program::new(self.path(name)).on(host)
    }

    /// The folder with the programs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file of one of the programs.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(super) fn coordinator_init(
        &self,
        host: &Host,
        cluster: &str,
        address: SocketAddr,
        state: &Path,
        config: &Path,
    ) -> Program {
        let program = self.program("holdfast-coordinator", host).args(["init", "--cluster", cluster]);
        let watched = SocketAddr::new(address.ip(), METRICS_PORT);
        let address = address.to_string();
        program
            // Beside the other port: where hosts are loopback addresses, they share the usual one.
            .args([
                "--address",
                &address,
                "--listen",
                &address,
                "--metrics-listen",
                &watched.to_string(),
                "--state-dir",
            ])
            .arg(state)
            .arg("--config")
            .arg(config)
    }

    fn coordinator_run(&self, program: &str, host: &Host, config: &Path) -> Program {
        self.program(program, host).args(["run", "--config"]).arg(config)
    }

    fn agent_join(&self, host: &Host, address: SocketAddr, token: &str, config: &Path) -> Program {
        let program = self.program("holdfast-agent", host).args(["join", &address.to_string(), "--token", token]);
        // Namespaces share the machine's host name.
        program.args(["--host", &host.name, "--config"]).arg(config)
    }

    fn agent_run(&self, program: &str, host: &Host, config: &Path) -> Program {
        self.program(program, host).args(["run", "--config"]).arg(config)
    }
}

/// One region of the fleet.
#[derive(Debug)]
pub struct Region {
    /// Its name.
    pub name: String,
    /// The database host.
    pub db: Host,
    /// The proxy host.
    pub web: Host,
    /// The database.
    pub pg: PgNode,
    /// The proxy; every server in maintenance until told.
    pub proxy: HaProxy,
}

impl Region {
    /// Both hosts, for a cut.
    #[must_use]
    pub const fn hosts(&self) -> [&Host; 2] {
        [&self.db, &self.web]
    }
}

/// Everything of a test on one machine. Dropping it ends and removes all of it.
#[derive(Debug)]
pub struct Fleet {
    // Fields are dropped in this order: who acts first, the net last.
    agents: BTreeMap<String, Process>,
    coordinator: Option<Process>,
    /// What leads into the booted machine that a host's agent lives in, by the host.
    machines: BTreeMap<String, Vec<OsString>>,
    /// `us-east`, whose database is the primary at first.
    pub east: Region,
    /// `us-west`, whose database is the standby at first.
    pub west: Region,
    /// Where the coordinator runs, which no cut of a region reaches.
    pub third: Host,
    /// Where the client runs.
    pub client: Host,
    /// Its links and its folder.
    pub net: Net,
}

impl Fleet {
    /// Hosts, databases and proxies, without Holdfast.
    ///
    /// # Errors
    /// When this machine lacks something, with the reason.
    pub fn new(label: &str) -> Result<Self> {
        Self::on(Net::new(label)?, &mut |_, _| {})
    }

    /// The same on a net that has no hosts yet, and tells what it builds.
    ///
    /// # Errors
    /// When this machine lacks something, with the reason.
    pub fn on(mut net: Net, told: Told<'_>) -> Result<Self> {
        let (use_db, use_web) = (net.host("use-db1")?, net.host("use-web1")?);
        let (usw_db, usw_web) = (net.host("usw-db1")?, net.host("usw-web1")?);
        let (third, client) = (net.host("eu-c1")?, net.host("client")?);
        told("hosts", "us-east: use-db1 use-web1 · us-west: usw-db1 usw-web1 · outside both: eu-c1, client");
        let primary = PgNode::primary(&net, &use_db, "us-east")?;
        told("postgresql", &format!("primary on use-db1, PostgreSQL {}", primary.major()));
        let standby = PgNode::standby(&net, &usw_db, "us-west", &primary, "holdfast_us_west")?;
        told("postgresql", "standby on usw-db1, streams asynchronously");
        let backends = [Backend::postgres([&primary, &standby])];
        let (east_proxy, west_proxy) =
            (HaProxy::start(&net, &use_web, &backends)?, HaProxy::start(&net, &usw_web, &backends)?);
        told("haproxy", "on use-web1 and usw-web1, every server in maintenance until told");
        Ok(Self {
            agents: BTreeMap::new(),
            coordinator: None,
            machines: BTreeMap::new(),
            east: Region { name: "us-east".to_owned(), db: use_db, web: use_web, pg: primary, proxy: east_proxy },
            west: Region { name: "us-west".to_owned(), db: usw_db, web: usw_web, pg: standby, proxy: west_proxy },
            third,
            client,
            net,
        })
    }

    /// A region by its name.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn region(&self, name: &str) -> Result<&Region> {
        [&self.east, &self.west].into_iter().find(|r| r.name == name).with_context(|| format!("no region {name}"))
    }

    /// The writer outside and one inside each region, all into one ledger.
    ///
    /// # Errors
    /// When a writer cannot be started.
    pub fn writers(&self) -> Result<(Arc<Ledger>, Vec<Writer>)> {
        self.writers_every(workload::BETWEEN_WRITES)
    }

    /// The same with another pause between acknowledged writes.
    ///
    /// # Errors
    /// When a writer cannot be started.
    pub fn writers_every(&self, pause: Duration) -> Result<(Arc<Ledger>, Vec<Writer>)> {
        let ledger = Ledger::new();
        let proxies = [&self.east.proxy, &self.west.proxy];
        let plans = [
            WriterPlan::outside(OUTSIDE, &self.client, proxies, 5433),
            WriterPlan::inside(&self.east.pg),
            WriterPlan::inside(&self.west.pg),
        ];
        let writers = plans.map(|plan| Writer::start(WriterPlan { pause, ..plan }, &ledger));
        Ok((ledger, writers.into_iter().collect::<Result<_>>()?))
    }

    /// The first proxy that sends writes to another region than this one, and that region.
    #[must_use]
    pub fn opened_elsewhere(&self, than: &str) -> Option<(&str, String)> {
        [&self.east, &self.west].into_iter().find_map(|region| {
            // One that does not answer sends nothing anywhere.
            let open = region.proxy.open_regions(PG_WRITE).ok()?.into_iter().find(|open| open != than)?;
            Some((&*region.web.name, open))
        })
    }

    /// Cuts a region's hosts off from all others. Where hosts are not kept apart, kills everything on them instead.
    ///
    /// # Errors
    /// When the region is unknown or nft refuses.
    pub fn cut_region(&self, name: &str) -> Result<BootInstant> {
        let region = self.region(name)?;
        if self.net.isolates() {
            return self.net.cut_hosts(&region.hosts());
        }
        let before = self.kill_host(&region.db)?;
        self.kill_host(&region.web)?;
        Ok(before)
    }

    /// Every host that Holdfast's programs run on.
    #[must_use]
    pub fn hosts(&self) -> [&Host; 5] {
        [&self.east.db, &self.east.web, &self.west.db, &self.west.web, &self.third]
    }

    /// Kills everything that runs on a host, its database included. Returns the instant just before.
    ///
    /// # Errors
    /// When something is still there after ten seconds.
    pub fn kill_host(&self, host: &Host) -> Result<BootInstant> {
        let before = self.net.kill(host)?;
        // Without namespaces a database is known by its folder alone.
        for region in [&self.east, &self.west].into_iter().filter(|r| r.db == *host) {
            region.pg.kill_all()?;
        }
        Ok(before)
    }

    /// Where the coordinator is reached.
    #[must_use]
    pub const fn coordinator_address(&self) -> SocketAddr {
        SocketAddr::new(self.third.address, COORDINATOR_PORT)
    }

    /// A folder for one program's files, made when missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn state(&self, name: &str) -> Result<PathBuf> {
        let folder = self.net.folder().join("state").join(name);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// Writes a configuration file into the folder of one program.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn config(&self, name: &str, text: &str) -> Result<PathBuf> {
        let file = self.state(name)?.join("config.toml");
        fs::write(&file, text)?;
        Ok(file)
    }

    /// Starts the coordinator, also again after a kill.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_coordinator(&mut self, binaries: &Binaries, program: &str, config: &Path) -> Result<()> {
        let run = binaries.coordinator_run(program, &self.third, config);
        // The old one first: two would fight over the port and the state.
        self.coordinator = None;
        self.coordinator = Some(run.start("coordinator", &self.net.log("coordinator"))?);
        Ok(())
    }

    /// The running coordinator.
    ///
    /// # Errors
    /// When it was not started.
    pub fn coordinator(&self) -> Result<&Process> {
        self.coordinator.as_ref().context("the coordinator was not started")
    }

    /// Enrols a host's agent with a token.
    ///
    /// # Errors
    /// When it is refused.
    pub fn join(&self, binaries: &Binaries, host: &Host, token: &str, config: &Path) -> Result<String> {
        binaries.agent_join(host, self.coordinator_address(), token, config).run(COMMAND_WITHIN)?.well()
    }

    /// Starts a host's agent, also again after a kill.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_agent(&mut self, binaries: &Binaries, program: &str, host: &Host, config: &Path) -> Result<()> {
        self.agents.remove(&host.name);
        let log = self.net.log(&format!("agent-{}", host.name));
        let through = self.machines.get(&host.name).map_or(&[][..], Vec::as_slice);
        let run = binaries.agent_run(program, host, config).through(through);
        self.agents.insert(host.name.clone(), run.start(&host.name, &log)?);
        Ok(())
    }

    /// From now on a host's agent is started in a booted machine. The one that runs is ended.
    ///
    /// # Errors
    /// When it does not end.
    pub fn move_agent(&mut self, host: &Host, machine: &Machine) -> Result<()> {
        self.agent(host)?.terminate(COMMAND_WITHIN)?;
        self.machines.insert(host.name.clone(), machine.of_its_own());
        Ok(())
    }

    /// The same for a machine that was booted anew, and an agent that runs as root or as a user without rights.
    pub fn place_agent(&mut self, host: &Host, machine: &Machine, as_root: bool) {
        let words = if as_root { machine.of_its_own() } else { machine.of_its_own_without_rights() };
        self.machines.insert(host.name.clone(), words);
    }

    /// The running agent of a host.
    ///
    /// # Errors
    /// When it was not started.
    pub fn agent(&self, host: &Host) -> Result<&Process> {
        self.agents.get(&host.name).with_context(|| format!("no agent was started on {host}"))
    }

    /// Runs `holdfast` with these arguments beside the coordinator, with the first admin's context.
    ///
    /// # Errors
    /// When it does not end in time. Its exit status is in the output.
    pub fn holdfast(&self, binaries: &Binaries, args: &[&str], within: Duration) -> Result<Output> {
        self.operator(binaries)?.args(args).run(within)
    }

    /// `holdfast` beside the coordinator, with the first admin's context, ready for arguments.
    ///
    /// # Errors
    /// When the admin's folder cannot be made.
    pub fn operator(&self, binaries: &Binaries) -> Result<Program> {
        match self.machines.get(&self.third.name) {
            // What is installed there, as root who is logged in there would call it.
            Some(through) => Ok(Program::new("holdfast").on(&self.third).through(through).env("HOME", "/root")),
            None => Ok(binaries.program("holdfast", &self.third).env("HOME", self.state("operator")?)),
        }
    }

    /// From now on what is run beside the coordinator is run in its booted machine.
    pub fn enter(&mut self, host: &Host, machine: &Machine) {
        self.machines.insert(host.name.clone(), machine.inside());
    }
}
