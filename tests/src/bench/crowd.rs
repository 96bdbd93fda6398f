//! A coordinator with few and with many hosts: memory for each, how long operators wait, how soon a dead host is seen.

use std::{fs, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use holdfast_proto::v1::{HostsRequest, StatusRequest, fleet_client::FleetClient};
use holdfast_shared::{
    contexts::Contexts,
    net::TcpDial,
    pki::Material,
    tls::{HotTlsClient, channel},
};
use serde::Serialize;
use tokio::runtime::Runtime;
use tonic::transport::Channel;

use super::process::{cpu_a_minute, taken};
use crate::{
    demo::screen::{Screen, Tone},
    harness::{Control, clock_shared, fleet::Binaries, now, wait_asking, wait_until},
    swarm::{HOSTS_OF_AN_APP, REGIONS, Swarm, host_name, spec},
};

/// Longest that all but one in twenty of the operators' calls take, milliseconds.
pub const CALL_MILLISECONDS: f64 = 20.0;
/// A crowd joins at the pace of two cores that sign for both sides.
const UP_WITHIN: Duration = Duration::from_secs(600);
const WELL_WITHIN: Duration = Duration::from_secs(300);
/// Until a coordinator with a crowd behind it is as it stays.
const SETTLES: Duration = Duration::from_secs(20);
const CALLS: u32 = 200;
const BETWEEN_CALLS: Duration = Duration::from_millis(50);
/// Hosts that die, one after the other.
const DEATHS: usize = 5;
const NOTICED_WITHIN: Duration = Duration::from_secs(60);

/// What was measured with so many hosts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Crowd {
    /// How many.
    pub hosts: usize,
    joined_seconds: f64,
    rss_empty_megabytes: f64,
    rss_megabytes: f64,
    cpu_seconds_a_minute: f64,
    status: Calls,
    list: Calls,
    noticed_seconds_median: f64,
    noticed_seconds_most: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Calls {
    median_milliseconds: f64,
    p95_milliseconds: f64,
}

impl Crowd {
    /// Whether operators wait as little as promised.
    #[must_use]
    pub fn good(&self) -> bool {
        [self.status, self.list].iter().all(|calls| calls.p95_milliseconds <= CALL_MILLISECONDS)
    }
}

/// Memory for each further host between two sizes, kilobytes.
#[must_use]
pub fn kilobytes_a_host(few: &Crowd, many: &Crowd) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "thousands of hosts")]
    let more = (many.hosts - few.hosts) as f64;
    (many.rss_megabytes - few.rss_megabytes) * 1e3 / more
}

/// Measures a coordinator with so many hosts.
///
/// # Errors
/// When a host is lost or an app is not well: then no number means anything.
pub fn measure(screen: &mut Screen, hosts: usize) -> Result<Crowd> {
    let control = Control::start("bench-crowd", Binaries::find()?)?;
    let coordinator = control.process().pid();
    let empty = taken(coordinator)?;
    let tokens = [control.token(REGIONS[0], hosts / 2)?, control.token(REGIONS[1], hosts / 2)?];
    let began = now();
    let swarm = Swarm::begin(&control.address(), &tokens, hosts, &clock_shared())?;
    wait_until("every host to be up", UP_WITHIN, || {
        control.process().must_run().map_err(|e| format!("{e:#}"))?;
        let standing = swarm.standing();
        if standing.up == hosts { Ok(()) } else { Err(format!("{standing:?}")) }
    })?;
    let joined_seconds = now().since(began).as_secs_f64();
    screen.line(Tone::Dim, &format!("  {hosts} hosts have joined and hold a session after {joined_seconds:.0} s"));
    for app in 0..hosts / HOSTS_OF_AN_APP {
        let file = control.contexts().with_file_name("app.yaml");
        fs::write(&file, spec(app))?;
        control.holdfast().args(["apply", "-y", "-f"]).arg(&file).run(WELL_WITHIN)?.well()?;
    }
    let operator = Operator::of(&control)?;
    wait_asking("every app to be well", WELL_WITHIN, || operator.all_well(hosts / HOSTS_OF_AN_APP))?;
    thread::sleep(SETTLES);

    let before = (taken(coordinator)?, now());
    let (status, list) = (operator.time(Operator::status)?, operator.time(Operator::live)?);
    let after = taken(coordinator)?;
    let cpu_seconds_a_minute = cpu_a_minute(before.0, after, now().since(before.1));
    let mut noticed = Vec::new();
    for app in 0..DEATHS {
        let dead = host_name(app, REGIONS[app % 2], "web");
        let died = now();
        swarm.silence(&dead)?;
        wait_until(&format!("{dead} to be seen dead"), NOTICED_WITHIN, || match operator.live() {
            Ok(live) if live == hosts - app - 1 => Ok(()),
            Ok(live) => Err(format!("{live} live hosts")),
            Err(e) => Err(format!("{e:#}")),
        })?;
        noticed.push(now().since(died).as_secs_f64());
    }
    ensure!(swarm.standing().lost == 0, "hosts were lost: {:?}", swarm.standing());
    noticed.sort_by(f64::total_cmp);
    let crowd = Crowd {
        hosts,
        joined_seconds,
        rss_empty_megabytes: empty.rss_megabytes,
        rss_megabytes: after.rss_megabytes,
        cpu_seconds_a_minute,
        status,
        list,
        noticed_seconds_median: noticed[DEATHS / 2],
        noticed_seconds_most: noticed[DEATHS - 1],
    };
    Ok(crowd)
}

/// Prints what was measured with few and with many.
pub fn show(screen: &mut Screen, crowds: &[Crowd]) {
    screen.line(Tone::Dim, "         memory, MB     CPU    status, ms     hosts, ms    dead seen, s");
    screen.line(Tone::Dim, "  hosts  empty  full  s/min  median   p95  median   p95  median    most");
    for c in crowds {
        screen.line(
            Tone::Plain,
            &format!(
                "  {:>5} {:>6.1} {:>5.0} {:>6.1} {:>7.1} {:>5.1} {:>7.1} {:>5.1} {:>7.1} {:>7.1}",
                c.hosts,
                c.rss_empty_megabytes,
                c.rss_megabytes,
                c.cpu_seconds_a_minute,
                c.status.median_milliseconds,
                c.status.p95_milliseconds,
                c.list.median_milliseconds,
                c.list.p95_milliseconds,
                c.noticed_seconds_median,
                c.noticed_seconds_most
            ),
        );
    }
    if let [few, .., many] = crowds {
        let each = kilobytes_a_host(few, many);
        screen.line(
            Tone::Plain,
            &format!("  memory for each further host: {each:.0} kB, of two connections and its share of an app"),
        );
    }
    let good = crowds.iter().all(Crowd::good);
    let tone = if good { Tone::Good } else { Tone::Bad };
    screen.line(tone, &format!("operators' calls, p95; promised: {CALL_MILLISECONDS:.0} ms at most with any of them"));
}

/// Asks as an operator's program does: over one connection that stays.
struct Operator {
    runtime: Runtime,
    channel: Channel,
}

impl Operator {
    fn of(control: &Control) -> Result<Self> {
        let contexts = Contexts::load(&control.contexts())?;
        let context = contexts.choose(None)?;
        let material = Material::load_dir(&contexts.identity_folder(context))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let tls = HotTlsClient::new(&material, clock_shared())?;
        let channel = {
            let _inside = runtime.enter();
            channel(&tls, std::sync::Arc::new(TcpDial), &control.address())
        };
        Ok(Self { runtime, channel })
    }

    fn status(&self) -> Result<usize> {
        let reply = self.runtime.block_on(FleetClient::new(self.channel.clone()).status(StatusRequest {}))?;
        Ok(reply.into_inner().apps.len())
    }

    fn live(&self) -> Result<usize> {
        let client = FleetClient::new(self.channel.clone()).max_decoding_message_size(64 << 20);
        let reply = self.runtime.block_on({
            let mut client = client;
            async move { client.hosts(HostsRequest {}).await }
        })?;
        Ok(reply.into_inner().hosts.iter().filter(|host| host.live).count())
    }

    fn all_well(&self, apps: usize) -> Result<(), String> {
        let reply = self.runtime.block_on(FleetClient::new(self.channel.clone()).status(StatusRequest {}));
        let rows = reply.map_err(|e| e.to_string())?.into_inner().apps;
        let well = rows.iter().filter(|row| row.health == "ok" && row.standby_state == "streaming").count();
        if well == apps { Ok(()) } else { Err(format!("{well} of {} are well", rows.len())) }
    }

    fn time(&self, call: fn(&Self) -> Result<usize>) -> Result<Calls> {
        call(self).context("the first call")?;
        let mut took = Vec::new();
        for _ in 0..CALLS {
            let begun = now();
            call(self)?;
            took.push(now().since(begun).as_secs_f64() * 1e3);
            thread::sleep(BETWEEN_CALLS);
        }
        took.sort_by(f64::total_cmp);
        Ok(Calls { median_milliseconds: took[took.len() / 2], p95_milliseconds: took[took.len() * 95 / 100] })
    }
}
