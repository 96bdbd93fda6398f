//! Where an operation goes on that can no longer go back.

use std::collections::BTreeSet;

use holdfast_coordinator_core::{
    plan::way_forward,
    records::{
        Action, Candidate, CommandOutcome, CommandResult, Cut, NewGeneration, Operation, Position, Step, StepState,
    },
    state::App,
};
use holdfast_types::HostName;

use crate::support::*;

/// The app, active in us-west as generation 2; us-east was the source.
fn moved() -> Log {
    let mut log = Log::with_app(&Wanted::shop(3));
    log.state = bent(&log.state, "shop", |record| {
        record.active_region = "us-west".into();
        record.generation = 2;
        record.promotable.clear();
    });
    log
}

/// A cut of us-west and eu-one, of which these have answered with their position.
fn operation(answers: &[(usize, u64)], went_to: &[&str]) -> Operation {
    let candidates = [1, 2].map(|n| Candidate { region: REGIONS[n].into(), hosts: vec![DB[n].into()] }).to_vec();
    let results = answers.iter().map(|(n, lsn)| CommandResult {
        attempt: 1,
        host: DB[*n].into(),
        outcome: CommandOutcome::Done.into(),
        position: Some(Position { timeline: 1, lsn: *lsn }),
        ..CommandResult::default()
    });
    let done = |action| Step { action: Some(action), state: StepState::Done.into(), attempt: 1, ..Step::default() };
    let mut steps = vec![Step { results: results.collect(), ..done(Action::Cut(Cut { candidates })) }];
    steps.extend(went_to.iter().map(|r| done(Action::Generation(NewGeneration { region: (*r).into() }))));
    Operation { app: "shop".into(), from_region: "us-east".into(), steps, past_no_return: true, ..Operation::default() }
}

fn there(regions: &[usize]) -> BTreeSet<HostName> {
    regions.iter().map(|n| host(DB[*n])).collect()
}

fn goes(op: &Operation, app: &App, reachable: &[usize]) -> Option<String> {
    let (region, steps) = way_forward(op, app, &there(reachable))?;
    let names: Vec<&str> = steps.iter().map(|s| s.name.as_str()).collect();
    Some(format!("{region}: {}", names.join(" ")))
}

#[test]
fn it_goes_on_to_another_candidate_then_back_to_the_source_then_nowhere() {
    let log = moved();
    let app = log.app("shop");
    let cut = operation(&[(1, 9), (2, 8)], &["us-west"]);
    let promotes = Some("eu-one: hold fence generation promote route verify".to_owned());
    let starts = Some("us-east: hold fence generation start route verify".to_owned());
    assert_eq!(goes(&cut, app, &[0, 1, 2]), promotes, "another candidate before the source");
    assert_eq!(goes(&cut, app, &[0, 2]), promotes, "whether or not the failed one is there");
    assert_eq!(goes(&cut, app, &[0, 1]), starts, "only the source is there");
    assert_eq!(goes(&cut, app, &[1]), None, "only the one that failed is there");
    assert_eq!(goes(&cut, app, &[]), None);
}

#[test]
fn a_candidate_that_has_not_cut_its_receiver_does_so_before_it_is_promoted() {
    let log = moved();
    let op = operation(&[(1, 9)], &["us-west"]);
    let cuts = Some("eu-one: hold fence cut generation promote route verify".to_owned());
    assert_eq!(goes(&op, log.app("shop"), &[0, 2]), cuts);
    assert_eq!(goes(&op, log.app("shop"), &[0]), Some("us-east: hold fence generation start route verify".to_owned()));
}

#[test]
fn what_failed_for_good_is_not_tried_again() {
    let mut log = moved();
    let op = operation(&[(1, 9), (2, 8)], &["us-west", "eu-one"]);
    assert!(goes(&op, log.app("shop"), &[0, 1, 2]).is_some_and(|way| way.starts_with("us-east")));
    let op = operation(&[(1, 9), (2, 8)], &["us-west", "eu-one", "us-east"]);
    assert_eq!(goes(&op, log.app("shop"), &[0, 1, 2]), None);
    log.state = bent(&log.state, "shop", |record| record.active_region = "us-east".into());
    assert_eq!(goes(&op, log.app("shop"), &[0, 1, 2]), None, "the active region is no way forward");
}

#[test]
fn of_several_candidates_that_have_cut_it_goes_to_the_one_furthest_on() {
    let mut log = moved();
    log.state = bent(&log.state, "shop", |record| record.active_region = "us-east".into());
    // As if the source had been gone back to first: both are open.
    let mut op = operation(&[(1, 8), (2, 9)], &[]);
    op.from_region = "elsewhere".into();
    assert!(goes(&op, log.app("shop"), &[1, 2]).is_some_and(|way| way.starts_with("eu-one")));
}

#[test]
fn a_way_forward_fences_whoever_held_the_last_generation() {
    let log = moved();
    let (_, steps) =
        way_forward(&operation(&[(1, 9), (2, 8)], &["us-west"]), log.app("shop"), &there(&[2])).expect("a way");
    let fence = steps.iter().find_map(|s| match &s.action {
        Some(Action::Fence(fence)) => Some(fence.clone()),
        _ => None,
    });
    let fence = fence.expect("a fence");
    assert_eq!((fence.region.as_str(), fence.hosts), ("us-west", vec![DB[1].to_owned()]));
}
