//! Which candidate is furthest on.

use holdfast_types::{Lsn, RegionName};

use crate::records::{Action, Candidate, CommandOutcome, Step};

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
    let Some(Action::Cut(_)) = &cut.action else {
        return Err("the plan compares positions of a step that is no cut".to_owned());
    };
    best(cut_candidates(cut)).ok_or_else(|| {
        let why: Vec<String> = cut.results_now().map(|r| format!("{}: {}", r.host, r.text)).collect();
        let why = if why.is_empty() { "none has answered".to_owned() } else { why.join("; ") };
        format!("no candidate has cut its receiver ({why})")
    })
}

/// The first of those that are furthest on.
pub(super) fn best(choices: impl IntoIterator<Item = Choice>) -> Option<Choice> {
    choices.into_iter().fold(None, |best: Option<Choice>, c| match best {
        Some(b) if (c.timeline, c.received) <= (b.timeline, b.received) => Some(b),
        Some(_) | None => Some(c),
    })
}

/// Candidates whose every host has cut its receiver, in the step's order; none when the step is no cut.
pub(super) fn cut_candidates(cut: &Step) -> impl Iterator<Item = Choice> {
    let action = match &cut.action {
        Some(Action::Cut(action)) => Some(action),
        Some(_) | None => None,
    };
    action.into_iter().flat_map(|action| &action.candidates).filter_map(|candidate| {
        let (timeline, received) = position(cut, candidate)?;
        Some(Choice { region: candidate.region.parse().ok()?, timeline, received })
    })
}

/// A region with several writers is as far on as the one that is least so.
fn position(cut: &Step, candidate: &Candidate) -> Option<(u32, Lsn)> {
    let each = candidate.hosts.iter().map(|host| {
        let done = cut.results_now().find(|r| r.host == *host && r.ended() == CommandOutcome::Done)?;
        done.position.map(|p| (p.timeline, Lsn(p.lsn)))
    });
    each.collect::<Option<Vec<_>>>()?.into_iter().min()
}
