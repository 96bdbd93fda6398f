//! Rules of the replicated state about apps, specs, hosts and certificates.

use holdfast_coordinator_core::{
    change::{self, Kind},
    plan::{self, FailoverRequest},
    records::Operation,
};
use holdfast_types::refusal::Reason;

use crate::{run::*, support::*};

fn planned(log: &Log) -> Operation {
    plan::failover(log.app("shop"), &FailoverRequest { to: None, able: None, reason: String::new() }).expect("a plan")
}

#[test]
fn nothing_happens_before_there_is_a_cluster_and_there_is_one_only_once() {
    let mut log = Log::empty();
    assert_eq!(log.refused(token("t", "us-east", 1, "")).reason, Reason::BadRequest);
    let init = |id: &str| Kind::Init(change::Init { cluster: id.into(), name: "prod".into() });
    assert_eq!(log.refused(init("")).reason, Reason::BadRequest);
    assert_eq!(log.refused(init("prod")).reason, Reason::BadRequest, "no UUID");
    log.done(init("0198c9a2-6f3e-4c1d-9b7a-2f4e8d1c5a60"));
    assert_eq!(log.refused(init("0198c9a2-6f3e-4c1d-9b7a-2f4e8d1c5a61")).reason, Reason::BadRequest);
}

#[test]
fn an_app_without_leases_is_neither_held_nor_taken_over_nor_reactivated() {
    let mut log = Log::with_app(&Wanted::shop(2));
    let plan = Operation { steps: planned(&log).steps.into_iter().take(2).collect(), ..planned(&log) };
    log = Log::with_app(&Wanted { failover: false, ..Wanted::shop(2) });
    assert_eq!(log.refused(promotable("shop", 1, &["us-west"])).reason, Reason::NoFailover);
    assert_eq!(log.refused(reactivate("shop", 1, "use-db1")).reason, Reason::NoFailover);
    log.done(start(log.app("shop"), plan));
    log.done(begins(1, 0, 1));
    assert_eq!(log.refused(Kind::Hold(change::OfOperation { operation: 1, generation: 1 })).reason, Reason::NoFailover);
}

#[test]
fn a_spec_is_not_changed_while_an_operation_runs() {
    let mut log = at_step(&Log::with_app(&Wanted::shop(2)), 2, "fence");
    let longer = Wanted { lease: "40s", ..Wanted::shop(2) };
    assert_eq!(log.refused(apply_spec(&longer, 1)).reason, Reason::OperationRunning);
    assert_eq!(log.refused(promotable("shop", 1, &[])).reason, Reason::OperationRunning);
    assert_eq!(log.refused(reactivate("shop", 1, "use-db1")).reason, Reason::OperationRunning);
}

#[test]
fn a_region_is_promotable_as_long_as_what_is_known_of_it_is_true() {
    let regions = |log: &Log| log.app("shop").promotable().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let fresh = Log::with_app(&Wanted::shop(3));
    assert_eq!(regions(&fresh), "us-west eu-one");

    let mut log = fresh.clone();
    log.done(apply_spec(&Wanted { lease: "40s", ..Wanted::shop(3) }, 1));
    assert_eq!(regions(&log), "us-west eu-one", "a lease's length says nothing about standbys");
    let mut log = fresh.clone();
    log.done(apply_spec(&Wanted { west_db: "usw-db2", ..Wanted::shop(3) }, 1));
    assert_eq!(regions(&log), "eu-one", "nothing is known of us-west's new host");
    let mut log = fresh.clone();
    log.done(apply_spec(&Wanted::shop(2), 1));
    assert_eq!(regions(&log), "us-west", "eu-one is left out");

    let mut log = fresh.clone();
    log.done(quarantine("usw-db1"));
    assert_eq!(regions(&log), "eu-one", "its host would get no lease");
    assert_eq!(log.refused(promotable("shop", 1, &["us-west"])).reason, Reason::Quarantined);
    assert_eq!(log.refused(promotable("shop", 1, &["us-east"])).reason, Reason::UnknownRegion, "the active one");
    assert_eq!(log.refused(promotable("shop", 1, &["mars"])).reason, Reason::UnknownRegion);
    assert_eq!(log.refused(promotable("shop", 2, &["eu-one"])).reason, Reason::GenerationMoved);

    let mut log = at_step(&fresh, 3, "cut");
    log.done(quarantine("usw-db1"));
    assert_eq!(regions(&log), "us-west eu-one", "frozen while an operation runs");
}

#[test]
fn nothing_active_is_moved_removed_or_taken_out_of_its_leases_by_a_spec() {
    let fresh = Log::with_app(&Wanted::shop(2));
    let refused = |wanted: Wanted| fresh.clone().refused(apply_spec(&wanted, 1)).reason;
    assert_eq!(refused(Wanted { failover: false, ..Wanted::shop(2) }), Reason::UnsafeChange);
    assert_eq!(refused(Wanted::shop(1)), Reason::UnsafeChange);
    assert_eq!(refused(Wanted { port: 6000, ..Wanted::shop(2) }), Reason::UnsafeChange);
    assert_eq!(fresh.clone().refused(apply_spec(&Wanted::shop(2), 7)).reason, Reason::StaleRevision);
    let unfenced = || Wanted { fenced_by: "none", ..Wanted::shop(2) };
    let mut log = Log::with_app(&unfenced());
    let reason = log.refused(apply_spec(&Wanted::shop(2), 1)).reason;
    assert_eq!(reason, Reason::UnsafeChange, "who has not heard of it would not fence");
    log.done(apply_spec(&Wanted { within: "12s", ..unfenced() }, 1));
    let mut other = fresh.clone();
    let wiki = Wanted { app: "wiki", ..Wanted::shop(2) };
    assert_eq!(other.refused(apply_spec(&wiki, 0)).reason, Reason::WriterTaken, "the same port on the same host");
    other.done(apply_spec(&Wanted { port: 5433, ..wiki }, 0));
}

#[test]
fn leases_that_begin_with_a_spec_begin_without_end() {
    let mut log = Log::with_app(&Wanted { failover: false, ..Wanted::shop(2) });
    log.done(apply_spec(&Wanted::shop(2), 1));
    assert!(log.app("shop").lease_is_sole(false), "its holder was never told of an end");
    assert!(log.app("shop").timings().is_some());
}

#[test]
fn past_its_point_of_no_return_an_operation_lets_its_new_holder_go_on_as_a_further_generation() {
    let mut log = at_step(&Log::with_app(&Wanted::shop(2)), 2, "promote");
    assert_eq!(log.refused(reactivate("shop", 2, "use-db1")).reason, Reason::NotPermitted, "the source");
    assert_eq!(log.done(reactivate("shop", 2, "usw-db1")), 3, "its lease ran out before it was promoted");
    assert_eq!(log.app("shop").active().as_str(), "us-west");
    assert_eq!(log.refused(reactivate("shop", 2, "usw-db1")).reason, Reason::GenerationMoved, "once");
}

#[test]
fn a_quarantined_holder_is_not_reactivated() {
    let mut log = Log::with_app(&Wanted::shop(2));
    assert_eq!(log.refused(reactivate("shop", 1, "usw-db1")).reason, Reason::NotPermitted, "no holder");
    assert_eq!(log.refused(reactivate("shop", 2, "use-db1")).reason, Reason::GenerationMoved);
    log.done(quarantine("use-db1"));
    assert_eq!(log.refused(reactivate("shop", 1, "use-db1")).reason, Reason::Quarantined);
    log.done(token("again", "us-east", 1, "use-db1"));
    log.done(enrol("again", "use-db1"));
    assert_eq!(log.done(reactivate("shop", 1, "use-db1")), 2, "until it is enrolled anew");
}

#[test]
fn of_several_holders_any_that_has_fenced_begins_the_next_generation_and_the_others_leases_still_count() {
    let two = Wanted { second: true, ..Wanted::shop(2) };
    let mut log = Log::with_app(&two);
    let hosts = |log: &Log| log.app("shop").holders(log.app("shop").active()).len();
    assert_eq!(hosts(&log), 2);
    let long = log.app("shop").timings().expect("timings");
    log.done(apply_spec(&Wanted { lease: "2s", renew: "500ms", within: "1s", ..two }, 1));
    assert_eq!(log.done(reactivate("shop", 1, WEB[0])), 2);
    assert_eq!(log.app("shop").timings(), Some(long), "the other holder may live on a lease from before");
    assert_eq!(log.refused(reactivate("shop", 1, "use-db1")).reason, Reason::GenerationMoved, "it asks for the next");
    assert_eq!(log.done(reactivate("shop", 2, "use-db1")), 3);

    let mut log = Log::with_app(&Wanted::shop(2));
    log.done(apply_spec(&Wanted { lease: "2s", renew: "500ms", within: "1s", ..Wanted::shop(2) }, 1));
    log.done(reactivate("shop", 1, "use-db1"));
    let app = log.app("shop");
    assert_eq!(app.timings(), app.spec.timings(), "the only holder has fenced: nothing is left of the old lease");
}

#[test]
fn an_enrolment_is_answered_again_until_its_certificate_is_renewed() {
    let mut log = Log::cluster();
    log.done(token("once", "us-west", 1, ""));
    let serial = log.done(enrol("once", "usw-db9"));
    assert_eq!(log.done(enrol("once", "usw-db9")), serial, "its answer was lost");
    let bearer = "holdfast://0198c9a2-6f3e-4c1d-9b7a-2f4e8d1c5a60/agent/us-west/usw-db9";
    let issue = |renews| Kind::Issue(change::Issue { bearer: bearer.into(), until: 1_995_208_657_532, renews });
    let renewed = log.done(issue(serial));
    assert!(renewed > serial, "serials are never used twice");
    assert_eq!(log.refused(enrol("once", "usw-db9")).reason, Reason::BadToken, "the token is used up");
    let stranger = bearer.replace("usw-db9", "mars-db1");
    let unknown = Kind::Issue(change::Issue { bearer: stranger, until: 0, renews: 0 });
    assert_eq!(log.refused(unknown).reason, Reason::UnknownHost);
    assert_eq!(log.refused(token("none", "us-west", 0, "")).reason, Reason::BadRequest);
    log.done(Kind::Revoke(change::Revoke { bearer: bearer.into(), reason: "stolen".into() }));
    assert_eq!(log.refused(issue(renewed)).reason, Reason::Revoked);
}
