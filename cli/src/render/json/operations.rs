//! Operations: listed, shown, watched, planned.

use holdfast_proto::v1;
use serde::Serialize;

use super::{all, instant, number, seconds};
use crate::render::wire::{said, span};

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

/// `holdfast maintenance on`.
#[derive(Serialize)]
pub struct MaintenanceBegun {
    until: Option<String>,
    apps: Vec<String>,
    notes: Vec<String>,
}

impl From<v1::BeginMaintenanceReply> for MaintenanceBegun {
    fn from(r: v1::BeginMaintenanceReply) -> Self {
        Self { until: instant(r.until.as_ref()), apps: r.apps, notes: r.notes }
    }
}

/// `holdfast maintenance off`.
#[derive(Serialize)]
pub struct MaintenanceEnded {
    still: Vec<String>,
}

impl From<v1::EndMaintenanceReply> for MaintenanceEnded {
    fn from(r: v1::EndMaintenanceReply) -> Self {
        Self { still: r.still }
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
