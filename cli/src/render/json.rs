//! The JSON that programs read: one object with `"schema": 1`. Fields are added, never renamed or removed.
//! Instants are RFC 3339 in UTC, spans are numbers of seconds named `_seconds`, sizes `_bytes`. What is not known is
//! null.

use std::time::Duration;

use holdfast_proto::v1;
use holdfast_types::{
    WallTime,
    audit::{Entry, Hash},
};
use serde::Serialize;

use super::wire::{lease_word, said, span, wall};

/// The schema that this release writes.
pub const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Versioned<T> {
    schema: u32,
    #[serde(flatten)]
    body: T,
}

/// The object as text, with a line feed at its end.
#[must_use]
pub fn text<T: Serialize>(body: T) -> String {
    print(serde_json::to_string_pretty(&Versioned { schema: SCHEMA, body }))
}

/// The object on one line.
#[must_use]
pub fn line<T: Serialize>(body: T) -> String {
    print(serde_json::to_string(&Versioned { schema: SCHEMA, body }))
}

fn print(text: Result<String, serde_json::Error>) -> String {
    let mut text = text.expect("our own structs have string keys and no floats that are not numbers");
    text.push('\n');
    text
}

fn seconds(s: Option<Duration>) -> Option<f64> {
    // Thousandths are all that is ever measured; more digits would only be noise of the float.
    s.and_then(|s| {
        u32::try_from(s.as_millis()).ok().map_or(Some(s.as_secs_f64().round()), |ms| Some(f64::from(ms) / 1e3))
    })
}

fn instant(at: Option<&prost_types::Timestamp>) -> Option<String> {
    wall(at).map(|at| at.to_string())
}

fn number(n: u64) -> Option<u64> {
    (n != 0).then_some(n)
}

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

/// A labelled line of an explanation.
#[derive(Serialize)]
pub struct Line {
    label: String,
    text: String,
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

fn lines(lines: Vec<v1::Line>) -> Vec<Line> {
    lines.into_iter().map(|l| Line { label: l.label, text: l.text }).collect()
}

fn all<A, B: From<A>>(items: Vec<A>) -> Vec<B> {
    items.into_iter().map(B::from).collect()
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
            standby_state: said(&a.standby_state).filter(|s| s != super::table::NOTHING),
            behind_bytes: a.behind_bytes,
            mode: a.mode,
            last_move_at: instant(a.last_move_at.as_ref()),
            last_move: said(&a.last_move),
            running_operation: number(a.running_operation),
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
}

impl From<v1::HostsReply> for Hosts {
    fn from(r: v1::HostsReply) -> Self {
        let host = |h: v1::HostStatus| Host {
            since: instant(h.since.as_ref()),
            certificate_until: instant(h.certificate_until.as_ref()),
            version: said(&h.version),
            quarantine: said(&h.quarantine),
            address: said(&h.address),
            host: h.host,
            region: h.region,
            live: h.live,
            roles: h.roles,
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

/// `holdfast operations list`.
#[derive(Serialize)]
pub struct Operations {
    operations: Vec<Operation>,
}

impl From<v1::ListOperationsReply> for Operations {
    fn from(r: v1::ListOperationsReply) -> Self {
        Self { operations: all(r.operations) }
    }
}

/// An operation, as in `{"schema": 1, "operation": {…}}`.
#[derive(Serialize)]
pub struct OneOperation {
    /// The operation.
    pub operation: Operation,
}

impl From<v1::Operation> for OneOperation {
    fn from(operation: v1::Operation) -> Self {
        Self { operation: operation.into() }
    }
}

/// An event of `--progress json`.
#[derive(Serialize)]
pub struct Event {
    at: Option<String>,
    text: Option<String>,
    operation: Option<Operation>,
}

impl From<v1::OperationEvent> for Event {
    fn from(e: v1::OperationEvent) -> Self {
        Self { at: instant(e.at.as_ref()), text: said(&e.text), operation: e.operation.map(Operation::from) }
    }
}

/// An operation as it is now.
#[derive(Serialize)]
pub struct Operation {
    number: u64,
    app: String,
    kind: String,
    from_region: Option<String>,
    to_region: Option<String>,
    state: String,
    abortable: bool,
    started_at: Option<String>,
    ended_at: Option<String>,
    requested_by: Option<String>,
    reason: Option<String>,
    text: Option<String>,
    generation_before: Option<u64>,
    generation_after: Option<u64>,
    rto_measured_seconds: Option<f64>,
    facts: Vec<String>,
    next: Vec<String>,
    steps: Vec<Step>,
}

#[derive(Serialize)]
struct Step {
    index: u32,
    step: String,
    state: String,
    planned: Option<String>,
    text: Option<String>,
    began_at: Option<String>,
    ended_at: Option<String>,
    attempt: u32,
    no_return: bool,
    hosts: Vec<Part>,
}

#[derive(Serialize)]
struct Part {
    host: String,
    state: String,
    text: Option<String>,
}

impl From<v1::Operation> for Operation {
    fn from(o: v1::Operation) -> Self {
        let part = |p: v1::OperationPart| Part { text: said(&p.text), host: p.host, state: p.state };
        let step = |s: v1::OperationStep| Step {
            began_at: instant(s.began_at.as_ref()),
            ended_at: instant(s.ended_at.as_ref()),
            planned: said(&s.planned),
            text: said(&s.text),
            index: s.index,
            step: s.name,
            state: s.state,
            attempt: s.attempt,
            no_return: s.no_return,
            hosts: s.parts.into_iter().map(part).collect(),
        };
        Self {
            number: o.number,
            app: o.app,
            kind: o.kind,
            from_region: said(&o.from_region),
            to_region: said(&o.to_region),
            state: o.state,
            abortable: o.abortable,
            started_at: instant(o.started_at.as_ref()),
            ended_at: instant(o.ended_at.as_ref()),
            requested_by: said(&o.requested_by),
            reason: said(&o.reason),
            text: said(&o.text),
            generation_before: number(o.generation_before),
            generation_after: number(o.generation_after),
            rto_measured_seconds: seconds(span(o.rto_measured.as_ref())),
            facts: o.facts,
            next: o.next,
            steps: o.steps.into_iter().map(step).collect(),
        }
    }
}

/// `holdfast failover --detach`.
#[derive(Serialize)]
pub struct Begun {
    operation: Number,
}

#[derive(Serialize)]
struct Number {
    number: u64,
}

impl Begun {
    /// The operation of this number.
    #[must_use]
    pub fn new(number: u64) -> Self {
        Self { operation: Number { number } }
    }
}

/// `holdfast failover --dry-run`.
#[derive(Serialize)]
pub struct DryRun {
    app: String,
    from_region: Option<String>,
    to_region: String,
    steps: Vec<PlannedStep>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct PlannedStep {
    step: String,
    text: String,
    timeout_seconds: Option<f64>,
    undo: Option<String>,
    no_return: bool,
}

impl DryRun {
    /// The plan for moving this app to this region.
    #[must_use]
    pub fn new(app: &str, to: &str, r: v1::FailoverReply) -> Self {
        let step = |s: v1::PlannedStep| PlannedStep {
            timeout_seconds: seconds(span(s.timeout.as_ref())),
            undo: said(&s.undo),
            step: s.name,
            text: s.text,
            no_return: s.no_return,
        };
        Self {
            app: app.to_owned(),
            from_region: said(&r.from_region),
            to_region: to.to_owned(),
            steps: r.steps.into_iter().map(step).collect(),
            notes: r.notes,
        }
    }
}

/// `holdfast plan`.
#[derive(Serialize)]
pub struct Plan {
    app: String,
    revision: u64,
    changes: bool,
    diff: Vec<String>,
    arithmetic: Vec<String>,
    found: Vec<String>,
    notes: Vec<String>,
    problems: Vec<String>,
    active_region: Option<String>,
    refusal: Option<Refusal>,
}

#[derive(Serialize)]
struct Refusal {
    reason: Option<&'static str>,
    what: String,
    lines: Vec<Line>,
    next: Vec<String>,
}

impl From<v1::PlanReply> for Plan {
    fn from(r: v1::PlanReply) -> Self {
        use holdfast_types::refusal::Reason;
        let refusal = |f: v1::Refusal| Refusal {
            reason: Reason::from_number(f.reason).map(Reason::slug),
            what: f.what,
            lines: lines(f.lines),
            next: f.next,
        };
        Self {
            app: r.app,
            revision: r.revision,
            changes: !r.diff.is_empty(),
            diff: r.diff,
            arithmetic: r.arithmetic,
            found: r.found,
            notes: r.notes,
            problems: r.problems,
            active_region: said(&r.active_region),
            refusal: r.refusal.map(refusal),
        }
    }
}

/// `holdfast apply`.
#[derive(Serialize)]
pub struct Applied {
    /// The app.
    pub app: String,
    /// Its revision now.
    pub revision: u64,
    /// Whether anything is different from before.
    pub changed: bool,
    /// Where it is active.
    pub active_region: Option<String>,
    /// Its generation.
    pub generation: Option<u64>,
    /// Where a promise is weaker.
    pub notes: Vec<String>,
}

/// `holdfast token create`.
#[derive(Serialize)]
pub struct NewToken {
    id: String,
    token: String,
    join: String,
    until: Option<String>,
}

impl From<v1::CreateTokenReply> for NewToken {
    fn from(r: v1::CreateTokenReply) -> Self {
        Self { until: instant(r.until.as_ref()), id: r.id, token: r.token, join: r.join }
    }
}

/// `holdfast token list`.
#[derive(Serialize)]
pub struct Tokens {
    tokens: Vec<Token>,
}

#[derive(Serialize)]
struct Token {
    id: String,
    region: String,
    uses_left: u32,
    until: Option<String>,
    created_by: Option<String>,
}

impl From<v1::ListTokensReply> for Tokens {
    fn from(r: v1::ListTokensReply) -> Self {
        let token = |t: v1::JoinToken| Token {
            until: instant(t.until.as_ref()),
            created_by: said(&t.created_by),
            id: t.id,
            region: t.region,
            uses_left: t.uses_left,
        };
        Self { tokens: r.tokens.into_iter().map(token).collect() }
    }
}

/// `holdfast token revoke`.
#[derive(Serialize)]
pub struct RevokedToken {
    /// The token's id.
    pub token: String,
    /// Always true; a failure says otherwise.
    pub revoked: bool,
}

/// `holdfast hosts revoke`.
#[derive(Serialize)]
pub struct RevokedHost {
    /// The host.
    pub host: String,
    /// How many certificates are revoked.
    pub certificates: u32,
    /// How many live sessions were cut.
    pub sessions_cut: u32,
}

/// `holdfast operator add`.
#[derive(Serialize)]
pub struct NewOperator {
    token: String,
    add: String,
    until: Option<String>,
}

impl From<v1::AddOperatorReply> for NewOperator {
    fn from(r: v1::AddOperatorReply) -> Self {
        Self { until: instant(r.until.as_ref()), token: r.token, add: r.add }
    }
}

/// `holdfast operator list`.
#[derive(Serialize)]
pub struct Operators {
    operators: Vec<Operator>,
}

#[derive(Serialize)]
struct Operator {
    operator: String,
    role: String,
    state: String,
    until: Option<String>,
    added_at: Option<String>,
    added_by: Option<String>,
    revoked_at: Option<String>,
    revoked_why: Option<String>,
}

impl From<v1::ListOperatorsReply> for Operators {
    fn from(r: v1::ListOperatorsReply) -> Self {
        let operator = |p: v1::Person| Operator {
            until: instant(p.until.as_ref()),
            added_at: instant(p.added_at.as_ref()),
            added_by: said(&p.added_by),
            revoked_at: instant(p.revoked_at.as_ref()),
            revoked_why: said(&p.revoked_why),
            operator: p.name,
            role: p.role,
            state: p.state,
        };
        Self { operators: r.people.into_iter().map(operator).collect() }
    }
}

/// `holdfast operator revoke`.
#[derive(Serialize)]
pub struct RevokedOperator {
    /// Who was put out.
    pub operator: String,
    /// How many certificates are revoked.
    pub certificates: u32,
    /// How many live connections were cut.
    pub sessions_cut: u32,
}

/// `holdfast audit`.
#[derive(Serialize)]
pub struct Trail {
    entries: Vec<AuditEntry>,
}

#[derive(Serialize)]
struct AuditEntry {
    number: u64,
    at: String,
    by: String,
    from: Option<String>,
    call: String,
    subject: Option<String>,
    why: Option<String>,
    done: bool,
    outcome: Option<String>,
    hash: Hash,
}

impl From<Vec<Entry>> for Trail {
    fn from(entries: Vec<Entry>) -> Self {
        let entry = |e: Entry| AuditEntry {
            at: WallTime(e.at).to_string(),
            from: said(&e.from),
            subject: said(&e.subject),
            why: said(&e.why),
            outcome: said(&e.outcome),
            number: e.number,
            by: e.by,
            call: e.call,
            done: e.done,
            hash: e.hash,
        };
        Self { entries: entries.into_iter().map(entry).collect() }
    }
}

/// `holdfast audit verify`.
#[derive(Serialize)]
pub struct Verified {
    /// Always true; a failure says otherwise.
    pub holds: bool,
    /// Number of the oldest entry.
    pub first: u64,
    /// Number of the newest entry.
    pub last: u64,
    /// Of the newest entry; worth keeping elsewhere.
    pub newest_hash: Hash,
}

/// `holdfast context add`.
#[derive(Serialize)]
pub struct AddedContext {
    /// Its name here.
    pub context: String,
    /// The cluster's id.
    pub cluster: String,
    /// Who the certificate names.
    pub operator: String,
    /// As what they were let in.
    pub role: String,
    /// Until when the certificate counts.
    pub certificate_until: String,
    /// Whether it is the one that is used when none is named.
    pub current: bool,
}

/// `holdfast context list`.
#[derive(Serialize)]
pub struct Contexts {
    /// The one that is used when none is named.
    pub current: Option<String>,
    /// All of them.
    pub contexts: Vec<Context>,
}

/// `holdfast context show`.
#[derive(Serialize)]
pub struct Context {
    /// Its name.
    pub context: String,
    /// The cluster's id.
    pub cluster: String,
    /// The coordinators, tried in turn.
    pub addresses: Vec<String>,
    /// The folder of the key and certificate.
    pub identity: String,
    /// Who the certificate names; null when it cannot be read, or in a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer: Option<String>,
    /// Until when the certificate counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_until: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    #[test]
    fn the_schema_stays_as_it_is() {
        let mut all = String::new();
        all.push_str(&text(Status::from(samples::bad_day())));
        all.push_str(&text(Hosts::from(v1::HostsReply { hosts: samples::hosts() })));
        all.push_str(&text(Why::from(samples::why())));
        all.push_str(&text(OneOperation { operation: samples::failover_ended("done").into() }));
        all.push_str(&text(DryRun::new("smellpin", "us-west", samples::dry_run())));
        all.push_str(&text(Plan::from(samples::plan())));
        all.push_str(&text(Tokens::from(v1::ListTokensReply { tokens: samples::tokens() })));
        all.push_str(&text(Operators::from(v1::ListOperatorsReply { people: samples::people() })));
        all.push_str(&text(Trail::from(samples::trail())));
        insta::assert_snapshot!(all);
    }

    #[test]
    fn empty_replies_are_objects_too() {
        for json in [
            text(Status::from(v1::StatusReply::default())),
            text(Apps::from(v1::ListAppsReply::default())),
            text(Regions::from(v1::RegionsReply::default())),
            text(Why::from(v1::WhyReply::default())),
            text(Plan::from(v1::PlanReply::default())),
            line(Event::from(v1::OperationEvent::default())),
        ] {
            let value: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
            assert_eq!(value["schema"], 1, "{json}");
        }
    }

    #[test]
    fn spans_are_seconds_without_noise() {
        assert_eq!(seconds(Some(Duration::from_millis(5_100))), Some(5.1));
        assert_eq!(seconds(Some(Duration::MAX)).map(f64::is_finite), Some(true));
        assert_eq!(seconds(None), None);
    }
}
