//! App specs: planned and applied.

use holdfast_proto::v1;
use serde::Serialize;

use super::{Line, lines};
use crate::render::wire::said;

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

/// `holdfast apps remove`.
#[derive(Serialize)]
pub struct RemovedApp {
    revision: u64,
    active_region: Option<String>,
    generation: u64,
    left: Vec<String>,
    told: Vec<String>,
    absent: Vec<String>,
}

impl From<v1::RemoveAppReply> for RemovedApp {
    fn from(r: v1::RemoveAppReply) -> Self {
        Self {
            revision: r.revision,
            active_region: said(&r.active_region),
            generation: r.generation,
            left: r.left,
            told: r.told,
            absent: r.absent,
        }
    }
}
