//! The kinds of checks on real components: Redis with a replica, a TLS endpoint, a container, scripts of the host's own
//! folder. `holdfast why` shows each with its evidence, and what each means for the verdict.

use std::{fmt::Write as _, fs, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use holdfast_tests::harness::{
    Docker, Guarded, Image, Redis, Settings, TlsServer, docker::IMAGE, operator::APP, wait_asking, wait_until,
};
use serde_json::Value;

/// Far above what is promised: these machines are shared.
const SEEN_WITHIN: Duration = Duration::from_secs(60);

/// An operator decides here, and decides nothing: what fails on purpose must move nothing.
const SETTINGS: &str =
    "  interval: 3s\n  recheck: 1s\n  failures: 3\n  successes: 1\n  lease: {duration: 8s, renew: 1s}\n";

const REDIS_PORT: u16 = 6390;
const TLS_PORT: u16 = 8443;
/// A process that is no other's, to be looked for in /proc.
const LONG_SLEEP: &str = "86311";

/// The fleet with everything that is looked at. Dropped in this order, the net last.
struct Watched {
    cache: Redis,
    _follower: Redis,
    tls: TlsServer,
    docker: Docker,
    guarded: Guarded,
}

impl Watched {
    fn new(label: &str) -> Result<Self> {
        let settings = Settings { mode: "assist", timings: SETTINGS, within: "2s", ..Settings::default() };
        let guarded = Guarded::without_app(label, settings)?;
        let fleet = &guarded.fleet;
        let (east, west) = (&fleet.east, &fleet.west);
        let cache = Redis::primary(&fleet.net, &east.web, REDIS_PORT)?;
        let follower = Redis::replica(&fleet.net, &west.web, REDIS_PORT, &cache)?;
        let tls = TlsServer::start(&fleet.net, &east.web, TLS_PORT, "shop.example", 60)?;
        let image = Image::make(&fleet.net)?;
        let socket = fleet.state(&format!("agent-{}", east.web.name))?.join("docker.sock");
        let docker = Docker::start(&fleet.net, &east.web, &socket, &image)?;
        // The image has no files of its own that it needs: the health check is a shell's own word.
        let health = ["--health-cmd", "test -e /healthy", "--health-interval", "1s", "--health-retries", "1"];
        let mut run = vec!["run", "--detach", "--name", "worker-us-east", "--network", "none"];
        run.extend(health);
        run.extend([IMAGE, "sh", "-c", ": >/healthy; exec sleep 1000000"]);
        docker.run(&run)?;
        let watched = Self { cache, _follower: follower, tls, docker, guarded };
        watched.script("echo '41 % used'")?;
        watched.guarded.apply_text(APP, &watched.spec())?;
        Ok(watched)
    }

    fn spec(&self) -> String {
        let mut checks = "checks:\n".to_owned();
        for check in [
            format!(
                "cache: {{kind: redis, on: proxy, port: {REDIS_PORT}, expect: accepts_writes, where: local, vital: true}}"
            ),
            format!(
                "follower: {{kind: redis, on: proxy, port: {REDIS_PORT}, expect: replica, of: standby, where: local}}"
            ),
            format!(
                "certificate: {{kind: tls, on: proxy, port: {TLS_PORT}, server_name: shop.example, ca: {}, where: local}}",
                self.tls.ca().display()
            ),
            "worker: {kind: container, on: proxy, containers: [\"worker-{region}\"], where: local}".to_owned(),
            "disk: {kind: exec, on: proxy, script: disk-headroom, where: local}".to_owned(),
        ] {
            let _ = writeln!(checks, "  {check}");
        }
        self.guarded.spec_of(&self.guarded.app_plan()).replace("checks:\n", &checks)
    }

    /// The folder of scripts of the active region's proxy host.
    fn scripts(&self) -> Result<PathBuf> {
        let host = &self.guarded.fleet.east.web.name;
        Ok(self.guarded.fleet.state(&format!("agent-{host}"))?.join("scripts"))
    }

    /// Changes the rights of the script there.
    fn mode(&self, mode: u32) -> Result<()> {
        Ok(fs::set_permissions(self.scripts()?.join("disk-headroom"), fs::Permissions::from_mode(mode))?)
    }

    /// Puts the script there, as root would.
    fn script(&self, text: &str) -> Result<()> {
        let folder = self.scripts()?;
        fs::create_dir_all(&folder)?;
        // Whole at every moment: it may be run in between.
        let new = folder.join("new");
        fs::write(&new, format!("#!/bin/sh\n{text}\n"))?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
        fs::rename(new, folder.join("disk-headroom"))?;
        Ok(())
    }

    fn why(&self) -> Result<Value, String> {
        self.guarded.json(&["why", APP]).map_err(|e| format!("{e:#}"))
    }

    /// Waits until a check of a region says so, and returns its row.
    fn wait_says(&self, region: &str, check: &str, outcome: &str, text: &str) -> Result<Value> {
        wait_asking(&format!("{check} of {region} to be {outcome} with {text:?}"), SEEN_WITHIN, || {
            let why = self.why()?;
            let rows = region_of(&why, region)["signals"].as_array().cloned().unwrap_or_default();
            let row = rows.into_iter().find(|row| row["check"] == check).unwrap_or_default();
            let said = row["text"].as_str().unwrap_or_default();
            if row["outcome"] == outcome && said.contains(text) { Ok(row) } else { Err(row.to_string()) }
        })
    }

    fn wait_verdict(&self, verdict: &str) -> Result<Value> {
        wait_asking(&format!("us-east to be {verdict}"), SEEN_WITHIN, || {
            let why = self.why()?;
            let east = region_of(&why, "us-east");
            if east["verdict"] == verdict { Ok(east.clone()) } else { Err(east.to_string()) }
        })
    }
}

fn region_of<'a>(why: &'a Value, region: &str) -> &'a Value {
    let regions = why["regions"].as_array().map_or(&[][..], Vec::as_slice);
    regions.iter().find(|row| row["region"] == region).unwrap_or(&Value::Null)
}

/// Processes of this machine whose command line holds this word.
fn processes_with(word: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).filter(|line| line.contains(word)).collect()
}

#[test]
fn every_kind_of_check_is_shown_with_its_evidence_and_means_what_the_guide_says() -> Result<()> {
    let mut watched = Watched::new("checks")?;
    // All is well.
    watched.wait_says("us-east", "cache", "ok", "took a marker, primary at offset")?;
    watched.wait_says("us-west", "follower", "ok", "replica of")?;
    watched.wait_says("us-east", "certificate", "ok", "expires in 60 d, on ")?;
    watched.wait_says("us-east", "worker", "ok", "worker-us-east: healthy")?;
    watched.wait_says("us-east", "disk", "ok", "41 % used")?;
    watched.wait_verdict("ok")?;
    let ttl: i64 = watched.cache.ask(&["ttl", "holdfast.check"])?.trim().parse().context("a number of seconds")?;
    ensure!((1..=60).contains(&ttl), "the marker stays for {ttl} s");

    // A certificate warns, and moves nothing.
    watched.tls.show(5)?;
    watched.wait_says("us-east", "certificate", "failing", "expires in 5 d")?;
    let east = watched.wait_verdict("degraded")?;
    ensure!(east["reasons"].to_string().contains("days_min is 14"), "{east}");
    ensure!(east["failing"] == 0 && east["unhealthy"] == false, "{east}");
    watched.tls.show(60)?;
    watched.wait_verdict("ok")?;

    // A script that hangs, with a daemon in another session.
    watched
        .script(&format!("setsid sleep {LONG_SLEEP} </dev/null >/dev/null 2>&1 &\ntrap '' TERM\nsleep {LONG_SLEEP}"))?;
    watched.wait_says("us-east", "disk", "failing", "had not ended after 3 s")?;
    // Its own agents say that it does not work, and the WAL that arrives in us-west says that it serves writes.
    let east = watched.wait_verdict("degraded")?;
    ensure!(east["reasons"].to_string().contains("received WAL of us-east"), "{east}");
    watched.script("echo '97 % used'; exit 3")?;
    watched.wait_says("us-east", "disk", "failing", "exits with 3: 97 % used")?;
    wait_until("nothing of the script to be left", SEEN_WITHIN, || {
        let left = processes_with(LONG_SLEEP);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })?;
    // One that others could change is not run, which is no observation.
    watched.script("echo '41 % used'")?;
    watched.wait_verdict("ok")?;
    watched.mode(0o775)?;
    watched.wait_says("us-east", "disk", "could not run", "writable by group or others")?;
    watched.wait_verdict("degraded")?;
    watched.mode(0o755)?;
    watched.wait_says("us-east", "disk", "ok", "41 % used")?;
    watched.wait_verdict("ok")?;

    // A vital check that fails makes the region fail, for as long as it does and nothing proves the contrary.
    watched.guarded.fleet.west.pg.stop()?;
    ensure!(watched.cache.process()?.stop(), "redis cannot be stopped");
    let row = watched.wait_says("us-east", "cache", "failing", "no answer within 3 s")?;
    ensure!(row["vital"] == true, "{row}");
    watched.wait_verdict("failing")?;
    ensure!(watched.cache.process()?.cont(), "redis cannot be continued");
    watched.wait_says("us-east", "cache", "ok", "took a marker")?;
    watched.cache.kill9()?;
    watched.wait_says("us-east", "cache", "failing", "refused")?;
    watched.wait_says("us-west", "follower", "failing", "its link is down")?;
    watched.cache.begin()?;
    watched.wait_says("us-west", "follower", "ok", "replica of")?;
    watched.wait_verdict("ok")?;

    // A container that is paused fails; a Docker that cannot be asked says nothing of it.
    watched.docker.run(&["pause", "worker-us-east"])?;
    watched.wait_says("us-east", "worker", "failing", "worker-us-east: paused")?;
    watched.wait_verdict("failing")?;
    watched.docker.run(&["unpause", "worker-us-east"])?;
    watched.wait_verdict("ok")?;
    watched.docker.kill9()?;
    watched.wait_says("us-east", "worker", "could not run", "docker cannot be asked")?;
    watched.wait_verdict("degraded")?;

    // Nothing has moved.
    let row = watched.guarded.app_status(APP)?;
    ensure!(row["active_region"] == "us-east" && row["generation"] == 1, "{row}");
    watched.guarded.no_errors_logged()
}
