//! What the gate says to people: one headline, what was seen, and the commands to type next.

use holdfast_types::{HostName, RegionName};

use super::{AskedBy, Condition, GateInput, GateLine, candidate::behind};

/// What is refused, and why, in one line.
pub(super) fn refusal(input: &GateInput<'_>, line: &GateLine) -> String {
    let what = match &input.asked_by {
        AskedBy::Operator { to: Some(to) } => format!("{} will not move to {to}", input.app),
        AskedBy::Operator { to: None } | AskedBy::Verdicts => {
            format!("{} will not move away from {}", input.app, input.active)
        }
    };
    let why = match line.condition {
        Condition::LifeSeen => format!("{} is still alive, and two regions must never write", input.active),
        Condition::Mode
        | Condition::Maintenance
        | Condition::OtherOperation
        | Condition::Incidents
        | Condition::Target
        | Condition::Unhealthy
        | Condition::Candidate
        | Condition::Lag => line.text.clone(),
    };
    format!("{what}: {why}")
}

/// What was seen, a line each.
pub(super) fn seen(input: &GateInput<'_>, line: &GateLine) -> Vec<String> {
    let mut seen = Vec::new();
    if line.condition == Condition::LifeSeen {
        seen.extend(line.text.split("; ").map(str::to_owned));
    }
    seen.extend(input.reasons.iter().map(|finding| finding.text.clone()).filter(|text| !line.text.contains(text)));
    seen
}

/// Commands to type next. Only commands that exist.
pub(super) fn next(input: &GateInput<'_>, line: &GateLine) -> Vec<String> {
    let app = input.app;
    let why = format!("holdfast why {app}");
    match line.condition {
        Condition::OtherOperation => match input.other_operation {
            Some(id) => vec![format!("holdfast operations watch {id}"), why],
            None => vec![why],
        },
        Condition::Target => vec![why, "holdfast regions".to_owned()],
        Condition::Maintenance => {
            let off = input.maintenance.map(|(scope, _)| scope.off());
            off.into_iter().chain([why]).collect()
        }
        Condition::Incidents => vec![overriding(input), why],
        Condition::Mode if input.mode.is_some() => vec![overriding(input), why],
        Condition::Mode | Condition::Unhealthy => vec![why],
        Condition::Candidate => {
            let mut next: Vec<String> = absent_hosts(input).map(look_at).collect();
            next.extend([why, "holdfast hosts".to_owned()]);
            next
        }
        // Its own agents are asked first: a live region whose agents are dead is repaired, not left.
        Condition::LifeSeen => {
            let mut next: Vec<String> = silent_hosts(input).map(look_at).collect();
            next.push(why);
            next
        }
        Condition::Lag => vec![why],
    }
}

fn look_at(host: &str) -> String {
    format!("ssh {host} systemctl status holdfast-agent")
}

/// The host whose agent to look at first: the first that a reason names and that does not itself say it takes writes.
fn silent_hosts<'a>(input: &'a GateInput<'_>) -> impl Iterator<Item = &'a str> {
    let speaks = |host: &&HostName| input.own_life.iter().any(|finding| finding.observer.as_ref() == Some(host));
    let named = input.reasons.iter().filter_map(|finding| finding.observer.as_ref());
    named.filter(move |host| !speaks(host)).map(|host| host.as_str()).take(1)
}

fn absent_hosts<'a>(input: &'a GateInput<'_>) -> impl Iterator<Item = &'a str> {
    let databases = input.standbys.iter().flat_map(|standby| standby.databases.values());
    databases.filter(|database| !database.live).map(|database| database.host.as_str()).take(1)
}

/// What an operator would type to move the app in spite of what holds back an automatic failover.
fn overriding(input: &GateInput<'_>) -> String {
    match super::candidate::chosen(input) {
        Some(standby) => failover(input, &standby.region),
        None => format!("holdfast failover {}", input.app),
    }
}

fn failover(input: &GateInput<'_>, to: &RegionName) -> String {
    format!("holdfast failover {} --to {to}", input.app)
}

/// What assist and observe tell, in one line.
pub(super) fn alert(input: &GateInput<'_>, ready: Option<&RegionName>, obstacle: Option<&GateLine>) -> String {
    let because = input.reasons.first().map(|finding| format!(", {}", finding.text)).unwrap_or_default();
    let count = format!("{} of {} failing", input.counter.failing.min(input.failures), input.failures);
    let standby = match (ready, obstacle) {
        (Some(region), _) => {
            let lag = input.standbys.iter().find(|standby| standby.region == *region).map(behind);
            format!("{region} is ready, {}", lag.unwrap_or_default())
        }
        (None, Some(line)) => format!("it cannot move: {}", line.text),
        (None, None) => "it cannot move".to_owned(),
    };
    format!("{}: {} is unhealthy ({count}{because}); {standby}", input.app, input.active)
}

/// In both modes the decision is an operator's, and so is the command; the steps can be seen first.
pub(super) fn alert_next(input: &GateInput<'_>, ready: Option<&RegionName>) -> Vec<String> {
    let why = format!("holdfast why {}", input.app);
    match ready {
        Some(to) => {
            let decide = failover(input, to);
            vec![decide.clone(), format!("{decide} --dry-run"), why]
        }
        None => vec![why],
    }
}
