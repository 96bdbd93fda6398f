//! Whether a lease is granted, and whether it has an end: every refusal, every condition.

use std::time::Duration;

use holdfast_coordinator_core::{
    change::{self, Kind},
    grants::{Terms, may_grant},
    plan::{self, FailoverRequest},
    state::State,
};
use holdfast_types::{Generation, refusal::Reason};

use crate::support::*;

fn ask(state: &State, app: &str, holder: &str, fenced: u64, end_wanted: bool) -> Result<Terms, Reason> {
    may_grant(state, &name(app), &host(holder), Generation(fenced), end_wanted).map_err(|refused| {
        assert!(!refused.what.is_empty());
        refused.reason
    })
}

/// A failover that has begun and done nothing yet.
fn begun(log: &mut Log) -> u64 {
    let planned = plan::failover(log.app("shop"), &FailoverRequest { to: None, able: None, reason: String::new() })
        .expect("a plan");
    log.done(start(log.app("shop"), planned))
}

fn held(log: &mut Log) -> u64 {
    let number = begun(log);
    log.done(begins(number, 0, 1));
    let generation = log.app("shop").record.generation;
    log.done(Kind::Hold(change::OfOperation { operation: number, generation }));
    number
}

#[test]
fn a_lease_is_granted_to_a_holder_of_the_active_region_alone() {
    let log = Log::with_app(&Wanted::shop(2));
    let granted = Terms { generation: Generation(1), lease: Some(Duration::from_secs(20)) };
    assert_eq!(ask(&log.state, "shop", "use-db1", 0, false), Ok(granted));
    assert_eq!(ask(&log.state, "wiki", "use-db1", 0, false), Err(Reason::UnknownApp));
    assert_eq!(ask(&log.state, "shop", "usw-db1", 0, false), Err(Reason::NotPermitted), "a standby");
    assert_eq!(ask(&log.state, "shop", "use-web1", 0, false), Err(Reason::NotPermitted), "no writer of record there");
    assert_eq!(ask(&log.state, "shop", "mars-db1", 0, false), Err(Reason::UnknownHost));

    let mut quarantined = log.clone();
    quarantined.done(quarantine("use-db1"));
    assert_eq!(ask(&quarantined.state, "shop", "use-db1", 0, false), Err(Reason::Quarantined));

    let mut revoked = log.clone();
    let bearer = "holdfast://0198c9a2-6f3e-4c1d-9b7a-2f4e8d1c5a60/agent/us-east/use-db1".into();
    revoked.done(Kind::Revoke(change::Revoke { bearer, reason: "stolen".into() }));
    assert_eq!(ask(&revoked.state, "shop", "use-db1", 0, false), Err(Reason::Quarantined));
}

#[test]
fn an_app_that_cannot_move_has_no_leases() {
    let one = Log::with_app(&Wanted::shop(1));
    assert_eq!(ask(&one.state, "shop", "use-db1", 0, false), Err(Reason::NoFailover), "one region");
    let without = Log::with_app(&Wanted { failover: false, ..Wanted::shop(2) });
    assert_eq!(ask(&without.state, "shop", "use-db1", 0, false), Err(Reason::NoFailover), "no failover section");
}

#[test]
fn a_held_generation_is_granted_to_nobody() {
    let mut log = Log::with_app(&Wanted::shop(2));
    held(&mut log);
    assert_eq!(ask(&log.state, "shop", "use-db1", 0, false), Err(Reason::OperationRunning));
    assert_eq!(ask(&log.state, "shop", "usw-db1", 0, false), Err(Reason::NotPermitted));
}

#[test]
fn a_generation_that_the_holder_has_fenced_is_not_granted_to_it() {
    let mut log = Log::with_app(&Wanted::shop(2));
    assert_eq!(ask(&log.state, "shop", "use-db1", 1, false), Err(Reason::GenerationMoved));
    assert_eq!(ask(&log.state, "shop", "use-db1", 7, false), Err(Reason::GenerationMoved), "nor one that it is past");
    log.done(reactivate("shop", 1, "use-db1"));
    assert_eq!(ask(&log.state, "shop", "use-db1", 1, false).map(|t| t.generation), Ok(Generation(2)));
}

#[test]
fn a_lease_is_without_end_only_while_nobody_could_take_over_and_nothing_goes_on() {
    let promotable_none = |log: &mut Log| log.done(promotable("shop", 1, &[]));
    let sole = |log: &Log, end_wanted| ask(&log.state, "shop", "use-db1", 0, end_wanted).map(|t| t.lease.is_none());

    let mut log = Log::with_app(&Wanted::shop(2));
    assert_eq!(sole(&log, false), Ok(false), "us-west could take over");
    promotable_none(&mut log);
    assert_eq!(sole(&log, false), Ok(true));
    assert_eq!(sole(&log, true), Ok(false), "a region is about to be able to");

    // An operation that changes nothing of the app is enough.
    let mut log = Log::with_app(&Wanted::shop(2));
    begun(&mut log);
    log.state = bent(&log.state, "shop", |record| record.promotable.clear());
    assert_eq!(sole(&log, false), Ok(false), "an operation may have to wait for it");
}

#[test]
fn the_new_region_is_granted_the_new_generation_with_an_end_while_the_operation_runs() {
    let mut log = Log::with_app(&Wanted::shop(2));
    let number = held(&mut log);
    for step in 0..4 {
        if step > 0 {
            log.done(begins(number, step, 1));
        }
        if step == 1 {
            log.done(Kind::HoldOver(change::OfOperation { operation: number, generation: 1 }));
        }
        log.done(ended(number, step, 1, true, if step == 3 { "us-west" } else { "" }));
    }
    log.done(begins(number, 4, 1));
    let change = change::NextGeneration { operation: number, generation: 1, region: "us-west".into() };
    log.done(Kind::NextGeneration(change));
    let granted = Terms { generation: Generation(2), lease: Some(Duration::from_secs(20)) };
    assert_eq!(ask(&log.state, "shop", "usw-db1", 0, false), Ok(granted));
    assert_eq!(ask(&log.state, "shop", "use-db1", 0, false), Err(Reason::NotPermitted), "the source");
}

#[test]
fn a_lease_lasts_as_long_as_the_newest_spec_says() {
    let mut log = Log::with_app(&Wanted::shop(2));
    log.done(apply_spec(&Wanted { lease: "40s", ..Wanted::shop(2) }, 1));
    let lease = |log: &Log| ask(&log.state, "shop", "use-db1", 0, false).ok().and_then(|t| t.lease);
    assert_eq!(lease(&log), Some(Duration::from_secs(40)));
    log.done(apply_spec(&Wanted { lease: "15s", ..Wanted::shop(2) }, 2));
    assert_eq!(lease(&log), Some(Duration::from_secs(15)));
}
