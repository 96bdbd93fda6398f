//! Planners: pure functions from state and request to a plan. The plan that `--dry-run` prints is the plan that runs:
//! hosts, order, timeouts and undo stand in it. A choice that must wait for facts (which standby is furthest on) is a
//! step that names its rule, and asks [`furthest_on`].

use std::{collections::BTreeSet, time::Duration};

use holdfast_types::{HostName, Lsn, RegionName, refusal::Reason, time::span};

use crate::{
    change::Refused,
    records::{
        self, Action, Candidate, CommandOutcome, Cut, EndHold, Fence, Hold, NewGeneration, Operation, Promote,
        ProxyHost, Reconnect, Route, Start, Step, StepState, Verify,
    },
    state::App,
};

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
    if !proxies.is_empty() {
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
    steps.push(step(
        "verify",
        "writes are committed there, and the region's proxies are open".to_owned(),
        VERIFY_TIMEOUT,
        "",
        3,
        Action::Verify(Verify {}),
    ));
    steps
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
    let ready: Vec<&RegionName> = app.promotable().collect();
    let targets: Vec<&RegionName> = match &request.to {
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
    let candidates: Vec<Candidate> =
        targets.iter().map(|r| Candidate { region: r.as_str().to_owned(), hosts: texts(&app.holders(r)) }).collect();
    let hosts: Vec<String> = candidates.iter().flat_map(|c| c.hosts.clone()).collect();
    let mut steps = hold_and_fence(app, &from);
    let cut_step = u32::try_from(steps.len()).unwrap_or(u32::MAX);
    steps.push(step(
        "cut",
        format!("{} stops receiving from {from}, durably", listed(&hosts)),
        CUT_TIMEOUT,
        "connect again",
        2,
        Action::Cut(Cut { candidates }),
    ));
    steps.push(step(
        "candidate",
        "the one furthest on by timeline and received position".to_owned(),
        COMMIT_TIMEOUT,
        "",
        1,
        Action::Choose(records::Choose { cut_step }),
    ));
    steps.push(step(
        "generation",
        format!("commit {} → {} for the candidate", app.generation(), app.generation().next()),
        COMMIT_TIMEOUT,
        "",
        3,
        Action::Generation(NewGeneration { region: String::new() }),
    ));
    steps.push(step(
        "promote",
        "the candidate takes a lease of the new generation and promotes under it".to_owned(),
        PROMOTE_TIMEOUT,
        "",
        3,
        Action::Promote(Promote {}),
    ));
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

/// Where an operation past its point of no return goes on when its active region's host does not come up: another
/// region whose database this operation has seen, as a further generation, after fence or wait for whoever held the
/// last. `reachable` are the hosts with a live session.
#[must_use]
pub fn way_forward(op: &Operation, app: &App, reachable: &BTreeSet<HostName>) -> Option<(RegionName, Vec<Step>)> {
    let active = app.active();
    let can = |region: &RegionName| {
        let holders = app.holders(region);
        region != active && !holders.is_empty() && holders.iter().all(|h| reachable.contains(h))
    };
    let cut: Vec<RegionName> = op
        .steps
        .iter()
        .filter_map(|s| match &s.action {
            Some(Action::Cut(c)) => Some(c.candidates.iter().filter_map(|c| c.region.parse().ok())),
            Some(_) | None => None,
        })
        .flatten()
        .collect();
    let source: Option<RegionName> = op.from_region.parse().ok();
    let standby = cut.into_iter().find(|r| can(r) && Some(r) != source.as_ref());
    let (region, was_primary) = match (standby, source) {
        (Some(region), _) => (region, false),
        (None, Some(source)) if can(&source) => (source, true),
        (None, _) => return None,
    };
    let mut steps = hold_and_fence(app, active);
    steps.push(step(
        "generation",
        format!("commit {} → {} for {region}", app.generation(), app.generation().next()),
        COMMIT_TIMEOUT,
        "",
        3,
        Action::Generation(NewGeneration { region: region.as_str().to_owned() }),
    ));
    steps.push(if was_primary {
        step(
            "start",
            format!("{region} takes a lease of the new generation and starts what was primary there"),
            START_TIMEOUT,
            "",
            3,
            Action::Start(Start {}),
        )
    } else {
        step(
            "promote",
            format!("{region} takes a lease of the new generation and promotes under it"),
            PROMOTE_TIMEOUT,
            "",
            3,
            Action::Promote(Promote {}),
        )
    });
    steps.extend(open_up(app));
    Some((region, steps))
}

/// What [`furthest_on`] picked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The region.
    pub region: RegionName,
    /// Its timeline and received position.
    pub timeline: u32,
    /// See above.
    pub received: Lsn,
}

/// Picks, of the candidates whose every host has cut its receiver, the one furthest on: by timeline, then received
/// position; the spec's order decides between equals.
///
/// # Errors
/// When none has.
pub fn furthest_on(cut: &Step) -> Result<Choice, String> {
    let Some(Action::Cut(action)) = &cut.action else {
        return Err("the plan compares positions of a step that is no cut".to_owned());
    };
    let mut best: Option<Choice> = None;
    for candidate in &action.candidates {
        // A region with several writers is as far on as the one that is least so.
        let mut least: Option<(u32, Lsn)> = None;
        let mut whole = true;
        for host in &candidate.hosts {
            let position = cut
                .results_now()
                .find(|r| r.host == *host && r.ended() == CommandOutcome::Done)
                .and_then(|r| r.position);
            match position {
                Some(p) => {
                    let here = (p.timeline, Lsn(p.lsn));
                    least = Some(least.map_or(here, |l| l.min(here)));
                }
                None => whole = false,
            }
        }
        let (Some((timeline, received)), true) = (least, whole) else { continue };
        let Ok(region) = candidate.region.parse::<RegionName>() else { continue };
        if best.as_ref().is_none_or(|b| (timeline, received) > (b.timeline, b.received)) {
            best = Some(Choice { region, timeline, received });
        }
    }
    best.ok_or_else(|| {
        let why: Vec<String> = cut.results_now().map(|r| format!("{}: {}", r.host, r.text)).collect();
        format!("no candidate has cut its receiver ({})", why.join("; "))
    })
}
