//! Plans as operators read them, and requests that get none.

use holdfast_coordinator_core::{
    change::Refused,
    plan::{self, FailoverRequest, hosts_of},
    records::Operation,
};
use holdfast_types::{refusal::Reason, time::span};

use crate::support::*;

#[test]
fn a_region_of_which_nothing_good_is_seen_is_not_asked() {
    let log = Log::with_app(&Wanted::shop(3));
    let only =
        |able: &[&str]| FailoverRequest { able: Some(able.iter().map(|r| region(r)).collect()), ..request(None) };
    let cut = |request: &FailoverRequest| {
        let plan = plan::failover(log.app("shop"), request)?;
        let step = plan.steps.iter().position(|s| s.name == "cut").expect("a cut");
        Ok::<_, Refused>(hosts_of(&plan, log.app("shop"), step).iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(cut(&request(None)), Ok(vec!["usw-db1".to_owned(), "eu1-db1".to_owned()]));
    assert_eq!(cut(&only(&["eu-one"])), Ok(vec!["eu1-db1".to_owned()]));
    assert_eq!(cut(&only(&[])).expect_err("nobody").reason, Reason::NotPromotable);
    let named = FailoverRequest { to: Some(region("us-west")), ..only(&["eu-one"]) };
    assert_eq!(cut(&named).expect_err("not that one").reason, Reason::NotPromotable);
}

fn request(to: Option<&str>) -> FailoverRequest {
    FailoverRequest { to: to.map(region), able: None, reason: "us-east does not answer".into() }
}

fn told(op: &Operation) -> String {
    let steps = op.steps.iter().map(|s| {
        let undo = if s.undo.is_empty() { String::new() } else { format!(" | undo: {}", s.undo) };
        let mark = if s.no_return { " | no return" } else { "" };
        let timeout = span(std::time::Duration::from_millis(s.timeout));
        format!("  {:<10} {} | {timeout}, {} attempts{undo}{mark}\n", s.name, s.planned, s.attempts_max)
    });
    let line = format!("{} {} {} → {}", op.kind, op.app, op.from_region, op.to_region);
    format!("{}\n{}", line.trim_end(), steps.collect::<String>())
}

#[test]
fn the_plan_of_two_regions_with_proxies() {
    let log = Log::with_app(&Wanted::shop(2));
    let planned = plan::failover(log.app("shop"), &request(None)).expect("a plan");
    insta::assert_snapshot!(told(&planned), @r"
    failover shop us-east → us-west
      hold       us-east gets no further lease | 10 s, 3 attempts | undo: a further generation, the same region
      fence      stop the writers on use-db1; without its word, wait until its lease is over for sure: 31 s | 41 s, 3 attempts
      cut        usw-db1 stops receiving from us-east, durably | 10 s, 2 attempts | undo: connect again
      candidate  the one furthest on by timeline and received position | 10 s, 1 attempts
      generation commit 1 → 2 for the candidate | 10 s, 3 attempts | no return
      promote    the candidate takes a lease of the new generation and promotes under it | 1 min, 3 attempts
      route      open the active region on use-web1, usw-web1, close the others and cut their connections | 5 s, 5 attempts
      verify     writes are committed there, and the region's proxies are open | 15 s, 3 attempts
    ");
}

#[test]
fn the_plan_of_three_regions_names_every_candidate() {
    let log = Log::with_app(&Wanted { proxies: false, lease: "3s", renew: "1s", ..Wanted::shop(3) });
    let planned = plan::failover(log.app("shop"), &request(None)).expect("a plan");
    insta::assert_snapshot!(told(&planned), @r"
    failover shop us-east →
      hold       us-east gets no further lease | 10 s, 3 attempts | undo: a further generation, the same region
      fence      stop the writers on use-db1; without its word, wait until its lease is over for sure: 13.1 s | 23.1 s, 3 attempts
      cut        usw-db1, eu1-db1 stops receiving from us-east, durably | 10 s, 2 attempts | undo: connect again
      candidate  the one furthest on by timeline and received position | 10 s, 1 attempts
      generation commit 1 → 2 for the candidate | 10 s, 3 attempts | no return
      promote    the candidate takes a lease of the new generation and promotes under it | 1 min, 3 attempts
      verify     writes are committed there | 15 s, 3 attempts
    ");
    let planned = plan::failover(log.app("shop"), &request(Some("eu-one"))).expect("a plan");
    assert_eq!(planned.to_region, "eu-one");
    assert!(told(&planned).contains("eu1-db1 stops receiving from us-east"), "{}", told(&planned));
}

#[test]
fn a_plan_depends_on_nothing_but_the_state_and_the_request() {
    let log = Log::with_app(&Wanted::shop(3));
    let one = plan::failover(log.app("shop"), &request(None));
    assert_eq!(one, plan::failover(log.restarted().app("shop"), &request(None)));
}

#[test]
fn the_wait_covers_the_longest_timings_since_the_generation_began() {
    let mut log = Log::with_app(&Wanted { lease: "40s", ..Wanted::shop(2) });
    log.done(apply_spec(&Wanted::shop(2), 1));
    let planned = plan::failover(log.app("shop"), &request(None)).expect("a plan");
    assert!(told(&planned).contains("for sure: 52 s"), "40 s lease, 2 s drift, 10 s fence: {}", told(&planned));
}

#[test]
fn what_cannot_be_failed_over_gets_no_plan() {
    let log = Log::with_app(&Wanted::shop(3));
    let mut only_west = log.clone();
    only_west.done(promotable("shop", 1, &["us-west"]));
    let mut nobody = log.clone();
    nobody.done(promotable("shop", 1, &[]));
    let without = Log::with_app(&Wanted { failover: false, ..Wanted::shop(2) });
    for (log, to, reason) in [
        (&log, Some("us-east"), Reason::AlreadyActive),
        (&log, Some("mars"), Reason::UnknownRegion),
        (&only_west, Some("eu-one"), Reason::NotPromotable),
        (&nobody, None, Reason::NotPromotable),
        (&without, None, Reason::NoFailover),
    ] {
        let refused = plan::failover(log.app("shop"), &request(to)).expect_err("no plan");
        assert_eq!(refused.reason, reason, "{to:?}: {refused}");
    }
}

#[test]
fn the_hosts_of_each_step_are_those_that_the_step_names() {
    let log = Log::with_app(&Wanted::shop(3));
    let app = log.app("shop");
    let mut op = plan::failover(app, &request(None)).expect("a plan");
    op.steps.extend(plan::unwind(&begun(op.clone()), app));
    let hosts = |n: usize| hosts_of(&op, app, n).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let table: Vec<String> = op.steps.iter().enumerate().map(|(n, s)| format!("{} {}", s.name, hosts(n))).collect();
    assert_eq!(
        table,
        [
            "hold ",
            "fence use-db1",
            "cut usw-db1 eu1-db1",
            "candidate ",
            "generation ",
            "promote use-db1",
            "route use-web1 usw-web1 eu1-web1",
            "verify use-db1 use-web1",
            "reconnect usw-db1 eu1-db1",
            "release ",
        ],
        "of the region that is active when it runs"
    );
    assert_eq!(hosts(99), "");
}

fn begun(mut op: Operation) -> Operation {
    op.steps.iter_mut().for_each(|s| s.state = 2);
    op
}

#[test]
fn a_failover_that_ended_before_its_region_served_can_be_finished() {
    let log = Log::with_app(&Wanted::shop(2));
    let mut app = log.app("shop").clone();
    let served = plan::failover(&app, &request(Some("us-east"))).expect_err("it serves");
    assert_eq!(served.reason, Reason::AlreadyActive);
    app.record.routed = false;
    let planned = plan::failover(&app, &request(Some("us-east"))).expect("what is left of the failover");
    let names: Vec<&str> = planned.steps.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["promote", "route", "verify"], "nothing is held, fenced or cut");
    assert_eq!((planned.from_region.as_str(), planned.to_region.as_str()), ("us-east", "us-east"));
}
