//! What the fleet's operator asks, and waits to see, by the `holdfast` command alone.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{
    guarded::{ASK_WITHIN, Guarded, READY_WITHIN},
    process::Output,
    time::wait_asking,
};

/// So often again.
const ASK_AGAIN: u32 = 3;

/// The app of every fleet.
pub const APP: &str = "smellpin";

impl Guarded {
    /// Runs `holdfast` beside the coordinator with the first admin's context. Where it could not reach the coordinator in
    /// time, on a machine that has more to do than it can, it is run again.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn holdfast(&self, args: &[&str]) -> Result<Output> {
        let mut output = self.fleet.holdfast(&self.binaries, args, ASK_WITHIN)?;
        for _ in 0..ASK_AGAIN {
            let late = output.stderr.contains("can be reached") && output.stderr.contains("no answer from");
            if output.status() != Some(1) || !late {
                break;
            }
            output = self.fleet.holdfast(&self.binaries, args, ASK_WITHIN)?;
        }
        Ok(output)
    }

    /// Runs `holdfast -o json …` and reads what it prints.
    ///
    /// # Errors
    /// When it fails or prints no JSON.
    pub fn json(&self, args: &[&str]) -> Result<Value> {
        let mut all = vec!["-o", "json"];
        all.extend(args);
        let text = self.holdfast(&all)?.well()?;
        serde_json::from_str(&text).with_context(|| format!("holdfast {args:?} printed {text}"))
    }

    /// Waits until the coordinator answers as leader.
    ///
    /// # Errors
    /// When it does not.
    pub fn wait_leads(&self) -> Result<()> {
        wait_asking("the coordinator to lead", READY_WITHIN, || {
            self.fleet.coordinator().and_then(|c| c.must_run()).map_err(|e| e.to_string())?;
            self.json(&["hosts"]).map(drop).map_err(|e| e.to_string())
        })
    }

    /// Waits until so many hosts have a live session.
    ///
    /// # Errors
    /// When they have none in time.
    pub fn wait_hosts(&self, count: usize) -> Result<()> {
        wait_asking(&format!("{count} hosts to be there"), READY_WITHIN, || {
            let hosts = self.json(&["hosts"]).map_err(|e| e.to_string())?;
            let live = hosts["hosts"].as_array().map_or(0, |all| all.iter().filter(|h| h["live"] == true).count());
            if live >= count { Ok(()) } else { Err(hosts.to_string()) }
        })
    }

    /// Waits until an app is well and `standby` could take over, as the gate says; its lease has an end then.
    ///
    /// # Errors
    /// When it could not in time.
    pub fn wait_ready(&self, app: &str, standby: &str) -> Result<()> {
        wait_asking(&format!("{standby} to be able to take over {app}"), READY_WITHIN, || {
            let why = self.json(&["why", app]).map_err(|e| e.to_string())?;
            let row = &why["app"];
            let candidate = gate_line(&why, "candidate");
            let ready = row["lease"]["state"] == "held"
                && row["standby_region"] == standby
                && row["standby_state"] == "streaming"
                && row["health"] == "ok"
                && candidate["holds"] == true;
            if ready { Ok(()) } else { Err(format!("{row}, candidate: {}", candidate["text"])) }
        })
    }

    /// One app's row of `holdfast status`.
    ///
    /// # Errors
    /// When there is none.
    pub fn app_status(&self, app: &str) -> Result<Value> {
        let status = self.json(&["status"])?;
        let apps = status["apps"].as_array().cloned().unwrap_or_default();
        apps.into_iter().find(|a| a["app"] == app).with_context(|| format!("no app {app} in {status}"))
    }

    /// Waits until the app's row of `holdfast status` is as wanted, and answers it.
    ///
    /// # Errors
    /// When it never is.
    pub fn wait_app(&self, what: &str, within: Duration, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        wait_asking(what, within, || {
            let row = self.app_status(APP).map_err(|e| e.to_string())?;
            if wanted(&row) { Ok(row) } else { Err(row.to_string()) }
        })
    }

    /// Waits until the app is served in a region, and nothing is being done to it.
    ///
    /// # Errors
    /// When it is not in time.
    pub fn wait_served_in(&self, region: &str, within: Duration) -> Result<Value> {
        self.wait_app(&format!("{APP} to be served in {region}"), within, |row| {
            row["active_region"] == region
                && row["health"] == "ok"
                && row["lease"]["hold"] == false
                && row["running_operation"].is_null()
        })
    }

    /// One operation with all its steps.
    ///
    /// # Errors
    /// When there is none of this number.
    pub fn operation(&self, number: u64) -> Result<Value> {
        Ok(self.json(&["operations", "show", &number.to_string()])?["operation"].take())
    }

    /// The numbers of all operations, the newest first.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn operations(&self) -> Result<Vec<u64>> {
        let list = self.json(&["operations", "list"])?;
        let all = list["operations"].as_array().cloned().unwrap_or_default();
        Ok(all.iter().filter_map(|op| op["number"].as_u64()).collect())
    }

    /// Waits until some operation has begun, and answers its number.
    ///
    /// # Errors
    /// When none begins in time.
    pub fn wait_operation_begun(&self, within: Duration) -> Result<u64> {
        wait_asking("an operation to begin", within, || {
            let numbers = self.operations().map_err(|e| e.to_string())?;
            numbers
                .first()
                .copied()
                .ok_or_else(|| self.json(&["why", APP]).map_or_else(|e| e.to_string(), |w| w.to_string()))
        })
    }

    /// Waits until a step of an operation is in one of these states, and answers the operation.
    ///
    /// # Errors
    /// When it is not in time.
    pub fn wait_step(&self, number: u64, step: &str, states: &[&str], within: Duration) -> Result<Value> {
        wait_asking(&format!("step {step} of operation {number} to be {}", states.join(" or ")), within, || {
            let op = self.operation(number).map_err(|e| e.to_string())?;
            let found = step_of(&op, step)["state"].as_str().is_some_and(|state| states.contains(&state));
            if found { Ok(op) } else { Err(op.to_string()) }
        })
    }

    /// Waits until an operation has ended, and answers it.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn wait_operation_ended(&self, number: u64, within: Duration) -> Result<Value> {
        wait_asking(&format!("operation {number} to end"), within, || {
            let op = self.operation(number).map_err(|e| e.to_string())?;
            let state = op["state"].as_str().unwrap_or_default();
            if matches!(state, "done" | "unwound" | "failed" | "partly") { Ok(op) } else { Err(op.to_string()) }
        })
    }

    /// What became of the commands that a host's agent has begun, as it logged: its name and how often it was begun.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn commands_begun(&self, host: &super::Host) -> Result<std::collections::BTreeMap<String, u32>> {
        let text = fs::read_to_string(self.fleet.net.log(&format!("agent-{}", host.name)))?;
        let mut begun = std::collections::BTreeMap::new();
        for line in text.lines().filter(|line| line.contains(" begins ") && line.contains("what=")) {
            if let Some(command) = line.split_whitespace().find_map(|word| word.strip_prefix("command=")) {
                *begun.entry(command.to_owned()).or_default() += 1;
            }
        }
        Ok(begun)
    }

    /// No agent has begun a command twice.
    ///
    /// # Errors
    /// With those that one has, or when none has begun any.
    pub fn every_command_ran_once(&self) -> Result<()> {
        let mut all = 0;
        for host in self.fleet.hosts().into_iter().filter(|host| **host != self.fleet.third) {
            let begun = self.commands_begun(host)?;
            all += begun.len();
            let twice: Vec<_> = begun.iter().filter(|(_, times)| **times > 1).collect();
            ensure!(twice.is_empty(), "{host} began commands twice: {twice:?}");
        }
        ensure!(all > 0, "no agent has logged a command: is the line still as it is looked for?");
        Ok(())
    }
}

/// One condition of the gate in `holdfast why -o json`.
#[must_use]
pub fn gate_line<'a>(why: &'a Value, condition: &str) -> &'a Value {
    let lines = why["gate"].as_array().map_or(&[][..], Vec::as_slice);
    lines.iter().find(|line| line["condition"] == condition).unwrap_or(&Value::Null)
}

/// The last step of that name of an operation: a way forward has some again.
#[must_use]
pub fn step_of<'a>(operation: &'a Value, step: &str) -> &'a Value {
    let steps = operation["steps"].as_array().map_or(&[][..], Vec::as_slice);
    steps.iter().rfind(|s| s["step"] == step).unwrap_or(&Value::Null)
}
