//! Which hosts a step's commands go to.

use holdfast_types::{HostName, RegionName};

use crate::{
    records::{Action, Candidate, Operation},
    state::App,
};

/// The host of each of a step's commands: part 0 goes to the first. None for a step that commands nobody. A result
/// counts only from the host that its part names.
#[must_use]
pub fn hosts_of(op: &Operation, app: &App, step: usize) -> Vec<HostName> {
    let Some(action) = op.steps.get(step).and_then(|s| s.action.as_ref()) else { return Vec::new() };
    let active = || app.holders(app.active());
    match action {
        Action::Fence(_) | Action::Promote(_) | Action::Start(_) => active().into_iter().collect(),
        Action::Cut(cut) => candidates(&cut.candidates),
        Action::Route(route) => route.proxies.iter().filter_map(|p| p.host.parse().ok()).collect(),
        Action::Verify(_) => {
            let holders = active();
            let mut hosts: Vec<HostName> = holders.iter().cloned().collect();
            for host in proxies(app, app.active()) {
                if !hosts.contains(&host) {
                    hosts.push(host);
                }
            }
            hosts
        }
        Action::Reconnect(reconnect) => match op.steps.get(reconnect.cut_step as usize).and_then(|s| s.action.as_ref())
        {
            Some(Action::Cut(cut)) => candidates(&cut.candidates),
            Some(_) | None => Vec::new(),
        },
        Action::Hold(_) | Action::Choose(_) | Action::Generation(_) | Action::EndHold(_) => Vec::new(),
    }
}

fn candidates(candidates: &[Candidate]) -> Vec<HostName> {
    candidates.iter().flat_map(|c| &c.hosts).filter_map(|h| h.parse().ok()).collect()
}

fn proxies(app: &App, region: &RegionName) -> Vec<HostName> {
    let Some(region) = app.spec.region(region) else { return Vec::new() };
    let placed = app.spec.proxies.iter().flat_map(|p| region.roles.get(&p.on).into_iter().flatten());
    placed.map(|place| place.host.clone()).collect()
}
