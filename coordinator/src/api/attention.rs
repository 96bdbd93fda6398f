//! What needs a human, the most urgent first. One thing is told once: a silent host that explains why an app runs on its
//! only copy is told there, not again by itself.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use holdfast_coordinator_core::{readiness::Condition, records::OperationState, verdict::Kind};
use holdfast_proto::v1;
use holdfast_shared::refusal::line;
use holdfast_types::{HostName, WallTime, time::span};

use super::picture::{Hosts, Picture, RegionPicture, StandbyState, silence};

/// Reasons that are told of one thing; the rest stands in `holdfast why`.
const REASONS_MAX: usize = 3;
/// A hold lasts for one wait and a promotion. One that lasts longer than both at their longest asks for a look.
const HELD_LONG: Duration = Duration::from_mins(3);

/// Collects what needs a human.
struct Told<'a> {
    hosts: &'a Hosts,
    now: WallTime,
    /// Hosts whose silence has been told.
    silent: BTreeSet<HostName>,
    things: Vec<v1::Attention>,
}

/// Everything that needs a human.
pub(super) fn attention(pictures: &[Picture], hosts: &Hosts, now: WallTime) -> Vec<v1::Attention> {
    let mut told = Told { hosts, now, silent: BTreeSet::new(), things: Vec::new() };
    let rules: [fn(&Picture, &mut Told<'_>); 9] =
        [active_fails, fenced, held, released, only_copy, partly, standby_fails, degraded, not_ready];
    for rule in rules {
        for picture in pictures {
            rule(picture, &mut told);
        }
    }
    quarantined(&mut told);
    ailing(&mut told);
    silent(&mut told);
    told.things
}

impl Told<'_> {
    fn tell(&mut self, picture: &Picture, what: String, lines: Vec<v1::Line>, next: Vec<String>) {
        self.things.push(v1::Attention { what, lines, next, app: picture.name.to_string() });
    }

    fn silence(&mut self, host: &HostName) -> Option<String> {
        let silence = silence(host, self.hosts, self.now)?;
        self.silent.insert(host.clone());
        Some(silence)
    }
}

fn why(picture: &Picture) -> String {
    format!("holdfast why {}", picture.name)
}

fn because(region: &RegionPicture) -> Vec<v1::Line> {
    region.reasons.iter().take(REASONS_MAX).map(|reason| line("why", reason.clone())).collect()
}

fn watch(picture: &Picture) -> Option<String> {
    picture.app.operation().map(|number| format!("holdfast operations watch {number}"))
}

/// The active region does not work, and what the gate says to that.
fn active_fails(picture: &Picture, told: &mut Told<'_>) {
    let Some(region) = picture.active() else { return };
    let fails = region.kind == Kind::Failing || (region.counter.unhealthy && region.kind != Kind::Ok);
    if !fails {
        return;
    }
    let count = format!("{} of {} failing", region.counter.failing.min(region.failures), region.failures);
    let how = if region.counter.unhealthy { "unhealthy" } else { "failing" };
    let mut lines = because(region);
    // Before that nobody has asked it about this run; while an operation runs it has answered already.
    let gate = picture.gate.as_ref().filter(|_| region.counter.unhealthy && picture.app.operation().is_none());
    let next = match (watch(picture), gate) {
        (Some(watch), _) => vec![watch],
        (None, Some(gate)) => {
            lines.push(line("gate", gate.text.clone()));
            if gate.next.is_empty() { vec![why(picture)] } else { gate.next.clone() }
        }
        (None, None) => vec![why(picture)],
    };
    told.tell(picture, format!("{}: {} is {how}, {count}", picture.name, region.name), lines, next);
}

/// Its writers were stopped because the lease was over, and nothing has decided where it goes on.
fn fenced(picture: &Picture, told: &mut Told<'_>) {
    let lease = picture.lease();
    let stopped = matches!(lease.state, v1::LeaseState::Fencing | v1::LeaseState::Fenced);
    if !stopped || picture.app.held() || picture.app.operation().is_some() {
        return;
    }
    let hosts: Vec<&HostName> = picture
        .leases
        .iter()
        .filter(|(host, seen)| picture.app.holders(picture.app.active()).contains(*host) && seen.state == lease.state)
        .map(|(host, _)| host)
        .collect();
    let named = hosts.iter().map(|h| h.as_str()).collect::<Vec<_>>().join(", ");
    let region = picture.app.active();
    let what = format!("{} takes no writes: it is fenced on {named} ({region}), its lease ran out", picture.name);
    let lines = vec![line("why", format!("no coordinator granted {named} a lease in time; it asks again by itself"))];
    let mut next = vec![why(picture)];
    next.extend(hosts.first().map(|host| format!("ssh {host} systemctl status holdfast-agent")));
    told.tell(picture, what, lines, next);
}

/// Held for longer than any wait: nobody may write.
fn held(picture: &Picture, told: &mut Told<'_>) {
    if !picture.app.held() {
        return;
    }
    let operation = picture.app.record.held_by;
    let since =
        picture.last.as_ref().filter(|(number, _)| number.0 == operation).map(|(_, op)| WallTime(op.started_at));
    let for_long = since.is_none_or(|since| told.now.since(since) > HELD_LONG);
    if !for_long {
        return;
    }
    let how_long = since.map(|since| format!(" for {}", span(told.now.since(since)))).unwrap_or_default();
    let what = format!("{} is held by operation {operation}{how_long}: nobody may write", picture.name);
    let next = vec![format!("holdfast operations show {operation}"), why(picture)];
    told.tell(picture, what, vec![], next);
}

/// Somebody took a host's fencing away by hand.
fn released(picture: &Picture, told: &mut Told<'_>) {
    for (host, lease) in &picture.leases {
        if lease.state == v1::LeaseState::Released {
            let what =
                format!("{} is released on {host}: nothing is fenced there, two regions may write", picture.name);
            told.tell(picture, what, vec![], vec![format!("ssh {host} sudo holdfast-agent resume {}", picture.name)]);
        }
    }
}

/// Nobody could take over.
fn only_copy(picture: &Picture, told: &mut Told<'_>) {
    if !picture.app.leased() || picture.app.promotable().next().is_some() || picture.app.operation().is_some() {
        return;
    }
    // Not judged yet, or just about to be committed as able to take over: news in a moment.
    let judged = picture.active().is_some_and(|r| r.kind != Kind::Unknown);
    let follows = picture.standbys().any(|r| r.standby_state(&picture.leases) == StandbyState::Streaming);
    if !judged || follows {
        return;
    }
    let mut lines = Vec::new();
    for region in picture.standbys() {
        for (writer, database) in &region.databases {
            let host = &database.host;
            let place = format!("{writer} on {host} ({})", region.name);
            let fenced = picture
                .leases
                .get(host)
                .is_some_and(|l| matches!(l.state, v1::LeaseState::Fencing | v1::LeaseState::Fenced));
            let text = match (told.silence(host), database.seen) {
                (Some(silence), _) => silence,
                (None, _) if fenced && !region.follows(database) => {
                    format!("{place} is fenced and was not made a standby again")
                }
                (None, None) => format!("{place} was not seen yet"),
                (None, Some(seen)) if !seen.in_recovery => {
                    format!("{place} is no standby: it is down, or not in recovery")
                }
                (None, Some(_)) if database.is_stranger() => {
                    format!("{place} is another database than the one in {}", picture.app.active())
                }
                (None, Some(_)) if !region.follows(database) => {
                    format!("{place} receives nothing from {}", picture.app.active())
                }
                (None, Some(_)) => format!("{place} follows"),
            };
            lines.push(line("why", text));
        }
    }
    let what = format!("{} runs on its only copy; it cannot fail over", picture.name);
    told.tell(picture, what, lines, vec![why(picture)]);
}

/// The last operation did not do all that it should.
fn partly(picture: &Picture, told: &mut Told<'_>) {
    let Some((number, op)) = &picture.last else { return };
    if op.at() == OperationState::Partly {
        let what = format!("operation {number}, {} of {}, ended partly done", op.kind, picture.name);
        let mut next = vec![format!("holdfast operations show {number}"), why(picture)];
        next.extend(super::journal::finish(&picture.app));
        told.tell(picture, what, vec![line("why", op.text.clone())], next);
    }
}

/// One of several standbys does not work. That none does is told as running on its only copy.
fn standby_fails(picture: &Picture, told: &mut Told<'_>) {
    if picture.app.promotable().next().is_none() || picture.app.operation().is_some() {
        return;
    }
    for region in picture.standbys() {
        if region.kind == Kind::Failing && region.counter.unhealthy {
            for database in region.databases.values() {
                told.silence(&database.host);
            }
            let what = format!("{}: its standby in {} is unhealthy", picture.name, region.name);
            told.tell(picture, what, because(region), vec![why(picture)]);
        }
    }
}

/// It serves, but not as it should.
fn degraded(picture: &Picture, told: &mut Told<'_>) {
    if let Some(region) = picture.active().filter(|r| r.kind == Kind::Degraded) {
        let what = format!("{}: {} is degraded", picture.name, region.name);
        told.tell(picture, what, because(region), vec![why(picture)]);
    }
}

/// What a failover would miss, known before it is needed. Only of an app of which nothing else is told: whatever ails it
/// now is in the way as well.
fn not_ready(picture: &Picture, told: &mut Told<'_>) {
    // What a look at the hosts tells is told by the silent ones; a host that is away is no setting that is missing.
    const SETTINGS: [Condition; 4] = [Condition::Login, Condition::Rights, Condition::Starts, Condition::Synchronous];
    let Some(report) = picture.readiness.as_ref().filter(|_| picture.app.leased()) else { return };
    let missing: Vec<_> = report.missing().filter(|finding| SETTINGS.contains(&finding.condition)).collect();
    if missing.is_empty() || told.things.iter().any(|thing| thing.app == picture.name.as_str()) {
        return;
    }
    let what = format!("{} could not fail over as it is set up", picture.name);
    let lines = missing.iter().take(REASONS_MAX).map(|finding| line("why", finding.text.clone())).collect();
    told.tell(picture, what, lines, vec![format!("holdfast readiness {}", picture.name)]);
}

fn quarantined(told: &mut Told<'_>) {
    for (host, picture) in told.hosts {
        if !picture.quarantine.is_empty() {
            told.silent.insert(host.clone());
            told.things.push(v1::Attention {
                what: format!("{host} ({}) is quarantined: it gets no lease and no command", picture.region),
                lines: vec![line("why", picture.quarantine.clone())],
                next: vec![format!("holdfast token create --region {} --replaces {host}", picture.region)],
                app: String::new(),
            });
        }
    }
}

/// What hosts say of themselves: a writer that their root does not allow, a helper that cannot be reached.
fn ailing(told: &mut Told<'_>) {
    for (host, picture) in told.hosts {
        if picture.live() && !picture.problems.is_empty() {
            told.things.push(v1::Attention {
                what: format!("{host} ({}) cannot do all that it should", picture.region),
                lines: picture.problems.iter().map(|problem| line("why", problem.clone())).collect(),
                next: vec![format!("ssh {host} sudo holdfast-agent status")],
                app: String::new(),
            });
        }
    }
}

/// Silent hosts that nothing above has told, one thing for each region.
fn silent(told: &mut Told<'_>) {
    let mut regions: BTreeMap<&str, Vec<&HostName>> = BTreeMap::new();
    for (host, picture) in told.hosts {
        if !picture.live() && !told.silent.contains(host) {
            regions.entry(&picture.region).or_default().push(host);
        }
    }
    for (region, hosts) in regions {
        let all = told.hosts.values().filter(|h| h.region == region).count();
        let what = match (hosts.as_slice(), all) {
            ([host], 1) => format!("{region} is silent: {host} is not heard"),
            (hosts, all) if hosts.len() == all => format!("{region} is silent: none of its {all} hosts is heard"),
            ([host], _) => format!("{host} ({region}) is silent"),
            (hosts, all) => format!("{} of {all} hosts in {region} are silent", hosts.len()),
        };
        let lines = hosts
            .iter()
            .filter_map(|host| {
                let runs = told.hosts.get(*host).map(|h| h.roles.join(", ")).filter(|r| !r.is_empty());
                let text = silence(host, told.hosts, told.now)?;
                Some(line("why", runs.map_or(text.clone(), |runs| format!("{text}; it runs {runs}"))))
            })
            .collect();
        let next = hosts.first().map(|host| format!("ssh {host} systemctl status holdfast-agent"));
        told.things.push(v1::Attention {
            what,
            lines,
            next: next.into_iter().chain(["holdfast hosts".to_owned()]).collect(),
            app: String::new(),
        });
    }
}
