//! What is installed on a host beside the programs: units that systemd takes without a word and that give away little,
//! and example configurations that can be used.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use holdfast_tests::{
    harness::{Output, Program, fleet::Binaries},
    preflight,
};

/// It looks at files.
const WITHIN: Duration = Duration::from_secs(60);
/// It copies programs, and builds the one that is missing where a test is run by itself.
const MADE_WITHIN: Duration = Duration::from_secs(600);
/// Each unit and the most that `systemd-analyze security` may hold against it, in tenths. The coordinator's is promised.
/// The agent runs as root and starts databases, which inherit what is set for it; its unit says what that leaves.
const EXPOSURE_MAX: [(&str, &str); 2] = [("holdfast-coordinator.service", "30"), ("holdfast-agent.service", "75")];

fn systemd() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../systemd"))
}

fn analyze(args: &[&str]) -> Result<Output> {
    preflight::program("systemd-analyze").context("tests/preflight.sh --with-docker installs it")?;
    Program::new("systemd-analyze").args(args).run(WITHIN)
}

/// The units in a folder, with the programs of this build.
fn units() -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    let programs = format!("{}/", Binaries::find()?.folder().display());
    for entry in fs::read_dir(systemd())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        if path.is_file() && path.extension().is_some_and(|kind| kind == "service" || kind == "socket") {
            fs::write(folder.path().join(name), fs::read_to_string(&path)?.replace("/usr/bin/", &programs))?;
        }
    }
    Ok(folder)
}

#[test]
fn systemd_takes_every_unit_without_a_word() -> Result<()> {
    let folder = units()?;
    let mut verify = vec!["verify".to_owned(), "--man=no".to_owned(), "--recursive-errors=yes".to_owned()];
    for entry in fs::read_dir(folder.path())? {
        verify.push(entry?.path().display().to_string());
    }
    let verify: Vec<_> = verify.iter().map(String::as_str).collect();
    let found = analyze(&verify)?;
    // What it says of the machine's own units is not ours.
    let ours: Vec<_> = found.stderr.lines().filter(|line| line.contains("holdfast")).collect();
    ensure!(found.ended.well() && ours.is_empty(), "{}", found.stderr);
    Ok(())
}

#[test]
fn every_unit_gives_away_no_more_than_it_must() -> Result<()> {
    let folder = units()?;
    let mut named: Vec<_> = fs::read_dir(folder.path())?.flatten().map(|e| e.file_name()).collect();
    named.retain(|name| Path::new(name).extension().is_some_and(|kind| kind == "service"));
    ensure!(named.len() == EXPOSURE_MAX.len(), "{named:?}: each has a limit of its own");
    for (unit, most) in EXPOSURE_MAX {
        let path = folder.path().join(unit).display().to_string();
        let found = analyze(&["security", "--no-pager", "--offline=true", &format!("--threshold={most}"), &path])?;
        ensure!(found.ended.well(), "{unit}: more than {most} tenths: {}", found.stdout);
    }
    Ok(())
}

/// An example as it is, and with every line that is commented out put in.
fn both(name: &str) -> Result<[String; 2]> {
    let text = fs::read_to_string(systemd().join(name))?;
    let is_key = |line: &str| line.starts_with(|c: char| c.is_ascii_lowercase() || c == '[');
    let all = text.lines().map(|line| line.strip_prefix('#').filter(|rest| is_key(rest)).unwrap_or(line));
    let all: String = all.map(|line| format!("{line}\n")).collect();
    ensure!(all != text, "{name}: nothing is commented out");
    Ok([text, all])
}

#[test]
fn every_example_configuration_loads_as_it_is_and_with_every_key() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("config.toml");
    for text in both("agent.toml")? {
        holdfast_agent::config::Config::parse(Path::new("agent.toml"), &text)?;
    }
    for text in both("coordinator.toml")? {
        fs::write(&file, text)?;
        holdfast_coordinator::config::Config::load(&file)?;
    }
    Ok(())
}

fn files_in(folder: &Path) -> Result<BTreeSet<String>> {
    let found = Program::new("find").arg(folder).args(["-type", "f", "-printf", "%P\n"]).run(WITHIN)?.well()?;
    Ok(found.lines().map(str::to_owned).collect())
}

#[test]
fn what_make_install_brings_make_uninstall_takes_away() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let make = |target: &str| {
        let program = Program::new("make").args(["--no-print-directory", "-C"]).arg(systemd().join(".."));
        let into = format!("DESTDIR={}", folder.path().display());
        program.args([target, "PROFILE=dev", "PREFIX=/opt/holdfast", &into]).run(MADE_WITHIN)?.well()
    };
    make("install")?;
    let there = files_in(folder.path())?;
    for file in [
        "bin/holdfast",
        "bin/holdfast-agent",
        "bin/holdfast-helper",
        "bin/holdfast-coordinator",
        "lib/systemd/system/holdfast-agent.service",
        "lib/systemd/system/holdfast-coordinator.service",
        "lib/sysusers.d/holdfast-coordinator.conf",
        "lib/tmpfiles.d/holdfast-agent.conf",
        "share/man/man1/holdfast-failover.1",
        "share/man/man8/holdfast-agent-join.8",
        "share/bash-completion/completions/holdfast",
        "share/zsh/site-functions/_holdfast",
        "share/fish/vendor_completions.d/holdfast.fish",
        "share/doc/holdfast/examples/agent.toml",
    ] {
        ensure!(there.contains(&format!("opt/holdfast/{file}")), "no {file} in {there:?}");
    }
    let unit = folder.path().join("opt/holdfast/lib/systemd/system/holdfast-agent.service");
    let unit = fs::read_to_string(unit)?;
    ensure!(unit.contains("\nExecStart=/opt/holdfast/bin/holdfast-agent run\n"), "{unit}");
    ensure!(unit.contains("\nExecStartPre=-/opt/holdfast/bin/holdfast-helper units\n"), "{unit}");
    make("uninstall")?;
    let left = files_in(folder.path())?;
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}
