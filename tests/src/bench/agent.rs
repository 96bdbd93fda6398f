//! What an agent takes on a host with twenty checks a second and twenty containers, beside Prometheus' node exporter.

use std::{
    fmt::Write as _,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::process::{Taken, cpu_a_minute, taken};
use crate::{
    demo::screen::{Screen, Tone},
    harness::{Docker, Guarded, Image, Process, Program, Settings, now, operator::APP, wait_until},
    preflight,
};

/// Most resident memory of an agent, megabytes.
pub const AGENT_MEGABYTES: f64 = 15.0;
/// Containers on the host.
const CONTAINERS: u16 = 20;
/// Checks of containers that this host runs a second; two looks at its database come on top.
const CHECKS: u16 = 18;
/// All checks of the host in a second.
const CHECKS_A_SECOND: f64 = 20.0;
/// The first container's port.
const PORT: u16 = 8001;
const PORT_WITHIN: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);
const EXPORTER: &str = "prometheus-node-exporter";

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Footprint {
    minutes: f64,
    agent: Figures,
    node_exporter: Figures,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Figures {
    rss_megabytes: f64,
    rss_most_megabytes: f64,
    cpu_seconds_a_minute: f64,
    /// For one check, or one scrape.
    cpu_milliseconds_each: f64,
}

impl Footprint {
    /// Whether the agent is as light as promised.
    #[must_use]
    pub fn good(&self) -> bool {
        self.agent.rss_megabytes <= AGENT_MEGABYTES
    }
}

/// Measures for so long, and prints.
///
/// # Errors
/// When something of it does not run; then no number means anything.
pub fn measure(screen: &mut Screen, minutes: u32) -> Result<Footprint> {
    screen.line(
        Tone::Strong,
        &format!("an agent with 20 checks a second and {CONTAINERS} containers, for {minutes} min, beside {EXPORTER}"),
    );
    let guarded = Guarded::without_app("bench-agent", Settings { mode: "observe", ..Settings::default() })?;
    let host = guarded.fleet.east.db.clone();
    let socket = guarded.fleet.state(&format!("agent-{}", host.name))?.join("docker.sock");
    let image = Image::shell(&guarded.fleet.net)?;
    let docker = Docker::start(&guarded.fleet.net, &host, &socket, &image)?;
    for port in PORT..PORT + CONTAINERS {
        let name = format!("web-{port}");
        let run =
            ["run", "--detach", "--network", "host", "--name", &name, Image::SHELL, "httpd", "-f", "-h", "/", "-p"];
        docker.run(&[&run[..], &[&port.to_string()]].concat())?;
    }
    guarded.apply_text(APP, &spec(&guarded.spec()))?;
    guarded.wait_ready(APP, "us-west")?;
    let (exporter, at) = exporter(&guarded.fleet.net.log(EXPORTER))?;

    let agent = guarded.fleet.agent(&host)?.pid();
    let (began, end) = (now(), now() + SECOND * 60 * minutes);
    let before = (taken(agent)?, taken(exporter.pid())?);
    let (mut last, mut most, mut scrapes) = (before, (0f64, 0f64), 0u32);
    while now() < end {
        let begun = now();
        scrape(at).context("the node exporter gave no metrics")?;
        scrapes += 1;
        last = (taken(agent)?, taken(exporter.pid())?);
        most = (most.0.max(last.0.rss_megabytes), most.1.max(last.1.rss_megabytes));
        thread::sleep(begun.until(begun + SECOND).saturating_sub(now().since(begun)));
    }
    let between = now().since(began);
    ensure!(guarded.app_status(APP)?["health"] == "ok", "the checks did not go well: {}", guarded.json(&["why", APP])?);
    let figures = |before: Taken, after: Taken, most: f64, each: f64| Figures {
        rss_megabytes: after.rss_megabytes,
        rss_most_megabytes: most,
        cpu_seconds_a_minute: cpu_a_minute(before, after, between),
        cpu_milliseconds_each: (after.cpu_seconds - before.cpu_seconds) * 1e3 / each,
    };
    let footprint = Footprint {
        minutes: between.as_secs_f64() / 60.0,
        agent: figures(before.0, last.0, most.0, between.as_secs_f64() * CHECKS_A_SECOND),
        node_exporter: figures(before.1, last.1, most.1, f64::from(scrapes)),
    };
    show(screen, &footprint);
    Ok(footprint)
}

fn show(screen: &mut Screen, footprint: &Footprint) {
    let Footprint { agent, node_exporter, .. } = footprint;
    screen.line(Tone::Dim, "                        memory    at most   CPU a minute   CPU each");
    let row = |name: &str, f: &Figures, each: &str| {
        format!(
            "  {name:<18} {:>8.1} MB {:>7.1} MB {:>12.2} s {:>7.2} ms for a {each}",
            f.rss_megabytes, f.rss_most_megabytes, f.cpu_seconds_a_minute, f.cpu_milliseconds_each
        )
    };
    screen.line(Tone::Plain, &row("holdfast-agent", agent, "check"));
    screen.line(Tone::Plain, &row("node-exporter", node_exporter, "scrape"));
    screen.line(
        Tone::Plain,
        &format!(
            "  ratio              {:>8.2}            {:>15.2}",
            agent.rss_megabytes / node_exporter.rss_megabytes,
            agent.cpu_seconds_a_minute / node_exporter.cpu_seconds_a_minute
        ),
    );
    let tone = if footprint.good() { Tone::Good } else { Tone::Bad };
    let text = format!("memory of the agent: {:.1} MB; promised: {AGENT_MEGABYTES:.0} MB at most", agent.rss_megabytes);
    screen.line(tone, &text);
}

/// The fleet's spec with checks of the containers beside its database.
fn spec(fleet: &str) -> String {
    let (before, after) = fleet.split_once("checks:\n").unwrap_or((fleet, ""));
    let mut checks = String::from("checks:\n");
    for number in 0..CHECKS {
        let port = PORT + number;
        let _ = match number % 2 {
            0 => writeln!(checks, "  web-{port}: {{kind: tcp, on: db, port: {port}, where: local, timeout: 1s}}"),
            _ => writeln!(
                checks,
                "  web-{port}: {{kind: http, on: db, url: \"http://{{address}}:{port}/\", where: local, \
                 expect: 404, timeout: 1s}}"
            ),
        };
    }
    format!("{before}{checks}{after}")
}

fn exporter(log: &Path) -> Result<(Process, SocketAddr)> {
    let program = preflight::program(EXPORTER)?;
    // Free a moment ago; somebody who takes it in between shows as an exporter that does not start.
    let at = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let exporter = Program::new(program).arg(format!("--web.listen-address={at}")).start(EXPORTER, log)?;
    wait_until("the node exporter", PORT_WITHIN, || {
        exporter.must_run().map_err(|e| format!("{e:#}"))?;
        scrape(at).map_err(|e| format!("{e:#}"))
    })?;
    Ok((exporter, at))
}

fn scrape(at: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&at, SECOND * 5)?;
    stream.set_read_timeout(Some(SECOND * 5))?;
    stream.write_all(format!("GET /metrics HTTP/1.0\r\nHost: {at}\r\n\r\n").as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    ensure!(text.contains("node_load1 "), "no metrics in {} bytes", text.len());
    Ok(())
}
