//! A fleet under Holdfast: a coordinator in a third place, an agent on every host, one or more apps applied, and a
//! standby that could take over.

use std::{fmt::Write as _, fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};

use super::{
    fleet::{Binaries, Fleet, Told},
    host::Host,
    net::Net,
    process::Output,
    time::wait_until,
};

/// Until a region is committed as promotable: sessions, a round or two, the holder's word.
const READY_WITHIN: Duration = Duration::from_secs(40);
/// A question to the coordinator.
const ASK_WITHIN: Duration = Duration::from_secs(20);

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
}

impl Default for Settings {
    /// interval 1 s, recheck 1 s, 3 failures, lease 3 s: the shortest that is promised.
    fn default() -> Self {
        Self { mode: "automatic", timings: "  preset: fast\n", within: "1s", coordinator: "holdfast-coordinator" }
    }
}

/// A fleet with Holdfast on it.
#[derive(Debug)]
pub struct Guarded {
    /// The hosts, databases and proxies below.
    pub fleet: Fleet,
    /// Holdfast's programs.
    pub binaries: Binaries,
    /// Timings and mode.
    pub settings: Settings,
    coordinator_config: PathBuf,
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
        let mut guarded = Self { fleet, binaries, settings, coordinator_config };
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
        self.start_coordinator_with(&[])
    }

    /// The same with further environment variables.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn start_coordinator_with(&mut self, env: &[(&str, &str)]) -> Result<()> {
        let config = self.coordinator_config.clone();
        let program = self.settings.coordinator;
        self.fleet.start_coordinator(&self.binaries, program, &config, env)?;
        wait_until("the coordinator to lead", READY_WITHIN, || {
            let out = self.holdfast(&["-o", "json", "hosts"]).map_err(|e| e.to_string())?;
            if out.status() == Some(0) { Ok(()) } else { Err(out.stderr) }
        })
    }

    /// Runs `holdfast` beside the coordinator with the first admin's context.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn holdfast(&self, args: &[&str]) -> Result<Output> {
        self.fleet.holdfast(&self.binaries, args, ASK_WITHIN)
    }

    /// Runs `holdfast … -o json` and reads what it prints.
    ///
    /// # Errors
    /// When it fails or prints no JSON.
    pub fn json(&self, args: &[&str]) -> Result<serde_json::Value> {
        let mut all = vec!["-o", "json"];
        all.extend(args);
        let text = self.holdfast(&all)?.well()?;
        serde_json::from_str(&text).with_context(|| format!("holdfast {args:?} printed {text}"))
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
        self.fleet.start_agent(&self.binaries, host, &config)
    }

    /// Starts an agent again, after a kill.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart_agent(&mut self, host: &Host) -> Result<()> {
        let config = self.agent_config(host)?;
        self.fleet.start_agent(&self.binaries, host, &config)
    }

    fn agent_config(&self, host: &Host) -> Result<PathBuf> {
        let name = format!("agent-{}", host.name);
        let (state, run) = (self.fleet.state(&name)?.join("state"), self.fleet.state(&name)?.join("run"));
        fs::create_dir_all(&run)?;
        let docker = self.fleet.state(&name)?.join("docker.sock");
        self.fleet.config(
            &name,
            &format!(
                "state_dir = \"{}\"\nrun_dir = \"{}\"\ndocker_socket = \"{}\"\n",
                state.display(),
                run.display(),
                docker.display()
            ),
        )
    }

    /// The app spec of this fleet.
    #[must_use]
    pub fn spec(&self) -> String {
        let (east, west) = (&self.fleet.east, &self.fleet.west);
        // One path for both regions, with the region's name in it: the hosts share one file system here.
        let placed = |path: PathBuf, region: &str| path.display().to_string().replace(region, "{region}");
        let mut spec = String::from("spec: 1\napp: smellpin\nregions:\n");
        for region in [east, west] {
            let _ = write!(
                spec,
                "  {}:\n    roles:\n      db: [{{host: {}, address: {}}}]\n      proxy: [{{host: {}, address: {}}}]\n",
                region.name, region.db.name, region.db.address, region.web.name, region.web.address
            );
        }
        let _ = write!(
            spec,
            "writers:\n  pg:\n    kind: postgres\n    on: db\n    run_by: {{pg_ctl: {{bin: {}, user: postgres}}}}\n    \
             data_dir: \"{}\"\n    port: {}\n    login: {{socket: \"{}\", user: holdfast, database: postgres}}\n    \
             replication: {{mode: async, user: replicator, slot: \"holdfast_{{region}}\"}}\n",
            east.pg.bin().display(),
            placed(east.pg.data_dir(), &east.name),
            super::postgres::PORT,
            placed(east.pg.socket_dir(), &east.name),
        );
        let socket = placed_socket(&east.proxy.socket(), &east.web.name);
        let _ = write!(
            spec,
            "checks:\n  writes: {{kind: postgres, writer: pg, where: local, expect: accepts_writes, vital: true, timeout: 1s}}\n  \
             follows: {{kind: postgres, writer: pg, where: local, of: standby, expect: streams, timeout: 1s}}\n  \
             db-port: {{kind: tcp, on: db, port: 5432, where: local, from: proxy, timeout: 1s}}\n  \
             proxy: {{kind: tcp, on: proxy, port: 5433, where: local, timeout: 1s}}\n\
             failover:\n  mode: {}\n{}fencing: {{by: agent, within: {}}}\n\
             traffic:\n  proxies:\n    - {{kind: haproxy, on: proxy, socket: \"{socket}\", backends: {{pg_write: pg}}}}\n",
            self.settings.mode, self.settings.timings, self.settings.within
        );
        spec
    }

    /// Writes the spec to a file and applies it.
    ///
    /// # Errors
    /// When it is refused.
    pub fn apply(&mut self) -> Result<()> {
        let text = self.spec();
        let file = self.fleet.state("operator")?.join("smellpin.yaml");
        fs::write(&file, text)?;
        let path = file.to_str().context("a path that is no text")?.to_owned();
        self.holdfast(&["apply", "-f", &path, "-y"])?.well()?;
        Ok(())
    }

    /// Waits until all hosts have a live session.
    ///
    /// # Errors
    /// When they have none in time.
    pub fn wait_hosts(&self, count: usize) -> Result<()> {
        wait_until(&format!("{count} hosts to be there"), READY_WITHIN, || {
            let hosts = self.json(&["hosts"]).map_err(|e| e.to_string())?;
            let live = hosts["hosts"].as_array().map_or(0, |all| all.iter().filter(|h| h["live"] == true).count());
            if live >= count { Ok(()) } else { Err(hosts.to_string()) }
        })
    }

    /// Waits until a region could take over an app, which then has leases that end.
    ///
    /// # Errors
    /// When it could not in time.
    pub fn wait_ready(&self, app: &str, standby: &str) -> Result<()> {
        wait_until(&format!("{standby} to be able to take over {app}"), READY_WITHIN, || {
            let out = self.holdfast(&["-o", "json", "failover", app, "--to", standby, "--dry-run"]);
            let status = self.app_status(app).map_err(|e| e.to_string())?;
            let lease = status["lease"]["state"].as_str().unwrap_or_default();
            let ready = lease == "held" && status["standby_state"] == "streaming" && status["health"] == "ok";
            if ready { Ok(()) } else { Err(format!("{status} {}", out.map(|o| o.stderr).unwrap_or_default())) }
        })
    }

    /// One app's row of `holdfast status`.
    ///
    /// # Errors
    /// When there is none.
    pub fn app_status(&self, app: &str) -> Result<serde_json::Value> {
        let status = self.json(&["status"])?;
        let apps = status["apps"].as_array().cloned().unwrap_or_default();
        apps.into_iter().find(|a| a["app"] == app).with_context(|| format!("no app {app} in {status}"))
    }

    /// Waits until the app's newest operation has ended, and answers it.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn wait_operation_ended(&self, number: u64, within: Duration) -> Result<serde_json::Value> {
        wait_until(&format!("operation {number} to end"), within, || {
            let op = self.json(&["operations", "show", &number.to_string()]).map_err(|e| e.to_string())?;
            let state = op["operation"]["state"].as_str().unwrap_or_default().to_owned();
            if matches!(state.as_str(), "done" | "unwound" | "failed" | "partly") { Ok(op) } else { Err(op.to_string()) }
        })
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

fn placed_socket(path: &std::path::Path, host: &str) -> String {
    path.display().to_string().replace(&format!("haproxy-{host}"), "haproxy-{region}")
}
