//! The fleet: status, apps, regions, hosts, why.

use holdfast_proto::v1;
use serde::Serialize;

use super::{Figures, Line, all, instant, lines, number, seconds};
use crate::render::{
    table::NOTHING,
    wire::{lease_word, said, span},
};

/// `holdfast status`.
#[derive(Serialize)]
pub struct Status {
    cluster: String,
    coordinator: String,
    leader: Option<String>,
    coordinators: u32,
    at: Option<String>,
    apps: Vec<App>,
    regions: Vec<Region>,
    attention: Vec<Attention>,
    notes: Vec<String>,
}

/// Something that needs a human.
#[derive(Serialize)]
pub struct Attention {
    what: String,
    app: Option<String>,
    lines: Vec<Line>,
    next: Vec<String>,
}

/// An app as it is now.
#[derive(Serialize)]
pub struct App {
    app: String,
    active_region: Option<String>,
    generation: u64,
    revision: u64,
    health: String,
    lease: Lease,
    standby_region: Option<String>,
    standby_state: Option<String>,
    behind_bytes: Option<u64>,
    mode: String,
    last_move_at: Option<String>,
    last_move: Option<String>,
    running_operation: Option<u64>,
    maintenance: Option<InMaintenance>,
    ready: Option<bool>,
}

/// A maintenance that an app is in.
#[derive(Serialize)]
struct InMaintenance {
    scope: String,
    by: String,
    why: String,
    since: Option<String>,
    until: Option<String>,
}

impl From<v1::InMaintenance> for InMaintenance {
    fn from(m: v1::InMaintenance) -> Self {
        Self {
            since: instant(m.since.as_ref()),
            until: instant(m.until.as_ref()),
            scope: m.scope,
            by: m.by,
            why: m.why,
        }
    }
}

/// The right of the app's writers to run.
#[derive(Serialize)]
pub struct Lease {
    state: &'static str,
    left_seconds: Option<f64>,
    /// Nobody is granted a lease: an operation moves the app.
    hold: bool,
}

/// A region.
#[derive(Serialize)]
pub struct Region {
    region: String,
    hosts_live: u32,
    hosts: u32,
    apps: Vec<RegionApp>,
}

/// An app in a region.
#[derive(Serialize)]
pub struct RegionApp {
    app: String,
    active: bool,
    health: String,
    why: Option<String>,
}

impl From<v1::StatusReply> for Status {
    fn from(r: v1::StatusReply) -> Self {
        Self {
            cluster: r.cluster,
            coordinator: r.coordinator,
            leader: said(&r.leader),
            coordinators: r.coordinators,
            at: instant(r.at.as_ref()),
            apps: all(r.apps),
            regions: all(r.regions),
            attention: r
                .attention
                .into_iter()
                .map(|a| Attention { app: said(&a.app), what: a.what, lines: lines(a.lines), next: a.next })
                .collect(),
            notes: r.notes,
        }
    }
}

impl From<v1::AppStatus> for App {
    fn from(a: v1::AppStatus) -> Self {
        Self {
            lease: Lease {
                state: lease_word(a.lease()),
                left_seconds: seconds(span(a.lease_left.as_ref())),
                hold: a.held,
            },
            active_region: said(&a.active_region),
            generation: a.generation,
            revision: a.revision,
            health: a.health,
            standby_region: said(&a.standby_region),
            standby_state: said(&a.standby_state).filter(|s| s != NOTHING),
            behind_bytes: a.behind_bytes,
            mode: a.mode,
            last_move_at: instant(a.last_move_at.as_ref()),
            last_move: said(&a.last_move),
            running_operation: number(a.running_operation),
            maintenance: a.maintenance.map(InMaintenance::from),
            ready: a.ready,
            app: a.app,
        }
    }
}

impl From<v1::RegionStatus> for Region {
    fn from(r: v1::RegionStatus) -> Self {
        let app = |a: v1::RegionApp| RegionApp { why: said(&a.why), app: a.app, active: a.active, health: a.health };
        Self { region: r.region, hosts_live: r.hosts_live, hosts: r.hosts, apps: r.apps.into_iter().map(app).collect() }
    }
}

/// `holdfast apps`.
#[derive(Serialize)]
pub struct Apps {
    apps: Vec<App>,
}

impl From<v1::ListAppsReply> for Apps {
    fn from(r: v1::ListAppsReply) -> Self {
        Self { apps: all(r.apps) }
    }
}

/// `holdfast regions`.
#[derive(Serialize)]
pub struct Regions {
    regions: Vec<Region>,
}

impl From<v1::RegionsReply> for Regions {
    fn from(r: v1::RegionsReply) -> Self {
        Self { regions: all(r.regions) }
    }
}

/// `holdfast hosts`.
#[derive(Serialize)]
pub struct Hosts {
    hosts: Vec<Host>,
}

#[derive(Serialize)]
struct Host {
    host: String,
    region: String,
    live: bool,
    since: Option<String>,
    version: Option<String>,
    roles: Vec<String>,
    certificate_until: Option<String>,
    quarantine: Option<String>,
    address: Option<String>,
    allows: Vec<String>,
    problems: Vec<String>,
    /// Null when it has told none of late.
    figures: Option<Figures>,
}

impl From<v1::HostsReply> for Hosts {
    fn from(r: v1::HostsReply) -> Self {
        let host = |h: v1::HostStatus| Host {
            since: instant(h.since.as_ref()),
            certificate_until: instant(h.certificate_until.as_ref()),
            version: said(&h.version),
            quarantine: said(&h.quarantine),
            address: said(&h.address),
            figures: h.figures.map(Figures::from),
            host: h.host,
            region: h.region,
            live: h.live,
            roles: h.roles,
            allows: h.allows,
            problems: h.problems,
        };
        Self { hosts: r.hosts.into_iter().map(host).collect() }
    }
}

/// `holdfast why`.
#[derive(Serialize)]
pub struct Why {
    at: Option<String>,
    app: Option<App>,
    decision: String,
    regions: Vec<RegionWhy>,
    gate: Vec<GateLine>,
    next: Vec<String>,
}

#[derive(Serialize)]
struct RegionWhy {
    region: String,
    active: bool,
    verdict: String,
    unhealthy: bool,
    failing: u32,
    failures: u32,
    good: u32,
    successes: u32,
    reasons: Vec<String>,
    signals: Vec<Signal>,
}

#[derive(Serialize)]
struct Signal {
    check: String,
    observer: String,
    target: String,
    outcome: String,
    text: Option<String>,
    age_seconds: Option<f64>,
    vital: bool,
    proof: bool,
}

#[derive(Serialize)]
struct GateLine {
    condition: String,
    holds: bool,
    text: String,
}

impl From<v1::WhyReply> for Why {
    fn from(r: v1::WhyReply) -> Self {
        let signal = |s: v1::SignalWhy| Signal {
            age_seconds: seconds(span(s.age.as_ref())),
            text: said(&s.text),
            check: s.check,
            observer: s.observer,
            target: s.target,
            outcome: s.outcome,
            vital: s.vital,
            proof: s.proof,
        };
        let region = |w: v1::RegionWhy| RegionWhy {
            signals: w.signals.into_iter().map(signal).collect(),
            region: w.region,
            active: w.active,
            verdict: w.verdict,
            unhealthy: w.unhealthy,
            failing: w.failing,
            failures: w.failures,
            good: w.good,
            successes: w.successes,
            reasons: w.reasons,
        };
        let gate = |g: v1::GateLine| GateLine { condition: g.condition, holds: g.holds, text: g.text };
        Self {
            at: instant(r.at.as_ref()),
            app: r.app.map(App::from),
            decision: r.decision,
            regions: r.regions.into_iter().map(region).collect(),
            gate: r.gate.into_iter().map(gate).collect(),
            next: r.next,
        }
    }
}

/// `holdfast readiness`.
#[derive(Serialize)]
pub struct Readiness {
    at: Option<String>,
    apps: Vec<AppReadiness>,
}

#[derive(Serialize)]
struct AppReadiness {
    app: String,
    ready: bool,
    active_region: Option<String>,
    conditions: Vec<ReadinessLine>,
}

#[derive(Serialize)]
struct ReadinessLine {
    condition: String,
    state: String,
    needed: bool,
    text: String,
    add: Vec<Line>,
}

impl From<v1::ReadinessReply> for Readiness {
    fn from(r: v1::ReadinessReply) -> Self {
        let line = |l: v1::ReadinessLine| ReadinessLine {
            condition: l.condition,
            state: l.state,
            needed: l.needed,
            text: l.text,
            add: lines(l.add),
        };
        let app = |a: v1::AppReadiness| AppReadiness {
            active_region: said(&a.active_region),
            app: a.app,
            ready: a.ready,
            conditions: a.lines.into_iter().map(line).collect(),
        };
        Self { at: instant(r.at.as_ref()), apps: r.apps.into_iter().map(app).collect() }
    }
}
