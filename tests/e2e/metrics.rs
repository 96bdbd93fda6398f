//! What hosts and apps measure reaches operators, Prometheus and the past; and none of it is in anybody's way.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use holdfast_tests::{
    harness::{
        Docker, Guarded, Image, Process, Program, Settings, docker::IMAGE, fleet::METRICS_PORT, operator::APP,
        wait_asking,
    },
    preflight,
};
use serde_json::Value;

/// An agent looks every ten seconds; these machines are shared.
const SEEN_WITHIN: Duration = Duration::from_secs(90);
/// A page, a question to Prometheus.
const ASK_WITHIN: Duration = Duration::from_secs(20);
/// All rules, each second of some hours.
const RULES_WITHIN: Duration = Duration::from_secs(300);

/// GET, from beside the coordinator.
fn get(guarded: &Guarded, path: &str) -> Result<(u16, String)> {
    let address = guarded.fleet.coordinator_address().ip();
    fetch(guarded, &format!("http://{address}:{METRICS_PORT}{path}"))
}

fn fetch(guarded: &Guarded, url: &str) -> Result<(u16, String)> {
    preflight::program("curl")?;
    let said = Program::new("curl")
        .on(&guarded.fleet.third)
        .args(["--silent", "--show-error", "--globoff", "--max-time", "10", "--write-out", "\n%{http_code}", url])
        .run(ASK_WITHIN)?
        .well()?;
    let (body, status) = said.rsplit_once('\n').context("no status")?;
    Ok((status.parse()?, body.to_owned()))
}

fn page(guarded: &Guarded) -> Result<String> {
    let (status, text) = get(guarded, "/metrics")?;
    ensure!(status == 200, "/metrics answers {status}: {text}");
    Ok(text)
}

/// A series of `holdfast metrics NAME -o json`.
fn series<'a>(reply: &'a Value, measure: &str, of: Option<&str>) -> &'a Value {
    let all = reply["series"].as_array().map_or(&[][..], Vec::as_slice);
    let wanted = |s: &&Value| s["measure"] == measure && of.is_none_or(|of| s["of"] == of);
    all.iter().find(wanted).unwrap_or(&Value::Null)
}

fn docs() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/monitoring")
}

/// Names of ours in a text.
fn names(text: &str) -> BTreeSet<String> {
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    text.split(word).filter(|word| word.starts_with("holdfast_")).map(str::to_owned).collect()
}

#[test]
fn figures_of_hosts_and_apps_reach_operators_and_prometheus() -> Result<()> {
    let mut guarded = Guarded::new("metrics", Settings { mode: "observe", ..Settings::default() })?;
    // A container beside the database, on a host that is watched.
    let fleet = &guarded.fleet;
    let socket = fleet.state(&format!("agent-{}", fleet.west.web.name))?.join("docker.sock");
    let docker = Docker::start(&fleet.net, &fleet.west.web, &socket, &Image::make(&fleet.net)?)?;
    let health = ["--health-cmd", "exit 0", "--health-interval", "1s"];
    let run = ["run", "-d", "--name", "worker", "--network", "none"];
    docker.run(&[&run[..], &health[..], &[IMAGE, "sleep", "100000"]].concat())?;

    // What operators see: a host's figures, and their course.
    let host = wait_asking("use-db1 to tell how busy it is", SEEN_WITHIN, || {
        let reply = guarded.json(&["metrics", "use-db1"]).map_err(|e| format!("{e:#}"))?;
        if series(&reply, "cpu", None)["now"].is_f64() { Ok(reply) } else { Err(reply.to_string()) }
    })?;
    ensure!(host["kind"] == "host" && host["notes"] == serde_json::json!([]), "{host}");
    for (measure, of) in [("memory", None), ("disk", Some("/")), ("load", None), ("agent memory", None)] {
        let course = series(&host, measure, of);
        ensure!(course["now"].is_f64() && course["max"].as_f64() >= course["min"].as_f64(), "{measure}: {host}");
    }
    let cpu = series(&host, "cpu", None)["now"].as_f64().unwrap_or(-1.0);
    ensure!((0.0..=1.0).contains(&cpu), "{cpu}");
    let resident = series(&host, "agent memory", None)["max"].as_f64().unwrap_or(f64::MAX);
    ensure!(resident < 100e6, "an agent takes {resident} bytes");
    let app = wait_asking("smellpin to tell its checks and its lag", SEEN_WITHIN, || {
        let reply = guarded.json(&["metrics", APP, "--since", "10m"]).map_err(|e| format!("{e:#}"))?;
        let told = series(&reply, "lag", Some("usw-db1"))["max"].is_f64()
            && series(&reply, "check took", None)["max"].is_f64()
            && series(&reply, "accept writes", None)["max"] == 1.0;
        if told { Ok(reply) } else { Err(reply.to_string()) }
    })?;
    ensure!(app["kind"] == "app", "{app}");
    wait_asking("the container to be told", SEEN_WITHIN, || {
        let reply = guarded.json(&["metrics", "usw-web1"]).map_err(|e| format!("{e:#}"))?;
        let memory = series(&reply, "container memory", Some("worker"))["now"].as_f64().unwrap_or(0.0);
        if memory > 0.0 { Ok(()) } else { Err(reply.to_string()) }
    })?;
    let hosts = guarded.json(&["hosts"])?;
    let all = hosts["hosts"].as_array().context("hosts")?;
    ensure!(all.len() == 4 && all.iter().all(|h| h["figures"]["memory"].is_f64()), "{hosts}");
    let table = guarded.holdfast(&["metrics", "use-db1"])?.well()?;
    ensure!(table.contains("MEASURE") && table.contains("memory available"), "{table}");

    // A name that is none is refused, with the one that was meant.
    let refused = guarded.holdfast(&["metrics", "use-bd1"])?;
    ensure!(refused.status() == Some(7) && refused.stderr.contains("holdfast metrics use-db1"), "{refused:?}");

    // What machines see: a page that promtool takes, with every name that dashboard and rules use.
    let text = page(&guarded)?;
    preflight::program("promtool")?;
    let file = guarded.fleet.state("coordinator")?.join("page");
    fs::write(&file, &text)?;
    let check = format!("promtool check metrics <{}", file.display());
    let checked = Program::new("sh").args(["-c", &check]).run(ASK_WITHIN)?;
    ensure!(checked.status() == Some(0), "promtool: {}{}", checked.stdout, checked.stderr);
    for expected in [
        "holdfast_host_up{host=\"use-db1\",region=\"us-east\"} 1",
        "holdfast_sessions 4",
        "holdfast_coordinator_leading 1",
        "holdfast_app_active{app=\"smellpin\",region=\"us-east\"} 1",
        "holdfast_history_stopped 0",
        "holdfast_refusals_total{reason=\"unknown-subject\"} 1",
    ] {
        ensure!(text.lines().any(|line| line.starts_with(expected)), "no {expected} in\n{text}");
    }
    let told: BTreeSet<String> = names(&text);
    let mut missing = BTreeSet::new();
    for document in ["grafana-dashboard.json", "alerts.yaml", "alerts-test.yaml"] {
        let used = names(&fs::read_to_string(docs().join(document))?);
        missing.extend(used.into_iter().filter(|name| !told.contains(name)).map(|name| format!("{document}: {name}")));
    }
    // Kernels without it tell none.
    missing.retain(|name| !name.contains("pressure") || Path::new("/proc/pressure/cpu").exists());
    ensure!(missing.is_empty(), "nothing of this name is on the page: {missing:?}\n{text}");
    for (path, said) in [("/healthz", "lives"), ("/readyz", "ready: leads")] {
        let (status, text) = get(&guarded, path)?;
        ensure!(status == 200 && text.starts_with(said), "{path} answers {status}: {text}");
    }

    // A second coordinator cannot have the same port, and says what to do.
    let config = guarded.fleet.state("coordinator")?.join("coordinator.toml");
    let other = fs::read_to_string(&config)?.replace(":7443\"\n", ":7444\"\n");
    let second = guarded.fleet.config("second", &other)?;
    guarded.fleet.coordinator()?.terminate(ASK_WITHIN)?;
    let squatter = Program::new("python3").on(&guarded.fleet.third).args([
        "-m",
        "http.server",
        "--bind",
        &guarded.fleet.coordinator_address().ip().to_string(),
        &METRICS_PORT.to_string(),
    ]);
    let squatter = squatter.start("squatter", &guarded.fleet.net.log("squatter"))?;
    wait_asking("something to listen on the port", SEEN_WITHIN, || get(&guarded, "/").map_err(|e| format!("{e:#}")))?;
    let run =
        guarded.binaries.program("holdfast-coordinator", &guarded.fleet.third).args(["run", "--config"]).arg(&second);
    let refused = run.run(ASK_WITHIN)?;
    let said = format!("{}{}", refused.stdout, refused.stderr);
    ensure!(refused.status() == Some(1) && said.contains("metrics_listen") && said.contains("7480"), "{said}");
    drop(squatter);

    // What was written is there after a restart; a damaged file is set aside, and nothing else is affected.
    guarded.start_coordinator()?;
    let after = wait_asking("the past to be there", SEEN_WITHIN, || {
        let reply = guarded.json(&["metrics", "use-db1"]).map_err(|e| format!("{e:#}"))?;
        let points = series(&reply, "memory", None)["averages"].as_array().cloned().unwrap_or_default();
        if points.iter().any(Value::is_f64) { Ok(reply) } else { Err(reply.to_string()) }
    })?;
    ensure!(after["notes"] == serde_json::json!([]), "{after}");
    guarded.fleet.coordinator()?.kill9()?;
    let history = guarded.fleet.state("coordinator")?.join("state/history.db");
    fs::write(&history, "these are not the bytes that were written here")?;
    guarded.start_coordinator()?;
    wait_asking("the damaged history to be set aside", SEEN_WITHIN, || {
        let log = fs::read_to_string(guarded.fleet.net.log("coordinator")).unwrap_or_default();
        let told =
            log.lines().filter(|line| line.contains(" WARN ") && line.contains("history.db was damaged")).count();
        if told == 1 && history.with_extension("db.damaged").exists() {
            Ok(())
        } else {
            Err(format!("told {told} times"))
        }
    })?;
    guarded.wait_ready(APP, "us-west")?;
    guarded.no_errors_logged()
}

/// Prometheus on the coordinator's host, taking what is pushed.
fn prometheus(guarded: &Guarded) -> Result<Process> {
    let program = preflight::program("prometheus")?;
    let folder = guarded.fleet.state("prometheus")?;
    let config = guarded.fleet.config("prometheus", "global: {scrape_interval: 1m}\n")?;
    let run = Program::new(program)
        .on(&guarded.fleet.third)
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .args(["--web.listen-address=127.0.0.1:9090", "--web.enable-remote-write-receiver"]);
    run.start("prometheus", &guarded.fleet.net.log("prometheus"))
}

fn query(guarded: &Guarded, what: &str) -> Result<Value> {
    let (status, text) = fetch(guarded, &format!("http://127.0.0.1:9090/api/v1/query?query={what}"))?;
    ensure!(status == 200, "Prometheus answers {status}: {text}");
    Ok(serde_json::from_str::<Value>(&text)?["data"]["result"].take())
}

/// The value of a series of the page that has no labels.
fn value(page: &str, name: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or(0.0)
}

#[test]
fn remote_write_reaches_a_real_prometheus_and_goes_on_after_it_was_away() -> Result<()> {
    let mut guarded = Guarded::without_app("metrics-push", Settings::default())?;
    let receiver = prometheus(&guarded)?;
    guarded.fleet.coordinator()?.terminate(ASK_WITHIN)?;
    let config = guarded.fleet.state("coordinator")?.join("coordinator.toml");
    let text = fs::read_to_string(&config)?;
    fs::write(
        &config,
        format!("{text}\n[remote_write]\nurl = \"http://127.0.0.1:9090/api/v1/write\"\nevery = \"1s\"\n"),
    )?;
    guarded.start_coordinator()?;
    let up = |host: &str| format!("holdfast_host_up{{host=\"{host}\"}}");
    let found = wait_asking("Prometheus to have what was pushed", SEEN_WITHIN, || {
        let found = query(&guarded, &up("use-db1")).map_err(|e| format!("{e:#}: {}", receiver.tail()))?;
        if found[0]["value"][1] == "1" { Ok(found) } else { Err(found.to_string()) }
    })?;
    let labels = &found[0]["metric"];
    ensure!(labels["region"] == "us-east" && labels["cluster"] == "demo" && labels["coordinator"] == "c1", "{labels}");

    // It goes away: failures are counted, said once, and nothing else is affected.
    receiver.terminate(ASK_WITHIN)?;
    drop(receiver);
    let failed = wait_asking("failures to be counted", SEEN_WITHIN, || {
        let text = page(&guarded).map_err(|e| format!("{e:#}"))?;
        let failed = value(&text, "holdfast_remote_write_failures_total");
        if failed >= 2.0 { Ok(failed) } else { Err(failed.to_string()) }
    })?;
    ensure!(failed < 1_000.0, "it is asked over and over: {failed}");
    guarded.wait_hosts(4)?;
    let delivered = value(&page(&guarded)?, "holdfast_remote_write_samples_total");
    let receiver = prometheus(&guarded)?;
    wait_asking("what waited to be delivered", SEEN_WITHIN, || {
        let now = page(&guarded).map_err(|e| format!("{e:#}"))?;
        let now = value(&now, "holdfast_remote_write_samples_total");
        if now > delivered { Ok(()) } else { Err(format!("{now}: {}", receiver.tail())) }
    })?;
    let log = fs::read_to_string(guarded.fleet.net.log("coordinator"))?;
    let told = log.lines().filter(|line| line.contains("remote write fails")).count();
    ensure!(told == 1, "said {told} times");
    guarded.no_errors_logged()
}

#[test]
fn every_alert_is_set_off_by_what_it_is_for_and_quiet_before() -> Result<()> {
    let promtool = preflight::program("promtool")?;
    for args in [["check", "rules", "alerts.yaml"], ["test", "rules", "alerts-test.yaml"]] {
        let said = Program::new(&promtool).directory(docs()).args(args).run(RULES_WITHIN)?;
        ensure!(said.status() == Some(0), "{args:?}: {}{}", said.stdout, said.stderr);
    }
    // Each rule has a test: one that was never seen to fire proves nothing.
    let (rules, tests) =
        (fs::read_to_string(docs().join("alerts.yaml"))?, fs::read_to_string(docs().join("alerts-test.yaml"))?);
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    ensure!(alerts.len() > 20, "{alerts:?}");
    for alert in &alerts {
        let fires = tests
            .split("- eval_time:")
            .skip(1)
            .any(|part| part.contains(&format!("alertname: {alert}\n")) && part.contains("exp_labels"));
        ensure!(fires, "no test sets off {alert}");
    }
    let guide = fs::read_to_string(docs().join("../guide/metrics.md"))?;
    let untold: Vec<_> = alerts.iter().filter(|alert| !guide.contains(&format!("`{alert}`"))).collect();
    ensure!(untold.is_empty(), "docs/guide/metrics.md does not tell {untold:?}");
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(docs().join("grafana-dashboard.json"))?)?;
    ensure!(dashboard["panels"].as_array().is_some_and(|panels| panels.len() > 20), "no panels");
    Ok(())
}
