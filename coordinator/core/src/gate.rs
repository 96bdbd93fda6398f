//! The gate: may this app move, now, and where to?
//!
//! Asked with every failing verdict of a full run, and by every operator's `failover`. Its conditions are always
//! judged all, in one order, and each says why, so that a refusal shows at once what else would stand in the way:
//!
//! | condition | automatic | an operator's request |
//! |---|---|---|
//! | `mode` | must be `automatic`; otherwise the answer is an alert | passes |
//! | `maintenance` | off | off |
//! | `other operation` | none runs | none runs |
//! | `incidents` | no earlier automatic failover is unacknowledged | passes |
//! | `target` | – | another region of the app than the active one |
//! | `unhealthy` | `failures` failing verdicts in a row | passes |
//! | `candidate` | one standby can take over | the named one can, or any |
//! | `life seen` | nothing proves that the active region serves writes | and its own agents do not say so either |
//! | `lag` | told, limits nothing yet | told |
//!
//! Mode and lag are what an operator may override; maintenance is ended first, by name. Life, and everything that keeps
//! two regions from writing at once, nobody may.

mod candidate;
mod conditions;
#[cfg(test)]
mod tests;
mod texts;

use std::fmt;

use holdfast_types::{AppName, OperationId, RegionName, refusal::Reason, spec::Mode};

pub use candidate::{Standby, StandbyDatabase, able, choose, standbys, why_not};

use crate::{counter::Counter, maintenance::Scope, records::Maintenance, verdict::Finding};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AskedBy {
    /// The verdicts.
    Verdicts,
    /// An operator, who may have named the region to go to.
    Operator {
        /// `--to`.
        to: Option<RegionName>,
    },
}

/// What the gate is asked with.
#[derive(Debug, Clone)]
pub struct GateInput<'a> {
    /// The app.
    pub app: &'a AppName,
    /// Who decides about it; `None`: it has no `failover` section.
    pub mode: Option<Mode>,
    /// Who asks.
    pub asked_by: AskedBy,
    /// The region that takes the app's writes.
    pub active: &'a RegionName,
    /// Its verdicts in a row.
    pub counter: Counter,
    /// So many failing ones in a row are needed.
    pub failures: u32,
    /// The first reasons of its latest verdict.
    pub reasons: &'a [Finding],
    /// What proves that it serves writes.
    pub proofs: &'a [Finding],
    /// What its own agents say of that.
    pub own_life: &'a [Finding],
    /// The active region's lease is over for sure: its own agents' word is no life any more.
    pub lease_over: bool,
    /// Every other region of the app, in the order of the spec. See [`standbys`].
    pub standbys: &'a [Standby],
    /// The maintenance that the app is in.
    pub maintenance: Option<(&'a Scope, &'a Maintenance)>,
    /// The mutating operation that runs on the app.
    pub other_operation: Option<OperationId>,
    /// An incident of an automatic failover of this app that nobody has acknowledged. Always `None` until incidents
    /// exist.
    pub earlier_incident: Option<u64>,
}

/// What the gate looks at, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// Who decides.
    Mode,
    /// The app is in maintenance.
    Maintenance,
    /// One mutating operation per app at a time.
    OtherOperation,
    /// An earlier automatic failover waits for a human.
    Incidents,
    /// The region that was asked for.
    Target,
    /// The verdicts in a row.
    Unhealthy,
    /// A standby that can take over.
    Candidate,
    /// Proof that the active region serves writes.
    LifeSeen,
    /// How far the candidate is behind.
    Lag,
}

impl Condition {
    /// All, in their order.
    pub const ALL: [Self; 9] = [
        Self::Mode,
        Self::Maintenance,
        Self::OtherOperation,
        Self::Incidents,
        Self::Target,
        Self::Unhealthy,
        Self::Candidate,
        Self::LifeSeen,
        Self::Lag,
    ];
}

impl Condition {
    /// Heading of its paragraph in the operator guide, as in `docs: gate/lag`.
    #[must_use]
    pub const fn slug(self) -> &'static str {
        match self {
            Self::Mode => "mode",
            Self::Maintenance => "maintenance",
            Self::OtherOperation => "other-operation",
            Self::Incidents => "incidents",
            Self::Target => "target",
            Self::Unhealthy => "unhealthy",
            Self::Candidate => "candidate",
            Self::LifeSeen => "life-seen",
            Self::Lag => "lag",
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Mode => "mode",
            Self::Maintenance => "maintenance",
            Self::OtherOperation => "other operation",
            Self::Incidents => "incidents",
            Self::Target => "target",
            Self::Unhealthy => "unhealthy",
            Self::Candidate => "candidate",
            Self::LifeSeen => "life seen",
            Self::Lag => "lag",
        })
    }
}

/// One condition, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateLine {
    /// Which.
    pub condition: Condition,
    /// Whether it holds.
    pub holds: bool,
    /// Why, with names and numbers.
    pub text: String,
    /// As the wire names it when it does not hold; `None` for what only an automatic failover is held back by.
    pub reason: Option<Reason>,
}

/// The gate's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GateAnswer {
    /// Go.
    Open {
        /// To this region, as far as can be said now; the plan asks again which standby is furthest on.
        candidate: RegionName,
        /// Every condition.
        lines: Vec<GateLine>,
    },
    /// No. For an operator it is a refusal, for a verdict an alert.
    Closed {
        /// The first condition that does not hold.
        condition: Condition,
        /// The same as the wire names it; `None` only when the verdicts asked.
        reason: Option<Reason>,
        /// What is refused, and why, in one line.
        headline: String,
        /// What was seen, a line each.
        seen: Vec<String>,
        /// Every condition.
        lines: Vec<GateLine>,
        /// Commands to type next, the likeliest first.
        next: Vec<String>,
    },
    /// Only an operator may decide (`assist`, `observe`); all else was judged as if asked for.
    Alert {
        /// What to tell, in one line.
        headline: String,
        /// The region that could take over, when all other conditions hold.
        candidate: Option<RegionName>,
        /// Every condition.
        lines: Vec<GateLine>,
        /// Commands to type next, the likeliest first.
        next: Vec<String>,
    },
}

impl GateAnswer {
    /// Every condition, judged.
    #[must_use]
    pub fn lines(&self) -> &[GateLine] {
        match self {
            Self::Open { lines, .. } | Self::Closed { lines, .. } | Self::Alert { lines, .. } => lines,
        }
    }
}

/// Asks the gate. Pure: the same input gives the same answer.
#[must_use]
pub fn ask(input: &GateInput<'_>) -> GateAnswer {
    let lines = conditions::judge(input);
    let failing = |but: Option<Condition>| lines.iter().find(|l| !l.holds && Some(l.condition) != but);
    let candidate = candidate::chosen(input);
    let waits_for_human = matches!(input.asked_by, AskedBy::Verdicts)
        && match input.mode {
            Some(Mode::Assist | Mode::Observe) => true,
            Some(Mode::Automatic) | None => false,
        };
    // Not unhealthy: nothing to tell anybody, in any mode.
    let worth_telling = lines.iter().any(|line| line.condition == Condition::Unhealthy && line.holds);
    if waits_for_human && worth_telling {
        let ready = failing(Some(Condition::Mode)).is_none();
        let candidate = candidate.filter(|_| ready).map(|standby| standby.region.clone());
        let headline = texts::alert(input, candidate.as_ref(), failing(Some(Condition::Mode)));
        let next = texts::alert_next(input, candidate.as_ref());
        return GateAnswer::Alert { headline, candidate, lines, next };
    }
    // Every condition holds only when the candidate's does, so this names what can hardly be.
    let nobody = GateLine {
        condition: Condition::Candidate,
        holds: false,
        text: format!("{} has no standby region", input.app),
        reason: Some(Reason::NotPromotable),
    };
    let line = match (failing(None), candidate) {
        (None, Some(standby)) => return GateAnswer::Open { candidate: standby.region.clone(), lines },
        (Some(line), _) => line,
        (None, None) => &nobody,
    };
    GateAnswer::Closed {
        condition: line.condition,
        reason: line.reason,
        headline: texts::refusal(input, line),
        seen: texts::seen(input, line),
        next: texts::next(input, line),
        lines: lines.clone(),
    }
}
