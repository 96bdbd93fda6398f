//! A fleet under Holdfast: a coordinator in a third place, an agent on every host, one or more apps applied, and a
//! standby that could take over. What its operator asks and sees is in the file beside.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::{
    container::Contained,
    fleet::{Binaries, Fleet, Told},
    host::Host,
    machine::{AGENT, AGENT_ID, Machine},
    net::Net,
    postgres::{Instance, USER},
    process::Output,
    small_disk::SmallDisk,
    unit::Unit,
};

/// Until a region is committed as promotable: sessions, a round or two, the holder's word.
pub(super) const READY_WITHIN: Duration = Duration::from_secs(40);
/// A question to the coordinator.
pub(super) const ASK_WITHIN: Duration = Duration::from_secs(20);

/// Timings and mode of the app.
#[derive(Debug, Clone)]
pub struct Settings {
    /// automatic | assist | observe.
    pub mode: &'static str,
    /// The whole `failover:` section's timings, as YAML lines.
    pub timings: &'static str,
    /// `fencing.within`.
    pub within: &'static str,
    /// The program that runs as coordinator.
    pub coordinator: &'static str,
    /// The program that runs as agent, on every host.
    pub agent: &'static str,
    /// Further databases of the database hosts, which their agents may run as well.
    pub further: &'static [Instance],
    /// The state of the coordinator and of each agent lies on a disk of its own, of so many MiB.
    pub disk: Option<u32>,
}

impl Default for Settings {
    /// interval 1 s, recheck 1 s, 3 failures, lease 3 s: the shortest that is promised.
    fn default() -> Self {
        Self {
            mode: "automatic",
            timings: "  preset: fast\n",
            within: "1s",
            coordinator: "holdfast-coordinator",
            agent: "holdfast-agent",
            further: &[],
            disk: None,
        }
    }
}

/// A fleet with Holdfast on it.
#[derive(Debug)]
pub struct Guarded {
    // Taken away before the folders they are mounted in are removed.
    disks: BTreeMap<String, SmallDisk>,
    /// The hosts, databases and proxies below.
    pub fleet: Fleet,
    /// Holdfast's programs.
    pub binaries: Binaries,
    /// Timings and mode.
    pub settings: Settings,
    coordinator_config: PathBuf,
    /// Hosts whose agent has no rights, and a helper beside it.
    helped: BTreeSet<String>,
}

impl Guarded {
    /// A fleet with one app, `smellpin`, active in us-east, whose standby in us-west could take over.
    ///
    /// # Errors
    /// What did not come up, with what was there instead.
    pub fn new(label: &str, settings: Settings) -> Result<Self> {
        Self::on(Net::new(label)?, settings, &mut |_, _| {})
    }

    /// The same on a net that has no hosts yet, and tells what it builds.
    ///
    /// # Errors
    /// What did not come up, with what was there instead.
    pub fn on(net: Net, settings: Settings, told: Told<'_>) -> Result<Self> {
        let mut guarded = Self::without_app_on(net, settings, told)?;
        guarded.apply()?;
        told("app", "smellpin applied, mode automatic; it was found active in us-east");
        guarded.wait_ready("smellpin", "us-west")?;
        told("standby", "us-west follows and could take over");
        Ok(guarded)
    }

    /// The same with coordinator and agents, and nothing applied.
    ///
    /// # Errors
    /// What did not come up.
    pub fn without_app(label: &str, settings: Settings) -> Result<Self> {
        Self::without_app_on(Net::new(label)?, settings, &mut |_, _| {})
    }

    fn without_app_on(net: Net, settings: Settings, told: Told<'_>) -> Result<Self> {
        let mut guarded = Self::bare_on(net, settings, told)?;
        guarded.init()?;
        guarded.start_coordinator()?;
        told("coordinator", &format!("on eu-c1, at {}", guarded.fleet.coordinator_address()));
        let hosts: Vec<(String, Host)> = [&guarded.fleet.east, &guarded.fleet.west]
            .into_iter()
            .flat_map(|r| r.hosts().map(|h| (r.name.clone(), h.clone())))
            .collect();
        for (region, host) in hosts {
            let token = guarded.token(&region)?;
            guarded.join_and_start(&host, &token)?;
            told("agent", &format!("on {}, joined {region} with a one-time token", host.name));
        }
        guarded.wait_hosts(4)?;
        Ok(guarded)
    }

    /// Hosts, databases and proxies, on which nothing of Holdfast runs yet.
    pub(super) fn bare_on(net: Net, settings: Settings, told: Told<'_>) -> Result<Self> {
        let binaries = Binaries::find()?;
        let fleet = Fleet::on(net, told)?;
        for region in [&fleet.east, &fleet.west] {
            // The spec names the socket once, with the region in its path.
            let folder = fleet.net.folder();
            std::os::unix::fs::symlink(
                folder.join(format!("haproxy-{}", region.web.name)),
                folder.join(format!("haproxy-{}", region.name)),
            )?;
        }
        let state = fleet.state("coordinator")?;
        let coordinator_config = state.join("coordinator.toml");
        let mut disks = BTreeMap::new();
        if let Some(mebibytes) = settings.disk {
            let agents = fleet.hosts().map(|host| (host.name.clone(), format!("agent-{}", host.name)));
            for (host, folder) in agents {
                let folder = if host == fleet.third.name { "coordinator".to_owned() } else { folder };
                disks.insert(host, SmallDisk::mount(&fleet.state(&folder)?.join("state"), mebibytes)?);
            }
        }
        Ok(Self { disks, fleet, binaries, settings, coordinator_config, helped: BTreeSet::new() })
    }

    /// The app spec of this fleet with its databases as units of booted machines.
    pub(super) fn spec_of_unit(&self) -> String {
        let run_by = format!("{{systemd: \"{}\"}}", Unit::name("{region}"));
        self.spec_of(&super::app::AppPlan { run_by, ..self.app_plan() })
    }

    /// What root on a database host declares when its database is a unit of systemd: its `agent.toml`.
    pub(super) fn declared_unit(&self, host: &Host) -> Option<String> {
        let region = [&self.fleet.east, &self.fleet.west].into_iter().find(|r| r.db == *host)?;
        let (unit, data) = (Unit::name(&region.name), region.pg.data_dir());
        Some(format!("[[writers]]\nunit = \"{unit}\"\ndata_dir = \"{}\"\n", data.display()))
    }

    /// The disk that the state of a host's daemon lies on, where the settings ask for one.
    ///
    /// # Errors
    /// When it has none.
    pub fn disk(&self, host: &str) -> Result<&SmallDisk> {
        self.disks.get(host).with_context(|| format!("{host} has no disk of its own"))
    }

    fn init(&mut self) -> Result<()> {
        let address = self.fleet.coordinator_address();
        let state = self.fleet.state("coordinator")?;
        let init = self.binaries.coordinator_init(
            &self.fleet.third,
            "demo",
            address,
            &state.join("state"),
            &self.coordinator_config,
        );
        init.env("HOME", self.fleet.state("operator")?).run(ASK_WITHIN)?.well()?;
        Ok(())
    }

    /// Starts the coordinator, also again after a kill, and waits until it answers.
    ///
    /// # Errors
    /// When it does not.
    pub fn start_coordinator(&mut self) -> Result<()> {
        self.launch_coordinator()?;
        self.wait_leads()
    }

    /// The same without waiting: it may be meant to end before it answers.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch_coordinator(&mut self) -> Result<()> {
        self.fleet.start_coordinator(&self.binaries, self.settings.coordinator, &self.coordinator_config)
    }

    /// Tells `faulty-coordinator` where to end itself: `after-begins STEP` or `before-ended STEP`, each once. One that is
    /// not reached is left in the answer of [`Self::kills_left`].
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn kill_coordinator_at(&self, places: &[&str]) -> Result<()> {
        let file = self.coordinator_config.with_file_name("kills");
        fs::write(&file, places.iter().map(|place| format!("{place}\n")).collect::<String>())?;
        Ok(())
    }

    /// Where `faulty-coordinator` has not ended itself yet.
    #[must_use]
    pub fn kills_left(&self) -> Vec<String> {
        let text = fs::read_to_string(self.coordinator_config.with_file_name("kills")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// A one-time token for a region.
    ///
    /// # Errors
    /// When none is given.
    pub fn token(&self, region: &str) -> Result<String> {
        let made = self.json(&["token", "create", "--region", region])?;
        made["token"].as_str().map(str::to_owned).with_context(|| format!("no token in {made}"))
    }

    /// Enrols a host and starts its agent.
    ///
    /// # Errors
    /// When it is refused or does not start.
    pub fn join_and_start(&mut self, host: &Host, token: &str) -> Result<()> {
        let config = self.agent_config(host)?;
        self.fleet.join(&self.binaries, host, token, &config)?;
        self.fleet.start_agent(&self.binaries, self.settings.agent, host, &config)
    }

    /// Starts an agent, also again after a kill.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_agent(&mut self, host: &Host) -> Result<()> {
        let config = self.agent_config(host)?;
        self.fleet.start_agent(&self.binaries, self.settings.agent, host, &config)
    }

    /// `holdfast-agent` with these arguments on a host, as root there would call it.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn on_host(&self, host: &Host, args: &[&str]) -> Result<Output> {
        let program = self.binaries.program("holdfast-agent", host).arg("--config").arg(self.agent_config(host)?);
        program.args(args).run(ASK_WITHIN)
    }

    /// What a boot of the host does to the agent's files: `/run` is empty.
    ///
    /// # Errors
    /// When it cannot be emptied.
    pub fn forget_run_dir(&self, host: &Host) -> Result<()> {
        let run = self.fleet.state(&format!("agent-{}", host.name))?.join("run");
        fs::remove_dir_all(&run).with_context(|| run.display().to_string())?;
        fs::create_dir_all(&run)?;
        Ok(())
    }

    /// Starts again what was killed, as hosts do when their power is back: agents, proxies, the coordinator and databases
    /// that are standbys. A database that was primary is started by nobody but Holdfast. Answers with a line for each.
    ///
    /// # Errors
    /// When something does not start.
    pub fn revive(&mut self) -> Result<Vec<String>> {
        let mut notes = Vec::new();
        if self.fleet.coordinator().is_ok_and(|c| c.ended().is_some()) {
            self.start_coordinator()?;
            notes.push("the coordinator runs again on eu-c1".to_owned());
        }
        for region in [&mut self.fleet.east, &mut self.fleet.west] {
            if !region.proxy.runs() {
                region.proxy.begin()?;
                notes.push(format!("haproxy runs again on {}, every server in maintenance", region.web.name));
            }
            if region.pg.processes().is_empty() {
                let (pg, host) = (&region.pg, &region.db.name);
                notes.push(if pg.is_standby() {
                    pg.start()?;
                    format!("the standby on {host} runs again")
                } else {
                    format!("the database on {host} was primary: it is not started, only Holdfast may")
                });
            }
        }
        let agents = self.fleet.hosts().map(Clone::clone);
        for host in agents {
            if self.fleet.agent(&host).is_ok_and(|agent| agent.ended().is_some()) {
                self.start_agent(&host)?;
                notes.push(format!("the agent on {} runs again", host.name));
            }
        }
        Ok(notes)
    }

    fn agent_config(&self, host: &Host) -> Result<PathBuf> {
        let name = format!("agent-{}", host.name);
        let (state, run) = (self.fleet.state(&name)?.join("state"), self.fleet.state(&name)?.join("run"));
        fs::create_dir_all(&run)?;
        let docker = self.fleet.state(&name)?.join("docker.sock");
        let scripts = self.fleet.state(&name)?.join("scripts");
        let helped = self.helped.contains(&host.name);
        let helper = if helped { format!("helper = \"{}/helper.sock\"\n", run.display()) } else { String::new() };
        self.fleet.config(
            &name,
            &format!(
                "state_dir = \"{}\"\nrun_dir = \"{}\"\ndocker_socket = \"{}\"\nscripts_dir = \"{}\"\n{helper}{}",
                state.display(),
                run.display(),
                docker.display(),
                scripts.display(),
                self.declared(host)
            ),
        )
    }

    /// From now on the agent of a booted host runs as a user without rights. Its helper is started by systemd, for its
    /// socket, as root.
    ///
    /// # Errors
    /// When its files cannot be given to it, or systemd does not take the units.
    pub fn help(&mut self, host: &Host, machine: &Machine) -> Result<()> {
        self.fleet.agent(host)?.terminate(ASK_WITHIN)?;
        self.helped.insert(host.name.clone());
        // Where the build made its folders for one user, another may not run what lies there.
        fs::set_permissions(self.binaries.folder(), fs::Permissions::from_mode(0o755))?;
        let config = self.agent_config(host)?;
        let folder = config.parent().context("a file in a folder")?;
        for own in ["state", "run"] {
            give(&folder.join(own))?;
        }
        let (helper, socket) = (self.binaries.path("holdfast-helper"), folder.join("run/helper.sock"));
        machine.write_unit(
            "holdfast-helper.socket",
            &format!("[Socket]\nListenStream={}\nSocketUser={AGENT}\nSocketMode=0600\n", socket.display()),
        )?;
        machine.add_unit(
            "holdfast-helper.service",
            &format!(
                "[Unit]\nDescription=Helper\n\n[Service]\nExecStart={} --config {} --state-dir {} serve\n\
                 StandardError=append:{}\n",
                helper.display(),
                config.display(),
                folder.join("helper").display(),
                self.fleet.net.log(&format!("helper-{}", host.name)).display()
            ),
        )?;
        machine.run("systemctl", &["start", "holdfast-helper.socket"])?;
        self.fleet.place_agent(host, machine, false);
        self.start_agent(host)
    }

    /// Makes systemd ask before it starts a declared unit of a booted host, as an agent that runs as root needs it.
    ///
    /// # Errors
    /// When the condition cannot be written.
    pub fn guard_units(&self, host: &Host, machine: &Machine) -> Result<()> {
        let config = self.agent_config(host)?;
        let (helper, config) = (self.binaries.path("holdfast-helper"), config.display().to_string());
        let state = self.fleet.state(&format!("agent-{}", host.name))?.join("helper").display().to_string();
        let helper = helper.to_str().context("a path that is no text")?;
        machine.run(helper, &["--config", &config, "--state-dir", &state, "units"]).map(drop)
    }

    /// What root on a host has declared: its databases, each in every way that a test may have it run.
    fn declared(&self, host: &Host) -> String {
        let Some(region) = [&self.fleet.east, &self.fleet.west].into_iter().find(|r| r.db == *host) else {
            return String::new();
        };
        let pg = &region.pg;
        let pg_ctl = format!("pg_ctl = {{ bin = \"{}\", user = \"{USER}\" }}", pg.bin().display());
        let data = pg.data_dir();
        let further = self.settings.further.iter().map(|instance| (pg_ctl.clone(), pg.data_dir_of(*instance)));
        let ways = [
            (pg_ctl.clone(), data.clone()),
            (format!("unit = \"{}\"", Unit::name(&region.name)), data),
            (format!("container = \"{}\"", Contained::name(&region.name)), PathBuf::from("/data")),
        ];
        let entry =
            |(run_by, data): (String, PathBuf)| format!("\n[[writers]]\n{run_by}\ndata_dir = \"{}\"\n", data.display());
        ways.into_iter().chain(further).map(entry).collect()
    }

    /// The app spec of this fleet.
    #[must_use]
    pub fn spec(&self) -> String {
        self.spec_of(&self.app_plan())
    }

    /// Writes the spec to a file and applies it.
    ///
    /// # Errors
    /// When it is refused.
    pub fn apply(&mut self) -> Result<()> {
        self.apply_text(super::operator::APP, &self.spec())
    }

    /// No program of Holdfast may have logged an error line that this test does not expect.
    ///
    /// # Errors
    /// With the lines.
    pub fn no_errors_logged(&self) -> Result<()> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.fleet.net.logs())? {
            let path = entry?.path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
            if !(name.starts_with("agent") || name.starts_with("coordinator")) {
                continue;
            }
            let text = fs::read_to_string(&path)?;
            found.extend(text.lines().filter(|l| l.contains(" ERROR ")).map(|l| format!("{name}: {l}")));
        }
        ensure!(found.is_empty(), "{}", found.join("\n"));
        Ok(())
    }
}

/// Gives a folder and all in it to the user of an agent without rights.
fn give(path: &Path) -> Result<()> {
    chown(path, Some(AGENT_ID), Some(AGENT_ID)).with_context(|| path.display().to_string())?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path())?;
        }
    }
    Ok(())
}
