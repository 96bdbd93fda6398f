//! The demo itself: what `make demo` promises to whoever runs it for the first time.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use holdfast_tests::{
    demo::{control::PLACE, screen::COLUMNS},
    harness::{Output, Process, Program, wait_until},
};
use serde_json::Value;

/// What is promised: under three minutes after the build.
const ENDS_WITHIN: Duration = Duration::from_secs(180);
const SOON: Duration = Duration::from_secs(90);

fn demo() -> Program {
    Program::new(env!("CARGO_BIN_EXE_demo"))
}

/// The last line is one object, with numbers that hold; nothing of the demo is left.
fn must_hold(output: &Output) -> Result<()> {
    let said = format!("{}{}", output.stdout, output.stderr);
    ensure!(output.status() == Some(0), "{said}");
    let last = output.stdout.lines().last().context("it said nothing")?;
    let line: Value = serde_json::from_str(last).with_context(|| format!("last line: {last}"))?;
    let failover = &line["failover"];
    ensure!(failover["overlapping_generations"] == 0, "{said}");
    let (rto, detect) = (failover["rto_seconds"].as_f64(), failover["detect_seconds"].as_f64());
    ensure!(rto > Some(0.0) && detect > Some(0.0) && rto > detect, "{said}");
    ensure!(failover["lost_acked_writes"].is_u64(), "{said}");
    let for_people = output.stdout.lines().filter(|line| *line != last);
    let long: Vec<&str> = for_people.filter(|line| line.chars().count() > COLUMNS).collect();
    ensure!(long.is_empty(), "longer than {COLUMNS} columns: {long:?}");
    ensure!(!output.stdout.contains('\x1b'), "escape sequences without a terminal: {said}");
    let folder =
        output.stdout.lines().find_map(|line| line.strip_prefix("building, in ")).context("no folder named")?;
    nothing_left(Path::new(folder))
}

fn nothing_left(folder: &Path) -> Result<()> {
    wait_until("everything to be removed", SOON, || {
        let mut left = Vec::new();
        if folder.exists() {
            left.push(folder.display().to_string());
        }
        // /var/tmp/holdfast-12-1 has the namespaces hf12-1-…
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default().replace("holdfast-", "hf");
        let spaces = fs::read_dir("/run/netns").into_iter().flatten().flatten();
        left.extend(
            spaces.filter_map(|e| e.file_name().into_string().ok()).filter(|n| n.starts_with(&format!("{name}-"))),
        );
        if left.is_empty() { Ok(()) } else { Err(left.join(" ")) }
    })
}

#[test]
fn the_demo_ends_with_its_numbers_and_leaves_nothing() -> Result<()> {
    must_hold(&demo().run(ENDS_WITHIN)?)
}

#[test]
fn where_namespaces_are_not_allowed_processes_are_killed_and_it_says_what_is_not_shown() -> Result<()> {
    // Root without the capability, as in most containers.
    let confined = Program::new("setpriv").args(["--bounding-set=-sys_admin", "--inh-caps=-sys_admin", "--"]);
    let output = confined.arg(env!("CARGO_BIN_EXE_demo")).run(ENDS_WITHIN)?;
    ensure!(output.stdout.contains("isolation is not shown"), "{}", output.stdout);
    must_hold(&output)
}

fn tell(place: &Path, words: &[&str]) -> Result<Output> {
    demo().env(PLACE, place).args(words).run(SOON)
}

fn log_of(process: &Process) -> String {
    fs::read_to_string(process.log()).unwrap_or_default()
}

#[test]
fn a_demo_that_stays_is_cut_and_looked_at_and_ended_by_hand() -> Result<()> {
    let place = std::path::PathBuf::from(format!("/run/holdfast-test-{}", std::process::id()));
    let none = tell(&place, &["status"])?;
    ensure!(none.status() == Some(1) && none.stderr.contains("make demo KEEP=1"), "{none:?}");

    let logs = tempfile::tempdir()?;
    let kept = demo().env(PLACE, &place).arg("--keep").start("kept", &logs.path().join("kept"))?;
    wait_until("the demo to run", SOON, || {
        kept.must_run().map_err(|error| format!("{error:#}"))?;
        if log_of(&kept).contains("ways to break it") { Ok(()) } else { Err(log_of(&kept)) }
    })?;
    let second = demo().env(PLACE, &place).arg("--keep").run(SOON)?;
    ensure!(second.status() == Some(1) && second.stderr.contains("runs already"), "{second:?}");
    // By its own path, from anywhere.
    let own = |name: &str| Program::new(place.join("bin").join(name)).directory("/tmp");
    let status = own("holdfast").args(["-o", "json", "status"]).run(SOON)?.well()?;
    ensure!(serde_json::from_str::<Value>(&status)?["apps"][0]["active_region"] == "us-east", "{status}");
    ensure!(tell(&place, &["cut", "mars"])?.stderr.contains("us-east and us-west"));

    tell(&place, &["cut", "us-east"])?.well()?;
    wait_until("the failover to be judged", SOON, || {
        if log_of(&kept).contains("{\"failover\"") { Ok(()) } else { Err(log_of(&kept)) }
    })?;
    ensure!(!log_of(&kept).contains('✘'), "{}", log_of(&kept));
    let status = own("demo").arg("status").run(SOON)?.well()?;
    ensure!(status.contains("workload") && status.contains("smellpin"), "{status}");
    tell(&place, &["kill", "eu-c1"])?.well()?;
    let healed = tell(&place, &["heal"])?.well()?;
    ensure!(healed.contains("the coordinator runs again"), "{healed}");

    let folder = log_of(&kept).lines().find_map(|line| line.strip_prefix("building, in ").map(str::to_owned));
    tell(&place, &["down"])?.well()?;
    ensure!(kept.wait(SOON)?.well(), "{}", log_of(&kept));
    ensure!(!place.exists(), "{} is left", place.display());
    nothing_left(Path::new(&folder.context("no folder named")?))
}
