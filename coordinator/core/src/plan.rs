//! Planners: pure functions from state and request to a plan. The plan that `--dry-run` prints is the plan that runs:
//! hosts, order, timeouts and undo stand in it. A choice that must wait for facts (which standby is furthest on) is a
//! step that names its rule, and asks [`furthest_on`].

mod choice;
mod forward;
mod parts;

use std::{collections::BTreeSet, time::Duration};

use holdfast_types::{HostName, RegionName, refusal::Reason, time::span};

use crate::{
    change::Refused,
    records::{
        self, Action, Candidate, Cut, EndHold, Fence, Hold, NewGeneration, Operation, Promote, ProxyHost, Reconnect,
        Route, Step, StepState, Verify,
    },
    state::App,
};

pub use choice::{Choice, furthest_on};
pub use forward::way_forward;
pub use parts::hosts_of;

/// A commit takes a round trip to the quorum; ten seconds cover a change of leader.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);
/// Cutting a receiver is an ALTER SYSTEM, a reload and a look; a busy host may take a while.
const CUT_TIMEOUT: Duration = Duration::from_secs(10);
/// A promotion takes 0.2 s, but replay must finish first, and the host needs its lease.
const PROMOTE_TIMEOUT: Duration = Duration::from_secs(60);
/// Starting what was primary may mean crash recovery.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// A proxy's runtime socket answers in milliseconds.
const ROUTE_TIMEOUT: Duration = Duration::from_secs(5);
/// A look through proxy and database, repeated until it is good.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(15);

/// A failover, as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailoverRequest {
    /// The one region to go to; `None` = the best of those that could take over.
    pub to: Option<RegionName>,
    /// Of the promotable regions only these, because of what is seen of the others; `None` = all of them.
    pub able: Option<BTreeSet<RegionName>>,
    /// Why, in the requester's words or the verdict's.
    pub reason: String,
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn step(name: &str, planned: String, timeout: Duration, undo: &str, attempts: u32, action: Action) -> Step {
    Step {
        name: name.to_owned(),
        planned,
        timeout: millis(timeout),
        undo: undo.to_owned(),
        no_return: matches!(action, Action::Generation(_)),
        attempts_max: attempts,
        action: Some(action),
        ..Step::default()
    }
}

fn texts(hosts: &BTreeSet<HostName>) -> Vec<String> {
    hosts.iter().map(|h| h.as_str().to_owned()).collect()
}

fn listed(hosts: &[String]) -> String {
    hosts.join(", ")
}

fn hold_and_fence(app: &App, from: &RegionName) -> Vec<Step> {
    let hosts = texts(&app.holders(from));
    let mut steps = vec![step(
        "hold",
        format!("{from} gets no further lease"),
        COMMIT_TIMEOUT,
        "a further generation, the same region",
        3,
        Action::Hold(Hold {}),
    )];
    if let Some(timings) = app.timings() {
        let wait = timings.over_after();
        steps.push(step(
            "fence",
            format!(
                "stop the writers on {}; without its word, wait until its lease is over for sure: {}",
                listed(&hosts),
                span(wait)
            ),
            // The wait always ends; the rest is room for a slow commit.
            wait + COMMIT_TIMEOUT,
            "",
            3,
            Action::Fence(Fence { hosts, region: from.as_str().to_owned() }),
        ));
    }
    steps
}

fn cut(app: &App, targets: &[&RegionName], from: &RegionName) -> Step {
    let candidates: Vec<Candidate> =
        targets.iter().map(|r| Candidate { region: r.as_str().to_owned(), hosts: texts(&app.holders(r)) }).collect();
    let hosts: Vec<String> = candidates.iter().flat_map(|c| c.hosts.clone()).collect();
    step(
        "cut",
        format!("{} stops receiving from {from}, durably", listed(&hosts)),
        CUT_TIMEOUT,
        "connect again",
        2,
        Action::Cut(Cut { candidates }),
    )
}

/// For this region, or the one that the operation has chosen by then.
fn new_generation(app: &App, region: Option<&RegionName>) -> Step {
    let whom = region.map_or("the candidate", RegionName::as_str);
    step(
        "generation",
        format!("commit {} → {} for {whom}", app.generation(), app.generation().next()),
        COMMIT_TIMEOUT,
        "",
        3,
        Action::Generation(NewGeneration { region: region.map_or("", RegionName::as_str).to_owned() }),
    )
}

fn promote(whom: &str) -> Step {
    step(
        "promote",
        format!("{whom} takes a lease of the new generation and promotes under it"),
        PROMOTE_TIMEOUT,
        "",
        3,
        Action::Promote(Promote {}),
    )
}

/// Routing, verification and the record: what follows every change of the active region, and every return to it.
fn open_up(app: &App) -> Vec<Step> {
    let mut proxies: Vec<ProxyHost> = Vec::new();
    for region in &app.spec.regions {
        for proxy in &app.spec.proxies {
            for place in region.roles.get(&proxy.on).into_iter().flatten() {
                let host = place.host.as_str().to_owned();
                if !proxies.iter().any(|p| p.host == host) {
                    proxies.push(ProxyHost { host, region: region.name.as_str().to_owned() });
                }
            }
        }
    }
    let mut steps = Vec::new();
    let mut looks = "writes are committed there";
    if !proxies.is_empty() {
        looks = "writes are committed there, and the region's proxies are open";
        let names: Vec<String> = proxies.iter().map(|p| p.host.clone()).collect();
        steps.push(step(
            "route",
            format!("open the active region on {}, close the others and cut their connections", listed(&names)),
            ROUTE_TIMEOUT,
            "",
            5,
            Action::Route(Route { proxies }),
        ));
    }
    steps.push(step("verify", looks.to_owned(), VERIFY_TIMEOUT, "", 3, Action::Verify(Verify {})));
    steps
}

/// Plans what is left of a failover that ended past its point of no return, without its active region serving: the
/// generation is that region's already, so nothing is held, fenced or waited for.
fn finish(app: &App, request: &FailoverRequest) -> Operation {
    let active = app.active().as_str();
    let mut steps = vec![promote(active)];
    steps.extend(open_up(app));
    Operation {
        app: app.spec.app.as_str().to_owned(),
        kind: "failover".to_owned(),
        from_region: active.to_owned(),
        to_region: active.to_owned(),
        reason: request.reason.clone(),
        steps,
        ..Operation::default()
    }
}

/// Plans an unplanned failover.
///
/// # Errors
/// When the app has no failover section, the target is no standby region of it, is active already, or is not known as
/// able to take over.
pub fn failover(app: &App, request: &FailoverRequest) -> Result<Operation, Refused> {
    let name = &app.spec.app;
    let refuse = |reason, what: String| Refused { reason, what };
    if app.spec.failover.is_none() {
        return Err(refuse(
            Reason::NoFailover,
            format!("app {name} has no failover section: it has no leases and never moves"),
        ));
    }
    let from = app.active().clone();
    let seen_able = |region: &&RegionName| request.able.as_ref().is_none_or(|able| able.contains(*region));
    let ready: Vec<&RegionName> = app.promotable().filter(seen_able).collect();
    let targets: Vec<&RegionName> = match &request.to {
        // Assigned there, and nobody has seen it serve yet: an earlier operation ended before it was done.
        Some(to) if *to == from && !app.record.routed => return Ok(finish(app, request)),
        Some(to) if *to == from => {
            return Err(refuse(Reason::AlreadyActive, format!("app {name} is active in {to} already")));
        }
        Some(to) => {
            let Some(region) = app.spec.region(to) else {
                let declared: Vec<&str> = app.spec.regions.iter().map(|r| r.name.as_str()).collect();
                return Err(refuse(
                    Reason::UnknownRegion,
                    format!("app {name} declares no region {to}; it declares {}", declared.join(", ")),
                ));
            };
            if !ready.contains(&&region.name) {
                return Err(refuse(
                    Reason::NotPromotable,
                    format!("{to} cannot take over app {name}: its database is not known to follow {from}"),
                ));
            }
            vec![&region.name]
        }
        None if ready.is_empty() => {
            return Err(refuse(
                Reason::NotPromotable,
                format!("no region can take over app {name}: no database is known to follow {from}"),
            ));
        }
        None => ready,
    };
    let mut steps = hold_and_fence(app, &from);
    let cut_step = u32::try_from(steps.len()).unwrap_or(u32::MAX);
    steps.push(cut(app, &targets, &from));
    steps.push(step(
        "candidate",
        "the one furthest on by timeline and received position".to_owned(),
        COMMIT_TIMEOUT,
        "",
        1,
        Action::Choose(records::Choose { cut_step }),
    ));
    steps.push(new_generation(app, None));
    steps.push(promote("the candidate"));
    steps.extend(open_up(app));
    Ok(Operation {
        app: name.as_str().to_owned(),
        kind: "failover".to_owned(),
        from_region: from.as_str().to_owned(),
        to_region: if targets.len() == 1 { targets[0].as_str().to_owned() } else { String::new() },
        reason: request.reason.clone(),
        steps,
        ..Operation::default()
    })
}

/// What takes back everything that an operation short of its point of no return has begun, the newest first.
#[must_use]
pub fn unwind(op: &Operation, app: &App) -> Vec<Step> {
    let mut undo = Vec::new();
    for (index, done) in op.steps.iter().enumerate().rev() {
        // What has begun may have happened: it is taken back too.
        if matches!(done.at(), StepState::Planned | StepState::Skipped) {
            continue;
        }
        match &done.action {
            Some(Action::Cut(cut)) => {
                let hosts: Vec<String> = cut.candidates.iter().flat_map(|c| c.hosts.clone()).collect();
                undo.push(step(
                    "reconnect",
                    format!("{} receives again", listed(&hosts)),
                    CUT_TIMEOUT,
                    "",
                    3,
                    Action::Reconnect(Reconnect { cut_step: u32::try_from(index).unwrap_or(u32::MAX) }),
                ));
            }
            Some(Action::Hold(_)) => {
                undo.push(step(
                    "release",
                    format!("{} goes on as generation {}", app.active(), app.generation().next()),
                    COMMIT_TIMEOUT,
                    "",
                    // The only undo that must succeed: without it nobody would ever be granted a lease again.
                    u32::MAX,
                    Action::EndHold(EndHold {}),
                ));
            }
            Some(
                Action::Fence(_)
                | Action::Choose(_)
                | Action::Generation(_)
                | Action::Promote(_)
                | Action::Route(_)
                | Action::Verify(_)
                | Action::Reconnect(_)
                | Action::EndHold(_)
                | Action::Start(_),
            )
            | None => {}
        }
    }
    undo
}
