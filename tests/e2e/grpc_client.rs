//! A client that somebody else wrote: in Python, by gRPC reflection alone, with an operator's certificate.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use holdfast_tests::{
    harness::{
        Guarded, Settings,
        fleet::OUTSIDE,
        operator::APP,
        process::{Output, Program},
        python::Python,
        wait_asking,
    },
    workload::Watched,
};
use serde_json::Value;

const MOVED_WITHIN: Duration = Duration::from_secs(60);
/// It reads descriptors file by file before its first call, on a machine with other things to do.
const CALL_WITHIN: Duration = Duration::from_secs(30);

/// `tests/python/client.py` as one operator would run it.
struct Client {
    python: Python,
    contexts: PathBuf,
}

impl Client {
    /// The client of a person who is let in with this role.
    fn of(guarded: &Guarded, name: &str, role: &str) -> Result<Self> {
        let python = Python::ready()?;
        let added = guarded.json(&["operator", "add", name, "--role", role])?;
        let token = added["token"].as_str().with_context(|| format!("no token in {added}"))?;
        let home = guarded.fleet.state(name)?;
        let address = guarded.fleet.coordinator_address().to_string();
        let add = guarded.binaries.program("holdfast", &guarded.fleet.third).env("HOME", &home);
        add.args(["context", "add", &address, "--token", token]).run(CALL_WITHIN)?.well()?;
        Ok(Self { python, contexts: home.join(".config/holdfast/contexts.toml") })
    }

    fn program(&self, guarded: &Guarded, args: &[&str]) -> Program {
        let script = self.python.script("client.py").arg("--contexts-file").arg(&self.contexts);
        script.args(args).on(&guarded.fleet.third)
    }

    fn run(&self, guarded: &Guarded, args: &[&str]) -> Result<Output> {
        self.program(guarded, args).run(CALL_WITHIN)
    }

    /// The lines of a call that is answered.
    fn lines(&self, guarded: &Guarded, args: &[&str]) -> Result<Vec<Value>> {
        json_lines(&self.run(guarded, args)?.well()?)
    }
}

fn json_lines(text: &str) -> Result<Vec<Value>> {
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

fn only(output: &Output) -> Result<Value> {
    let lines = json_lines(&output.stdout).with_context(|| format!("{output:?}"))?;
    lines.into_iter().next().with_context(|| format!("{output:?}"))
}

#[test]
fn a_client_by_reflection_lists_watches_and_fails_over() -> Result<()> {
    // Nothing moves by itself here: what moves, the client has moved.
    let guarded = Guarded::new("grpc-client", Settings { mode: "observe", ..Settings::default() })?;
    let client = Client::of(&guarded, "ada", "operator")?;

    let calls = client.lines(&guarded, &["services"])?;
    for name in ["holdfast.v1.Fleet/Hosts", "holdfast.v1.Operations/Failover", "grpc.health.v1.Health/Check"] {
        ensure!(calls.iter().any(|call| call["call"] == name), "{name} is not described: {calls:?}");
    }
    let watch = calls.iter().find(|call| call["call"] == "holdfast.v1.Operations/Watch");
    ensure!(watch.is_some_and(|call| call["gives"] == "stream holdfast.v1.OperationEvent"), "{watch:?}");
    ensure!(client.lines(&guarded, &["health"])? == [serde_json::json!({"status": "SERVING"})]);
    let names = |all: &[Value], key: &str| all.iter().filter_map(|one| one[key].as_str().map(str::to_owned)).collect();
    let listed: Vec<String> = names(&client.lines(&guarded, &["hosts"])?, "host");
    let shown: Vec<String> = names(guarded.json(&["hosts"])?["hosts"].as_array().context("hosts")?, "host");
    ensure!(listed == shown && listed.len() == 4, "the client lists {listed:?}, holdfast {shown:?}");
    let apps = client.lines(&guarded, &["apps"])?;
    ensure!(apps.len() == 1 && apps[0]["app"] == APP && apps[0]["active_region"] == "us-east", "{apps:?}");

    let watched = Watched::begin(&guarded.fleet)?;
    // What is refused comes with its reason, by number, and with what to type.
    let early = client.run(&guarded, &["failover", APP, "--to", "us-west"])?;
    let refused = only(&early)?;
    ensure!(early.status() == Some(7) && refused["code"] == "FAILED_PRECONDITION", "{early:?}");
    ensure!(refused["refusal"]["reason"].is_u64() && refused["refusal"]["next"].is_array(), "{refused}");

    guarded.fleet.east.pg.kill_all()?;
    let operation = wait_asking("the failover to be taken", MOVED_WITHIN, || {
        let args = ["failover", APP, "--to", "us-west", "--reason", "a drill in Python"];
        let output = client.run(&guarded, &args).map_err(|e| e.to_string())?;
        let said = only(&output).map_err(|e| e.to_string())?;
        said["operation"].as_str().map(str::to_owned).ok_or_else(|| said.to_string())
    })?;
    let stream = client.program(&guarded, &["watch", &operation]).run(MOVED_WITHIN + CALL_WITHIN)?.well()?;
    let events = json_lines(&stream)?;
    ensure!(events.len() > 3 && events.first().is_some_and(|e| e["state"] == "running"), "{stream}");
    ensure!(events.last().is_some_and(|e| e["state"] == "done"), "{stream}");
    let row = guarded.wait_served_in("us-west", MOVED_WITHIN)?;
    ensure!(row["generation"] == 2, "{row}");
    for writer in [OUTSIDE, "inside-us-west"] {
        watched.ledger.wait_more(writer, 5, MOVED_WITHIN)?;
    }
    watched.end()?;
    let op = guarded.operation(operation.parse()?)?;
    ensure!(op["requested_by"] == "operator ada" && op["reason"] == "a drill in Python", "{op}");
    // Watched again, the whole of it is one event.
    let again = client.lines(&guarded, &["watch", &operation])?;
    ensure!(again.len() == 1 && again[0]["state"] == "done", "{again:?}");
    guarded.every_command_ran_once()?;
    guarded.no_errors_logged()
}

#[test]
fn a_client_sees_what_its_certificate_allows_and_checks_whom_it_talks_to() -> Result<()> {
    let guarded = Guarded::without_app("grpc-client-doors", Settings::default())?;
    let client = Client::of(&guarded, "kim", "viewer")?;
    ensure!(client.lines(&guarded, &["hosts"])?.len() == 4);
    // A stranger is told nothing, not even what could be called.
    for what in ["services", "health", "hosts"] {
        let stranger = client.run(&guarded, &["--no-certificate", what])?;
        let said = only(&stranger)?;
        ensure!(stranger.status() != Some(0) && said["code"] == "PERMISSION_DENIED", "{stranger:?}");
        ensure!(said["details"] == "this call needs a certificate", "{said}");
    }
    let viewer = client.run(&guarded, &["failover", APP, "--to", "us-west"])?;
    ensure!(viewer.status() == Some(7) && only(&viewer)?["code"] == "PERMISSION_DENIED", "{viewer:?}");
    // The name in the certificate is the one that was dialled, or the one that all coordinators have, and no other.
    ensure!(client.lines(&guarded, &["--server-name", "coordinator.holdfast.internal", "hosts"])?.len() == 4);
    let elsewhere = client.run(&guarded, &["--server-name", "c2.example", "hosts"])?;
    ensure!(elsewhere.status() == Some(1) && only(&elsewhere)?["code"] == "UNAVAILABLE", "{elsewhere:?}");
    Ok(())
}
