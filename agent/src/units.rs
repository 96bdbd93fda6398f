//! The agent's units: what joining a cluster has systemd start, now and at every boot.

use std::time::Duration;

use anyhow::Context as _;
use holdfast_shared::service;

use crate::exec::child::Run;

/// What runs on a host, in the order in which it is started. Those that are not installed are left out.
const UNITS: [&str; 1] = ["holdfast-agent.service"];
/// Longest that systemd may take for one of them.
const WITHIN: Duration = Duration::from_secs(60);
/// How it is started where joining has not.
const BY_HAND: &str = "  next     start it:  sudo systemctl enable --now holdfast-agent     (or: holdfast-agent run)\n";

/// What is said when the units are left as they are.
#[must_use]
pub fn leave() -> String {
    BY_HAND.to_owned()
}

/// Enables and starts the units, also again: what runs already goes on as who has just joined. Answers with what was
/// done, for people.
///
/// # Errors
/// What systemd said. The host has joined nevertheless.
pub async fn start() -> anyhow::Result<String> {
    if !service::is_booted() {
        return Ok(leave());
    }
    let mut started = Vec::new();
    for unit in UNITS {
        if systemctl(&["cat", unit]).await.is_err() {
            continue;
        }
        for verb in ["enable", "restart"] {
            systemctl(&[verb, unit]).await.with_context(|| {
                format!("this host has joined, but {unit} does not start; see  journalctl -u {unit} -n 20, then  sudo systemctl enable --now {unit}")
            })?;
        }
        started.push(unit);
    }
    if started.is_empty() {
        return Ok(leave());
    }
    Ok(format!(
        "  started  {}, now and at every boot\n  next     on the coordinator:  holdfast hosts\n",
        started.join(", ")
    ))
}

async fn systemctl(args: &[&str]) -> anyhow::Result<()> {
    let run = args.iter().fold(Run::new("systemctl").arg("--quiet"), |run, arg| run.arg(*arg));
    run.within(WITHIN).await?;
    Ok(())
}
