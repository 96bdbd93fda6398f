//! Where an operation goes on that can no longer go back.

use std::collections::BTreeSet;

use holdfast_types::{HostName, RegionName};

use super::{
    START_TIMEOUT,
    choice::{best, cut_candidates},
    cut, hold_and_fence, new_generation, open_up, promote, step,
};
use crate::{
    records::{Action, Operation, Start, Step, StepState},
    state::App,
};

/// Where an operation past its point of no return goes on when its active region's host does not come up, as a further
/// generation, after fence or wait for whoever held the last. In this order, each region once, and only while all of
/// its writers' hosts are among `reachable` (those with a live session):
/// 1. of the candidates that have cut their receiver, the one furthest on;
/// 2. a candidate that has not yet, which does so first;
/// 3. the source, which starts what was primary there.
#[must_use]
pub fn way_forward(op: &Operation, app: &App, reachable: &BTreeSet<HostName>) -> Option<(RegionName, Vec<Step>)> {
    let source: Option<RegionName> = op.from_region.parse().ok();
    let tried = tried(op);
    let open = |region: &RegionName| {
        let holders = app.holders(region);
        let there = !holders.is_empty() && holders.is_subset(reachable);
        there && region != app.active() && !tried.contains(region)
    };
    let standby = |region: &RegionName| open(region) && Some(region) != source.as_ref();
    let ready = best(op.steps.iter().flat_map(cut_candidates).filter(|c| standby(&c.region)));
    if let Some(choice) = ready {
        return Some((choice.region.clone(), going_to(app, &choice.region, source.as_ref(), Arrival::Promote)));
    }
    if let Some(region) = candidates(op).find(|region| standby(region)) {
        let steps = going_to(app, &region, source.as_ref(), Arrival::CutAndPromote);
        return Some((region, steps));
    }
    let source = source.filter(open)?;
    let steps = going_to(app, &source, None, Arrival::Start);
    Some((source, steps))
}

enum Arrival {
    Promote,
    CutAndPromote,
    Start,
}

fn going_to(app: &App, region: &RegionName, source: Option<&RegionName>, arrival: Arrival) -> Vec<Step> {
    let mut steps = hold_and_fence(app, app.active());
    if matches!(arrival, Arrival::CutAndPromote) {
        steps.push(cut(app, &[region], source.unwrap_or(app.active())));
    }
    steps.push(new_generation(app, Some(region)));
    steps.push(match arrival {
        Arrival::Promote | Arrival::CutAndPromote => promote(region.as_str()),
        Arrival::Start => step(
            "start",
            format!("{region} takes a lease of the new generation and starts what was primary there"),
            START_TIMEOUT,
            "",
            3,
            Action::Start(Start {}),
        ),
    });
    steps.extend(open_up(app));
    steps
}

/// Regions that the operation has gone to, or set out for: what failed for good there is not tried again.
fn tried(op: &Operation) -> BTreeSet<RegionName> {
    let begun = op.steps.iter().filter(|s| !matches!(s.at(), StepState::Planned));
    begun
        .filter_map(|s| match &s.action {
            Some(Action::Generation(to)) => to.region.parse().ok(),
            Some(_) | None => None,
        })
        .collect()
}

fn candidates(op: &Operation) -> impl Iterator<Item = RegionName> {
    let cuts = op.steps.iter().filter_map(|s| match &s.action {
        Some(Action::Cut(cut)) => Some(&cut.candidates),
        Some(_) | None => None,
    });
    cuts.flatten().filter_map(|c| c.region.parse().ok())
}
