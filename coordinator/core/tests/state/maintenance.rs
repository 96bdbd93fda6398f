//! Maintenance: what it covers, how long, and that nothing begins within it.

use std::time::Duration;

use holdfast_coordinator_core::{
    change::{self, Kind},
    maintenance::{LONGEST, Scope},
    plan::{self, FailoverRequest},
    records::Operation,
};
use holdfast_types::refusal::Reason;

use crate::support::*;

pub fn on(app: &str, region: &str, lasts: Duration) -> Kind {
    let lasts = u64::try_from(lasts.as_millis()).expect("small");
    Kind::BeginMaintenance(change::BeginMaintenance {
        app: app.into(),
        region: region.into(),
        lasts,
        why: "disks".into(),
    })
}

pub fn off(app: &str, region: &str, index: u64) -> Kind {
    Kind::EndMaintenance(change::EndMaintenance { app: app.into(), region: region.into(), index })
}

const HOUR: Duration = Duration::from_hours(1);

fn planned(log: &Log) -> Operation {
    plan::failover(log.app("shop"), &FailoverRequest { to: None, able: None, reason: String::new() }).expect("a plan")
}

fn scope_of(log: &Log) -> Option<String> {
    log.state.maintenance_of(log.app("shop")).map(|(scope, _)| scope.to_string())
}

#[test]
fn nothing_begins_within_it_however_it_was_asked_for_and_whatever_was_decided_before() {
    for (app, region, scope) in
        [("shop", "", "app shop"), ("", "us-west", "region us-west"), ("", "", "the whole cluster")]
    {
        let mut log = Log::with_app(&Wanted::shop(2));
        let decided = start(log.app("shop"), planned(&log));
        log.done(on(app, region, HOUR));
        assert_eq!(scope_of(&log).as_deref(), Some(scope));
        let refused = log.refused(decided.clone());
        assert_eq!(refused.reason, Reason::InMaintenance);
        assert!(refused.what.contains("(holdfast://prod/operator/mara: disks)"), "{refused}");
        log.done(off(app, region, 0));
        assert_eq!(scope_of(&log.restarted()), None);
        log.done(decided);
    }
}

#[test]
fn what_it_does_not_cover_moves_and_what_runs_goes_on() {
    let mut log = Log::with_app(&Wanted::shop(2));
    log.done(on("", "eu-one", HOUR));
    assert_eq!(scope_of(&log), None, "shop does not declare eu-one");
    let decided = start(log.app("shop"), planned(&log));
    log.done(decided);
    log.done(on("shop", "", HOUR));
    log.done(begins(1, 0, 1));
}

#[test]
fn it_is_as_long_as_was_said_and_the_last_word_counts() {
    let mut log = Log::with_app(&Wanted::shop(2));
    for (lasts, ok) in
        [(Duration::ZERO, false), (LONGEST + Duration::from_millis(1), false), (LONGEST, true), (HOUR, true)]
    {
        assert_eq!(log.try_apply(on("shop", "", lasts)).is_ok(), ok, "{lasts:?}");
    }
    let (_, maintenance) = log.state.maintenance().next().expect("one");
    assert_eq!(maintenance.until - maintenance.since, 3_600_000);
    let first = maintenance.index;
    log.done(on("shop", "", 2 * HOUR));
    let second = log.index;
    assert_eq!(log.refused(off("shop", "", first)).reason, Reason::NoMaintenance, "that one is no more");
    log.done(on("", "", HOUR));
    assert_eq!(scope_of(&log).as_deref(), Some("app shop"), "of several the one that lasts longest");
    log.done(off("shop", "", second));
    assert_eq!(scope_of(&log).as_deref(), Some("the whole cluster"));
}

#[test]
fn it_is_of_something_that_there_is_and_has_a_reason() {
    let mut log = Log::with_app(&Wanted::shop(2));
    for (kind, reason) in [
        (on("wiki", "", HOUR), Reason::UnknownApp),
        (on("", "mars", HOUR), Reason::UnknownRegion),
        (on("shop", "us-east", HOUR), Reason::BadRequest),
        (on("No!", "", HOUR), Reason::BadRequest),
        (off("shop", "", 0), Reason::NoMaintenance),
    ] {
        assert_eq!(log.refused(kind.clone()).reason, reason, "{kind:?}");
    }
    let mut silent = on("shop", "", HOUR);
    if let Kind::BeginMaintenance(c) = &mut silent {
        c.why = "  ".into();
    }
    assert_eq!(log.refused(silent).reason, Reason::BadRequest);
    // Of a region that only hosts know.
    log.done(on("", "eu-one", HOUR));
    assert!(log.state.maintenance().all(|(scope, _)| matches!(scope, Scope::Region(_))));
}
