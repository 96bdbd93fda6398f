//! A hold that is taken back before anybody waited: leases from before it live on, and the next hold must wait for them.

#[path = "state/support.rs"]
#[allow(dead_code, reason = "shared with the tests of the state")]
mod support;

use std::time::Duration;

use holdfast_coordinator_core::{
    change::{self, Kind},
    engine::{Next, next},
    grants::GrantLog,
    plan::{self, FailoverRequest},
};
use holdfast_types::{BootInstant, Generation, LogIndex, lease::Timings};
use support::*;

fn at(seconds: u64) -> BootInstant {
    BootInstant::from_boot(Duration::from_secs(seconds))
}

/// A failover that has just committed its hold.
fn held(log: &mut Log) -> u64 {
    let planned = plan::failover(log.app("shop"), &FailoverRequest { to: None, able: None, reason: String::new() })
        .expect("a plan");
    let number = log.done(start(log.app("shop"), planned));
    log.done(begins(number, 0, 1));
    let generation = log.app("shop").record.generation;
    log.done(Kind::Hold(change::OfOperation { operation: number, generation }));
    log.done(ended(number, 0, 1, true, ""));
    number
}

/// Aborts it while its fence waits, and ends it.
fn aborted(log: &mut Log, number: u64) {
    log.done(begins(number, 1, 1));
    log.done(Kind::AbortOperation(change::AbortOperation { operation: number, reason: "wait".into() }));
    log.done(ended(number, 1, 1, false, ""));
    loop {
        let (operation, generation) = (number, log.app("shop").record.generation);
        match next(log.op(number), log.app("shop"), &Default::default()) {
            Next::Nothing => return,
            Next::Begin { step, attempt } => drop(log.done(begins(number, step, attempt))),
            Next::Resume { step, attempt } => {
                log.done(Kind::EndHold(change::OfOperation { operation, generation }));
                log.done(ended(number, step, attempt, true, ""));
            }
            Next::Extend { steps, unwinding, why } => {
                let at_steps = small(log.op(number).steps.len());
                log.done(Kind::ExtendPlan(change::ExtendPlan { operation, at_steps, steps, unwinding, why }));
            }
            Next::End { state, text } => {
                log.done(Kind::EndOperation(change::EndOperation { operation, state: state.into(), text }));
            }
        }
    }
}

fn over(log: &Log, grants: &GrantLog, hold_applied: BootInstant) -> BootInstant {
    let app = log.app("shop");
    let index = LogIndex(app.record.generation_index);
    grants.over_at(&shop(), app.generation(), index, hold_applied, &app.timings().expect("timings"))
}

#[test]
fn the_failover_after_an_aborted_one_waits_for_leases_from_before_the_first_hold() {
    let mut log = Log::with_app(&Wanted::shop(2));
    // Leads for an hour; the source's last lease was given a second before it was cut off.
    let mut grants = GrantLog::new(at(0), LogIndex(log.index));
    grants.note(&shop(), Generation(1), at(3_600));
    let first = held(&mut log);
    aborted(&mut log, first);
    assert_eq!(log.app("shop").record.generation, 2);
    held(&mut log);
    let whole = log.app("shop").timings().expect("timings").over_after();
    assert_eq!(over(&log, &grants, at(3_604)), at(3_600) + whole);
}

#[test]
fn a_hold_taken_back_keeps_the_longest_timings_that_its_leases_may_have() {
    let mut log = Log::with_app(&Wanted::shop(2));
    let long = log.app("shop").timings().expect("timings");
    log.done(apply_spec(&Wanted { lease: "2s", renew: "500ms", within: "1s", ..Wanted::shop(2) }, 1));
    let first = held(&mut log);
    aborted(&mut log, first);
    let app = log.app("shop");
    let short = app.spec.timings().expect("timings");
    assert!(short.lease < long.lease);
    assert_eq!(app.timings().map(|t: Timings| t.lease), Some(long.lease));
}
