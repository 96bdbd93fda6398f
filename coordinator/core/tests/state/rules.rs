//! Rules of the replicated state about operations, one by one: what is refused, and what is taken without effect.

use holdfast_coordinator_core::{
    change::{self, Kind},
    plan::{self, FailoverRequest},
    records::{Action, Choose, CommandOutcome, CommandResult, NewGeneration, Operation, OperationState},
};
use holdfast_types::{HostName, refusal::Reason};

use crate::{run::*, support::*};

fn of(operation: u64, generation: u64) -> change::OfOperation {
    change::OfOperation { operation, generation }
}

fn next_generation(operation: u64, generation: u64, region: &str) -> Kind {
    Kind::NextGeneration(change::NextGeneration { operation, generation, region: region.into() })
}

fn planned(log: &Log) -> Operation {
    plan::failover(log.app("shop"), &FailoverRequest { to: None, able: None, reason: String::new() }).expect("a plan")
}

fn abort(operation: u64) -> Kind {
    Kind::AbortOperation(change::AbortOperation { operation, reason: "not now".into() })
}

fn extend(log: &Log, steps: Vec<holdfast_coordinator_core::records::Step>, unwinding: bool) -> Kind {
    let at_steps = small(log.op(1).steps.len());
    Kind::ExtendPlan(change::ExtendPlan { operation: 1, at_steps, steps, unwinding, why: "it failed".into() })
}

fn end(state: OperationState) -> Kind {
    Kind::EndOperation(change::EndOperation { operation: 1, state: state.into(), text: "so be it".into() })
}

#[test]
fn what_an_operation_does_to_its_app_needs_a_begun_step_that_asks_for_it() {
    let fresh = Log::with_app(&Wanted::shop(3));
    let changes = |generation| {
        [
            ("hold", Kind::Hold(of(1, generation))),
            ("fence", Kind::HoldOver(of(1, generation))),
            ("generation", next_generation(1, generation, "us-west")),
            ("release", Kind::EndHold(of(1, generation))),
        ]
    };
    for step in ["hold", "fence", "cut", "candidate", "generation", "promote", "route", "verify"] {
        let log = at_step(&fresh, 3, step);
        for (asked_by, change) in changes(log.app("shop").record.generation) {
            let mut log = log.clone();
            let answer = log.try_apply(change);
            assert_eq!(answer.is_ok(), asked_by == step, "{asked_by} while {step} runs: {answer:?}");
        }
    }
}

#[test]
fn a_generation_moves_on_only_when_the_held_one_is_over_and_to_where_the_operation_goes() {
    let mut log = at_step(&Log::with_app(&Wanted::shop(3)), 3, "generation");
    for (to, reason) in [
        ("eu-one", Reason::BadRequest),
        ("us-east", Reason::BadRequest),
        ("mars", Reason::BadRequest),
        ("", Reason::BadRequest),
    ] {
        assert_eq!(log.refused(next_generation(1, 1, to)).reason, reason, "{to}");
    }
    assert_eq!(log.refused(next_generation(1, 2, "us-west")).reason, Reason::GenerationMoved);
    let mut waits = log.clone();
    waits.checked = false;
    waits.state = bent(&log.state, "shop", |record| record.hold_over = false);
    assert_eq!(waits.refused(next_generation(1, 1, "us-west")).reason, Reason::BadRequest, "without the wait");
    assert_eq!(log.done(next_generation(1, 1, "us-west")), 2);
    assert_eq!(log.refused(next_generation(1, 1, "us-west")).reason, Reason::GenerationMoved, "once");
    let to = log.op(1).steps.iter().find_map(|s| match &s.action {
        Some(Action::Generation(NewGeneration { region })) => Some(region.clone()),
        _ => None,
    });
    assert_eq!(to.as_deref(), Some("us-west"), "the plan says where it went");
}

#[test]
fn a_lease_that_may_be_without_end_is_never_held_back() {
    let mut log = Log::with_app(&Wanted::shop(2));
    let mut plan = planned(&log);
    // No cut, so it names nobody whose absence would refuse it.
    plan.steps.retain(|s| !matches!(s.action, Some(Action::Cut(_) | Action::Choose(_))));
    log.done(promotable("shop", 1, &[]));
    log.done(start(log.app("shop"), plan));
    log.done(begins(1, 0, 1));
    assert_eq!(log.refused(Kind::Hold(of(1, 1))).reason, Reason::NotPromotable);
}

#[test]
fn a_plan_is_taken_only_as_it_was_planned() {
    let fresh = Log::with_app(&Wanted::shop(3));
    let bad = |bend: fn(&mut Operation)| {
        let mut log = fresh.clone();
        let mut plan = planned(&log);
        bend(&mut plan);
        log.refused(start(log.app("shop"), plan)).reason
    };
    assert_eq!(bad(|p| p.steps.clear()), Reason::BadRequest);
    assert_eq!(bad(|p| p.steps[0].attempt = 1), Reason::BadRequest);
    assert_eq!(bad(|p| p.steps[0].state = 2), Reason::BadRequest);
    assert_eq!(bad(|p| p.steps[0].given_up = true), Reason::BadRequest);
    assert_eq!(bad(|p| p.steps[0].attempts_max = 0), Reason::BadRequest);
    assert_eq!(bad(|p| p.steps[3].action = Some(Action::Choose(Choose { cut_step: 1 }))), Reason::BadRequest);
    assert_eq!(bad(|p| p.steps[3].action = Some(Action::Choose(Choose { cut_step: 9 }))), Reason::BadRequest);
    assert_eq!(bad(|p| p.steps = vec![p.steps[0].clone(); 25]), Reason::BadRequest);
    assert_eq!(bad(|p| p.app = "blog".into()), Reason::UnknownApp);

    let mut log = fresh.clone();
    let said = Operation {
        past_no_return: true,
        aborting: true,
        ways_forward: 9,
        generation_after: 9,
        ended_at: 9,
        text: "done before it began".into(),
        last_served_at: 77,
        requested_by: "somebody else".into(),
        from_region: "eu-one".into(),
        ..planned(&log)
    };
    let number = log.done(start(log.app("shop"), said));
    let op = log.op(number);
    assert!(!op.past_no_return && !op.aborting, "what happens to it is not the planner's to say");
    assert_eq!((op.ended_at, op.text.as_str(), op.last_served_at), (0, "", 77));
    assert_eq!((op.ways_forward, op.generation_after, op.from_region.as_str()), (0, 0, "us-east"));
    assert_eq!(log.refused(start(log.app("shop"), planned(&log))).reason, Reason::OperationRunning);
}

#[test]
fn an_operation_begins_only_on_what_it_was_planned_on() {
    let fresh = Log::with_app(&Wanted::shop(3));
    let plan = start(fresh.app("shop"), planned(&fresh));
    let mut log = fresh.clone();
    log.done(reactivate("shop", 1, "use-db1"));
    assert_eq!(log.refused(plan.clone()).reason, Reason::GenerationMoved);
    let mut log = fresh.clone();
    log.done(apply_spec(&Wanted { lease: "30s", ..Wanted::shop(3) }, 1));
    assert_eq!(log.refused(plan.clone()).reason, Reason::StaleRevision);
    let mut log = fresh;
    log.done(promotable("shop", 1, &["us-west"]));
    assert_eq!(log.refused(plan).reason, Reason::NotPromotable, "eu-one was a candidate");
}

#[test]
fn a_step_begins_in_its_turn_once_per_attempt_and_not_while_the_operation_is_aborted() {
    let mut log = at_step(&Log::with_app(&Wanted::shop(2)), 2, "cut");
    for (step, attempt) in [(2, 1), (2, 2), (2, 3), (3, 1), (1, 2), (0, 2), (99, 1)] {
        log.refused(begins(1, step, attempt));
    }
    log.done(ended(1, 2, 1, false, ""));
    log.refused(begins(1, 3, 1));
    log.refused(begins(1, 2, 1));
    log.refused(begins(1, 2, 3));
    log.done(abort(1));
    assert_eq!(log.refused(begins(1, 2, 2)).reason, Reason::OperationEnded);
    log.done(extend(&log, plan::unwind(log.op(1), log.app("shop")), true));
    log.refused(begins(1, 2, 2));
    let first = log.op(1).steps.len() - 2;
    log.refused(begins(1, first + 1, 1));
    log.done(begins(1, first, 1));
}

#[test]
fn no_step_is_tried_more_often_than_its_plan_says() {
    let mut log = at_step(&Log::with_app(&Wanted::shop(2)), 2, "cut");
    log.done(ended(1, 2, 1, false, ""));
    log.done(begins(1, 2, 2));
    log.done(ended(1, 2, 2, false, ""));
    log.refused(begins(1, 2, 3));
}

#[test]
fn only_a_choice_chooses_and_only_a_candidate() {
    let mut log = at_step(&Log::with_app(&Wanted::shop(3)), 3, "cut");
    log.refused(ended(1, 2, 1, true, "us-west"));
    log.done(ended(1, 2, 1, true, ""));
    log.done(begins(1, 3, 1));
    log.refused(ended(1, 3, 1, true, ""));
    log.refused(ended(1, 3, 1, false, "us-west"));
    assert_eq!(log.refused(ended(1, 3, 1, true, "us-east")).reason, Reason::UnknownRegion);
    log.done(ended(1, 3, 1, true, "eu-one"));
    assert_eq!(log.op(1).to_region, "eu-one");
}

#[test]
fn a_result_counts_only_from_the_host_that_the_command_was_sent_to() {
    let fresh = at_step(&Log::with_app(&Wanted::shop(3)), 3, "cut");
    let result = |part, attempt, host: &str| {
        let outcome = CommandOutcome::Done.into();
        let result = CommandResult { part, attempt, host: host.into(), outcome, ..CommandResult::default() };
        Kind::CommandEnded(change::CommandEnded { operation: 1, step: 2, result: Some(result) })
    };
    for (part, attempt, host, why) in [
        (0, 1, "eu1-db1", "another part's host"),
        (1, 1, "usw-db1", "another part's host"),
        (0, 1, "use-db1", "a host that the step does not name"),
        (2, 1, "usw-db1", "no such part"),
        (0, 2, "usw-db1", "an attempt that is still to come"),
        (0, 0, "usw-db1", "no attempt at all"),
    ] {
        let mut log = fresh.clone();
        assert_eq!(log.done(result(part, attempt, host)), 0, "{why}");
        assert!(log.op(1).steps[2].results.is_empty(), "{why}");
    }
    let mut log = fresh.clone();
    log.done(result(0, 1, "eu1-db1"));
    assert_eq!(log.done(result(0, 1, "usw-db1")), 1, "and a stranger's does not stand in its way");
    assert_eq!(log.done(result(0, 1, "usw-db1")), 0, "once");
    assert_eq!(log.done(result(1, 1, "eu1-db1")), 1);
    assert_eq!(log.op(1).steps[2].results.len(), 2);

    let mut log = fresh.clone();
    log.done(quarantine("usw-db1"));
    assert_eq!(log.done(result(0, 1, "usw-db1")), 0, "a quarantined host has no say");

    // Late ones of an older attempt are kept for people.
    let mut log = fresh.clone();
    log.done(ended(1, 2, 1, false, ""));
    log.done(begins(1, 2, 2));
    assert_eq!(log.done(result(0, 1, "usw-db1")), 1);
    assert_eq!(log.op(1).steps[2].results_now().count(), 0, "they count for nothing else");
    let unknown = Kind::CommandEnded(change::CommandEnded { operation: 9, ..change::CommandEnded::default() });
    assert_eq!(log.refused(unknown).reason, Reason::BadRequest, "a result that is none");
}

#[test]
fn a_result_after_the_end_is_taken_and_changes_nothing() {
    let mut run = Run::failover(&Log::with_app(&Wanted::shop(2)), World { regions: 2, ..World::default() });
    run.drive().expect("an end");
    let mut log = run.log;
    let before = log.state.clone();
    for (operation, step) in [(1, 2), (1, 99), (77, 0)] {
        let result = CommandResult { attempt: 1, host: "usw-db1".into(), ..CommandResult::default() };
        assert_eq!(log.done(Kind::CommandEnded(change::CommandEnded { operation, step, result: Some(result) })), 0);
    }
    assert_eq!(log.state, before);
    assert_eq!(log.refused(begins(1, 0, 2)).reason, Reason::OperationEnded);
    assert_eq!(log.refused(abort(1)).reason, Reason::OperationEnded);
}

#[test]
fn a_plan_is_taken_back_only_before_and_goes_forward_only_after_the_point_of_no_return() {
    let fresh = Log::with_app(&Wanted::shop(3));
    let reachable = [host(DB[2])].into();
    let way = |log: &Log| plan::way_forward(log.op(1), log.app("shop"), &reachable).expect("a way").1;
    let undos = |log: &Log| plan::unwind(log.op(1), log.app("shop"));

    let mut before = at_step(&fresh, 3, "cut");
    assert_eq!(before.refused(extend(&before, undos(&before), true)).reason, Reason::OperationRunning, "a step runs");
    before.done(ended(1, 2, 1, false, ""));
    before.refused(extend(&before, way(&before), false));
    before.refused(extend(&before, way(&before), true));
    before.refused(extend(&before, vec![], true));
    before.done(extend(&before, undos(&before), true));
    before.refused(extend(&before, undos(&before), true));

    let mut after = at_step(&fresh, 3, "promote");
    after.done(ended(1, 5, 1, false, ""));
    assert_eq!(after.refused(extend(&after, undos(&after), true)).reason, Reason::PastNoReturn);
    let late = extend(&after, way(&after), false);
    after.done(late.clone());
    after.refused(late);
    assert_eq!(after.refused(abort(1)).reason, Reason::PastNoReturn);
}

#[test]
fn an_operation_ends_only_as_what_it_did() {
    use OperationState::{Done, Failed, Partly, Running, Unspecified, Unwinding, Unwound};
    let fresh = Log::with_app(&Wanted::shop(2));
    let taken = |log: &Log| {
        let all = [Unspecified, Running, Unwinding, Done, Unwound, Failed, Partly];
        let taken = all.into_iter().filter(|state| log.clone().try_apply(end(*state)).is_ok());
        taken.collect::<Vec<_>>()
    };
    let mut begun = fresh.clone();
    begun.done(start(begun.app("shop"), planned(&begun)));
    assert_eq!(taken(&begun), [Failed, Partly], "nothing was done");
    let mut held = at_step(&fresh, 2, "fence");
    assert_eq!(taken(&held), [], "a step runs");
    held.done(ended(1, 1, 1, false, ""));
    assert_eq!(taken(&held), [], "and nobody would ever be granted a lease again");
    held.done(extend(&held, plan::unwind(held.op(1), held.app("shop")), true));
    let release = held.op(1).steps.len() - 1;
    held.done(begins(1, release, 1));
    held.done(Kind::EndHold(of(1, 1)));
    held.done(ended(1, release, 1, true, ""));
    assert_eq!(taken(&held), [Unwound, Partly]);
    let mut moved = at_step(&fresh, 2, "promote");
    moved.done(ended(1, 5, 1, true, ""));
    assert_eq!(taken(&moved), [Partly], "not all of it was done, and there is no way back");
}

#[test]
fn a_fence_that_nobody_carries_out_by_himself_needs_the_holders_word() {
    let fresh = Log::with_app(&Wanted { fenced_by: "none", ..Wanted::shop(2) });
    let mut log = at_step(&fresh, 2, "fence");
    assert_eq!(log.refused(Kind::HoldOver(of(1, 1))).reason, Reason::HostAbsent, "a wait proves nothing");
    let outcome = CommandOutcome::Done.into();
    let result = CommandResult { attempt: 1, host: "use-db1".into(), outcome, ..CommandResult::default() };
    log.done(Kind::CommandEnded(change::CommandEnded { operation: 1, step: 1, result: Some(result) }));
    log.done(Kind::HoldOver(of(1, 1)));
}

#[test]
fn ended_operations_are_pruned_and_their_numbers_are_not_used_again() {
    let mut log = Log::with_app(&Wanted::shop(2));
    log.checked = false;
    for number in 1..=504 {
        assert_eq!(log.done(start(log.app("shop"), planned(&log))), number);
        let end = change::EndOperation { operation: number, state: OperationState::Failed.into(), text: "no".into() };
        log.done(Kind::EndOperation(end));
    }
    log.checked = true;
    log.done(start(log.app("shop"), planned(&log)));
    let numbers: Vec<u64> = log.state.operations().keys().map(|id| id.0).collect();
    assert_eq!(numbers.first().zip(numbers.last()), Some((&5, &505)));
    assert_eq!(numbers.len(), 501, "500 that have ended and one that runs");
}

#[test]
fn going_back_to_the_source_is_told_as_what_it_is() {
    let log = Log::with_app(&Wanted::shop(2));
    let faults = vec![(At("promote", 0), Fails::Always)];
    let mut run = Run::failover(&log, World { regions: 2, faults, ..World::default() });
    run.drive().expect("an end");
    assert_eq!(run.op().at(), OperationState::Partly);
    assert_eq!(run.op().text, "shop was not moved, it went back to us-east, generation 3: promote failed: it did not");
    let holders: Vec<HostName> = run.log.app("shop").holders(&region("us-east")).into_iter().collect();
    assert_eq!(holders, [host("use-db1")]);
}

#[test]
fn what_could_not_be_taken_back_is_told() {
    let log = Log::with_app(&Wanted::shop(2));
    let faults = vec![(At("candidate", 0), Fails::Always), (At("reconnect", 0), Fails::Always)];
    let mut run = Run::failover(&log, World { regions: 2, faults, ..World::default() });
    run.drive().expect("an end");
    assert_eq!(run.op().at(), OperationState::Partly);
    assert_eq!(
        run.op().text,
        "candidate failed: it did not; shop goes on in us-east as generation 2; not taken back: reconnect (it did not)"
    );
}
