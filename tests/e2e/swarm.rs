//! Many hosts at one coordinator, played over the real protocol and real TLS. How long and how much memory it takes is
//! measured by `make bench`; here is counted.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use holdfast_tests::{
    harness::{Control, clock_shared, fleet::Binaries, wait_asking, wait_until},
    swarm::{HOSTS_OF_AN_APP, REGIONS, Swarm, host_name, spec},
};

const HOSTS: usize = 52;
const WITHIN: Duration = Duration::from_secs(120);

fn live(control: &Control) -> Result<BTreeSet<String>> {
    let hosts = control.json(&["hosts"])?;
    let hosts = hosts["hosts"].as_array().context("hosts")?.clone();
    Ok(hosts.iter().filter(|h| h["live"] == true).filter_map(|h| h["host"].as_str().map(str::to_owned)).collect())
}

#[test]
fn every_host_of_a_swarm_is_live_none_is_lost_and_a_dead_one_is_noticed() -> Result<()> {
    let control = Control::start("swarm", Binaries::find()?)?;
    let tokens = [control.token(REGIONS[0], HOSTS / 2)?, control.token(REGIONS[1], HOSTS / 2)?];
    let swarm = Swarm::begin(&control.address(), &tokens, HOSTS, &clock_shared())?;
    wait_until("every host to be up", WITHIN, || {
        control.process().must_run().map_err(|e| format!("{e:#}"))?;
        let standing = swarm.standing();
        if standing.up == HOSTS { Ok(()) } else { Err(format!("{standing:?}")) }
    })?;
    ensure!(live(&control)?.len() == HOSTS, "{:?}", live(&control)?);

    // Each app finds its four hosts, and the one region whose database takes writes.
    let apps = HOSTS / HOSTS_OF_AN_APP;
    for app in 0..apps {
        let file = control.contexts().with_file_name(format!("app-{app}.yaml"));
        std::fs::write(&file, spec(app))?;
        let apply = control.holdfast().args(["apply", "-y", "-f"]).arg(&file);
        apply.run(WITHIN)?.well()?;
    }
    wait_asking("every app to be well, under a lease, with a standby that follows", WITHIN, || {
        let status = control.json(&["status"]).map_err(|e| format!("{e:#}"))?;
        let rows = status["apps"].as_array().cloned().unwrap_or_default();
        let well = rows.iter().filter(|row| {
            row["health"] == "ok" && row["standby_state"] == "streaming" && row["lease"]["state"] == "held"
        });
        let well = well.count();
        if well == apps { Ok(()) } else { Err(format!("{well} of {}: {status}", rows.len())) }
    })?;

    let dead = host_name(3, REGIONS[1], "web");
    swarm.silence(&dead)?;
    wait_asking("the dead host to be noticed", WITHIN, || {
        let live = live(&control).map_err(|e| format!("{e:#}"))?;
        if live.contains(&dead) { Err(format!("{} are live", live.len())) } else { Ok(()) }
    })?;
    let left = live(&control)?;
    ensure!(left.len() == HOSTS - 1, "others went with it: {left:?}");
    ensure!(swarm.standing().lost == 0, "{:?}", swarm.standing());
    Ok(())
}
