//! Any sequence of changes, sensible or not: what always holds of the state.

use std::{cell::RefCell, collections::BTreeMap};

use holdfast_coordinator_core::{
    change::{self, Kind, Refused},
    engine::{Next, next},
    plan::{self, FailoverRequest, hosts_of},
    records::{self, Action, CommandOutcome, CommandResult, Operation, OperationState, Position},
    state::{App, State},
};
use holdfast_types::{HostName, OperationId};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use crate::support::*;

const APPS: [&str; 2] = ["shop", "wiki"];

/// What one change is made of. Most are made to fit the state, some are not.
#[derive(Debug, Clone, Copy)]
struct Draw {
    pick: u8,
    a: u8,
    b: u8,
    c: u8,
}

fn draws() -> impl Strategy<Value = Vec<Draw>> {
    let draw = (any::<u8>(), any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(pick, a, b, c)| Draw { pick, a, b, c });
    proptest::collection::vec(draw, 30..200)
}

fn wanted(app: &'static str, draw: Draw) -> Wanted {
    let mut wanted = Wanted { app, ..Wanted::shop(3) };
    if app == "wiki" {
        wanted.port = 5433;
        wanted.west_db = "usw-db2";
    }
    match draw.b % 8 {
        0 => wanted.lease = "40s",
        1 => wanted.regions = 2,
        2 => wanted.failover = false,
        3 => wanted.west_db = if draw.c.is_multiple_of(2) { "usw-db2" } else { DB[1] },
        4 => wanted.fenced_by = "none",
        5 => wanted.port = 5432,
        6 => wanted.proxies = false,
        _ => {}
    }
    wanted
}

fn kind(state: &State, draw: Draw) -> Kind {
    let Draw { pick, a, b, c } = draw;
    let name = APPS[usize::from(a % 2)];
    let app = state.app(&crate::support::name(name));
    let generation = app.map_or(1, |app| app.record.generation);
    // One in eight names another generation or operation than there is.
    let generation = if c % 8 == 7 { u64::from(b) } else { generation };
    let running = app.and_then(App::operation).map_or(u64::from(b % 4), |id| id.0);
    match pick % 32 {
        0 => Kind::ApplySpec(change::ApplySpec {
            spec_yaml: if c == 0 { "spec: 2".into() } else { wanted(name, draw).yaml() },
            on_revision: app.map_or(0, |app| app.record.revision),
            active_region: REGIONS[usize::from(c % 3)].into(),
        }),
        1..=3 => {
            let regions: Vec<&str> = (0..3).filter(|n| b >> n & 1 == 1).map(|n| REGIONS[n]).collect();
            promotable(name, generation, &regions)
        }
        4 => reactivate(name, generation, DB[usize::from(b % 3)]),
        5 => Kind::SetRouted(change::SetRouted { app: name.into(), generation }),
        6 | 7 => begun(app, draw),
        8..=25 => match moved(state, running, draw) {
            Some(kind) => kind,
            None if app.is_some_and(|app| app.record.promotable.is_empty()) => {
                let standbys: Vec<&str> =
                    REGIONS.into_iter().filter(|r| app.is_some_and(|a| a.active().as_str() != *r)).collect();
                promotable(name, generation, if b % 2 == 0 { &standbys } else { &standbys[..1] })
            }
            None => begun(app, draw),
        },
        26 if c < 100 => Kind::AbortOperation(change::AbortOperation { operation: running, reason: "not now".into() }),
        27 => nonsense(state, running, generation, draw),
        28 => nonsense(state, u64::from(b % 6), generation, draw),
        29 if c < 20 => quarantine(DB[usize::from(c % 3)]),
        26 | 29 => begun(app, draw),
        30 => match c % 4 {
            0 => token(&format!("t{b}"), REGIONS[usize::from(b % 3)], u32::from(b % 3), ""),
            1 => enrol(REGIONS[usize::from(b % 3)], &format!("h{b}")),
            2 => Kind::NoteStarts(change::NoteStarts { host: DB[usize::from(b % 3)].into(), starts: u64::from(a) }),
            _ => token(&format!("r{b}"), REGIONS[usize::from(c % 3)], 1, DB[usize::from(b % 3)]),
        },
        _ => match c % 8 {
            4.. => crate::people::drawn(b, c),
            0 => Kind::Revoke(change::Revoke { bearer: format!("h{b}"), reason: String::new() }),
            1 => enrol(&format!("r{b}"), DB[usize::from(b % 3)]),
            2 => Kind::Issue(change::Issue { bearer: "x".into(), until: i64::from(b), renews: u64::from(b % 12) }),
            _ => Kind::RevokeToken(change::RevokeToken { id: format!("t{b}") }),
        },
    }
}

fn begun(app: Option<&App>, draw: Draw) -> Kind {
    let to = draw.b.is_multiple_of(4).then(|| region(REGIONS[usize::from(draw.b % 3)]));
    let planned = app.map(|app| plan::failover(app, &FailoverRequest { to, able: None, reason: String::new() }));
    let mut operation = planned.and_then(Result::ok).unwrap_or_default();
    if draw.c < 24 {
        bend(&mut operation, draw.c);
    }
    let generation = app.map_or(0, |app| app.record.generation);
    let revision = app.map_or(0, |app| app.record.revision);
    Kind::StartOperation(change::StartOperation { operation: Some(operation), generation, revision })
}

/// A plan that no planner makes.
fn bend(operation: &mut Operation, c: u8) {
    operation.past_no_return = c.is_multiple_of(2);
    operation.aborting = c.is_multiple_of(3);
    operation.ways_forward = u32::from(c);
    match c % 6 {
        0 if !operation.steps.is_empty() => drop(operation.steps.remove(0)),
        1 => operation.steps.reverse(),
        2 => operation.steps.iter_mut().for_each(|s| s.attempt = 1),
        3 => operation.steps.retain(|s| !matches!(s.action, Some(Action::Cut(_) | Action::Choose(_)))),
        4 => operation.steps.iter_mut().for_each(|s| s.attempts_max = 1),
        _ => operation.steps.extend(operation.steps.clone()),
    }
}

/// What a leader does next with an operation, and how its steps may go.
fn moved(state: &State, number: u64, draw: Draw) -> Option<Kind> {
    let op = state.operation(OperationId(number))?;
    let app = state.app(&op.app.parse().ok()?)?;
    let reachable = (0..3).filter(|n| draw.c >> n & 1 == 0).map(|n| host(DB[n])).collect();
    Some(match next(op, app, &reachable) {
        Next::Begin { step, attempt } => begins(number, step, attempt),
        Next::Resume { step, attempt } => during(op, app, number, step, attempt, draw),
        Next::Extend { steps, unwinding, why } => {
            let at_steps = small(op.steps.len());
            Kind::ExtendPlan(change::ExtendPlan { operation: number, at_steps, steps, unwinding, why })
        }
        Next::End { state, text } => {
            Kind::EndOperation(change::EndOperation { operation: number, state: state.into(), text })
        }
        Next::Nothing => return None,
    })
}

fn during(op: &Operation, app: &App, number: u64, step: usize, attempt: u32, draw: Draw) -> Kind {
    let of = change::OfOperation { operation: number, generation: app.record.generation };
    let chosen = match &op.steps[step].action {
        Some(Action::Choose(_)) if draw.c > 9 => app.promotable().next().map(ToString::to_string).unwrap_or_default(),
        Some(_) | None => String::new(),
    };
    // Of an attempt mostly the work first, then its end; an end without the work is what a failure looks like.
    let late = matches!(op.steps[step].action, Some(Action::Promote(_) | Action::Route(_) | Action::Verify(_)));
    let fails = draw.b.is_multiple_of(if late { 2 } else { 8 });
    match op.steps[step].action.as_ref() {
        _ if fails => ended(number, step, attempt, false, ""),
        Some(Action::Hold(_)) if !app.held() => Kind::Hold(of),
        Some(Action::Fence(_)) if !app.record.hold_over => Kind::HoldOver(of),
        Some(Action::EndHold(_)) if app.held() => Kind::EndHold(of),
        Some(Action::Generation(to)) if app.held() => {
            let region = if to.region.is_empty() { op.to_region.clone() } else { to.region.clone() };
            Kind::NextGeneration(change::NextGeneration { operation: number, generation: of.generation, region })
        }
        Some(_) if draw.a.is_multiple_of(3) => {
            let hosts = hosts_of(op, app, step);
            let part = usize::from(draw.c) % hosts.len().max(1);
            let host = hosts.get(part).map(HostName::as_str).unwrap_or(DB[0]);
            result(number, step, part, attempt, host)
        }
        Some(_) | None => ended(number, step, attempt, true, &chosen),
    }
}

fn result(operation: u64, step: usize, part: usize, attempt: u32, host: &str) -> Kind {
    let result = CommandResult {
        part: small(part),
        attempt,
        host: host.into(),
        outcome: CommandOutcome::Done.into(),
        text: "done".into(),
        position: Some(Position { timeline: 1, lsn: 7 }),
    };
    Kind::CommandEnded(change::CommandEnded { operation, step: small(step), result: Some(result) })
}

/// Anything about an operation, whatever it does right now: late, early, of another one.
fn nonsense(state: &State, operation: u64, generation: u64, draw: Draw) -> Kind {
    let Draw { a, b, c, .. } = draw;
    let of = change::OfOperation { operation, generation };
    let steps = state.operation(OperationId(operation)).map_or(0, |op| op.steps.len());
    match c % 11 {
        0 => Kind::Hold(of),
        1 => Kind::HoldOver(of),
        2 => Kind::EndHold(of),
        3 => Kind::NextGeneration(change::NextGeneration {
            operation,
            generation,
            region: REGIONS[usize::from(b % 3)].into(),
        }),
        4 => begins(operation, usize::from(b % 12), u32::from(a % 3)),
        5 => ended(operation, usize::from(b % 12), u32::from(a % 3), a % 2 == 0, ["", "us-west"][usize::from(a % 2)]),
        6 => result(operation, usize::from(b % 12), usize::from(a % 3), u32::from(a % 2), DB[usize::from(a % 3)]),
        7 | 8 => {
            let op = state.operation(OperationId(operation));
            let app = op.and_then(|op| state.app(&op.app.parse().ok()?));
            let steps_new = op.zip(app).map(|(op, app)| plan::unwind(op, app)).unwrap_or_default();
            Kind::ExtendPlan(change::ExtendPlan {
                operation,
                at_steps: small(steps),
                steps: steps_new,
                unwinding: c % 11 == 7,
                why: "nobody knows".into(),
            })
        }
        _ => {
            let state =
                [OperationState::Done, OperationState::Unwound, OperationState::Failed, OperationState::Running];
            let state = state[usize::from(b % 4)].into();
            Kind::EndOperation(change::EndOperation { operation, state, text: "so be it".into() })
        }
    }
}

/// What holds between any state and the next.
fn holds(before: &State, after: &State, kind: &Kind, answer: &Result<u64, Refused>) -> Result<(), TestCaseError> {
    for (name, app) in after.apps() {
        let record = &app.record;
        let open = after.operations().iter().filter(|(_, op)| op.app == name.as_str() && !op.at().ended());
        let open: Vec<u64> = open.map(|(id, _)| id.0).collect();
        prop_assert!(open.len() <= 1, "{name} has operations {open:?} at once");
        prop_assert_eq!(record.operation, open.first().copied().unwrap_or(0), "the operation of {}", name);
        prop_assert!(record.held_by == 0 || record.held_by == record.operation, "{name} is held by nobody that runs");
        prop_assert!(!app.held() || app.leased(), "{name} is held and has no leases");
        prop_assert!(app.leased() || record.promotable.is_empty(), "{name} could be taken over without leases");
        prop_assert!(app.promotable().all(|r| r != app.active()), "{name} could be taken over by its active region");
        prop_assert!(app.spec.region(app.active()).is_some(), "{name} is active nowhere");
        if app.leased() {
            let (kept, now) = (app.timings().expect("timings"), app.spec.timings().expect("timings"));
            prop_assert_eq!(kept.longest(&now), kept, "grants of {} outlast its wait", name);
        }
        let sole = app.lease_is_sole(false);
        prop_assert!(!sole || (record.promotable.is_empty() && !app.held() && record.operation == 0));

        let Some(old) = before.app(name) else { continue };
        let step = record.generation.checked_sub(old.record.generation);
        prop_assert!(matches!(step, Some(0 | 1)), "generation {} became {}", old.record.generation, record.generation);
        let moves = matches!(kind, Kind::NextGeneration(_) | Kind::EndHold(_) | Kind::Reactivate(_));
        prop_assert!(step == Some(0) || moves, "{kind:?} began a generation");
        prop_assert!(record.active_region == old.record.active_region || matches!(kind, Kind::NextGeneration(_)));
        if old.record.operation != 0 && record.operation != 0 && !matches!(kind, Kind::NextGeneration(_)) {
            prop_assert_eq!(&record.promotable, &old.record.promotable, "{} within an operation", name);
            prop_assert_eq!(&record.spec_yaml, &old.record.spec_yaml, "{} within an operation", name);
            let past = before.operation(OperationId(old.record.operation)).is_some_and(|op| op.past_no_return);
            let rests = step == Some(0) || !matches!(kind, Kind::Reactivate(_));
            prop_assert!(rests || (past && !old.held()), "reactivated while an operation decides where it goes");
        }
        if step == Some(1) && matches!(kind, Kind::NextGeneration(_)) {
            prop_assert!(old.record.hold_over && old.held(), "{name} moved on before it was known to be over");
        }
        if app.held() && !old.held() {
            prop_assert!(!old.lease_is_sole(false), "a lease without end was held back");
            prop_assert!(!record.hold_over);
        }
    }
    for (id, op) in before.operations() {
        let Some(now) = after.operation(*id) else { continue };
        if op.at().ended() {
            prop_assert_eq!(op, now, "operation {} changed after its end", id);
        }
        if op.past_no_return {
            let forward = matches!(now.at(), OperationState::Running | OperationState::Done | OperationState::Partly);
            prop_assert!(forward && now.past_no_return, "operation {id} went back: {}", now.at().word());
            prop_assert_eq!(op.aborting, now.aborting, "operation {} was aborted past its point of no return", id);
        }
        let steps = op.steps.iter().zip(&now.steps);
        for (was, is) in steps {
            prop_assert!(is.attempt == was.attempt || is.attempt == was.attempt + 1, "an attempt was left out");
        }
        prop_assert!(now.steps.iter().filter(|s| s.at() == records::StepState::Began).count() <= 1);
    }
    if let (Kind::StartOperation(_), Ok(number)) = (kind, answer) {
        prop_assert_eq!(*number, before.cluster().last_operation + 1, "numbers of operations are dense");
    }
    Ok(())
}

#[test]
fn any_sequence_of_changes_keeps_what_always_holds() {
    let seen: RefCell<BTreeMap<&str, usize>> = RefCell::default();
    let note = |what| *seen.borrow_mut().entry(what).or_insert(0) += 1;
    let config = Config { cases: 192, failure_persistence: None, ..Config::default() };
    let mut begin = Log::cluster();
    for app in APPS {
        let draw = Draw { pick: 0, a: 0, b: 7, c: 1 };
        begin.done(apply_spec(&wanted(app, draw), 0));
    }
    let ran = TestRunner::new(config).run(&draws(), |draws| {
        let mut log = begin.clone();
        for draw in draws {
            let before = log.state.clone();
            let kind = kind(&before, draw);
            let answer = log.try_apply(kind.clone());
            holds(&before, &log.state, &kind, &answer)?;
            match (&kind, &answer) {
                (_, Err(_)) => note("refused"),
                (Kind::NextGeneration(_), Ok(_)) => note("moved"),
                (Kind::EndHold(_), Ok(_)) => note("released"),
                (Kind::Reactivate(_), Ok(_)) => note("reactivated"),
                (Kind::EndOperation(c), Ok(_)) => note(OperationState::try_from(c.state).expect("a state").word()),
                (_, Ok(_)) => note("done something"),
            }
        }
        log.restarted();
        Ok(())
    });
    ran.unwrap_or_else(|e| panic!("{e}"));
    let seen = seen.into_inner();
    for what in ["refused", "moved", "released", "reactivated", "done", "unwound", "partly", "failed"] {
        assert!(seen.get(what).is_some_and(|n| *n > 3), "the sequences hardly reach {what}: {seen:?}");
    }
}

#[test]
fn the_same_log_gives_the_same_bytes_and_any_prefix_of_it_can_be_gone_on_from() {
    let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
    let begin = Log::with_app(&Wanted::shop(3));
    let ran = TestRunner::new(config).run(&draws(), |draws| {
        let (mut one, mut two) = (begin.clone(), begin.clone());
        for (n, draw) in draws.into_iter().enumerate() {
            let kind = kind(&one.state, draw);
            let (first, second) = (one.try_apply(kind.clone()), two.try_apply(kind));
            prop_assert_eq!(first, second);
            if n % 16 == 0 {
                two = two.restarted();
            }
            prop_assert_eq!(one.state.rows(), two.state.rows());
        }
        Ok(())
    });
    ran.unwrap_or_else(|e| panic!("{e}"));
}
