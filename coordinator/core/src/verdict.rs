//! From observations to a verdict: what one region of one app looks like in one round.
//!
//! [`judge`] is a pure function of what was observed, by whom and how long ago. What *should* have been observed
//! follows from the spec (`expected`); what was not is silent. What always holds:
//!
//! - No region is `failing` without the word of its own agents or their silence.
//! - No active region is `failing` while something proves that it serves writes.
//! - We judge nobody while we ourselves seem cut off, or have only just started.
//!
//! | file | owns |
//! |---|---|
//! | `signal` | what an agent saw, and what a round is judged on |
//! | `cadence` | when an observation is late: the one rule of silence |
//! | `expected` | who must report what, from the spec |
//! | `evidence` | one row per expected look: ok, failing, silent, not run, not yet |
//! | `proof` | what proves that the active region serves writes |
//! | `own` | what a region's own agents say, or leave unsaid |

mod cadence;
mod evidence;
mod expected;
#[cfg(test)]
pub(crate) mod fixture;
mod own;
mod proof;
mod signal;
#[cfg(test)]
mod tests;

use std::{fmt, time::Duration};

use holdfast_types::{HostName, RegionName, time::span};

pub use cadence::{Cadence, SILENCE_SLACK};
pub use evidence::{Evidence, Seen};
pub use signal::{BadCheckRef, CheckRef, DatabaseSeen, Fleet, Outcome, RoundInput, Signal};

use crate::counter::Pacing;

/// Shortest time after a start in which every verdict is `unknown`: with checks each second, agents need more than two
/// of them to connect again.
pub const GRACE_MIN: Duration = Duration::from_secs(3);

/// How long after a start every verdict is `unknown`, and for how long what was never observed is not yet missed: an
/// interval, in which every check runs once, and a recheck, at least [`GRACE_MIN`].
#[must_use]
pub fn grace(pacing: &Pacing) -> Duration {
    pacing.interval.saturating_add(pacing.recheck).max(GRACE_MIN)
}

/// What is concluded of a region in one round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It works.
    Ok,
    /// Something is wrong, but it serves. Alerts, never fails over.
    Degraded,
    /// It does not work, as far as anybody can tell.
    Failing,
    /// We cannot tell: we seem cut off, or have only just started. Counters freeze.
    Unknown,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failing => "failing",
            Self::Unknown => "unknown",
        })
    }
}

/// One reason, as a sentence for people; the rest says what it is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// With names and numbers: `use-db1 is silent for 6 min 12 s`.
    pub text: String,
    /// The check, when it is about one.
    pub check: Option<CheckRef>,
    /// Who saw it, or should have.
    pub observer: Option<HostName>,
    /// What was looked at.
    pub target: Option<HostName>,
}

impl Finding {
    pub(crate) fn plain(text: String) -> Self {
        Self { text, check: None, observer: None, target: None }
    }

    pub(crate) fn of(text: String, row: &Evidence) -> Self {
        Self { text, check: Some(row.check.clone()), observer: Some(row.observer.clone()), target: row.target.clone() }
    }
}

/// What a round concludes of one region, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The region.
    pub region: RegionName,
    /// The conclusion.
    pub kind: Kind,
    /// Why, what weighs most first; empty only for a plain `ok`.
    pub reasons: Vec<Finding>,
    /// What proves that the active region serves writes. Always empty for a standby region.
    pub proofs: Vec<Finding>,
    /// What the active region's own agents say of its writers' taking writes. Their word is no proof against their own
    /// failing checks, but an operator who believes the region dead must hear of it.
    pub own_life: Vec<Finding>,
    /// Own agents and proofs contradict each other: worth looking again soon.
    pub contested: bool,
    /// Every look that was expected, in the order of checks, observers and targets.
    pub evidence: Vec<Evidence>,
}

/// Judges one region of one app. The order of the signals does not matter; the same input gives the same verdict.
#[must_use]
pub fn judge(input: &RoundInput<'_>) -> Verdict {
    let rows = evidence::rows(input);
    let active = input.region == input.active;
    let proofs = if active { proof::proofs(input) } else { Vec::new() };
    let own = own::say(input, &rows);
    let verdict = |kind, reasons| Verdict {
        region: input.region.clone(),
        kind,
        reasons,
        contested: kind != Kind::Unknown && own.broken() && !proofs.is_empty(),
        own_life: own.life.clone(),
        proofs: proofs.clone(),
        evidence: evidence::all(&rows),
    };

    // What we cannot know comes first: nothing that an agent said counts while we ourselves may be the ones cut off.
    let grace = grace(&Pacing::of(input.spec));
    if input.started_for < grace {
        let since = span(input.started_for);
        let text = format!("this coordinator watches only for {since}; it judges after {}", span(grace));
        return verdict(Kind::Unknown, vec![Finding::plain(text)]);
    }
    if input.spec.region(input.region).is_none() {
        let text = format!("{} is no region of {}", input.region, input.spec.app);
        return verdict(Kind::Unknown, vec![Finding::plain(text)]);
    }
    if let Some(text) = own::cut_off(input) {
        return verdict(Kind::Unknown, vec![Finding::plain(text)]);
    }

    if own.broken() {
        let mut reasons = own.bad.clone();
        if proofs.is_empty() {
            return verdict(Kind::Failing, reasons);
        }
        reasons.extend(proofs.iter().cloned());
        return verdict(Kind::Degraded, reasons);
    }
    // Freezing is milder than breaking a run, so what is still awaited goes before what is merely less than perfect.
    if !own.awaited.is_empty() {
        return verdict(Kind::Unknown, own.awaited.clone());
    }
    let mut less = own.missed.clone();
    less.extend(evidence::unreachable(input, &rows));
    if !less.is_empty() {
        return verdict(Kind::Degraded, less);
    }
    verdict(Kind::Ok, Vec::new())
}
